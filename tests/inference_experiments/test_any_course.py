"""Whatever happens in whatever order: production always answers, and every experiment ends."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from datetime import timedelta
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kedge.compute.base import TaskState
from kedge.endpoints.records import Endpoint
from kedge.errors import ServiceError
from kedge.inference_experiments.records import Status
from tests.endpoints import world as worlds
from tests.inference_experiments.test_experiments import Lab, model_variant, shadow_mode

WHAT = (
    "step", "step", "endpoints", "endpoints", "ready", "ready", "fail", "restart", "a day", "start", "retain", "remove",
    "promote", "more copies", "more instances", "by hand", "weights", "delete",
)  # fmt: skip


async def happen(lab: Lab, what: str) -> None:
    world = lab.world
    match what:
        case "step":
            await lab.step(1)
        case "endpoints":
            await world.step()
        case "ready" | "fail":
            world.engine.put_all(TaskState.STARTING, TaskState.READY if what == "ready" else TaskState.FAILED, "no")
        case "restart":
            lab.restart()
        case "a day":
            world.clock.advance(timedelta(days=1).total_seconds())
        case "start":
            lab.ask("Start")
        case "retain" | "remove":
            lab.stop("Retain", what.capitalize(), DesiredState="Completed")
        case "promote":
            lab.stop("Remove", "Promote")
        case "more copies":
            lab.ask("Update", ShadowModeConfig=shadow_mode(100))
        case "more instances":
            lab.ask("Update", ModelVariants=[model_variant("next", "better", 2)])
        case "by hand":
            world.do("UpdateEndpoint", EndpointName="e", EndpointConfigName="base")
        case "weights":
            wanted = [{"VariantName": "live", "DesiredInstanceCount": 2}]
            world.do("UpdateEndpointWeightsAndCapacities", EndpointName="e", DesiredWeightsAndCapacities=wanted)
        case "delete":
            lab.ask("Delete")


def check(lab: Lab) -> None:
    """Somebody answers, and is ready to."""
    route = lab.world.route("e")
    assert route.variants
    for variant in route.variants:
        assert variant.instances
        for instance in variant.instances:
            assert lab.world.engine.tasks[instance.id].state is TaskState.READY


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(WHAT), max_size=30), st.booleans())
def test_any_course(happenings: list[str], at_once: bool):
    async def run(folder: Path) -> None:
        world = worlds.make(folder)
        world.changed.attach(asyncio.get_running_loop())
        lab = Lab(world)
        try:
            await lab.prepare()
            start = worlds.START + timedelta(days=0 if at_once else 2)
            lab.create(Schedule={"StartTime": start, "EndTime": start + timedelta(days=3)})
            for what in happenings:
                with contextlib.suppress(ServiceError):
                    await happen(lab, what)
                check(lab)
            # Six days and a quiet hour later.
            for _ in range(4):
                world.clock.advance(timedelta(days=2).total_seconds())
                await lab.bring_up()
                check(lab)
            resource = world.store.get(world.call().scope, "inference-experiment", "try")
            endpoint = world.store.get(world.call().scope, "endpoint", "e")
            assert endpoint is not None
            record = Endpoint.of(endpoint.document)
            assert (endpoint.status, record.pending) == ("InService", None)
            assert record.live is not None
            assert len(world.engine.tasks) == sum(each.desired_count for each in record.live.variants)
            if resource is None:
                return  # it was deleted, which it can be only when it is over, or has not begun
            assert Status(resource.status).is_over
            assert resource.document["Asked"] == ""
            if resource.status == Status.COMPLETED and "retain" not in happenings:
                assert record.live.shadow == ""
        finally:
            await world.controller.close()
            world.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder)))
