"""Components brought about by the controller of endpoints, in a small world whose copies do what the test says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kedge.compute import instance_types
from kedge.compute.base import TaskState
from kedge.endpoints import steering, zoning
from kedge.endpoints.fleets import Kinds
from kedge.endpoints.served import Served
from kedge.errors import ValidationFailed
from kedge.inference_components.operations import operations
from kedge.serving.runtimes import images
from tests.endpoints import world as worlds
from tests.endpoints.test_deployments import alarm
from tests.endpoints.world import ACCOUNT, GIB, World

KINDS = Kinds(instance_types.find, images.choose, images.known_images())
ROLE = f"arn:aws:iam::{ACCOUNT}:role/execution"


class Hosted:
    """A world with models `m` and `n`, and endpoint `e`, whose variant `v` has instances of 2 cores and 8 GiB."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def create(self, count: int = 2, **of_variant: Any) -> None:
        self.world.make_model("m")
        self.world.make_model("n", "s3://models/model.tar.gz")
        self.config("c", count, **of_variant)
        self.world.do("CreateEndpoint", EndpointName="e", EndpointConfigName="c")
        await self.world.settle()
        assert await self.endpoint() == ("InService", count)

    def config(self, name: str, count: int, **of_variant: Any) -> None:
        variant = {"VariantName": "v", "InitialInstanceCount": count, "InstanceType": "ml.m5.large", **of_variant}
        self.world.make_config(name, variant, ExecutionRoleArn=ROLE)

    def do(self, operation: str, name: str, **request: Any) -> dict[str, Any]:
        asked = {"InferenceComponentName": name, **request}
        return operations(KINDS, Served())[f"sagemaker.{operation}"](self.world.call(), asked)

    def component(self, name: str = "x", copies: int = 1, cores: float = 1.0, **given: Any) -> None:
        specification = {"ModelName": "m", "ComputeResourceRequirements": needs(cores), **given}
        self.do(
            "CreateInferenceComponent",
            name,
            EndpointName="e",
            VariantName="v",
            Specification=specification,
            RuntimeConfig={"CopyCount": copies},
        )

    def scale(self, name: str, copies: int) -> None:
        self.do("UpdateInferenceComponentRuntimeConfig", name, DesiredRuntimeConfig={"CopyCount": copies})

    def describe(self, name: str = "x") -> dict[str, Any]:
        return self.do("DescribeInferenceComponent", name)

    def state(self, name: str = "x") -> tuple[str, int]:
        shown = self.describe(name)
        return shown["InferenceComponentStatus"], shown["RuntimeConfig"]["CurrentCopyCount"]

    async def endpoint(self) -> tuple[str, int]:
        described = await self.world.describe("e")
        return described["EndpointStatus"], described["ProductionVariants"][0]["CurrentInstanceCount"]

    def resize(self, count: int) -> None:
        wanted = [{"VariantName": "v", "DesiredInstanceCount": count}]
        self.world.do("UpdateEndpointWeightsAndCapacities", EndpointName="e", DesiredWeightsAndCapacities=wanted)

    def places(self, name: str = "x") -> list[int]:
        """Numbers of the instances that its copies are on."""
        tasks = self.world.engine.tasks.values()
        return sorted(int(t.labels["node"]) for t in tasks if t.labels["inference_component"] == name)

    def routed(self, name: str = "x") -> list[str]:
        route = self.world.route(f"e/{name}")
        return [] if route is None else [each.id for variant in route.variants for each in variant.every_instance]

    async def up(self) -> None:
        await self.world.bring_up()


def needs(cores: float) -> dict[str, Any]:
    return {"NumberOfCpuCoresRequired": cores, "MinMemoryRequiredInMb": 512}


@pytest.fixture
def hosted(world: World) -> Hosted:
    return Hosted(world)


