"""Capacity while the control process is killed: what was asked for comes about once, and whoever waits is answered."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from botocore.config import Config

from tests.faults.conftest import NO_RETRY, Load, Server, until

KILLS = 5
PATIENT = Config(retries={"mode": "standard", "total_max_attempts": 10}, read_timeout=20)
SLOW_TO_ANSWER = NO_RETRY.merge(Config(read_timeout=70))
PLACE = {
    "ServiceNamespace": "sagemaker",
    "ResourceId": "endpoint/e/variant/AllTraffic",
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
}


def count(sagemaker: Any) -> int:
    described = sagemaker.describe_endpoint(EndpointName="e")
    if described["EndpointStatus"] != "InService":
        return -1
    return int(described["ProductionVariants"][0]["CurrentInstanceCount"])


def test_a_request_wakes_a_variant_although_control_is_killed(server: Server) -> None:
    server.endpoint("e")
    sagemaker = server.client("sagemaker", PATIENT)
    runtime = server.client("sagemaker-runtime", SLOW_TO_ANSWER)

    def ask(number: int) -> bytes:
        asked = runtime.invoke_endpoint(EndpointName="e", ContentType="application/json", Body=str(number))
        answer: bytes = asked["Body"].read()
        return answer

    for _ in range(2):
        wanted = [{"VariantName": "AllTraffic", "DesiredInstanceCount": 0}]
        sagemaker.update_endpoint_weights_and_capacities(EndpointName="e", DesiredWeightsAndCapacities=wanted)
        until(lambda: count(sagemaker) == 0, 60)
        server.kill("control")
        with ThreadPoolExecutor(8) as clients:
            assert list(clients.map(ask, range(8))) == [str(number).encode() for number in range(8)]
        until(lambda: count(sagemaker) == 1, 60)


def test_bounds_that_change_while_control_is_killed_are_followed_and_told_once(server: Server) -> None:
    server.endpoint("e")
    autoscaling = server.client("application-autoscaling", PATIENT)
    sagemaker = server.client("sagemaker", PATIENT)
    ended = threading.Event()

    def kill() -> None:
        for _ in range(KILLS):
            if ended.wait(0.9):
                return
            server.kill("control")

    killing = threading.Thread(target=kill)
    with Load(server, "e", rate_per_s=50, threads=4) as load:
        killing.start()
        try:
            for wanted in (2, 3, 1, 2):
                autoscaling.register_scalable_target(**PLACE, MinCapacity=wanted, MaxCapacity=wanted)
                until(lambda wanted=wanted: count(sagemaker) == wanted, 60, f"{wanted} instances")
            killing.join(30)
        finally:
            ended.set()
            killing.join(30)

    def told() -> list[tuple[str, str]]:
        found = autoscaling.describe_scaling_activities(ServiceNamespace="sagemaker")["ScalingActivities"]
        return [(each["Description"].split()[-1], each["StatusCode"]) for each in reversed(found)]

    until(lambda: all(status != "InProgress" for _, status in told()), 60)
    assert told() == [("2.", "Successful"), ("3.", "Successful"), ("1.", "Successful"), ("2.", "Successful")]
    assert load.errors == []
