"""What a caller needs for an operation: actions on resources, by "service.Operation". PURE.

Most follow from the name: `sagemaker.DescribeModel` with ModelName m needs sagemaker:DescribeModel on model/m. The
tables say where AWS has it otherwise. An operation of a service that is not in PREFIXES needs what nobody but root has.

Source: the service authorization reference, and "Required permissions for Amazon S3 API operations".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

from kedge import arn
from kedge.identity import sagemaker_keys
from kedge.identity.patterns import Values
from kedge.identity.records import Caller

Parameters = Mapping[str, Any]
Names = Callable[[str, str], str]
"""(noun of IAM, name) -> ARN of what there is, or would be."""


@dataclass(frozen=True)
class Need:
    action: str
    resource: str
    context: Mapping[str, Values] = field(default_factory=dict)
    """What the request says beyond what every one says, by condition key in lower case."""
    as_named: bool = False
    """An alias is meant itself, not the key behind it."""


@dataclass(frozen=True)
class Asked:
    """One request, as far as permissions go."""

    caller: Caller
    parameters: Parameters
    names: Names

    def arn(self, service: str, resource: str) -> str:
        return str(arn.Arn(service, self.caller.region, self.caller.account, resource))


FREE = frozenset({"sts.GetCallerIdentity", "sts.GetSessionToken"})
"""What whoever has signed may do, whatever policies say."""

PREFIXES: Mapping[str, str] = {
    "application-autoscaling": "application-autoscaling",
    "cloudformation": "cloudformation",
    "cloudtrail": "cloudtrail",
    "cloudwatch": "cloudwatch",
    "codebuild": "codebuild",
    "codecommit": "codecommit",
    "codepipeline": "codepipeline",
    "events": "events",
    "iam": "iam",
    "kms": "kms",
    "logs": "logs",
    "s3": "s3",
    "sagemaker": "sagemaker",
    "sagemaker-featurestore-runtime": "sagemaker",
    "sagemaker-metrics": "sagemaker",
    "sagemaker-runtime": "sagemaker",
    "sns": "sns",
    "sqs": "sqs",
    "sts": "sts",
}
"""What actions begin with, by botocore's name of the service."""


class Unguarded(LookupError):
    """No rule says what the operation needs."""


def needs(key: str, asked: Asked) -> Sequence[Need]:
    """All of these have to be allowed. Raises Unguarded."""
    service, _, operation = key.partition(".")
    prefix = PREFIXES.get(service)
    if prefix is None:
        raise Unguarded(key)
    if key in FREE:
        return ()
    rule = _SERVICES.get(service, _elsewhere)
    found = rule(f"{prefix}:{operation}", operation, asked)
    if key == "cloudwatch.PutMetricData":
        namespace = {"cloudwatch:namespace": (str(asked.parameters.get("Namespace", "")),)}
        found = [replace(need, context={**need.context, **namespace}) for need in found]
    return [*found, *_passed_roles(service, operation, asked)]


def _elsewhere(action: str, operation: str, asked: Asked) -> list[Need]:
    return [Need(action, "*", _tags_in(asked.parameters))]


# Application Auto Scaling

_OF_ANY_TARGET = re.compile("Describe.*|GetPredictiveScalingForecast")


def _scaling(action: str, operation: str, asked: Asked) -> list[Need]:
    """A target's id, by which its ARN ends, is known once it is there: one that is named otherwise is any target."""
    given = asked.parameters
    keys = {"service-namespace": "ServiceNamespace", "scalable-dimension": "ScalableDimension"}
    context: dict[str, Values] = {
        f"{PREFIXES['application-autoscaling']}:{key}": (str(given[member]),)
        for key, member in keys.items()
        if member in given
    }
    if _OF_ANY_TARGET.fullmatch(operation):
        resource = "*"
    else:
        named = str(given.get("ResourceARN", ""))
        resource = named if named.startswith("arn:") else asked.arn("application-autoscaling", "scalable-target/*")
    return [Need(action, resource, {**context, **_tags_in(given)})]


