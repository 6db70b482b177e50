"""What the models forbid, in AWS's words."""

import copy
import re
import signal
import warnings
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel, StringShape

from kedge.errors import RuntimeValidationError, ValidationFailed
from kedge.wire.constraints import MAX_MATCHED, MAX_SHOWN, NOT_CHECKED, OPEN_ENUMS, check
from kedge.wire.models import Models
from kedge.wire.patterns import compiled, python_pattern

SERVICES = ["sagemaker", "sagemaker-runtime", "s3", "sts", "iam", "cloudwatch"]
ARN = "arn:aws:sagemaker:us-east-1:123456789012:model/m"
NAME = "Member must satisfy regular expression pattern: ^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}"


@cache
def models() -> Models:
    return Models(SERVICES)


def refused(key: str, parameters: dict[str, Any]) -> str:
    """The message, empty where nothing is wrong."""
    service, _, name = key.partition(".")
    try:
        check(models().services[service].operation_model(name), parameters)
    except ValidationFailed as error:
        return error.message
    return ""


def config(**variant: Any) -> dict[str, Any]:
    return {"EndpointConfigName": "c", "ProductionVariants": [{"VariantName": "v"} | variant]}


@pytest.mark.parametrize(
    ("key", "parameters", "problems"),
    [
        (
            "sagemaker.DescribeEndpoint",
            {},
            ["Value null at 'endpointName' failed to satisfy constraint: Member must not be null"],
        ),
        (
            "sagemaker.DescribeEndpoint",
            {"EndpointName": "x" * 64},
            [
                (
                    f"Value '{'x' * 64}' at 'endpointName' failed to satisfy constraint: "
                    "Member must have length less than or equal to 63"
                ),
                f"Value '{'x' * 64}' at 'endpointName' failed to satisfy constraint: {NAME}",
            ],
        ),
        (
            "sagemaker.CreateEndpoint",
            {"EndpointName": "a_b"},
            [
                "Value null at 'endpointConfigName' failed to satisfy constraint: Member must not be null",
                f"Value 'a_b' at 'endpointName' failed to satisfy constraint: {NAME}",
            ],
        ),
        (
            "sagemaker.CreateEndpointConfig",
            {"EndpointConfigName": "c", "ProductionVariants": []},
            [
                (
                    "Value '[]' at 'productionVariants' failed to satisfy constraint: "
                    "Member must have length greater than or equal to 1"
                )
            ],
        ),
        (
            "sagemaker.CreateEndpointConfig",
            config(InitialInstanceCount=0, VariantName="v\n"),
            [
                f"Value 'v\n' at 'productionVariants.1.member.variantName' failed to satisfy constraint: {NAME}",
                (
                    "Value '0' at 'productionVariants.1.member.initialInstanceCount' failed to satisfy constraint: "
                    "Member must have value greater than or equal to 1"
                ),
            ],
        ),
        (
            "sagemaker.CreateEndpointConfig",
            config(InitialVariantWeight=float("inf")),
            [
                (
                    "Value 'inf' at 'productionVariants.1.member.initialVariantWeight' failed to satisfy constraint: "
                    "Member must be a finite number"
                ),
            ],
        ),
        (
            "sagemaker.UpdateEndpointWeightsAndCapacities",
            {
                "EndpointName": "e",
                "DesiredWeightsAndCapacities": [{"VariantName": "v", "DesiredWeight": float("nan")}],
            },
            [
                (
                    "Value 'nan' at 'desiredWeightsAndCapacities.1.member.desiredWeight' failed to satisfy constraint: "
                    "Member must be a finite number"
                ),
            ],
        ),
        (
            "sagemaker.CreateModel",
            {"ModelName": "m", "PrimaryContainer": {"Environment": {"A": None}}},
            [
                (
                    "Value '{A=null}' at 'primaryContainer.environment' failed to satisfy constraint: "
                    "Map value must satisfy constraint: [Member must have length less than or equal to 1024, "
                    "Member must have length greater than or equal to 0, "
                    "Member must satisfy regular expression pattern: ^[\\S\\s]*, Member must not be null]"
                )
            ],
        ),
        (
            "sagemaker.CreateEndpointConfig",
            {"EndpointConfigName": "c", "ProductionVariants": [None]},
            ["Value null at 'productionVariants.1.member' failed to satisfy constraint: Member must not be null"],
        ),
        (
            "sagemaker.ListEndpoints",
            {"SortOrder": "Up"},
            [
                (
                    "Value 'Up' at 'sortOrder' failed to satisfy constraint: "
                    "Member must satisfy enum value set: [Ascending, Descending]"
                )
            ],
        ),
        (
            "sagemaker.CreateModel",
            {"ModelName": "m", "PrimaryContainer": {"Environment": {"A": "x" * 2000}}},
            [
                (
                    f"Value '{{A={'x' * (MAX_SHOWN - 3)}...' at 'primaryContainer.environment' failed to satisfy "
                    "constraint: "
                    "Map value must satisfy constraint: [Member must have length less than or equal to 1024, "
                    "Member must have length greater than or equal to 0, "
                    "Member must satisfy regular expression pattern: ^[\\S\\s]*]"
                )
            ],
        ),
        (
            "sagemaker.CreateModel",
            {"ModelName": "m", "VpcConfig": {"SecurityGroupIds": ["a b", "c"], "Subnets": ["s"]}},
            [
                (
                    "Value '[a b, c]' at 'vpcConfig.securityGroupIds' failed to satisfy constraint: "
                    "Member must satisfy constraint: [Member must have length less than or equal to 32, "
                    "Member must have length greater than or equal to 0, "
                    "Member must satisfy regular expression pattern: ^[-0-9a-zA-Z]+]"
                )
            ],
        ),
        (
            "sagemaker.AddTags",
            {"ResourceArn": ARN, "Tags": [{"Key": "ключ né", "Value": "é"}, {"Key": "a!", "Value": ""}]},
            [],
        ),
        (
            "s3.PutObject",
            {"Bucket": "b"},
            ["Value null at 'key' failed to satisfy constraint: Member must not be null"],
        ),
        ("s3.CreateBucket", {"Bucket": "b", "CreateBucketConfiguration": {"LocationConstraint": "xx-new-9"}}, []),
        (
            "s3.PutObject",
            {"Bucket": "b", "Key": "k", "Body": object(), "StorageClass": "WARM"},
            ["Value 'WARM' at 'storageClass' failed to satisfy constraint: Member must satisfy enum value set: ["],
        ),
        (
            "sts.AssumeRole",
            {"RoleArn": "arn:aws:iam::123456789012:role/r", "RoleSessionName": "sn", "DurationSeconds": 1},
            [
                (
                    "Value '1' at 'durationSeconds' failed to satisfy constraint: "
                    "Member must have value greater than or equal to 900"
                )
            ],
        ),
        (
            "sagemaker.CreateEndpointConfig",
            config(InstanceType="ml.brand-new9.huge", InitialInstanceCount=1),
            [],
        ),
        (
            "sagemaker.CreateEndpointConfig",
            config(InstanceType="t2.large"),
            [
                (
                    "Value 't2.large' at 'productionVariants.1.member.instanceType' failed to satisfy constraint: "
                    "Member must satisfy regular expression pattern: ^ml\\."
                )
            ],
        ),
    ],
)
def test_messages(key: str, parameters: dict[str, Any], problems: list[str]) -> None:
    message = refused(key, parameters)
    if key == "sagemaker.AddTags":
        assert "Value 'a!' at 'tags.2.member.key'" in message
        assert message.startswith("1 validation error detected: ")
        return
    for problem in problems:
        assert problem in message
    count = len(problems)
    head = f"{count} validation error{'s' if count > 1 else ''} detected: " if problems else ""
    assert message.startswith(head)
    assert message.count("; Value") == max(count - 1, 0)
    assert bool(message) == bool(problems)


