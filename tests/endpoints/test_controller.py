"""From a call to instances and routes, against an engine and routers that do as the test says."""

from __future__ import annotations

import asyncio
import io
import threading
from typing import Any

import pytest

from kedge.compute.base import TaskState
from kedge.errors import ValidationFailed
from kedge.loop import REST_S
from kedge.objects.files import Objects
from kedge.serving import table as tables
from tests.endpoints.world import ACCOUNT, REGION, World, packed, variant
from tests.objects.putting import put_bytes


async def in_service(world: World, *variants: dict[str, object], name: str = "e") -> None:
    world.make_model()
    world.make_config("c", *(variants or (variant(),)))
    world.do("CreateEndpoint", EndpointName=name, EndpointConfigName="c")
    await world.bring_up()
    assert (await world.describe(name))["EndpointStatus"] == "InService"


async def status(world: World, name: str = "e") -> str:
    return str((await world.describe(name))["EndpointStatus"])


async def test_an_endpoint_comes_into_service(world: World):
    world.make_model(Environment={"A": "b"})
    world.make_config("c", variant("blue", count=2, InitialVariantWeight=9), variant("green"))
    world.do("CreateEndpoint", EndpointName="My-Endpoint", EndpointConfigName="c")
    await world.settle()
    shown = await world.describe("my-endpoint")
    assert shown["EndpointStatus"] == "Creating"
    assert "ProductionVariants" not in shown
    assert shown["PendingDeploymentSummary"]["ProductionVariants"][0]["DesiredInstanceCount"] == 2
    assert len(world.engine.tasks) == 3
    assert not world.routers.table.endpoints

    world.engine.put_all(TaskState.STARTING, TaskState.READY)
    await world.settle()
    shown = await world.describe("my-endpoint")
    assert shown["EndpointStatus"] == "InService"
    assert shown["EndpointName"] == "My-Endpoint"
    assert shown["EndpointArn"].endswith(":endpoint/my-endpoint")
    assert "PendingDeploymentSummary" not in shown
    blue = shown["ProductionVariants"][0]
    assert (blue["CurrentInstanceCount"], blue["CurrentWeight"]) == (2, 9)
    route = world.route("My-Endpoint")
    assert [len(v.instances) for v in route.variants] == [2, 1]
    assert route.variants[0].instances[0].socket.startswith(str(world.home.run))
    assert world.routers.table.keys[0].access_key_id == "AKIATEST"

    spec = next(iter(world.engine.specs.values()))
    assert spec.environment["A"] == "b"
    assert spec.environment["AWS_REGION"] == REGION
    assert spec.labels["account"] == ACCOUNT
    assert (world.home.artifacts / spec.artifact_sha256 / "model.joblib").read_bytes() == b"weights"
    assert (spec.cores, spec.memory_bytes) == (2, 8 * 1024**3)


async def test_one_unready_instance_holds_the_endpoint_back(world: World):
    world.make_model()
    world.make_config("c", variant(count=2))
    world.do("CreateEndpoint", EndpointName="e", EndpointConfigName="c")
    await world.settle()
    world.engine.put(next(iter(world.engine.tasks)), TaskState.READY)
    await world.settle()
    assert await status(world) == "Creating"


async def test_an_instance_that_cannot_start_fails_the_endpoint_and_leaves_nothing(world: World):
    world.make_model()
    world.make_config("c", variant(count=2))
    world.do("CreateEndpoint", EndpointName="e", EndpointConfigName="c")
    await world.settle()
    world.engine.put(next(iter(world.engine.tasks)), TaskState.FAILED, "model_fn raised ValueError\n" + "x" * 5000)
    await world.settle()
    shown = await world.describe("e")
    assert shown["EndpointStatus"] == "Failed"
    assert shown["FailureReason"].startswith(
        "The primary container for production variant v did not pass the ping health check. Please check CloudWatch "
        "logs for this endpoint. model_fn raised ValueError"
    )
    assert len(shown["FailureReason"]) == 1024
    assert not world.engine.tasks
    world.do("DeleteEndpoint", EndpointName="e")
    await world.settle()
    assert not world.store.list(None, "endpoint").items


