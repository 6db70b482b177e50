"""What is stored of model packages and their groups, and what a package says to those who deploy it. PURE.

A versioned package belongs to a group and is named by it and its number, "churn/7"; an unversioned one has a name of
its own. A number is never given twice in a group, whatever is deleted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kedge import arn
from kedge.errors import ServiceError, ValidationFailed

GROUP = "model-package-group"
PACKAGE = "model-package"
POLICY = "model-package-group-policy"
"""Kinds of resources."""
SOURCE = "aws.sagemaker"
STATE_CHANGE = "SageMaker Model Package State Change"

APPROVED, PENDING = "Approved", "PendingManualApproval"
COMPLETED = "Completed"
MOST_PROPERTIES = 50
MOST_SPECIFICATIONS = 15

GROUP_STORED = ("ModelPackageGroupName", "ModelPackageGroupDescription", "ManagedConfiguration")
STORED = (
    "ModelPackageDescription",
    "ModelPackageRegistrationType",
    "InferenceSpecification",
    "ModelApprovalStatus",
    "MetadataProperties",
    "ModelMetrics",
    "Domain",
    "Task",
    "SamplePayloadUrl",
    "CustomerMetadataProperties",
    "DriftCheckBaselines",
    "AdditionalInferenceSpecifications",
    "SkipModelValidation",
    "SourceUri",
    "ModelCard",
    "ModelLifeCycle",
    "ManagedStorageType",
)
UPDATED = (
    "ModelApprovalStatus",
    "ModelPackageRegistrationType",
    "ApprovalDescription",
    "InferenceSpecification",
    "SourceUri",
    "ModelCard",
    "ModelLifeCycle",
)
"""Members that UpdateModelPackage replaces as they are."""
SUMMARY = ("ModelPackageDescription", "ModelApprovalStatus", "ModelLifeCycle", "ModelPackageRegistrationType")
GIVEN_BY_PACKAGE = ("Image", "ModelDataUrl", "ModelDataSource", "ContainerHostname")
"""Members of a package's container that a model's container has too."""
_NOT_DONE = {
    "SourceAlgorithmSpecification": "packages made from algorithms",
    "ValidationSpecification": "validation of packages by transform jobs",
    "SecurityConfig": "packages under a key of their own",
}


class PackageConflict(ServiceError):
    """What stands in the registry does not allow the change."""

    code, status = "ConflictException", 400


@dataclass(frozen=True)
class Package:
    """Which package is meant."""

    name: str
    """Of the group of a versioned package; of the package itself otherwise. As it was written."""
    version: int | None = None

    @property
    def key(self) -> str:
        """Its name in the store and in its ARN."""
        return self.name.lower() if self.version is None else f"{self.name.lower()}/{self.version}"

    @classmethod
    def of(cls, text: str) -> Package:
        """text: "name", "group/7" or the ARN of either, as the service's patterns let them through."""
        _, _, last = text.rpartition(f":{PACKAGE}/")
        name, slash, number = last.partition("/")
        return cls(name, int(number)) if slash else cls(name)


def group_name(text: str) -> str:
    """Of a group's name or ARN."""
    return text.rpartition("/")[2]


