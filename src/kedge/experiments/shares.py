"""How far apart two shares are, such as rates of errors: exact at any number of looks and any sample size. PURE.

For each pair of true shares there is a process that stays below 1/alpha for ever with probability 1 - alpha: a mixture
of the bets of `tilts`. Most of it bets on a difference: the variants' odds are tilted in opposite directions, each by
the other's part of the traffic, which is the direction that leaves the common level out. The rest tilts both the same
way; it says what the common level can be. The pairs at which the process is below 1/alpha are the confidence region,
and the differences that occur in it are the interval. Nothing is approximated, so it holds with two errors as with two
million, and whatever rule gave a request to a variant, as long as that did not look at the outcome to come.

Its logarithm is convex in the pair of shares (a sum of exponentials of convex functions). So for a given difference the
least evidence over the common level is found by a golden-section search, and the interval's ends by bisection.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from kedge.experiments.interval import UNKNOWN, Interval
from kedge.experiments.least import least
from kedge.experiments.tilts import BOTH_WAYS, LOG_STAKES_BOTH, Floats, log_factor, log_sum

_ON_DIFFERENCE = 0.8
"""The part of the stake that bets on a difference; the rest bets on the level."""
_STAKES_APART = LOG_STAKES_BOTH + math.log(_ON_DIFFERENCE)
_STAKES_TOGETHER = LOG_STAKES_BOTH + math.log(1 - _ON_DIFFERENCE)
_PRECISION = 1e-4
"""Of the interval's ends, as a part of their distance from the estimate."""

Tally: TypeAlias = tuple[Floats | float, Floats | float]
"""(count, total); of many variants at once as arrays of shape (n, 1)."""


@dataclass(frozen=True)
class Share:
    """count: values between 0 and 1, such as 1 for each request that failed and 0 for the others. total: their sum."""

    count: float
    total: float

    @property
    def tally(self) -> Tally:
        return self.count, self.total

    @property
    def estimate(self) -> float:
        return self.total / self.count if self.count else math.nan


def difference(control: Share, other: Share, split: float, alpha: float) -> Interval:
    """The other's share minus the control's. The true one is inside at every look, but with probability alpha.

    split: the control's part of the traffic of both, as it was meant to be; above 0 and below 1. Another value than the
    true one makes the interval wider, never wrong. It has to be the same at all looks.
    """
    if not control.count or not other.count:
        return UNKNOWN
    limit = -math.log(alpha)
    estimate = other.estimate - control.estimate

    def is_inside(at: float) -> bool:
        return least_evidence(control, other, split, at, limit) < limit

    return Interval(estimate, _end(is_inside, estimate, -1.0), _end(is_inside, estimate, 1.0))


def least_evidence(control: Share, other: Share, split: float, at: float, enough: float = -math.inf) -> float:
    """Logarithm of the evidence against a difference of `at`, at the level of the shares that suits it best.

    enough: the search ends early where it is below that.
    """

    def against(level: float) -> float:
        return float(evidence(control.tally, other.tally, split, level, level + at))

    value, _ = least(against, max(0.0, -at), min(1.0, 1.0 - at), enough)
    return value


def departs(drawn: Share, mean: float, alpha: float) -> bool:
    """Whether the share is another one than `mean`: of an even draw it is said with probability alpha, at any look."""
    if mean in (0.0, 1.0):
        return drawn.total != mean * drawn.count
    grown = log_sum(log_factor(BOTH_WAYS, drawn.count, drawn.total, mean) + LOG_STAKES_BOTH)
    return float(grown) >= -math.log(alpha)


def evidence(
    control: Tally, other: Tally, split: float, control_share: Floats | float, other_share: Floats | float
) -> Floats:
    """Logarithm of the evidence against these true shares."""
    apart = log_factor(-(1 - split) * BOTH_WAYS, *control, control_share)
    apart = apart + log_factor(split * BOTH_WAYS, *other, other_share) + _STAKES_APART
    together = log_factor(BOTH_WAYS, *control, control_share)
    together = together + log_factor(BOTH_WAYS, *other, other_share) + _STAKES_TOGETHER
    return log_sum(np.concatenate([apart, together], axis=-1))


def _end(is_inside: Callable[[float], bool], inside: float, outside: float) -> float:
    """Where the interval ends, between a difference that it holds and the farthest that there is."""
    if is_inside(outside):
        return outside
    estimate = inside
    while abs(outside - inside) > _PRECISION * abs(outside - estimate):
        middle = (inside + outside) / 2
        if is_inside(middle):
            inside = middle
        else:
            outside = middle
    return outside
