"""How many instances a host's variant should have, where its ManagedInstanceScaling says that Kedge decides. PURE.

Source: "ProductionVariantManagedInstanceScaling" in the SageMaker API reference. AWS does not say how long an instance
is idle before it is released where no ScaleInPolicy is given; here it is a minute.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kedge.endpoints.records import Variant
from kedge.inference_components.placement import Node, place
from kedge.inference_components.placing import Occupancy

MEMBER = "ManagedInstanceScaling"
IDLE_RELEASE, CONSOLIDATION = "IDLE_RELEASE", "CONSOLIDATION"
IDLE_S = 60.0
DEFAULT_COOLDOWN_MINUTES, DEFAULT_STEP = 20, 1


@dataclass(frozen=True)
class Managed:
    minimum: int
    maximum: int
    strategy: str = IDLE_RELEASE
    step: int = 0
    """The most instances that are released at a time; 0: all that are idle."""
    idle_s: float = IDLE_S
    """How long fewer instances have to be enough before some are released."""

    @classmethod
    def of(cls, variant: Variant) -> Managed | None:
        """None where it is off."""
        given = variant.echo.get(MEMBER, {})
        if given.get("Status") != "ENABLED":
            return None
        minimum = given.get("MinInstanceCount", 1)
        bounds = minimum, given.get("MaxInstanceCount", max(minimum, variant.desired_count))
        policy: Mapping[str, Any] | None = given.get("ScaleInPolicy")
        if policy is None:
            return cls(*bounds)
        is_idle_release = policy["Strategy"] == IDLE_RELEASE
        return cls(
            *bounds,
            policy["Strategy"],
            0 if is_idle_release else policy.get("MaximumStepSize", DEFAULT_STEP),
            60.0 * policy.get("CooldownInMinutes", DEFAULT_COOLDOWN_MINUTES),
        )


def grown(managed: Managed, occupancy: Occupancy) -> int:
    """The count with which copies that find no room find it, as far as that is allowed; at least the minimum."""
    count = occupancy.variant.desired_count
    more = occupancy.lacking or 0
    return max(count, managed.minimum, min(managed.maximum, count + more))


def shrunk(managed: Managed, occupancy: Occupancy) -> int:
    """The count that is enough for the copies that are there; the present one while any waits for room, or moves.

    Without copies on an instance it goes. CONSOLIDATION goes further: it counts on what finds room elsewhere. Copies of
    the instances that go, which are those with the highest numbers, move to others first.
    """
    count = occupancy.variant.desired_count
    if occupancy.unplaced or occupancy.leaving or occupancy.moving or not occupancy.settled:
        return count
    least = max(managed.minimum, count - managed.step if managed.step else 0)
    if managed.strategy == IDLE_RELEASE:
        least = max(least, sum(bool(node.copies) for node in occupancy.nodes))
    wanted = count
    while wanted > least and remain(occupancy.nodes, wanted - 1):
        wanted -= 1
    return wanted


def remain(nodes: Sequence[Node], count: int) -> bool:
    """Whether all copies find room on the first `count` instances, with those that run there staying."""
    kept = [node for node in nodes if node.number < count]
    moving = [copy for node in nodes if node.number >= count for copy in node.copies]
    moving.sort(key=lambda copy: copy.takes.share_of(nodes[0].size), reverse=True)
    spots, _ = place(moving, kept, {})
    return len(spots) == len(moving)
