"""The pure decision: tables for its steps, and a machine that restarts, kills and updates at any instant."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kedge.compute.base import TaskState, TaskStatus
from kedge.endpoints import deployment as steps
from kedge.endpoints.deployment import Action, Observed, plan, strays
from kedge.endpoints.records import Container, Endpoint, Fleet, Status, Variant, instance_id, shortened

SHA = "ab" * 32
SERVING = (Status.IN_SERVICE, Status.UPDATING, Status.ROLLING_BACK)


def variant(name: str = "v", desired: int = 1, current: int = 0, weight: float = 1.0, sha: str = SHA) -> Variant:
    return Variant(
        name=name,
        model="m",
        containers=(Container("primary", "kedge/sklearn", "sklearn", artifact_sha256=sha),),
        instance_type="ml.m5.large",
        cores=2,
        memory_bytes=8,
        gpus=0,
        desired_count=desired,
        desired_weight=weight,
        current_count=current,
        current_weight=weight if current else 0.0,
    )


def fleet(number: int, *variants: Variant, problem: str = "") -> Fleet:
    return Fleet(number, f"config-{number}", 0.0, variants, problem)


def endpoint(live: Fleet | None = None, pending: Fleet | None = None) -> Endpoint:
    return Endpoint("e", "uid", "config-1", 1, live, pending)


def ids(number: int, count: int, name: str = "v") -> list[str]:
    return [instance_id("uid", number, name, ordinal) for ordinal in range(count)]


def task(id_: str, state: TaskState = TaskState.READY, reason: str = "") -> TaskStatus:
    return TaskStatus(id_, state, "", "", reason=reason, labels={"uid": "uid"})


def seen(*tasks: TaskStatus, routed: list[str] | None = None, served: bool = True, cached: bool = True) -> Observed:
    return Observed({t.id: t for t in tasks}, frozenset(routed or ()), served, frozenset({SHA} if cached else ()))


def names(actions: list[Action]) -> list[str]:
    return [type(action).__name__ for action in actions]


OLD, NEW = ids(1, 3), ids(2, 3)
LIVE = fleet(1, variant(desired=1, current=1))
TWO = fleet(1, variant(desired=2, current=1))
READY, STARTING, FAILED, STOPPING = TaskState.READY, TaskState.STARTING, TaskState.FAILED, TaskState.STOPPING


@pytest.mark.parametrize(
    ("record", "status", "observed", "want"),
    [
        # Creating
        (endpoint(pending=fleet(1, variant())), Status.CREATING, seen(cached=False), ["Prepare"]),
        (endpoint(pending=fleet(1, variant(sha=""))), Status.CREATING, seen(), ["Prepare"]),
        (endpoint(pending=fleet(1, variant(desired=2))), Status.CREATING, seen(), ["Start", "Start"]),
        (endpoint(pending=fleet(1, variant(desired=2))), Status.CREATING, seen(task(OLD[0])), ["Start"]),
        (endpoint(pending=fleet(1, variant())), Status.CREATING, seen(task(OLD[0], STARTING)), []),
        (endpoint(pending=fleet(1, variant())), Status.CREATING, seen(task(OLD[0])), ["Promote"]),
        (endpoint(pending=fleet(1, variant())), Status.CREATING, seen(task(OLD[0], FAILED)), ["Fail"]),
        (endpoint(pending=fleet(1, variant(), problem="no")), Status.CREATING, seen(), ["Fail"]),
        (endpoint(LIVE), Status.CREATING, seen(task(OLD[0]), served=False), []),
        (endpoint(LIVE), Status.CREATING, seen(task(OLD[0])), ["GoInService"]),
        # at rest
        (endpoint(LIVE), Status.IN_SERVICE, seen(task(OLD[0])), []),
        (endpoint(LIVE), Status.IN_SERVICE, seen(), ["Start"]),
        (endpoint(LIVE), Status.IN_SERVICE, seen(task(OLD[0]), task(NEW[0])), ["Stop"]),
        (endpoint(LIVE), Status.IN_SERVICE, seen(task(OLD[0]), task(NEW[0], STOPPING)), []),
        (endpoint(LIVE), Status.IN_SERVICE, seen(task(OLD[0]), task(NEW[0]), routed=[NEW[0]]), []),
        (endpoint(LIVE), Status.IN_SERVICE, seen(task(OLD[0], FAILED)), []),
        (endpoint(LIVE), Status.IN_SERVICE, replace(seen(task(OLD[0], FAILED)), rested=frozenset(OLD[:1])), ["Stop"]),
        # Updating to a new fleet
        (endpoint(LIVE, fleet(2, variant())), Status.UPDATING, seen(task(OLD[0])), ["Start"]),
        (endpoint(LIVE, fleet(2, variant())), Status.UPDATING, seen(task(OLD[0]), task(NEW[0], FAILED)), ["RollBack"]),
        (endpoint(LIVE, fleet(2, variant())), Status.UPDATING, seen(task(OLD[0]), task(NEW[0])), ["Promote"]),
        (
            endpoint(fleet(2, variant(current=1))),
            Status.UPDATING,
            seen(task(OLD[0]), task(NEW[0]), routed=OLD[:1] + NEW[:1], served=False),
            [],
        ),
        (
            endpoint(fleet(2, variant(current=1))),
            Status.UPDATING,
            seen(task(OLD[0]), task(NEW[0]), routed=NEW[:1]),
            ["Stop"],
        ),
        (
            endpoint(fleet(2, variant(current=1))),
            Status.UPDATING,
            seen(task(OLD[0], STOPPING), task(NEW[0])),
            ["GoInService"],
        ),
        # Updating the size
        (endpoint(TWO), Status.UPDATING, seen(task(OLD[0])), ["Start"]),
        (endpoint(TWO), Status.UPDATING, seen(task(OLD[0]), task(OLD[1])), ["Promote"]),
        (endpoint(TWO), Status.UPDATING, seen(task(OLD[0]), task(OLD[1], FAILED)), ["RollBack"]),
        (
            endpoint(fleet(1, variant(desired=1, current=2))),
            Status.UPDATING,
            seen(task(OLD[0]), task(OLD[1]), routed=OLD[:2]),
            ["Promote"],
        ),
        # Ending
        (endpoint(pending=LIVE), Status.FAILED, seen(task(OLD[0])), ["Stop"]),
        (endpoint(LIVE), Status.DELETING, seen(task(OLD[0]), routed=OLD[:1]), []),
        (endpoint(LIVE), Status.DELETING, seen(task(OLD[0])), ["Stop"]),
        (endpoint(LIVE), Status.DELETING, seen(task(OLD[0], STOPPING)), []),
        (endpoint(LIVE), Status.DELETING, seen(), ["Remove"]),
    ],
)
def test_plan(record: Endpoint, status: Status, observed: Observed, want: list[str]):
    assert names(plan(record, status, observed)) == want


def test_strays_are_those_without_a_record():
    tasks = {
        "a": task("a"),
        "b": replace(task("b"), labels={"uid": "other"}),
        "job": replace(task("job"), labels={"job": "j"}),
        "gone": replace(task("gone", STOPPING), labels={"uid": "other"}),
    }
    assert [stop.task_id for stop in strays(tasks, {"uid"}, frozenset())] == ["b"]
    assert strays(tasks, {"uid"}, frozenset({"b"})) == []


def test_a_record_survives_its_document():
    record = endpoint(TWO, fleet(2, variant("a"), variant("b", weight=0.25), problem="x"))
    assert Endpoint.of(record.document()) == record


def test_a_long_reason_keeps_its_start_and_its_end():
    text = shortened("start " + "x" * 5000 + " end")
    assert len(text) == 1024
    assert text.startswith("start ")
    assert text.endswith(" end")


class EndpointMachine(RuleBasedStateMachine):
    """An endpoint, an engine and routers that move in any order; the controller is restarted between any two steps.

    Nothing but the record, the tasks and the tables is kept from one `plan` to the next.
    """

    @initialize(sizes=st.lists(st.integers(1, 3), min_size=1, max_size=2))
    def create(self, sizes: list[int]) -> None:
        self.record: Endpoint | None = endpoint(pending=self.new_fleet(1, sizes))
        self.status = Status.CREATING
        self.tasks: dict[str, TaskStatus] = {}
        self.cached = False
        self.router: frozenset[str] = frozenset()
        self.published: frozenset[str] | None = None
        self.was_in_service = False

    def new_fleet(self, number: int, sizes: list[int]) -> Fleet:
        return fleet(number, *(variant(f"v{at}", size) for at, size in enumerate(sizes)))

    def wanted_route(self) -> frozenset[str]:
        if self.record is None or self.record.live is None or self.status in (Status.DELETING, Status.FAILED):
            return frozenset()
        return frozenset(
            id_
            for v in self.record.live.variants
            for id_ in ids(self.record.live.number, min(v.current_count, v.desired_count), v.name)
        )

    # What happens around the controller

    @rule(data=st.data())
    def an_instance_moves_on(self, data: st.DataObject) -> None:
        if self.tasks:
            id_ = data.draw(st.sampled_from(sorted(self.tasks)))
            after = {
                TaskState.STARTING: [READY, READY, READY, FAILED],
                TaskState.RESTARTING: [READY],
                READY: [READY, TaskState.RESTARTING],
                FAILED: [FAILED],
                STOPPING: [None],
            }[self.tasks[id_].state]
            state = data.draw(st.sampled_from(after))
            if state is None:
                del self.tasks[id_]
            else:
                self.tasks[id_] = task(id_, state, "it broke")

    @rule()
    def the_machine_restarts(self) -> None:
        self.tasks = {}

    @rule()
    def the_cache_is_lost(self) -> None:
        self.cached = False

    @rule()
    def a_table_is_published(self) -> None:
        self.published = self.wanted_route()

    @rule()
    def the_router_takes_the_table(self) -> None:
        if self.published is not None:
            self.router, self.published = self.published, None

    # What callers do

    @precondition(lambda self: self.record is not None and self.status is Status.IN_SERVICE)
    @rule(sizes=st.lists(st.integers(1, 3), min_size=1, max_size=2), problem=st.booleans())
    def update(self, sizes: list[int], problem: bool) -> None:
        assert self.record is not None
        number = self.record.fleets + 1
        pending = replace(self.new_fleet(number, sizes), problem="no such image" if problem else "")
        self.record = replace(self.record, pending=pending, fleets=number, failure_reason="")
        self.status = Status.UPDATING

    @precondition(lambda self: self.record is not None and self.status is Status.IN_SERVICE)
    @rule(size=st.integers(1, 3))
    def scale(self, size: int) -> None:
        assert self.record is not None
        assert self.record.live is not None
        first, *rest = self.record.live.variants
        live = replace(self.record.live, variants=(replace(first, desired_count=size), *rest))
        self.record = replace(self.record, live=live)
        self.status = Status.UPDATING

    @precondition(lambda self: self.record is not None and self.status in (Status.IN_SERVICE, Status.FAILED))
    @rule()
    def delete(self) -> None:
        self.status = Status.DELETING

    # The controller

    def decide(self) -> list[Action]:
        assert self.record is not None
        routed = self.router | (self.published or frozenset())
        observed = Observed(
            dict(self.tasks),
            routed,
            self.published is None and self.router == self.wanted_route(),
            frozenset({SHA}) if self.cached else frozenset(),
            frozenset(id_ for id_, t in self.tasks.items() if t.state is FAILED),
        )
        return plan(self.record, self.status, observed)

    @precondition(lambda self: self.record is not None)
    @rule(upto=st.integers(1, 20))
    def controller_runs_and_may_be_killed(self, upto: int) -> None:
        """Only the first `upto` actions of a plan are applied: the rest is lost with the process."""
        for action in self.decide()[:upto]:
            self.apply(action)

    def apply(self, action: Action) -> None:
        assert self.record is not None
        match action:
            case steps.Prepare():
                self.cached = True
            case steps.Start(member):
                self.tasks.setdefault(member.id, task(member.id, STARTING))
            case steps.Stop(id_):
                routed = id_ in self.router and self.tasks[id_].state is not FAILED
                assert not routed, "an instance was stopped while the router sends requests to it"
                self.tasks[id_] = task(id_, STOPPING)
            case steps.Promote():
                new = [self.tasks[m.id] for m in self.record.members() if m.is_new]
                assert all(t.state is READY for t in new), "an instance gets requests before it is ready"
                self.record = self.record.promoted()
            case steps.GoInService():
                assert self.router == self.wanted_route()
                self.status, self.was_in_service = Status.IN_SERVICE, True
            case steps.Fail(reason):
                assert reason
                assert not self.was_in_service, "an endpoint that served may not fail"
                self.record, self.status = self.record.failed(reason), Status.FAILED
            case steps.RollBack(reason):
                assert reason
                self.status = self.status if self.record.pending else Status.ROLLING_BACK
                self.record = self.record.rolled_back(reason)
            case steps.Remove():
                assert not self.tasks
                self.record = None

    # What must always hold

    @invariant()
    def traffic_never_goes_to_an_empty_fleet(self) -> None:
        if getattr(self, "was_in_service", False) and self.status in SERVING:
            assert self.record is not None
            assert self.record.live is not None
            for v in self.record.live.variants:
                assert min(v.current_count, v.desired_count) > 0
            assert self.router, "the router has nobody to send to"

    @rule()
    def it_comes_to_rest(self) -> None:
        """Left alone, with instances that start, it ends with exactly what is wanted running."""
        for _ in range(100):
            before = (self.record, self.status, dict(self.tasks), self.router, self.cached)
            self.a_table_is_published()
            self.the_router_takes_the_table()
            for action in self.decide() if self.record else []:
                self.apply(action)
            for id_, t in list(self.tasks.items()):
                if t.state is STOPPING:
                    del self.tasks[id_]
                elif t.state in (STARTING, TaskState.RESTARTING):
                    self.tasks[id_] = task(id_)
            if before == (self.record, self.status, self.tasks, self.router, self.cached):
                break
        else:
            raise AssertionError("it does not come to rest")
        if self.record is None or self.status is Status.FAILED:
            assert not self.tasks
            assert not self.router
        else:
            assert self.status is Status.IN_SERVICE
            assert {m.id for m in self.record.members()} == set(self.tasks) == self.router
            assert all(t.state is READY for t in self.tasks.values())

    def teardown(self) -> None:
        if hasattr(self, "record"):
            self.it_comes_to_rest()


EndpointMachine.TestCase.settings = settings(
    max_examples=50, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestEndpoint = EndpointMachine.TestCase