async def test_copies_are_placed_started_and_routed_under_a_key_of_their_own(hosted: Hosted):
    await hosted.create()
    hosted.component(copies=2)
    await hosted.world.settle()
    assert hosted.state() == ("Creating", 0)
    assert hosted.routed() == []
    await hosted.up()
    assert hosted.state() == ("InService", 2)
    assert hosted.places() == [0, 1]
    assert sorted(hosted.routed()) == sorted(hosted.world.engine.tasks)
    assert hosted.world.route("e").variants == ()
    specs = hosted.world.engine.specs.values()
    assert {(spec.cores, spec.memory_bytes, spec.execution_role) for spec in specs} == {(1.0, 8 * GIB, ROLE)}


async def test_the_limit_of_a_copys_memory_is_the_most_that_it_may_have(hosted: Hosted):
    await hosted.create(1)
    hosted.component(ComputeResourceRequirements={**needs(1.0), "MaxMemoryRequiredInMb": 1024})
    await hosted.up()
    (spec,) = hosted.world.engine.specs.values()
    assert spec.memory_bytes == GIB


async def test_copies_that_find_no_room_fail_the_component_and_say_why(hosted: Hosted):
    await hosted.create()
    hosted.component(copies=5)
    await hosted.up()
    shown = hosted.describe()
    assert shown["InferenceComponentStatus"] == "Failed"
    assert "Not enough room for 1 more copy on variant v" in shown["FailureReason"]
    assert "2 instance(s) of type ml.m5.large" in shown["FailureReason"]
    assert hosted.world.engine.tasks == {}


async def test_copies_wait_for_room_that_others_are_leaving(hosted: Hosted):
    await hosted.create(1)
    hosted.component("x", copies=2)
    await hosted.up()
    hosted.world.engine.lingering = True
    hosted.do("DeleteInferenceComponent", "x")
    hosted.component("y", copies=2)
    await hosted.world.settle()
    assert hosted.state("y") == ("Creating", 0)
    assert hosted.places("y") == []
    hosted.world.engine.end()
    await hosted.up()
    assert hosted.state("y") == ("InService", 2)


async def test_two_that_come_at_once_do_not_get_the_same_room(hosted: Hosted):
    await hosted.create(1)
    hosted.component("z", copies=2)
    hosted.component("y", copies=1)
    await hosted.up()
    assert (hosted.state("z")[0], hosted.state("y")[0]) == ("InService", "Failed"), "who came first is served"


async def test_more_copies_than_fit_leave_the_component_as_it_was(hosted: Hosted):
    await hosted.create()
    hosted.component(copies=2)
    await hosted.up()
    before = hosted.routed()
    hosted.scale("x", 9)
    seen = set()
    while hosted.state()[0] != "InService":
        seen.add(hosted.state()[0])
        await hosted.world.controller.step()
    assert seen == {"Updating"}, "AWS has no other status of a component that goes back"
    await hosted.up()
    shown = hosted.describe()
    assert hosted.state() == ("InService", 2)
    assert shown["RuntimeConfig"]["DesiredCopyCount"] == 2
    assert "Not enough room for 5 more copies" in shown["FailureReason"]
    assert hosted.routed() == before


async def test_a_component_may_have_no_copies(hosted: Hosted):
    await hosted.create(1)
    hosted.component(copies=1)
    await hosted.up()
    hosted.scale("x", 0)
    await hosted.up()
    assert hosted.state() == ("InService", 0)
    assert hosted.world.engine.tasks == {}
    assert hosted.world.route("e/x").variants[0].instances == ()


async def test_a_new_model_takes_over_copy_by_copy_where_there_is_no_room_for_all(hosted: Hosted):
    await hosted.create()
    hosted.component(copies=3)
    await hosted.up()
    hosted.do("UpdateInferenceComponent", "x", Specification={"ModelName": "n"})
    seen = set()
    for _ in range(30):
        await hosted.world.step()
        hosted.world.engine.put_all(TaskState.STARTING, TaskState.READY)
        seen.add(len(hosted.routed()))
        assert len(hosted.world.engine.tasks) <= 4
    assert hosted.state() == ("InService", 3)
    assert min(seen) >= 2, seen
    assert hosted.describe()["Specification"]["ModelName"] == "n"
    assert "LastDeploymentConfig" not in hosted.describe()


