"""An experiment's life on a real store, with an engine in memory and a clock that is moved by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kedge.call import Call
from kedge.compute import instance_types
from kedge.compute.base import Capacity, TaskState
from kedge.endpoints.changing import Means
from kedge.endpoints.fleets import Kinds
from kedge.errors import AccessDenied, ResourceNotFound, ServiceError, ValidationFailed
from kedge.inference_experiments.controller import Controller
from kedge.inference_experiments.errors import Conflict, ResourceInUse
from kedge.inference_experiments.operations import OPERATIONS
from kedge.serving.runtimes import images
from kedge.store.lease import Lease
from tests.endpoints import world as worlds
from tests.endpoints.world import ACCOUNT, GIB, REGION, START, World, variant

ARN = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:inference-experiment/"


def model_variant(name: str, model: str, count: int = 1, kind: str = "ml.m5.large") -> dict[str, Any]:
    hardware = {"InstanceType": kind, "InstanceCount": count}
    return {
        "VariantName": name,
        "ModelName": model,
        "InfrastructureConfig": {"InfrastructureType": "RealTimeInference", "RealTimeInferenceConfig": hardware},
    }


def shadow_mode(percent: int = 50, source: str = "live", shadow: str = "next") -> dict[str, Any]:
    shadows = [{"ShadowModelVariantName": shadow, "SamplingPercentage": percent}]
    return {"SourceModelVariantName": source, "ShadowModelVariants": shadows}


class Lab:
    """Endpoint "e" with the variant "live" of the model "m" is in service; "better" is another model."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.kinds = Kinds(instance_types.find, images.choose, images.known_images())
        self.restart()

    def restart(self) -> None:
        """What a kill of the control process leaves."""
        self.world.restart_control()
        self.lease = Lease(self.world.store, "inference experiments", self.world.node, self.world.clock)
        self.controller = Controller(
            self.world.store, self.world.clock, self.lease, Means(self.kinds, self.world.engine.capacity)
        )

    async def prepare(self, **of_config: Any) -> None:
        self.world.make_model()
        self.world.make_model("better")
        self.world.make_config("base", variant("live", InitialVariantWeight=2.0), **of_config)
        self.world.do("CreateEndpoint", EndpointName="e", EndpointConfigName="base")
        await self.world.bring_up()

    def ask(self, operation: str, **request: Any) -> dict[str, Any]:
        return OPERATIONS[f"sagemaker.{operation}InferenceExperiment"](self.world.call(), {"Name": "Try", **request})

    def create(self, **more: Any) -> None:
        given: dict[str, Any] = {
            "Type": "ShadowMode",
            "RoleArn": "arn:aws:iam::111122223333:role/r",
            "EndpointName": "e",
            "ModelVariants": [model_variant("next", "better")],
            "ShadowModeConfig": shadow_mode(),
            **more,
        }
        assert self.ask("Create", **given) == {"InferenceExperimentArn": ARN + given.get("Name", "try").lower()}

    def stop(self, live: str | None, next_: str | None, **more: Any) -> None:
        actions = {name: action for name, action in (("live", live), ("next", next_)) if action}
        self.ask("Stop", ModelVariantActions=actions, **more)

    async def step(self, times: int = 4) -> None:
        for _ in range(times):
            await asyncio.to_thread(self.lease.hold)
            await self.controller.step()

    async def bring_up(self) -> None:
        """Everything that is wanted happens."""
        for _ in range(3):
            await self.step()
            await self.world.bring_up()
        await self.step()

    @property
    def shown(self) -> dict[str, Any]:
        return self.ask("Describe")

    @property
    def status(self) -> str:
        found: str = self.shown["Status"]
        return found

    @property
    def variants(self) -> tuple[list[str], str | None, float]:
        """(production variants, shadow, copied share) as routers know them."""
        route = self.world.route("e")
        shadow = route.shadow
        return [v.name for v in route.variants], shadow and shadow.name, shadow.weight if shadow else 0.0


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    world = worlds.make(tmp_path)
    world.changed.attach(asyncio.get_running_loop())
    made = Lab(world)
    await made.prepare()
    yield made
    await world.controller.close()
    world.close()


