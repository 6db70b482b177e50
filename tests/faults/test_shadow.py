"""Shadows and experiments while their parts are killed: no client notices, and each goes on where it was."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from .conftest import Load, Server, adding_model, until, variant


def make_models(server: Server) -> None:
    """ "m" adds 1, "worse" adds 2; the endpoint e serves m, and with the config "shadowed" copies to worse."""
    sagemaker = server.client("sagemaker")
    for name, adds in (("m", 1), ("worse", 2)):
        server.client("s3").put_object(Bucket=server.bucket, Key=f"{name}.tar.gz", Body=adding_model(adds))
        sagemaker.create_model(
            ModelName=name,
            ExecutionRoleArn=f"arn:aws:iam::{server.ready['account']}:role/kedge-execution-role",
            PrimaryContainer={"Image": "kedge/sklearn", "ModelDataUrl": f"s3://{server.bucket}/{name}.tar.gz"},
        )
    sagemaker.create_endpoint_config(EndpointConfigName="plain", ProductionVariants=[variant("m")])
    sagemaker.create_endpoint_config(
        EndpointConfigName="shadowed",
        ProductionVariants=[variant("m")],
        ShadowProductionVariants=[{**variant("worse"), "VariantName": "next"}],
    )


def in_service(server: Server, config: str) -> None:
    sagemaker = server.client("sagemaker")
    sagemaker.create_endpoint(EndpointName="e", EndpointConfigName=config)
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="e", WaiterConfig={"Delay": 1, "MaxAttempts": 60})


def compared(server: Server) -> float:
    now = datetime.now(UTC)
    points = server.client("cloudwatch").get_metric_statistics(
        Namespace="Kedge",
        MetricName="ShadowMatches",
        Dimensions=[{"Name": "EndpointName", "Value": "e"}, {"Name": "VariantName", "Value": "next"}],
        StartTime=now - timedelta(minutes=10),
        EndTime=now + timedelta(minutes=1),
        Period=3600,
        Statistics=["SampleCount"],
    )["Datapoints"]
    return sum(each["SampleCount"] for each in points)


def test_comparing_goes_on_after_a_kill(server: Server):
    make_models(server)
    in_service(server, "shadowed")
    with Load(server, "e", adds=1, rate_per_s=100.0) as load:
        until(lambda: compared(server) > 20)
        for role in ("capture", "control"):
            assert server.kill(role)
            until(lambda: server.pids(role), what=f"a new {role}")  # noqa: B023 (called in this very turn)
            before = until(lambda: compared(server))
            until(lambda: compared(server) > before + 20, 30)  # noqa: B023
    assert load.errors == []


def test_an_experiment_goes_on_after_kills_of_control(server: Server):
    make_models(server)
    in_service(server, "plain")

    def killed_all_the_time(done: Callable[[], Any]) -> None:
        """Control is killed three times, at moments that nobody chose, while it is being done."""
        stop = threading.Event()

        def kill() -> None:
            for _ in range(3):
                if stop.wait(0.7):
                    return
                server.kill("control")

        killing = threading.Thread(target=kill)
        killing.start()
        try:
            killing.join(30)
            until(done, 40)
        finally:
            stop.set()
            killing.join(30)

    def status() -> str:
        found: str = server.client("sagemaker").describe_inference_experiment(Name="Try")["Status"]
        return found

    hardware = {"InstanceType": "ml.t3.medium", "InstanceCount": 1}
    with Load(server, "e", adds=1, rate_per_s=50.0) as load:
        server.client("sagemaker").create_inference_experiment(
            Name="Try",
            Type="ShadowMode",
            RoleArn=f"arn:aws:iam::{server.ready['account']}:role/kedge-execution-role",
            EndpointName="e",
            ModelVariants=[
                {
                    "ModelName": "worse",
                    "VariantName": "next",
                    "InfrastructureConfig": {
                        "InfrastructureType": "RealTimeInference",
                        "RealTimeInferenceConfig": hardware,
                    },
                }
            ],
            ShadowModeConfig={
                "SourceModelVariantName": "AllTraffic",
                "ShadowModelVariants": [{"ShadowModelVariantName": "next", "SamplingPercentage": 100}],
            },
        )
        killed_all_the_time(lambda: status() == "Running")
        server.client("sagemaker").stop_inference_experiment(
            Name="Try", ModelVariantActions={"AllTraffic": "Retain", "next": "Remove"}, DesiredState="Completed"
        )
        killed_all_the_time(lambda: status() == "Completed")
    assert load.errors == []
    shown = server.client("sagemaker").describe_endpoint(EndpointName="e")
    assert (shown["EndpointStatus"], shown["EndpointConfigName"]) == ("InService", "plain")
    assert "ShadowProductionVariants" not in shown
