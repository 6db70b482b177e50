"""Annotations of a picture with an axis of time: limits, bands, moments, each with what it means next to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kedge.metrics.drawing import FONT, Page, plain, shortened
from kedge.metrics.pictures import Mark

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Transform


def horizontal(page: Page, axes: Axes, mark: Mark) -> None:
    colour = mark.colour or page.theme.limit
    low, high = axes.get_ylim()
    values = [mark.value] if mark.until is None else [mark.value, mark.until]
    # A limit that nobody sees is of no use: the axis makes room for it, unless the widget says where the axis ends.
    fixed = page.picture.left if mark.axis == "left" else page.picture.right
    if fixed.high is None and max(values) > high:
        high = max(values) + (max(values) - low) * 0.06
    if fixed.low is None and min(values) < low:
        low = min(values) - (high - min(values)) * 0.06
    axes.set_ylim(low, high)
    for value, label in zip(values, (mark.label, mark.until_label), strict=False):
        axes.axhline(value, color=colour, linewidth=1.3)
        if label:
            _write_beside(page, axes, label, colour, (1.0, value), axes.get_yaxis_transform(), (-3, 3), ha="right")
    span = _filled(mark, low, high, "above", "below")
    if span is not None:
        axes.axhspan(*span, color=colour, alpha=0.14, linewidth=0)


def vertical(page: Page, axes: Axes, mark: Mark) -> None:
    colour = mark.colour or page.theme.limit
    picture = page.picture
    values = [mark.value] if mark.until is None else [mark.value, mark.until]
    for value, label in zip(values, (mark.label, mark.until_label), strict=False):
        axes.axvline(value, color=colour, linewidth=1.3)
        if label:
            to_left = value > (picture.start_s + picture.end_s) / 2
            away = (-3, -2) if to_left else (3, -2)
            _write_beside(
                page, axes, label, colour, (value, 1.0), axes.get_xaxis_transform(), away,
                ha="right" if to_left else "left", va="top",
            )  # fmt: skip
    span = _filled(mark, picture.start_s, picture.end_s, "after", "before")
    if span is not None:
        axes.axvspan(*span, color=colour, alpha=0.14, linewidth=0)


def _write_beside(
    page: Page,
    axes: Axes,
    text: str,
    colour: str,
    place: tuple[float, float],
    where: Transform,
    away_pt: tuple[float, float],
    **options: Any,
) -> None:
    """What a line means, next to it, legible on whatever is drawn there."""
    from matplotlib.patheffects import withStroke

    axes.annotate(
        plain(shortened(text, page.width / 2, page.text_pt)), place, xycoords=where, xytext=away_pt,
        textcoords="offset points", color=colour, fontsize=page.text_pt, family=FONT, clip_on=True,
        annotation_clip=True, path_effects=[withStroke(linewidth=2.5, foreground=page.theme.ground)], **options,
    )  # fmt: skip


def _filled(mark: Mark, low: float, high: float, upwards: str, downwards: str) -> tuple[float, float] | None:
    if mark.until is not None:
        return min(mark.value, mark.until), max(mark.value, mark.until)
    if mark.fill == upwards:
        return mark.value, max(high, mark.value)
    if mark.fill == downwards:
        return min(low, mark.value), mark.value
    return None
