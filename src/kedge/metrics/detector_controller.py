"""What happens to anomaly detectors by itself: they are trained, and again every hour."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from kedge.clock import Clock
from kedge.errors import ConcurrentChange, ValidationFailed
from kedge.metrics import anomaly, detectors
from kedge.metrics.anomaly import Points
from kedge.metrics.detectors import DETECTOR, INSUFFICIENT, MODEL, TRAINED
from kedge.metrics.reading import Reader
from kedge.metrics.store import MetricStore
from kedge.store.records import Author, Resource
from kedge.store.store import Store

PERIOD_S = 5.0
AT_ONCE_S = 0.05
"""Between two detectors: training is arithmetic for some tenths of a second, which others wait for."""

Read = Callable[[Resource, int, int, int], Points]
"""(detector, period, from, until in seconds since 1970) -> the values that it watches."""

log = logging.getLogger(__name__)


def reading(metrics: MetricStore, clock: Clock) -> Read:
    """From the metric store; of data in several units, that in the one that has most."""

    def read(detector: Resource, period_s: int, start_s: int, end_s: int) -> Points:
        scope, now_s = detector.scope, clock.now().timestamp()
        found = Reader(metrics, scope.account, scope.region, start_s, end_s, now_s).read(
            detectors.queries(detector.document["Watches"], period_s)
        )
        return max((sorted(result.series.points.items()) for result in found), key=len, default=[])

    return read


async def step(store: Store, read: Read, clock: Clock) -> float | None:
    """Trains one detector that is due, and says when the next step is."""
    trained = await asyncio.to_thread(_step, store, read, clock)
    return AT_ONCE_S if trained else None


def _step(store: Store, read: Read, clock: Clock) -> bool:
    now_s = clock.now().timestamp()
    due = next((each for each in store.list(None, DETECTOR).items if detectors.is_due(each, now_s)), None)
    if due is None:
        return False
    try:
        fitted = _fitted(due, read, int(now_s))
    except ValidationFailed as refused:  # an expression that was taken by another release
        log.warning("anomaly detector %s cannot be trained: %s", due.name, refused)
        fitted = []
    document = {"Models": [model.as_json() for model in fitted]}
    state = TRAINED if fitted else INSUFFICIENT
    try:
        with store.transaction(Author("kedge", "anomaly detectors", clock.now())) as tx:
            tx.observe(due, {**due.document, "FittedAt": now_s}, state)
            model = tx.get(due.scope, MODEL, due.name)
            if model is None:
                tx.insert(due.scope, MODEL, due.name, document)
            else:
                tx.observe(model, document)
    except ConcurrentChange:
        return True  # it was changed or deleted meanwhile; what it is now is seen in the next step
    if state != due.status:
        log.info("anomaly detector %s is %s", due.name, state)
    return True


def _fitted(detector: Resource, read: Read, now_s: int) -> list[anomaly.Model]:
    habits = detectors.habits(detector.document)
    fitted = []
    for period_s in detectors.periods_s(detector.document["Watches"]):
        end_s = now_s // period_s * period_s
        points = read(detector, period_s, end_s - anomaly.HISTORY_S, end_s)
        model = anomaly.fit(points, period_s, habits)
        if model is not None:
            fitted.append(model)
    return fitted
