"""Bytes to dicts and back, as AWS's protocols have them."""

from kedge import core

__path__ = core.search_path("wire", core.search_path("wire", __path__), core.NATIVE)
