"""How far apart two means are, of values with any bounds or none, taking each period as one observation. PURE.

What happens within a period may hang together: a burst of errors, a slow minute of a machine that both variants feel.
So a period counts once, as what it adds to the difference of the two means, and no assumption is made about its values.
The interval is an asymptotic confidence sequence (Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform
central limit theory and asymptotic confidence sequences", 2021): it holds at all looks from LEAST_PERIODS on as far as
sums of so many periods are normal, as Student's interval does at one look. A mean that a few huge values decide needs
more periods than that.
"""

from __future__ import annotations

import math

import numpy as np

from kedge.experiments.interval import UNKNOWN, Interval
from kedge.experiments.tilts import Floats

LEAST_PERIODS = 30
LEAST_DECIDING = 10
"""With fewer, in either variant, nothing is said: so many periods with values, and so many of which its spread is made
up. Where errors are rare and come in bursts, no burst yet does not mean that there will be none."""
_TUNED_FOR = 120
"""The number of periods at which the interval is as narrow as it can be."""


def difference(
    control_counts: Floats, control_totals: Floats, other_counts: Floats, other_totals: Floats, alpha: float
) -> Interval:
    """The other's mean value minus the control's. Each array: one number for each period, in which counts may be 0."""
    counted = (control_counts > 0) | (other_counts > 0)
    periods = int(counted.sum())
    both = int(((control_counts > 0) & (other_counts > 0)).sum())
    if both < LEAST_PERIODS:
        return UNKNOWN
    control_mean = float(control_totals.sum() / control_counts.sum())
    other_mean = float(other_totals.sum() / other_counts.sum())
    control_added = (control_totals - control_mean * control_counts) / control_counts.sum()
    other_added = (other_totals - other_mean * other_counts) / other_counts.sum()
    if min(deciding(control_added), deciding(other_added)) < LEAST_DECIDING:
        return UNKNOWN
    added = other_added - control_added
    error = math.sqrt(float(np.square(added).sum()) * periods / (periods - 1))
    away = error * width(periods, alpha)
    estimate = other_mean - control_mean
    return Interval(estimate, estimate - away, estimate + away)


def deciding(deviations: Floats) -> float:
    """How many periods make up the sum of squares: all if they are alike, 1 if one is all of it; 0 of no deviation."""
    squares = np.square(deviations)
    fourth = float(np.square(squares).sum())
    return float(squares.sum()) ** 2 / fourth if fourth else 0.0


def width(periods: int, alpha: float) -> float:
    """How many standard errors the interval reaches to either side; for one look and an alpha of 0.05 it were 1.96."""
    tuning = (math.log(1 / alpha**2) + math.log(math.log(1 / alpha**2) + 1)) / _TUNED_FOR
    grown = periods * tuning + 1
    return math.sqrt(2 * grown / (periods * tuning) * math.log(math.sqrt(grown) / alpha))
