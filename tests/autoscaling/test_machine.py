"""Whatever happens in whatever order: the capacity stays where policies may bring it, and every activity ends."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kedge.compute.base import TaskState
from kedge.errors import ServiceError
from tests.autoscaling.world import Scaled
from tests.endpoints import world as worlds

COOLDOWN_S = 30


class Machine(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.loop = asyncio.new_event_loop()
        self.world = worlds.make(Path(self.folder.name))
        self.scaled = Scaled(self.world)
        self.do(self.scaled.begin())
        self.bounds = (1, 5)
        self.seen: set[str] = set()
        self.scaled.register(*self.bounds)
        self.policies = {
            "step": self.scaled.step_policy("step", 2, Cooldown=COOLDOWN_S),
            "tracking": self.scaled.tracking_policy("tracking", 10.0, ScaleInCooldown=COOLDOWN_S),
        }
        self.scaled.fast_policy("fast", 4.0, ScaleInCooldown=COOLDOWN_S)
        self.scaled.alarm("long", self.policies["step"], "queue", 5.0)
        self.settle()

    def do(self, waits: Any) -> Any:
        return self.loop.run_until_complete(waits)

    def settle(self) -> None:
        for _ in range(3):
            self.scaled.look()
            self.do(self.world.bring_up())
        self.scaled.look()

    @rule(seconds=st.integers(1, 130), requests=st.integers(0, 60))
    def load(self, seconds: int, requests: int) -> None:
        self.scaled.pass_by(seconds, requests)

    @rule(value=st.floats(0, 50))
    def alarm_of_ones_own(self, value: float) -> None:
        self.scaled.values["queue"] = value
        self.scaled.set("long", "ALARM")
        self.scaled.ask("long", self.policies["step"])

    @rule(value=st.floats(0, 50))
    def alarm_of_the_policy(self, value: float) -> None:
        self.scaled.values["tracking"] = value
        for kind, state in (("High", value > 10), ("Low", value < 9)):
            name = self.scaled.own_alarm("tracking", kind)
            self.scaled.set(name, "ALARM" if state else "OK")
            if state:
                self.scaled.ask(name, self.policies["tracking"])

    @rule(count=st.integers(0, 8))
    def somebody_sets_the_count(self, count: int) -> None:
        wanted = [{"VariantName": "v", "DesiredInstanceCount": count}]
        with contextlib.suppress(ServiceError):  # it is in transition
            self.world.do("UpdateEndpointWeightsAndCapacities", EndpointName="e", DesiredWeightsAndCapacities=wanted)

    @rule(bounds=st.tuples(st.integers(0, 4), st.integers(0, 4)))
    def register(self, bounds: tuple[int, int]) -> None:
        self.bounds = (bounds[0], bounds[0] + bounds[1])
        self.scaled.register(*self.bounds)

    @rule()
    def instances_come_up(self) -> None:
        self.settle()

    @rule()
    def instances_fail_to_start(self) -> None:
        self.do(self.world.settle())
        self.world.engine.put_all(TaskState.STARTING, TaskState.FAILED, "broken")
        self.do(self.world.settle())

    @rule()
    def control_is_killed(self) -> None:
        self.scaled.restart()

    @rule()
    def a_request_wakes_it(self) -> None:
        self.scaled.report(3, instances=0)
        self.scaled.look()

    @invariant()
    def no_activity_is_forgotten(self) -> None:
        running = [each for each in self.scaled.activities() if each["StatusCode"] == "InProgress"]
        assert len(running) <= 1
        target = self.world.store.list(None, "scalable-target").items[0].document
        assert bool(running) == bool(target["running"])

    @invariant()
    def what_is_brought_lies_within_the_bounds(self) -> None:
        low, high = self.bounds
        for each in self.scaled.activities():
            if each["ActivityId"] not in self.seen and each["Description"].startswith("Setting"):
                assert low <= int(each["Description"].split()[-1].rstrip(".")) <= high, each
            self.seen.add(each["ActivityId"])

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        self.settle()
        for _ in range(3):  # whatever failed is tried again
            self.scaled.pass_by(40, 0)
            self.settle()
        assert not any(each["StatusCode"] == "InProgress" for each in self.scaled.activities())
        self.do(self.world.controller.close())
        self.world.close()
        self.loop.close()
        self.folder.cleanup()


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=8, stateful_step_count=10, deadline=None, suppress_health_check=list(HealthCheck)
)
