"""What an analysis says of two variants: by how much one differs from the other, and how sure that is. PURE."""

from __future__ import annotations

from typing import NamedTuple


class Interval(NamedTuple):
    """The other variant's value minus the control's, in the outcome's unit; infinite where nothing is known yet.

    An interval of a confidence sequence: over all looks, however many and whenever, it holds the true difference each
    time, with the probability that was asked for.
    """

    estimate: float
    low: float
    high: float


UNKNOWN = Interval(float("nan"), float("-inf"), float("inf"))
