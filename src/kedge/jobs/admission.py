"""Which of the jobs that wait for room begin now. PURE.

First come, first served: a job that waits for other jobs to end keeps its place, and nobody overtakes it. One that
would not fit even if no other job ran, because endpoints have the room, lets the others pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Needs(Protocol):
    @property
    def cores(self) -> float: ...
    @property
    def memory_bytes(self) -> int: ...
    @property
    def gpus(self) -> int: ...


def fits(need: Needs, taken: Sequence[Needs], capacity: Needs) -> bool:
    """Whether there is room for it beside what is taken."""
    return (
        need.cores <= capacity.cores - sum(each.cores for each in taken) + 1e-9
        and need.memory_bytes <= capacity.memory_bytes - sum(each.memory_bytes for each in taken)
        and need.gpus <= capacity.gpus - sum(each.gpus for each in taken)
    )


def admitted(
    waiting: Sequence[Needs], running: Sequence[Needs], serving: Sequence[Needs], capacity: Needs
) -> list[int]:
    """Places in `waiting`, which is in the order of their coming, of those that begin.

    running: jobs that have their share already. serving: what endpoints have.
    """
    found: list[int] = []
    jobs = list(running)
    for place, need in enumerate(waiting):
        if fits(need, [*serving, *jobs], capacity):
            found.append(place)
            jobs.append(need)
        elif fits(need, serving, capacity):
            break
    return found
