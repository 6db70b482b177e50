"""Which instance runs where: tables, and a machine of zones that go on and off; then the controller itself."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.compute.base import TaskState, TaskStatus
from kedge.config import SettingError, read
from kedge.endpoints import deployment as steps
from kedge.endpoints import zoning
from kedge.endpoints.deployment import Observed, plan
from kedge.endpoints.records import Endpoint, Status
from kedge.endpoints.zones import Zones, moved, next_move, placed
from kedge.errors import ValidationFailed
from tests.endpoints.test_deployment import SHA, endpoint, fleet, variant
from tests.endpoints.world import World
from tests.endpoints.world import variant as a_variant

THREE = ("a", "b", "c")


def running_in(record: Endpoint, places: str) -> dict[str, TaskStatus]:
    """Ready tasks of the members in their order: one letter each, "-" for one that does not run."""
    return {
        member.id: TaskStatus(member.id, TaskState.READY, "", "", labels={"uid": "uid", "zone": zone})
        for member, zone in zip(record.members(), places, strict=True)
        if zone != "-"
    }


def of(count: int) -> Endpoint:
    return endpoint(fleet(1, variant(desired=count, current=count)))


@pytest.mark.parametrize(
    ("places", "zones", "want"),
    [
        ("--", Zones(("a",)), ["a", "a"]),
        ("a-", Zones(("a", "b")), ["b"]),
        ("b-", Zones(("a", "b")), ["a"]),
        ("a-", Zones(("a", "b"), frozenset("b")), ["a"]),
        ("ab--", Zones(THREE), ["c"]),
        ("-----", Zones(("a", "b"), frozenset("a")), ["b"] * 5),
        ("a-", Zones(("b", "c"), frozenset("c")), ["b"]),
    ],
)
def test_what_is_missing_starts_where_the_variant_has_the_fewest(places: str, zones: Zones, want: list[str]):
    record = of(len(places))
    tasks = running_in(record, places)
    members = list(record.members())
    found = [zone for _, zone in placed([m for m in members if m.id not in tasks], members, tasks, zones)]
    assert found[: len(want)] == want


@given(st.integers(1, 12), st.sets(st.sampled_from(THREE), max_size=2), st.data())
def test_it_is_even_over_the_zones_that_are_on(count: int, off: set[str], data: st.DataObject):
    """Whatever is there: moves, one after another, end in a spread in which no two zones differ by more than one."""
    zones = Zones(THREE, frozenset(off))
    record = of(count)
    places = data.draw(st.lists(st.sampled_from([*zones.on, "x"]), min_size=count, max_size=count))
    tasks = running_in(record, "".join(places))
    for _ in range(4 * count):
        actions = plan(record, Status.IN_SERVICE, Observed(tasks, cached=frozenset({SHA}), zones=zones))
        if not actions:
            break
        for action in actions:
            match action:
                case steps.StartMove(move):
                    labels = {"uid": "uid", "zone": move.zone}
                    tasks[move.to.id] = TaskStatus(move.to.id, TaskState.READY, "", "", labels=labels)
                case steps.EndMove(move):
                    assert move.to.id in tasks
                    record = Endpoint.of(json.loads(json.dumps(moved(record, move).document())))
                case steps.Stop(id_, at_once):
                    assert not at_once
                    assert id_ not in {member.id for member in record.members()}, "what serves is not stopped"
                    del tasks[id_]
                case _:
                    raise AssertionError(action)
    counts = [sum(task.labels["zone"] == name for task in tasks.values()) for name in zones.on]
    assert sum(counts) == count
    assert max(counts) - min(counts) <= 1


def test_a_zone_that_is_off_is_cleared_at_once_also_of_what_no_router_has_let_go_of():
    record = of(2)
    tasks = running_in(record, "ab")
    first, second = record.members()
    seen = Observed(tasks, frozenset(tasks), True, frozenset({SHA}), zones=Zones(("a", "b"), frozenset("b")))
    assert plan(record, Status.IN_SERVICE, seen) == [steps.Stop(second.id, at_once=True)]
    gone = replace(seen, tasks={first.id: tasks[first.id]})
    assert plan(record, Status.IN_SERVICE, gone) == [steps.Start(second, "a")]


def test_nothing_moves_while_an_instance_is_not_ready_or_where_the_spread_is_as_even_as_it_can_be():
    record, zones = of(3), Zones(("a", "b"))
    assert next_move(record, running_in(record, "aab"), zones) is None
    assert next_move(record, running_in(record, "aa-"), zones) is None
    found = next_move(record, running_in(record, "aaa"), zones)
    assert found is not None
    assert (found.ordinal, found.zone) == (2, "b")


def test_a_move_that_cannot_start_is_tried_again_later():
    record, zones = of(2), Zones(("a", "b"))
    tasks = running_in(record, "aa")
    move = next_move(record, tasks, zones)
    assert move is not None
    tasks[move.to.id] = TaskStatus(move.to.id, TaskState.FAILED, "", "", labels={"uid": "uid", "zone": "b"})
    seen = Observed(tasks, cached=frozenset({SHA}), zones=zones)
    assert plan(record, Status.IN_SERVICE, seen) == []
    rested = replace(seen, rested=frozenset({move.to.id}))
    assert plan(record, Status.IN_SERVICE, rested) == [steps.Stop(move.to.id)]


def test_of_zones_that_are_all_off_all_are_on():
    assert Zones.of("a", ["a", "b"]).on == ("a",)
    assert Zones.of("a,b", ["b", "z"]).on == ("a",)


@pytest.mark.parametrize("text", ["A", "a,", "a,a", "ab", "a b", "1"])
def test_a_zone_is_one_letter(text: str):
    with pytest.raises(SettingError, match="small letters, none of them twice"):
        read({"KEDGE_ZONES": text})


def ask(world: World, zone: object, state: str) -> None:
    zoning.switch(world.call(), json.dumps({"Zone": zone, "State": state}).encode())


def spread(world: World) -> str:
    return "".join(sorted(task.labels["zone"] for task in world.engine.tasks.values()))


async def two_zones(world: World, count: int = 2) -> World:
    split = replace(world, settings=replace(world.settings, zones="a,b"))
    split.restart_control()
    split.make_model()
    split.make_config("c", a_variant("v", count=count))
    split.do("CreateEndpoint", EndpointName="e", EndpointConfigName="c")
    await split.bring_up()
    return split


async def test_from_two_zones_to_one_and_back_and_over_a_restart(world: World):
    split = await two_zones(world, 4)
    assert spread(split) == "aabb"
    ask(split, "b", "off")
    ask(split, "b", "off")
    await split.bring_up()
    assert spread(split) == "aaaa"
    split.restart_control()
    await split.bring_up()
    assert spread(split) == "aaaa"
    ask(split, "b", "on")
    before = {each.id for each in split.routers.table.endpoints[0].variants[0].instances}
    await split.step(3)
    assert spread(split) == "aaaab"
    now = {each.id for each in split.routers.table.endpoints[0].variants[0].instances}
    assert now == before, "the new one is routed to once it is ready"
    for _ in range(4):
        await split.bring_up()
    assert spread(split) == "aabb"
    assert {each.id for each in split.routers.table.endpoints[0].variants[0].instances} == set(split.engine.tasks)
    assert (await split.describe("e"))["EndpointStatus"] == "InService"
    await split.controller.close()


async def test_what_is_asked_wrongly_is_refused(world: World):
    split = await two_zones(world)
    for zone, state, says in (("z", "off", "its zones are a, b"), ("a", "down", "State is"), (7, "off", "Zone a text")):
        with pytest.raises(ValidationFailed, match=says):
            ask(split, zone, state)
    ask(split, "a", "off")
    with pytest.raises(ValidationFailed, match="the only one that is on"):
        ask(split, "b", "off")
    shown = zoning.shown(split.call(), split.engine.tasks.values())["Zones"]
    assert [(each["AvailabilityZone"], each["State"], each["ReadyInstanceCount"]) for each in shown] == [
        ("us-east-1a", "off", 1),
        ("us-east-1b", "on", 1),
    ]
    await split.controller.close()