async def test_a_new_model_takes_over_at_once_where_there_is_room_for_all(hosted: Hosted):
    await hosted.create()
    hosted.component(copies=2)
    await hosted.up()
    hosted.do("UpdateInferenceComponent", "x", Specification={"ModelName": "n"}, RuntimeConfig={"CopyCount": 1})
    await hosted.world.settle()
    assert len(hosted.world.engine.tasks) == 3
    await hosted.up()
    assert hosted.state() == ("InService", 1)


async def test_a_new_model_that_does_not_start_leaves_the_old_one(hosted: Hosted):
    await hosted.create()
    hosted.component(copies=1)
    await hosted.up()
    before = hosted.routed()
    hosted.do("UpdateInferenceComponent", "x", Specification={"ModelName": "n"})
    await hosted.world.settle()
    hosted.world.engine.put_all(TaskState.STARTING, TaskState.FAILED, "It raised.")
    await hosted.up()
    assert hosted.state() == ("InService", 1)
    assert hosted.routed() == before
    reason = hosted.describe()["FailureReason"]
    assert reason.startswith("The primary container for inference component x did not pass the ping health check.")


ROLLING = {
    "RollingUpdatePolicy": {
        "MaximumBatchSize": {"Type": "COPY_COUNT", "Value": 1},
        "WaitIntervalInSeconds": 60,
    },
    "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "errors"}]},
}


async def roll(hosted: Hosted) -> None:
    """Until the first of two copies of the new model has taken over, and bakes."""
    alarm(hosted.world, "errors", "OK")
    await hosted.create()
    hosted.component(copies=2, cores=0.5)
    await hosted.up()
    hosted.do("UpdateInferenceComponent", "x", Specification={"ModelName": "n"}, DeploymentConfig=ROLLING)
    await hosted.up()
    assert hosted.state()[0] == "Updating"


async def test_a_rolling_update_follows_its_policy(hosted: Hosted):
    await roll(hosted)
    for _ in range(2):
        hosted.world.clock.advance(61)
        await hosted.up()
    assert hosted.state() == ("InService", 2)
    assert hosted.describe()["LastDeploymentConfig"] == ROLLING
    assert hosted.describe()["Specification"]["ModelName"] == "n"


@pytest.mark.parametrize(("action", "model"), [("Promote", "n"), ("RollBack", "m")])
async def test_a_rolling_update_is_looked_at_and_steered(hosted: Hosted, action: str, model: str):
    await roll(hosted)
    call, named = hosted.world.call(), {"InferenceComponentName": "x"}
    ready = frozenset(hosted.world.engine.tasks)
    found = steering.picture(call, named, ready)
    assert (found["InferenceComponentName"], found["InferenceComponentStatus"]) == ("x", "Updating")
    shares = {each["Variants"][0]["ModelName"]: each["Variants"][0]["Share"] for each in found["Fleets"]}
    assert shares == pytest.approx({"m": 2 / 3, "n": 1 / 3})
    assert found["Deployment"]["Kind"] == "ROLLING"
    assert [each["AlarmName"] for each in found["Alarms"]] == ["errors"]
    steering.steer(call, json.dumps({**named, "Action": action}).encode())
    for _ in range(4):
        await hosted.up()
    assert hosted.state() == ("InService", 2)
    assert hosted.describe()["Specification"]["ModelName"] == model
    with pytest.raises(ValidationFailed, match='No deployment of "x" is under way'):
        steering.steer(call, json.dumps({**named, "Action": action}).encode())
    with pytest.raises(ValidationFailed, match="Exactly one of EndpointName and InferenceComponentName"):
        steering.picture(call, {**named, "EndpointName": "x"}, ready)


