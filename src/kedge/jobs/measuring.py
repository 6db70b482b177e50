"""The metrics of jobs, into the metric store: each datapoint once, whoever is killed when.

What was taken is marked in the store together with the datapoints, so a job that is driven again goes on behind it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from kedge.clock import Clock
from kedge.jobs import handed_over, scanning, tree
from kedge.jobs.handed_over import FOLDER, LONGEST_LINE_BYTES, BadLine
from kedge.jobs.program_records import LABELS, TRAINING, ProgramJob
from kedge.logs import names, records
from kedge.logs.block import Event, Key
from kedge.logs.reading import Bounds, Question
from kedge.logs.store import LogStore
from kedge.metrics.data import LARGEST
from kedge.metrics.series import Datum, Summary, metric
from kedge.metrics.store import MetricStore
from kedge.store.records import Resource, Scope
from kedge.store.store import Store

GROUP = names.JOB_GROUPS[LABELS[TRAINING]]
NAMESPACE, DIMENSION = GROUP, "TrainingJobName"
"""Source: TrainingJobAnalytics of the SageMaker Python SDK."""
MOST_LINES = 200_000
"""Of what one job hands over."""
_TOGETHER = 1000
"""Lines of one commit."""
_MOST_REASONS = 5
_PAGE = Bounds(events=10_000, text_bytes=1 << 20, scanned_bytes=8 << 20)


@dataclass(frozen=True)
class Looked:
    """What one look through a job's log has brought."""

    upto: Key
    last: dict[str, dict[str, Any]]
    """By metric: {"MetricName", "Value", "at_s"}."""
    more: bool
    """There are lines behind it."""
    given_up: bool = False
    """The expressions took too long."""


class Measuring:
    def __init__(
        self, store: Store, metrics: MetricStore, logs: LogStore, clock: Clock, read_output: Callable[[], None]
    ) -> None:
        """read_output: has all that tasks wrote among the log events when it returns. Blocks."""
        self._store, self._metrics, self._logs, self._clock = store, metrics, logs, clock
        self.read_output = read_output

    def publish(self, resource: Resource, job: ProgramJob, ml: Path) -> list[str]:
        """What its program has handed over. Returns lines for its log on what is left out.

        Blocks. Raises ServiceUnavailable.
        """
        environment = job.request.get("Environment", {})
        if not handed_over.is_wanted(environment):
            return []
        odd: Counter[str] = Counter()
        now_s = self._clock.now().timestamp()
        lines = _lines(ml)
        for number in range(1, MOST_LINES // _TOGETHER + 1):
            data: list[Datum] = []
            some = list(islice(lines, _TOGETHER))
            for line in some:
                try:
                    data.append(handed_over.datum(line, resource.scope, environment, now_s))
                except BadLine as bad:
                    odd[str(bad)] += 1
            self._metrics.take(f"{job.task} metrics", number, data)
            if len(some) < _TOGETHER:
                break
        if next(lines, None) is not None:
            odd[f"there are more than {MOST_LINES}"] += 1
        told = [f"Metrics were left out: {reason} ({times} times)." for reason, times in odd.items()]
        return told[:_MOST_REASONS]

    async def look(self, resource: Resource, job: ProgramJob) -> Looked:
        """One page of a training job's log, behind what was looked through. Raises ServiceUnavailable."""
        events, rest = await asyncio.to_thread(self._page, resource.scope, job)
        upto: Key = (events[-1].at_ms, events[-1].sequence) if events else _key(job)
        if rest is not None:
            upto = max(upto, rest)
        if not events:
            return Looked(upto, {}, rest is not None)
        definitions = job.request["AlgorithmSpecification"].get("MetricDefinitions", [])
        found = await scanning.scan([each.message for each in events], definitions)
        if found is None:
            return Looked(upto, {}, more=False, given_up=True)
        last: dict[str, dict[str, Any]] = {}
        data = []
        sender = f"{job.uid} values"
        taken = await asyncio.to_thread(self._metrics.taken, sender)
        for place, name, value in found:
            event = events[place]
            at_s = event.at_ms / 1000
            last[name] = {"MetricName": name, "Value": value, "at_s": at_s}
            if event.sequence > taken and abs(value) <= LARGEST:
                data.append(_datum(resource.scope, job.name, name, value, at_s))
        await asyncio.to_thread(self._metrics.take, sender, max(each.sequence for each in events), data)
        return Looked(upto, last, rest is not None)

    def _page(self, scope: Scope, job: ProgramJob) -> tuple[list[Event], Key | None]:
        group = self._store.get(scope, records.KIND, GROUP)
        stream = self._logs.stream(group.id, job.stream) if group is not None else None
        if group is None or stream is None:
            return [], None
        answer = self._logs.read(Question(group.id, {stream.id}, after=_key(job)), _PAGE)
        return answer.events, answer.rest


def _key(job: ProgramJob) -> Key:
    at_ms, sequence = job.looked_through
    return at_ms, sequence


def _datum(scope: Scope, job: str, name: str, value: float, at_s: float) -> Datum:
    named = metric(scope.account, scope.region, NAMESPACE, name, [(DIMENSION, job)])
    return Datum(named, "None", at_s, 60, Summary.one(value))


def _lines(ml: Path) -> Iterator[bytes]:
    """Of all its files, in the order of their names; what is longer than a line may be comes in parts."""
    for each in tree.files(ml, FOLDER):
        try:
            file = tree.open_file(ml, f"{FOLDER}/{each.name}")
        except OSError:  # a link
            continue
        with file:
            while line := file.readline(LONGEST_LINE_BYTES):
                if line.strip():
                    yield line
