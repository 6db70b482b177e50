"""Which columns have drifted, in each window of a series: the default alert, and what a report says of it. PURE.

    known = {"age": baseline.column(ages, times_s), "plan": baseline.column(plans, times_s, "categorical")}
    windows = {"age": [cells.counted(known["age"].cells, values) for values in hours], ...}
    for found in findings(known, windows, starts_s): ...

Nothing is remembered: a series is judged anew from its counts, and its last window is the one of now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from kedge.monitoring.drift import tails
from kedge.monitoring.drift.baseline import HOUR_S, Column
from kedge.monitoring.drift.cells import Floats
from kedge.monitoring.drift.evidence import LEAST_ROWS, MATERIAL, Bools, Judged, judged, recently
from kedge.monitoring.drift.spending import Budget

Severity = Literal["none", "material", "large", "very large"]
LARGE, VERY_LARGE = 2.0, 4.0
"""Times the material size, which the near end of the interval has to reach."""


@dataclass(frozen=True)
class Settings:
    """material: the size that matters, in standard deviations of the baseline. error: of a month, see `spending`.

    segments: how many series of the same data share the error, such as one for all rows and one for each country.
    """

    material: float = MATERIAL
    error: float = 0.01
    least_rows: float = LEAST_ROWS
    window_s: float = HOUR_S
    segments: int = 1


class Finding(NamedTuple):
    """Of one column in one window. aspect: the most significant one, which effect, low, high and p are of.

    effect: in standard deviations of the baseline; low and high its interval at an alert's level. span: how many
    windows it is of, this one and those before it. p: for the whole column. q: the same after control of the false
    discovery rate over the columns of this window: of those with q up to 0.05 one in twenty is in truth unchanged.
    """

    window: int
    column: str
    aspect: str
    span: int
    rows: float
    effect: float
    low: float
    high: float
    p: float
    q: float
    alerts: bool
    severity: Severity


def findings(
    baseline: Mapping[str, Column], windows: Mapping[str, Sequence[Floats] | Floats], starts_s: ArrayLike | None = None,
    settings: Settings = Settings()
) -> list[list[Finding]]:  # fmt: skip
    """For each window, one finding for each column, in the baseline's order.

    windows: of each column, rows of counts as `cells` makes them, oldest first. starts_s: of each window, in seconds
    since 1970. Raises ValueError where the columns are not the baseline's, or their windows are not equally many.
    """
    if baseline.keys() != windows.keys():
        apart = sorted(baseline.keys() ^ windows.keys())
        raise ValueError(f"The windows have to have the baseline's columns; these are in one of them only: {apart}.")
    counts = {name: np.atleast_2d(np.asarray(rows, dtype=np.float64)) for name, rows in windows.items()}
    if len({len(rows) for rows in counts.values()}) > 1:
        raise ValueError("Each column has to have a row of counts for each window; some have fewer than others.")
    starts = None if starts_s is None else np.asarray(starts_s, dtype=np.float64)
    alone, together = Budget(settings.error / settings.segments).of_window(settings.window_s, len(baseline))
    options = (starts, settings.window_s, settings.material, settings.least_rows)
    found = []
    for name, known in baseline.items():
        one = judged(known, counts[name], alone, *options)
        both = recently(known, counts[name], together, *options)
        found.append(_of_column(name, counts[name], (one, both), settings.material))
    by_window = [list(each) for each in zip(*found, strict=True)]
    for each in by_window:
        adjusted = tails.adjusted(np.array([finding.p for finding in each]))
        each[:] = [finding._replace(q=float(q)) for finding, q in zip(each, adjusted, strict=True)]
    return by_window


def alerting(column: Column, counts: Floats, columns: int, starts_s: Floats | None, settings: Settings) -> Bools:
    """Whether the default alert fires for a column, in each of its windows; `columns` of them are watched."""
    alone, together = Budget(settings.error / settings.segments).of_window(settings.window_s, columns)
    options = (starts_s, settings.window_s, settings.material, settings.least_rows)
    one = judged(column, counts, alone, *options)
    both = recently(column, counts, together, *options)
    fires: Bools = np.logical_or.reduce(np.hstack([one.alerts, both.alerts]), axis=1)
    return fires


def lasting(alerts: Sequence[bool], k: int, n: int) -> list[bool]:
    """Whether at least k of the last n windows alerted, at each window."""
    total = np.concatenate([[0], np.cumsum(np.asarray(alerts, dtype=np.int64))])
    return [bool(total[at] - total[max(at - n, 0)] >= k) for at in range(1, len(total))]


def severity(effect: float, low: float, high: float, material: float) -> Severity:
    """Of an alert: by the end of the interval that is nearer to no change, so that it is not exaggerated by chance."""
    surely = max(low if effect > 0 else -high, 0.0) / material
    return "very large" if surely >= VERY_LARGE else "large" if surely >= LARGE else "material"


def _of_column(name: str, counts: Floats, of_spans: tuple[Judged, Judged], material: float) -> list[Finding]:
    found = []
    one, both = of_spans
    for window in range(len(counts)):
        fires = bool(one.alerts[window].any() or both.alerts[window].any())
        # What fires is shown before what is merely significant, such as a change that is too small to matter; and how
        # far the window itself has moved before what it has come to with those before, most of which may be still.
        best = min(
            ((span, aspect) for span in (one, both) for aspect in range(len(span.names))),
            key=lambda at: (
                not at[0].alerts[window, at[1]],
                at[0].alerts[window, at[1]] and at[0] is both,
                at[0].weighed[window, at[1]],
            ),
        )
        span, aspect = best
        effect, low, high = (float(each[window, aspect]) for each in (span.effect, span.low, span.high))
        p = min(float(one.weighed[window].min()), float(both.weighed[window].min()))
        found.append(
            Finding(
                window, name, span.names[aspect], int(span.windows[window]), float(span.rows[window, aspect]),
                effect, low, high, min(2 * p, 1.0), 1.0, fires,
                severity(effect, low, high, material) if fires else "none",
            )
        )  # fmt: skip
    return found
