"""A model's archive may be encrypted: an endpoint loads it while its key can be used, and says so when not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import WaiterError

from tests.faults.conftest import adding_model, variant


def create(kedge: Any, name: str, then: Callable[[], object] = lambda: None, **asked: Any) -> None:
    """An endpoint that adds the length of its name; `then` is done when its archive is there."""
    kedge.client("s3").put_object(Bucket=kedge.bucket, Key=f"{name}.tar.gz", Body=adding_model(len(name)), **asked)
    then()
    sagemaker = kedge.client("sagemaker")
    container = {"Image": "kedge/sklearn", "ModelDataUrl": f"s3://{kedge.bucket}/{name}.tar.gz"}
    sagemaker.create_model(ModelName=name, ExecutionRoleArn=kedge.role_arn, PrimaryContainer=container)
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant(name)])
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})


def test_an_encrypted_archive_is_served_while_its_key_can_be_used(kedge):
    key = kedge.client("kms").create_key()["KeyMetadata"]["KeyId"]
    create(kedge, "open", ServerSideEncryption="aws:kms", SSEKMSKeyId=key)
    answer = kedge.client("sagemaker-runtime").invoke_endpoint(
        EndpointName="open", ContentType="application/json", Body="1"
    )
    assert answer["Body"].read() == b"5"


def test_without_its_key_the_endpoint_fails_with_the_reason(kedge):
    kms = kedge.client("kms")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    with pytest.raises(WaiterError):
        create(kedge, "shut", lambda: kms.disable_key(KeyId=key), ServerSideEncryption="aws:kms", SSEKMSKeyId=key)
    assert "is disabled" in reason(kedge, "shut")


def test_a_key_that_only_the_client_has_fails_the_endpoint_with_the_reason(kedge):
    with pytest.raises(WaiterError):
        create(kedge, "shut", SSECustomerAlgorithm="AES256", SSECustomerKey=bytes(32))
    assert "Server Side Encryption" in reason(kedge, "shut")


def reason(kedge: Any, name: str) -> str:
    described = kedge.client("sagemaker").describe_endpoint(EndpointName=name)
    assert described["EndpointStatus"] == "Failed"
    return str(described["FailureReason"])
