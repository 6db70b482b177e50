"""The model registry: groups, and the packages in them."""

from __future__ import annotations

from kedge.registry import groups, packages

OPERATIONS = {**groups.OPERATIONS, **packages.OPERATIONS}
