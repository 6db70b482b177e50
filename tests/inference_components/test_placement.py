"""Where copies run: no instance is ever given more than it has, nothing moves that need not, copies are spread."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.compute.base import TaskState, TaskStatus
from kedge.endpoints.deployment import UID
from kedge.endpoints.zones import LABEL, Zones
from kedge.inference_components.placement import NODE, ROOM, Copy, Node, Room, fits, lacking, occupied, place

MIB = 1024**2
SIZE = Room(4.0, 4096 * MIB, 2)
rooms = st.builds(
    Room,
    st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 1.0, 2.0, 5.0]),
    st.integers(128, 5000).map(lambda mib: mib * MIB),
    st.integers(0, 3),
)
lists_of_copies = st.lists(st.tuples(st.sampled_from("xyz"), rooms), max_size=12).map(
    lambda drawn: [Copy(f"i-{at}", component, takes) for at, (component, takes) in enumerate(drawn)]
)
schedulings = st.sampled_from(
    [
        {},
        {"PlacementStrategy": "SPREAD"},
        {"PlacementStrategy": "BINPACK"},
        {"PlacementStrategy": "BINPACK", "AvailabilityZoneBalance": {"EnforcementMode": "PERMISSIVE"}},
        {"AvailabilityZoneBalance": {"EnforcementMode": "PERMISSIVE", "MaxImbalance": 2}},
    ]
)


def empty(count: int, zones: str = "ab") -> list[Node]:
    return [Node(number, zones[number % len(zones)], SIZE) for number in range(count)]


def is_within(node: Node) -> bool:
    return node.free.holds(Room(0.0, 0, 0))


@given(lists_of_copies, st.integers(0, 4), schedulings)
def test_no_instance_is_given_more_than_it_has(copies: list[Copy], count: int, scheduling: dict[str, Any]):
    spots, nodes = place(copies, empty(count), scheduling)
    assert all(is_within(node) for node in nodes)
    assert {copy.id: node.number for node in nodes for copy in node.copies} == {
        id_: spot.node for id_, spot in spots.items()
    }
    left = [copy for copy in copies if copy.id not in spots]
    assert not [copy for copy in left if any(node.free.holds(copy.takes) for node in nodes)]


def task(copy: Copy, node: int, zone: str) -> TaskStatus:
    labels = {UID: copy.component, NODE: str(node), ROOM: copy.takes.label(), LABEL: zone}
    return TaskStatus(copy.id, TaskState.READY, "", "", labels=labels)


@given(lists_of_copies, st.integers(1, 4), st.integers(0, 4))
def test_what_has_a_place_stays_there(copies: list[Copy], before: int, after: int):
    """Of fewer instances, only the copies of those that are gone move; more of them move nothing."""
    spots, _ = place(copies, empty(before, "a"), {})
    tasks = [task(copy, spots[copy.id].node, "a") for copy in copies if copy.id in spots]
    nodes, displaced = occupied(empty(after, "a"), tasks, Zones())
    assert displaced == {id_ for id_, spot in spots.items() if spot.node >= after}
    assert all(is_within(node) for node in nodes)


@given(lists_of_copies, st.integers(1, 3))
def test_of_an_instance_that_became_smaller_only_what_is_too_much_leaves(copies: list[Copy], count: int):
    spots, _ = place(copies, empty(count, "a"), {})
    smaller = Room(SIZE.cores / 2, SIZE.memory_bytes // 2, SIZE.gpus // 2)
    tasks = [task(copy, spots[copy.id].node, "a") for copy in copies if copy.id in spots]
    nodes, displaced = occupied([Node(number, "a", smaller) for number in range(count)], tasks, Zones())
    assert all(is_within(node) for node in nodes)
    for each in tasks:
        if each.id in displaced:
            assert not nodes[int(each.labels[NODE])].free.holds(Room.of_label(each.labels[ROOM]))


@pytest.mark.parametrize(
    ("count", "instances", "scheduling", "want"),
    [
        (2, 2, {}, [0, 1]),
        (3, 2, {}, [0, 1, 0]),
        (2, 4, {}, [0, 1]),
        (4, 4, {}, [0, 1, 2, 3]),
        (3, 2, {"PlacementStrategy": "BINPACK"}, [0, 0, 0]),
        (6, 2, {"PlacementStrategy": "BINPACK"}, [0, 0, 0, 0, 1, 1]),
        (2, 2, {"PlacementStrategy": "BINPACK", "AvailabilityZoneBalance": {"MaxImbalance": 0}}, [0, 1]),
        (3, 2, {"PlacementStrategy": "BINPACK", "AvailabilityZoneBalance": {"MaxImbalance": 1}}, [0, 0, 1]),
    ],
)
def test_copies_are_spread_over_zones_and_instances(
    count: int, instances: int, scheduling: dict[str, Any], want: list[int]
):
    """Instances 0 and 2 are in zone a, 1 and 3 in zone b; each holds four copies."""
    copies = [Copy(f"i-{at}", "x", Room(1.0, 128 * MIB, 0)) for at in range(count)]
    spots, _ = place(copies, empty(instances), scheduling)
    assert [spots[copy.id].node for copy in copies] == want


@given(lists_of_copies)
def test_as_many_instances_as_are_said_to_lack_are_enough(copies: list[Copy]):
    needed = lacking(copies, Node(0, "a", SIZE))
    if needed is None:
        assert any(not SIZE.holds(copy.takes) for copy in copies)
        return
    assert needed <= len(copies)
    assert fits([copy.takes for copy in copies], SIZE, needed)
    assert not needed or not fits([copy.takes for copy in copies], SIZE, needed - 1)


@given(rooms)
def test_a_label_says_what_a_copy_takes(room: Room):
    assert Room.of_label(room.label()) == room