@pytest.mark.parametrize("batches", [0, 1])
async def test_an_alarm_takes_a_rolling_update_back(hosted: Hosted, batches: int):
    await roll(hosted)
    for _ in range(batches):
        hosted.world.clock.advance(61)
        await hosted.world.settle()
    alarm(hosted.world, "errors", "ALARM")
    await hosted.up()
    assert hosted.state() == ("InService", 2)
    assert hosted.describe()["Specification"]["ModelName"] == "m"
    assert 'The alarm "errors" is in state ALARM' in hosted.describe()["FailureReason"]
    assert len(hosted.routed()) == len(hosted.world.engine.tasks) == 2


async def test_old_copies_that_do_not_come_back_leave_both_models_in_service(hosted: Hosted):
    """An inference component has no status for an update that could not be rolled back; its reason says so."""
    await roll(hosted)
    hosted.world.clock.advance(61)
    await hosted.world.settle()
    alarm(hosted.world, "errors", "ALARM")
    await hosted.world.settle()
    hosted.world.engine.put_all(TaskState.STARTING, TaskState.FAILED, "It raised.")
    await hosted.up()
    assert hosted.state() == ("InService", 2)
    assert "It could not be rolled back" in hosted.describe()["FailureReason"]
    assert len(hosted.routed()) == 2
    alarm(hosted.world, "errors", "OK")
    hosted.do("UpdateInferenceComponent", "x", Specification={"ModelName": "n"})
    await hosted.up()
    assert hosted.state() == ("InService", 2)
    assert "FailureReason" not in hosted.describe()


async def test_an_endpoint_without_traffic_of_its_own_takes_no_deployment(hosted: Hosted):
    await hosted.create()
    hosted.config("more", 3)
    with pytest.raises(ValidationFailed, match="UpdateInferenceComponent takes one for each component"):
        hosted.world.do("UpdateEndpoint", EndpointName="e", EndpointConfigName="more", DeploymentConfig=ROLLING)
    hosted.world.do("UpdateEndpoint", EndpointName="e", EndpointConfigName="more")
    await hosted.up()
    assert await hosted.endpoint() == ("InService", 3)


async def test_fewer_instances_move_their_copies_first(hosted: Hosted):
    await hosted.create(3)
    hosted.component(copies=3)
    await hosted.up()
    assert hosted.places() == [0, 1, 2]
    hosted.resize(2)
    await hosted.world.settle()
    assert await hosted.endpoint() == ("InService", 2)
    assert hosted.places() == [0, 0, 1, 2]
    assert len(hosted.routed()) == 3
    await hosted.up()
    assert hosted.places() == [0, 0, 1]
    assert hosted.state() == ("InService", 3)


async def test_fewer_instances_than_the_copies_need_are_refused(hosted: Hosted):
    await hosted.create()
    hosted.component(copies=3)
    await hosted.up()
    with pytest.raises(ValidationFailed, match="no room for the 3 copies of the inference components x on variant v"):
        hosted.resize(1)
    hosted.config("small", 1)
    with pytest.raises(ValidationFailed, match="no room for the 3 copies"):
        hosted.world.do("UpdateEndpoint", EndpointName="e", EndpointConfigName="small")
    with pytest.raises(ValidationFailed, match="has the inference components x, which have to be deleted first"):
        hosted.world.do("DeleteEndpoint", EndpointName="e")


async def test_an_endpoint_goes_on_to_larger_instances_under_its_copies(hosted: Hosted):
    await hosted.create()
    hosted.component(copies=3)
    await hosted.up()
    before = hosted.routed()
    hosted.config("large", 1, InstanceType="ml.m5.xlarge")
    hosted.world.do("UpdateEndpoint", EndpointName="e", EndpointConfigName="large")
    await hosted.up()
    assert await hosted.endpoint() == ("InService", 1)
    for _ in range(3):
        await hosted.up()
    assert hosted.places() == [0, 0, 0]
    assert set(before) & set(hosted.routed())


