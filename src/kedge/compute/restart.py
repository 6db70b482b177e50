"""When something that ended is started again. PURE."""

from __future__ import annotations

import math
from dataclasses import dataclass

STEADY_S = 10.0
"""Who lived this long starts afresh: its next end is its first."""
BRIEF_S = 1.0
SHARE_OF_LIFE = 0.25
"""Who lived longer than BRIEF_S did its work in between, and is away for this part of that time at most."""
_FIRST_PAUSE_S = 0.1
LONGEST_ROLE_BACK_OFF_S = 5.0
LONGEST_TASK_BACK_OFF_S = 10.0
CRASHES_BEFORE_READY = 2
"""So many ends before a task was ever ready, and it has failed."""


@dataclass(frozen=True)
class Again:
    """Start it after this pause."""

    after_s: float


@dataclass(frozen=True)
class GiveUp:
    """It has failed; no further try."""


def failures_after(failures: int, lived_s: float, *, killed: bool = False) -> int:
    """Ends in a row, this one counted. lived_s: how long it lived (a task: how long it was ready).

    killed: by SIGKILL, and not for its memory. Whoever did that, it was not the code of the model: it is back soon,
    however often that happens.
    """
    if lived_s >= STEADY_S:
        return 1
    if killed:
        return min(failures + 1, 2)
    if lived_s < BRIEF_S:
        return failures + 1
    return min(failures + 1, 2 + int(math.log2(SHARE_OF_LIFE * lived_s / _FIRST_PAUSE_S)))


def back_off_s(failures: int, longest_s: float) -> float:
    """The pause after so many ends in a row: none, 0.1 s, 0.2 s, 0.4 s, ... longest_s."""
    return 0.0 if failures <= 1 else min(longest_s, _FIRST_PAUSE_S * 2 ** min(failures - 2, 20))


def next_step(*, ever_ready: bool, failures: int, told_failure: bool, timed_out: bool) -> Again | GiveUp:
    """What follows the end of a task.

    A task that has been ready once served somebody, so it is brought back for ever. One that never was is most likely
    broken: it gets a second try after a crash, none after it said itself why it cannot start or took too long.
    failures: ends in a row, this one counted.
    """
    if ever_ready:
        return Again(back_off_s(failures, LONGEST_TASK_BACK_OFF_S))
    if told_failure or timed_out or failures >= CRASHES_BEFORE_READY:
        return GiveUp()
    return Again(0.0)
