"""Where the copies of all inference components may run, as things are now. PURE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kedge.compute.base import TaskState, TaskStatus
from kedge.endpoints.deployment import ENDING, Placing
from kedge.endpoints.records import Endpoint, Member, Status, Variant, member_id
from kedge.endpoints.zones import Move, Spot, Zones
from kedge.inference_components.placement import (
    HOST,
    NODE,
    Copy,
    Node,
    Room,
    lacking,
    nodes_of,
    occupied,
    place,
    size_of,
    taken_by,
)

Key = tuple[str, str]
"""(uid of a host, name of its variant)"""
_MIB = 1024**2


@dataclass(frozen=True)
class Known:
    """An endpoint or a component, as the store has it."""

    endpoint: Endpoint
    status: Status


@dataclass(frozen=True)
class Occupancy:
    """One variant of a host: its instances, with every copy that is there or about to start."""

    variant: Variant
    nodes: tuple[Node, ...] = ()
    unplaced: tuple[Copy, ...] = ()
    """Copies that find no room."""
    leaving: bool = False
    """Whether copies are on their way out, so that there will be more room."""
    moving: bool = False
    """Whether copies have to leave their instance for another one."""
    settled: bool = True
    """Whether the host is in service, as it should be."""

    @property
    def lacking(self) -> int | None:
        """How many more instances the copies without room need; None where one is too large for any."""
        return lacking(self.unplaced, Node(-1, "", size_of(self.variant)))


@dataclass(frozen=True)
class Found:
    """Where one component's copies may run."""

    key: Key
    spots: Mapping[str, Spot] = field(default_factory=dict)
    left: tuple[Copy, ...] = ()
    """Its copies that find no room."""
    move: Move | None = None


@dataclass(frozen=True)
class Seen:
    hosts: Mapping[Key, Occupancy] = field(default_factory=dict)
    names: Mapping[Key, str] = field(default_factory=dict)
    """Of the endpoints."""
    components: Mapping[str, Found] = field(default_factory=dict)
    """By their uids."""
    lost: Mapping[str, str] = field(default_factory=dict)
    """By the uid of a component without a host: why it has none."""

    def placing(self, uid: str, refused: Mapping[Key, str]) -> Placing:
        """For the plan of this component. refused: why a host's variant gets no further instances, by its key."""
        found = self.components.get(uid)
        if found is None:
            return Placing(no_room=self.lost.get(uid, ""))
        occupancy = self.hosts[found.key]
        no_room = ""
        if found.left and occupancy.settled and not occupancy.leaving and (why := refused.get(found.key, "")):
            no_room = f"{_no_room(self.names[found.key], occupancy, found.left)} {why}"
        return Placing(found.spots, no_room, found.move)


def look(hosts: Sequence[Known], components: Sequence[Known], tasks: Mapping[str, TaskStatus], zones: Zones) -> Seen:
    """components: in the order in which they get what room there is. tasks: of all of them, by id."""
    occupancies: dict[Key, Occupancy] = {}
    names: dict[Key, str] = {}
    found: dict[str, Found] = {}
    for host in hosts:
        for variant in host.endpoint.live.variants if host.endpoint.live is not None else ():
            if variant.is_room:
                key = (host.endpoint.uid, variant.name)
                own = [each for each in components if key_of(each.endpoint) == key]
                names[key] = host.endpoint.name
                occupancies[key], of_variant = _of_variant(host, variant, own, tasks, zones)
                found |= of_variant
    uids = {each.endpoint.uid: each for each in components}
    lost = {uid: _without_host(each.endpoint, hosts) for uid, each in uids.items() if uid not in found}
    return Seen(occupancies, names, found, lost)


def key_of(component: Endpoint) -> Key:
    assert component.host is not None, "a component has a host"
    return component.host.uid, component.host.variant


def _without_host(component: Endpoint, hosts: Sequence[Known]) -> str:
    """Why a component's host has no instances for it, and never will; "" where it may have."""
    assert component.host is not None
    name = component.host.endpoint
    host = next((each for each in hosts if each.endpoint.uid == component.host.uid), None)
    if host is None or host.status is Status.DELETING:
        return f'Endpoint "{name}" is not there any more.'
    if host.status is Status.FAILED:
        return f'Endpoint "{name}" has status Failed: {host.endpoint.failure_reason}'
    return ""


