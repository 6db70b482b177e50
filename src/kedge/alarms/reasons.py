"""Why an alarm is in its state: StateReason and StateReasonData in AWS's words. PURE.

Source: recorded answers of CloudWatch and the examples of its user guide; dates in a reason are DD/MM/YY.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from kedge.alarms.evaluate import BAND, Datapoint, State, Watch, breaches

INITIAL = "Unchecked: Initial alarm creation"
MAX_REASON_CHARS = 1023
MAX_DATA_CHARS = 4000
_SHOWN = 5
"""Datapoints in a reason; of more only the most recent are named."""

_WORDS: Mapping[str, str] = {
    "GreaterThanOrEqualToThreshold": "greater than or equal to the threshold ({0})",
    "GreaterThanThreshold": "greater than the threshold ({0})",
    "LessThanThreshold": "less than the threshold ({0})",
    "LessThanOrEqualToThreshold": "less than or equal to the threshold ({0})",
    "LessThanLowerOrGreaterThanUpperThreshold": (
        "less than the lower thresholds [{1}] or greater than the upper thresholds [{2}]"
    ),
    "LessThanLowerThreshold": "less than the lower thresholds [{1}]",
    "GreaterThanUpperThreshold": "greater than the upper thresholds [{2}]",
}


@dataclass(frozen=True)
class Source:
    """What StateReasonData says of where the datapoints come from. statistic "" for metric math."""

    period_s: int
    statistic: str = ""
    unit: str = ""


def reason(watch: Watch, points: Sequence[Datapoint], state: State, *, with_count: bool) -> str:
    """Of a metric alarm that has just been found in `state`. points: the evaluation range, oldest first.

    with_count: the alarm names its DatapointsToAlarm, and the reason counts by it.
    """
    n = watch.evaluation_periods
    real = [point for point in points if breaches(watch, point) is not None]
    if state is State.INSUFFICIENT_DATA:
        return f"Insufficient Data: {_count(n)} {_were(n)} unknown."
    head = "Thresholds Crossed" if watch.comparison in BAND else "Threshold Crossed"
    gaps = n - len(real)
    if gaps > 0 and watch.missing in ("breaching", "notBreaching"):
        treated = "Breaching" if watch.missing == "breaching" else "NonBreaching"
        received = f"{_count(len(real))} {_were(len(real))}" if real else "no datapoints were"
        periods = f"{n} period{'' if n == 1 else 's'}"
        missing = f"{gaps} missing datapoint{'' if gaps == 1 else 's'} {_were(gaps)}"
        return f"{head}: {received} received for {periods} and {missing} treated as [{treated}]."
    newest = real[-n:]
    crossed = state is State.ALARM
    named = [point for point in newest if breaches(watch, point) is crossed]
    words = ("" if crossed else "not ") + _compared(watch, named)
    count = f"{len(named)} out of the last {n} datapoints" if with_count else _count(len(named))
    shown = f"[{', '.join(_dated(point) for point in reversed(named[-_SHOWN:]))}]"
    if len(named) <= _SHOWN:
        text = f"{head}: {count} {shown} {_were(len(named))} {words}"
    else:
        which = "crossed" if crossed else "did not cross"
        text = (
            f"{head}: {count} {_were(len(named))} {words}. "
            f"The most recent datapoints which {which} the threshold: {shown}"
        )
    if with_count:
        least = watch.datapoints_to_alarm if crossed else n - watch.datapoints_to_alarm + 1
        change = "OK -> ALARM" if crossed else "ALARM -> OK"
        text += f" (minimum {_count(least)} for {change} transition)"
    return shortened(text + ".")


def reason_data(watch: Watch, points: Sequence[Datapoint], source: Source, now: datetime) -> str:
    """JSON of at most 4000 characters; of many datapoints the oldest are left out."""
    n = watch.evaluation_periods
    real = [point for point in points if breaches(watch, point) is not None][-n:]
    shown = sorted({*real, *points[-n:]}, key=lambda point: point.start_s)
    data: dict[str, Any] = {"version": "1.0", "queryDate": stamp(now)}
    if real:
        data["startDate"] = _start(real[0])
    if source.unit:
        data["unit"] = source.unit
    if source.statistic:
        data["statistic"] = source.statistic
    data |= {"period": source.period_s, "recentDatapoints": [point.value for point in real]}
    if watch.comparison in BAND:
        data["recentLowerThresholds"] = [point.lower for point in real]
        data["recentUpperThresholds"] = [point.upper for point in real]
    else:
        data["threshold"] = watch.threshold
    data["evaluatedDatapoints"] = [_evaluated(point) for point in reversed(shown)]
    text = _json(data)
    while len(text) > MAX_DATA_CHARS:
        if data["evaluatedDatapoints"]:
            data["evaluatedDatapoints"] = data["evaluatedDatapoints"][: len(data["evaluatedDatapoints"]) * 3 // 4]
        else:
            for name in ("recentDatapoints", "recentLowerThresholds", "recentUpperThresholds"):
                data[name] = data[name][len(data[name]) // 4 + 1 :] if name in data else []
        text = _json(data)
    return text


def composite_reason(arn: str, state: str, at: datetime) -> str:
    return shortened(f"{arn} transitioned to {state} at {_long_date(at)}")


def first_composite_reason(arn: str, state: str) -> str:
    return shortened(f"{arn} was created and its alarm rule evaluates to {state}")


def updated_composite_reason(arn: str, state: str) -> str:
    return shortened(f"{arn} was updated and its alarm rule evaluates to {state}")


def composite_data(triggering: Sequence[tuple[str, str, datetime]]) -> str:
    """triggering: (ARN, state, since when) of the alarms that brought it about. JSON of at most 4000 characters."""
    alarms = [{"arn": arn, "state": {"value": state, "timestamp": stamp(at)}} for arn, state, at in triggering]
    while len(text := _json({"triggeringAlarms": alarms})) > MAX_DATA_CHARS:
        alarms.pop()
    return text


def stamp(at: datetime) -> str:
    """2019-10-02T17:04:40.985+0000"""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}+0000"


def shortened(text: str) -> str:
    return text if len(text) <= MAX_REASON_CHARS else text[: MAX_REASON_CHARS - 3] + "..."


def number(value: float) -> str:
    """As Java writes a double, which is how reasons show it: 50.0, 1.0E10."""
    size = abs(value)
    if size == 0 or 1e-3 <= size < 1e7:
        return repr(float(value))
    sign, digits, exponent = Decimal(repr(float(value))).normalize().as_tuple()
    assert isinstance(exponent, int), "a datapoint is a finite number"
    rest = "".join(map(str, digits[1:])) or "0"
    return f"{'-' if sign else ''}{digits[0]}.{rest}E{len(digits) - 1 + exponent}"


def _compared(watch: Watch, named: Sequence[Datapoint]) -> str:
    recent = list(reversed(named[-_SHOWN:]))
    lower = ", ".join(number(point.lower) for point in recent if point.lower is not None)
    upper = ", ".join(number(point.upper) for point in recent if point.upper is not None)
    return _WORDS[watch.comparison].format(number(watch.threshold or 0.0), lower, upper)


def _count(count: int) -> str:
    return f"{count} datapoint{'' if count == 1 else 's'}"


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def _dated(point: Datapoint) -> str:
    assert point.value is not None
    return f"{number(point.value)} ({datetime.fromtimestamp(point.start_s, UTC):%d/%m/%y %H:%M:%S})"


def _start(point: Datapoint) -> str:
    return stamp(datetime.fromtimestamp(point.start_s, UTC))


def _evaluated(point: Datapoint) -> dict[str, Any]:
    said: dict[str, Any] = {"timestamp": _start(point)}
    if point.value is not None:
        said |= {} if point.samples is None else {"sampleCount": point.samples}
        said["value"] = point.value
    return said


def _long_date(at: datetime) -> str:
    """Friday 22 July, 2022 15:57:45 UTC, in English whatever the locale."""
    at = at.astimezone(UTC)
    days = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
    months = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
              "November", "December")  # fmt: skip
    return f"{days[at.weekday()]} {at.day:02d} {months[at.month - 1]}, {at.year} {at:%H:%M:%S} UTC"


def _json(data: Mapping[str, Any]) -> str:
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False)
