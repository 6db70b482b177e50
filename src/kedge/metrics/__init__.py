"""What was measured: distributions, and the series made of them."""

from kedge import core

__path__ = core.search_path("metrics", __path__)
