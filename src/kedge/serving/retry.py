"""Whether a request whose instance was lost is tried on another one. PURE.

The model may see a request twice, so this happens only while no byte of an answer has reached the client. A request
that was on two instances when they died is taken for the cause: it cannot take a fleet down. What all requests of a
variant may add to its load is bounded by a budget, so that retries never turn a slow fleet into a dead one.
"""

from __future__ import annotations

from enum import Enum, auto

SETTLE_S = 0.1
LONGEST_SETTLE_S = 0.5
MAX_RETRIES = 3
MAX_DEATHS = 2
MAX_UNBEGUN = 8
SHARE_OF_TRAFFIC = 0.2
FLOOR = 100.0
FLOOR_PER_S = 10.0
CEILING = 1000.0


class Verdict(Enum):
    RETRY = auto()
    GIVE_UP = auto()
    """Answer that the instance was lost (ModelError)."""
    UNAVAILABLE = auto()
    """Answer that it may be sent again later (ServiceUnavailable)."""


def after_death(deaths: int, retries: int, *, retries_on: bool, budget_left: bool) -> Verdict:
    """deaths: instances that died with this request unanswered, this one included. retries: those made so far."""
    if deaths >= MAX_DEATHS or not retries_on:
        return Verdict.GIVE_UP
    if retries >= MAX_RETRIES or not budget_left:
        return Verdict.UNAVAILABLE
    return Verdict.RETRY


def is_suspicious(*, begun: bool, losses: int) -> bool:
    """Whether the loss of an instance may be this request's doing, and so counts as a death.

    begun: its model had begun with it. What only arrives may do harm too, if rarely: it is let off so many times alone.
    losses: of instances that had it, this one included.
    """
    return begun or losses > MAX_UNBEGUN


def settles_for_s(since_lost_s: float, since_death_s: float) -> float:
    """How long a request still waits before it is tried again; 0 for no longer.

    Instances may die of one thing, such as the loss of a zone, and then die milliseconds apart. A request that went
    from one of them to the next would be taken for the cause, so it waits until none has died for SETTLE_S.

    since_lost_s: since the last instance of the variant was lost, its own or another. since_death_s: since its own was.
    """
    return max(0.0, min(SETTLE_S - since_lost_s, LONGEST_SETTLE_S - since_death_s))


def after_busy(retries: int, *, others: bool) -> Verdict:
    """An instance refused the request unread. others: some instance has not refused it yet."""
    return Verdict.RETRY if others and retries < MAX_RETRIES else Verdict.UNAVAILABLE


class Budget:
    """Retries that a variant may still make: a fifth of its requests, and a floor for when there is little traffic."""

    def __init__(self, now_s: float) -> None:
        """now_s: a monotonic time, like that of `take`."""
        self.left = FLOOR
        self._filled_s = now_s

    def request(self) -> None:
        if self.left < CEILING:
            self.left += SHARE_OF_TRAFFIC

    def take(self, now_s: float) -> bool:
        """One retry, if there is one left."""
        if self.left < FLOOR:
            self.left = min(FLOOR, self.left + FLOOR_PER_S * (now_s - self._filled_s))
        self._filled_s = now_s
        if self.left < 1:
            return False
        self.left -= 1
        return True
