"""In which state a metric alarm should be, given the datapoints of its periods. PURE.

Source: "Configuring how CloudWatch alarms treat missing data" in the CloudWatch user guide. Where its sentence on
premature alarms and its tables disagree, the tables are followed, as AWS has confirmed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from kedge.errors import ValidationFailed


class State(StrEnum):
    OK = "OK"
    ALARM = "ALARM"
    INSUFFICIENT_DATA = "INSUFFICIENT_DATA"


@dataclass(frozen=True)
class Datapoint:
    """One period of what an alarm watches. value None: nothing was reported."""

    start_s: int
    value: float | None = None
    samples: float | None = None
    """How many values it was computed from; None where that cannot be told, as with metric math."""
    lower: float | None = None
    upper: float | None = None
    """The band at this period, for alarms on one."""


@dataclass(frozen=True)
class Watch:
    """What an alarm asks of its datapoints."""

    comparison: str
    threshold: float | None
    evaluation_periods: int
    """N"""
    datapoints_to_alarm: int
    """M, 1 <= M <= N"""
    missing: str = "missing"
    least_samples: float = 0.0
    """Fewer values than this in a period that decides leave the state as it is."""


def evaluation_range(evaluation_periods: int) -> int:
    """How many periods are looked at for an alarm that decides by N of them.

    AWS does not publish the number; its guide's only example is 5 for N = 3. This is Kedge's choice.
    """
    return evaluation_periods + max(2, evaluation_periods // 3)


THRESHOLD: Mapping[str, Callable[[float, float], bool]] = {
    "GreaterThanOrEqualToThreshold": lambda value, threshold: value >= threshold,
    "GreaterThanThreshold": lambda value, threshold: value > threshold,
    "LessThanThreshold": lambda value, threshold: value < threshold,
    "LessThanOrEqualToThreshold": lambda value, threshold: value <= threshold,
}
BAND: Mapping[str, Callable[[float, float, float], bool]] = {
    "LessThanLowerOrGreaterThanUpperThreshold": lambda value, lower, upper: value < lower or value > upper,
    "LessThanLowerThreshold": lambda value, lower, upper: value < lower,
    "GreaterThanUpperThreshold": lambda value, lower, upper: value > upper,
}


def breaches(watch: Watch, point: Datapoint) -> bool | None:
    """None for a period without a value, or without the band that it has to be compared with."""
    if point.value is None:
        return None
    if watch.comparison in BAND:
        if point.lower is None or point.upper is None:
            return None
        return BAND[watch.comparison](point.value, point.lower, point.upper)
    assert watch.threshold is not None, "an alarm without a band has a threshold"
    return THRESHOLD[watch.comparison](point.value, watch.threshold)


def decide(
    votes: Sequence[bool | None], evaluation_periods: int, datapoints_to_alarm: int, missing: str, before: State
) -> State:
    """The state that follows from these periods, oldest first: True is a breach, None no data.

    votes: all periods of the evaluation range. `before` is what comes back where nothing is to change.
    """
    n, m = evaluation_periods, datapoints_to_alarm
    real = [vote for vote in votes if vote is not None]
    if len(real) >= n:
        return State.ALARM if sum(real[-n:]) >= m else State.OK
    breaching = sum(real)
    if missing == "breaching":
        return State.ALARM if breaching + n - len(real) >= m else State.OK
    if missing == "notBreaching" or breaching >= m:
        return State.ALARM if breaching >= m else State.OK
    if not real:
        return before if missing == "ignore" else State.INSUFFICIENT_DATA
    if breaching < len(real):
        return State.OK
    # Only breaches and gaps. One that is old enough alarms although too few followed: the metric may have stopped.
    age = len(votes) - votes.index(True)
    return State.ALARM if age >= m and missing == "missing" else before


def evaluate(watch: Watch, points: Sequence[Datapoint], before: State) -> State:
    """points: of all periods of the evaluation range, oldest first."""
    votes = [breaches(watch, point) for point in points]
    deciding = [point for point, vote in zip(points, votes, strict=True) if vote is not None]
    # AWS: a period of too few values does not change the state. Kedge: nor does a decision that it takes part in.
    if any(_is_low(watch, point) for point in deciding[-watch.evaluation_periods :]):
        return before
    return decide(votes, watch.evaluation_periods, watch.datapoints_to_alarm, watch.missing, before)


def _is_low(watch: Watch, point: Datapoint) -> bool:
    return point.samples is not None and point.samples < watch.least_samples


def least_samples(percentile: float) -> float:
    """With fewer values than this, a percentile (between 0 and 100) says little. Source: the user guide."""
    part = percentile / 100
    if not 0 < part < 1:
        return 0.0
    # 10 / (1 - 0.99) is 999.9999999999991 in floating point.
    return round(10 / (1 - part) if part >= 0.5 else 10 / part, 6)


def aligned_end(now_s: float, period_s: int, settle_s: float) -> int:
    """Where the newest period to look at ends: windows slide by a minute, those of short periods by 10 seconds.

    settle_s: how long after its end a period's last values may still arrive.
    """
    slide_s = 10 if period_s < 60 else 60
    return int((now_s - settle_s) // slide_s * slide_s)


TREATMENTS = ("breaching", "notBreaching", "ignore", "missing")


def checked_treatment(given: str) -> str:
    """Raises ValidationFailed."""
    if given not in TREATMENTS:
        raise ValidationFailed(
            f"The value {given} is not supported for TreatMissingData parameter. "
            f"Supported values are [{', '.join(TREATMENTS)}]."
        )
    return given
