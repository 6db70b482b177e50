"""In which zone each instance runs, and which one moves when they are spread unevenly. PURE.

Zones are failure domains of this machine, named by one letter each; an instance's task carries the letter as a label.
A variant's instances are spread evenly over the zones that are on. What a zone that was switched off has lost is
started in the others, under the same id. What is spread unevenly afterwards moves one instance at a time: a new one,
under another id, is ready before the old one is let go.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from kedge.compute.base import TaskState, TaskStatus
from kedge.endpoints.records import Endpoint, Fleet, Member, Variant, member_id

LABEL = "zone"
FIRST = "a"
_ENDING = (TaskState.STOPPING, TaskState.STOPPED)


@dataclass(frozen=True)
class Zones:
    names: tuple[str, ...] = (FIRST,)
    """Letters, in the order of the setting; not empty."""
    off: frozenset[str] = frozenset()
    """Of these, the ones that are switched off; never all."""

    @classmethod
    def of(cls, setting: str, off: Collection[str]) -> Zones:
        """setting: of KEDGE_ZONES. Where it names only zones that are off, they are on: something has to serve."""
        names = tuple(setting.split(","))
        known = frozenset(off) & frozenset(names)
        return cls(names, frozenset() if len(known) == len(names) else known)

    @property
    def on(self) -> tuple[str, ...]:
        return tuple(name for name in self.names if name not in self.off)

    def of_task(self, task: TaskStatus) -> str:
        """The first one for a task that an earlier release has started."""
        return task.labels.get(LABEL) or self.names[0]


ONE_ZONE = Zones()


@dataclass(frozen=True)
class Move:
    """An instance that is to run in another zone."""

    ordinal: int
    to: Member
    """Which takes its place."""
    zone: str
    node: int | None = None
    """As for Spot; None where it is an instance of its own."""


@dataclass(frozen=True)
class Spot:
    """Where a copy of an inference component runs."""

    node: int
    """Number of the instance of its host's variant."""
    zone: str


def az_name(region: str, zone: str) -> str:
    """As AWS writes an availability zone: us-east-1a."""
    return f"{region}{zone}"


def placed(
    missing: Sequence[Member], wanted: Iterable[Member], running: Mapping[str, TaskStatus], zones: Zones
) -> list[tuple[Member, str]]:
    """Where each missing member is to start: in the zone that has the fewest instances of its variant.

    wanted: all members of the endpoint. running: its tasks by id.
    """
    counts: dict[tuple[int, str], dict[str, int]] = {}
    for member in wanted:
        of_variant = counts.setdefault((member.fleet, member.variant.name), dict.fromkeys(zones.on, 0))
        if (task := running.get(member.id)) is not None and (zone := zones.of_task(task)) in of_variant:
            of_variant[zone] += 1
    found = []
    for member in missing:
        of_variant = counts[member.fleet, member.variant.name]
        zone = _emptiest(of_variant, member)
        of_variant[zone] += 1
        found.append((member, zone))
    return found


def next_move(endpoint: Endpoint, running: Mapping[str, TaskStatus], zones: Zones) -> Move | None:
    """The move that is under way, or else the first that is to begin; None where all is even, or not all is ready.

    endpoint: at rest. The answer is the same until the move is done or what it was made for is not so any more.
    """
    if len(zones.names) == 1 and all(zones.of_task(task) == zones.names[0] for task in running.values()):
        return None
    for fleet in endpoint.present:
        for variant in fleet.variants:
            if (move := _move_of(endpoint, fleet, variant, running, zones)) is not None:
                return move
    return None


def moved(endpoint: Endpoint, move: Move) -> Endpoint:
    """The instance that was started in another zone takes the place of the one that it is for."""

    def renamed(variant: Variant) -> Variant:
        if variant.name != move.to.variant.name:
            return variant
        times = variant.moves.get(str(move.ordinal), 0) + 1
        return replace(variant, moves={**variant.moves, str(move.ordinal): times})

    def of(fleet: Fleet | None) -> Fleet | None:
        return fleet if fleet is None or fleet.number != move.to.fleet else fleet.each(renamed)

    return replace(endpoint, live=of(endpoint.live), beside=of(endpoint.beside))


def _move_of(
    endpoint: Endpoint, fleet: Fleet, variant: Variant, running: Mapping[str, TaskStatus], zones: Zones
) -> Move | None:
    places: dict[str, list[int]] = {name: [] for name in zones.on}
    for ordinal in range(variant.wanted_count):
        task = running.get(member_id(endpoint.uid, fleet.number, variant, ordinal))
        if task is None or task.state is not TaskState.READY or zones.of_task(task) in zones.off:
            return None
        places.setdefault(zones.of_task(task), []).append(ordinal)
    candidates = []
    for zone, ordinals in places.items():
        for ordinal in ordinals:
            to = Member(member_id(endpoint.uid, fleet.number, variant, ordinal, 1), fleet.number, variant, ordinal)
            task = running.get(to.id)
            if task is not None and task.state not in _ENDING:
                target = zones.of_task(task)
                if target in zones.on and _helps(places, zone, target, zones):
                    return Move(ordinal, to, target)
            elif task is None:
                target = _emptiest({name: len(places[name]) for name in zones.on}, to)
                if _helps(places, zone, target, zones):
                    candidates.append((zone not in zones.on, len(ordinals), Move(ordinal, to, target)))
    if not candidates:
        return None
    return max(candidates, key=lambda each: (each[0], each[1], each[2].ordinal))[2]


def _helps(places: Mapping[str, Sequence[int]], zone: str, target: str, zones: Zones) -> bool:
    """Whether a move between the two makes the spread more even. A zone that is not on, or not there, is left."""
    return zone not in zones.on or len(places[zone]) - len(places[target]) >= 2


def _emptiest(counts: Mapping[str, int], member: Member) -> str:
    """Of several, one that depends on the variant: endpoints of one instance do not all meet in the first zone."""
    names = list(counts)
    text = f"{member.fleet}/{member.variant.name}/{member.variant.model}"
    first = hashlib.sha256(text.encode()).digest()[0] % len(names)
    return min(names, key=lambda name: (counts[name], (names.index(name) - first) % len(names)))
