"""What each operation needs: the cases that AWS's reference states, and a rule for every operation that there is."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from kedge.app import App
from kedge.config import Settings
from kedge.home import open_home
from kedge.identity.actions import FREE, Asked, Unguarded, needs
from kedge.identity.records import Caller

ACCOUNT = "1" * 12
ANN = Caller(ACCOUNT, "eu-west-1", f"arn:aws:iam::{ACCOUNT}:user/ann", "AIDA", "AKIA")
SAGEMAKER = f"arn:aws:sagemaker:eu-west-1:{ACCOUNT}"
DASHBOARD = f"arn:aws:cloudwatch::{ACCOUNT}:dashboard"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/r"
LOG_GROUP = f"arn:aws:logs:eu-west-1:{ACCOUNT}:log-group:g"


def names(noun: str, name: str) -> str:
    return f"arn:aws:iam::{ACCOUNT}:{noun.lower()}/path/{name}"


def needed(key: str, **parameters: Any) -> list[tuple[str, str]]:
    return [(need.action, need.resource) for need in needs(key, Asked(ANN, parameters, names))]


def context(key: str, **parameters: Any) -> dict[str, tuple[str, ...]]:
    return dict(needs(key, Asked(ANN, parameters, names))[0].context)


BUCKET, KEY = "arn:aws:s3:::b", "arn:aws:s3:::b/k"


@pytest.mark.parametrize(
    ("key", "parameters", "want"),
    [
        ("sagemaker.DescribeModel", {"ModelName": "Mine"}, [("sagemaker:DescribeModel", f"{SAGEMAKER}:model/mine")]),
        ("sagemaker.ListModels", {}, [("sagemaker:ListModels", "*")]),
        (
            "application-autoscaling.RegisterScalableTarget",
            {"ServiceNamespace": "sagemaker", "ScalableDimension": "d"},
            [
                (
                    "application-autoscaling:RegisterScalableTarget",
                    f"arn:aws:application-autoscaling:eu-west-1:{ACCOUNT}:scalable-target/*",
                )
            ],
        ),
        (
            "application-autoscaling.TagResource",
            {"ResourceARN": "arn:t", "Tags": {}},
            [("application-autoscaling:TagResource", "arn:t")],
        ),
        (
            "application-autoscaling.DescribeScalingPolicies",
            {"ServiceNamespace": "sagemaker"},
            [("application-autoscaling:DescribeScalingPolicies", "*")],
        ),
        (
            "sagemaker.CreateModel",
            {"ModelName": "m", "ExecutionRoleArn": ROLE},
            [("sagemaker:CreateModel", f"{SAGEMAKER}:model/m"), ("iam:PassRole", ROLE)],
        ),
        (
            "sagemaker.CreateEndpointConfig",
            {"EndpointConfigName": "c", "ProductionVariants": []},
            [("sagemaker:CreateEndpointConfig", f"{SAGEMAKER}:endpoint-config/c")],
        ),
        (
            "sagemaker.UpdateEndpoint",
            {"EndpointName": "e", "EndpointConfigName": "c"},
            [
                ("sagemaker:UpdateEndpoint", f"{SAGEMAKER}:endpoint/e"),
                ("sagemaker:UpdateEndpoint", f"{SAGEMAKER}:endpoint-config/c"),
            ],
        ),
        (
            "sagemaker.UpdateEndpointWeightsAndCapacities",
            {"EndpointName": "e"},
            [("sagemaker:UpdateEndpointWeightsAndCapacities", f"{SAGEMAKER}:endpoint/e")],
        ),
        (
            "sagemaker.CreateInferenceExperiment",
            {"Name": "Try", "RoleArn": ROLE, "Tags": [{"Key": "a", "Value": "b"}]},
            [
                ("sagemaker:CreateInferenceExperiment", f"{SAGEMAKER}:inference-experiment/try"),
                ("sagemaker:AddTags", f"{SAGEMAKER}:inference-experiment/try"),
                ("iam:PassRole", ROLE),
            ],
        ),
        (
            "sagemaker.StopInferenceExperiment",
            {"Name": "Try"},
            [("sagemaker:StopInferenceExperiment", f"{SAGEMAKER}:inference-experiment/try")],
        ),
        ("sagemaker.ListInferenceExperiments", {}, [("sagemaker:ListInferenceExperiments", "*")]),
        (
            "sagemaker.DescribeModelBiasJobDefinition",
            {"JobDefinitionName": "Fair"},
            [("sagemaker:DescribeModelBiasJobDefinition", f"{SAGEMAKER}:model-bias-job-definition/fair")],
        ),
        (
            "sagemaker.UpdateMonitoringAlert",
            {"MonitoringScheduleName": "Hourly", "MonitoringAlertName": "DefaultAlert"},
            [("sagemaker:UpdateMonitoringAlert", f"{SAGEMAKER}:monitoring-schedule/hourly")],
        ),
        (
            "sagemaker.CreateMonitoringSchedule",
            {
                "MonitoringScheduleName": "s",
                "MonitoringScheduleConfig": {"MonitoringJobDefinition": {"RoleArn": "arn:aws:iam::1:role/r"}},
                "Tags": [{"Key": "a", "Value": "b"}],
            },
            [
                ("sagemaker:CreateMonitoringSchedule", f"{SAGEMAKER}:monitoring-schedule/s"),
                ("sagemaker:AddTags", f"{SAGEMAKER}:monitoring-schedule/s"),
                ("iam:PassRole", "arn:aws:iam::1:role/r"),
            ],
        ),
        ("sagemaker.AddTags", {"ResourceArn": "arn:x", "Tags": []}, [("sagemaker:AddTags", "arn:x")]),
        (
            "sagemaker-runtime.InvokeEndpointWithResponseStream",
            {"EndpointName": "E"},
            [("sagemaker:InvokeEndpoint", f"{SAGEMAKER}:endpoint/e")],
        ),
        ("cloudwatch.GetDashboard", {"DashboardName": "d"}, [("cloudwatch:GetDashboard", f"{DASHBOARD}/d")]),
        (
            "cloudwatch.DeleteDashboards",
            {"DashboardNames": ["d", "e"]},
            [("cloudwatch:DeleteDashboards", f"{DASHBOARD}/d"), ("cloudwatch:DeleteDashboards", f"{DASHBOARD}/e")],
        ),
        (
            "cloudwatch.PutDashboard",
            {"DashboardName": "d", "Tags": [{"Key": "a", "Value": "b"}]},
            [("cloudwatch:PutDashboard", f"{DASHBOARD}/d"), ("cloudwatch:TagResource", f"{DASHBOARD}/d")],
        ),
        ("cloudwatch.ListDashboards", {}, [("cloudwatch:ListDashboards", "*")]),
        ("s3.GetObject", {"Bucket": "b", "Key": "k"}, [("s3:GetObject", KEY)]),
        ("s3.HeadObject", {"Bucket": "b", "Key": "k"}, [("s3:GetObject", KEY)]),
        ("s3.GetObject", {"Bucket": "b", "Key": "k", "VersionId": "v"}, [("s3:GetObjectVersion", KEY)]),
        ("s3.DeleteObject", {"Bucket": "b", "Key": "k", "VersionId": "v"}, [("s3:DeleteObjectVersion", KEY)]),
        ("s3.ListObjectsV2", {"Bucket": "b"}, [("s3:ListBucket", BUCKET)]),
        ("s3.HeadBucket", {"Bucket": "b"}, [("s3:ListBucket", BUCKET)]),
        ("s3.ListObjectVersions", {"Bucket": "b"}, [("s3:ListBucketVersions", BUCKET)]),
        ("s3.ListBuckets", {}, [("s3:ListAllMyBuckets", "*")]),
        ("s3.UploadPart", {"Bucket": "b", "Key": "k"}, [("s3:PutObject", KEY)]),
        ("s3.PutObject", {"Bucket": "b", "Key": "k"}, [("s3:PutObject", KEY)]),
        (
            "s3.PutObject",
            {"Bucket": "b", "Key": "k", "Tagging": "a=1", "ACL": "private"},
            [("s3:PutObject", KEY), ("s3:PutObjectTagging", KEY), ("s3:PutObjectAcl", KEY)],
        ),
        (
            "s3.CopyObject",
            {"Bucket": "b", "Key": "k", "CopySource": "/c/a%20b"},
            [("s3:PutObject", KEY), ("s3:GetObject", "arn:aws:s3:::c/a b")],
        ),
        (
            "s3.UploadPartCopy",
            {"Bucket": "b", "Key": "k", "CopySource": "c/x?versionId=1"},
            [("s3:PutObject", KEY), ("s3:GetObjectVersion", "arn:aws:s3:::c/x")],
        ),
        (
            "s3.DeleteObjects",
            {"Bucket": "b", "Delete": {"Objects": [{"Key": "k"}, {"Key": "l", "VersionId": "1"}]}},
            [("s3:DeleteObject", KEY), ("s3:DeleteObjectVersion", "arn:aws:s3:::b/l")],
        ),
        ("s3.DeleteBucketCors", {"Bucket": "b"}, [("s3:PutBucketCORS", BUCKET)]),
        ("s3.GetBucketPolicy", {"Bucket": "b"}, [("s3:GetBucketPolicy", BUCKET)]),
        ("s3.GetPublicAccessBlock", {"Bucket": "b"}, [("s3:GetBucketPublicAccessBlock", BUCKET)]),
        ("iam.CreateRole", {"RoleName": "r", "Path": "/p/"}, [("iam:CreateRole", f"arn:aws:iam::{ACCOUNT}:role/p/r")]),
        ("iam.GetRole", {"RoleName": "r"}, [("iam:GetRole", f"arn:aws:iam::{ACCOUNT}:role/path/r")]),
        ("iam.GetUser", {}, [("iam:GetUser", ANN.arn)]),
        ("iam.ListUsers", {}, [("iam:ListUsers", "*")]),
        ("iam.GetPolicy", {"PolicyArn": "arn:p"}, [("iam:GetPolicy", "arn:p")]),
        (
            "iam.AttachRolePolicy",
            {"RoleName": "r", "PolicyArn": "arn:p"},
            [("iam:AttachRolePolicy", f"arn:aws:iam::{ACCOUNT}:role/path/r")],
        ),
        (
            "iam.AddUserToGroup",
            {"UserName": "u", "GroupName": "g"},
            [("iam:AddUserToGroup", f"arn:aws:iam::{ACCOUNT}:group/path/g")],
        ),
        (
            "iam.AddRoleToInstanceProfile",
            {"RoleName": "r", "InstanceProfileName": "i"},
            [
                ("iam:AddRoleToInstanceProfile", f"arn:aws:iam::{ACCOUNT}:instanceprofile/path/i"),
                ("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/path/r"),
            ],
        ),
        ("sts.GetCallerIdentity", {}, []),
        ("sts.AssumeRole", {"RoleArn": ROLE, "RoleSessionName": "s"}, [("sts:AssumeRole", ROLE)]),
        (
            "sts.AssumeRole",
            {"RoleArn": ROLE, "RoleSessionName": "s", "Tags": [{"Key": "a", "Value": "b"}], "SourceIdentity": "x"},
            [("sts:AssumeRole", ROLE), ("sts:TagSession", ROLE), ("sts:SetSourceIdentity", ROLE)],
        ),
        ("kms.CreateKey", {}, [("kms:CreateKey", "*")]),
        ("kms.Encrypt", {"KeyId": "alias/a"}, [("kms:Encrypt", f"arn:aws:kms:eu-west-1:{ACCOUNT}:alias/a")]),
        ("kms.DescribeKey", {"KeyId": "1-2"}, [("kms:DescribeKey", f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/1-2")]),
        ("events.CreateEventBus", {"Name": "b"}, [("events:CreateEventBus", "*")]),
        ("logs.CreateLogGroup", {"logGroupName": "g"}, [("logs:CreateLogGroup", f"{LOG_GROUP}:log-stream:")]),
        (
            "logs.CreateLogGroup",
            {"logGroupName": "g", "tags": {"a": "b"}},
            [("logs:CreateLogGroup", f"{LOG_GROUP}:log-stream:"), ("logs:TagResource", LOG_GROUP)],
        ),
        (
            "logs.GetLogEvents",
            {"logGroupIdentifier": f"{LOG_GROUP}:*", "logStreamName": "s", "unmask": True},
            [("logs:GetLogEvents", f"{LOG_GROUP}:log-stream:s"), ("logs:Unmask", f"{LOG_GROUP}:log-stream:s")],
        ),
        ("logs.TagResource", {"resourceArn": f"{LOG_GROUP}:*", "tags": {}}, [("logs:TagResource", LOG_GROUP)]),
        (
            "events.PutTargets",
            {"Rule": "r", "Targets": [{"Id": "1", "RoleArn": ROLE}]},
            [("events:PutTargets", "*"), ("iam:PassRole", ROLE)],
        ),
    ],
)
def test_needs(key: str, parameters: dict[str, Any], want: list[tuple[str, str]]) -> None:
    assert needed(key, **parameters) == want


def test_an_unknown_service_is_unguarded() -> None:
    with pytest.raises(Unguarded):
        needed("teleport.Beam")


def test_what_a_request_says_for_conditions() -> None:
    assert context("s3.ListObjectsV2", Bucket="b", Prefix="p/", Delimiter="/", MaxKeys=7) == {
        "s3:prefix": ("p/",),
        "s3:delimiter": ("/",),
        "s3:max-keys": ("7",),
    }
    assert context("s3.PutObject", Bucket="b", Key="k", ACL="public-read", Tagging="a=1&B=x%20y") == {
        "s3:x-amz-acl": ("public-read",),
        "s3:requestobjecttag/a": ("1",),
        "s3:requestobjecttag/b": ("x y",),
        "s3:requestobjecttagkeys": ("a", "B"),
    }
    place = {"ServiceNamespace": "sagemaker", "ScalableDimension": "sagemaker:variant:DesiredInstanceCount"}
    assert context("application-autoscaling.PutScalingPolicy", **place) == {
        "application-autoscaling:scalable-dimension": ("sagemaker:variant:DesiredInstanceCount",),
        "application-autoscaling:service-namespace": ("sagemaker",),
    }
    said = context(
        "sagemaker.CreateEndpointConfig",
        EndpointConfigName="c",
        KmsKeyId="key",
        Tags=[{"Key": "Team", "Value": "a"}],
        ProductionVariants=[
            {"InstanceType": "ml.m5.large", "ModelName": "m"},
            {"ServerlessConfig": {"MaxConcurrency": 5}},
        ],
    )
    assert said == {
        "aws:requesttag/team": ("a",),
        "aws:tagkeys": ("Team",),
        "sagemaker:instancetypes": ("ml.m5.large",),
        "sagemaker:modelname": ("m",),
        "sagemaker:serverlessmaxconcurrency": ("5",),
        "sagemaker:volumekmskey": ("key",),
    }
    kind = {"InstanceType": "ml.c5.large", "VolumeKmsKeyId": "v"}
    closed = {"EnableNetworkIsolation": True, "VpcConfig": {"Subnets": ["s"], "SecurityGroupIds": ["g", "h"]}}
    processing: dict[str, Any] = {
        "NetworkConfig": closed,
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
    }
    same = {
        "sagemaker:instancetypes": ("ml.c5.large",),
        "sagemaker:maxruntimeinseconds": ("60",),
        "sagemaker:networkisolation": ("true",),
        "sagemaker:outputkmskey": ("o",),
        "sagemaker:volumekmskey": ("v",),
        "sagemaker:vpcsecuritygroupids": ("g", "h"),
        "sagemaker:vpcsubnets": ("s",),
    }
    job = {**processing, "ProcessingResources": {"ClusterConfig": kind}, "ProcessingOutputConfig": {"KmsKeyId": "o"}}
    assert context("sagemaker.CreateProcessingJob", ProcessingJobName="j", **job) == same
    output = {"DataQualityJobOutputConfig": {"KmsKeyId": "o"}}
    definition = {**processing, "JobResources": {"ClusterConfig": kind}, **output}
    assert context("sagemaker.CreateDataQualityJobDefinition", JobDefinitionName="d", **definition) == same
    scheduled = {
        **processing,
        "MonitoringResources": {"ClusterConfig": kind},
        "MonitoringOutputConfig": {"KmsKeyId": "o"},
    }
    schedule = {"MonitoringScheduleConfig": {"MonitoringJobDefinition": scheduled}}
    assert context("sagemaker.CreateMonitoringSchedule", MonitoringScheduleName="s", **schedule) == same
    training = {
        "ResourceConfig": {"InstanceGroups": [{"InstanceType": "ml.c5.large"}], "KeepAlivePeriodInSeconds": 9},
        "OutputDataConfig": {"KmsKeyId": "o"},
        "EnableInterContainerTrafficEncryption": False,
    }
    assert context("sagemaker.CreateTrainingJob", TrainingJobName="t", **training) == {
        "sagemaker:instancetypes": ("ml.c5.large",),
        "sagemaker:intercontainertrafficencryption": ("false",),
        "sagemaker:keepaliveperiod": ("9",),
        "sagemaker:outputkmskey": ("o",),
    }
    approving = {"ModelPackageArn": "arn:x", "ModelApprovalStatus": "Approved"}
    assert context("sagemaker.UpdateModelPackage", **approving) == {"sagemaker:modelapprovalstatus": ("Approved",)}
    assert context("sagemaker.DeleteTags", ResourceArn="arn:x", TagKeys=["a", "b"]) == {"aws:tagkeys": ("a", "b")}
    passing = needs("sagemaker.CreateModel", Asked(ANN, {"ModelName": "m", "ExecutionRoleArn": ROLE}, names))[1]
    assert passing.context == {"iam:passedtoservice": ("sagemaker.amazonaws.com",)}
    assert context("iam.AttachUserPolicy", UserName="u", PolicyArn="arn:p")["iam:policyarn"] == ("arn:p",)
    assert context("kms.Decrypt", KeyId="alias/a", EncryptionContext={"A": "b"}) == {
        "kms:calleraccount": (ACCOUNT,),
        "kms:encryptioncontext:a": ("b",),
        "kms:encryptioncontextkeys": ("A",),
        "kms:requestalias": ("alias/a",),
    }


def _sample(shape: Any) -> Any:
    """The least that the shape allows."""
    if shape.type_name == "structure":
        return {name: _sample(shape.members[name]) for name in shape.required_members}
    if shape.type_name == "list":
        return [_sample(shape.member)]
    if shape.type_name == "map":
        return {}
    if "arn" in shape.name.lower():
        return "arn:aws:iam::aws:policy/x"
    return {"string": "x" * 20, "blob": b"x" * 40, "boolean": True}.get(shape.type_name, 1)


def test_every_operation_has_a_rule(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", ephemeral=True)
    home = open_home(settings)
    app = App(settings, home)
    try:
        operations, models = app.gateway.operation_names, app.gateway.models
        for key in operations:
            service, _, name = key.partition(".")
            shape = models.services[service].operation_model(name).input_shape
            found = needs(key, Asked(ANN, _sample(shape) if shape is not None else {}, names))
            assert found or key in FREE, key
            for need in found:
                assert re.fullmatch(r"(SNS|[a-z0-9-]+):[A-Za-z0-9]+", need.action), key
                assert need.resource == "*" or need.resource.startswith("arn:"), key
    finally:
        app.threads.shutdown()
        app.objects.close()
        app.telemetry.close()
        app.store.close()
        shutil.rmtree(home.run, ignore_errors=True)
