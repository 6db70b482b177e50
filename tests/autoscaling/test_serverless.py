"""A serverless variant's instances follow its load: none when idle, one for each request at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kedge.compute.base import Capacity
from kedge.errors import ValidationFailed
from tests.autoscaling.world import PLACE, Scaled
from tests.endpoints import world as worlds
from tests.endpoints.test_serverless import serverless
from tests.endpoints.world import GIB

PROVISIONED = {**PLACE, "ScalableDimension": "sagemaker:variant:DesiredProvisionedConcurrency"}


class Following(Scaled):
    async def begin(self, count: int = 1, **more: Any) -> None:
        self.world.make_model()
        self.world.make_config("c", serverless(**more))
        self.world.do("CreateEndpoint", EndpointName="e", EndpointConfigName="c")
        await self.world.bring_up()
        self.look()

    @property
    def count(self) -> int:
        return self.variant.current_count


@pytest.fixture
async def following(tmp_path: Path) -> AsyncIterator[Following]:
    world = worlds.make(tmp_path)
    world.changed.attach(asyncio.get_running_loop())
    yield Following(world)
    await world.controller.close()
    world.close()


async def test_it_sleeps_when_it_was_idle_for_long_enough(following: Following):
    await following.begin()
    following.pass_by(299)
    assert following.count == 1
    following.pass_by(2)
    assert following.count == 0
    described = await following.world.describe("e")
    assert described["EndpointStatus"] == "InService"


async def test_a_request_keeps_it_awake(following: Following):
    await following.begin()
    following.pass_by(200)
    following.report(0)  # one that came and went within the second
    following.pass_by(299)
    assert following.count == 1
    following.pass_by(2)
    assert following.count == 0


async def test_it_does_not_sleep_while_a_router_is_not_heard(following: Following):
    await following.begin()
    following.routers = False
    following.pass_by(400)
    assert following.count == 1


async def test_a_model_may_name_another_time(following: Following):
    world = following.world
    world.make_model(Environment={"KEDGE_SERVERLESS_IDLE_S": "20"})
    world.make_config("c", serverless())
    world.do("CreateEndpoint", EndpointName="e", EndpointConfigName="c")
    await world.bring_up()
    following.pass_by(19)
    assert following.count == 1
    following.pass_by(3)
    assert following.count == 0


async def test_a_request_wakes_it(following: Following):
    await following.begin()
    following.pass_by(301)
    following.report(1, instances=0)
    following.look()
    assert following.count == 1
    assert (await following.world.describe("e"))["EndpointStatus"] == "InService"


async def test_it_wakes_and_sleeps_after_a_restart_of_the_control_process(following: Following):
    await following.begin()
    following.pass_by(301)
    following.restart()
    following.report(1, instances=0)
    following.look()
    assert following.count == 1
    following.restart()
    following.pass_by(299)
    assert following.count == 1
    following.pass_by(3)
    assert following.count == 0


async def test_an_instance_for_each_request_at_a_time_and_no_more_than_it_may_have(following: Following):
    await following.begin(most=3)
    following.pass_by(6, requests=2)
    assert following.count == 2
    following.pass_by(10, requests=9)
    assert following.count == 3
    following.pass_by(200, requests=1)
    assert following.count == 2
    following.pass_by(301)
    assert following.count == 0


async def test_the_provisioned_ones_stay(following: Following):
    await following.begin(ProvisionedConcurrency=2)
    assert following.count == 2
    following.pass_by(10, requests=5)
    assert following.count == 5
    following.pass_by(400)
    assert following.count == 2


async def test_it_takes_the_room_that_there_is(following: Following):
    await following.begin(most=10, memory=2048)
    following.room = lambda: Capacity(64, 7 * GIB, 0)
    following.pass_by(8, requests=8)
    assert 2 <= following.count <= 3
    following.room = following.world.engine.capacity
    following.pass_by(20, requests=8)
    assert following.count == 8


async def test_it_stays_awake_during_an_update(following: Following):
    await following.begin()
    world = following.world
    world.make_config("d", serverless(memory=1024))
    following.pass_by(250)
    world.do("UpdateEndpoint", EndpointName="e", EndpointConfigName="d")
    following.pass_by(100)
    assert following.count == 1
    await world.bring_up()
    assert (await world.describe("e"))["EndpointConfigName"] == "d"


async def test_provisioned_concurrency_is_scaled(following: Following):
    await following.begin(ProvisionedConcurrency=2, most=6)
    following.do("RegisterScalableTarget", **PROVISIONED, MinCapacity=1, MaxCapacity=10)
    metric = {"PredefinedMetricType": "SageMakerVariantProvisionedConcurrencyUtilization"}
    config = {"TargetValue": 0.5, "PredefinedMetricSpecification": metric, "ScaleOutCooldown": 0}
    answer = following.do(
        "PutScalingPolicy",
        **PROVISIONED,
        PolicyName="p",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration=config,
    )
    high = next(each["AlarmName"] for each in answer["Alarms"] if "High" in each["AlarmName"])
    following.values["ServerlessProvisionedConcurrencyUtilization"] = 0.9
    following.set(high, "ALARM")
    following.ask(high, answer["PolicyARN"])
    await following.settle()
    assert following.variant.current_serverless["ProvisionedConcurrency"] == 4
    (activity,) = following.activities()
    assert activity["Description"] == "Setting desired provisioned concurrency to 4."
    assert activity["StatusCode"] == "Successful"
    following.world.clock.advance(60)
    following.ask(high, answer["PolicyARN"])
    await following.settle()
    failed = following.activities()[0]
    assert failed["StatusCode"] == "Failed", "8 would be more than it may have to do at a time"
    assert "at most MaxConcurrency, which is 6" in failed["StatusMessage"]
    found = following.do("DescribeScalableTargets", ServiceNamespace="sagemaker", ResourceIds=[PLACE["ResourceId"]])
    assert len(found["ScalableTargets"]) == 1


@pytest.mark.parametrize(
    ("config", "place", "low", "says"),
    [
        ({}, PROVISIONED, 1, "has no provisioned concurrency"),
        ({}, PLACE, 1, "is serverless, and has no instances to scale"),
        ({"ProvisionedConcurrency": 1}, PROVISIONED, 0, "it is at least 1"),
    ],
)
async def test_what_cannot_be_scaled(
    following: Following, config: dict[str, Any], place: dict[str, Any], low: int, says: str
):
    await following.begin(**config)
    with pytest.raises(ValidationFailed, match=says):
        following.do("RegisterScalableTarget", **place, MinCapacity=low, MaxCapacity=4)
