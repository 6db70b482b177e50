"""The model registry through boto3, up to a prediction of a model that was deployed from it."""

from __future__ import annotations

import io
import tarfile
from typing import Any

import pytest
from botocore.exceptions import ClientError

SCRIPT = b"""
import os
def model_fn(folder): return os.environ["ANSWER"]
def predict_fn(data, model): return [model]
"""


@pytest.fixture
def sagemaker(kedge: Any) -> Any:
    return kedge.client("sagemaker")


@pytest.fixture
def containers(kedge: Any) -> list[dict[str, Any]]:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        member = tarfile.TarInfo("code/inference.py")
        member.size = len(SCRIPT)
        tar.addfile(member, io.BytesIO(SCRIPT))
    kedge.client("s3").put_object(Bucket=kedge.bucket, Key="registered.tar.gz", Body=archive.getvalue())
    url = f"s3://{kedge.bucket}/registered.tar.gz"
    return [{"Image": "kedge/script:1", "ModelDataUrl": url, "Environment": {"ANSWER": "package"}}]


def specification(containers: list[dict[str, Any]]) -> dict[str, Any]:
    return {"Containers": containers, "SupportedContentTypes": ["text/csv"], "SupportedResponseMIMETypes": ["text/csv"]}


def said(error: pytest.ExceptionInfo[ClientError]) -> tuple[str, str]:
    return error.value.response["Error"]["Code"], error.value.response["Error"]["Message"]


def test_from_a_group_to_a_prediction(kedge: Any, sagemaker: Any, containers: list[dict[str, Any]]):
    group = sagemaker.create_model_package_group(
        ModelPackageGroupName="Churn", ModelPackageGroupDescription="who leaves", Tags=[{"Key": "team", "Value": "a"}]
    )["ModelPackageGroupArn"]
    assert group.endswith(":model-package-group/churn")
    assert sagemaker.list_tags(ResourceArn=group)["Tags"] == [{"Key": "team", "Value": "a"}]
    arns = [
        sagemaker.create_model_package(
            ModelPackageGroupName=each,
            InferenceSpecification=specification(containers),
            MetadataProperties={"CommitId": "c"},
        )["ModelPackageArn"]
        for each in ("Churn", group)
    ]
    assert [arn.rpartition(":")[2] for arn in arns] == ["model-package/churn/1", "model-package/churn/2"]
    seen = sagemaker.describe_model_package(ModelPackageName=arns[1])
    assert (seen["ModelPackageGroupName"], seen["ModelPackageVersion"]) == ("Churn", 2)
    assert (seen["ModelPackageStatus"], seen["ModelApprovalStatus"]) == ("Completed", "PendingManualApproval")
    assert seen["InferenceSpecification"]["Containers"] == containers
    assert seen["MetadataProperties"] == {"CommitId": "c"}
    assert "LastModifiedTime" not in seen

    named = {"ModelPackageName": arns[1], "Environment": {"ANSWER": "model"}}
    with pytest.raises(ClientError) as refused:
        sagemaker.create_model(ModelName="churn", PrimaryContainer=named, ExecutionRoleArn=kedge.role_arn)
    assert said(refused)[0] == "ValidationException"
    assert "PendingManualApproval" in said(refused)[1]

    sagemaker.update_model_package(ModelPackageArn=arns[1], ModelApprovalStatus="Approved", ApprovalDescription="yes")
    sagemaker.create_model(ModelName="churn", PrimaryContainer=named, ExecutionRoleArn=kedge.role_arn)
    model = sagemaker.describe_model(ModelName="churn")["PrimaryContainer"]
    assert (model["ModelPackageName"], model["Image"], model["Environment"]) == (
        arns[1],
        "kedge/script:1",
        {"ANSWER": "model"},
    )
    sagemaker.create_endpoint_config(
        EndpointConfigName="churn",
        ProductionVariants=[
            {"VariantName": "a", "ModelName": "churn", "InitialInstanceCount": 1, "InstanceType": "ml.t2.medium"}
        ],
    )
    sagemaker.create_endpoint(EndpointName="churn", EndpointConfigName="churn")
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="churn")
    answer = kedge.client("sagemaker-runtime").invoke_endpoint(
        EndpointName="churn", Body=b"[1]", ContentType="application/json"
    )
    assert b"model" in answer["Body"].read()

    sagemaker.delete_model_package(ModelPackageName=arns[1])
    third = sagemaker.create_model_package(
        ModelPackageGroupName="churn", InferenceSpecification=specification(containers)
    )["ModelPackageArn"]
    assert third.endswith("/churn/3"), "a number is never given twice"


