from __future__ import annotations

from tests.endpoints.conftest import world

__all__ = ["world"]
