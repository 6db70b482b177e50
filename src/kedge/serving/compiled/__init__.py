"""Models as arrays and arithmetic: read from a fitted model, proven against it, and served in its place."""

from kedge import core

__path__ = core.search_path("serving.compiled", __path__, core.NATIVE)
