"""What of a model can be served, and how its parts are found."""

from __future__ import annotations

from typing import Any

import pytest

from kedge.models.records import Container, Form, Source, servable

URL = "s3://b/model.tar.gz"


def model(*containers: dict[str, Any], mode: str = "", primary: bool = True, **more: Any) -> dict[str, Any]:
    given = [{"Image": "i", **each} for each in containers]
    held = {"PrimaryContainer": given[0]} if primary and len(given) == 1 else {"Containers": given}
    return {"ModelName": "m", **held, **({"InferenceExecutionConfig": {"Mode": mode}} if mode else {}), **more}


def source(kind: str, compression: str, uri: str, **more: Any) -> dict[str, Any]:
    return {"S3DataSource": {"S3DataType": kind, "CompressionType": compression, "S3Uri": uri, **more}}


def only(container: dict[str, Any]) -> Container:
    found = servable(model(container))
    assert not found.problem
    assert len(found.containers) == 1
    return found.containers[0]


def test_names():
    assert only({}).name == "primary"
    assert only({"ContainerHostname": "mine"}).name == "mine"
    assert [each.name for each in servable(model({}, {})).containers] == ["container-1", "container-2"]
    named = servable(model({"ContainerHostname": "a"}, {"ContainerHostname": "b"}, mode="Direct"))
    assert ([each.name for each in named.containers], named.direct) == (["a", "b"], True)
    assert not servable(model({}, {}, mode="Serial")).direct


def test_what_else_counts():
    found = servable(model({}, ExecutionRoleArn="arn:role", EnableNetworkIsolation=True))
    assert (found.execution_role, found.network_isolation) == ("arn:role", True)


SUBMIT = {"SAGEMAKER_SUBMIT_DIRECTORY": "s3://b/code.tar.gz", "OTHER": "x"}


@pytest.mark.parametrize(
    ("container", "sources"),
    [
        ({}, ()),
        ({"ModelDataUrl": URL}, (Source(URL),)),
        ({"ModelDataSource": source("S3Object", "Gzip", URL)}, (Source(URL),)),
        ({"ModelDataSource": source("S3Object", "None", "s3://b/m.bin")}, (Source("s3://b/m.bin", Form.OBJECT),)),
        ({"ModelDataSource": source("S3Prefix", "None", "s3://b/p/")}, (Source("s3://b/p/", Form.PREFIX),)),
        (
            {"AdditionalModelDataSources": [{"ChannelName": "c", **source("S3Prefix", "None", "s3://b/p/")}]},
            (Source("s3://b/p/", Form.PREFIX, "c"),),
        ),
        (
            {"ModelDataUrl": URL, "Environment": SUBMIT},
            (Source(URL), Source("s3://b/code.tar.gz", Form.ARCHIVE, "code")),
        ),
        (
            {"ModelDataUrl": URL, "Environment": {"SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code"}},
            (Source(URL),),
        ),
        (
            {"ModelDataUrl": URL, "Environment": {"SAGEMAKER_SUBMIT_DIRECTORY": "file:///opt/ml/model/code"}},
            (Source(URL),),
        ),
        (
            {"ModelDataSource": source("S3Object", "Gzip", URL, ModelAccessConfig={"AcceptEula": True}, ETag="x")},
            (Source(URL),),
        ),
    ],
)
def test_sources(container: dict[str, Any], sources: tuple[Source, ...]):
    found = only(container)
    assert found.sources == sources
    assert found.environment == container.get("Environment", {})


@pytest.mark.parametrize("prefix", ["s3://b/models", "s3://b/models/"])
def test_many_models(prefix: str):
    found = only({"Mode": "MultiModel", "ModelDataUrl": prefix, "Environment": SUBMIT})
    assert (found.models, found.keeps_models) == ("s3://b/models/", True)
    assert found.sources == (Source("s3://b/code.tar.gz", Form.ARCHIVE, "code"),)
    cold = {"Mode": "MultiModel", "ModelDataUrl": prefix, "MultiModelConfig": {"ModelCacheSetting": "Disabled"}}
    assert not only(cold).keeps_models


@pytest.mark.parametrize(
    ("container", "says"),
    [
        ({"ModelPackageName": "p", "Image": ""}, "has no image for PrimaryContainer: its model package names none"),
        ({"ModelDataUrl": "https://b/m"}, "model data at https://b/m; only s3://"),
        (
            {"ModelDataSource": source("S3Prefix", "None", "s3://b/p/", ManifestS3Uri="s3://b/manifest")},
            "PrimaryContainer.ModelDataSource.ManifestS3Uri",
        ),
        (
            {"ModelDataSource": source("S3Object", "Gzip", URL, HubAccessConfig={"HubContentArn": "arn"})},
            "PrimaryContainer.ModelDataSource.HubAccessConfig",
        ),
        (
            {"AdditionalModelDataSources": [{"ChannelName": "c", **source("S3Object", "None", "https://b/x")}]},
            "model data at https://b/x",
        ),
    ],
)
def test_what_cannot_be_served_is_named(container: dict[str, Any], says: str):
    found = servable(model(container))
    assert found.problem.startswith('Model "m" ')
    assert says in found.problem
    assert found.containers == ()
