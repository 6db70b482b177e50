"""Draws metrics: the one place that knows matplotlib, which the extra `pictures` brings. Agg only: no window, no state.

A figure belongs to one call; what matplotlib keeps for all of them (fonts) is not safe in threads, so who calls lets
one picture be drawn at a time.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from kedge.metrics.labels import number
from kedge.metrics.pictures import Axis, Line, Picture
from kedge.metrics.series import DAY_S

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = (
    "#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf",
    "#aec7e8", "#ffbb78", "#98df8a", "#ff9896", "#c5b0d5", "#c49c94", "#f7b6d2", "#c7c7c7", "#dbdb8d", "#9edae5",
)  # fmt: skip
"""CloudWatch's, which are d3's."""
BAND = "#9ba7b6"
"""Of what is normal, behind the lines."""
DPI = 100
SMALL_PX = 150
"""A picture that is less wide or high has no room for a legend."""
SMALLEST_PX = 30
"""For anything at all but its ground."""
FONT = "DejaVu Sans"
"""Comes with matplotlib, so that a picture is the same on every machine."""
NO_GLYPH = "\u25a1"


@dataclass(frozen=True)
class Theme:
    ground: str
    ink: str
    faint: str
    """Of what stands behind: texts of the axes."""
    grid: str
    limit: str = "#d62728"


LIGHT = Theme("#ffffff", "#16191f", "#545b64", "#e9ebed")
DARK = Theme("#161d26", "#e9ebed", "#b6bec9", "#333d4a")


class PicturesMissing(Exception):
    """matplotlib is not installed; the message says how to get it."""

    def __init__(self) -> None:
        super().__init__(
            'Pictures need matplotlib, which is not installed beside Kedge: pip install "kedge[pictures]", and start '
            "Kedge again."
        )


def png(picture: Picture, lines: Sequence[Line]) -> bytes:
    """The picture, of the size that it asks for. Raises PicturesMissing."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise PicturesMissing from None
    from kedge.metrics import drawing_views

    theme = DARK if picture.dark else LIGHT
    figure = Figure(figsize=(picture.width / DPI, picture.height / DPI), dpi=DPI, facecolor=theme.ground)
    canvas = FigureCanvasAgg(figure)
    page = Page(figure, picture, theme, coloured(lines))
    draw: dict[str, Callable[[Page], None]] = {
        "timeSeries": time_series,
        "singleValue": drawing_views.single_values,
        "bar": drawing_views.bars,
        "pie": drawing_views.pie,
        "gauge": drawing_views.gauge,
        "table": drawing_views.table,
    }
    if min(picture.width, picture.height) >= SMALLEST_PX:
        page.write_title()
        draw[picture.view](page)
    written = io.BytesIO()
    canvas.print_figure(written, format="png", dpi=DPI, facecolor=theme.ground, metadata={"Software": "Kedge"})
    return written.getvalue()


def coloured(lines: Sequence[Line]) -> list[Line]:
    """Each with a colour: its own, else the next of the palette that nobody has asked for."""
    asked = {line.colour.lower() for line in lines}
    free = [colour for colour in COLOURS if colour not in asked] or list(COLOURS)
    found, taken = [], 0
    for line in lines:
        if not line.colour:
            line = replace(line, colour=BAND if line.lower else free[taken % len(free)])
            taken += not line.lower
        found.append(line)
    return found


def plain(text: str) -> str:
    """What the font can write; matplotlib would set what stands between two dollars as a formula."""
    known = _characters()
    written = (letter if ord(letter) in known else " " if letter.isspace() else NO_GLYPH for letter in text)
    return "".join(written).replace("$", r"\$")


@lru_cache(1)
def _characters() -> frozenset[int]:
    from matplotlib.font_manager import findfont, get_font

    return frozenset(get_font(findfont(FONT)).get_charmap())


def shortened(text: str, width_px: float, size_pt: float) -> str:
    """As much of the text as fits, about."""
    room = max(3, int(width_px / (size_pt * DPI / 72 * 0.58)))
    return text if len(text) <= room else text[: room - 1] + "\u2026"


