"""The data plane: what answers an inference request."""

from kedge import core

__path__ = core.search_path("serving", __path__)