def test_lists(sagemaker: Any, containers: list[dict[str, Any]]):
    for name in ("list-b", "list-a"):
        sagemaker.create_model_package_group(ModelPackageGroupName=name)
    for status in ("Approved", "Rejected", "PendingManualApproval"):
        sagemaker.create_model_package(
            ModelPackageGroupName="list-a", InferenceSpecification=specification(containers), ModelApprovalStatus=status
        )
    sagemaker.create_model_package(ModelPackageName="list-alone", InferenceSpecification=specification(containers))

    groups = sagemaker.list_model_package_groups(NameContains="list-", SortBy="Name")["ModelPackageGroupSummaryList"]
    assert [each["ModelPackageGroupName"] for each in groups] == ["list-a", "list-b"]

    pages = sagemaker.get_paginator("list_model_packages").paginate(
        ModelPackageGroupName="list-a", PaginationConfig={"PageSize": 2}
    )
    assert [each["ModelPackageVersion"] for page in pages for each in page["ModelPackageSummaryList"]] == [1, 2, 3]

    def versions(**asked: Any) -> list[Any]:
        found = sagemaker.list_model_packages(NameContains="list-", **asked)["ModelPackageSummaryList"]
        return [each.get("ModelPackageVersion", each.get("ModelPackageName")) for each in found]

    assert versions() == ["list-alone"]
    assert versions(ModelPackageType="Versioned", SortOrder="Descending") == [3, 2, 1]
    assert versions(ModelPackageType="Both") == [1, 2, 3, "list-alone"]
    assert versions(ModelPackageGroupName="list-a", ModelApprovalStatus="Rejected") == [2]
    assert versions(ModelPackageGroupName="list-b") == []

    listed = sagemaker.list_model_packages(ModelPackageGroupName="list-a")["ModelPackageSummaryList"]
    first = listed[0]["ModelPackageArn"]
    batch = sagemaker.batch_describe_model_package(ModelPackageArnList=[first, first[:-1] + "9"])
    assert batch["ModelPackageSummaries"][first]["ModelApprovalStatus"] == "Approved"
    (missing,) = batch["BatchDescribeModelPackageErrorMap"].values()
    assert "does not exist" in missing["ErrorResponse"]


def test_what_is_refused(sagemaker: Any, containers: list[dict[str, Any]]):
    sagemaker.create_model_package_group(ModelPackageGroupName="strict")
    sagemaker.create_model_package(
        ModelPackageGroupName="strict", InferenceSpecification=specification(containers), ClientToken="again"
    )
    again = sagemaker.create_model_package(
        ModelPackageGroupName="strict", InferenceSpecification=specification(containers), ClientToken="again"
    )
    assert again["ModelPackageArn"].endswith("/strict/1"), "a call that is made again makes nothing new"
    with pytest.raises(ClientError) as refused:
        sagemaker.create_model_package_group(ModelPackageGroupName="Strict")
    assert said(refused)[1].startswith("Model Package Group already exists")
    with pytest.raises(sagemaker.exceptions.ConflictException, match="still has model packages"):
        sagemaker.delete_model_package_group(ModelPackageGroupName="strict")
    sagemaker.create_model_package(ModelPackageName="strict", InferenceSpecification=specification(containers))
    with pytest.raises(sagemaker.exceptions.ConflictException):
        sagemaker.create_model_package(ModelPackageName="strict", InferenceSpecification=specification(containers))
    for call, name in (
        (sagemaker.describe_model_package, {"ModelPackageName": "strict/7"}),
        (sagemaker.delete_model_package, {"ModelPackageName": "nothing"}),
        (sagemaker.describe_model_package_group, {"ModelPackageGroupName": "nothing"}),
        (sagemaker.list_model_packages, {"ModelPackageGroupName": "nothing"}),
        (sagemaker.create_model_package, {"ModelPackageGroupName": "nothing"}),
    ):
        with pytest.raises(ClientError) as refused:
            call(**name)
        assert said(refused)[0] == "ValidationException"
        assert "does not exist" in said(refused)[1]


def test_policies_of_groups(sagemaker: Any):
    sagemaker.create_model_package_group(ModelPackageGroupName="shared")
    with pytest.raises(ClientError) as refused:
        sagemaker.get_model_package_group_policy(ModelPackageGroupName="shared")
    assert said(refused)[1].startswith("Cannot find resource policy for: ")
    with pytest.raises(ClientError, match="is no JSON"):
        sagemaker.put_model_package_group_policy(ModelPackageGroupName="shared", ResourcePolicy="{")
    text = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow"}]}'
    sagemaker.put_model_package_group_policy(ModelPackageGroupName="shared", ResourcePolicy=text)
    assert sagemaker.get_model_package_group_policy(ModelPackageGroupName="shared")["ResourcePolicy"] == text
    sagemaker.delete_model_package_group(ModelPackageGroupName="shared")
    sagemaker.create_model_package_group(ModelPackageGroupName="shared")
    with pytest.raises(ClientError):
        sagemaker.get_model_package_group_policy(ModelPackageGroupName="shared")
