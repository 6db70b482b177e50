"""A serverless endpoint from end to end: it sleeps, wakes on a request, and takes as many at a time as it may."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.autoscaling.test_live import SCRIPT
from tests.autoscaling.test_scaling_boto3 import soon

PROVISIONED = "sagemaker:variant:DesiredProvisionedConcurrency"


class Sleeper:
    """An endpoint `s` that sleeps after a second, and may do two things at a time."""

    def __init__(self, kedge: Any) -> None:
        self.kedge = kedge
        self.sagemaker = kedge.client("sagemaker")
        self.cloudwatch = kedge.client("cloudwatch")
        config = Config(retries={"total_max_attempts": 1}, max_pool_connections=50)
        self.runtime = kedge.client("sagemaker-runtime", config=config)
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            member = tarfile.TarInfo("code/inference.py")
            member.size = len(SCRIPT)
            archive.addfile(member, io.BytesIO(SCRIPT.encode()))
        kedge.client("s3").put_object(Bucket=kedge.bucket, Key="sleeper.tar.gz", Body=buffer.getvalue())
        container = {
            "Image": "kedge/script:1",
            "ModelDataUrl": f"s3://{kedge.bucket}/sleeper.tar.gz",
            "Environment": {"KEDGE_SERVERLESS_IDLE_S": "1"},
        }
        self.sagemaker.create_model(ModelName="sleeper", PrimaryContainer=container, ExecutionRoleArn=kedge.role_arn)
        config = {"MemorySizeInMB": 1024, "MaxConcurrency": 2}
        variant = {"VariantName": "AllTraffic", "ModelName": "sleeper", "ServerlessConfig": config}
        self.sagemaker.create_endpoint_config(EndpointConfigName="sleeper", ProductionVariants=[variant])
        self.sagemaker.create_endpoint(EndpointName="s", EndpointConfigName="sleeper")
        soon(self.status, "InService", 30)

    def status(self) -> str:
        return str(self.sagemaker.describe_endpoint(EndpointName="s")["EndpointStatus"])

    def count(self) -> int:
        (found,) = self.sagemaker.describe_endpoint(EndpointName="s")["ProductionVariants"]
        return int(found["CurrentInstanceCount"])

    def invoke(self, seconds: float = 0.0) -> str:
        answer = self.runtime.invoke_endpoint(EndpointName="s", ContentType="text/plain", Body=str(seconds).encode())
        return str(answer["Body"].read().decode())

    def told(self, metric: str, statistic: str = "Maximum") -> float | None:
        now = datetime.now(UTC)
        found = self.cloudwatch.get_metric_statistics(
            Namespace="AWS/SageMaker",
            MetricName=metric,
            Dimensions=[{"Name": "EndpointName", "Value": "s"}, {"Name": "VariantName", "Value": "AllTraffic"}],
            StartTime=now - timedelta(minutes=5),
            EndTime=now + timedelta(minutes=1),
            Period=300,
            Statistics=[statistic],
        )["Datapoints"]
        return max((each[statistic] for each in found), default=None)


@pytest.fixture(scope="module")
def sleeper(kedge_server: Any) -> Iterator[Sleeper]:
    kedge_server.reset()
    yield Sleeper(kedge_server)
    kedge_server.reset()


def test_it_sleeps_and_wakes(sleeper: Sleeper):
    before = sleeper.sagemaker.describe_endpoint(EndpointName="s")
    soon(sleeper.count, 0, 20)
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(sleeper.invoke, 2.0)
        soon(lambda: sleeper.count() >= 1, True, 20)
    assert asked.result() == "2.0"
    after = sleeper.sagemaker.describe_endpoint(EndpointName="s")
    assert after["EndpointStatus"] == "InService"
    assert after["LastModifiedTime"] == before["LastModifiedTime"]
    soon(lambda: (sleeper.told("ModelSetupTime", "SampleCount") or 0) >= 1, True, 10)
    assert 0 < (sleeper.told("ModelSetupTime") or 0) < 30e6


def test_more_at_a_time_than_it_may_are_throttled(sleeper: Sleeper):
    sleeper.invoke()
    with ThreadPoolExecutor(3) as threads:
        asked = [threads.submit(sleeper.invoke, 3.0) for _ in range(3)]
    (refused,) = [error for each in asked if (error := each.exception()) is not None]
    assert [each.result() for each in asked if each.exception() is None] == ["3.0", "3.0"]
    assert isinstance(refused, ClientError)
    assert refused.response["Error"]["Code"] == "ThrottlingException"
    assert refused.response["ResponseMetadata"]["HTTPStatusCode"] == 429
    assert "which is its MaxConcurrency" in refused.response["Error"]["Message"]
    soon(lambda: sleeper.told("ServerlessConcurrentExecutionsUtilization"), 1.0, 10)


def test_a_body_of_more_than_4_mib_is_refused(sleeper: Sleeper):
    with pytest.raises(ClientError) as caught:
        sleeper.runtime.invoke_endpoint(EndpointName="s", ContentType="text/plain", Body=b"0" * (4 * 1024 * 1024 + 1))
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 413


def test_provisioned_concurrency_is_kept_warm_counted_and_scaled(sleeper: Sleeper):
    change = {"VariantName": "AllTraffic", "ServerlessUpdateConfig": {"MaxConcurrency": 4, "ProvisionedConcurrency": 1}}
    sleeper.sagemaker.update_endpoint_weights_and_capacities(EndpointName="s", DesiredWeightsAndCapacities=[change])
    soon(sleeper.status, "InService", 30)
    assert sleeper.count() >= 1
    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(sleeper.invoke, (0.5, 0.5))) == ["0.5", "0.5"]
    for metric, statistic, want in (
        ("ServerlessProvisionedConcurrencyInvocations", "Sum", 1.0),
        ("ServerlessProvisionedConcurrencySpilloverInvocations", "Sum", 1.0),
        ("ServerlessProvisionedConcurrencyUtilization", "Maximum", 2.0),
        ("ServerlessProvisionedConcurrencyExecutions", "Maximum", 2.0),
    ):
        soon(lambda metric=metric, statistic=statistic: sleeper.told(metric, statistic), want, 10)
    place = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": "endpoint/s/variant/AllTraffic",
        "ScalableDimension": PROVISIONED,
    }
    autoscaling = sleeper.kedge.client("application-autoscaling")
    autoscaling.register_scalable_target(**place, MinCapacity=2, MaxCapacity=4)

    def provisioned() -> int:
        (found,) = sleeper.sagemaker.describe_endpoint(EndpointName="s")["ProductionVariants"]
        return int(found["CurrentServerlessConfig"]["ProvisionedConcurrency"])

    soon(provisioned, 2, 20)
    (target,) = autoscaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    assert target["ScalableDimension"] == PROVISIONED
