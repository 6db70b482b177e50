"""The views of a picture that have no axis of time: numbers, bars, a pie, a gauge, a table.

They show the newest value of each series, as CloudWatch's console does; a table shows more of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from kedge.metrics.drawing import DPI, FONT, Page, amount, legend, plain, shortened
from kedge.metrics.labels import number
from kedge.metrics.pictures import Line

NOTHING = "--"


def last(line: Line) -> float | None:
    return line.points[-1][1] if line.points else None


def _short(value: float | None) -> str:
    return NOTHING if value is None else amount(float(f"{value:.4g}"))


def single_values(page: Page) -> None:
    """Tiles in a grid that is about as wide as the picture: a number, what it is, and how it came to it."""
    count = len(page.lines)
    if not count:
        return
    room, whole = max(page.height - page.top - page.bottom, 1.0), max(page.width - 2 * page.left, 1.0)
    columns = _columns(count, whole, room)
    wide, high = whole / columns, room / math.ceil(count / columns)
    below_px = page.text_pt * DPI / 72 * 1.5
    spark_px = high * 0.24 if page.picture.sparkline else 0.0
    for place, line in enumerate(page.lines):
        x, y = page.left + place % columns * wide, page.top + place // columns * high
        value = _short(last(line))
        tall = max(10.0, min((high - below_px - spark_px) * 0.62, wide / max(len(value), 4) * 1.15, 90.0))
        base = y + (high - spark_px - below_px + tall) / 2
        page.write(x + 4, base, value, tall * 72 / DPI, va="baseline", weight="bold")
        label = shortened(line.label, wide - 16, page.text_pt)
        page.write(x + 6, base + below_px * 0.3, label, colour=page.theme.faint, va="top")
        if spark_px > 4 and wide > 40 and len(line.points) > 1:
            _sparkline(page, line, (x + 6, base + below_px * 1.2, wide - 20, spark_px * 0.85))


def _columns(count: int, width: float, height: float) -> int:
    """So that tiles are about twice as wide as high, and few places stay empty."""

    def fault(columns: int) -> float:
        rows = math.ceil(count / columns)
        shape = (width / columns) / (height / rows)
        return abs(math.log(shape / 2)) + 2 * (rows * columns - count) / count

    return min(range(1, count + 1), key=fault)


def _sparkline(page: Page, line: Line, box: tuple[float, float, float, float]) -> None:
    x, y, wide, high = box
    axes = page.figure.add_axes((x / page.width, 1 - (y + high) / page.height, wide / page.width, high / page.height))
    times, values = zip(*line.points, strict=True)
    axes.plot(times, values, color=line.colour, linewidth=1.2)
    axes.fill_between(times, min(values), values, color=line.colour, alpha=0.15, linewidth=0)
    axes.set_axis_off()


def bars(page: Page) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    lines = page.lines
    longest = max((len(line.label) for line in lines), default=0)
    labels_px = min(page.width * 0.34, longest * page.text_pt * DPI / 72 * 0.6 + 8)
    page.left += labels_px
    page.right += page.text_pt * 5
    page.bottom += page.text_pt * DPI / 72 + 4
    axes = page.axes()
    values = [last(line) or 0.0 for line in lines]
    places = list(range(len(lines)))
    axes.barh(places, values, color=[line.colour for line in lines], height=min(0.7, 0.18 * max(len(lines), 2)))
    axes.set_yticks(places, [plain(shortened(line.label, labels_px, page.text_pt)) for line in lines])
    axes.set_ylim(len(lines) - 0.4, -0.6)
    if page.picture.left.low is not None or page.picture.left.high is not None:
        axes.set_xlim(page.picture.left.low, page.picture.left.high)
    for place, (line, value) in enumerate(zip(lines, values, strict=True)):
        axes.annotate(
            _short(last(line)), (max(value, 0.0), place), xytext=(4, 0), textcoords="offset points",
            va="center", color=page.theme.ink, fontsize=page.text_pt, family=FONT,
        )  # fmt: skip
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: amount(value)))
    axes.grid(visible=True, axis="x", color=page.theme.grid, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(axis="x", length=0, labelsize=page.text_pt, labelcolor=page.theme.faint, labelfontfamily=FONT)
    axes.tick_params(axis="y", length=0, labelsize=page.text_pt, labelcolor=page.theme.ink, labelfontfamily=FONT)


def pie(page: Page) -> None:
    """A ring with the sum in the middle. Shares below 0 have no place in it."""
    shares = [(line, max(last(line) or 0.0, 0.0)) for line in page.lines]
    total = sum(value for _, value in shares)
    entries = [(line.colour, f"{line.label}  {_short(last(line))}") for line, _ in shares]
    legend(page, entries)
    axes = page.axes()
    axes.set_aspect("equal")
    axes.set_axis_off()
    if total <= 0:
        axes.text(0.5, 0.5, "No data available in this time range", transform=axes.transAxes, ha="center", va="center",
                  color=page.theme.faint, fontsize=page.text_pt * 1.1, family=FONT)  # fmt: skip
        return
    shown = [(line, value) for line, value in shares if value > 0]
    axes.pie(
        [value for _, value in shown], colors=[line.colour for line, _ in shown], startangle=90, counterclock=False,
        wedgeprops={"width": 0.38, "edgecolor": page.theme.ground, "linewidth": 1.5},
        autopct=lambda percent: f"{percent:.0f}%" if percent >= 6 else "", pctdistance=0.81,
        textprops={"color": "#ffffff", "fontsize": page.text_pt, "family": FONT, "weight": "bold"},
    )  # fmt: skip
    size = max(9.0, page.text_pt * 1.9)
    axes.text(
        0, 0, _short(total), ha="center", va="center", color=page.theme.ink, fontsize=size, family=FONT, weight="bold"
    )


def gauge(page: Page) -> None:
    """An arc for the first series, between the ends of the left axis; horizontal annotations colour it."""
    from matplotlib.patches import Wedge

    low = page.picture.left.low or 0.0
    high = 100.0 if page.picture.left.high is None else page.picture.left.high
    line = page.lines[0] if page.lines else Line("", ())
    value = last(line)
    axes = page.axes()
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set_xlim(-1.15, 1.15)
    axes.set_ylim(-0.42, 1.12)

    def angle(at: float) -> float:
        share = 0.0 if high <= low else (at - low) / (high - low)
        return 180 - 180 * min(max(share, 0.0), 1.0)

    axes.add_patch(Wedge((0, 0), 1, 0, 180, width=0.24, facecolor=page.theme.grid, linewidth=0))
    if value is not None and angle(value) < 180:
        axes.add_patch(Wedge((0, 0), 1, angle(value), 180, width=0.24, facecolor=line.colour, linewidth=0))
    for mark in page.picture.horizontal:
        ends = sorted((angle(mark.value), angle(mark.value if mark.until is None else mark.until)))
        if mark.until is None and mark.fill in ("above", "below"):
            ends = [0, angle(mark.value)] if mark.fill == "above" else [angle(mark.value), 180]
        colour = mark.colour or page.theme.limit
        if ends[1] - ends[0] < 1:
            ends = [ends[0] - 0.6, ends[1] + 0.6]
        axes.add_patch(Wedge((0, 0), 1.09, ends[0], ends[1], width=0.06, facecolor=colour, linewidth=0))
    small: dict[str, Any] = {
        "ha": "center",
        "va": "top",
        "color": page.theme.faint,
        "family": FONT,
        "fontsize": page.text_pt,
    }
    size = max(11.0, min(page.width, page.height * 1.4) * 0.06)
    axes.text(
        0,
        0.12,
        _short(value),
        ha="center",
        va="center",
        color=page.theme.ink,
        family=FONT,
        fontsize=size,
        weight="bold",
    )
    axes.text(-0.88, -0.05, amount(low), **small)
    axes.text(0.88, -0.05, amount(high), **small)
    axes.text(0, -0.22, plain(shortened(line.label, page.width - 40, page.text_pt)), **small)


_COLUMNS = ("Label", "Last", "Min", "Max", "Average")


def _cells(line: Line) -> Sequence[str]:
    values = [value for _, value in line.points]
    if not values:
        return [NOTHING] * 4
    return [number(float(f"{each:.5g}")) for each in (values[-1], min(values), max(values), sum(values) / len(values))]


def table(page: Page) -> None:
    step = page.text_pt * DPI / 72 * 2.1
    column = min(90.0, (page.width - 2 * page.left) * 0.16)
    label_px = page.width - 2 * page.left - 4 * column
    rows = max(1, int((page.height - page.top - page.bottom) / step) - 1)
    y = page.top + step / 2
    _row(page, y, _COLUMNS, label_px, column, page.theme.faint)
    shown = page.lines if len(page.lines) <= rows else page.lines[: rows - 1]
    for place, line in enumerate(shown, 1):
        text = shortened(line.label, label_px - 24, page.text_pt)
        _rule(page, y + step * (place - 0.5))
        _row(page, y + step * place, [text, *_cells(line)], label_px, column, page.theme.ink, line.colour)
    if len(shown) < len(page.lines):
        more = f"and {len(page.lines) - len(shown)} more"
        page.write(page.left + 18, y + step * (len(shown) + 1), more, colour=page.theme.faint, va="center_baseline")


def _row(
    page: Page, y: float, cells: Sequence[str], label_px: float, column: float, ink: str, swatch: str = ""
) -> None:
    if swatch:
        page.swatch(page.left + 2, y, swatch)
    page.write(page.left + 18, y, cells[0], colour=ink, va="center_baseline")
    for place, cell in enumerate(cells[1:], 1):
        page.write(page.left + label_px + place * column, y, cell, colour=ink, va="center_baseline", ha="right")


def _rule(page: Page, y: float) -> None:
    from matplotlib.lines import Line2D

    at = 1 - y / page.height
    ends = (page.left / page.width, 1 - page.left / page.width)
    page.figure.add_artist(Line2D(ends, (at, at), color=page.theme.grid, linewidth=0.8))
