"""Whether two answers say the same. PURE."""

from __future__ import annotations

import json
import math
from typing import Any

TOLERANCE = 1e-6
"""Relative, and absolute below 1: what other processors and releases of a library make of the last digits."""


def alike(one: bytes, other: bytes) -> bool:
    """By value, with numbers within TOLERANCE, where both are JSON or tables of text; else byte by byte."""
    if one.strip() == other.strip():
        return True
    try:
        return _same(json.loads(one), json.loads(other))
    except (ValueError, RecursionError):
        pass
    try:
        return _same(_table(one), _table(other))
    except UnicodeDecodeError:
        return False


def _table(body: bytes) -> list[list[Any]]:
    return [[_value(field.strip()) for field in line.split(",")] for line in body.decode().strip().splitlines()]


def _value(field: str) -> float | str:
    try:
        return float(field)
    except ValueError:
        return field


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        if isinstance(one, float) and isinstance(other, float) and math.isnan(one) and math.isnan(other):
            return True
        return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return bool(one == other)
