"""Serverless variants: what may be asked for, what is made of it, and what is shown."""

from __future__ import annotations

from typing import Any

import pytest

from kedge.compute.base import Capacity, TaskState
from kedge.endpoints.records import Endpoint, Variant
from kedge.endpoints.scaling import follow
from kedge.errors import ResourceLimitExceeded, ValidationFailed
from kedge.store.records import Author
from tests.endpoints.world import GIB, START, World, variant


def serverless(most: int = 5, memory: int = 2048, name: str = "v", model: str = "m", **more: Any) -> dict[str, Any]:
    """more: of the ServerlessConfig."""
    config = {"MemorySizeInMB": memory, "MaxConcurrency": most, **more}
    return {"VariantName": name, "ModelName": model, "ServerlessConfig": config}


def live(world: World) -> Variant:
    found = Endpoint.of(world.store.list(None, "endpoint").items[0].document).live
    assert found is not None
    return found.variants[0]


async def begin(world: World, **more: Any) -> None:
    world.make_model()
    world.make_config("c", serverless(**more))
    world.do("CreateEndpoint", EndpointName="e", EndpointConfigName="c")
    await world.bring_up()


async def follow_load(world: World, count: int, capacity: Capacity | None = None) -> None:
    with world.store.transaction(Author("test", "", world.clock.now())) as tx:
        resource = tx.list(None, "endpoint").items[0]
        follow(tx, resource, "v", count, lambda: capacity or world.engine.capacity())
    await world.bring_up()


CAPTURE = {"InitialSamplingPercentage": 1, "DestinationS3Uri": "s3://b/p", "CaptureOptions": [{"CaptureMode": "Input"}]}
NO_CONFIGS: list[tuple[dict[str, Any], str]] = [
    ({"ProductionVariants": [serverless(memory=1500)]}, "MemorySizeInMB 1500; it is a multiple of 1024"),
    (
        {"ProductionVariants": [serverless(ProvisionedConcurrency=6)]},
        "ProvisionedConcurrency 6; it is at most MaxConcurrency",
    ),
    ({"ProductionVariants": [serverless(), variant("b")]}, "exactly one production variant, and 2 are given"),
    (
        {"ProductionVariants": [{**serverless(), "InitialInstanceCount": 1}]},
        "ServerlessConfig and InitialInstanceCount",
    ),
    (
        {"ProductionVariants": [serverless()], "AsyncInferenceConfig": {"OutputConfig": {}}},
        "AsyncInferenceConfig is not",
    ),
    ({"ProductionVariants": [serverless()], "DataCaptureConfig": CAPTURE}, "data capture (DataCaptureConfig) is not"),
    ({"ProductionVariants": [serverless()], "EnableNetworkIsolation": True}, "EnableNetworkIsolation is not"),
    ({"ProductionVariants": [serverless(model="many")]}, 'Model "many" of variant v loads models by name'),
    ({"ProductionVariants": [serverless(model="two")]}, 'Model "two" of variant v has several containers'),
    ({"ProductionVariants": [serverless(model="alone")]}, "has EnableNetworkIsolation"),
    ({"ProductionVariants": [serverless(model="inside")]}, "has a VpcConfig"),
]


async def test_what_sagemaker_excludes(world: World):
    world.make_model()
    one = {"Image": "kedge/sklearn", "ModelDataUrl": "s3://models/model.tar.gz"}
    many = {"Image": "kedge/sklearn", "Mode": "MultiModel", "ModelDataUrl": "s3://models/all/"}
    vpc = {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]}
    world.do("CreateModel", ModelName="many", PrimaryContainer=many)
    world.do("CreateModel", ModelName="two", Containers=[one, one])
    world.do("CreateModel", ModelName="alone", PrimaryContainer=one, EnableNetworkIsolation=True)
    world.do("CreateModel", ModelName="inside", PrimaryContainer=one, VpcConfig=vpc)
    for request, says in NO_CONFIGS:
        with pytest.raises(ValidationFailed) as caught:
            world.do("CreateEndpointConfig", EndpointConfigName="c", **request)
        assert says in caught.value.message
    off = {**CAPTURE, "EnableCapture": False}
    world.make_config("c", serverless(), DataCaptureConfig=off)


async def test_it_begins_with_one_instance_of_its_memory(world: World):
    await begin(world, memory=3072)
    (spec,) = world.engine.specs.values()
    assert spec.memory_bytes == 3 * GIB
    assert spec.cores == pytest.approx(3072 / 1769, abs=0.01)
    described = await world.describe("e")
    assert described["EndpointStatus"] == "InService"
    (shown,) = described["ProductionVariants"]
    config = {"MemorySizeInMB": 3072, "MaxConcurrency": 5}
    assert (shown["CurrentServerlessConfig"], shown["DesiredServerlessConfig"]) == (config, config)
    assert shown["CurrentInstanceCount"] == 1
    route = world.route("e")
    assert route.body_limit_bytes == 4 * 1024 * 1024
    assert (route.variants[0].most_concurrent, route.variants[0].provisioned) == (5, 0)


async def test_a_model_that_cannot_be_loaded_is_found_out(world: World):
    world.make_model()
    world.make_config("c", serverless())
    world.do("CreateEndpoint", EndpointName="e", EndpointConfigName="c")
    await world.settle()
    world.engine.put_all(TaskState.STARTING, TaskState.FAILED, "no such module")
    await world.settle()
    assert (await world.describe("e"))["EndpointStatus"] == "Failed"


