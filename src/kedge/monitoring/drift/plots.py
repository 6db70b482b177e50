"""Pictures of drift, as SVG: effects with their intervals, shares of cells, and effects over time. PURE."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

import numpy as np

from kedge.monitoring.drift.cells import Cells, Floats, Numeric

_BASE, _NOW, _BAD, _EDGE, _SHADE, _INK = "#9db4c7", "#2f6f9f", "#c0392b", "#d9e0e6", "#eef3f7", "#1c2733"
_FARTHEST = 6.0
"""Standard deviations that a picture shows; what is beyond is at its edge."""


class Bar(NamedTuple):
    name: str
    effect: float
    low: float
    high: float
    alerts: bool


class Past(NamedTuple):
    """Of one window."""

    start_s: float
    effect: float
    low: float
    high: float
    alerts: bool


def forest(bars: Sequence[Bar], material: float) -> str:
    """A line for each column: its effect, and the interval; what is within the material size is shaded."""
    width, names, step = 720, 190, 20
    reach = _reach(material, [abs(end) for bar in bars for end in (bar.low, bar.high)])
    foot = step * len(bars) + 4

    def x(value: float) -> float:
        return names + (width - names - 10) * (_within(value, reach) + reach) / (2 * reach)

    parts = [
        _rect(x(-material), 0, x(material) - x(-material), foot, _SHADE),
        _line(x(0), 0, x(0), foot, _EDGE),
    ]
    for place, bar in enumerate(bars):
        y, colour = step * place + 12, _BAD if bar.alerts else _NOW
        parts += [
            _text(names - 8, y + 4, _short(bar.name, 26), "end", _BAD if bar.alerts else _INK),
            _line(x(bar.low), y, x(bar.high), y, colour, 2),
            _dot(x(bar.effect), y, colour, f"{bar.name}: {bar.effect:+.2f}"),
        ]
    parts += [
        _text(x(value), foot + 16, f"{value:+.2g}", "middle") for value in (-reach, -material, 0.0, material, reach)
    ]
    return _svg(width, foot + 24, parts, "effects of all columns with their intervals")


def shares(cells: Cells, baseline: Floats, window: Floats, most: int) -> str:
    """Of the rows, in the baseline and now. baseline, window: counts of cells, then of what is missing."""
    before, now = baseline / max(baseline.sum(), 1.0), window / max(window.sum(), 1.0)
    rows = [(name, float(before[part].sum()), float(now[part].sum())) for name, part in _groups(cells, baseline, most)]
    top = max([0.01, *(max(one, other) for _, one, other in rows)])
    width, foot, key = 420, 136, 167
    step = (width - 10) / len(rows)
    parts = []
    for place, (name, one, other) in enumerate(rows):
        for share, colour, at in ((one, _BASE, 0.08), (other, _NOW, 0.5)):
            tall = (foot - 16) * share / top
            title = f"{name}: {share:.1%}"
            parts.append(_rect(5 + (place + at) * step, foot - tall, 0.42 * step, tall, colour, title))
    named = {0: "start", len(rows) // 2: "middle", len(rows) - 1: "end"}
    for place, anchor in named.items():
        at = {"start": 0.0, "middle": 0.5, "end": 1.0}[anchor]
        parts.append(_text(5 + step * (place + at), foot + 14, _short(rows[place][0], 20), anchor))
    parts += [
        _rect(5, key - 9, 10, 10, _BASE),
        _text(20, key, "baseline"),
        _rect(90, key - 9, 10, 10, _NOW),
        _text(105, key, "this window"),
        _text(width - 5, key, f"highest {top:.1%}", "end"),
    ]
    return _svg(width, key + 4, parts, "shares of rows in the baseline and now")


def course(past: Sequence[Past], material: float, time_of: Callable[[float], str]) -> str:
    """Oldest first, two at least."""
    width, foot, key = 260, 136, 167
    reach = _reach(material, [abs(end) for each in past for end in (each.low, each.high)])

    def y(value: float) -> float:
        return 6 + (foot - 12) * (1 - (_within(value, reach) + reach) / (2 * reach))

    parts = [
        _rect(0, y(material), width, y(-material) - y(material), _SHADE),
        _line(0, y(0), width, y(0), _EDGE),
    ]
    for place, each in enumerate(past):
        x, colour = 15 + place * (width - 30) / (len(past) - 1), _BAD if each.alerts else _NOW
        parts += [
            _line(x, y(each.low), x, y(each.high), colour),
            _dot(x, y(each.effect), colour, f"{time_of(each.start_s)}: {each.effect:+.2f}"),
        ]
    parts += [
        _text(5, foot + 14, time_of(past[0].start_s)[5:16]),
        _text(width - 5, foot + 14, time_of(past[-1].start_s)[5:16], "end"),
        _text(5, key, "effect, window by window"),
    ]
    return _svg(width, key + 4, parts, "effects of the last windows")


def _groups(cells: Cells, baseline: Floats, most: int) -> list[tuple[str, slice]]:
    """(name, cells) of neighbours that hold about as many rows of the baseline; what is missing is by itself."""
    missing = ("missing", slice(cells.count, cells.count + 1))
    if not isinstance(cells, Numeric):
        names = [*cells.levels[:most], "other"]
        parts = [*(slice(place, place + 1) for place in range(len(names) - 1)), slice(len(names) - 1, cells.count)]
        return [*zip(names, parts, strict=True), missing]
    below = np.cumsum(baseline[:-1])
    wanted = below[-1] * np.arange(1, most) / most
    ends = np.searchsorted(below, wanted).clip(0, cells.count - 2) + 1 if cells.count > 1 else np.empty(0)
    edges = [0, *sorted({int(end) for end in ends}), cells.count]
    found = []
    for low, high in itertools.pairwise(edges):
        name = f"up to {cells.uppers[high - 1]:.4g}" if high < cells.count else f"above {cells.uppers[low - 1]:.4g}"
        found.append((name if len(edges) > 2 else "any value", slice(low, high)))
    return [*found, missing]


def _reach(material: float, ends: Sequence[float]) -> float:
    return min(max([2 * material, *ends]), max(_FARTHEST, 2 * material))


def _within(value: float, reach: float) -> float:
    return min(max(value, -reach), reach)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}\N{HORIZONTAL ELLIPSIS}"


def _rect(x: float, y: float, width: float, height: float, fill: str, title: str = "") -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{fill}">{_title(title)}</rect>'
    )


def _line(x: float, y: float, to_x: float, to_y: float, stroke: str, wide: int = 1) -> str:
    ends = f'x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}"'
    return f'<line {ends} stroke="{stroke}" stroke-width="{wide}"/>'


def _dot(x: float, y: float, fill: str, title: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{fill}">{_title(title)}</circle>'


def _title(text: str) -> str:
    return f"<title>{escape(text)}</title>" if text else ""


def _text(x: float, y: float, text: str, anchor: str = "start", fill: str = "#5b6b79") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}">{escape(text)}</text>'


def _svg(width: float, height: float, parts: Sequence[str], says: str) -> str:
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{escape(says)}" {size}>{"".join(parts)}</svg>'
    )
