"""What a model package says, and what of it can be deployed."""

from __future__ import annotations

from typing import Any

import pytest

from kedge.errors import ValidationFailed
from kedge.registry.records import Package, checked, deployable, updated

ARN = "arn:aws:sagemaker:us-east-1:111122223333:model-package/churn/7"
CONTAINER = {"Image": "i", "ModelDataUrl": "s3://b/m.tar.gz", "Environment": {"A": "1", "B": "1"}, "Framework": "F"}


def package(*containers: dict[str, Any], **more: Any) -> dict[str, Any]:
    given = [{**CONTAINER, **each} for each in containers or ({},)]
    return {"ModelApprovalStatus": "Approved", "InferenceSpecification": {"Containers": given}, **more}


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("churn", Package("churn")),
        ("Churn/12", Package("Churn", 12)),
        (ARN, Package("churn", 7)),
        (ARN.removesuffix("/7"), Package("churn")),
    ],
)
def test_which_package_is_meant(text: str, want: Package):
    assert Package.of(text) == want


def test_a_model_gets_what_the_package_says_and_adds_to_its_environment():
    given = {"ModelPackageName": ARN, "Environment": {"B": "2", "C": "3"}}
    made = deployable(package(), ARN, given, "PrimaryContainer")
    environment = {"A": "1", "B": "2", "C": "3"}
    assert made == [
        {"Image": "i", "ModelDataUrl": "s3://b/m.tar.gz", "ModelPackageName": ARN, "Environment": environment}
    ]


def test_a_package_of_several_containers_is_a_pipeline():
    both = package({"ContainerHostname": "first"}, {"ContainerHostname": "second", "Image": "j"})
    made = deployable(both, ARN, {"ModelPackageName": ARN, "Environment": {"C": "3"}}, "PrimaryContainer")
    assert [(each["ContainerHostname"], each["Image"], each["Environment"]["C"]) for each in made] == [
        ("first", "i", "3"),
        ("second", "j", "3"),
    ]


def test_another_specification_is_chosen_by_its_name():
    other = {"Name": "gpu", "Containers": [{**CONTAINER, "Image": "g"}]}
    document = package(AdditionalInferenceSpecifications=[other])
    named = {"ModelPackageName": ARN, "InferenceSpecificationName": "gpu"}
    assert deployable(document, ARN, named, "PrimaryContainer")[0]["Image"] == "g"
    with pytest.raises(ValidationFailed, match=r'InferenceSpecificationName is "tpu".*are: gpu\.'):
        deployable(document, ARN, {**named, "InferenceSpecificationName": "tpu"}, "PrimaryContainer")


@pytest.mark.parametrize(
    ("document", "given", "said"),
    [
        (package(ModelApprovalStatus="Rejected"), {}, "has the ModelApprovalStatus Rejected"),
        ({"ModelApprovalStatus": "Approved"}, {}, "has no InferenceSpecification"),
        (package(), {"Image": "other"}, 'PrimaryContainer.Image is "other"'),
    ],
)
def test_what_cannot_be_deployed(document: dict[str, Any], given: dict[str, Any], said: str):
    with pytest.raises(ValidationFailed, match=said):
        deployable(document, ARN, {"ModelPackageName": ARN, **given}, "PrimaryContainer")


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({}, "none is given"),
        ({"ModelPackageName": "p", "ModelPackageGroupName": "g"}, "both are given"),
        ({"ModelPackageName": "p", "SourceAlgorithmSpecification": {"x": 1}}, "made from algorithms"),
        ({"ModelPackageName": "p", "ValidationSpecification": {"x": 1}}, "validation of packages"),
        ({"ModelPackageName": "p", "SecurityConfig": {"KmsKeyId": "k"}}, "under a key of their own"),
        ({"ModelPackageName": "p", "CertifyForMarketplace": True}, "marketplace"),
        ({"ModelPackageName": "p", "AdditionalInferenceSpecifications": [{"Name": "a"}] * 2}, "more than once"),
    ],
)
def test_what_is_refused(request_: dict[str, Any], said: str):
    with pytest.raises(ValidationFailed, match=said):
        checked(request_)


def test_a_version_waits_for_approval_and_a_package_without_one_does_not():
    assert checked({"ModelPackageGroupName": "g"})["ModelApprovalStatus"] == "PendingManualApproval"
    assert "ModelApprovalStatus" not in checked({"ModelPackageName": "p"})


def test_an_update_replaces_adds_and_removes():
    before = {"CustomerMetadataProperties": {"a": "1", "b": "1"}, "ModelApprovalStatus": "PendingManualApproval"}
    request = {
        "ModelApprovalStatus": "Approved",
        "CustomerMetadataProperties": {"b": "2", "c": "3"},
        "CustomerMetadataPropertiesToRemove": ["a", "unknown"],
        "AdditionalInferenceSpecificationsToAdd": [{"Name": "gpu", "Containers": []}],
    }
    after = updated(before, request, versioned=True)
    assert after["ModelApprovalStatus"] == "Approved"
    assert after["CustomerMetadataProperties"] == {"b": "2", "c": "3"}
    assert [each["Name"] for each in after["AdditionalInferenceSpecifications"]] == ["gpu"]
    with pytest.raises(ValidationFailed, match="more than once"):
        updated(after, request, versioned=True)
    many = {"CustomerMetadataProperties": {str(n): "" for n in range(49)}}
    with pytest.raises(ValidationFailed, match="it would have 51"):
        updated(after, many, versioned=True)
    with pytest.raises(ValidationFailed, match="has no version"):
        updated(before, request, versioned=False)
