"""A deployment that somebody hurries or calls back, and what is kept of it, with a clock that is moved by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kedge.compute.base import TaskState
from kedge.endpoints import steering
from kedge.endpoints.records import KIND, Endpoint
from kedge.errors import ServiceError, ValidationFailed
from tests.endpoints.test_deployment_config import canary, linear, rolling
from tests.endpoints.test_deployments import SCOPE, alarm, all_ready, deployed, mixed, shares, shown
from tests.endpoints.world import World, variant
from tests.objects.putting import put_bytes


def steer(world: World, action: str, name: str = "e") -> None:
    steering.steer(world.call(), json.dumps({"EndpointName": name, "Action": action}).encode())


def picture(world: World) -> dict[str, Any]:
    ready = frozenset(id_ for id_, task in world.engine.tasks.items() if task.state is TaskState.READY)
    found = steering.picture(world.call(), {"EndpointName": "E"}, ready)
    json.dumps(found)
    return found


def outcomes(world: World) -> list[tuple[str, str, str, str]]:
    return [(each["From"], each["To"], each["Kind"], each["Outcome"]) for each in picture(world)["Deployments"]]


@pytest.mark.parametrize("policy", [canary(10, wait_s=3600), linear(25, wait_s=3600), rolling(50, wait_s=3600)])
async def test_a_promoted_one_goes_on_to_the_end_without_a_bake(world: World, policy: dict[str, Any]):
    await deployed(world, policy)
    await all_ready(world)
    assert (await shown(world))[0] == "Updating"
    steer(world, "Promote")
    for _ in range(3):
        await world.settle()
        await all_ready(world)
    assert await shown(world) == ("InService", "c2")
    assert picture(world)["Deployments"][0]["Hurried"]


async def test_a_promoted_one_that_is_worse_still_goes_back(world: World):
    alarm(world, "errors", "OK")
    await deployed(
        world,
        {**canary(10, wait_s=3600), "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "errors"}]}},
    )
    await all_ready(world)
    assert picture(world)["Alarms"] == [{"AlarmName": "errors", "StateValue": "OK"}]
    steer(world, "Promote")
    alarm(world, "errors", "ALARM")
    await world.settle()
    assert await shown(world) == ("InService", "c")


@pytest.mark.parametrize("policy", [canary(10, wait_s=60), rolling(50, wait_s=60)])
async def test_one_that_is_called_back_says_by_whom(world: World, policy: dict[str, Any]):
    await deployed(world, policy)
    await all_ready(world)
    assert shares(world)[1] == 1
    steer(world, "RollBack")
    await world.settle()
    assert await shown(world) == ("InService", "c")
    assert shares(world) == (2, 0, 0)
    reason = (await world.describe("e"))["FailureReason"]
    assert reason == "arn:aws:iam::111122223333:root asked to take the deployment back."
    found = picture(world)
    assert found["Deployments"][0]["Reason"] == reason
    assert outcomes(world)[0][3] == "RolledBack"


async def test_a_rolling_one_brings_its_old_instances_back(world: World):
    await deployed(world, rolling(50, wait_s=60))
    await all_ready(world)
    world.clock.advance(60)
    await world.settle()
    steer(world, "RollBack")
    await world.settle()
    with pytest.raises(ValidationFailed, match="is going back already"):
        steer(world, "RollBack")
    await all_ready(world)
    assert await shown(world) == ("InService", "c")
    assert shares(world) == (2, 0, 0)
    assert outcomes(world)[0] == ("c", "c2", "ROLLING", "RolledBack")


async def test_a_roll_back_that_fails_is_kept_too(world: World):
    await mixed(world)
    last = picture(world)["Deployments"][0]
    assert (last["Kind"], last["Outcome"]) == ("ROLLING", "RollbackFailed")
    assert "could not be rolled back" in last["Reason"]
    shared = [each["Variants"][0]["Share"] for each in picture(world)["Fleets"]]
    assert shared == [pytest.approx(1 / 3), pytest.approx(2 / 3)]


async def test_an_update_without_a_policy_is_called_back_before_it_is_ready(world: World):
    await deployed(world, {})
    with pytest.raises(ValidationFailed, match="nothing of it bakes"):
        steer(world, "Promote")
    steer(world, "RollBack")
    await world.settle()
    assert await shown(world) == ("InService", "c")
    assert [(kind, outcome) for _, _, kind, outcome in outcomes(world)] == [("", "RolledBack"), ("", "Succeeded")]


async def test_what_is_refused(world: World):
    with pytest.raises(ValidationFailed, match="Could not find endpoint"):
        steer(world, "Promote")
    await deployed(world, canary(10))
    await all_ready(world)
    for action in ("Promote", "RollBack"):
        with pytest.raises(ValidationFailed, match='No deployment of "e" is under way; its status is InService'):
            steer(world, action)
    for body in (b"", b"[]", b'{"EndpointName": "e"}'):
        with pytest.raises(ValidationFailed, match="has to be"):
            steering.steer(world.call(), body)
    with pytest.raises(ValidationFailed, match='Action is "Stop"; it has to be "Promote" or "RollBack"'):
        steer(world, "Stop")


async def test_the_picture_and_the_past(world: World):
    await deployed(world, canary(10, wait_s=60, TerminationWaitInSeconds=30))
    await all_ready(world)
    found = picture(world)
    assert [(each["EndpointConfigName"], each["IsPending"]) for each in found["Fleets"]] == [("c", False), ("c2", True)]
    (old,), (new,) = (each["Variants"] for each in found["Fleets"])
    assert (old["ReadyInstanceCount"], old["Share"], new["ReadyInstanceCount"], new["Share"]) == (2, 0.9, 2, 0.1)
    assert new["Status"].startswith("Baking: Baking for 60 seconds")
    going = found["Deployment"]
    assert (going["Kind"], len(going["Steps"]), going["StepsInAll"]) == ("CANARY", 1, 2)
    assert going["BakeEndTime"] - world.clock.now().timestamp() == 60
    for wait_s in (60, 30):
        world.clock.advance(wait_s)
        await world.settle()
    found = picture(world)
    assert "Deployment" not in found
    assert outcomes(world) == [("c", "c2", "CANARY", "Succeeded"), ("", "c", "", "Succeeded")]
    last = found["Deployments"][0]
    assert last["EndTime"] - last["StartTime"] == 90
    assert found["PreviousEndpointConfigName"] == "c"

    world.do("DeleteEndpoint", EndpointName="e")
    await world.settle()
    world.do("CreateEndpoint", EndpointName="e", EndpointConfigName="c")
    world.do("DeleteEndpoint", EndpointName="e")
    with pytest.raises(ServiceError):
        steer(world, "RollBack")
    assert outcomes(world)[0] == ("", "c", "", "Deleted")
    assert picture(world)["PreviousEndpointConfigName"] == "", "the one before was another endpoint"


async def test_what_was_asked_survives_a_restart(world: World):
    await deployed(world, canary(10, wait_s=60))
    await all_ready(world)
    steer(world, "Promote")
    resource = world.store.get(SCOPE, KIND, "e")
    assert resource is not None
    endpoint = Endpoint.of(resource.document)
    assert endpoint.shift is not None
    assert endpoint.shift.hurried
    await world.controller.close()
    world.restart_control()
    await world.settle()
    assert await shown(world) == ("InService", "c2")


async def test_a_trial_that_was_cut_off_begins_again_and_its_failure_takes_the_fleet_back(world: World):
    """No instance of this world listens, so that every request of the trial fails."""
    world.make_model()
    world.make_config("c", variant(count=1))
    tags = {"kedge:trial": "s3://given/", "kedge:trial-rate": "200"}
    listed = [{"Key": key, "Value": value} for key, value in tags.items()]
    world.make_config("c2", variant(count=1), Tags=listed)
    world.objects.create_bucket("given", SCOPE.account, SCOPE.region)
    put_bytes(world.objects, "given", "rows.jsonl", b"1\n2\n3\n")
    world.do("CreateEndpoint", EndpointName="e", EndpointConfigName="c")
    await world.bring_up()
    world.do("UpdateEndpoint", EndpointName="e", EndpointConfigName="c2")
    await world.settle()
    world.engine.put_all(TaskState.STARTING, TaskState.READY)
    await world.step()
    pending = (await world.describe("e"))["PendingDeploymentSummary"]["ProductionVariants"][0]
    (status,) = pending["VariantStatus"]
    assert status["Status"] == "Baking"
    assert status["StatusMessage"] == "Trying the new fleet with requests (s3://given/) before any traffic."
    await world.controller.close()
    world.restart_control()
    await world.step()
    await world.controller.trials.settle()
    await world.settle()
    assert await shown(world) == ("InService", "c")
    reason = (await world.describe("e"))["FailureReason"]
    assert reason.startswith("The trial of the new fleet: 3 of 3 requests failed; at most 0.00% may.")
    assert picture(world)["Deployments"][0]["Trial"]["Requests"] == 3


async def test_the_way_back_is_not_tried(world: World):
    world.make_model()
    world.make_config("c", variant(), Tags=[{"Key": "kedge:trial", "Value": "captured"}])
    world.make_config("c2", variant())
    world.do("CreateEndpoint", EndpointName="e", EndpointConfigName="c")
    await world.bring_up()
    for name in ("c2", "c"):
        world.do("UpdateEndpoint", EndpointName="e", EndpointConfigName=name)
        await world.bring_up()
        assert await shown(world) == ("InService", name)
    assert [each["Trial"] for each in picture(world)["Deployments"]] == [None, None, None]


async def test_a_change_of_capacity_does_not_begin_another_division_of_the_traffic(world: World):
    world.make_model()
    world.make_config("c", variant("a"), variant("b"))
    world.do("CreateEndpoint", EndpointName="e", EndpointConfigName="c")
    await world.bring_up()

    async def changed(**more: Any) -> float:
        """Since when the traffic is divided as it is, seconds after it was for the first time."""
        world.clock.advance(100)
        wanted = [{"VariantName": "a", **more}]
        world.do("UpdateEndpointWeightsAndCapacities", EndpointName="e", DesiredWeightsAndCapacities=wanted)
        await world.bring_up()
        return float(picture(world)["TrafficSince"]) - began_s

    began_s = float(picture(world)["TrafficSince"])
    assert await changed(DesiredInstanceCount=2) == 0
    assert await changed(DesiredWeight=3.0) == 200
    assert await changed(DesiredInstanceCount=1) == 200
    world.clock.advance(100)
    world.do("UpdateEndpoint", EndpointName="e", EndpointConfigName="c")
    await world.bring_up()
    assert float(picture(world)["TrafficSince"]) - began_s == 400