@pytest.mark.parametrize(
    ("container", "uri", "says"),
    [
        ({"Image": "ghcr.io/acme/model:1"}, "s3://models/model.tar.gz", "kedge/sklearn"),
        ({}, "s3://models/absent.tar.gz", "Could not find model data at s3://models/absent.tar.gz."),
        ({}, "s3://absent/model.tar.gz", "Could not find model data at s3://absent/model.tar.gz."),
        ({}, "https://example.com/model.tar.gz", "only s3://"),
        ({}, "s3://models/plain.tar.gz", "not a gzip archive"),
        ({"Environment": {"SAGEMAKER_SUBMIT_DIRECTORY": "s3://models/none.gz"}}, "s3://models/model.tar.gz", "none.gz"),
    ],
)
async def test_what_cannot_be_served_fails_with_its_name(world: World, container: dict[str, str], uri: str, says: str):
    world.put_model_data()
    put_bytes(world.objects, "models", "plain.tar.gz", b"not packed at all")
    world.make_model(uri=uri, **container)
    world.make_config("c", variant())
    world.do("CreateEndpoint", EndpointName="e", EndpointConfigName="c")
    await world.settle()
    shown = await world.describe("e")
    assert shown["EndpointStatus"] == "Failed"
    assert says in shown["FailureReason"]
    assert not world.engine.tasks


async def test_an_image_without_model_data_is_started_on_an_empty_folder(world: World):
    world.make_model(uri="")
    world.make_config("c", variant())
    world.do("CreateEndpoint", EndpointName="e", EndpointConfigName="c")
    await world.settle()
    (spec,) = world.engine.specs.values()
    assert list((world.home.artifacts / spec.artifact_sha256).iterdir()) == []


async def test_model_data_of_another_account_is_not_read(world: World):
    world.objects.create_bucket("theirs", "999999999999", REGION)
    put_bytes(world.objects, "theirs", "m.tar.gz", packed({"a": b"b"}))
    world.make_model(uri="s3://theirs/m.tar.gz")
    world.make_config("c", variant())
    world.do("CreateEndpoint", EndpointName="e", EndpointConfigName="c")
    await world.settle()
    assert "another account" in (await world.describe("e"))["FailureReason"]


async def test_an_update_keeps_the_old_fleet_until_the_new_one_is_routed(world: World):
    await in_service(world)
    (old,) = world.engine.tasks
    world.make_config("c2", variant("w", count=2))
    world.do("UpdateEndpoint", EndpointName="e", EndpointConfigName="c2")
    await world.settle()
    shown = await world.describe("e")
    assert (shown["EndpointStatus"], shown["EndpointConfigName"]) == ("Updating", "c")
    assert shown["PendingDeploymentSummary"]["EndpointConfigName"] == "c2"
    assert world.route("e").variants[0].instances[0].id == old

    world.routers.routers = 0
    world.engine.put_all(TaskState.STARTING, TaskState.READY)
    await world.settle()
    assert old in world.engine.tasks
    assert await status(world) == "Updating"

    world.routers.routers = 1
    await world.settle()
    assert old not in world.engine.tasks
    shown = await world.describe("e")
    assert (shown["EndpointStatus"], shown["EndpointConfigName"]) == ("InService", "c2")
    assert [len(v.instances) for v in world.route("e").variants] == [2]


async def test_absent_routers_are_waited_for_only_so_long(world: World):
    world.routers.routers = 0
    world.make_model()
    world.make_config("c", variant())
    world.do("CreateEndpoint", EndpointName="e", EndpointConfigName="c")
    await world.bring_up()
    assert await status(world) == "Creating"
    world.clock.advance(5)
    await world.settle()
    assert await status(world) == "InService"


async def test_a_failed_update_goes_back(world: World):
    await in_service(world)
    (old,) = world.engine.tasks
    world.make_config("c2", variant("w"))
    world.do("UpdateEndpoint", EndpointName="e", EndpointConfigName="c2")
    await world.settle()
    world.engine.put_all(TaskState.STARTING, TaskState.FAILED, "no such file")
    await world.settle()
    shown = await world.describe("e")
    assert (shown["EndpointStatus"], shown["EndpointConfigName"]) == ("InService", "c")
    assert "production variant w" in shown["FailureReason"]
    assert list(world.engine.tasks) == [old]
    world.do("UpdateEndpoint", EndpointName="e", EndpointConfigName="c2")
    assert "FailureReason" not in await world.describe("e")
    await world.bring_up()
    shown = await world.describe("e")
    assert (shown["EndpointStatus"], shown["EndpointConfigName"]) == ("InService", "c2")
    assert old not in world.engine.tasks