class Page:
    """The figure with its margins in pixels: what is placed takes its room from what is left."""

    def __init__(self, figure: Figure, picture: Picture, theme: Theme, lines: list[Line]) -> None:
        self.figure, self.picture, self.theme, self.lines = figure, picture, theme, lines
        self.width, self.height = picture.width, picture.height
        scale = min(1.0, self.width / 300, self.height / 180)
        self.text_pt = 8.5 * max(0.65, scale)
        self.left, self.right = 14.0, 14.0
        self.top, self.bottom = 12.0, 12.0

    def write(
        self, x: float, y: float, text: str, size_pt: float | None = None, colour: str = "", **options: Any
    ) -> None:
        """x, y: in pixels from the upper left corner."""
        self.figure.text(
            x / self.width, 1 - y / self.height, plain(text), fontsize=size_pt or self.text_pt, family=FONT,
            color=colour or self.theme.ink, **options,
        )  # fmt: skip

    def write_title(self) -> None:
        title = self.picture.title
        if not title:
            return
        size = self.text_pt * 1.32
        text = shortened(title, self.width - 2 * self.left, size)
        self.write(self.left, self.top, text, size, va="top", weight="bold")
        self.top += size * DPI / 72 + 12

    def swatch(self, x: float, y: float, colour: str) -> None:
        """A square whose left side is at x, with y in its middle."""
        from matplotlib.patches import Rectangle

        size = self.text_pt * 1.05
        corner = (x / self.width, 1 - (y + size / 2) / self.height)
        where = self.figure.transFigure
        box = Rectangle(corner, size / self.width, size / self.height, transform=where, facecolor=colour, linewidth=0)
        self.figure.add_artist(box)

    def axes(self) -> Axes:
        """In the room that is left."""
        box = (
            self.left / self.width,
            self.bottom / self.height,
            max(0.05, (self.width - self.left - self.right) / self.width),
            max(0.05, (self.height - self.top - self.bottom) / self.height),
        )
        found = self.figure.add_axes(box)
        found.set_facecolor("none")
        return found

    @property
    def zone(self) -> tzinfo:
        return self.picture.zone

    def moment(self, at: float) -> datetime:
        return datetime.fromtimestamp(at, self.zone)


