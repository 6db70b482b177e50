"""Times as people type them. PURE."""

from __future__ import annotations

import re

import click

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(text: str) -> int:
    """Of a time such as 90s, 15m, 3h or 7d. Raises UsageError."""
    found = re.fullmatch(r"([1-9]\d{0,5})([smhd])", text)
    if found is None:
        raise click.UsageError(f'"{text}" is no time; write 90s, 15m, 3h or 7d.')
    return int(found[1]) * _UNITS_S[found[2]]