def test_problems_are_bounded() -> None:
    tags = [{"Key": "!" * 5000, "Value": "!"} for _ in range(1000)]
    message = refused("sagemaker.AddTags", {"ResourceArn": ARN, "Tags": tags})
    assert message.startswith("20 validation errors detected: ")
    assert len(message) < 100_000


def test_a_secret_is_not_shown() -> None:
    message = refused("iam.CreateLoginProfile", {"UserName": "u", "Password": "hunter2\u0100"})
    assert message.startswith(
        "1 validation error detected: Value at 'password' failed to satisfy constraint: Member must"
    )
    assert "hunter2" not in message


def test_the_runtime_has_a_name_of_its_own_for_the_error() -> None:
    operation = models().services["sagemaker-runtime"].operation_model("InvokeEndpoint")
    with pytest.raises(RuntimeValidationError, match="'endpointName'"):
        check(operation, {"EndpointName": "_", "Body": b""})
    check(operation, {"EndpointName": "e", "Body": b"x" * 7_000_000, "CustomAttributes": "a=b"})
    with pytest.raises(RuntimeValidationError, match="'inferenceId'"):
        check(operation, {"EndpointName": "e", "Body": b"", "InferenceId": " starts with a space"})


@pytest.mark.parametrize(
    ("operation", "parameters", "code"),
    [
        ("PutObject", {"Bucket": "b", "Key": "k", "StorageClass": "WARM"}, "InvalidStorageClass"),
        ("PutObject", {"Bucket": "b"}, "InvalidArgument"),
        ("PutObject", {"Bucket": "b", "Key": "k", "ServerSideEncryption": "rot13"}, "InvalidArgument"),
        ("PutBucketTagging", {"Bucket": "b"}, "MissingRequestBodyError"),
        ("PutBucketTagging", {"Bucket": "b", "Tagging": {}}, "MalformedXML"),
        (
            "PutBucketVersioning",
            {"Bucket": "b", "VersioningConfiguration": {"Status": "On"}},
            "MalformedXML",
        ),
        (
            "PutBucketNotificationConfiguration",
            {
                "Bucket": "b",
                "NotificationConfiguration": {"QueueConfigurations": [{"QueueArn": "q", "Events": ["s3:Nothing"]}]},
            },
            "InvalidArgument",
        ),
    ],
)
def test_s3_says_where_it_was_wrong(operation: str, parameters: dict[str, Any], code: str) -> None:
    model = models().services["s3"].operation_model(operation)
    with pytest.raises(ValidationFailed) as refused_:
        check(model, parameters)
    assert refused_.value.named_for("s3") == (code, 400)