# SageMaker

_KINDS = {
    "UpdateEndpointWeightsAndCapacities": ("EndpointName",),
    "CreateInferenceComponent": ("InferenceComponentName", "EndpointName"),
    "UpdateInferenceComponentRuntimeConfig": ("InferenceComponentName",),
    "UpdateMonitoringAlert": ("MonitoringScheduleName",),
}
_INVOKED = ("EndpointName", "InferenceComponentName")
_VERB = re.compile(r"[A-Z][a-z]+")


def _sagemaker(action: str, operation: str, asked: Asked) -> list[Need]:
    given = asked.parameters
    context = {**_tags_in(given), **sagemaker_keys.of_request(given)}
    if "ResourceArn" in given:
        return [Need(action, _as_written(given["ResourceArn"]), context)]
    if operation.startswith("Invoke"):
        invoked = action if operation == "InvokeEndpointAsync" else "sagemaker:InvokeEndpoint"
        named = [_sagemaker_resource(name, given[name]) for name in _INVOKED if name in given]
        return [Need(invoked, asked.arn("sagemaker", each)) for each in named]
    if operation.endswith("InferenceExperiment"):
        needed = [Need(action, asked.arn("sagemaker", f"inference-experiment/{given['Name'].lower()}"), context)]
        tagging = [Need("sagemaker:AddTags", needed[0].resource, context)] if given.get("Tags") else []
        return needed + tagging
    if "JobDefinitionName" in given:
        kind = _kebab(_VERB.sub("", operation, count=1))
        needed = [Need(action, asked.arn("sagemaker", f"{kind}/{given['JobDefinitionName'].lower()}"), context)]
        return needed + ([Need("sagemaker:AddTags", needed[0].resource, context)] if given.get("Tags") else [])
    if "ModelPackage" in operation:
        return _model_packages(action, operation, asked, context)
    names = _KINDS.get(operation, (f"{_VERB.sub('', operation, count=1)}Name",))
    found = [asked.arn("sagemaker", _sagemaker_resource(name, given[name])) for name in names if name in given]
    if operation in ("CreateEndpoint", "UpdateEndpoint") and "EndpointConfigName" in given:
        found.append(asked.arn("sagemaker", _sagemaker_resource("EndpointConfigName", given["EndpointConfigName"])))
    needed = [Need(action, each, context) for each in found or ["*"]]
    if given.get("Tags") and operation.startswith("Create"):
        needed.append(Need("sagemaker:AddTags", needed[0].resource, context))
    return needed


def _model_packages(action: str, operation: str, asked: Asked, context: Mapping[str, Values]) -> list[Need]:
    """A package or a group may be named by its ARN; a version that is to come is any one of its group."""
    given = asked.parameters
    if "ModelPackageArnList" in given:
        return [Need(action, _as_written(text), context) for text in given["ModelPackageArnList"]]
    group, package = given.get("ModelPackageGroupName", ""), given.get("ModelPackageName", "")
    if "Group" in operation and group:
        text, kind = group, "model-package-group"
    elif operation == "CreateModelPackage" and group:
        text, kind = f"{group.rpartition('/')[2]}/*", "model-package"
    else:
        text, kind = given.get("ModelPackageArn") or package or "*", "model-package"
    if text == "*" or text.startswith("arn:"):
        needed = [Need(action, _as_written(text), context)]
    else:
        needed = [Need(action, asked.arn("sagemaker", f"{kind}/{text.lower()}"), context)]
    if given.get("Tags"):
        needed.append(Need("sagemaker:AddTags", needed[0].resource, context))
    return needed


def _as_written(text: str) -> str:
    """The ARN as SageMaker writes it, and policies with it, of one that a caller has written."""
    try:
        named = arn.parse(text)
    except ValueError:
        return text
    kind, slash, name = named.resource.partition("/")
    return str(arn.Arn(named.service, named.region, named.account, f"{kind}{slash}{name.lower()}"))


