"""Endpoints whose models say which they are, and updates of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from .conftest import Server, archive

SCRIPT = """
import time
def model_fn(model_dir):
    return open(model_dir + "/name").read().encode()
def transform_fn(name, body, content_type, accept):
    if int(body) >= 1000:  # milliseconds
        time.sleep(int(body) / 1000)
    if name.startswith(b"bad") and int(body) % 5 == 0:
        raise ValueError("I am the bad one")
    return name, "text/plain"
"""


def config(server: Server, name: str, instances: int = 2) -> None:
    """Of a model that answers with its name, but that raises on a fifth of its requests when that begins with "bad"."""
    key, sagemaker = f"models/{name}.tar.gz", server.client("sagemaker")
    data = archive({"name": name.encode(), "code/inference.py": SCRIPT.encode()})
    server.client("s3").put_object(Bucket=server.bucket, Key=key, Body=data)
    sagemaker.create_model(
        ModelName=name,
        ExecutionRoleArn=f"arn:aws:iam::{server.ready['account']}:role/kedge-execution-role",
        PrimaryContainer={"Image": "kedge/script", "ModelDataUrl": f"s3://{server.bucket}/{key}"},
    )
    variant = {
        "VariantName": "AllTraffic",
        "ModelName": name,
        "InitialInstanceCount": instances,
        "InstanceType": "ml.t3.medium",
    }
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])


def create(server: Server, endpoint: str, name: str) -> None:
    server.client("sagemaker").create_endpoint(EndpointName=endpoint, EndpointConfigName=name)
    at_rest(server, endpoint)


def update(server: Server, endpoint: str, name: str, policy: dict[str, Any]) -> None:
    server.client("sagemaker").update_endpoint(
        EndpointName=endpoint, EndpointConfigName=name, **({"DeploymentConfig": policy} if policy else {})
    )


def at_rest(
    server: Server, endpoint: str, seen: Callable[[dict[str, Any]], None] = lambda _: None, within_s: float = 60.0
) -> dict[str, Any]:
    """What describes it once nothing is under way any more. seen: is told of each look before that."""
    sagemaker, end_s = server.client("sagemaker"), time.monotonic() + within_s
    while True:
        try:
            found: dict[str, Any] = sagemaker.describe_endpoint(EndpointName=endpoint)
        except (BotoCoreError, ClientError):
            found = {"EndpointStatus": "Updating"}  # control is away
        if found["EndpointStatus"] not in ("Creating", "Updating"):
            return found
        seen(found)
        assert time.monotonic() < end_s, found
        time.sleep(0.02)


def phase(found: dict[str, Any]) -> str:
    """The newest VariantStatus of a description, with its message; "" where there is none."""
    pending = found.get("PendingDeploymentSummary", {}).get("ProductionVariants", [])
    statuses = [status for each in pending for status in each.get("VariantStatus", ())]
    return f"{statuses[0]['Status']}: {statuses[0]['StatusMessage']}" if statuses else ""


@dataclass
class Killer:
    """Ends the control process by SIGKILL once in each phase of a deployment."""

    server: Server
    phases: list[str] = field(default_factory=list)

    def saw(self, found: dict[str, Any]) -> None:
        now = phase(found)
        if now and now not in self.phases:
            self.phases.append(now)
            self.server.kill("control")


def size(percent: int) -> dict[str, Any]:
    return {"Type": "CAPACITY_PERCENT", "Value": percent}


def blue_green(kind: str, wait_s: int, last_wait_s: int, **sizes: Any) -> dict[str, Any]:
    routing = {"Type": kind, "WaitIntervalInSeconds": wait_s, **sizes}
    return {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing, "TerminationWaitInSeconds": last_wait_s}}


def policies(wait_s: int = 1) -> dict[str, dict[str, Any]]:
    """Each kind of deployment, by its name."""
    return {
        "none given": {},
        "all at once": blue_green("ALL_AT_ONCE", 0, wait_s),
        "canary": blue_green("CANARY", wait_s, wait_s, CanarySize=size(10)),
        "linear": blue_green("LINEAR", wait_s, wait_s, LinearStepSize=size(50)),
        "rolling": {"RollingUpdatePolicy": {"MaximumBatchSize": size(50), "WaitIntervalInSeconds": wait_s}},
    }


def guarded(
    server: Server, endpoint: str, name: str, policy: dict[str, Any], threshold: float = 0.05
) -> dict[str, Any]:
    """The policy with an alarm that rings when more of the new config's requests fail: in ten seconds, once."""
    dimensions = {"EndpointName": endpoint, "VariantName": "AllTraffic", "EndpointConfigName": name}
    server.client("cloudwatch").put_metric_alarm(
        AlarmName=f"{name} fails",
        Namespace="AWS/SageMaker",
        MetricName="InvocationModelErrors",
        Dimensions=[{"Name": key, "Value": value} for key, value in dimensions.items()],
        Statistic="Average",
        Period=10,
        EvaluationPeriods=1,
        DatapointsToAlarm=1,
        Threshold=threshold,
        ComparisonOperator="GreaterThanThreshold",
        TreatMissingData="notBreaching",
    )
    return {**policy, "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": f"{name} fails"}]}}