async def test_it_runs_at_once_and_ends_after_a_week(lab: Lab):
    lab.create(Description="a try")
    assert lab.status == "Creating"
    await lab.step(1)
    assert lab.status == "Created"
    await lab.step()
    shown = lab.shown
    assert (shown["Status"], shown["EndpointMetadata"]["EndpointStatus"]) == ("Starting", "Updating")
    assert [each["Status"] for each in shown["ModelVariants"]] == ["Creating"]
    with pytest.raises(Conflict, match="has status Starting; it can be stopped while it is Created or Running"):
        lab.stop("Retain", "Remove")
    with pytest.raises(Conflict, match="it can be deleted while it is Created or Completed or Cancelled"):
        lab.ask("Delete")
    await lab.bring_up()
    shown = lab.shown
    assert shown["Status"] == "Running"
    assert [each["Status"] for each in shown["ModelVariants"]] == ["InService"]
    assert shown["Schedule"] == {"StartTime": START, "EndTime": START + timedelta(days=7)}
    assert shown["EndpointMetadata"]["EndpointConfigName"].startswith("Try-")
    assert lab.variants == (["live"], "next", 0.5)
    lab.world.clock.advance(timedelta(days=7).total_seconds())
    await lab.bring_up()
    shown = lab.shown
    assert shown["Status"] == "Completed"
    assert shown["CompletionTime"] == START + timedelta(days=7)
    assert [each["Status"] for each in shown["ModelVariants"]] == ["Deleted"]
    assert lab.variants == (["live"], None, 0.0)
    # Nothing but the shadow was changed, so the endpoint has the config again that its owner gave it.
    assert shown["EndpointMetadata"]["EndpointConfigName"] == "base"
    lab.ask("Delete")
    with pytest.raises(ResourceNotFound, match=f'Could not find inference experiment "{ARN}try"'):
        lab.ask("Describe")


async def test_it_waits_for_its_time_or_is_started_before(lab: Lab):
    start = START + timedelta(hours=1)
    lab.create(Schedule={"StartTime": start, "EndTime": start + timedelta(hours=1)})
    await lab.bring_up()
    assert (lab.status, lab.variants[1]) == ("Created", None)
    lab.world.clock.advance(3601)
    await lab.step()
    assert lab.status == "Starting"
    await lab.bring_up()
    lab.stop("Retain", "Remove", Reason="enough")
    await lab.bring_up()
    assert (lab.status, lab.shown["StatusReason"]) == ("Cancelled", "enough")
    lab.create(Name="Second", Schedule={"StartTime": start + timedelta(days=1)})
    await lab.step()
    OPERATIONS["sagemaker.StartInferenceExperiment"](lab.world.call(), {"Name": "Second"})
    await lab.bring_up()
    assert lab.variants[1] == "next"


async def test_the_shadow_is_promoted(lab: Lab):
    lab.create(ModelVariants=[model_variant("live", "m"), model_variant("next", "better")])
    await lab.bring_up()
    bigger = [model_variant("next", "better", 2, "ml.m5.xlarge")]
    lab.stop("Remove", "Promote", DesiredModelVariants=bigger, DesiredState="Completed", Reason="better")
    assert lab.status == "Stopping"
    await lab.step()
    assert [each["Status"] for each in lab.shown["ModelVariants"]] == ["Deleting", "InService"]
    await lab.bring_up()
    assert (lab.status, lab.shown["StatusReason"]) == ("Completed", "better")
    assert lab.variants == (["next"], None, 0.0)
    [shown] = (await lab.world.describe("e"))["ProductionVariants"]
    assert (shown["CurrentInstanceCount"], shown["CurrentWeight"]) == (2, 1.0)


async def test_the_shadow_stays(lab: Lab):
    lab.create()
    await lab.bring_up()
    before = lab.shown["EndpointMetadata"]["EndpointConfigName"]
    lab.stop("Retain", "Retain", DesiredState="Completed")
    await lab.bring_up()
    assert lab.status == "Completed"
    assert lab.variants == (["live"], "next", 0.5)
    assert lab.shown["EndpointMetadata"]["EndpointConfigName"] == before