def legend(page: Page, entries: Sequence[tuple[str, str]]) -> None:
    """entries: (colour, label). Below in as many columns as fit, or beside; what has no room is counted."""
    if page.picture.legend == "hidden" or not entries or page.height < SMALL_PX or page.width < SMALL_PX:
        return
    step = page.text_pt * DPI / 72 * 1.75
    wanted = max(len(label) for _, label in entries) * page.text_pt * DPI / 72 * 0.6 + 34
    whole = page.width - 2 * page.left
    if page.picture.legend == "right":
        column = min(wanted, page.width * 0.35)
        rows, columns = max(1, int((page.height - page.top - 20) / step)), 1
        x, y = page.width - column, page.top + step / 2
        page.right += column - 4
    else:
        columns = max(1, min(int(whole // min(wanted, whole)), len(entries)))
        rows = max(1, min(math.ceil(len(entries) / columns), int(page.height * 0.34 / step)))
        column = min(wanted, whole / columns)
        x, y = page.left, page.height - page.bottom - (rows - 0.5) * step
        page.bottom += rows * step + 6
    room = rows * columns
    shown = list(entries) if len(entries) <= room else [*entries[: room - 1]]
    for place, (colour, label) in enumerate(shown):
        at_x, at_y = x + place % columns * column, y + place // columns * step
        page.swatch(at_x, at_y, colour)
        page.write(at_x + 15, at_y, shortened(label, column - 20, page.text_pt), va="center_baseline")
    if len(shown) < len(entries):
        at_x, at_y = x + len(shown) % columns * column, y + len(shown) // columns * step
        page.write(at_x, at_y, f"and {len(entries) - len(shown)} more", colour=page.theme.faint, va="center_baseline")


def pieces(line: Line) -> list[list[tuple[int, float]]]:
    """The points, cut where more than one period lies between two of them."""
    found: list[list[tuple[int, float]]] = []
    for at, value in line.points:
        if found and at - found[-1][-1][0] <= line.period_s * 1.5:
            found[-1].append((at, value))
        else:
            found.append([(at, value)])
    return found


def time_series(page: Page) -> None:
    from kedge.metrics import drawing_marks

    picture, theme = page.picture, page.theme
    legend(page, [(line.colour, line.label) for line in page.lines])
    on_right = any(line.axis == "right" for line in page.lines) or any(m.axis == "right" for m in picture.horizontal)
    page.bottom += page.text_pt * DPI / 72 + 8
    page.left += page.text_pt * 4.2
    page.right += page.text_pt * 4.2 if on_right else 0
    _write_axis_labels(page, on_right=on_right)
    axes = page.axes()
    beside = axes.twinx() if on_right else None
    sides = {"left": axes, "right": beside or axes}
    for side, where in sides.items():
        _draw_lines(page, where, [line for line in page.lines if line.axis == side], stacked=picture.stacked)
    _style(page, axes, picture.left, [line for line in page.lines if line.axis == "left"])
    if beside is not None:
        _style(page, beside, picture.right, [line for line in page.lines if line.axis == "right"])
        beside.grid(visible=False)
    for mark in picture.horizontal:
        drawing_marks.horizontal(page, sides[mark.axis], mark)
    for mark in picture.vertical:
        drawing_marks.vertical(page, axes, mark)
    _style_time(page, axes)
    if not any(line.points for line in page.lines):
        axes.text(
            0.5, 0.5, "No data available in this time range", transform=axes.transAxes, ha="center", va="center",
            color=theme.faint, fontsize=page.text_pt * 1.1, family=FONT,
        )  # fmt: skip


def _draw_lines(page: Page, axes: Axes, lines: Sequence[Line], *, stacked: bool) -> None:
    for band in (line for line in lines if line.lower):
        lower, upper = dict(band.lower), dict(band.points)
        shared = sorted(lower.keys() & upper)
        below, above = [lower[at] for at in shared], [upper[at] for at in shared]
        axes.fill_between(shared, below, above, color=band.colour, alpha=0.35, linewidth=0)
    lines = [line for line in lines if not line.lower]
    if stacked and lines:
        _draw_stack(axes, lines)
        return
    for line in lines:
        for piece in pieces(line):
            times, values = zip(*piece, strict=True)
            if len(piece) == 1:
                axes.plot(times, values, marker="o", markersize=3, color=line.colour, linewidth=0)
            else:
                axes.plot(times, values, color=line.colour, linewidth=1.5, solid_joinstyle="round")


def _draw_stack(axes: Axes, lines: Sequence[Line]) -> None:
    """One upon the other; what a series lacks at a time counts as 0."""
    times = sorted({at for line in lines for at, _ in line.points})
    below = [0.0] * len(times)
    for line in lines:
        points = dict(line.points)
        above = [under + points.get(at, 0.0) for at, under in zip(times, below, strict=True)]
        axes.fill_between(times, below, above, color=line.colour, alpha=0.55, linewidth=0)
        axes.plot(times, above, color=line.colour, linewidth=1.2)
        below = above


def _limits(axis: Axis, axes: Axes, values: Sequence[float], *, stacked: bool) -> tuple[float, float]:
    """Of the values with a little air. From 0 where none is below it and they do not differ a little, far above it."""
    low, high = axes.get_ylim() if values else (0.0, 1.0)
    least, most = min(values, default=0.0), max(values, default=0.0)
    if least >= 0 and (stacked or least <= most / 2 or least == most or axis.high is not None):
        low = 0.0
    low = low if axis.low is None else axis.low
    high = high if axis.high is None else axis.high
    if high <= low:
        low, high = (low, low + _step(low)) if axis.high is None else (high - _step(high), high)
    return low, high


def _step(value: float) -> float:
    """Away from a value, so that it is another number."""
    return max(1.0, abs(value) / 10)


def _style(page: Page, axes: Axes, axis: Axis, lines: Sequence[Line]) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    theme = page.theme
    values = [value for line in lines for _, value in line.points]
    axes.set_ylim(*_limits(axis, axes, values, stacked=page.picture.stacked))
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(theme.grid)
    room = page.height - page.top - page.bottom
    axes.yaxis.set_major_locator(MaxNLocator(max(2, min(6, int(room / 42)))))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: amount(value)))
    axes.tick_params(axis="both", length=0, labelsize=page.text_pt, labelcolor=theme.faint, labelfontfamily=FONT)
    axes.grid(visible=True, axis="y", color=theme.grid, linewidth=0.8)
    axes.set_axisbelow(True)


def _style_time(page: Page, axes: Axes) -> None:
    """Ticks at round times of the picture's own zone."""
    from matplotlib.ticker import FixedLocator, FuncFormatter

    picture = page.picture
    axes.set_xlim(picture.start_s, picture.end_s)
    span_s = picture.end_s - picture.start_s
    room = page.width - page.left - page.right
    most = max(2, int(room / (page.text_pt * (14 if span_s > DAY_S else 7.5))))
    step_s = next((size for size in _STEPS_S if span_s / size <= most), _STEPS_S[-1])
    offset = picture.zone.utcoffset(None)
    shift_s = 0 if offset is None else int(offset.total_seconds())
    first = math.ceil((picture.start_s + shift_s) / step_s) * step_s - shift_s
    axes.xaxis.set_major_locator(FixedLocator(list(range(first, picture.end_s + 1, step_s))))
    form = "%m/%d" if step_s >= DAY_S else "%m/%d %H:%M" if span_s > DAY_S else "%H:%M" if step_s >= 60 else "%H:%M:%S"
    axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: page.moment(at).strftime(form)))


_STEPS_S = (
    1, 5, 10, 15, 30, 60, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800,
    1_209_600, 2_592_000, 7_776_000,
)  # fmt: skip


def amount(value: float) -> str:
    """As short as an axis needs it: 1.5k, 20M."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{number(round(value / size, 3))}{unit}"
    return number(round(value, 12))


def _write_axis_labels(page: Page, *, on_right: bool) -> None:
    left, right = page.picture.left.label, page.picture.right.label
    if not left and not (right and on_right):
        return
    size = page.text_pt
    page.write(14, page.top, shortened(left, page.width / 2 - 20, size), colour=page.theme.faint, va="top")
    if on_right:
        text = shortened(right, page.width / 2 - 20, size)
        page.write(page.width - 14, page.top, text, colour=page.theme.faint, va="top", ha="right")
    page.top += size * DPI / 72 + 8
