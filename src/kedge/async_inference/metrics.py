"""The metrics that SageMaker has for asynchronous endpoints, and the latency of their models. PURE.

What counts has a sample of 1 or 0 for each invocation that ended, so that averages are rates; a variant of which none
ended for a minute gets one 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from kedge.async_inference.records import Completed, Outcome, Times
from kedge.metrics.platform import COUNT, MICROSECONDS, MINUTE, NAMESPACE, SECOND, by_variant
from kedge.metrics.series import Datum, Summary, metric
from kedge.serving.meter import VariantPlace
from kedge.store.records import Backlog

MILLISECONDS = "Milliseconds"
PROCESSED = "InvocationsProcesssed"
"""With three s: so SageMaker spells it."""
NOTIFICATION_FAILURES = "NotificationFailures"
COUNTED = (
    PROCESSED,
    "InvocationFailures",
    "ExpiredRequests",
    "RequestDownloadFailures",
    "ResponseUploadFailures",
    NOTIFICATION_FAILURES,
)


def of_invocation(
    place: VariantPlace, outcome: Outcome, times: Times, now: datetime, *, told: bool = True
) -> Iterator[Datum]:
    """told: False when somebody wanted to be notified and could not be."""
    second = int(now.timestamp())
    kind = "" if isinstance(outcome, Completed) else outcome.kind
    ones = {PROCESSED: 1.0, kind: 1.0, NOTIFICATION_FAILURES: 0.0 if told else 1.0}
    for name in COUNTED:
        yield _datum(place, name, COUNT, second, ones.get(name, 0.0))
    begun_at = times.begun_at or now
    yield _datum(place, "TimeInBacklog", MILLISECONDS, second, _ms(times.received_at, begun_at))
    yield _datum(place, "TotalProcessingTime", MILLISECONDS, second, _ms(times.received_at, times.ended_at or now))
    for name, value in (
        ("RequestDownloadLatency", times.download_us),
        ("ResponseUploadLatency", times.upload_us),
        ("ModelLatency", times.model_us),
    ):
        if value > 0:
            yield _datum(place, name, MICROSECONDS, second, value)


def of_backlog(
    account: str, region: str, endpoint: str, backlog: Backlog | None, instances: int, now: datetime
) -> Iterator[Datum]:
    """Of an endpoint's queue, empty for None. instances: those that can take invocations."""
    count = backlog.count if backlog is not None else 0
    age_s = max(0.0, (now - backlog.since).total_seconds()) if backlog is not None else 0.0
    for name, unit, value in (
        ("ApproximateBacklogSize", COUNT, float(count)),
        ("ApproximateBacklogSizePerInstance", COUNT, count / max(1, instances)),
        ("ApproximateAgeOfOldestRequest", "Seconds", age_s),
        ("HasBacklogWithoutCapacity", COUNT, float(count > 0 and not instances)),
    ):
        told = metric(account, region, NAMESPACE, name, (("EndpointName", endpoint),))
        yield Datum(told, unit, int(now.timestamp()), SECOND, Summary.one(value))


def idle(place: VariantPlace, minute: int) -> Iterator[Datum]:
    """Of a variant of which no invocation ended in the minute that began then."""
    for name in COUNTED:
        told = metric(place.account, place.region, NAMESPACE, name, by_variant(place))
        yield Datum(told, COUNT, minute, MINUTE, Summary.one(0.0))


def _datum(place: VariantPlace, name: str, unit: str, second: int, value: float) -> Datum:
    told = metric(place.account, place.region, NAMESPACE, name, by_variant(place))
    return Datum(told, unit, second, SECOND, Summary.one(value))


def _ms(start: datetime, end: datetime) -> float:
    return max(0.0, (end - start).total_seconds() * 1000)
