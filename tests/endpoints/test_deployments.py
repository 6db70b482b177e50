"""Guarded deployments through the operations and the controller, with a clock that is moved by hand."""

from __future__ import annotations

from typing import Any

import pytest

from kedge.alarms.records import COMPOSITE, METRIC, Alarm
from kedge.compute.base import Capacity, TaskState
from kedge.errors import ResourceLimitExceeded, ValidationFailed
from kedge.store.store import Author, Scope
from tests.endpoints import world as worlds
from tests.endpoints.test_deployment_config import canary, linear, rolling, routed
from tests.endpoints.world import ACCOUNT, GIB, REGION, World, variant

SCOPE = Scope(ACCOUNT, REGION)
GUARDED = {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "errors"}]}}


def alarm(world: World, name: str, state: str, kind: str = METRIC) -> None:
    """An alarm as the alarms' own controller would leave it."""
    document = Alarm({"AlarmName": name}, 0.0, reason="10 of 10 requests failed.").document()
    with world.store.transaction(Author("test", "", world.clock.now())) as tx:
        found = tx.get(SCOPE, kind, name)
        if found is None:
            tx.insert(SCOPE, kind, name, document, state)
        else:
            tx.observe(found, document, state)


async def deployed(world: World, policy: dict[str, Any], count: int = 2, name: str = "c2") -> None:
    """An endpoint in service with config c, and an update of it that has just begun."""
    world.make_model()
    world.make_config("c", variant(count=count))
    world.make_config("c2", variant(count=count))
    world.do("CreateEndpoint", EndpointName="e", EndpointConfigName="c")
    await world.bring_up()
    world.do("UpdateEndpoint", EndpointName="e", EndpointConfigName=name, DeploymentConfig=policy)
    await world.settle()


async def all_ready(world: World) -> None:
    world.engine.put_all(TaskState.STARTING, TaskState.READY)
    await world.settle()


async def shown(world: World) -> tuple[str, str]:
    found = await world.describe("e")
    return found["EndpointStatus"], found["EndpointConfigName"]


async def said(world: World) -> str:
    pending = (await world.describe("e"))["PendingDeploymentSummary"]["ProductionVariants"][0]
    return str(pending["VariantStatus"][0]["Status"])


def shares(world: World) -> tuple[int, int, float]:
    """(old instances, new instances, share of the new ones) of what the routers have."""
    (one,) = world.route("e").variants
    return len(one.instances), len(one.new), one.new_share


def events(world: World, kind: str) -> list[dict[str, Any]]:
    return [event.detail for event in world.store.outbox(1000) if event.detail_type == f"SageMaker Endpoint {kind}"]


async def test_a_canary_step_by_step(world: World):
    await deployed(world, canary(10, wait_s=60, TerminationWaitInSeconds=30))
    old = set(world.engine.tasks) - {t.id for t in world.engine.tasks.values() if t.state is TaskState.STARTING}
    assert (await said(world), shares(world)) == ("Creating", (2, 0, 0))
    await all_ready(world)
    assert (await said(world), shares(world)) == ("Baking", (2, 1, 0.1))
    assert await shown(world) == ("Updating", "c")
    world.clock.advance(59)
    await world.settle()
    assert shares(world) == (2, 1, 0.1)
    world.clock.advance(1)
    await world.settle()
    assert (await said(world), shares(world)) == ("Baking", (2, 2, 1.0))
    assert old <= set(world.engine.tasks)
    world.clock.advance(30)
    await world.settle()
    assert await shown(world) == ("InService", "c2")
    found = await world.describe("e")
    assert "FailureReason" not in found
    assert "PendingDeploymentSummary" not in found
    assert found["LastDeploymentConfig"] == canary(10, wait_s=60, TerminationWaitInSeconds=30)
    assert not old & set(world.engine.tasks)
    assert shares(world) == (2, 0, 0)

    states = [detail["EndpointStatus"] for detail in events(world, "State Change")]
    assert states == ["CREATING", "IN_SERVICE", "UPDATING", "IN_SERVICE"]
    phases = [
        detail["PendingDeploymentSummary"]["ProductionVariants"][0]["VariantStatus"][0]["Status"]
        for detail in events(world, "Deployment State Change")
        if "PendingDeploymentSummary" in detail
    ]
    assert phases[:5] == ["Creating", "ActivatingTraffic", "Baking", "ActivatingTraffic", "Baking"]


async def test_the_bake_begins_when_every_router_has_the_step(world: World):
    await deployed(world, canary(10, wait_s=60, TerminationWaitInSeconds=30))
    await all_ready(world)
    world.clock.advance(60)
    world.routers.routers = 0
    await world.settle()
    assert await said(world) == "ActivatingTraffic", "a router is away, and may not know the step"
    world.routers.routers = 1
    await world.settle()
    assert await said(world) == "Baking"


