"""Whatever happens in whatever order: one retraining at a time, none in the cool-down, and every one ends."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kedge.compute.base import TaskState
from kedge.errors import ServiceError
from kedge.monitors.retraining.records import BEGUN, Phase, Run
from tests.endpoints import world as worlds
from tests.monitors.retraining_lab import CAPTURE, SCOPE, Lab

CALLS = (
    "CreateTrainingJob", "CreateModelPackage", "CreateModel", "CreateEndpointConfig", "UpdateEndpoint",
    "CreateProcessingJob", "CreateDataQualityJobDefinition", "UpdateMonitoringSchedule",
)  # fmt: skip
WHAT = (
    "alert", "alert", "alert", "alert", "trained", "trained", "worse", "untrained", "untrained", "in service",
    "in service", "broken", "restart", "approve", "reject", "minutes", "hours", "day", "by hand", "stop", "update",
    "new schedule", "baselined", "not baselined", "unwatched",
    "delete schedule", "delete endpoint", *(f"kill {each}" for each in CALLS),
)  # fmt: skip
COOL_DOWN_S = 2 * 3600.0


async def happen(lab: Lab, what: str) -> None:
    world = lab.world
    match what.split():
        case ["alert"]:
            world.clock.advance(1)
            lab.alert()
        case ["in", "service"]:
            await world.bring_up()
        case ["broken"]:
            await world.settle()
            world.engine.put_all(TaskState.STARTING, TaskState.FAILED, "no")
            await world.settle()
        case ["restart"]:
            lab.restart()
        case ["kill", call]:
            lab.crash_after = call
        case ["trained"]:
            lab.end_training(metrics={"accuracy": 0.95})
        case ["worse"]:
            lab.end_training(metrics={"accuracy": 0.5})
        case ["untrained"]:
            lab.end_training(status="Failed")
        case ["baselined"]:
            lab.end_baselining()
        case ["not", "baselined"]:
            lab.end_baselining(rows=3)
        case ["unwatched"]:
            lab.do("DeleteMonitoringSchedule", MonitoringScheduleName="inputs")
        case ["approve"]:
            lab.approve()
        case ["reject"]:
            lab.approve("Rejected")
        case ["minutes" | "hours" | "day"]:
            world.clock.advance({"minutes": 600.0, "hours": 3 * 3600.0, "day": 86400.0}[what])
        case ["by", "hand"]:
            world.clock.advance(1)
            lab.by_hand()
        case ["stop"]:
            lab.by_hand("Stop")
        case ["update"]:
            lab.do("UpdateEndpoint", EndpointName="wine", EndpointConfigName="other")
        case ["new", "schedule"]:
            lab.schedule()
        case ["delete", what]:
            name = "MonitoringSchedule" if what == "schedule" else "Endpoint"
            lab.do(f"Delete{name}", **{f"{name}Name": "quality" if what == "schedule" else "wine"})


def check(lab: Lab) -> None:
    begun = [(run, phase) for run, phase in lab.runs() if phase in BEGUN]
    for uid in {run.schedule_uid for run, _ in begun}:
        own = [(run, phase) for run, phase in begun if run.schedule_uid == uid]
        assert sum(phase.goes_on for _, phase in own) <= 1
        order = sorted(own, key=lambda each: began_s(each[0]))
        for (before, ended), (after, _) in itertools.pairwise(order):
            assert not ended.goes_on
            if not after.asked_by:
                assert began_s(after) >= before.since_s + COOL_DOWN_S
                if ended is Phase.PROMOTED:
                    assert after.start_s >= before.promoted_s
    for _, phase in lab.runs():
        assert phase in Phase


def began_s(run: Run) -> float:
    return next(float(each["at_s"]) for each in run.steps if each["phase"] == Phase.TRAINING)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(WHAT), st.integers(0, 3)), min_size=12, max_size=30), st.booleans())
def test_any_course(happenings: list[tuple[str, int]], manual: bool):
    """happenings: each with the steps that the controller takes after it."""

    async def run(folder: Path) -> None:
        lab = Lab(
            folder,
            **{
                "retrain-cool-down": "PT2H", "retrain-at-least": "accuracy=0.9", "retrain-group": "wines",
                "retrain-approval": "manual" if manual else "auto", "retrain-bake": "60",
            },
        )  # fmt: skip
        lab.world.changed.attach(asyncio.get_running_loop())
        try:
            await lab.prepare()
            lab.world.make_config("other", worlds.variant(), DataCaptureConfig=CAPTURE)
            lab.watch_inputs()
            for what, steps in [("alert", 2), *happenings]:
                with contextlib.suppress(ServiceError):
                    await happen(lab, what)
                await lab.step(steps)
                check(lab)
            # A quiet fortnight later, in which what was begun can end.
            for _ in range(5):
                lab.end_training(metrics={"accuracy": 0.95})
                await lab.settle(3 * 86400.0)
                for _ in range(2):
                    lab.end_baselining()
                    await lab.step()
                check(lab)
            assert lab.runs()
            for each, phase in lab.runs():
                assert not phase.goes_on, (each, phase)
                assert each.reason or phase is Phase.PROMOTED
            assert not lab.training()
            endpoint = lab.world.store.get(SCOPE, "endpoint", "wine")
            if endpoint is not None:
                assert endpoint.status == "InService"
                promoted = [each.made for each, phase in lab.runs() if phase is not Phase.NOT_BEGUN]
                assert endpoint.document["live"]["config"] in ("c", "other", *promoted)
        finally:
            await lab.world.controller.close()
            lab.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder) / "data"))
