"""Inference components from end to end: an unmodified boto3 against a running server, with real models."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from botocore.exceptions import ClientError
from click.testing import CliRunner, Result

from kedge.cli.main import commands
from kedge.node.report import status as node_status
from tests.inference_components.fleet import Fleet, soon


def test_two_models_share_the_instances_of_one_endpoint(fleet: Fleet):
    fleet.create(count=2)
    fleet.up("one", copies=2)
    fleet.up("two")
    assert fleet.invoke("one")["says"] == "one"
    assert fleet.invoke("two")["says"] == "two"
    assert fleet.copies("one") == 2
    assert len({fleet.invoke("one")["copy"] for _ in range(16)}) == 2
    with pytest.raises(ClientError, match="has the inference components"):
        fleet.sagemaker.delete_endpoint(EndpointName="e")
    fleet.delete("one")
    soon(lambda: fleet.names(EndpointNameEquals="e"), ["two"])
    refused("Inference component one of endpoint e", fleet.invoke, "one")
    assert fleet.invoke("two")["says"] == "two"


def refused(says: str, call: Callable[..., Any], *given: Any, **asked: Any) -> dict[str, Any]:
    with pytest.raises(ClientError, match=says) as caught:
        call(*given, **asked)
    error: dict[str, Any] = caught.value.response["Error"]
    return error


def test_a_request_names_a_component_where_there_are_some_and_nowhere_else(fleet: Fleet):
    fleet.create()
    error = refused("Inference Component Name header is required", fleet.invoke, None)
    assert error["Code"] == "ValidationError"
    refused("Inference component nobody of endpoint e of account", fleet.invoke, "nobody")
    for path in ("e%2Fone", "e/one"):
        refused("not found|no operation", fleet.runtime.invoke_endpoint, EndpointName=path, Body=b"[1]")
    plain = {"VariantName": "v", "ModelName": "one", "InitialInstanceCount": 1, "InstanceType": "ml.t2.medium"}
    fleet.sagemaker.create_endpoint_config(EndpointConfigName="plain", ProductionVariants=[plain])
    fleet.sagemaker.create_endpoint(EndpointName="plain", EndpointConfigName="plain")
    fleet.sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="plain")
    refused(
        "Inference Component Name header is not allowed",
        fleet.runtime.invoke_endpoint,
        EndpointName="plain",
        Body=b"[1]",
        InferenceComponentName="one",
    )
    refused(
        "serves model",
        fleet.sagemaker.create_inference_component,
        InferenceComponentName="x",
        EndpointName="plain",
        Specification=fleet.specification("one"),
        RuntimeConfig={"CopyCount": 1},
    )


def test_it_is_described_listed_and_tagged(fleet: Fleet):
    fleet.create()
    specification = fleet.specification("one", StartupParameters={"ContainerStartupHealthCheckTimeoutInSeconds": 90})
    answer = fleet.sagemaker.create_inference_component(
        InferenceComponentName="Mine",
        EndpointName="e",
        Specification=specification,
        RuntimeConfig={"CopyCount": 1},
        Tags=[{"Key": "team", "Value": "a"}],
    )
    arn = answer["InferenceComponentArn"]
    assert arn.endswith(f":{fleet.kedge.account}:inference-component/mine")
    shown = fleet.rest("Mine")
    assert (shown["EndpointName"], shown["VariantName"]) == ("e", "v")
    assert shown["Specification"] == specification
    assert shown["RuntimeConfig"] == {"DesiredCopyCount": 1, "CurrentCopyCount": 1}
    assert fleet.sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "team", "Value": "a"}]
    fleet.up("two")
    assert fleet.names() == ["two", "Mine"]
    assert fleet.names(SortBy="Name", SortOrder="Ascending") == ["Mine", "two"]
    assert fleet.names(NameContains="in") == ["Mine"]
    assert fleet.names(EndpointNameEquals="other") == []
    assert fleet.names(VariantNameEquals="v", StatusEquals="InService", MaxResults=1) == ["two"]
    pages = fleet.sagemaker.get_paginator("list_inference_components").paginate(PaginationConfig={"PageSize": 1})
    assert [each["InferenceComponentName"] for page in pages for each in page["InferenceComponents"]] == ["two", "Mine"]
    fleet.delete("Mine")
    soon(fleet.names, ["two"])
    refused("Could not find inference component", fleet.describe, "Mine")


def test_a_component_may_bring_its_own_container(fleet: Fleet):
    fleet.create()
    container = {
        "Image": "kedge/script:1",
        "ArtifactUrl": f"s3://{fleet.kedge.bucket}/one.tar.gz",
        "Environment": {"SAYS": "own"},
    }
    needs = {"NumberOfCpuCoresRequired": 1.0, "MinMemoryRequiredInMb": 128, "MaxMemoryRequiredInMb": 512}
    fleet.sagemaker.create_inference_component(
        InferenceComponentName="own",
        EndpointName="e",
        VariantName="v",
        Specification={"Container": container, "ComputeResourceRequirements": needs},
        RuntimeConfig={"CopyCount": 1},
    )
    shown = fleet.rest("own")["Specification"]["Container"]
    assert shown["ArtifactUrl"] == container["ArtifactUrl"]
    assert shown["DeployedImage"]["SpecifiedImage"] == "kedge/script:1"
    assert fleet.invoke("own")["says"] == "own"


class Load:
    """Requests of several clients, none of which is retried."""

    def __init__(self) -> None:
        self.answers: list[dict[str, Any]] = []
        self.failures: list[Exception] = []


@contextmanager
def load(fleet: Fleet, name: str) -> Iterator[Load]:
    seen, over = Load(), threading.Event()

    def ask() -> None:
        while not over.is_set():
            try:
                seen.answers.append(fleet.invoke(name))
            except Exception as error:  # noqa: BLE001 (whatever a client could see)
                seen.failures.append(error)

    clients = [threading.Thread(target=ask) for _ in range(3)]
    for client in clients:
        client.start()
    try:
        yield seen
    finally:
        over.set()
        for client in clients:
            client.join()


def test_a_new_model_and_more_and_fewer_copies_fail_no_request(fleet: Fleet):
    fleet.create(count=2)
    fleet.up("one", copies=2)
    with load(fleet, "one") as seen:
        soon(lambda: len(seen.answers) > 20, True)
        fleet.sagemaker.update_inference_component(
            InferenceComponentName="one", Specification=fleet.specification("two", cores=1.0)
        )
        assert fleet.rest("one")["Specification"]["ModelName"] == "two"
        for count in (4, 1):
            fleet.sagemaker.update_inference_component_runtime_config(
                InferenceComponentName="one", DesiredRuntimeConfig={"CopyCount": count}
            )
            assert fleet.rest("one")["RuntimeConfig"] == {"DesiredCopyCount": count, "CurrentCopyCount": count}
    assert seen.failures == []
    assert {each["says"] for each in seen.answers} == {"one", "two"}
    assert len({each["copy"] for each in seen.answers}) >= 5


def tasks(fleet: Fleet, name: str) -> list[dict[str, Any]]:
    found = node_status(fleet.kedge.data_dir)["instances"]
    return [each for each in found if each["labels"].get("inference_component") == name]


def test_a_copy_that_is_killed_costs_no_request_and_comes_back(fleet: Fleet):
    fleet.create(count=2)
    fleet.up("one", copies=2)
    with load(fleet, "one") as seen:
        soon(lambda: len(seen.answers) > 20, True)
        victim = tasks(fleet, "one")[0]
        os.kill(victim["pid"], signal.SIGKILL)
        soon(lambda: len({each["copy"] for each in seen.answers}), 3)
    assert seen.failures == []
    assert {each["labels"]["node"] for each in tasks(fleet, "one")} == {"0", "1"}


def test_copies_answer_while_control_is_killed_and_are_known_after(fleet: Fleet):
    fleet.create(count=2)
    fleet.up("one", copies=2)
    before = {each["id"] for each in tasks(fleet, "one")}
    with load(fleet, "one") as seen:
        (control,) = [each["pid"] for each in node_status(fleet.kedge.data_dir)["roles"] if each["role"] == "control"]
        os.kill(control, signal.SIGKILL)
        asked = len(seen.answers)
        soon(lambda: len(seen.answers) > asked + 20, True)
        assert fleet.rest("one")["RuntimeConfig"]["CurrentCopyCount"] == 2
        fleet.up("two")
    assert seen.failures == []
    assert {each["id"] for each in tasks(fleet, "one")} == before
    assert fleet.invoke("two")["says"] == "two"


def test_what_finds_no_room_is_said(fleet: Fleet):
    fleet.create()
    fleet.component("one", copies=3, cores=1.0)
    shown = fleet.rest("one", "Failed")
    assert "Not enough room for 1 more copy on variant v" in shown["FailureReason"]
    refused("it can only be deleted", fleet.sagemaker.update_inference_component_runtime_config,
            InferenceComponentName="one", DesiredRuntimeConfig={"CopyCount": 1})  # fmt: skip
    refused("A copy takes 3 cores", fleet.component, "two", cores=3.0)


NEEDS = {"MinMemoryRequiredInMb": 256}


@pytest.mark.parametrize(
    ("specification", "says"),
    [
        ({"ModelName": "one"}, "ComputeResourceRequirements is missing"),
        ({"ModelName": "nobody", "ComputeResourceRequirements": NEEDS}, "Could not find model"),
        ({"ComputeResourceRequirements": NEEDS}, "either ModelName or Container; none is given"),
        (
            {"ModelName": "one", "Container": {"Image": "kedge/script:1"}, "ComputeResourceRequirements": NEEDS},
            "either ModelName or Container; both are given",
        ),
        ({"Container": {}, "ComputeResourceRequirements": NEEDS}, "names no Image"),
        ({"BaseInferenceComponentName": "base"}, "no adapter inference components"),
        (
            {"ModelName": "one", "ComputeResourceRequirements": {**NEEDS, "MaxMemoryRequiredInMb": 128}},
            "MinMemoryRequiredInMb is 256 and MaxMemoryRequiredInMb 128",
        ),
        (
            {"ModelName": "one", "ComputeResourceRequirements": {**NEEDS, "NumberOfAcceleratorDevicesRequired": 1.5}},
            "whole accelerators only",
        ),
        (
            {"ModelName": "one", "ComputeResourceRequirements": {**NEEDS, "NumberOfAcceleratorDevicesRequired": 1}},
            "and 1 accelerators; an instance of variant v .ml.t2.medium. has 2 cores, 4096 MB and 0",
        ),
    ],
)
def test_what_cannot_be_created_is_named(fleet: Fleet, specification: dict[str, Any], says: str):
    if not fleet.sagemaker.list_endpoints()["Endpoints"]:
        fleet.create()
    asked = {"InferenceComponentName": "x", "EndpointName": "e", "RuntimeConfig": {"CopyCount": 1}}
    refused(says, fleet.sagemaker.create_inference_component, Specification=specification, **asked)


def test_what_cannot_be_updated_is_named(fleet: Fleet):
    fleet.create()
    fleet.up("one")
    update = fleet.sagemaker.update_inference_component
    refused("nothing to update", update, InferenceComponentName="one")
    policy = {
        "RollingUpdatePolicy": {"MaximumBatchSize": {"Type": "COPY_COUNT", "Value": 1}, "WaitIntervalInSeconds": 0}
    }
    refused("without a Specification", update, InferenceComponentName="one", DeploymentConfig=policy,
            RuntimeConfig={"CopyCount": 1})  # fmt: skip
    refused("5 to 50 %", update, InferenceComponentName="one", DeploymentConfig=policy,
            Specification={"ModelName": "two"})  # fmt: skip
    refused("already existing inference component", fleet.component, "one")


@pytest.mark.parametrize(
    ("of_variant", "more", "says"),
    [
        ({}, {"ExecutionRoleArn": None}, "ExecutionRoleArn has to be given"),
        (
            {"ModelName": "one", "ManagedInstanceScaling": {"Status": "ENABLED"}},
            {},
            "only supported for inference comp",
        ),
        (
            {"ManagedInstanceScaling": {"Status": "ENABLED", "MinInstanceCount": 3, "MaxInstanceCount": 2}},
            {},
            "MinInstanceCount 3 and MaxInstanceCount 2",
        ),
        ({}, {"AsyncInferenceConfig": {"OutputConfig": {"S3OutputPath": "s3://b/o"}}}, "AsyncInferenceConfig is given"),
        ({}, {"Tags": [{"Key": "kedge:trial", "Value": "synthetic"}]}, "nothing there can be tried"),
    ],
)
def test_what_cannot_be_configured_is_named(fleet: Fleet, of_variant: dict[str, Any], more: dict[str, Any], says: str):
    variant = {"VariantName": "v", "InstanceType": "ml.t2.medium", "InitialInstanceCount": 1, **of_variant}
    asked = {"ExecutionRoleArn": fleet.kedge.role_arn, **more}
    refused(
        says,
        fleet.sagemaker.create_endpoint_config,
        EndpointConfigName="c",
        ProductionVariants=[variant],
        **{name: value for name, value in asked.items() if value is not None},
    )


def test_who_may_invoke_a_component_is_said_by_the_endpoint_and_the_component(fleet: Fleet):
    fleet.create()
    fleet.up("one")
    fleet.up("two")
    where = f"arn:aws:sagemaker:{fleet.kedge.region}:{fleet.kedge.account}"
    allowed = [f"{where}:endpoint/e", f"{where}:inference-component/one"]
    statement = {"Effect": "Allow", "Action": "sagemaker:InvokeEndpoint", "Resource": allowed}
    iam = fleet.kedge.client("iam")
    iam.create_user(UserName="caller")
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName="caller", PolicyName="p", PolicyDocument=policy)
    key = iam.create_access_key(UserName="caller")["AccessKey"]
    runtime = fleet.kedge.client(
        "sagemaker-runtime", aws_access_key_id=key["AccessKeyId"], aws_secret_access_key=key["SecretAccessKey"]
    )
    asked = {"EndpointName": "e", "Body": b"[1]", "ContentType": "application/json"}

    def ask() -> str:
        try:
            return str(
                json.loads(runtime.invoke_endpoint(InferenceComponentName="one", **asked)["Body"].read())["says"]
            )
        except ClientError as error:
            return str(error)

    soon(ask, "one")
    refused("not authorized to perform: sagemaker:InvokeEndpoint on resource: .*:inference-component/two",
            runtime.invoke_endpoint, InferenceComponentName="two", **asked)  # fmt: skip


def test_what_a_copy_prints_is_a_stream_of_its_components_log(fleet: Fleet):
    fleet.model(
        "talks", "print('hello from the copy', flush=True)\ndef model_fn(folder): return {}\ndef predict_fn(d, m): 1/0"
    )
    fleet.create()
    fleet.up("talks")
    logs = fleet.kedge.client("logs")
    group = "/aws/sagemaker/InferenceComponents/talks"

    def lines() -> bool:
        if not logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]:
            return False
        events = logs.filter_log_events(logGroupName=group, logStreamNamePrefix="v/")["events"]
        return any("hello from the copy" in each["message"] for each in events)

    soon(lines, True)
    with pytest.raises(ClientError) as failed:
        fleet.invoke("talks")
    assert f"log-group:{group}:log-stream:v/i-" in failed.value.response["LogStreamArn"]
    assert "hello from the copy" in kedge(fleet, "logs", "talks", "--component").output
    assert "kedge logs --component talks" in kedge(fleet, "logs", "talks").output
    assert "no inference component" in kedge(fleet, "logs", "nobody", "--component").output
    shown = kedge(fleet, "deployment", "talks", "--component").output
    assert "talks: InService" in shown
    assert [line.split()[:2] for line in shown.splitlines()[-1:]] == [["talks", "v"]]
    assert 'No deployment of "talks" is under way' in kedge(fleet, "rollback", "talks", "--component").output


def kedge(fleet: Fleet, *arguments: str) -> Result:
    return CliRunner().invoke(commands, [*arguments, "--data", str(fleet.kedge.data_dir)])


def test_an_instance_is_added_for_a_copy_and_a_request_waits_for_it(fleet: Fleet):
    """From no instance at all, although nothing scales the component: a request wakes it."""
    fleet.create(ManagedInstanceScaling={"Status": "ENABLED", "MinInstanceCount": 0, "MaxInstanceCount": 2})
    fleet.up("one", copies=3, cores=1.0)
    assert fleet.instances() == 2
    fleet.sagemaker.update_inference_component_runtime_config(
        InferenceComponentName="one", DesiredRuntimeConfig={"CopyCount": 0}
    )
    assert fleet.rest("one")["RuntimeConfig"] == {"DesiredCopyCount": 0, "CurrentCopyCount": 0}
    wanted = [{"VariantName": "v", "DesiredInstanceCount": 0}]
    fleet.sagemaker.update_endpoint_weights_and_capacities(EndpointName="e", DesiredWeightsAndCapacities=wanted)
    soon(fleet.instances, 0)
    assert fleet.invoke("one")["says"] == "one"
    assert fleet.instances() == 1