async def test_it_is_stopped_before_it_began(lab: Lab):
    lab.create(Schedule={"StartTime": START + timedelta(hours=1)})
    await lab.step()
    lab.stop("Retain", "Remove")
    await lab.step()
    assert (lab.status, lab.variants[1]) == ("Cancelled", None)


async def test_a_running_one_is_changed(lab: Lab):
    lab.create()
    await lab.bring_up()
    end = START + timedelta(days=20)
    lab.ask("Update", Schedule={"EndTime": end}, Description="longer")
    assert (lab.status, lab.shown["Description"], lab.shown["Schedule"]["EndTime"]) == ("Running", "longer", end)
    lab.ask("Update", ShadowModeConfig=shadow_mode(100), ModelVariants=[model_variant("next", "better", 3)])
    assert lab.status == "Updating"
    assert lab.shown["ShadowModeConfig"] == shadow_mode(50)
    await lab.bring_up()
    assert (lab.status, lab.shown["ShadowModeConfig"]) == ("Running", shadow_mode(100))
    assert lab.variants == (["live"], "next", 1.0)
    assert len(lab.world.tasks_of("next")) == 3
    for change, says in (
        ({"ShadowModeConfig": shadow_mode(10, shadow="other")}, "of the shadow variant"),
        ({"ModelVariants": [model_variant("next", "m")]}, 'keeps the model "better"'),
        ({"Schedule": {"StartTime": START + timedelta(hours=1)}}, "only EndTime can be changed"),
        ({"ModelVariants": [model_variant("next", "gone")]}, "keeps the model"),
    ):
        with pytest.raises(ValidationFailed) as caught:
            lab.ask("Update", **change)
        assert says in caught.value.message or "names" in caught.value.message


async def test_a_change_that_fails_is_taken_back(lab: Lab):
    lab.create()
    await lab.bring_up()
    lab.ask("Update", ShadowModeConfig=shadow_mode(100))
    await lab.step()
    await lab.world.settle()
    lab.world.engine.put_all(TaskState.STARTING, TaskState.FAILED, "it does not load")
    await lab.world.settle()
    await lab.bring_up()
    assert lab.status == "Running"
    assert "it does not load" in lab.shown["StatusReason"]
    assert lab.shown["ShadowModeConfig"] == shadow_mode(50)
    assert lab.variants == (["live"], "next", 0.5)


async def test_a_shadow_that_does_not_start(lab: Lab):
    lab.create()
    await lab.step()
    await lab.world.settle()
    lab.world.engine.put_all(TaskState.STARTING, TaskState.FAILED, "no such module")
    await lab.world.settle()
    await lab.step()
    assert lab.status == "Cancelled"
    assert "no such module" in lab.shown["StatusReason"]
    assert lab.variants == (["live"], None, 0.0)
    assert (await lab.world.describe("e"))["EndpointConfigName"] == "base"


async def test_no_room(lab: Lab, tmp_path: Path):
    lab.world.engine._capacity = Capacity(4, 16 * GIB, 0)
    lab.create(ModelVariants=[model_variant("next", "better", 2)])
    await lab.step()
    assert lab.status == "Cancelled"
    assert "for endpoint usage" in lab.shown["StatusReason"]
    assert (await lab.world.describe("e"))["EndpointStatus"] == "InService"


async def test_somebody_updates_the_endpoint(lab: Lab):
    lab.create()
    await lab.bring_up()
    lab.world.do("UpdateEndpoint", EndpointName="e", EndpointConfigName="base")
    await lab.bring_up()
    assert lab.status == "Cancelled"
    assert 'updated to the endpoint config "base" by somebody else' in lab.shown["StatusReason"]