def string_shapes() -> list[tuple[str, StringShape]]:
    found = []
    for service, model in models().services.items():
        for name in model.shape_names:
            shape = model.shape_for(name)
            if isinstance(shape, StringShape) and "pattern" in shape.metadata:
                found.append((f"{service}.{name}", shape))
    return found


def too_slow(*_: object) -> None:
    raise TimeoutError


@pytest.fixture
def alarm() -> Iterator[None]:
    before = signal.signal(signal.SIGALRM, too_slow)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("alarm")
def test_every_pattern_compiles_and_none_takes_long() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, shape in string_shapes():
            pattern = compiled(shape.metadata["pattern"])
            length = min(shape.metadata.get("max", MAX_MATCHED), MAX_MATCHED)
            signal.setitimer(signal.ITIMER_REAL, 2.0)
            try:
                for text in ("a", "-", " ", "\n", "0", "a.", "a-", "a/", "A:", "arn:aws:a:", "\u0100"):
                    for end in ("", "\x00", "!\u2028"):
                        pattern.fullmatch((text * length)[: length - len(end)] + end)
            except TimeoutError:
                pytest.fail(f"{name} takes long: {shape.metadata['pattern']}")
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)


def test_the_tables_of_exceptions_are_about_what_there_is() -> None:
    for key in NOT_CHECKED:
        service, name, constraint = key.split(".")
        assert constraint in models().services[service].shape_for(name).metadata
    names = [name for model in models().services.values() for name in model.shape_names]
    assert all(any(name.endswith(end) for name in names) for end in OPEN_ENUMS)


def test_an_older_model_does_not_refuse_what_clients_send() -> None:
    """CopySource has a pattern that asks for a slash in front; boto3 sends none."""
    description = copy.deepcopy(Loader().load_service_model("s3", "service-2"))
    description["shapes"]["CopySource"]["pattern"] = "\\/.+\\/.+"
    model = ServiceModel(description, "s3").operation_model("CopyObject")
    parameters = {"Bucket": "bucket", "Key": "k", "CopySource": "bucket/key"}
    check(model, parameters)
    with pytest.raises(ValidationFailed, match="storageClass"):
        check(model, parameters | {"StorageClass": "CARDBOARD"})


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        (r"[\p{L}\p{Z}\p{N}_.:/=+\-@]+", ["aé中 \u0661_.:/=+-@", "\U00020000"], ["a!", "", "a\t", "\U0001f600"]),
        (r"[\p{L}\p{M}\p{S}\p{N}\p{P}]+", ["e\u0301€½!", "\U0001f600"], [" ", "\x00"]),
        (r"\p{ASCII}*", ["", "\x00~"], ["é"]),
        (r"\A\S[\p{Print}]*\z", ["a b"], [" b", "a\n", "aé"]),
        (r"[\p{Alnum}\-]+", ["a-9"], ["_"]),
        (r"[\u0020-\uD7FF\uD800\uDC00-\uDBFF\uDFFF\t]*", ["a\t", "\U0001f600"], ["\n", "\ue000"]),
        (r"([\p{L}]*)${1,128}", ["", "abc"], ["a1"]),
        (r"\w+", ["a_1"], ["é"]),
        (r"^a$|^b$", ["a", "b"], ["ab", "a\n"]),
    ],
)
def test_patterns_of_java(pattern: str, good: list[str], bad: list[str]) -> None:
    for text in good:
        assert compiled(pattern).fullmatch(text), text
    for text in bad:
        assert not compiled(pattern).fullmatch(text), text


def test_a_pattern_that_python_understands_stays_as_it_is() -> None:
    assert python_pattern(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}\p") == r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}\p"
    with pytest.raises(re.error, match="Klingon"):
        compiled(r"\p{Klingon}")
