"""Which capacity follows from what a target's policies wish for. PURE.

Policies that wish for more win over those that wish for less: out goes the largest wish, at once; in goes the capacity
only when each policy that has a say wishes for less, and then by the largest of their wishes. The order of the policies
does not matter. The result lies within the bounds.

While the cooldown of a scale-out lasts, what it added is counted: a policy computes its wish from the capacity that was
there before (`counted_from`), and only what exceeds the present one is added. A scale-in waits for every cooldown; a
scale-out ends the one of a scale-in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from kedge.autoscaling.records import Suspended, Target

AT_MAXIMUM, AT_MINIMUM = "AlreadyAtMaxCapacity", "AlreadyAtMinCapacity"
AT_DESIRED, UNSCALABLE = "AlreadyAtDesiredCapacity", "TargetServicePutResourceAsUnscalable"


@dataclass(frozen=True)
class Wish:
    policy: str
    capacity: int
    """Its present one where the policy holds it."""
    cause: str = ""
    """Why, as the activity says it."""
    out_cooldown_s: float = 0.0
    in_cooldown_s: float = 0.0


@dataclass(frozen=True)
class Limits:
    minimum: int
    maximum: int
    suspended: Suspended = field(default_factory=Suspended)
    out_until_s: float = 0.0
    """Until then a scale-out's cooldown lasts. Seconds since 1970."""
    out_base: int = 0
    """The capacity before that scale-out."""
    in_until_s: float = 0.0

    @classmethod
    def of(cls, target: Target) -> Limits:
        return cls(
            target.minimum,
            target.maximum,
            target.suspended,
            target.out_at_s + target.out_cooldown_s,
            target.out_base,
            target.in_at_s + target.in_cooldown_s,
        )

    def within(self, capacity: int) -> int:
        return max(self.minimum, min(capacity, self.maximum))

    def counted_from(self, current: int, now_s: float) -> int:
        """The capacity from which a wish for more is computed."""
        return min(current, self.out_base) if now_s < self.out_until_s else current


@dataclass(frozen=True)
class Decision:
    capacity: int | None = None
    """None: it stays."""
    wish: Wish | None = None
    """The one that was followed, or could not be."""
    not_scaled: str = ""
    """Code of a NotScaledReason, where there is one."""


def decide(current: int, limits: Limits, wishes: Sequence[Wish], now_s: float) -> Decision:
    """current: the desired capacity. wishes: of every policy that has a say."""
    best = max(wishes, key=lambda wish: (wish.capacity, wish.policy), default=None)
    if best is None or best.capacity == current:
        return Decision()
    wanted = limits.within(best.capacity)
    if best.capacity > current:
        if limits.suspended.scale_out:
            return Decision(wish=best)
        if wanted <= current:
            return Decision(wish=best, not_scaled=AT_MAXIMUM)
        return Decision(wanted, best)
    if limits.suspended.scale_in or now_s < max(limits.in_until_s, limits.out_until_s):
        return Decision(wish=best)
    if wanted >= current:
        return Decision(wish=best, not_scaled=AT_MINIMUM)
    return Decision(wanted, best)