async def test_the_endpoint_is_deleted(lab: Lab):
    lab.create()
    await lab.bring_up()
    lab.world.do("DeleteEndpoint", EndpointName="e")
    await lab.bring_up()
    assert lab.status == "Cancelled"
    assert "is not there any more" in lab.shown["StatusReason"]
    assert "EndpointStatus" not in lab.shown["EndpointMetadata"]


async def test_a_restart_at_any_moment_changes_nothing(lab: Lab):
    lab.create()
    for _ in range(12):
        lab.restart()
        await lab.step(1)
        lab.restart()
        await lab.world.step()
        lab.world.engine.put_all(TaskState.STARTING, TaskState.READY)
    assert lab.status == "Running"
    lab.stop("Remove", "Promote", DesiredState="Completed")
    for _ in range(12):
        lab.restart()
        await lab.step(1)
        lab.restart()
        await lab.world.step()
        lab.world.engine.put_all(TaskState.STARTING, TaskState.READY)
    await lab.bring_up()
    assert (lab.status, lab.variants) == ("Completed", (["next"], None, 0.0))
    assert len(lab.world.engine.tasks) == 1
    configs = lab.world.do("ListEndpointConfigs")["EndpointConfigs"]
    assert len(configs) == 3  # the endpoint's own, with the shadow, and after it


async def test_scaling_meanwhile_is_kept(lab: Lab):
    lab.create()
    await lab.bring_up()
    wanted = [{"VariantName": "live", "DesiredInstanceCount": 2, "DesiredWeight": 4.0}]
    lab.world.do("UpdateEndpointWeightsAndCapacities", EndpointName="e", DesiredWeightsAndCapacities=wanted)
    await lab.bring_up()
    assert (lab.status, lab.variants[2]) == ("Running", 0.25)
    lab.stop("Retain", "Remove")
    await lab.bring_up()
    [shown] = (await lab.world.describe("e"))["ProductionVariants"]
    assert (shown["CurrentInstanceCount"], shown["CurrentWeight"]) == (2, 4.0)


async def test_what_is_captured(lab: Lab):
    lab.world.do(
        "AddTags",
        ResourceArn=f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:endpoint-config/base",
        Tags=[{"Key": "kedge:capture-drop", "Value": "0"}],
    )
    lab.create(DataStorageConfig={"Destination": "s3://models/tried", "ContentType": {"CsvContentTypes": ["text/csv"]}})
    await lab.bring_up()
    capture = lab.world.route("e").capture
    assert (capture.bucket, capture.prefix, capture.percent, capture.csv_types) == (
        "models",
        "tried",
        100,
        ("text/csv",),
    )
    assert [rule.action for rule in capture.rules] == ["drop"]
    assert lab.shown["DataStorageConfig"]["Destination"] == "s3://models/tried"
    lab.stop("Retain", "Remove")
    await lab.bring_up()
    assert lab.world.route("e").capture is None


async def test_the_list(lab: Lab):
    lab.create(Schedule={"StartTime": START + timedelta(hours=1)}, Tags=[{"Key": "team", "Value": "a"}])
    await lab.step()
    listed = OPERATIONS["sagemaker.ListInferenceExperiments"]
    [shown] = listed(lab.world.call(), {"StatusEquals": "Created", "NameContains": "try"})["InferenceExperiments"]
    assert (shown["Name"], shown["Type"], shown["Status"]) == ("Try", "ShadowMode", "Created")
    assert lab.world.do("ListTags", ResourceArn=ARN + "try")["Tags"] == [{"Key": "team", "Value": "a"}]
    assert listed(lab.world.call(), {"StatusEquals": "Running"}) == {"InferenceExperiments": []}


