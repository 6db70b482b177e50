"""Data capture from end to end: an unmodified boto3 invokes, and reads what was captured from S3."""

from __future__ import annotations

import base64
import io
import json
import re
import tarfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

WITHIN_S = 25.0
ECHO = """
def model_fn(model_dir):
    return None
def transform_fn(model, body, content_type, accept):
    if body in (b"fail", "fail"):
        raise ValueError("no")
    return body, content_type
"""
KEY = re.compile(r"captured/Echo/(v|w)/(\d{4}/\d\d/\d\d/\d\d)/(\d\d)-(\d\d)-\d{3}-[0-9a-f-]{36}\.jsonl")


def until(condition: Callable[[], Any]) -> Any:
    end = time.monotonic() + WITHIN_S
    while not (found := condition()):
        assert time.monotonic() < end, f"nothing within {WITHIN_S} s"
        time.sleep(0.2)
    return found


class Captured:
    def __init__(self, kedge: Any) -> None:
        self.kedge = kedge
        self.sagemaker, self.runtime = kedge.client("sagemaker"), kedge.client("sagemaker-runtime")
        self.s3 = kedge.client("s3")
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            member = tarfile.TarInfo("code/inference.py")
            member.size = len(ECHO)
            archive.addfile(member, io.BytesIO(ECHO.encode()))
        self.s3.put_object(Bucket=kedge.bucket, Key="echo.tar.gz", Body=packed.getvalue())
        container = {"Image": "kedge/script:1", "ModelDataUrl": f"s3://{kedge.bucket}/echo.tar.gz"}
        self.sagemaker.create_model(ModelName="echo", PrimaryContainer=container, ExecutionRoleArn=kedge.role_arn)

    def config(self, name: str, *variants: str, tags: dict[str, str] | None = None, **capture: Any) -> None:
        self.sagemaker.create_endpoint_config(
            EndpointConfigName=name,
            ProductionVariants=[
                {"VariantName": v, "ModelName": "echo", "InitialInstanceCount": 1, "InstanceType": "ml.t2.medium"}
                for v in variants or ["v"]
            ],
            DataCaptureConfig={
                "EnableCapture": True,
                "InitialSamplingPercentage": 100,
                "DestinationS3Uri": f"s3://{self.kedge.bucket}/captured",
                "CaptureOptions": [{"CaptureMode": "InputAndOutput"}],
                "CaptureContentTypeHeader": {
                    "CsvContentTypes": ["text/csv"],
                    "JsonContentTypes": ["application/json"],
                },
                **capture,
            },
            Tags=[{"Key": key, "Value": value} for key, value in (tags or {}).items()],
        )

    def wait(self) -> None:
        self.sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="Echo")

    def invoke(self, body: bytes, kind: str, variant: str = "v", **more: Any) -> str:
        answer = self.runtime.invoke_endpoint(
            EndpointName="Echo", Body=body, ContentType=kind, TargetVariant=variant, **more
        )
        assert answer["Body"].read() == body
        request_id: str = answer["ResponseMetadata"]["RequestId"]
        return request_id

    def places(self, prefix: str = "captured/") -> list[str]:
        found = self.s3.list_objects_v2(Bucket=self.kedge.bucket, Prefix=prefix)
        return [each["Key"] for each in found.get("Contents", [])]

    def records(self, prefix: str = "captured/") -> list[dict[str, Any]]:
        found = []
        for key in self.places(prefix):
            body = self.s3.get_object(Bucket=self.kedge.bucket, Key=key)["Body"].read()
            assert body.endswith(b"\n")
            found += [json.loads(line) for line in body.splitlines()]
        return found


@pytest.fixture
def captured(kedge: Any) -> Captured:
    return Captured(kedge)


def test_what_is_invoked_is_captured(captured: Captured, kedge: Any):
    captured.config("c", "v", "w")
    captured.sagemaker.create_endpoint(EndpointName="Echo", EndpointConfigName="c")
    captured.wait()
    assert captured.sagemaker.describe_endpoint(EndpointName="Echo")["DataCaptureConfig"] == {
        "EnableCapture": True,
        "CaptureStatus": "Started",
        "CurrentSamplingPercentage": 100,
        "DestinationS3Uri": f"s3://{kedge.bucket}/captured",
        "KmsKeyId": "",
    }
    began = datetime.now(UTC).replace(microsecond=0)
    first = captured.invoke(b"1,2\n3,4\n", "text/csv; charset=utf-8", InferenceId="i-1", CustomAttributes="c=1")
    captured.invoke(b'{"a": "\xc3\xa9"}', "application/json")
    captured.invoke(b"\x00\xff", "image/png")
    with pytest.raises(ClientError, match="no"):
        captured.invoke(b"fail", "text/csv")
    captured.invoke(b"5", "text/csv", "w")
    found = {
        each["eventMetadata"]["eventId"]: each for each in until(lambda: captured.records()[3:] and captured.records())
    }
    assert len(found) == 4
    side = {"observedContentType": "text/csv; charset=utf-8", "data": "1,2\n3,4\n", "encoding": "CSV"}
    when = found[first]["eventMetadata"].pop("inferenceTime")
    assert found[first] == {
        "captureData": {"endpointInput": {**side, "mode": "INPUT"}, "endpointOutput": {**side, "mode": "OUTPUT"}},
        "eventMetadata": {"eventId": first, "inferenceId": "i-1", "customAttributes": ["c=1"]},
        "eventVersion": "0",
    }
    assert began <= datetime.strptime(when, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC) <= datetime.now(UTC)
    by_encoding = {
        each["captureData"]["endpointInput"]["encoding"]: each["captureData"]["endpointInput"]["data"]
        for each in found.values()
    }
    assert by_encoding["JSON"] == '{"a": "é"}'
    assert base64.b64decode(by_encoding["BASE64"]) == b"\x00\xff"
    matches = [KEY.fullmatch(key) for key in captured.places()]
    assert sorted(match[1] for match in matches if match) == ["v", "w"]
    assert all(match and match[2] in (f"{began:%Y/%m/%d/%H}", f"{datetime.now(UTC):%Y/%m/%d/%H}") for match in matches)