async def test_instances_come_and_go_without_a_change_of_the_endpoint(world: World):
    await begin(world)
    for count in (3, 0, 1):
        world.clock.advance(10)
        await follow_load(world, count)
        described = await world.describe("e")
        assert described["EndpointStatus"] == "InService"
        assert described["LastModifiedTime"] == START
        assert described["ProductionVariants"][0]["CurrentInstanceCount"] == count
        assert len(world.engine.tasks) == count == len(world.route("e").variants[0].instances)


async def test_the_room_for_more_is_asked_for(world: World):
    await begin(world)
    with pytest.raises(ResourceLimitExceeded, match="serverless for endpoint usage"):
        await follow_load(world, 5, Capacity(64, 4 * GIB, 0))
    assert live(world).current_count == 1


UPDATE = {"ServerlessUpdateConfig": {"MaxConcurrency": 8, "ProvisionedConcurrency": 3}}


async def test_its_concurrency_is_changed(world: World):
    await begin(world)
    change = [{"VariantName": "v", **UPDATE}]
    world.do("UpdateEndpointWeightsAndCapacities", EndpointName="e", DesiredWeightsAndCapacities=change)
    described = await world.describe("e")
    assert described["EndpointStatus"] == "Updating"
    (shown,) = described["ProductionVariants"]
    assert shown["CurrentServerlessConfig"] == {"MemorySizeInMB": 2048, "MaxConcurrency": 5}
    assert shown["DesiredServerlessConfig"] == {"MemorySizeInMB": 2048, **UPDATE["ServerlessUpdateConfig"]}
    await world.bring_up()
    described = await world.describe("e")
    assert described["EndpointStatus"] == "InService"
    (shown,) = described["ProductionVariants"]
    assert shown["CurrentServerlessConfig"] == shown["DesiredServerlessConfig"]
    assert shown["CurrentInstanceCount"] == 3
    assert world.route("e").variants[0].most_concurrent == 8
    change = [{"VariantName": "v", "ServerlessUpdateConfig": {"MaxConcurrency": 9}}]
    world.do("UpdateEndpointWeightsAndCapacities", EndpointName="e", DesiredWeightsAndCapacities=change)
    await world.bring_up()
    described = await world.describe("e")
    assert described["EndpointStatus"] == "InService"
    assert described["ProductionVariants"][0]["CurrentServerlessConfig"]["MaxConcurrency"] == 9


NO_CHANGES = [
    ({"DesiredInstanceCount": 2}, "is serverless; DesiredInstanceCount"),
    ({"ServerlessUpdateConfig": {"MaxConcurrency": 2, "ProvisionedConcurrency": 3}}, "ProvisionedConcurrency 3"),
]


@pytest.mark.parametrize(("change", "says"), NO_CHANGES)
async def test_a_change_that_cannot_be(world: World, change: dict[str, Any], says: str):
    await begin(world)
    wanted = [{"VariantName": "v", **change}]
    with pytest.raises(ValidationFailed, match=says):
        world.do("UpdateEndpointWeightsAndCapacities", EndpointName="e", DesiredWeightsAndCapacities=wanted)
    wanted = [{"VariantName": "v", "ServerlessUpdateConfig": {"ProvisionedConcurrency": 6}}]
    with pytest.raises(ResourceLimitExceeded, match="at most MaxConcurrency, which is 5"):
        world.do("UpdateEndpointWeightsAndCapacities", EndpointName="e", DesiredWeightsAndCapacities=wanted)


async def test_an_update_begins_with_one_again(world: World):
    await begin(world)
    await follow_load(world, 0)
    world.make_config("d", serverless(memory=1024))
    world.do("UpdateEndpoint", EndpointName="e", EndpointConfigName="d", RetainAllVariantProperties=True)
    await world.bring_up()
    described = await world.describe("e")
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", "d")
    assert described["ProductionVariants"][0]["CurrentInstanceCount"] == 1


async def test_it_wakes_while_it_is_updated(world: World):
    await begin(world)
    await follow_load(world, 0)
    world.make_config("d", serverless(memory=1024))
    world.do("UpdateEndpoint", EndpointName="e", EndpointConfigName="d")
    await world.settle()
    await follow_load(world, 1)
    described = await world.describe("e")
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", "d")


async def test_instances_do_not_become_serverless_and_the_other_way_works(world: World):
    await begin(world)
    world.make_config("i", variant())
    world.do("UpdateEndpoint", EndpointName="e", EndpointConfigName="i", RetainAllVariantProperties=True)
    await world.bring_up()
    described = await world.describe("e")
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", "i")
    assert "CurrentServerlessConfig" not in described["ProductionVariants"][0]
    with pytest.raises(ValidationFailed, match="cannot be converted to a serverless endpoint"):
        world.do("UpdateEndpoint", EndpointName="e", EndpointConfigName="c")


async def test_it_is_not_replaced_in_batches(world: World):
    await begin(world)
    batches = {"MaximumBatchSize": {"Type": "CAPACITY_PERCENT", "Value": 50}, "WaitIntervalInSeconds": 0}
    with pytest.raises(ValidationFailed, match="variant v is serverless"):
        world.do(
            "UpdateEndpoint",
            EndpointName="e",
            EndpointConfigName="c",
            DeploymentConfig={"RollingUpdatePolicy": batches},
        )