def _of_variant(
    host: Known,
    variant: Variant,
    components: Sequence[Known],
    tasks: Mapping[str, TaskStatus],
    zones: Zones,
) -> tuple[Occupancy, dict[str, Found]]:
    running = {
        id_: task
        for id_, task in tasks.items()
        if task.labels.get(HOST) == host.endpoint.uid
        and task.labels.get("variant") == variant.name
        and task.state is not TaskState.STOPPED
    }
    nodes, displaced = occupied(nodes_of(variant, zones), running.values(), zones)
    spots: dict[str, dict[str, Spot]] = {}
    left: dict[str, list[Copy]] = {}
    wanted: set[str] = set()
    for each in components:
        members = _wanted(each)
        wanted |= {member.id for member in members}
        missing = [member for member in members if member.id not in running]
        spots[each.endpoint.uid], left[each.endpoint.uid] = {}, []
        for member in missing:
            copy = _copy(each.endpoint, member)
            placed, nodes = place([copy], nodes, member.variant.scheduling)
            spots[each.endpoint.uid] |= placed
            if not placed:
                left[each.endpoint.uid].append(copy)
    moves = {each.endpoint.uid: move for each in components if (move := _move(each, running, displaced, nodes))}
    wanted |= {move.to.id for move in moves.values()}
    occupancy = Occupancy(
        variant,
        tuple(nodes),
        tuple(copy for copies in left.values() for copy in copies),
        leaving=any(task.state in ENDING or id_ not in wanted for id_, task in running.items()),
        moving=bool(displaced),
        settled=host.status is Status.IN_SERVICE,
    )
    return occupancy, {
        uid: Found(key_of(each.endpoint), spots[uid], tuple(left[uid]), moves.get(uid))
        for each in components
        for uid in (each.endpoint.uid,)
    }


def _wanted(known: Known) -> list[Member]:
    return [] if known.status in (Status.DELETING, Status.FAILED) else list(known.endpoint.members())


def _copy(component: Endpoint, member: Member) -> Copy:
    return Copy(member.id, component.uid, taken_by(member.variant))


def _move(
    known: Known, running: Mapping[str, TaskStatus], displaced: frozenset[str], nodes: Sequence[Node]
) -> Move | None:
    """The move that is under way, or else the first that can begin. One of a component at a time."""
    if known.status is not Status.IN_SERVICE:
        return None
    beginning: Move | None = None
    for member in _wanted(known):
        to = _moved(known.endpoint, member)
        task = running.get(to.id)
        if task is not None and task.state not in ENDING:
            return Move(member.ordinal, to, task.labels.get("zone", ""), int(task.labels[NODE]))
        if beginning is None and task is None and member.id in displaced:
            placed, _ = place([_copy(known.endpoint, to)], nodes, member.variant.scheduling)
            if placed:
                beginning = Move(member.ordinal, to, placed[to.id].zone, placed[to.id].node)
    return beginning


def _moved(component: Endpoint, member: Member) -> Member:
    id_ = member_id(component.uid, member.fleet, member.variant, member.ordinal, 1)
    return Member(id_, member.fleet, member.variant, member.ordinal)


def _no_room(host: str, occupancy: Occupancy, left: Sequence[Copy]) -> str:
    variant = occupancy.variant
    return (
        f"Not enough room for {len(left)} more {'copy' if len(left) == 1 else 'copies'} on variant {variant.name} of "
        f'endpoint "{host}": a copy takes {_said(left[0].takes)}; of its {len(occupancy.nodes)} instance(s) of type '
        f"{variant.instance_type}, each with {_said(size_of(variant))}, {_freest(occupancy.nodes)}."
    )


def _freest(nodes: Sequence[Node]) -> str:
    if not nodes:
        return "none is there"
    best = max(nodes, key=lambda node: node.free.share_of(node.size))
    return f"the emptiest has {_said(best.free)} left"


def _said(room: Room) -> str:
    return f"{room.cores:g} cores, {room.memory_bytes // _MIB} MiB of memory and {room.gpus} accelerators"