async def test_a_linear_one(world: World):
    await deployed(world, linear(50, wait_s=60), count=4)
    await all_ready(world)
    assert shares(world) == (4, 2, 0.5)
    world.clock.advance(60)
    await world.settle()
    assert await shown(world) == ("InService", "c2")


async def test_a_rolling_one(world: World):
    await deployed(world, rolling(50, wait_s=60))
    assert len(world.engine.tasks) == 3
    await all_ready(world)
    assert shares(world) == (2, 1, pytest.approx(1 / 3))
    world.clock.advance(60)
    await world.settle()
    assert shares(world) == (1, 1, 0.5)
    assert len(world.engine.tasks) == 3
    await all_ready(world)
    assert shares(world) == (1, 2, pytest.approx(2 / 3))
    world.clock.advance(60)
    await world.settle()
    assert await shown(world) == ("InService", "c2")
    assert len(world.engine.tasks) == 2


@pytest.mark.parametrize("kind", [METRIC, COMPOSITE])
async def test_an_alarm_takes_it_back(world: World, kind: str):
    alarm(world, "errors", "OK", kind)
    await deployed(world, {**canary(50, wait_s=60), **GUARDED})
    await all_ready(world)
    assert shares(world)[1:] == (1, 0.5)
    alarm(world, "errors", "INSUFFICIENT_DATA", kind)
    await world.settle()
    assert await shown(world) == ("Updating", "c")
    alarm(world, "errors", "ALARM", kind)
    await world.step(2)
    assert shares(world) == (2, 0, 0)
    await world.settle()
    assert await shown(world) == ("InService", "c")
    reason = (await world.describe("e"))["FailureReason"]
    assert reason == 'The alarm "errors" is in state ALARM: 10 of 10 requests failed.'
    assert len(world.engine.tasks) == 2
    alarm(world, "errors", "OK", kind)
    world.do("UpdateEndpoint", EndpointName="e", EndpointConfigName="c2")
    assert "FailureReason" not in await world.describe("e")


async def test_an_alarm_that_goes_away_takes_it_back(world: World):
    alarm(world, "errors", "OK")
    await deployed(world, {**canary(50, wait_s=60), **GUARDED})
    await all_ready(world)
    with world.store.transaction(Author("test", "", world.clock.now())) as tx:
        found = tx.get(SCOPE, METRIC, "errors")
        assert found is not None
        tx.delete(found)
    await world.settle()
    assert await shown(world) == ("InService", "c")
    assert "is not there any more" in (await world.describe("e"))["FailureReason"]


async def test_an_alarm_that_could_not_guard_is_refused(world: World):
    with pytest.raises(ValidationFailed, match='the alarm "errors", which is not there'):
        await deployed(world, {**canary(50), **GUARDED})
    alarm(world, "errors", "ALARM")
    with pytest.raises(ValidationFailed, match="in state ALARM already"):
        world.do(
            "UpdateEndpoint", EndpointName="e", EndpointConfigName="c2", DeploymentConfig={**canary(50), **GUARDED}
        )
    assert await shown(world) == ("InService", "c")


async def test_what_takes_too_long_goes_back(world: World):
    await deployed(world, canary(50, wait_s=60, MaximumExecutionTimeoutInSeconds=600))
    world.clock.advance(599)
    await world.settle()
    assert await shown(world) == ("Updating", "c")
    world.clock.advance(1)
    await world.settle()
    assert await shown(world) == ("InService", "c")
    assert (await world.describe("e"))["FailureReason"] == (
        "The deployment was not over after 600 s (MaximumExecutionTimeoutInSeconds)."
    )


async def test_a_rolling_one_brings_its_old_instances_back(world: World):
    alarm(world, "errors", "OK")
    await deployed(world, {**rolling(50, wait_s=60), **GUARDED})
    await all_ready(world)
    world.clock.advance(60)
    await world.settle()
    await all_ready(world)
    assert shares(world)[:2] == (1, 2)
    alarm(world, "errors", "ALARM")
    await world.settle()
    assert await shown(world) == ("Updating", "c")
    assert len(world.engine.tasks) == 4
    await all_ready(world)
    assert await shown(world) == ("InService", "c")
    assert shares(world) == (2, 0, 0)
    assert len(world.engine.tasks) == 2
    assert "errors" in (await world.describe("e"))["FailureReason"]


async def mixed(world: World) -> None:
    """A rolling deployment that could not be rolled back."""
    alarm(world, "errors", "OK")
    await deployed(world, {**rolling(50, wait_s=60), **GUARDED})
    await all_ready(world)
    world.clock.advance(60)
    await world.settle()
    await all_ready(world)
    alarm(world, "errors", "ALARM")
    await world.settle()
    world.engine.put_all(TaskState.STARTING, TaskState.FAILED, "no memory left")
    await world.settle()
    alarm(world, "errors", "OK")


