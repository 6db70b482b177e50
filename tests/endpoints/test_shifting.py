"""Guarded deployments as pure decisions: their steps by tables, and a machine in which everything may go wrong."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kedge.compute.base import TaskState
from kedge.config import Settings
from kedge.endpoints import deployment as steps
from kedge.endpoints import routing, shifting
from kedge.endpoints.deployment import Action, Observed, plan
from kedge.endpoints.descriptions import description
from kedge.endpoints.mixing import mixed
from kedge.endpoints.records import Endpoint, Fleet, Status
from kedge.serving import table
from kedge.store.records import Resource, Scope
from tests.endpoints.test_deployment import SHA, endpoint, fleet, task, variant
from tests.endpoints.test_deployment_config import COUNT, canary, linear, rolling, routed

AT = datetime(2026, 1, 1, tzinfo=UTC)
READY, STARTING, FAILED, STOPPING = TaskState.READY, TaskState.STARTING, TaskState.FAILED, TaskState.STOPPING


def begun(policy: dict[str, Any], old: int = 4, new: int = 4) -> Endpoint:
    record = endpoint(fleet(1, variant(desired=old, current=old)), fleet(2, variant(desired=new)))
    return shifting.begun(record, policy, 0.0)


def followed(record: Endpoint) -> list[tuple[int, int, Fraction]]:
    """(old instances, new instances, share of the new ones) after each step, if all goes well."""
    seen = []
    while True:
        record = shifting.stepped(record, 0.0)
        assert record.live is not None
        assert record.pending is not None
        (one,) = mixed(record)
        seen.append((record.live.variants[0].current_count, record.pending.variants[0].current_count, one.share))
        assert record.shift is not None
        if len(record.shift.steps) == shifting.steps_of(record):
            assert shifting.retired(record, 0.0).shift == replace(
                record.shift, retired=(0.0,) * (len(record.shift.retired) + 1), accepted=True
            )
            return seen
        if "RollingUpdatePolicy" in record.shift.policy:
            record = shifting.retired(record, 0.0)


@pytest.mark.parametrize(
    ("policy", "old", "new", "want"),
    [
        ({"BlueGreenUpdatePolicy": routed("ALL_AT_ONCE")}, 4, 4, [(4, 4, "1")]),
        (canary(10), 1, 1, [(1, 1, "1/10"), (1, 1, "1")]),
        (canary(10), 4, 20, [(4, 2, "1/10"), (4, 20, "1")]),
        (canary(1, COUNT), 4, 3, [(4, 1, "1/3"), (4, 3, "1")]),
        (linear(30), 4, 4, [(4, 2, "3/10"), (4, 3, "3/5"), (4, 4, "9/10"), (4, 4, "1")]),
        (linear(2, COUNT), 2, 5, [(2, 2, "2/5"), (2, 4, "4/5"), (2, 5, "1")]),
        (rolling(50), 4, 4, [(4, 2, "1/3"), (2, 4, "2/3")]),
        (rolling(25), 4, 4, [(4, 1, "1/5"), (3, 2, "2/5"), (2, 3, "3/5"), (1, 4, "4/5")]),
        (rolling(50), 1, 1, [(1, 1, "1/2")]),
        (rolling(1, COUNT), 1, 3, [(1, 1, "1/2"), (1, 2, "2/3"), (1, 3, "3/4")]),
        (rolling(50), 6, 2, [(6, 1, "1/7"), (3, 2, "2/5")]),
    ],
)
def test_the_steps_of_each_kind(policy: dict[str, Any], old: int, new: int, want: list[tuple[int, int, str]]):
    assert followed(begun(policy, old, new)) == [(a, b, Fraction(share)) for a, b, share in want]


def test_a_variant_of_one_fleet_gets_its_part_of_that_fleet():
    live = fleet(1, variant("a", current=1, weight=3.0), variant("old", current=1, weight=1.0))
    pending = fleet(2, variant("a", weight=1.0), variant("new", weight=1.0))
    record = shifting.stepped(shifting.begun(endpoint(live, pending), canary(20), 0.0), 0.0)
    found = {each.name: (each.weight, each.share) for each in mixed(record)}
    a = Fraction(3, 4) * Fraction(4, 5) + Fraction(1, 2) * Fraction(1, 5)
    assert found == {
        "a": (a, Fraction(1, 10) / a),
        "old": (Fraction(1, 4) * Fraction(4, 5), 0),
        "new": (Fraction(1, 2) * Fraction(1, 5), 0),
    }
    assert sum(weight for weight, _ in found.values()) == 1


def test_what_describe_says_on_the_way():
    def said(record: Endpoint) -> tuple[str, str]:
        shown = description(record, Status.UPDATING, "arn", AT, AT)
        (status,) = shown["PendingDeploymentSummary"]["ProductionVariants"][0]["VariantStatus"]
        return status["Status"], status["StatusMessage"]

    policy = canary(25, wait_s=60, TerminationWaitInSeconds=120)
    record = begun(policy)
    assert said(record) == ("Creating", "Launching 4 instance(s).")
    record = shifting.stepped(record, 10.0)
    assert said(record) == ("ActivatingTraffic", "Activating traffic on canary capacity of 1 instance(s).")
    record = shifting.baking(record, 20.0)
    bake = "Baking for 60 seconds (WaitIntervalInSeconds) with traffic enabled on canary capacity of 1 instance(s)."
    assert said(record) == ("Baking", bake)
    record = shifting.baking(shifting.stepped(record, 80.0), 81.0)
    bake = "Baking for 120 seconds (TerminationWaitInSeconds) with traffic enabled on full capacity of 4 instance(s)."
    assert said(record) == ("Baking", bake)
    record = shifting.retired(record, 201.0)
    shown = description(record, Status.UPDATING, "arn", AT, AT)
    (status,) = shown["ProductionVariants"][0]["VariantStatus"]
    assert (status["Status"], status["StatusMessage"]) == ("Deleting", "Terminating 4 instance(s).")
    assert shown["EndpointConfigName"] == "config-1"
    assert record.promoted().config == "config-2"

    record = shifting.retired(shifting.stepped(begun(rolling(25)), 1.0), 2.0)
    assert said(record) == ("Creating", "Launching 1 instance(s).")

    record = shifting.hurried(shifting.baking(shifting.stepped(begun(policy), 10.0), 20.0))
    going_on = "Going on without a bake, as was asked, with traffic enabled on canary capacity of 1 instance(s)."
    assert said(record) == ("Baking", going_on)


def test_a_record_with_a_shift_survives_its_document():
    record = shifting.retired(shifting.stepped(begun(rolling(25)), 1.0), 2.0)
    assert Endpoint.of(record.document()) == record
    stuck = shifting.stuck(shifting.turned_back(record, "it rang"), "no")
    assert Endpoint.of(stuck.document()) == stuck


def sizes() -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(1, 4), min_size=1, max_size=2)


POLICIES = [
    {"BlueGreenUpdatePolicy": {**routed("ALL_AT_ONCE"), "TerminationWaitInSeconds": 30}},
    canary(10, wait_s=20, TerminationWaitInSeconds=30, MaximumExecutionTimeoutInSeconds=600),
    linear(30, wait_s=20, MaximumExecutionTimeoutInSeconds=600),
    rolling(50, wait_s=20, MaximumExecutionTimeoutInSeconds=600),
    rolling(25, wait_s=20, RollbackMaximumBatchSize={"Type": "CAPACITY_PERCENT", "Value": 50}),
]


class DeploymentMachine(RuleBasedStateMachine):
    """A deployment with instances that die, alarms that flap, a clock, routers that lag, and a user who deletes.

    Nothing but the record, the tasks and the tables is kept from one `plan` to the next.
    """

    @initialize(old=sizes(), new=sizes(), policy=st.sampled_from(POLICIES), tries=st.booleans())
    def update(self, old: list[int], new: list[int], policy: dict[str, Any], tries: bool) -> None:
        self.now_s = 0.0
        self.alarm = ""
        self.guarded_s: float | None = None
        live = Fleet(1, "config-1", 0.0, tuple(variant(f"v{at}", n, n) for at, n in enumerate(old)))
        self.record: Endpoint | None = endpoint(live)
        self.status = Status.IN_SERVICE
        self.tasks = {m.id: task(m.id) for m in self.record.members()}
        self.router = self.published = self.wanted()
        self.begin(new, policy, tries)

    def begin(self, new: list[int], policy: dict[str, Any], tries: bool) -> None:
        assert self.record is not None
        number = self.record.fleets + 1
        pending = fleet(number, *(variant(f"v{at}", n) for at, n in enumerate(new)))
        pending = replace(pending, trial={"kedge:trial": "captured"} if tries else {})
        record = replace(self.record, pending=pending, fleets=number, failure_reason="")
        self.record = shifting.begun(record, policy, self.now_s)
        self.status = Status.UPDATING
        self.old = {m.id for m in record.members() if m.fleet != number}
        self.target = number

    def wanted(self) -> table.Endpoint | None:
        if self.record is None:
            return None
        document = self.record.document()
        resource = Resource(Scope("1" * 12, "r"), "endpoint", "e", 1, document, self.status, AT, AT)
        return routing.route(resource, Settings(), lambda id_: id_)

    # What happens around the controller

    @rule(seconds=st.sampled_from([1, 10, 30, 700]))
    def time_passes(self, seconds: int) -> None:
        self.now_s += seconds

    @rule(rings=st.booleans())
    def the_alarm_changes(self, rings: bool) -> None:
        self.alarm = "it rang" if rings else ""

    @rule(data=st.data())
    def an_instance_moves_on(self, data: st.DataObject) -> None:
        if self.tasks:
            id_ = data.draw(st.sampled_from(sorted(self.tasks)))
            after: list[TaskState | None] = {
                STARTING: [READY, READY, READY, FAILED],
                TaskState.RESTARTING: [READY, FAILED],
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
    def what_starts_fails(self) -> None:
        for id_, t in self.tasks.items():
            if t.state is STARTING:
                self.tasks[id_] = task(id_, FAILED, "it broke")

    @rule()
    def the_machine_restarts(self) -> None:
        self.tasks = {}

    @rule()
    def a_table_is_published(self) -> None:
        self.published = self.wanted()

    @rule()
    def the_router_takes_the_table(self) -> None:
        self.router = self.published

    @precondition(lambda self: self.record is not None)
    @rule(likely=st.integers(0, 9))
    def the_user_deletes(self, likely: int) -> None:
        if likely == 0:
            self.status = Status.DELETING

    @precondition(lambda self: self.status in (Status.IN_SERVICE, Status.UPDATE_ROLLBACK_FAILED))
    @rule(new=sizes(), policy=st.sampled_from(POLICIES), tries=st.booleans())
    def the_user_updates_again(self, new: list[int], policy: dict[str, Any], tries: bool) -> None:
        self.begin(new, policy, tries)

    def is_tried(self) -> bool:
        shift = self.record.shift if self.record is not None else None
        return shift is not None and shift.trying_since_s is not None and shift.trial is None

    @precondition(is_tried)
    @rule(passed=st.sampled_from([True, True, False]))
    def the_trial_ends(self, passed: bool) -> None:
        assert self.record is not None
        self.record = shifting.tried(self.record, {"Passed": passed, "Reason": "" if passed else "It answers worse."})

    def may_be_steered(self) -> bool:
        shift = self.record.shift if self.record is not None and self.status is Status.UPDATING else None
        return shift is not None and not (shift.accepted or shift.back or shift.recalled)

    @precondition(may_be_steered)
    @rule()
    def the_user_promotes(self) -> None:
        assert self.record is not None
        self.record = shifting.hurried(self.record)

    @precondition(may_be_steered)
    @rule(likely=st.integers(0, 4))
    def the_user_calls_it_back(self, likely: int) -> None:
        if likely == 0:
            assert self.record is not None
            self.record = shifting.recalled(self.record, "It was called back.", self.now_s)

    # The controller

    def decide(self) -> list[Action]:
        assert self.record is not None
        routed = frozenset(
            instance.id
            for each in (self.router, self.published)
            if each is not None
            for variant_ in each.variants
            for instance in variant_.every_instance
        )
        failed = frozenset(id_ for id_, t in self.tasks.items() if t.state is FAILED)
        served = self.router == self.published == self.wanted()
        seen = Observed(dict(self.tasks), routed, served, frozenset({SHA}), failed, self.now_s, self.alarm)
        return plan(self.record, self.status, seen)

    @precondition(lambda self: self.record is not None)
    @rule(upto=st.integers(1, 20))
    def controller_runs_and_may_be_killed(self, upto: int) -> None:
        for action in self.decide()[:upto]:
            self.apply(action)

    def apply(self, action: Action) -> None:
        record = self.record
        assert record is not None
        shift = record.shift
        match action:
            case steps.Prepare():
                raise AssertionError("all model data is there")
            case steps.Start(member):
                self.tasks.setdefault(member.id, task(member.id, STARTING))
            case steps.Stop(id_):
                self.stop(id_)
            case steps.Try():
                assert shift is not None
                assert not shift.steps, "it is tried after it got traffic"
                if shift.trying_since_s is None:
                    self.record = shifting.trying(record, self.now_s)
            case steps.Step():
                assert not self.alarm, "a step forward while the alarm rings"
                assert shift is not None
                assert record.pending is not None
                passed = shift.trial is not None and shift.trial["Passed"]
                assert passed or not record.pending.trial, "it gets traffic before it passed its trial"
                assert not shift.recalled, "a step forward after it was called back"
                self.record = shifting.stepped(record, self.now_s)
            case steps.Bake():
                assert self.router == self.wanted(), "it bakes before every router goes by the step"
                self.record = shifting.baking(record, self.now_s)
            case steps.Retire():
                assert not self.alarm, "it is accepted while the alarm rings"
                assert shift is not None
                assert shift.baking_since_s is not None
                assert self.now_s - shift.baking_since_s >= shifting.bake_s(record), "it did not bake"
                self.record = shifting.retired(record, self.now_s)
            case steps.StepBack():
                self.record = shifting.stepped_back(record)
            case steps.Promote():
                assert shift is not None
                assert shift.accepted, "what has not been accepted is promoted"
                self.record = record.promoted()
            case steps.RollBack(reason):
                assert reason
                assert shift is not None
                assert not shift.accepted, "there is no way back after the old fleet was let go"
                self.record = shifting.turned_back(record, reason)
            case steps.StayMixed(reason):
                assert reason
                self.record, self.status = shifting.stuck(record, reason), Status.UPDATE_ROLLBACK_FAILED
            case steps.GoInService():
                assert self.router == self.wanted()
                assert record.live is not None
                assert bool(record.failure_reason) == (record.live.number != self.target), "it does not say why"
                self.status = Status.IN_SERVICE
            case steps.Remove():
                assert not self.tasks
                self.record = None
            case steps.Fail():
                raise AssertionError("an endpoint that served may not fail")

    def stop(self, id_: str) -> None:
        record = self.record
        assert record is not None
        router = self.router
        routed_to = {i.id for v in router.variants for i in v.every_instance} if router is not None else set()
        assert id_ not in routed_to or self.tasks[id_].state is FAILED, "stopped while requests may reach it"
        shift = record.shift
        if id_ in self.old and self.status is Status.UPDATING and shift is not None and not shift.accepted:
            assert shift.retired or self.tasks[id_].state is FAILED, "a way back was closed before the new was accepted"
        self.tasks[id_] = task(id_, STOPPING)

    @rule(passes=st.integers(1, 10))
    def all_goes_well(self, passes: int) -> None:
        for _ in range(passes if self.record is not None else 0):
            self.now_s += 5
            self.a_table_is_published()
            self.the_router_takes_the_table()
            if self.is_tried():
                self.the_trial_ends(True)
            for action in self.decide() if self.record is not None else []:
                self.apply(action)
                self.traffic_never_goes_to_an_empty_fleet()
            for id_, t in list(self.tasks.items()):
                if t.state is STOPPING:
                    del self.tasks[id_]
                elif t.state in (STARTING, TaskState.RESTARTING):
                    self.tasks[id_] = task(id_)

    # What must always hold

    @invariant()
    def traffic_never_goes_to_an_empty_fleet(self) -> None:
        for each in (getattr(self, "router", None), getattr(self, "published", None)):
            if each is None:
                continue
            assert any(v.weight > 0 for v in each.variants)
            for v in each.variants:
                assert v.instances or v.new or not v.weight
                assert v.instances or v.new_share in (0, 1)
                assert v.new or not v.new_share

    def teardown(self) -> None:
        """Left alone it ends, with exactly what is wanted running."""
        if not hasattr(self, "record"):
            return
        for _ in range(30):
            if self.record is None or self.status in (Status.IN_SERVICE, Status.UPDATE_ROLLBACK_FAILED):
                break
            self.all_goes_well(10)
        self.all_goes_well(10)
        if self.record is None:
            assert not self.tasks
            return
        assert self.status in (Status.IN_SERVICE, Status.UPDATE_ROLLBACK_FAILED), "the deployment does not end"
        assert self.record.shift is None
        assert {m.id for m in self.record.members()} == set(self.tasks)
        if self.status is Status.UPDATE_ROLLBACK_FAILED:
            assert "could not be rolled back" in self.record.failure_reason


DeploymentMachine.TestCase.settings = settings(
    max_examples=50, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestDeployment = DeploymentMachine.TestCase
