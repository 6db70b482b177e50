"""DataCaptureConfig from the request to the routing table, without a server."""

from __future__ import annotations

from typing import Any

import pytest

from kedge.errors import ValidationFailed
from kedge.serving.capture.rules import Rule
from tests.endpoints.world import World, variant

CAPTURE: dict[str, Any] = {
    "InitialSamplingPercentage": 20,
    "DestinationS3Uri": "s3://bucket/some/prefix/",
    "CaptureOptions": [{"CaptureMode": "Input"}],
    "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"], "JsonContentTypes": ["Application/JSON"]},
}


def make(world: World, name: str, tags: dict[str, str] | None = None, **changes: Any) -> None:
    given = {"Tags": [{"Key": key, "Value": value} for key, value in tags.items()]} if tags else {}
    world.make_config(name, variant(), DataCaptureConfig={**CAPTURE, **changes}, **given)


async def serve(world: World, name: str = "c") -> None:
    world.do("CreateEndpoint", EndpointName="E", EndpointConfigName=name)
    await world.bring_up()


async def update(world: World, name: str, **more: Any) -> None:
    world.do("UpdateEndpoint", EndpointName="E", EndpointConfigName=name, **more)
    await world.bring_up()


@pytest.fixture
def ready(world: World) -> World:
    world.make_model()
    return world


async def test_the_routers_are_told_and_describe_sums_it_up(ready: World):
    make(ready, "c", {"kedge:capture-mask": "input/3"}, KmsKeyId="alias/a")
    await serve(ready)
    (endpoint,) = ready.routers.table.endpoints
    assert endpoint.capture is not None
    assert (endpoint.capture.bucket, endpoint.capture.prefix, endpoint.capture.percent) == ("bucket", "some/prefix", 20)
    assert (endpoint.capture.input, endpoint.capture.output) == (True, False)
    assert (endpoint.capture.csv_types, endpoint.capture.json_types) == (("text/csv",), ("application/json",))
    assert endpoint.capture.kms_key == "alias/a"
    assert endpoint.capture.rules == (Rule("mask", ("3",), "input"),)
    assert (await ready.describe("E"))["DataCaptureConfig"] == {
        "EnableCapture": True,
        "CaptureStatus": "Started",
        "CurrentSamplingPercentage": 20,
        "DestinationS3Uri": "s3://bucket/some/prefix/",
        "KmsKeyId": "alias/a",
    }
    assert ready.do("DescribeEndpointConfig", EndpointConfigName="c")["DataCaptureConfig"] == {
        **CAPTURE, "KmsKeyId": "alias/a",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "sides"),
    [
        (["Output"], (False, True)),
        (["Input", "Output"], (True, True)),
        (["InputAndOutput"], (True, True)),
        (["InputAndOutput", "Input"], (True, True)),
    ],
)
async def test_the_modes(ready: World, options: list[str], sides: tuple[bool, bool]):
    make(ready, "c", CaptureOptions=[{"CaptureMode": mode} for mode in options])
    await serve(ready)
    capture = ready.routers.table.endpoints[0].capture
    assert capture is not None
    assert (capture.input, capture.output) == sides


async def test_an_update_switches_it_off_and_on(ready: World):
    ready.make_config("without", variant())
    make(ready, "off", EnableCapture=False)
    make(ready, "on", EnableCapture=True, InitialSamplingPercentage=100)
    await serve(ready, "without")
    assert "DataCaptureConfig" not in await ready.describe("E")
    await update(ready, "on")
    assert ready.routers.table.endpoints[0].capture is not None
    await update(ready, "off")
    assert ready.routers.table.endpoints[0].capture is None
    shown = (await ready.describe("E"))["DataCaptureConfig"]
    assert (shown["EnableCapture"], shown["CaptureStatus"], shown["KmsKeyId"]) == (False, "Stopped", "")


async def test_what_an_update_retains(ready: World):
    make(ready, "c", {"kedge:capture-drop": "1"})
    make(ready, "d", InitialSamplingPercentage=100)
    await serve(ready)
    await update(ready, "d", RetainAllVariantProperties=True)
    capture = ready.routers.table.endpoints[0].capture
    assert capture is not None
    assert (capture.percent, capture.rules) == (20, (Rule("drop", ("1",)),))
    excluded = [{"VariantPropertyType": "DataCaptureConfig"}]
    await update(ready, "d", RetainAllVariantProperties=True, ExcludeRetainedVariantProperties=excluded)
    capture = ready.routers.table.endpoints[0].capture
    assert capture is not None
    assert (capture.percent, capture.rules) == (100, ())


BAD: list[tuple[dict[str, Any], dict[str, str], str]] = [
    ({"DestinationS3Uri": "https://bucket.s3.amazonaws.com/p"}, {}, r'DestinationS3Uri is "https://.*s3://BUCKET'),
    ({"DestinationS3Uri": "s3:///p"}, {}, 'DestinationS3Uri is "s3:///p"'),
    (
        {"CaptureContentTypeHeader": {"CsvContentTypes": ["text/x"], "JsonContentTypes": ["Text/X"]}},
        {},
        'names "text/x" in CsvContentTypes and in JsonContentTypes',
    ),
    ({}, {"kedge:capture-shred": "a"}, "is no rule of data capture"),
    ({}, {"kedge:capture-drop": "a//b"}, 'has "a//b"'),
]


@pytest.mark.parametrize(("changes", "tags", "says"), BAD)
def test_what_cannot_be_is_refused(ready: World, changes: dict[str, Any], tags: dict[str, str], says: str):
    with pytest.raises(ValidationFailed, match=says):
        make(ready, "c", tags, **changes)


def test_a_rule_that_was_added_as_a_tag_counts_at_the_next_deployment(ready: World):
    make(ready, "c")
    arn = ready.do("DescribeEndpointConfig", EndpointConfigName="c")["EndpointConfigArn"]
    ready.do("AddTags", ResourceArn=arn, Tags=[{"Key": "kedge:capture-shred", "Value": "a"}])
    with pytest.raises(ValidationFailed, match="is no rule of data capture"):
        ready.do("CreateEndpoint", EndpointName="E", EndpointConfigName="c")
