"""Gives jobs that wait for room their share of the machine. The decision is `admission`'s."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kedge.clock import Clock
from kedge.compute.base import Capacity
from kedge.endpoints import room
from kedge.endpoints.fleets import Sized
from kedge.jobs.admission import admitted
from kedge.jobs.notes import Notes
from kedge.jobs.program_records import LABELS, ProgramJob, Stage
from kedge.jobs.records import Status
from kedge.store.records import Resource


class Admitting:
    def __init__(self, notes: Notes, clock: Clock, capacity: Callable[[], Capacity]) -> None:
        self._notes, self._clock, self._capacity = notes, clock, capacity

    def step(self, going: Sequence[Resource]) -> None:
        """going: jobs of all kinds that have not ended, in the order of their coming. Blocks. Raises LeaseLost."""
        waiting = [
            each
            for each in going
            if each.kind in LABELS
            and each.status == Status.IN_PROGRESS
            and not ProgramJob.of(each.document).is_admitted
        ]
        sizes = [ProgramJob.of(each.document).size for each in waiting]
        store = self._notes.store
        running, serving = (_whole(claims) for claims in (room.working(store), room.serving(store)))
        now_s = self._clock.now().timestamp()
        for place in admitted(sizes, running, serving, self._capacity()):
            self._notes.note(waiting[place], lambda now: ProgramJob.of(now).at(Stage.STARTING, now_s).document())


def _whole(claims: Sequence[tuple[Sized, int]]) -> list[Capacity]:
    return [Capacity(each.cores * count, each.memory_bytes * count, each.gpus * count) for each, count in claims]
