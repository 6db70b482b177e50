"""Numbers over time as blocks of text. PURE."""

from __future__ import annotations

from collections.abc import Sequence

_EIGHTHS = " ▁▂▃▄▅▆▇█"


def columns(values: Sequence[float | None], largest: float, height: int = 1) -> list[str]:
    """A column for each value, in `height` lines from the top down; as high as `largest` is the whole height.

    A value above 0 shows at least a little, and 0 nothing of it but the ground line; None, of which nothing is known,
    is empty.
    """
    parts = 8 * height
    heights = [None if value is None else _height(value, largest, parts) for value in values]
    return ["".join(_block(each, 8 * line) for each in heights) for line in reversed(range(height))]


def _height(value: float, largest: float, parts: int) -> int:
    if value <= 0 or largest <= 0:
        return 0
    return max(1, min(parts, round(value / largest * parts)))


def _block(height: int | None, below: int) -> str:
    """What a column shows in the line that begins `below` eighths above the ground."""
    if height is None:
        return " "
    if height == 0:
        return "_" if below == 0 else " "
    return _EIGHTHS[max(0, min(8, height - below))]


def number(value: float | None) -> str:
    """Three figures, of any size, in at most 8 characters; "-" for what is not known."""
    if value is None:
        return "-"
    for limit, divisor, unit in ((1e4, 1.0, ""), (1e6, 1e3, "k"), (1e9, 1e6, "M"), (float("inf"), 1e9, "G")):
        if abs(value) < limit:
            scaled = value / divisor
            decimals = 0 if abs(scaled) >= 100 or scaled == int(scaled) else 1 if abs(scaled) >= 10 else 2
            return f"{scaled:.{decimals}f}{unit}"
    return str(value)
