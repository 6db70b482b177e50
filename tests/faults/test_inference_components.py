"""Inference components through what kills an endpoint: control in the middle of an update, and everything at once."""

from __future__ import annotations

import threading
from typing import Any

from tests.faults.conftest import Server, adding_model, until

NEEDS = {"NumberOfCpuCoresRequired": 1, "MinMemoryRequiredInMb": 256}
VARIANT = {"VariantName": "v", "InstanceType": "ml.t3.medium", "InitialInstanceCount": 2}
KILLS = 4


def create(server: Server) -> Any:
    """Component `c` on endpoint `e`: three copies that answer their input; `more` answers its input plus 100."""
    sagemaker = server.client("sagemaker")
    role = f"arn:aws:iam::{server.ready['account']}:role/kedge-execution-role"
    for name, start in (("same", 0), ("more", 100)):
        server.client("s3").put_object(Bucket=server.bucket, Key=f"{name}.tar.gz", Body=adding_model(start))
        container = {"Image": "kedge/sklearn", "ModelDataUrl": f"s3://{server.bucket}/{name}.tar.gz"}
        sagemaker.create_model(ModelName=name, ExecutionRoleArn=role, PrimaryContainer=container)
    sagemaker.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[VARIANT], ExecutionRoleArn=role)
    sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c")
    sagemaker.create_inference_component(
        InferenceComponentName="c",
        EndpointName="e",
        VariantName="v",
        Specification={"ModelName": "same", "ComputeResourceRequirements": NEEDS},
        RuntimeConfig={"CopyCount": 3},
    )
    until(lambda: state(server) == ("InService", "same", 3), 30)
    return sagemaker


def state(server: Server) -> tuple[str, str, int]:
    shown = server.client("sagemaker").describe_inference_component(InferenceComponentName="c")
    current = shown["RuntimeConfig"]["CurrentCopyCount"]
    return shown["InferenceComponentStatus"], shown["Specification"]["ModelName"], current


def invoke(server: Server, number: int) -> int:
    runtime = server.client("sagemaker-runtime")
    answer = runtime.invoke_endpoint(
        EndpointName="e", InferenceComponentName="c", ContentType="application/json", Body=str(number)
    )
    return int(answer["Body"].read())


def test_an_update_ends_although_control_is_killed_in_it_and_no_request_fails(server: Server) -> None:
    """There is room for one copy more, so that they are replaced one after another."""
    sagemaker = create(server)
    over, wrong = threading.Event(), []

    def ask() -> None:
        while not over.is_set():
            try:
                if invoke(server, 1) not in (1, 101):
                    wrong.append("another answer")
            except Exception as error:  # noqa: BLE001 (every failure a client can see is one)
                wrong.append(repr(error))

    clients = [threading.Thread(target=ask) for _ in range(2)]
    for client in clients:
        client.start()
    try:
        sagemaker.update_inference_component(InferenceComponentName="c", Specification={"ModelName": "more"})
        for _ in range(KILLS):
            server.kill("control")
            until(lambda: server.pids("control"))
        until(lambda: _state(server) == ("InService", "more", 3), 60)
    finally:
        over.set()
        for client in clients:
            client.join()
    assert wrong == []
    assert invoke(server, 1) == 101
    until(lambda: len(server.pids("instance")) == 3)


def _state(server: Server) -> tuple[str, str, int]:
    """What is asked while control is away waits for the next one, or is reset."""
    try:
        return state(server)
    except Exception:  # noqa: BLE001 (asked again)
        return "", "", 0


def test_copies_are_there_again_after_everything_was_killed(server: Server) -> None:
    create(server)
    server.kill_everything()
    server.up()
    until(lambda: _answers(server), 30)
    assert state(server) == ("InService", "same", 3)
    until(lambda: len(server.pids("instance")) == 3)


def _answers(server: Server) -> bool:
    try:
        return invoke(server, 1) == 1
    except Exception:  # noqa: BLE001 (asked again)
        return False