REFUSED: list[tuple[dict[str, Any], type[ServiceError], str]] = [
    ({"EndpointName": "gone"}, ValidationFailed, "Could not find endpoint"),
    ({"ModelVariants": [model_variant("next", "gone")]}, ValidationFailed, "Could not find model"),
    ({"ShadowModeConfig": shadow_mode(source="other")}, ValidationFailed, "has the production variants live"),
    ({"ShadowModeConfig": shadow_mode(shadow="live")}, ValidationFailed, "cannot be the shadow of itself"),
    ({"ShadowModeConfig": shadow_mode(shadow="third")}, ValidationFailed, 'ModelVariants names "next"'),
    ({"ModelVariants": [model_variant("live", "m")]}, ValidationFailed, "says nothing of the shadow variant"),
    ({"ModelVariants": [model_variant("next", "m")] * 2}, ValidationFailed, "non-unique"),
    (
        {"ModelVariants": [model_variant("live", "better"), model_variant("next", "better")]},
        ValidationFailed,
        'serves the model "m"',
    ),
    ({"ModelVariants": [model_variant("next", "better", 0)]}, ValidationFailed, "InstanceCount of variant"),
    ({"ShadowModeConfig": shadow_mode(-1)}, ValidationFailed, "SamplingPercentage is -1"),
    ({"KmsKey": "alias/x"}, ValidationFailed, "KmsKey asks for an encrypted volume"),
    ({"DataStorageConfig": {"Destination": "https://x/y"}}, ValidationFailed, "has to be s3://"),
    ({"Schedule": {"StartTime": START, "EndTime": START}}, ValidationFailed, "over already"),
    ({"Schedule": {"StartTime": datetime.max.replace(tzinfo=UTC)}}, ValidationFailed, "StartTime is 9999-12-31"),
    (
        {"Schedule": {"StartTime": START + timedelta(2), "EndTime": START + timedelta(1)}},
        ValidationFailed,
        "not after its StartTime",
    ),
]


async def test_what_cannot_be(lab: Lab):
    for change, kind, says in REFUSED:
        with pytest.raises(kind) as caught:
            lab.create(**change)
        assert says in caught.value.message
    lab.create()
    with pytest.raises(ResourceInUse, match=f'already existing inference experiment "{ARN}try"'):
        lab.create()
    with pytest.raises(ResourceInUse, match='has the inference experiment "Try" with status Creating'):
        lab.create(Name="Other")
    with pytest.raises(Conflict, match="it can be started while it is Created"):
        lab.ask("Start")
    await lab.bring_up()
    for actions, says in (
        ({"third": "Remove"}, 'names "third"'),
        ({"live": "Promote"}, "is a production variant already"),
        ({"live": "Remove", "next": "Remove"}, "only when"),
        ({"live": "Retain", "next": "Promote"}, "has to be removed"),
    ):
        with pytest.raises(ValidationFailed) as caught:
            lab.ask("Stop", ModelVariantActions=actions)
        assert says in caught.value.message
    with pytest.raises(ValidationFailed, match="DesiredModelVariants names"):
        lab.stop("Retain", "Remove", DesiredModelVariants=[model_variant("next", "better")])
    assert lab.status == "Running"


async def test_who_may_not_update_the_endpoint_may_have_no_experiment_on_it(lab: Lab):
    asked: list[tuple[str, str]] = []

    def deny(call: Call, action: str, resource: str, context: Any) -> None:
        asked.append((action, resource))
        raise AccessDenied("no")

    lab.create()
    await lab.step(1)
    given = {"ShadowModeConfig": shadow_mode(), "ModelVariants": [model_variant("next", "better")], "EndpointName": "e"}
    for operation, request in (
        ("Create", given),
        ("Start", {}),
        ("Stop", {"ModelVariantActions": {"next": "Remove"}}),
        ("Update", {"Description": "x"}),
        ("Delete", {}),
    ):
        with pytest.raises(AccessDenied):
            OPERATIONS[f"sagemaker.{operation}InferenceExperiment"](
                replace(lab.world.call(), require=deny), {"Name": "Try", **request}
            )
    assert asked == [("sagemaker:UpdateEndpoint", f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:endpoint/e")] * 5
    assert lab.status == "Created"


async def test_two_production_variants_have_no_experiment(lab: Lab):
    lab.world.make_config("two", variant("a"), variant("b"))
    lab.world.do("UpdateEndpoint", EndpointName="e", EndpointConfigName="two")
    await lab.world.bring_up()
    with pytest.raises(ValidationFailed, match="has the production variants a, b"):
        lab.create()