def _sagemaker_resource(member: str, name: str) -> str:
    return f"{_kebab(member.removesuffix('Name'))}/{name.lower()}"


@lru_cache
def _kebab(noun: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", noun).lower()


def _passed_roles(service: str, operation: str, asked: Asked) -> list[Need]:
    """A role that a service is to act in: whoever names it has to be allowed to hand it over."""
    if service in ("iam", "sts", "kms", "s3") or operation.startswith(("Describe", "List", "Get", "Delete")):
        return []
    given, to = asked.parameters, {"iam:passedtoservice": (f"{service}.amazonaws.com",)}
    roles = [
        given[name] for name in ("ExecutionRoleArn", "RoleArn", "RoleARN", "serviceRole", "roleArn") if name in given
    ]
    roles += [each["RoleArn"] for each in given.get("Targets") or () if isinstance(each, dict) and "RoleArn" in each]
    inline = given.get("MonitoringScheduleConfig", {}).get("MonitoringJobDefinition", {})
    if "RoleArn" in inline:
        roles.append(inline["RoleArn"])
    return [Need("iam:PassRole", role, to) for role in dict.fromkeys(r for r in roles if isinstance(r, str))]


# S3

_S3_ACTIONS: Mapping[str, str] = {
    "CompleteMultipartUpload": "PutObject",
    "CopyObject": "PutObject",
    "CreateMultipartUpload": "PutObject",
    "DeleteBucketAnalyticsConfiguration": "PutAnalyticsConfiguration",
    "DeleteBucketCors": "PutBucketCORS",
    "DeleteBucketEncryption": "PutEncryptionConfiguration",
    "DeleteBucketIntelligentTieringConfiguration": "PutIntelligentTieringConfiguration",
    "DeleteBucketInventoryConfiguration": "PutInventoryConfiguration",
    "DeleteBucketLifecycle": "PutLifecycleConfiguration",
    "DeleteBucketMetricsConfiguration": "PutMetricsConfiguration",
    "DeleteBucketOwnershipControls": "PutBucketOwnershipControls",
    "DeleteBucketReplication": "PutReplicationConfiguration",
    "DeleteBucketTagging": "PutBucketTagging",
    "DeletePublicAccessBlock": "PutBucketPublicAccessBlock",
    "GetBucketAccelerateConfiguration": "GetAccelerateConfiguration",
    "GetBucketAnalyticsConfiguration": "GetAnalyticsConfiguration",
    "GetBucketCors": "GetBucketCORS",
    "GetBucketEncryption": "GetEncryptionConfiguration",
    "GetBucketIntelligentTieringConfiguration": "GetIntelligentTieringConfiguration",
    "GetBucketInventoryConfiguration": "GetInventoryConfiguration",
    "GetBucketLifecycle": "GetLifecycleConfiguration",
    "GetBucketLifecycleConfiguration": "GetLifecycleConfiguration",
    "GetBucketMetricsConfiguration": "GetMetricsConfiguration",
    "GetBucketNotificationConfiguration": "GetBucketNotification",
    "GetBucketReplication": "GetReplicationConfiguration",
    "GetObjectLockConfiguration": "GetBucketObjectLockConfiguration",
    "GetPublicAccessBlock": "GetBucketPublicAccessBlock",
    "HeadBucket": "ListBucket",
    "HeadObject": "GetObject",
    "ListBucketAnalyticsConfigurations": "GetAnalyticsConfiguration",
    "ListBucketIntelligentTieringConfigurations": "GetIntelligentTieringConfiguration",
    "ListBucketInventoryConfigurations": "GetInventoryConfiguration",
    "ListBucketMetricsConfigurations": "GetMetricsConfiguration",
    "ListBuckets": "ListAllMyBuckets",
    "ListMultipartUploads": "ListBucketMultipartUploads",
    "ListObjectVersions": "ListBucketVersions",
    "ListObjects": "ListBucket",
    "ListObjectsV2": "ListBucket",
    "ListParts": "ListMultipartUploadParts",
    "PostObject": "PutObject",
    "PutBucketAccelerateConfiguration": "PutAccelerateConfiguration",
    "PutBucketAnalyticsConfiguration": "PutAnalyticsConfiguration",
    "PutBucketCors": "PutBucketCORS",
    "PutBucketEncryption": "PutEncryptionConfiguration",
    "PutBucketIntelligentTieringConfiguration": "PutIntelligentTieringConfiguration",
    "PutBucketInventoryConfiguration": "PutInventoryConfiguration",
    "PutBucketLifecycle": "PutLifecycleConfiguration",
    "PutBucketLifecycleConfiguration": "PutLifecycleConfiguration",
    "PutBucketMetricsConfiguration": "PutMetricsConfiguration",
    "PutBucketNotificationConfiguration": "PutBucketNotification",
    "PutBucketReplication": "PutReplicationConfiguration",
    "PutObjectLockConfiguration": "PutBucketObjectLockConfiguration",
    "PutPublicAccessBlock": "PutBucketPublicAccessBlock",
    "SelectObjectContent": "GetObject",
    "UploadPart": "PutObject",
    "UploadPartCopy": "PutObject",
}
_OF_VERSIONS = {
    "DeleteObject": "DeleteObjectVersion",
    "DeleteObjectTagging": "DeleteObjectVersionTagging",
    "GetObject": "GetObjectVersion",
    "GetObjectAcl": "GetObjectVersionAcl",
    "GetObjectAttributes": "GetObjectVersionAttributes",
    "GetObjectTagging": "GetObjectVersionTagging",
    "HeadObject": "GetObjectVersion",
    "PutObjectAcl": "PutObjectVersionAcl",
    "PutObjectTagging": "PutObjectVersionTagging",
}
"""The action where the request names a version."""
_S3_KEYS = {
    "ACL": "s3:x-amz-acl",
    "CopySource": "s3:x-amz-copy-source",
    "Delimiter": "s3:delimiter",
    "GrantFullControl": "s3:x-amz-grant-full-control",
    "GrantRead": "s3:x-amz-grant-read",
    "GrantReadACP": "s3:x-amz-grant-read-acp",
    "GrantWrite": "s3:x-amz-grant-write",
    "GrantWriteACP": "s3:x-amz-grant-write-acp",
    "IfMatch": "s3:if-match",
    "IfNoneMatch": "s3:if-none-match",
    "MaxKeys": "s3:max-keys",
    "MetadataDirective": "s3:x-amz-metadata-directive",
    "ObjectOwnership": "s3:x-amz-object-ownership",
    "Prefix": "s3:prefix",
    "SSECustomerAlgorithm": "s3:x-amz-server-side-encryption-customer-algorithm",
    "SSEKMSKeyId": "s3:x-amz-server-side-encryption-aws-kms-key-id",
    "ServerSideEncryption": "s3:x-amz-server-side-encryption",
    "StorageClass": "s3:x-amz-storage-class",
    "VersionId": "s3:versionid",
}


def _s3(_action: str, operation: str, asked: Asked) -> list[Need]:
    given = asked.parameters
    context: dict[str, Values] = {key: (str(given[name]),) for name, key in _S3_KEYS.items() if name in given}
    bucket, key = given.get("Bucket", ""), given.get("Key")
    resource = bucket_arn(bucket) if bucket else "*"
    if operation in ("ListBuckets", "ListDirectoryBuckets"):
        return [Need(f"s3:{_S3_ACTIONS.get(operation, operation)}", "*", context)]
    if operation == "CreateBucket":
        where = (given.get("CreateBucketConfiguration") or {}).get("LocationConstraint")
        context |= {"s3:locationconstraint": (where,)} if where else {}
    if operation == "DeleteObjects":
        found = given["Delete"].get("Objects") or []
        return [object_deletion(bucket, each) for each in found] or [Need("s3:DeleteObject", f"{resource}/")]
    if key is not None:
        resource = f"{resource}/{key}"
    action = _S3_ACTIONS.get(operation, operation)
    if given.get("VersionId"):
        action = _OF_VERSIONS.get(operation, action)
    tags = _object_tags(given)
    needed = [Need(f"s3:{action}", resource, {**context, **tags})]
    if operation == "GetObjectAttributes":
        read = "GetObjectVersion" if given.get("VersionId") else "GetObject"
        needed.append(Need(f"s3:{read}", resource, context))
    if operation in ("PutObject", "CopyObject", "CreateMultipartUpload", "PostObject"):
        if given.get("Tagging"):
            needed.append(Need("s3:PutObjectTagging", resource, {**context, **tags}))
        if given.get("ACL") or any(name.startswith("Grant") for name in given):
            needed.append(Need("s3:PutObjectAcl", resource, context))
        if given.get("ObjectLockMode") or given.get("ObjectLockRetainUntilDate"):
            needed.append(Need("s3:PutObjectRetention", resource, context))
        if given.get("ObjectLockLegalHoldStatus"):
            needed.append(Need("s3:PutObjectLegalHold", resource, context))
    if operation == "CreateBucket" and (given.get("ACL") or any(name.startswith("Grant") for name in given)):
        needed.append(Need("s3:PutBucketAcl", resource, context))
    if operation in ("CopyObject", "UploadPartCopy"):
        source, version = copied_from(given)
        of_version: dict[str, Values] = {"s3:versionid": (version,)} if version else {}
        needed.append(Need("s3:GetObjectVersion" if version else "s3:GetObject", f"arn:aws:s3:::{source}", of_version))
    return needed


def copied_from(given: Parameters) -> tuple[str, str]:
    """(bucket/key, version) of the source of a copy; no version: the newest."""
    path, _, version = given["CopySource"].partition("?versionId=")
    return unquote(path, errors="surrogateescape").removeprefix("/"), unquote(version)


def bucket_arn(bucket: str) -> str:
    return f"arn:aws:s3:::{bucket}"


def object_deletion(bucket: str, listed: Mapping[str, Any]) -> Need:
    """For one object of a DeleteObjects."""
    action = "s3:DeleteObjectVersion" if listed.get("VersionId") else "s3:DeleteObject"
    context = {"s3:versionid": (listed["VersionId"],)} if listed.get("VersionId") else {}
    return Need(action, f"{bucket_arn(bucket)}/{listed['Key']}", context)


def _object_tags(given: Parameters) -> dict[str, Values]:
    tagging = given.get("Tagging")
    pairs: list[tuple[str, str]] = []
    if isinstance(tagging, str):
        pairs = [
            (unquote(name), unquote(value)) for name, _, value in (p.partition("=") for p in tagging.split("&") if p)
        ]
    elif isinstance(tagging, dict):
        pairs = [(each["Key"], each["Value"]) for each in tagging.get("TagSet", ())]
    if not pairs:
        return {}
    found: dict[str, Values] = {f"s3:requestobjecttag/{name.lower()}": (value,) for name, value in pairs}
    return {**found, "s3:requestobjecttagkeys": tuple(name for name, _ in pairs)}


# IAM and STS

_IAM_RESOURCES = (
    # Parameter and noun; an operation is about the first that it has.
    ("RoleName", "Role"),
    ("UserName", "User"),
    ("GroupName", "Group"),
    ("InstanceProfileName", "InstanceProfile"),
    ("PolicyName", "Policy"),
)
_ABOUT = {
    "AddRoleToInstanceProfile": "InstanceProfile",
    "AddUserToGroup": "Group",
    "RemoveRoleFromInstanceProfile": "InstanceProfile",
    "RemoveUserFromGroup": "Group",
}
_OWN_USER = frozenset(
    {"CreateAccessKey", "DeleteAccessKey", "GetLoginProfile", "GetUser", "ListAccessKeys", "ListMFADevices",
     "ListServiceSpecificCredentials", "ListSigningCertificates", "ListSSHPublicKeys", "UpdateAccessKey"}
)  # fmt: skip
"""Without a name they are about the caller."""
_ON_EVERYTHING = frozenset(
    {"GetAccountAuthorizationDetails", "GetAccountSummary", "ListGroups", "ListInstanceProfiles", "ListPolicies",
     "ListRoles", "ListUsers", "ListVirtualMFADevices", "SimulateCustomPolicy"}
)  # fmt: skip


def _iam(action: str, operation: str, asked: Asked) -> list[Need]:
    given = asked.parameters
    context = _tags_in(given)
    if "PermissionsBoundary" in given:
        context["iam:permissionsboundary"] = (given["PermissionsBoundary"],)
    if "PolicyArn" in given and operation.startswith(("Attach", "Detach")):
        context["iam:policyarn"] = (given["PolicyArn"],)
    needed = [Need(action, _iam_resource(operation, asked), context)]
    if given.get("Tags") and operation.startswith("Create"):
        needed.append(Need(f"iam:Tag{operation.removeprefix('Create')}", needed[0].resource, context))
    if operation in ("UpdateGroup", "UpdateUser"):
        needed.append(Need(action, _renamed(needed[0].resource, operation.removeprefix("Update"), given), context))
    if operation == "AddRoleToInstanceProfile":
        role = asked.names("Role", given["RoleName"])
        needed.append(Need("iam:PassRole", role, {"iam:passedtoservice": ("ec2.amazonaws.com",)}))
    return needed


def _renamed(resource: str, noun: str, given: Parameters) -> str:
    """The ARN that a user or group will have."""
    head, part, rest = resource.partition(f":{noun.lower()}/")
    path, _, name = rest.rpartition("/")
    path = given.get("NewPath", f"/{path}/" if path else "/")
    return f"{head}{part.removesuffix('/')}{path}{given.get(f'New{noun}Name', name)}"


def _iam_resource(operation: str, asked: Asked) -> str:
    given = asked.parameters
    if operation in _ON_EVERYTHING:
        return "*"
    if "PolicySourceArn" in given:
        return str(given["PolicySourceArn"])
    about = _ABOUT.get(operation, "")
    for parameter, noun in _IAM_RESOURCES:
        if parameter in given and about in ("", noun):
            if operation.startswith("Create"):
                part = {"InstanceProfile": "instance-profile"}.get(noun, noun.lower())
                return f"arn:aws:iam::{asked.caller.account}:{part}{given.get('Path', '/')}{given[parameter]}"
            return asked.names(noun, given[parameter])
    if "PolicyArn" in given:
        return str(given["PolicyArn"])
    if operation in _OWN_USER:
        return asked.caller.arn
    return "*"


def _sts(action: str, operation: str, asked: Asked) -> list[Need]:
    given = asked.parameters
    context: dict[str, Values] = {}
    for parameter in ("ExternalId", "RoleSessionName", "SourceIdentity"):
        if parameter in given:
            context[f"sts:{parameter.lower()}"] = (given[parameter],)
    if given.get("TransitiveTagKeys"):
        context["sts:transitivetagkeys"] = tuple(given["TransitiveTagKeys"])
    context |= _tags_in(given)
    if operation == "AssumeRole":
        role = given["RoleArn"]
        needed = [Need(action, role, context)]
        if given.get("Tags") or given.get("TransitiveTagKeys"):
            needed.append(Need("sts:TagSession", role, context))
        if "SourceIdentity" in given:
            needed.append(Need("sts:SetSourceIdentity", role, context))
        return needed
    if operation == "GetFederationToken":
        user = f"arn:aws:sts::{asked.caller.account}:federated-user/{given['Name']}"
        needed = [Need(action, user, context)]
        return [*needed, Need("sts:TagSession", user, context)] if given.get("Tags") else needed
    return [Need(action, "*", context)]


# KMS

_KMS_ON_EVERYTHING = frozenset({"CreateKey", "GenerateRandom", "ListAliases", "ListKeys"})


def _kms(action: str, operation: str, asked: Asked) -> list[Need]:
    """Keys as the request names them, id or alias or ARN of either; authorization.py finds the key."""
    given = asked.parameters
    context: dict[str, Values] = {"kms:calleraccount": (asked.caller.account,), **_tags_in(given)}
    context |= _encryption_context(given.get("EncryptionContext"))
    named = given.get("KeyId") or given.get("TargetKeyId")
    if isinstance(named, str) and "alias/" in named:
        context["kms:requestalias"] = ("alias/" + named.partition("alias/")[2],)
    if operation in _KMS_ON_EVERYTHING and not (operation == "ListAliases" and named):
        tagging = [Need("kms:TagResource", "*", context)] if operation == "CreateKey" and given.get("Tags") else []
        return [Need(action, "*", context), *tagging]
    if operation == "ReEncrypt":
        source = context | _encryption_context(given.get("SourceEncryptionContext"))
        destination = context | _encryption_context(given.get("DestinationEncryptionContext"))
        return [
            Need("kms:ReEncryptFrom", _kms_key(given.get("SourceKeyId"), given, asked), source),
            Need("kms:ReEncryptTo", _kms_key(given.get("DestinationKeyId"), given, asked), destination),
        ]
    if operation in ("CreateAlias", "UpdateAlias", "DeleteAlias"):
        alias = asked.arn("kms", given["AliasName"])
        keys = [] if operation == "CreateAlias" else [alias]
        keys += [_kms_key(named, given, asked)] if named is not None else []
        return [Need(action, alias, context, as_named=True), *(Need(action, key, context) for key in keys)]
    action = "kms:ListAliases" if operation == "ListAliases" else action
    return [Need(action, _kms_key(named, given, asked), context)]


# Logs

_ON_LOG_GROUPS_BY_ARN = frozenset({"TagResource", "UntagResource", "ListTagsForResource"})


def _logs(action: str, operation: str, asked: Asked) -> list[Need]:
    """A group is named with an empty stream behind it, as in AWS's messages: policies end its ARN by ":*"."""
    given = asked.parameters
    tags = given.get("tags")
    removed = tags if isinstance(tags, list) else given.get("tagKeys")  # UntagLogGroup calls the keys tags
    context = _tags_in({"Tags": tags if isinstance(tags, dict) else None, "TagKeys": removed})
    if operation in _ON_LOG_GROUPS_BY_ARN:
        named = given["resourceArn"].removesuffix(":*")
        return [Need(action, named if named.startswith("arn:") else asked.arn("logs", named), context)]
    group = given.get("logGroupName") or given.get("logGroupIdentifier") or ""
    if group.startswith("arn:"):
        resource = f"{group.removesuffix(':*')}:log-stream:{given.get('logStreamName', '')}"
    else:
        resource = asked.arn("logs", f"log-group:{group}:log-stream:{given.get('logStreamName', '')}")
    needed = [Need(action, resource, context)]
    if operation == "CreateLogGroup" and given.get("tags"):
        needed.append(Need("logs:TagResource", asked.arn("logs", f"log-group:{group}"), context))
    if given.get("unmask"):
        needed.append(Need("logs:Unmask", resource))
    return needed


def _encryption_context(given: Mapping[str, str] | None) -> dict[str, Values]:
    if not given:
        return {}
    found: dict[str, Values] = {f"kms:encryptioncontext:{name.lower()}": (value,) for name, value in given.items()}
    return {**found, "kms:encryptioncontextkeys": tuple(given)}


def _kms_key(named: Any, given: Parameters, asked: Asked) -> str:
    """What authorization.py turns into the ARN of the key; a ciphertext names its key itself."""
    if isinstance(named, str):
        return named if named.startswith("arn:") else asked.arn("kms", named if "/" in named else f"key/{named}")
    blob = given.get("CiphertextBlob")
    if isinstance(blob, bytes) and len(blob) > 17:
        import uuid

        return asked.arn("kms", f"key/{uuid.UUID(bytes=blob[1:17])}")
    return "*"


# CloudWatch


def _cloudwatch(action: str, operation: str, asked: Asked) -> list[Need]:
    """Alarms are resources of their own; a composite's operation, and a list, needs its action on all of them."""
    given = asked.parameters
    context = _tags_in(given)
    if "ResourceARN" in given:
        named = str(given["ResourceARN"])
        return [Need(action, named if named.startswith("arn:") else "*", context)]
    if "DashboardName" in given or "DashboardNames" in given:
        return _on_dashboards(action, asked)
    names = given.get("AlarmNames") or ([given["AlarmName"]] if "AlarmName" in given else [])
    alarms = [asked.arn("cloudwatch", f"alarm:{name}") for name in names or ["*"]]
    everything = operation == "PutCompositeAlarm" or not (names or "Alarm" in operation)
    needed = [Need(action, each, context) for each in (["*"] if everything else alarms)]
    if given.get("Tags") and names:
        needed.append(Need("cloudwatch:TagResource", alarms[0], context))
    return needed


def _on_dashboards(action: str, asked: Asked) -> list[Need]:
    """Dashboards have no region."""
    given, context = asked.parameters, _tags_in(asked.parameters)
    names = given.get("DashboardNames") or [given.get("DashboardName", "*")]
    resources = [f"arn:aws:cloudwatch::{asked.caller.account}:dashboard/{name}" for name in names]
    tagging = [Need("cloudwatch:TagResource", resources[0], context)] if given.get("Tags") else []
    return [*(Need(action, resource, context) for resource in resources), *tagging]


# SNS

BY_LINK = frozenset({"sns.ConfirmSubscription", "sns.Unsubscribe"})
"""What a link in a message asks for: it is not signed, and the token or the subscription decides."""


def _sns(_action: str, operation: str, asked: Asked) -> list[Need]:
    given = asked.parameters
    if asked.caller.is_anonymous and f"sns.{operation}" in BY_LINK:
        return []
    context = _tags_in(given)
    for name in ("Protocol", "Endpoint"):
        if name in given:
            context[f"sns:{name.lower()}"] = (given[name],)
    named = given.get("TopicArn") or given.get("TargetArn") or given.get("ResourceArn") or "*"
    topic = named if named.startswith("arn:") else "*"
    if operation == "CreateTopic":
        topic = asked.arn("sns", given["Name"])
        if given.get("Tags"):
            return [Need("SNS:CreateTopic", topic, context), Need("SNS:TagResource", topic, context)]
    # Source: "Actions, resources, and condition keys for Amazon SNS". Messages of SNS write its prefix so.
    return [Need(f"SNS:{'Publish' if operation == 'PublishBatch' else operation}", topic, context)]


def _tags_in(given: Parameters) -> dict[str, Values]:
    """Tags that the request sets, and keys of those that it removes."""
    found: dict[str, Values] = {}
    keys: list[str] = []
    tags = given.get("Tags")
    for tag in tags if isinstance(tags, list) else ():
        key, value = (
            (tag.get("Key", tag.get("TagKey")), tag.get("Value", tag.get("TagValue", ""))) if tag else (None, "")
        )
        if isinstance(key, str):
            keys.append(key)
            found[f"aws:requesttag/{key.lower()}"] = (str(value),)
    if isinstance(tags, dict):
        keys += tags
        found |= {f"aws:requesttag/{key.lower()}": (str(value),) for key, value in tags.items()}
    removed = given.get("TagKeys")
    keys += [key for key in removed if isinstance(key, str)] if isinstance(removed, list) else []
    return {**found, "aws:tagkeys": tuple(keys)} if keys else found


_SERVICES: Mapping[str, Callable[[str, str, Asked], list[Need]]] = {
    "application-autoscaling": _scaling,
    "cloudwatch": _cloudwatch,
    "iam": _iam,
    "kms": _kms,
    "logs": _logs,
    "s3": _s3,
    "sagemaker": _sagemaker,
    "sagemaker-runtime": _sagemaker,
    "sns": _sns,
    "sts": _sts,
}
