"""A shadow variant is started, shown, scaled and replaced as a production variant is; only nobody can ask it."""

from __future__ import annotations

import pytest

from kedge.errors import ResourceLimitExceeded, ValidationFailed
from kedge.serving import table as tables
from tests.endpoints.world import ACCOUNT, REGION, World, variant


def route_of(world: World) -> tables.Endpoint:
    found = world.routers.table.find(ACCOUNT, REGION, "e")
    assert found is not None
    assert tables.decode(tables.encode(world.routers.table)) == world.routers.table
    return found


async def begin(world: World, weight: float = 0.5, **more: object) -> None:
    world.make_model()
    shadow = variant("s", InitialVariantWeight=weight, **more)
    world.make_config("c", variant("p", InitialVariantWeight=2.0), ShadowProductionVariants=[shadow])
    world.do("CreateEndpoint", EndpointName="e", EndpointConfigName="c")


async def test_its_life(world: World):
    await begin(world)
    pending = (await world.describe("e"))["PendingDeploymentSummary"]
    assert [each["VariantName"] for each in pending["ProductionVariants"]] == ["p"]
    assert [each["VariantStatus"][0]["Status"] for each in pending["ShadowProductionVariants"]] == ["Creating"]
    await world.bring_up()
    shown = await world.describe("e")
    assert [each["VariantName"] for each in shown["ProductionVariants"]] == ["p"]
    [shadow] = shown["ShadowProductionVariants"]
    assert (shadow["VariantName"], shadow["CurrentWeight"], shadow["CurrentInstanceCount"]) == ("s", 0.5, 1)
    route = route_of(world)
    assert [each.name for each in route.variants] == ["p"]
    assert route.shadow is not None
    assert (route.shadow.name, route.shadow.weight, len(route.shadow.instances)) == ("s", 0.25, 1)

    scaled = [{"VariantName": "s", "DesiredWeight": 9.0, "DesiredInstanceCount": 2}]
    world.do("UpdateEndpointWeightsAndCapacities", EndpointName="e", DesiredWeightsAndCapacities=scaled)
    await world.bring_up()
    route = route_of(world)
    assert route.shadow is not None
    assert (route.shadow.weight, len(route.shadow.instances)) == (1.0, 2)

    world.make_config("without", variant("p"))
    world.do("UpdateEndpoint", EndpointName="e", EndpointConfigName="without")
    await world.bring_up()
    assert "ShadowProductionVariants" not in await world.describe("e")
    assert route_of(world).shadow is None
    assert len(world.engine.tasks) == 1


async def test_a_shadow_may_become_production(world: World):
    await begin(world)
    await world.bring_up()
    world.make_config("promoted", variant("s"))
    world.do("UpdateEndpoint", EndpointName="e", EndpointConfigName="promoted")
    assert route_of(world).shadow is not None
    await world.bring_up()
    route = route_of(world)
    assert ([each.name for each in route.variants], route.shadow) == (["s"], None)


async def test_it_takes_room_and_no_traffic(world: World):
    with pytest.raises(ResourceLimitExceeded):
        await begin(world, InitialInstanceCount=1000)
    world.make_config(
        "idle",
        variant("p", InitialVariantWeight=0.0),
        ShadowProductionVariants=[variant("s", InitialVariantWeight=1.0)],
    )
    with pytest.raises(ValidationFailed, match=r"weights of all variants \(p\) are 0"):
        world.do("CreateEndpoint", EndpointName="e", EndpointConfigName="idle")


async def test_a_model_that_cannot_be_shadowed(world: World):
    world.make_model()
    two = [{"Image": "kedge/script:1"}, {"Image": "kedge/script:1"}]
    world.do("CreateModel", ModelName="pipeline", Containers=two, ExecutionRoleArn="arn:aws:iam::111122223333:role/r")
    world.make_config("c", variant("p"), ShadowProductionVariants=[variant("s", model="pipeline")])
    world.do("CreateEndpoint", EndpointName="e", EndpointConfigName="c")
    await world.settle()
    shown = await world.describe("e")
    assert shown["EndpointStatus"] == "Failed"
    assert 'Model "pipeline" of variant s has several containers' in shown["FailureReason"]


async def test_what_its_model_asks_for_changes_no_limit(world: World):
    world.do(
        "CreateModel",
        ModelName="slow",
        PrimaryContainer={"Image": "kedge/script:1", "Environment": {"SAGEMAKER_MODEL_SERVER_TIMEOUT": "900"}},
        ExecutionRoleArn="arn:aws:iam::111122223333:role/r",
    )
    world.make_model()
    world.make_config("c", variant("p"), ShadowProductionVariants=[variant("s", model="slow")])
    world.do("CreateEndpoint", EndpointName="e", EndpointConfigName="c")
    await world.bring_up()
    assert route_of(world).timeout_s == 60


async def test_weights_that_make_no_copies(world: World):
    await begin(world, weight=0.0)
    await world.bring_up()
    route = route_of(world)
    assert route.shadow is not None
    assert route.shadow.weight == 0
