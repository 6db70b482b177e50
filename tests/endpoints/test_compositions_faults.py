"""Multi-model endpoints and pipelines while parts of the server are killed."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

from botocore.exceptions import ClientError

from tests.faults.conftest import Server, adding_model, server, until

__all__ = ["server"]


def deploy(server: Server, name: str, **model: Any) -> None:
    sagemaker = server.client("sagemaker")
    role = f"arn:aws:iam::{server.ready['account']}:role/kedge-execution-role"
    sagemaker.create_model(ModelName=name, ExecutionRoleArn=role, **model)
    variant = {"VariantName": "v", "ModelName": name, "InitialInstanceCount": 1, "InstanceType": "ml.t2.medium"}
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})


def put(server: Server, key: str, start: int) -> str:
    server.client("s3").put_object(Bucket=server.bucket, Key=key, Body=adding_model(start))
    return f"s3://{server.bucket}/{key}"


def test_models_come_whatever_was_killed(server: Server):
    for number in range(4):
        put(server, f"many/{number}.tar.gz", number * 10)
    prefix = f"s3://{server.bucket}/many/"
    deploy(server, "many", PrimaryContainer={"Image": "kedge/script", "Mode": "MultiModel", "ModelDataUrl": prefix})
    runtime = server.client("sagemaker-runtime")

    def ask(model: int) -> Any:
        answer = runtime.invoke_endpoint(
            EndpointName="many", TargetModel=f"{model}.tar.gz", ContentType="application/json", Body="1"
        )
        return json.loads(answer["Body"].read())

    assert ask(0) == 1
    (instance,) = server.pids("instance")
    # What is loaded answers without control; what is not waits for the next one.
    server.kill("control")
    assert (ask(0), ask(1)) == (1, 11)
    # The next supervisor adopts the instance and hears what it wants from its file.
    (supervisor,) = server.pids("supervisor")
    os.kill(supervisor, signal.SIGKILL)
    server.reap()
    assert ask(0) == 1
    server.up()
    runtime = server.client("sagemaker-runtime")
    assert server.pids("instance") == [instance]
    assert (ask(0), ask(2)) == (1, 21)
    # A new instance knows no model, and asks again.
    os.kill(instance, signal.SIGKILL)
    assert (ask(0), ask(3)) == (1, 31)


def test_a_pipeline_comes_back_with_its_instance(server: Server):
    containers = [
        {"Image": "kedge/script", "ModelDataUrl": put(server, f"{start}.tar.gz", start)} for start in (1, 10, 100)
    ]
    deploy(server, "chain", Containers=containers)
    runtime = server.client("sagemaker-runtime")

    def ask() -> Any:
        answer = runtime.invoke_endpoint(EndpointName="chain", ContentType="application/json", Body="1000")
        return json.loads(answer["Body"].read())

    assert ask() == 1111
    server.kill("instance")
    assert ask() == 1111
    server.kill_everything()
    server.up()
    runtime = server.client("sagemaker-runtime")

    def back() -> bool:
        try:
            return bool(ask() == 1111)
        except ClientError:
            return False

    until(back, 30.0, "the pipeline")
