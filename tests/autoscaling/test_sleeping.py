"""An endpoint without instances is updated as any other."""

from __future__ import annotations

from typing import Any

import pytest

from tests.autoscaling.world import Scaled
from tests.endpoints.world import variant

CANARY = {
    "BlueGreenUpdatePolicy": {
        "TrafficRoutingConfiguration": {
            "Type": "CANARY",
            "WaitIntervalInSeconds": 1,
            "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 30},
        },
        "TerminationWaitInSeconds": 0,
    }
}
LINEAR = {
    "BlueGreenUpdatePolicy": {
        "TrafficRoutingConfiguration": {
            "Type": "LINEAR",
            "WaitIntervalInSeconds": 1,
            "LinearStepSize": {"Type": "CAPACITY_PERCENT", "Value": 50},
        },
        "TerminationWaitInSeconds": 0,
    }
}
ROLLING = {
    "RollingUpdatePolicy": {"MaximumBatchSize": {"Type": "CAPACITY_PERCENT", "Value": 50}, "WaitIntervalInSeconds": 1}
}


@pytest.mark.parametrize("policy", [None, CANARY, LINEAR, ROLLING], ids=["none", "canary", "linear", "rolling"])
@pytest.mark.parametrize("retain", [True, False])
async def test_a_sleeping_endpoint_is_updated(scaled: Scaled, policy: dict[str, Any] | None, retain: bool):
    world = scaled.world
    wanted = [{"VariantName": "v", "DesiredInstanceCount": 0}]
    world.do("UpdateEndpointWeightsAndCapacities", EndpointName="e", DesiredWeightsAndCapacities=wanted)
    await world.bring_up()
    world.make_config("d", variant(count=2))
    more = {} if policy is None else {"DeploymentConfig": policy}
    world.do("UpdateEndpoint", EndpointName="e", EndpointConfigName="d", RetainAllVariantProperties=retain, **more)
    for _ in range(10):
        await world.bring_up()
        world.clock.advance(2)
    described = await world.describe("e")
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", "d"), described
    assert scaled.wanted == (0 if retain else 2)
    scaled.report(1, instances=0)
    await scaled.settle()
    assert scaled.wanted == (1 if retain else 2)
