"""All tasks of one supervisor: what control asks for, and what earlier supervisors left."""

from __future__ import annotations

import asyncio
import logging
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from kedge.compute import gpus, output, usage, watchdog
from kedge.compute.base import TaskSpec, TaskState, TaskStatus
from kedge.compute.cgroup import Groups
from kedge.compute.children import Children
from kedge.compute.compilations import Compilations
from kedge.compute.launcher import Launcher
from kedge.compute.process_id import ProcessId
from kedge.compute.records import OUTPUT, TaskRecord, read_tasks, write_task
from kedge.compute.task import Task
from kedge.compute.used import Usage
from kedge.errors import ConcurrentChange, ResourceLimitExceeded, ServiceUnavailable, ValidationFailed
from kedge.home import Home

MAX_TASKS = 4096
MAX_LOG_LINES = 10_000

log = logging.getLogger(__name__)


class Tasks:
    def __init__(
        self, home: Home, launcher: Launcher, children: Children, compilations: Compilations, gpu_count: int = 0
    ) -> None:
        self._compilations = compilations
        self._gpus = gpu_count
        self._home = home
        self._launcher = launcher
        self._children = children
        self._tasks: dict[str, Task] = {}
        self._ending = False
        self.watchers: set[Callable[[TaskStatus], None]] = set()

    def read(self) -> list[ProcessId]:
        """Take up every record; returns the processes that they claim. `begin` goes on from there."""
        for record in read_tasks(self._home):
            self._tasks[record.spec.id] = self._task(record)
        for folder in self._home.tasks.iterdir():
            if folder.name not in self._tasks:
                log.warning("%s has no record that can be read and is removed", folder)
                shutil.rmtree(folder, ignore_errors=True)
        return self.processes()

    def processes(self) -> list[ProcessId]:
        """Those of the records: instances, the first processes of their sandboxes, and their sidecars."""
        records = [task.record for task in self._tasks.values()]
        found = (each for record in records for each in (record.process, record.gate, *record.sidecars))
        return [process for process in found if process is not None]

    def begin(self) -> None:
        for task in list(self._tasks.values()):
            task.begin()

    def start(self, spec: TaskSpec) -> None:
        """Recorded when this returns. Raises ServiceError, or OSError when the record cannot be written."""
        if self._ending:
            raise ServiceUnavailable("The server is shutting down.")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", spec.id):
            raise ValidationFailed(f'Task id "{spec.id}": 1 to 64 letters, digits, ".", "_" or "-".')
        digest = spec.digest()
        known = self._tasks.get(spec.id)
        if known is not None:
            if known.record.state is TaskState.STOPPING or known.record.spec_hash != digest:
                raise ConcurrentChange(f"Task {spec.id} exists with another spec or is being stopped.")
            return
        if len(self._tasks) >= MAX_TASKS:
            raise ResourceLimitExceeded(f"This machine runs {MAX_TASKS} tasks; no more are started.")
        taken = {index for task in self._tasks.values() for index in task.record.gpus}
        given = gpus.chosen(spec.gpus, self._gpus, taken)
        if given is None:
            raise ResourceLimitExceeded(
                f"Task {spec.id} needs {spec.gpus} GPUs; {self._gpus - len(taken)} of {self._gpus} are free."
            )
        (self._home.tasks / spec.id).mkdir(mode=0o700, exist_ok=True)
        record = TaskRecord(spec, digest, str(self._home.instance_socket(spec.id)), gpus=given)
        write_task(self._home, record)
        task = self._tasks[spec.id] = self._task(record)
        task.begin()

    def stop(self, task_id: str, *, at_once: bool = False) -> None:
        if (task := self._tasks.get(task_id)) is not None:
            task.stop(at_once=at_once)

    def observe(self) -> list[TaskStatus]:
        return [task.record.status() for task in self._tasks.values()]

    def log_tail(self, task_id: str, lines: int) -> str:
        if task_id not in self._tasks:
            return ""
        return output.tail(self._home.tasks / task_id / OUTPUT, min(lines, MAX_LOG_LINES))

    async def reset(self) -> None:
        """Kill and forget every task."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.stop(at_once=True)
        await asyncio.gather(*(task.gone() for task in tasks))

    async def halt(self, *, at_once: bool) -> None:
        """End every process; the records stay. May be called again to hurry."""
        self._ending = True
        await asyncio.gather(*(task.halt(at_once=at_once) for task in list(self._tasks.values())))

    def usage(self, groups: Groups | None) -> list[Usage]:
        """What each instance that runs has used, and uses now."""
        running = [task for task in self._tasks.values() if task.record.process is not None]
        # Groups say whose the processes are; without them all of the machine's are looked at.
        everybody = watchdog.processes() if running and groups is None else {}
        return [usage.of_instance(task.record, task.loaded, everybody, groups) for task in running]

    def bound_memory(self) -> None:
        """Ends who uses more than its bound; for a machine on which the kernel does not."""
        bounded = [task for task in self._tasks.values() if task.record.process and task.record.spec.memory_bytes]
        everybody = watchdog.processes() if bounded else {}
        for task in bounded:
            roots = [each.pid for each in (task.record.process, task.record.gate) if each is not None]
            if watchdog.over(watchdog.members(roots, everybody), task.record.spec.memory_bytes):
                task.end_for_memory()

    def bound_output(self) -> None:
        for task_id in self._tasks:
            output.bound(self._home.tasks / task_id / OUTPUT)

    def _task(self, record: TaskRecord) -> Task:
        want = self._compilations.want
        return Task(self._home, record, self._launcher, self._children, self._changed, want)

    def _changed(self, status: TaskStatus) -> None:
        if status.state is TaskState.STOPPED:
            self._tasks.pop(status.id, None)
        for watcher in list(self.watchers):
            watcher(status)


def to_wire(status: TaskStatus) -> dict[str, Any]:
    return asdict(status)


def from_wire(fields: Mapping[str, Any]) -> TaskStatus:
    return TaskStatus(**{**fields, "state": TaskState(fields["state"])})