async def test_an_update_to_what_is_not_there_goes_back(world: World):
    await in_service(world)
    world.make_config("c2", variant("w"), KmsKeyId="alias/mine")
    world.do("UpdateEndpoint", EndpointName="e", EndpointConfigName="c2")
    await world.settle()
    shown = await world.describe("e")
    assert (shown["EndpointStatus"], shown["EndpointConfigName"]) == ("InService", "c")
    assert "KmsKeyId" in shown["FailureReason"]


async def test_weights_reach_the_routers_with_the_next_table(world: World):
    await in_service(world, variant("a"), variant("b"))
    world.do(
        "UpdateEndpointWeightsAndCapacities",
        EndpointName="e",
        DesiredWeightsAndCapacities=[{"VariantName": "b", "DesiredWeight": 3.0}],
    )
    await world.controller.publisher.step()
    assert [v.weight for v in world.route("e").variants] == [1, 3]
    await world.settle()
    shown = await world.describe("e")
    assert shown["EndpointStatus"] == "InService"
    assert [v["CurrentWeight"] for v in shown["ProductionVariants"]] == [1, 3]


async def scale(world: World, count: int) -> None:
    world.do(
        "UpdateEndpointWeightsAndCapacities",
        EndpointName="e",
        DesiredWeightsAndCapacities=[{"VariantName": "v", "DesiredInstanceCount": count}],
    )
    await world.settle()


async def test_scaling_starts_and_stops_the_difference(world: World):
    await in_service(world)
    (first,) = world.engine.tasks
    await scale(world, 3)
    assert len(world.engine.tasks) == 3
    assert len(world.route("e").variants[0].instances) == 1
    shown = (await world.describe("e"))["ProductionVariants"][0]
    assert (shown["CurrentInstanceCount"], shown["DesiredInstanceCount"]) == (1, 3)
    await world.bring_up()
    assert len(world.route("e").variants[0].instances) == 3
    await scale(world, 1)
    assert list(world.engine.tasks) == [first]
    assert await status(world) == "InService"
    assert world.engine.starts.count(first) == 1


async def test_scaling_that_fails_goes_back_to_the_old_size(world: World):
    await in_service(world)
    await scale(world, 2)
    world.engine.put_all(TaskState.STARTING, TaskState.FAILED, "out of memory")
    await world.settle()
    shown = await world.describe("e")
    assert shown["EndpointStatus"] == "InService"
    assert "out of memory" in shown["FailureReason"]
    assert shown["ProductionVariants"][0]["DesiredInstanceCount"] == 1
    assert len(world.engine.tasks) == 1


async def test_it_is_rolling_back_until_what_was_begun_is_gone(world: World):
    await in_service(world)
    wanted = [{"VariantName": "v", "DesiredInstanceCount": 2}]
    world.do("UpdateEndpointWeightsAndCapacities", EndpointName="e", DesiredWeightsAndCapacities=wanted)
    await world.settle()
    world.engine.put_all(TaskState.STARTING, TaskState.FAILED, "out of memory")
    await world.step()
    shown = await world.describe("e")
    assert shown["EndpointStatus"] == "RollingBack"
    assert "out of memory" in shown["FailureReason"]
    with pytest.raises(ValidationFailed, match="Cannot update in-progress endpoint"):
        world.do("UpdateEndpointWeightsAndCapacities", EndpointName="e", DesiredWeightsAndCapacities=wanted)
    await world.settle()
    assert await status(world) == "InService"


async def test_deleting_waits_for_the_instances(world: World):
    await in_service(world)
    world.do("AddTags", ResourceArn=(await world.describe("e"))["EndpointArn"], Tags=[{"Key": "k", "Value": "v"}])
    world.engine.lingering = True
    world.do("DeleteEndpoint", EndpointName="e")
    await world.settle()
    assert await status(world) == "Deleting"
    assert not world.routers.table.endpoints
    world.engine.end()
    await world.settle()
    assert not world.store.list(None, "endpoint").items
    assert not world.store.list(None, "tags").items


async def test_a_new_control_process_takes_over_at_any_instant(world: World):
    world.make_model()
    world.make_config("c", variant(count=2))
    world.do("CreateEndpoint", EndpointName="e", EndpointConfigName="c")
    for at in range(12):
        await world.step()
        await world.controller.close()
        world.restart_control()
        if at == 5:
            world.engine.put_all(TaskState.STARTING, TaskState.READY)
    await world.settle()
    assert await status(world) == "InService"
    assert len(world.engine.starts) == len(set(world.engine.starts)) == 2
    versions = [table.version for table in world.routers.tables]
    assert versions == sorted(versions)


