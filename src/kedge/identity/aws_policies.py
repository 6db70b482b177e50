"""Policies that AWS itself offers, arn:aws:iam::aws:policy/NAME, for the services that exist here. PURE.

The documents are our own: they have the effect of AWS's for these services, and say nearly nothing of others. A policy
that is not listed does not exist, so that nobody attaches one that would do nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

PREFIX = "arn:aws:iam::aws:policy"

_Statements = Sequence[Mapping[str, Any]]


def _allow(actions: str, *resources: str, **more: Any) -> Mapping[str, Any]:
    """actions: with blanks between them."""
    return {"Effect": "Allow", "Action": actions.split(), "Resource": list(resources or ("*",)), **more}


_METRICS = "cloudwatch:Describe* cloudwatch:Get* cloudwatch:List* cloudwatch:BatchGet*"
_LOGS = """logs:Describe* logs:Get* logs:List* logs:FilterLogEvents logs:StartQuery logs:StopQuery logs:TestMetricFilter
    logs:StartLiveTail logs:StopLiveTail"""
_EVENTS = "events:Describe* events:List* events:TestEventPattern"
_TRAIL = "cloudtrail:Get* cloudtrail:Describe* cloudtrail:List* cloudtrail:LookupEvents"
_SCALING = """application-autoscaling:Describe* application-autoscaling:List*
    application-autoscaling:GetPredictiveScalingForecast"""
_SAGEMAKER = """sagemaker:Describe* sagemaker:List* sagemaker:BatchDescribe* sagemaker:BatchGet* sagemaker:Get*
    sagemaker:Search"""
_S3 = "s3:Get* s3:List* s3:Describe*"
_IAM = "iam:Get* iam:List* iam:Generate* iam:Simulate*"
_KMS = "kms:Describe* kms:Get* kms:List*"
_COMMIT = """codecommit:Get* codecommit:List* codecommit:BatchGet* codecommit:BatchDescribe* codecommit:Describe*
    codecommit:GitPull codecommit:EvaluatePullRequestApprovalRules"""
_BUILD = "codebuild:BatchGet* codebuild:Get* codebuild:List* codebuild:Describe*"
_PIPELINE = "codepipeline:Get* codepipeline:List*"
_STACK = """cloudformation:Describe* cloudformation:Get* cloudformation:List* cloudformation:EstimateTemplateCost
    cloudformation:ValidateTemplate cloudformation:Detect*"""
_WHOAMI = "sts:GetAccessKeyInfo sts:GetCallerIdentity sts:GetSessionToken"
_EVERY_READ = " ".join(
    (
        _METRICS,
        _LOGS,
        _EVENTS,
        _TRAIL,
        _SCALING,
        _SAGEMAKER,
        _S3,
        _IAM,
        _KMS,
        _COMMIT,
        _BUILD,
        _PIPELINE,
        _STACK,
        _WHOAMI,
    )
)

_SAGEMAKER_FULL: _Statements = (
    _allow("sagemaker:*"),
    # There is no EC2 here, but the SDK's trainers refuse a role that has no right to these.
    _allow(
        """ec2:CreateNetworkInterface ec2:CreateNetworkInterfacePermission ec2:DeleteNetworkInterface
        ec2:DeleteNetworkInterfacePermission ec2:DescribeDhcpOptions ec2:DescribeNetworkInterfaces
        ec2:DescribeSecurityGroups ec2:DescribeSubnets ec2:DescribeVpcs"""
    ),
    _allow(
        """s3:GetObject s3:PutObject s3:DeleteObject s3:AbortMultipartUpload s3:GetObjectAcl s3:PutObjectAcl
        s3:GetBucketAcl""",
        *(f"arn:aws:s3:::*{name}*" for name in ("SageMaker", "Sagemaker", "sagemaker", "aws-glue")),
    ),
    _allow("s3:GetObject", Condition={"StringEqualsIgnoreCase": {"s3:ExistingObjectTag/SageMaker": "true"}}),
    _allow("s3:CreateBucket s3:GetBucketLocation s3:ListBucket s3:ListAllMyBuckets s3:GetBucketCORS s3:PutBucketCORS"),
    _allow(
        """application-autoscaling:Describe* application-autoscaling:RegisterScalableTarget
        application-autoscaling:DeregisterScalableTarget application-autoscaling:PutScalingPolicy
        application-autoscaling:DeleteScalingPolicy application-autoscaling:PutScheduledAction
        application-autoscaling:DeleteScheduledAction"""
    ),
    _allow(
        """cloudwatch:DescribeAlarms cloudwatch:PutMetricAlarm cloudwatch:DeleteAlarms cloudwatch:GetMetricData
        cloudwatch:GetMetricStatistics cloudwatch:ListMetrics cloudwatch:PutMetricData"""
    ),
    _allow(
        """logs:CreateLogDelivery logs:CreateLogGroup logs:CreateLogStream logs:DeleteLogDelivery logs:Describe*
        logs:GetLogDelivery logs:GetLogEvents logs:ListLogDeliveries logs:PutLogEvents logs:PutResourcePolicy
        logs:UpdateLogDelivery"""
    ),
    _allow("kms:DescribeKey kms:ListAliases iam:GetRole iam:ListRoles"),
    # Nothing here pulls an image, but the SageMaker SDK 3 refuses a role that may not.
    _allow(
        """ecr:BatchCheckLayerAvailability ecr:BatchGetImage ecr:CreateRepository ecr:Describe*
        ecr:GetAuthorizationToken ecr:GetDownloadUrlForLayer ecr:StartImageScan"""
    ),
    _allow(
        "iam:PassRole",
        "arn:aws:iam::*:role/*",
        Condition={"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
    ),
    _allow(
        """codecommit:BatchGetRepositories codecommit:CreateRepository codecommit:GetRepository codecommit:List*
        codecommit:GitPull codecommit:GitPush""",
        *(f"arn:aws:codecommit:*:*:*{name}*" for name in ("SageMaker", "Sagemaker", "sagemaker")),
    ),
)

_VIEW = f"""{_METRICS} {_EVENTS} {_SCALING} {_PIPELINE} logs:Describe* cloudtrail:Describe* cloudtrail:LookupEvents
    sagemaker:Describe* sagemaker:List* s3:ListAllMyBuckets s3:ListBucket s3:GetBucketLocation iam:List*
    iam:GetAccountSummary iam:GetLoginProfile kms:ListKeys kms:ListAliases codecommit:List* codebuild:List*
    cloudformation:Describe* cloudformation:List*"""
_AUDIT = f"""{_IAM} {_KMS} {_TRAIL} {_EVENTS} {_STACK} sagemaker:Describe* sagemaker:List* s3:GetBucket*
    s3:GetEncryptionConfiguration s3:GetLifecycleConfiguration s3:GetObjectAcl s3:GetObjectVersionAcl
    s3:ListAllMyBuckets s3:ListBucket logs:Describe* cloudwatch:Describe* codebuild:List* codebuild:BatchGetProjects
    codecommit:GetRepository codecommit:List* codepipeline:List* codepipeline:GetPipeline*"""
_KEY_USER = """kms:CreateAlias kms:CreateKey kms:DeleteAlias kms:Describe* kms:GenerateRandom kms:Get* kms:List*
    kms:TagResource kms:UntagResource iam:ListGroups iam:ListRoles iam:ListUsers"""
_AGENT = """cloudwatch:PutMetricData logs:PutLogEvents logs:PutRetentionPolicy logs:DescribeLogStreams
    logs:DescribeLogGroups logs:CreateLogStream logs:CreateLogGroup"""
_BUILDER = f"""{_BUILD} codebuild:StartBuild codebuild:StopBuild codebuild:StartBuildBatch codebuild:StopBuildBatch
    codebuild:RetryBuild codebuild:RetryBuildBatch logs:GetLogEvents codecommit:GetBranch codecommit:GetCommit
    codecommit:GetRepository codecommit:ListBranches"""

_POLICIES: Mapping[str, _Statements] = {
    "/AdministratorAccess": [_allow("*")],
    "/PowerUserAccess": [
        {"Effect": "Allow", "NotAction": ["iam:*", "organizations:*", "account:*"], "Resource": "*"},
        _allow("iam:CreateServiceLinkedRole iam:DeleteServiceLinkedRole iam:ListRoles"),
    ],
    "/ReadOnlyAccess": [_allow(_EVERY_READ)],
    "/job-function/ViewOnlyAccess": [_allow(_VIEW)],
    "/SecurityAudit": [_allow(_AUDIT)],
    "/IAMFullAccess": [_allow("iam:*")],
    "/IAMReadOnlyAccess": [_allow(_IAM)],
    "/AmazonSageMakerFullAccess": _SAGEMAKER_FULL,
    "/AmazonSageMakerReadOnly": [_allow(f"{_SAGEMAKER} {_SCALING} {_METRICS}")],
    "/AmazonS3FullAccess": [_allow("s3:*")],
    "/AmazonS3ReadOnlyAccess": [_allow(_S3)],
    "/CloudWatchFullAccess": [
        _allow(f"cloudwatch:* logs:* {_SCALING} iam:GetPolicy iam:GetPolicyVersion iam:GetRole"),
    ],
    "/CloudWatchFullAccessV2": [_allow(f"cloudwatch:* logs:* {_SCALING}")],
    "/CloudWatchReadOnlyAccess": [_allow(f"{_METRICS} {_LOGS} {_SCALING}")],
    "/CloudWatchLogsFullAccess": [_allow("logs:* cloudwatch:GenerateQuery")],
    "/CloudWatchLogsReadOnlyAccess": [_allow(f"{_LOGS} cloudwatch:GenerateQuery")],
    "/CloudWatchAgentServerPolicy": [_allow(_AGENT)],
    "/CloudWatchEventsFullAccess": [_allow("events:*")],
    "/CloudWatchEventsReadOnlyAccess": [_allow(_EVENTS)],
    "/AmazonEventBridgeFullAccess": [_allow("events:*")],
    "/AmazonEventBridgeReadOnlyAccess": [_allow(_EVENTS)],
    "/AWSCloudTrail_FullAccess": [
        _allow("cloudtrail:* s3:ListAllMyBuckets kms:ListKeys kms:ListAliases logs:DescribeLogGroups iam:ListRoles"),
    ],
    "/AWSCloudTrail_ReadOnlyAccess": [_allow(_TRAIL)],
    "/AWSKeyManagementServicePowerUser": [_allow(_KEY_USER)],
    "/AWSCodeCommitFullAccess": [_allow("codecommit:*")],
    "/AWSCodeCommitPowerUser": [
        _allow("codecommit:*"),
        {"Effect": "Deny", "Action": "codecommit:DeleteRepository", "Resource": "*"},
    ],
    "/AWSCodeCommitReadOnly": [_allow(_COMMIT)],
    "/AWSCodeBuildAdminAccess": [
        _allow("codebuild:* logs:GetLogEvents codecommit:Get* codecommit:List* cloudwatch:GetMetricStatistics"),
        _allow("s3:GetBucketLocation s3:ListAllMyBuckets"),
    ],
    "/AWSCodeBuildDeveloperAccess": [_allow(_BUILDER)],
    "/AWSCodeBuildReadOnlyAccess": [_allow(f"{_BUILD} logs:GetLogEvents codecommit:GetRepository")],
    "/AWSCodePipeline_FullAccess": [
        _allow(
            "codepipeline:* s3:ListAllMyBuckets s3:GetBucketLocation codecommit:List* codebuild:List* iam:ListRoles"
        ),
        _allow("events:Describe* events:List*"),
    ],
    "/AWSCodePipeline_ReadOnlyAccess": [_allow(f"{_PIPELINE} s3:ListAllMyBuckets codecommit:List* codebuild:List*")],
    "/AWSCloudFormationFullAccess": [_allow("cloudformation:*")],
    "/AWSCloudFormationReadOnlyAccess": [_allow(_STACK)],
}
"""By path and name."""


def document(arn: str) -> str | None:
    """The text of the policy with this ARN; None where there is none."""
    return _documents().get(arn)


@lru_cache(1)
def arns() -> Mapping[str, str]:
    """ARN of each policy -> its path."""
    return {f"{PREFIX}{name}": name[: name.rindex("/") + 1] for name in _POLICIES}


@lru_cache(1)
def _documents() -> Mapping[str, str]:
    return {
        f"{PREFIX}{name}": json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
        for name, statements in _POLICIES.items()
    }