async def test_a_zone_that_goes_off_takes_its_instances_along(hosted: Hosted):
    world = hosted.world
    world.settings = replace(world.settings, zones="a,b")
    world.restart_control()
    await hosted.create()
    hosted.component(copies=2)
    await hosted.up()
    assert zones_of(world) == ["a", "b"]
    zoning.switch(replace(world.call(), settings=world.settings), b'{"Zone": "b", "State": "off"}')
    await hosted.up()
    await hosted.up()
    assert zones_of(world) == ["a", "a"]
    assert hosted.places() == [0, 1]
    zoning.switch(replace(world.call(), settings=world.settings), b'{"Zone": "b", "State": "on"}')
    for _ in range(3):
        await hosted.up()
    assert zones_of(world) == ["a", "b"]


def zones_of(world: World) -> list[str]:
    return sorted(task.labels["zone"] for task in world.engine.tasks.values())


async def test_a_new_control_process_goes_on_where_the_last_one_was(hosted: Hosted):
    await hosted.create()
    hosted.component(copies=2)
    for _ in range(12):
        await hosted.world.step()
        hosted.world.engine.put_all(TaskState.STARTING, TaskState.READY)
        hosted.world.restart_control()
    assert hosted.state() == ("InService", 2)
    assert len(hosted.world.engine.starts) == 2


MANAGED = {"Status": "ENABLED", "MinInstanceCount": 0, "MaxInstanceCount": 3}


async def test_instances_are_added_when_copies_need_them_and_released_when_idle(hosted: Hosted):
    await hosted.create(1, ManagedInstanceScaling=MANAGED)
    hosted.component(copies=5)
    await hosted.up()
    assert await hosted.endpoint() == ("InService", 3)
    assert hosted.state() == ("InService", 5)
    hosted.scale("x", 2)
    await hosted.up()
    assert await hosted.endpoint() == ("InService", 3)
    hosted.world.clock.advance(61)
    await hosted.up()
    assert await hosted.endpoint() == ("InService", len(set(hosted.places())))
    hosted.scale("x", 0)
    await hosted.up()
    hosted.world.clock.advance(61)
    await hosted.up()
    assert await hosted.endpoint() == ("InService", 0)
    hosted.scale("x", 1)
    await hosted.up()
    assert await hosted.endpoint() == ("InService", 1)
    assert hosted.state() == ("InService", 1)


async def test_no_more_instances_are_added_than_allowed(hosted: Hosted):
    await hosted.create(1, ManagedInstanceScaling=MANAGED)
    hosted.component(copies=7)
    await hosted.up()
    assert "MaxInstanceCount is 3." in hosted.describe()["FailureReason"]


async def test_no_more_instances_are_added_than_the_machine_has(tmp_path: Path):
    world = worlds.make(tmp_path, worlds.Capacity(2, 8 * GIB, 0))
    hosted = Hosted(world)
    try:
        await hosted.create(1, ManagedInstanceScaling=MANAGED)
        hosted.component(copies=3)
        await hosted.up()
        assert "No further instance can be added" in hosted.describe()["FailureReason"]
    finally:
        await world.controller.close()
        world.close()


async def test_consolidation_waits_for_its_cooldown_and_goes_step_by_step(hosted: Hosted):
    policy = {"Strategy": "CONSOLIDATION", "MaximumStepSize": 1, "CooldownInMinutes": 5}
    await hosted.create(3, ManagedInstanceScaling={**MANAGED, "MaxInstanceCount": 4, "ScaleInPolicy": policy})
    hosted.component(copies=3, cores=0.5)
    await hosted.up()
    assert hosted.places() == [0, 1, 2]
    hosted.world.clock.advance(299)
    await hosted.up()
    assert await hosted.endpoint() == ("InService", 3)
    hosted.world.clock.advance(2)
    await hosted.up()
    assert await hosted.endpoint() == ("InService", 2)
    await hosted.up()
    await hosted.world.settle()
    hosted.world.clock.advance(301)
    await hosted.up()
    await hosted.up()
    assert await hosted.endpoint() == ("InService", 1)
    assert hosted.places() == [0, 0, 0]
    assert hosted.state() == ("InService", 3)
