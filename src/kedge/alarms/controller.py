"""What happens to alarms by itself: they are evaluated when their periods end, and act when their state changes.

Nothing is remembered here that the store does not hold, except what is known of it: a process that starts evaluates
every alarm once, finds the states that were written, and so does nothing twice.

Alarms of short periods are evaluated together, those of a minute and more a few at a time, so that thousands of them
leave the processor to others in between. A pass reads what the alarms that are due watch, and writes transitions only.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

from kedge.alarms import reasons
from kedge.alarms.composites import Composites
from kedge.alarms.evaluate import Datapoint, State, evaluate
from kedge.alarms.evaluate import breaches as breaches_
from kedge.alarms.known import Key, KnownAlarms
from kedge.alarms.records import METRIC, find, seconds
from kedge.alarms.transition import act, repeated, set_state
from kedge.alarms.watched import Bands, Read, Watched
from kedge.clock import Clock
from kedge.loop import REST_S, Lease, Signal, run, with_lease
from kedge.metrics.math import MathRefused
from kedge.store.records import Author, Resource
from kedge.store.store import Store
from kedge.store.transaction import Transaction

SETTLE_S = 1.2
"""How long after the end of a period its last values may still arrive: who measures sends once a second."""
PERIOD_S = 1.0
"""How often is looked whether something is due, at least: an alarm that is put or set is seen by then."""
AT_ONCE = 100
"""Alarms of a minute and more that are evaluated in one pass."""
PAUSE_S = 0.25
"""Before the next pass while some are left."""
TOGETHER = 50
"""Alarms that are evaluated before what has changed of them is written, in one transaction."""
SHORT_S, LONG_S = 10, 60
"""How far windows slide: of periods below a minute, and of the others."""
AUTHOR = "monitoring.amazonaws.com"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Finding:
    """A metric alarm that should be in another state than it is, or cannot be evaluated."""

    watched: Watched
    state: State
    reason: str = ""
    reason_data: str = ""
    problem: str = ""


class Controller:
    def __init__(
        self,
        store: Store,
        read: Read,
        clock: Clock,
        lease: Lease,
        *,
        bands: Bands | None = None,
        settle_s: float = SETTLE_S,
    ) -> None:
        """read: of the metric store. bands: of ANOMALY_DETECTION_BAND; without them alarms on one are in error."""
        self._store, self._read, self._clock, self._lease, self._bands = store, read, clock, lease, bands
        self._settle_s = settle_s
        self._known = KnownAlarms(store)
        self._composites = Composites(store, self._known)
        self._commits = 0
        self._seen: int | None = None
        self._ends: dict[int, int] = {}
        self._waiting: dict[int, deque[Key]] = {SHORT_S: deque(), LONG_S: deque()}
        self._evaluated: dict[Key, int] = {}
        self._wake = Signal()
        store.on_commit(self._committed)
        lease.on_taken(self._wake.notify)

    async def run(self) -> None:
        self._wake.attach(asyncio.get_running_loop())
        await run("alarms", self.step, self._wake, self._clock, period_s=PERIOD_S)

    async def step(self) -> float | None:
        return await with_lease(self._lease, self._step)

    async def _step(self, held: tuple[str, int]) -> float:
        if self._is_idle:
            return REST_S
        return await asyncio.to_thread(self.look, held)

    def look(self, held: tuple[str, int]) -> float:
        """One pass. Returns after how many seconds the next one is due. Blocks. Raises LeaseLost."""
        self._refresh()
        now_s = seconds(self._clock.now())
        self._evaluate(now_s, held)
        self._repeat(now_s, held)
        self._composites.look(self._author(), held)
        return self._due_s()

    @property
    def _is_idle(self) -> bool:
        """Whether there is no alarm, and nothing that was written may be one: then a commit is waited for."""
        return self._has_none and self._commits == self._seen and not self._store.is_shared

    @property
    def _has_none(self) -> bool:
        return not self._known.metric and not self._known.composite

    def _committed(self) -> None:
        self._commits += 1
        if self._has_none:
            self._wake.notify()

    def _refresh(self) -> None:
        """Others may have put, set or deleted alarms; what is new is evaluated at once."""
        commits = self._commits
        if commits == self._seen and not self._store.is_shared:
            return
        for key in self._known.refresh():
            self._evaluated.pop(key, None)
            self._wait(key)
        self._seen = commits

    def _wait(self, key: Key) -> None:
        watched = self._known.metric.get(key)
        if watched is not None:
            self._waiting[SHORT_S if watched.period_s < LONG_S else LONG_S].append(key)

    def _due(self, now_s: float) -> Iterator[Key]:
        """The alarms of this pass: all that are due of short periods, and some of the others."""
        for slide_s, waiting in self._waiting.items():
            end_s = int((now_s - self._settle_s) // slide_s * slide_s)
            if end_s != self._ends.get(slide_s):
                self._ends[slide_s] = end_s
                waiting.clear()
                short = slide_s == SHORT_S
                waiting.extend(key for key, each in self._known.metric.items() if (each.period_s < LONG_S) == short)
        yield from _taken(self._waiting[SHORT_S], len(self._waiting[SHORT_S]))
        yield from _taken(self._waiting[LONG_S], AT_ONCE)

    def _evaluate(self, now_s: float, held: tuple[str, int]) -> None:
        due = self._due(now_s)
        while some := list(islice(due, TOGETHER)):
            findings = [found for key in some if (found := self._looked_at(key, now_s)) is not None]
            if findings:
                self._write(findings, held)

    def _looked_at(self, key: Key, now_s: float) -> Finding | None:
        """None when there is nothing to write, also because it was evaluated on these periods already."""
        watched = self._known.metric.get(key)
        if watched is None:
            return None
        end_s = watched.end_s(now_s, self._settle_s)
        if self._evaluated.get(key) == end_s:
            return None
        try:
            found = self._finding(watched, end_s, now_s)
        except Exception:
            log.exception("the alarm %s could not be evaluated; it keeps its state", watched.resource.name)
            return None
        self._evaluated[key] = end_s
        return found

    def _finding(self, watched: Watched, end_s: int, now_s: float) -> Finding | None:
        before = State(watched.resource.status)
        try:
            points = watched.datapoints(self._read, end_s, self._bands)
        except MathRefused as error:
            same = watched.alarm.evaluation == "EVALUATION_ERROR"
            return None if same else Finding(watched, before, problem=str(error))
        if _warms_up(watched, points, now_s):
            return None
        state = evaluate(watched.watch, points, before)
        if state is before and not watched.alarm.evaluation:
            return None
        if state is before:  # it can be evaluated again, and there is nothing new to say of its state
            return Finding(watched, state, watched.alarm.reason, watched.alarm.reason_data)
        watch, with_count = watched.watch, "DatapointsToAlarm" in watched.alarm.config
        now = self._clock.now()
        return Finding(
            watched,
            state,
            reasons.reason(watch, points, state, with_count=with_count),
            reasons.reason_data(watch, points, watched.source, now),
        )

    def _write(self, batch: list[Finding], held: tuple[str, int]) -> None:
        """All of it or nothing; what could not be written is found again by the next pass."""
        try:
            after = self._written(batch, held)
        except Exception:
            for finding in batch:
                self._again(finding.watched.resource)
            raise
        for each in after:
            self._known.took(each)

    def _again(self, resource: Resource) -> None:
        key = (resource.scope, resource.name)
        self._evaluated.pop(key, None)
        self._wait(key)

    def _written(self, batch: list[Finding], held: tuple[str, int]) -> list[Resource]:
        """What was changed since it was read is left alone, and is read and evaluated again."""
        author, after = self._author(), []
        with self._store.transaction(author, lease=held) as tx:
            for finding in batch:
                resource = finding.watched.resource
                current = tx.get(resource.scope, METRIC, resource.name)
                if current is None or (current.id, current.version) != (resource.id, resource.version):
                    self._again(resource)
                    continue
                if finding.problem:
                    alarm = replace(finding.watched.alarm, evaluation="EVALUATION_ERROR")
                    log.warning("the alarm %s cannot be evaluated: %s", resource.name, finding.problem)
                    after.append(tx.observe(current, alarm.document()))
                else:
                    after.append(set_state(tx, current, finding.state, finding.reason, finding.reason_data, author.at))
        return after

    def _repeat(self, now_s: float, held: tuple[str, int]) -> None:
        for key in self._known.repeating:
            watched = self._known.metric[key]
            targets = repeated(watched.alarm, State(watched.resource.status), now_s)
            if targets:
                author = self._author()
                with self._store.transaction(author, lease=held) as tx:
                    after = self._told_again(tx, watched, targets, now_s, author)
                if after is not None:
                    self._known.took(after)

    def _told_again(
        self, tx: Transaction, watched: Watched, targets: list[str], now_s: float, author: Author
    ) -> Resource | None:
        current = find(tx, watched.resource.scope, watched.resource.name)
        if current != watched.resource:
            return None
        after = tx.observe(current, replace(watched.alarm, repeated_at_s=now_s).document())
        act(tx, after, after.status, author.at, targets)
        return after

    def _author(self) -> Author:
        return Author(AUTHOR, "", self._clock.now())

    def _due_s(self) -> float:
        if self._waiting[LONG_S]:
            return PAUSE_S
        now_s = seconds(self._clock.now()) - self._settle_s
        return min(PERIOD_S, SHORT_S - now_s % SHORT_S)


def _taken(waiting: deque[Key], most: int) -> Iterator[Key]:
    for _ in range(min(most, len(waiting))):
        yield waiting.popleft()


def _warms_up(watched: Watched, points: list[Datapoint], now_s: float) -> bool:
    """A new alarm may be told to wait: for a while, or within it until there is enough to decide by."""
    config = watched.alarm.config.get("WarmUpConfiguration")
    if config is None or now_s >= watched.alarm.created_at_s + 60 * config["WarmUpPeriodDurationInMinutes"]:
        return False
    if config.get("OnlyStartEvaluatingAfterWarmUpPeriodEnds"):
        return True
    real = sum(breaches_(watched.watch, point) is not None for point in points)
    return real < watched.watch.evaluation_periods
