"""The output of tasks becomes log events: what the files of the data directory have more than the last time.

How far a file was read is committed with the events of it, so nothing is lost and nothing comes twice, whoever is
killed when. Each task is a source under its own id; where its file lies changes once, when the task is forgotten.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from kedge.clock import Clock
from kedge.compute import ended
from kedge.compute.records import OUTPUT, RECORD, read_task
from kedge.home import Home
from kedge.logs import lines, names
from kedge.logs.platform import group_number
from kedge.logs.records import as_ms
from kedge.logs.store import LogStore, Mark
from kedge.store.records import Author, Scope
from kedge.store.store import Store

PERIOD_S = 0.5
QUIET_PERIOD_S = 0.9
"""Once nothing has come for QUIET_AFTER_S. Still, a line is there within a second."""
QUIET_AFTER_S = 10.0
_CHUNK_BYTES = 1024 * 1024
"""Of one commit."""
_BEHIND_MS = 2_000
"""A line this little older than one that another source brought before gets that one's time: who follows a group asks
for what is newer than the newest that it has seen, and would miss it. An older one was written while nobody read."""
_CHUNKS = 16
"""Of one source in one step: others get their turn."""

log = logging.getLogger(__name__)


@dataclass
class Source:
    name: str
    scope: Scope
    group: str
    stream: str
    position: int
    """How far it was read, as the mark says."""
    last_ms: int
    """Time of its newest event: a clock that was set back does not put the next line before it."""


def destination(task_id: str, labels: Mapping[str, str]) -> tuple[str, str] | None:
    """(group, stream) of a task with these labels; None where its output is not kept as events."""
    if "inference_component" in labels:
        return names.component_group(labels["inference_component"]), names.instance_stream(labels["variant"], task_id)
    if "endpoint" in labels and "variant" in labels:
        return names.endpoint_group(labels["endpoint"]), names.instance_stream(labels["variant"], task_id)
    if "transform_job" in labels:
        return names.TRANSFORM_GROUP, names.job_stream(labels["transform_job"], task_id)
    for label, group in names.JOB_GROUPS.items():
        if label in labels:
            return group, labels["stream"]
    return None


class Follower:
    def __init__(self, logs: LogStore, store: Store, home: Home, clock: Clock) -> None:
        self._logs = logs
        self._store = store
        self._home = home
        self._clock = clock
        self._sources: dict[str, Source | None] = {}
        self._newest_ms = 0
        self._came_s = clock.monotonic_s()
        """When something came last."""
        self._turn = threading.Lock()

    def step(self) -> float | None:
        """Blocks. Returns 0 when there is more to read at once. Raises ServiceError, OSError, sqlite3.Error."""
        with self._turn:
            more = False
            gone = set(self._sources)
            for folder in os.scandir(self._home.tasks):
                gone.discard(folder.name)
                source = self._source(folder.name)
                if source is not None:
                    more |= self._read(source, os.path.join(folder.path, OUTPUT), whole=False)
            for task_id in list(ended.found(self._home)):
                gone.discard(task_id)
                source = self._source(task_id)
                if source is None or not self._read(source, ended.path(self._home, task_id), whole=True):
                    ended.remove(self._home, task_id)
                    self._logs.forget_mark(task_id)
                    gone.add(task_id)
                else:
                    more = True
            for task_id in gone:
                self._sources.pop(task_id, None)
            return 0.0 if more else None

    @property
    def period_s(self) -> float:
        """Until the next step, where nothing more is there at once."""
        return QUIET_PERIOD_S if self._clock.monotonic_s() - self._came_s > QUIET_AFTER_S else PERIOD_S

    def forget(self) -> None:
        """What is left of tasks that are not there any more is not read; call it once there are none."""
        with self._turn:
            for task_id in list(ended.found(self._home)):
                ended.remove(self._home, task_id)
            self._sources.clear()
            self._logs.wipe()

    def _source(self, task_id: str) -> Source | None:
        if task_id in self._sources:
            return self._sources[task_id]
        record = read_task(self._home.tasks / task_id / RECORD)
        spec = record.spec if record is not None else ended.spec(self._home, task_id)
        if spec is None:
            return None  # just being made, or what compiles a model
        found = destination(task_id, spec.labels)
        source = None
        if found is not None:
            scope = Scope(spec.labels["account"], spec.labels["region"])
            source = Source(task_id, scope, *found, self._logs.mark(task_id), 0)
        self._sources[task_id] = source
        return source

    def _read(self, source: Source, path: str, *, whole: bool) -> bool:
        """True when there is more. whole: nothing is written to it any more."""
        try:
            size = os.stat(path).st_size
        except FileNotFoundError:
            return False
        if size == source.position:
            return False
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), "rb", buffering=0) as file:
            for _ in range(_CHUNKS):
                begin = self._begin(source, file.fileno())
                found = os.fstat(file.fileno())
                data = os.pread(file.fileno(), _CHUNK_BYTES, begin)
                events, taken = lines.cut(data, ended=whole and begin + len(data) >= found.st_size)
                if not taken and begin == source.position:
                    return False
                self._take(source, events, begin + taken, int(found.st_mtime * 1000))
                if source.position >= found.st_size:
                    return False
        return True

    def _begin(self, source: Source, file: int) -> int:
        """Where the next line is: old output of a file that became too long is a hole, or the file began anew."""
        if os.fstat(file).st_size < source.position:
            log.warning("the output of %s was cut off before it was read", source.name)
            return 0
        if not hasattr(os, "SEEK_DATA"):
            return source.position
        try:
            begin = os.lseek(file, source.position, os.SEEK_DATA)
        except OSError:  # no data after it, or a file system that does not know holes
            return source.position
        if begin > source.position:
            lost = begin - source.position
            log.warning("%d bytes of the output of %s were given up before they were read", lost, source.name)
        return begin

    def _take(self, source: Source, events: list[str], position: int, written_ms: int) -> None:
        """Commit. written_ms: when the last of them was written at the latest, which may be long ago."""
        self._came_s = self._clock.monotonic_s()
        now_ms = as_ms(self._clock.now())
        mark = Mark(source.name, source.position, position)
        at_ms = max(min(written_ms, now_ms), min(source.last_ms, now_ms))
        if 0 < self._newest_ms - at_ms < _BEHIND_MS:
            at_ms = min(self._newest_ms, now_ms)
        group = self._group(source) if events else 0
        if not self._logs.put(group, source.stream, [at_ms] * len(events), events, now_ms, mark=mark, create=True):
            source.position = self._logs.mark(source.name)
            return
        source.position, source.last_ms = position, at_ms
        self._newest_ms = max(self._newest_ms, at_ms)

    def _group(self, source: Source) -> int:
        """The group's number; it is made with the first line, and anew when it was deleted."""
        author = Author("kedge", f"output of {source.name}", self._clock.now())
        return group_number(self._store, source.scope, source.group, author)
