"""Which instance carries out the next invocation, and what becomes of one that came back without an answer. PURE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

MOST_LOSSES = 3
"""An invocation that was with so many instances when they died is not tried again: it may be why."""


@dataclass(frozen=True)
class Place:
    """One instance that is ready."""

    variant: str
    weight: float
    instance: str
    socket: str
    room: int
    """How many more invocations it takes now."""
    busy: int = 0
    """How many it has."""
    part: str = ""
    """Of the variant, where a deployment divides its traffic between two fleets; `weight` is then that of the part."""


def next_place(places: Sequence[Place], draw: float) -> Place | None:
    """Where the next one goes: a part of a variant by weight among those that have room, then its least busy instance.

    draw: in [0, 1). A part of weight 0 gets none. None: whatever waits has to wait.
    """
    free = [each for each in places if each.room > 0 and each.weight > 0]
    if not free:
        return None
    weights = {(each.variant, each.part): each.weight for each in free}
    left = draw * sum(weights.values())
    chosen = free[0].variant, free[0].part
    for part, weight in weights.items():
        chosen = part
        left -= weight
        if left < 0:
            break
    return min(
        (each for each in free if (each.variant, each.part) == chosen), key=lambda each: (each.busy, each.instance)
    )


class Verdict(Enum):
    AGAIN = auto()
    GIVE_UP = auto()


def after_loss(losses: int) -> Verdict:
    """losses: how often its instance died, this time included."""
    return Verdict.AGAIN if losses < MOST_LOSSES else Verdict.GIVE_UP


def is_refusal(head: dict[str, object]) -> bool:
    """Whether an instance's ERROR says that nothing of the request was run: it goes elsewhere, and nothing counts."""
    return head.get("kind") in ("busy", "loading")
