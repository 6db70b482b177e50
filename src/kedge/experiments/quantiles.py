"""Where a quantile lies, such as the 99th percentile of a latency, however often one looks. PURE.

How many values are below the true quantile is a count whose mean is known, so the bets of `tilts` say between which
ranks the quantile is, for any distribution and any sample size. Source: Howard and Ramdas, "Sequential estimation of
quantiles with applications to A/B testing and best-arm identification", 2022. It takes values of one distribution,
each of which says nothing of the next.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from kedge.experiments.interval import Interval
from kedge.experiments.tilts import LOG_STAKES, SIZES, log_factor, log_sum


class Quantile(NamedTuple):
    """What is known of one variant's: the estimate, and the values between which the true one is."""

    estimate: float
    low: float
    high: float


def ranks(count: int, share: float, alpha: float) -> tuple[int, int]:
    """(low, high): the quantile is at least the low-th smallest value and at most the high-th, counted from 1.

    low of 0: nothing is known from below; high of count + 1: nothing from above. share: above 0 and below 1, such as
    0.99. It is so at every look, but with probability alpha.
    """
    limit = math.log(2 / alpha)  # half of alpha on each side
    return _most(count, share, limit, -1.0, count), count + 1 - _most(count, 1 - share, limit, -1.0, count)


def difference(control: Quantile, other: Quantile) -> Interval:
    """The other's minus the control's. Each is to be located at half of the alpha that the interval is to have."""
    return Interval(other.estimate - control.estimate, other.low - control.high, other.high - control.low)


def _most(count: int, share: float, limit: float, sign: float, high: int) -> int:
    """The smallest number of values, up to the quantile, that is not too few to be believed."""
    low = -1  # too few, or as good as that
    tilts = sign * SIZES
    while high - low > 1:
        middle = (low + high) // 2
        evidence = float(log_sum(log_factor(tilts, count, middle, share) + LOG_STAKES))
        low, high = (middle, high) if evidence >= limit else (low, middle)
    return high