def checked(request: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a CreateModelPackage request. Raises ValidationFailed."""
    named, grouped = "ModelPackageName" in request, "ModelPackageGroupName" in request
    if named == grouped:
        given = "both are given" if named else "none is given"
        raise ValidationFailed(f"A model package has either ModelPackageName or ModelPackageGroupName; {given}.")
    for member, what in _NOT_DONE.items():
        if request.get(member):
            raise ValidationFailed(f"The request gives {member}; this release of Kedge does not do {what}.")
    if request.get("CertifyForMarketplace"):
        raise ValidationFailed("CertifyForMarketplace is true; there is no marketplace here.")
    _check_specifications(request.get("AdditionalInferenceSpecifications", []))
    document = {member: request[member] for member in STORED if member in request}
    if grouped:
        document.setdefault("ModelApprovalStatus", PENDING)
        document.setdefault("ModelPackageRegistrationType", "Registered")
    return document


def updated(document: Mapping[str, Any], request: Mapping[str, Any], *, versioned: bool) -> dict[str, Any]:
    """The document after an UpdateModelPackage request. Raises ValidationFailed."""
    if not versioned and "ModelApprovalStatus" in request:
        raise ValidationFailed("ModelApprovalStatus belongs to versions of a group; this model package has no version.")
    after = {**document, **{member: request[member] for member in UPDATED if member in request}}
    properties = {**document.get("CustomerMetadataProperties", {}), **request.get("CustomerMetadataProperties", {})}
    for key in request.get("CustomerMetadataPropertiesToRemove", []):
        properties.pop(key, None)
    if len(properties) > MOST_PROPERTIES:
        raise ValidationFailed(
            f"A model package has at most {MOST_PROPERTIES} CustomerMetadataProperties; with this request it would "
            f"have {len(properties)}."
        )
    after["CustomerMetadataProperties"] = properties
    if not properties:
        del after["CustomerMetadataProperties"]
    if added := request.get("AdditionalInferenceSpecificationsToAdd"):
        after["AdditionalInferenceSpecifications"] = [*document.get("AdditionalInferenceSpecifications", []), *added]
        _check_specifications(after["AdditionalInferenceSpecifications"])
    return after


def deployable(
    document: Mapping[str, Any], package_arn: str, given: Mapping[str, Any], path: str
) -> list[dict[str, Any]]:
    """The containers of a model that names this package.

    document: of the package. given: the model's container that names it; what it adds to the environment counts more
    than what the package says. path: where it stands in the request. Raises ValidationFailed.
    """
    approval = document.get("ModelApprovalStatus", APPROVED)
    if approval != APPROVED:
        raise ValidationFailed(
            f'The model package "{package_arn}" has the ModelApprovalStatus {approval}; only one that is Approved can '
            "be deployed."
        )
    containers = _specification(document, package_arn, given, path)["Containers"]
    made = []
    for each in containers:
        said = {member: each[member] for member in GIVEN_BY_PACKAGE if member in each}
        for member, value in said.items():
            if len(containers) == 1 and given.get(member, value) != value and member != "ContainerHostname":
                raise ValidationFailed(
                    f'{path}.{member} is "{given[member]}"; the model package "{package_arn}", which {path} names too, '
                    f'has "{value}". Leave {member} out.'
                )
        environment = {**each.get("Environment", {}), **given.get("Environment", {})}
        own = given if len(containers) == 1 else {"ModelPackageName": given["ModelPackageName"]}
        made.append({**said, **own, **({"Environment": environment} if environment else {})})
    return made


def described(document: Mapping[str, Any], package: Package, package_arn: str) -> dict[str, Any]:
    """DescribeModelPackage's answer, but for its times."""
    shown = {name: value for name, value in document.items() if name not in ("ClientToken", "Name")}
    name = document["Name"]
    versioned = (
        {} if package.version is None else {"ModelPackageGroupName": name, "ModelPackageVersion": package.version}
    )
    return {
        "ModelPackageName": name,
        **versioned,
        "ModelPackageArn": package_arn,
        "ModelPackageStatus": COMPLETED,
        "ModelPackageStatusDetails": {"ValidationStatuses": [], "ImageScanStatuses": []},
        "CertifyForMarketplace": False,
        **shown,
    }


def summary(document: Mapping[str, Any], package: Package, package_arn: str, created_at: datetime) -> dict[str, Any]:
    """One item of ListModelPackages."""
    name = document["Name"]
    if package.version is None:
        named: dict[str, Any] = {"ModelPackageName": name}
    else:
        named = {"ModelPackageGroupName": name, "ModelPackageVersion": package.version}
    return {
        **named,
        "ModelPackageArn": package_arn,
        "ModelPackageStatus": COMPLETED,
        "CreationTime": created_at,
        **{member: document[member] for member in SUMMARY if member in document},
    }


def state_change(
    document: Mapping[str, Any],
    package: Package,
    package_arn: str,
    created_at: datetime,
    modified_at: datetime,
    tags: Sequence[Mapping[str, str]],
) -> dict[str, Any]:
    """Detail of the EventBridge event; its times are epoch milliseconds."""
    shown = described(document, package, package_arn)
    if package.version is not None:
        del shown["ModelPackageName"]
    return {
        **shown,
        "CreationTime": round(created_at.timestamp() * 1000),
        "LastModifiedTime": round(modified_at.timestamp() * 1000),
        "Tags": {tag["Key"]: tag["Value"] for tag in tags},
    }


def _specification(
    document: Mapping[str, Any], package_arn: str, given: Mapping[str, Any], path: str
) -> Mapping[str, Any]:
    wanted = given.get("InferenceSpecificationName", "")
    if not wanted:
        if "InferenceSpecification" not in document:
            raise ValidationFailed(
                f'The model package "{package_arn}" has no InferenceSpecification, so it cannot be deployed.'
            )
        own: Mapping[str, Any] = document["InferenceSpecification"]
        return own
    known: Sequence[Mapping[str, Any]] = document.get("AdditionalInferenceSpecifications", [])
    for each in known:
        if each["Name"] == wanted:
            return each
    names = ", ".join(each["Name"] for each in known) or "none"
    raise ValidationFailed(
        f'{path}.InferenceSpecificationName is "{wanted}"; the AdditionalInferenceSpecifications of the model package '
        f'"{package_arn}" are: {names}.'
    )


def _check_specifications(specifications: Sequence[Mapping[str, Any]]) -> None:
    names = [each["Name"] for each in specifications]
    if len(names) > MOST_SPECIFICATIONS:
        raise ValidationFailed(
            f"A model package has at most {MOST_SPECIFICATIONS} AdditionalInferenceSpecifications; it would have "
            f"{len(names)}."
        )
    for name in names:
        if names.count(name) > 1:
            raise ValidationFailed(f'The AdditionalInferenceSpecifications have the Name "{name}" more than once.')


def package_arn(region: str, account: str, package: Package) -> str:
    return arn.sagemaker(region, account, PACKAGE, package.key)


def group_arn(region: str, account: str, name: str) -> str:
    return arn.sagemaker(region, account, GROUP, name)