async def test_the_version_grows_though_the_clock_went_back(world: World):
    old = tables.RoutingTable(version=10**18)
    world.home.routing_file.write_bytes(tables.encode(old))
    await world.step()
    assert world.routers.table.version > 10**18


async def test_instances_lost_with_the_machine_are_brought_back(world: World):
    await in_service(world)
    before = set(world.engine.tasks)
    world.engine.tasks.clear()
    for entry in list(world.home.artifacts.iterdir()):
        entry.rename(entry.with_name(".tmp-lost"))
    await world.bring_up()
    assert set(world.engine.tasks) == before
    assert await status(world) == "InService"


async def test_an_instance_that_the_engine_gave_up_is_tried_again_after_a_while(world: World):
    await in_service(world)
    (only,) = world.engine.tasks
    world.engine.put(only, TaskState.FAILED, "no memory left")
    await world.settle()
    assert world.engine.starts == [only]
    world.clock.advance(31)
    await world.settle()
    assert world.engine.starts == [only, only]
    assert await status(world) == "InService"


async def test_instances_without_a_record_are_stopped(world: World):
    await in_service(world)
    world.store.wipe()
    await world.settle()
    assert not world.engine.tasks


async def test_unused_model_data_is_removed(world: World):
    await in_service(world)
    (world.home.artifacts / ("0" * 64)).mkdir()
    (world.home.artifacts / ".tmp-left").mkdir()
    world.restart_control()
    await world.settle()
    await world.controller.close()
    assert len(list(world.home.artifacts.iterdir())) == 1


class SlowObjects(Objects):
    """An object store that does not hand out keys with "slow" in them until it is told to go on."""

    go_on = threading.Event()

    def open(self, bucket: Any, key: str) -> io.BufferedReader:
        if "slow" in key:
            self.go_on.wait(10)
        return super().open(bucket, key)


async def test_a_slow_download_holds_up_nobody(world: World):
    world.objects.close()
    world.objects = slow = SlowObjects(world.home.objects, world.clock, durable=False)
    world.restart_control()
    world.make_model("s", uri=world.put_model_data("slow.tar.gz"))
    world.make_model("m")
    world.make_config("slow", variant(model="s"))
    world.make_config("fast", variant())
    world.do("CreateEndpoint", EndpointName="slow", EndpointConfigName="slow")
    world.do("CreateEndpoint", EndpointName="fast", EndpointConfigName="fast")
    async with asyncio.timeout(10):
        while await status(world, "fast") != "InService":
            await asyncio.to_thread(world.lease.hold)
            await world.controller.publisher.step()
            await world.controller.step()
            world.engine.put_all(TaskState.STARTING, TaskState.READY)
            await asyncio.sleep(0)
    assert await status(world, "slow") == "Creating"
    slow.go_on.set()
    await world.bring_up()
    assert await status(world, "slow") == "InService"


async def test_each_change_of_state_is_told_once(world: World):
    await in_service(world)
    events = world.store.outbox()
    assert [event.detail["EndpointStatus"] for event in events] == ["CREATING", "IN_SERVICE"]
    assert {event.detail_type for event in events} == {"SageMaker Endpoint State Change"}
    assert isinstance(events[0].detail["CreationTime"], int)


async def test_run_moves_without_being_stepped(world: World):
    world.make_model()
    world.make_config("c", variant())
    await asyncio.to_thread(world.lease.hold)
    running = asyncio.create_task(world.controller.run())
    try:
        world.do("CreateEndpoint", EndpointName="e", EndpointConfigName="c")
        async with asyncio.timeout(10):
            while await status(world) != "InService":
                seen = world.changed.count
                world.engine.put_all(TaskState.STARTING, TaskState.READY)
                await world.changed.changed_since(seen, 0.05)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_it_rests_only_when_nothing_is_under_way(world: World):
    await in_service(world)
    assert await world.controller.step() == REST_S
    world.do("CreateEndpoint", EndpointName="other", EndpointConfigName="c")
    assert await world.controller.step() is None, "model data is being fetched, and the endpoint is in transition"
    await world.bring_up()
    assert await world.controller.step() == REST_S
    assert await world.controller.publisher.step() == REST_S
    world.engine.put_all(TaskState.READY, TaskState.FAILED, "it fell over")
    assert await world.controller.step() is None, "it is tried again after a while"
