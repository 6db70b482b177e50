"""On which instance of its variant each copy of an inference component runs. PURE.

An instance is room for copies: cores, memory, accelerators. A copy stays where it was placed as long as that instance
is there; only what has no place, or has lost it, is placed. Copies of one component are spread over zones first, then
over instances; with PlacementStrategy BINPACK they fill one instance after another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kedge.compute.base import TaskState, TaskStatus
from kedge.endpoints.deployment import UID
from kedge.endpoints.records import Variant
from kedge.endpoints.zones import Spot, Zones

COMPONENT, NODE, HOST, ROOM = "inference_component", "node", "host", "room"
"""Labels of a copy's task: its component's name, the number of its instance, the uid of the endpoint, what it takes."""
SPREAD, BINPACK = "SPREAD", "BINPACK"
_ENOUGH = 1e-6
"""Of a core: sums of quarters and thirds are not exact."""


@dataclass(frozen=True)
class Room:
    """What an instance has, or a copy takes."""

    cores: float
    memory_bytes: int
    gpus: int

    def less(self, taken: Room) -> Room:
        return Room(self.cores - taken.cores, self.memory_bytes - taken.memory_bytes, self.gpus - taken.gpus)

    def holds(self, needed: Room) -> bool:
        return (
            needed.cores <= self.cores + _ENOUGH
            and needed.memory_bytes <= self.memory_bytes
            and needed.gpus <= self.gpus
        )

    def share_of(self, whole: Room) -> float:
        """Of what is scarcest, 0 to 1."""
        pairs = (
            (self.cores, whole.cores),
            (self.memory_bytes, whole.memory_bytes),
            (self.gpus, whole.gpus),
        )
        return min((part / of for part, of in pairs if of), default=1.0)

    def label(self) -> str:
        return f"{self.cores!r} {self.memory_bytes} {self.gpus}"

    @classmethod
    def of_label(cls, text: str) -> Room:
        cores, memory_bytes, gpus = text.split()
        return cls(float(cores), int(memory_bytes), int(gpus))


@dataclass(frozen=True)
class Copy:
    id: str
    component: str
    """Its uid."""
    takes: Room


@dataclass(frozen=True)
class Node:
    """An instance of a variant that is room for copies."""

    number: int
    zone: str
    size: Room
    copies: tuple[Copy, ...] = ()

    @property
    def free(self) -> Room:
        left = self.size
        for copy in self.copies:
            left = left.less(copy.takes)
        return left

    def with_copy(self, copy: Copy) -> Node:
        return replace(self, copies=(*self.copies, copy))

    def count_of(self, component: str) -> int:
        return sum(copy.component == component for copy in self.copies)


def size_of(variant: Variant) -> Room:
    """Of an instance."""
    return Room(variant.cores, variant.memory_bytes, variant.gpus)


def taken_by(variant: Variant) -> Room:
    """By a copy."""
    reserved = variant.memory_bytes if variant.reserved_bytes is None else variant.reserved_bytes
    return Room(variant.cores, reserved, variant.gpus)


def nodes_of(variant: Variant, zones: Zones) -> list[Node]:
    """The empty instances of a host's variant, spread evenly over the zones that are on."""
    count = min(variant.current_count, variant.desired_count)
    return [Node(number, _zone_of(number, zones), size_of(variant)) for number in range(count)]


def _zone_of(number: int, zones: Zones) -> str:
    """The same whatever is off, unless it is that zone."""
    name = zones.names[number % len(zones.names)]
    return name if name in zones.on else zones.on[number % len(zones.on)]


def occupied(nodes: Sequence[Node], tasks: Iterable[TaskStatus], zones: Zones) -> tuple[list[Node], frozenset[str]]:
    """(instances with the copies that run there, ids of the copies whose instance is gone, full, or in another zone).

    tasks: copies. Where an instance has become too small for all of its copies, those with the smallest ids stay.
    """
    found = {node.number: node for node in nodes}
    displaced = set()
    for task in sorted(tasks, key=lambda each: each.id):
        if task.state is TaskState.STOPPED:
            continue
        copy = Copy(task.id, task.labels[UID], Room.of_label(task.labels[ROOM]))
        node = found.get(int(task.labels[NODE]))
        if node is None or node.zone != zones.of_task(task) or not node.free.holds(copy.takes):
            displaced.add(task.id)
        else:
            found[node.number] = node.with_copy(copy)
    return list(found.values()), frozenset(displaced)


def place(
    copies: Iterable[Copy], nodes: Sequence[Node], scheduling: Mapping[str, Any]
) -> tuple[dict[str, Spot], list[Node]]:
    """(where each copy starts, by its id; the instances with them). Copies that find no room are left out.

    scheduling: a SchedulingConfig; {} spreads.
    """
    found = {node.number: node for node in nodes}
    spots: dict[str, Spot] = {}
    for copy in copies:
        fitting = [node for node in found.values() if node.free.holds(copy.takes)]
        if fitting:
            in_zones = _zone_counts(copy.component, found.values())
            best = min(fitting, key=lambda node: _rank(node, copy, in_zones, scheduling))
            found[best.number] = best.with_copy(copy)
            spots[copy.id] = Spot(best.number, best.zone)
    return spots, list(found.values())


def _zone_counts(component: str, nodes: Iterable[Node]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for node in nodes:
        counts[node.zone] = counts.get(node.zone, 0) + node.count_of(component)
    return counts


def _rank(
    node: Node, copy: Copy, in_zones: Mapping[str, int], scheduling: Mapping[str, Any]
) -> tuple[int, int, float, int]:
    """The smallest is best. The imbalance that a SchedulingConfig allows counts as none."""
    balance = scheduling.get("AvailabilityZoneBalance")
    allowed = 0 if balance is None else balance.get("MaxImbalance", 0)
    uneven = max(0, in_zones[node.zone] - min(in_zones.values()) - allowed)
    free = node.free.share_of(node.size)
    if scheduling.get("PlacementStrategy", SPREAD) == BINPACK:
        return (0 if balance is None else uneven), 0, free, node.number
    return uneven, node.count_of(copy.component), -free, node.number


def lacking(copies: Sequence[Copy], node: Node) -> int | None:
    """How many more instances such as `node`, which is empty, these copies need; None where one is too large for it."""
    if not all(node.size.holds(copy.takes) for copy in copies):
        return None
    nodes: list[Node] = []
    left = sorted(copies, key=lambda copy: copy.takes.share_of(node.size), reverse=True)
    for copy in left:
        at = next((index for index, each in enumerate(nodes) if each.free.holds(copy.takes)), None)
        if at is None:
            nodes.append(node.with_copy(copy))
        else:
            nodes[at] = nodes[at].with_copy(copy)
    return len(nodes)


def fits(taken: Sequence[Room], size: Room, count: int) -> bool:
    """Whether that many instances hold all these copies, however they lie now."""
    needed = lacking([Copy(str(at), "", each) for at, each in enumerate(taken)], Node(0, "", size))
    return needed is not None and needed <= count