def test_rules_a_key_and_an_update(captured: Captured, kedge: Any):
    kms = kedge.client("kms")
    key = kms.create_key()["KeyMetadata"]
    kms.create_alias(AliasName="alias/captured", TargetKeyId=key["KeyId"])
    tags = {
        "kedge:capture-hash": "input/csv/0",
        "kedge:capture-mask": "input/csv/1 json/customer.email",
        "kedge:capture-drop": "json/customer.name",
    }
    captured.config("c", tags=tags, KmsKeyId="alias/captured")
    captured.sagemaker.create_endpoint(EndpointName="Echo", EndpointConfigName="c")
    captured.wait()
    captured.invoke(b"alice,secret,3", "text/csv")
    captured.invoke(b'{"customer": {"name": "alice", "email": "a@secret"}, "x": 1}', "application/json")
    captured.invoke(b"alice secret", "text/plain")
    found = until(lambda: captured.records()[2:] and captured.records())
    csv, as_json, plain = (each["captureData"] for each in found)
    hashed, masked, third = csv["endpointInput"]["data"].split(",")
    assert re.fullmatch("[0-9a-f]{32}", hashed)
    assert (masked, third) == ("****", "3")
    assert csv["endpointOutput"]["data"] == "alice,secret,3", "the rule is for the input alone"
    assert json.loads(as_json["endpointInput"]["data"]) == {"customer": {"email": "****"}, "x": 1}
    assert plain["endpointInput"]["data"] == plain["endpointOutput"]["data"] == "", "no rule can be applied to it"
    (place,) = captured.places()
    head = captured.s3.head_object(Bucket=kedge.bucket, Key=place)
    assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", key["Arn"])

    captured.config("off", EnableCapture=False)
    captured.sagemaker.update_endpoint(EndpointName="Echo", EndpointConfigName="off")
    captured.wait()
    shown = captured.sagemaker.describe_endpoint(EndpointName="Echo")["DataCaptureConfig"]
    assert (shown["EnableCapture"], shown["CaptureStatus"]) == (False, "Stopped")
    captured.invoke(b"not captured", "text/csv")
    captured.config("on", DestinationS3Uri=f"s3://{kedge.bucket}/other", CaptureOptions=[{"CaptureMode": "Input"}])
    captured.sagemaker.update_endpoint(EndpointName="Echo", EndpointConfigName="on")
    captured.wait()
    captured.invoke(b"captured again", "text/csv")
    (again,) = until(lambda: captured.records("other/"))
    assert list(again["captureData"]) == ["endpointInput"]
    assert len(captured.records()) == 3


def test_a_bucket_that_comes_later_gets_what_was_kept(captured: Captured, kedge: Any):
    captured.config("c", DestinationS3Uri="s3://comes-later")
    captured.sagemaker.create_endpoint(EndpointName="Echo", EndpointConfigName="c")
    captured.wait()
    captured.invoke(b"1", "text/csv")
    log = kedge.data_dir / "log" / "capture.log"
    until(lambda: 'The specified bucket does not exist: "comes-later"' in log.read_text())
    captured.s3.create_bucket(Bucket="comes-later")
    until(lambda: captured.s3.list_objects_v2(Bucket="comes-later").get("Contents"))


BAD = [
    ({"InitialSamplingPercentage": 101}, {}, "less than or equal to 100"),
    ({"CaptureOptions": [{"CaptureMode": "Both"}]}, {}, "enum value set"),
    ({"DestinationS3Uri": "https://example.com/x"}, {}, "has to be s3://BUCKET"),
    ({}, {"kedge:capture-drop": "a..b"}, 'has "a..b"'),
]


@pytest.mark.parametrize(("capture", "tags", "says"), BAD)
def test_what_cannot_be_is_refused(captured: Captured, capture: dict[str, Any], tags: dict[str, str], says: str):
    with pytest.raises(ClientError, match=says) as caught:
        captured.config("c", tags=tags, **capture)
    assert caught.value.response["Error"]["Code"] == "ValidationException"
