"""The fast path: how many instances the concurrent requests of the last seconds need. PURE.

Two windows, as in Knative's autoscaler: what the stable one (60 s) shows is followed; when the short one (6 s) shows
twice as much as the present capacity is meant for, that is followed at once, and by its newest seconds. A quiet minute
alone scales in: the highest average of the stable window in that minute has to leave a tenth of the new capacity free.
As much too much is borne before the stable window scales out. So noise around a constant load changes nothing.

It remembers nothing: the samples say all. Source: Knative Serving, "Autoscaling: stable and panic mode".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

STABLE_S, PANIC_S, NEWEST_S = 60, 6, 4
QUIET_S = 60
"""How long the stable average is looked at before capacity goes."""
PANIC_RATIO, GROWING_RATIO = 2.0, 1.2
"""How many times the present capacity the short window has to show; the second holds for a minute after a scale-out, so
that a load that goes on growing is followed."""
TOLERANCE = 0.1
"""How far from its target a constant load may be, either way."""
KEPT_S = STABLE_S + QUIET_S
ENOUGH = 0.9
"""The share of the seconds that must have been heard of to scale in."""


@dataclass(frozen=True)
class Wanted:
    capacity: int
    requests: float
    """The average that asked for it."""
    over_s: int


def wanted(
    samples: Sequence[float | None], current: int, target: float, since_out_s: float = math.inf
) -> Wanted | None:
    """The capacity to go to; None to stay.

    samples: concurrent requests of the whole variant at the end of each of the last seconds, newest last, at most
    KEPT_S; None where nothing was heard. target: requests for each instance. since_out_s: since the last scale-out.
    """
    panic = _mean(samples[-PANIC_S:])
    stable = _mean(samples[-STABLE_S:])
    if panic is None or stable is None:
        return None
    best = max((panic, PANIC_S), (_mean(samples[-NEWEST_S:]) or 0.0, NEWEST_S))
    ratio = GROWING_RATIO if since_out_s < STABLE_S else PANIC_RATIO
    is_panic = panic >= ratio * current * target and len(_heard(samples[-PANIC_S:])) > 1
    if is_panic and _needs(best[0], target) > current:
        return Wanted(_needs(best[0], target), *best)
    if len(samples) >= STABLE_S and _needs(stable, (1 + TOLERANCE) * target) > current:
        return Wanted(_needs(stable, target), stable, STABLE_S)
    return None if since_out_s < STABLE_S else _fewer(samples, best[0], current, target)


def _fewer(samples: Sequence[float | None], present: float, current: int, target: float) -> Wanted | None:
    """present: an average of the last seconds, which counts too."""
    if len(_heard(samples)) < ENOUGH * KEPT_S:
        return None
    highest = max(present, _highest(samples))
    needed = _needs(highest, (1 - TOLERANCE) * target)
    return Wanted(needed, highest, KEPT_S) if needed < current else None


def _highest(samples: Sequence[float | None]) -> float:
    """Of the stable averages at the end of each of the last QUIET_S seconds."""
    sums = list(accumulate((each or 0.0 for each in samples), initial=0.0))
    counts = list(accumulate((each is not None for each in samples), initial=0))
    highest = 0.0
    for end in range(len(samples) - QUIET_S, len(samples) + 1):
        start = max(0, end - STABLE_S)
        if counts[end] > counts[start]:
            highest = max(highest, (sums[end] - sums[start]) / (counts[end] - counts[start]))
    return highest


def _needs(requests: float, target: float) -> int:
    return math.ceil(requests / target - 1e-9)


def _heard(samples: Sequence[float | None]) -> list[float]:
    return [each for each in samples if each is not None]


def _mean(samples: Sequence[float | None]) -> float | None:
    heard = _heard(samples)
    return sum(heard) / len(heard) if heard else None