async def test_a_rollback_that_fails_leaves_both_fleets_serving(world: World):
    await mixed(world)
    assert await shown(world) == ("UpdateRollbackFailed", "c")
    reason = (await world.describe("e"))["FailureReason"]
    assert "errors" in reason
    assert "could not be rolled back" in reason
    assert "no memory left" in reason
    (one,) = world.route("e").variants
    assert (len(one.instances) + len(one.new), len(world.engine.tasks)) == (3, 3)
    for operation, request in (
        ("UpdateEndpointWeightsAndCapacities", {"DesiredWeightsAndCapacities": [{"VariantName": "v"}]}),
    ):
        with pytest.raises(ValidationFailed, match="UpdateEndpoint repairs it"):
            world.do(operation, EndpointName="e", **request)


@pytest.mark.parametrize("policy", [{}, canary(50, wait_s=60), rolling(50, wait_s=60)])
async def test_the_next_update_repairs_it(world: World, policy: dict[str, Any]):
    await mixed(world)
    world.do("UpdateEndpoint", EndpointName="e", EndpointConfigName="c2", DeploymentConfig=policy)
    for _ in range(4):
        await world.settle()
        await all_ready(world)
        world.clock.advance(60)
    await world.settle()
    assert await shown(world) == ("InService", "c2")
    assert shares(world) == (2, 0, 0)
    assert len(world.engine.tasks) == 2


async def test_an_update_of_a_mix_that_fails_leaves_the_mix(world: World):
    await mixed(world)
    world.do("UpdateEndpoint", EndpointName="e", EndpointConfigName="c2", DeploymentConfig=canary(50))
    await world.settle()
    world.engine.put_all(TaskState.STARTING, TaskState.FAILED, "it broke")
    await world.settle()
    assert await shown(world) == ("UpdateRollbackFailed", "c")
    assert "it broke" in (await world.describe("e"))["FailureReason"]
    assert len(world.engine.tasks) == 3


@pytest.mark.parametrize("policy", [canary(50, wait_s=60), rolling(1, "INSTANCE_COUNT", wait_s=60)])
async def test_shadows_come_and_go_with_their_fleet(world: World, policy: dict[str, Any]):
    world.make_model()
    world.make_config("c", variant(count=2), ShadowProductionVariants=[variant("s", count=4)])
    world.make_config("c2", variant(count=2), ShadowProductionVariants=[variant("s", count=4)])
    world.do("CreateEndpoint", EndpointName="e", EndpointConfigName="c")
    await world.bring_up()
    world.do("UpdateEndpoint", EndpointName="e", EndpointConfigName="c2", DeploymentConfig=policy)
    for _ in range(4):
        await world.settle()
        await all_ready(world)
        shadow = world.route("e").shadow
        assert shadow.instances
        assert not shadow.new
        world.clock.advance(60)
    await world.settle()
    assert await shown(world) == ("InService", "c2")
    assert len(world.route("e").shadow.instances) == 4
    assert {i.config for i in world.route("e").shadow.instances} == {"c2"}
    assert len(world.engine.tasks) == 6


async def test_deleting_ends_a_deployment(world: World):
    await deployed(world, canary(10, wait_s=60))
    await all_ready(world)
    world.do("DeleteEndpoint", EndpointName="e")
    world.do("DeleteEndpoint", EndpointName="e")
    await world.settle()
    assert not world.store.list(None, "endpoint").items
    assert not world.engine.tasks


async def test_deleting_ends_a_creation(world: World):
    world.make_model()
    world.make_config("c", variant())
    world.do("CreateEndpoint", EndpointName="e", EndpointConfigName="c")
    world.do("DeleteEndpoint", EndpointName="e")
    await world.settle()
    assert not world.store.list(None, "endpoint").items
    assert not world.engine.tasks


@pytest.mark.parametrize(
    "policy", [canary(10, wait_s=10), linear(50, wait_s=10), rolling(50, wait_s=10), {}], ids=["c", "l", "r", "all"]
)
async def test_a_new_control_process_goes_on_at_every_step(world: World, policy: dict[str, Any]):
    await deployed(world, policy)
    for _ in range(60):
        await world.step()
        await world.controller.close()
        world.restart_control()
        world.engine.put_all(TaskState.STARTING, TaskState.READY)
        world.clock.advance(2)
    assert await shown(world) == ("InService", "c2")
    assert len(world.engine.starts) == len(set(world.engine.starts)) == 4


async def test_both_fleets_have_to_fit_but_of_a_rolling_one_only_a_batch(tmp_path: Any):
    small = worlds.make(tmp_path, Capacity(6, 256 * GIB, 0))
    try:
        with pytest.raises(ResourceLimitExceeded):
            await deployed(small, {"BlueGreenUpdatePolicy": routed("ALL_AT_ONCE")})
        small.do("UpdateEndpoint", EndpointName="e", EndpointConfigName="c2", DeploymentConfig=rolling(50))
        small.make_config("one", variant())
        with pytest.raises(ResourceLimitExceeded):
            small.do("CreateEndpoint", EndpointName="other", EndpointConfigName="one")
    finally:
        await small.controller.close()
        small.close()
