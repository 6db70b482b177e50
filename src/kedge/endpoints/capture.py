"""DataCaptureConfig: what a config asks for, what the routers are told, what DescribeEndpoint shows. PURE.

Rules on what must not be captured are tags of the endpoint config (kedge.serving.capture.rules). A fleet holds a copy
of both, as of all that it is made from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kedge.endpoints.records import Fleet, Status
from kedge.errors import ValidationFailed
from kedge.serving.capture import rules
from kedge.serving.capture.record import mime_of
from kedge.serving.capture.records import Capture

Config = Mapping[str, Any]


def check(config: Config | None, tags: Sequence[Mapping[str, str]]) -> None:
    """What the shapes of the API do not say already. Raises ValidationFailed."""
    rules_of(tags)
    if config is None:
        return
    uri = config["DestinationS3Uri"]
    bucket, _ = _place(uri)
    if not bucket:
        raise ValidationFailed(f'DestinationS3Uri is "{uri}"; it has to be s3://BUCKET or s3://BUCKET/PREFIX.')
    headers = config.get("CaptureContentTypeHeader", {})
    csv, json = (_types(headers, member) for member in ("CsvContentTypes", "JsonContentTypes"))
    if both := sorted({*csv} & {*json}):
        raise ValidationFailed(
            f'CaptureContentTypeHeader names "{both[0]}" in CsvContentTypes and in JsonContentTypes; a content type is '
            "one of the two."
        )


def rules_of(tags: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Those of the tags that are rules. Raises ValidationFailed for one that cannot be."""
    found = {tag["Key"]: tag["Value"] for tag in tags if tag["Key"].lower().startswith(rules.TAG)}
    try:
        rules.parse(found)
    except rules.BadRule as error:
        raise ValidationFailed(str(error)) from error
    return found


def is_enabled(config: Config) -> bool:
    """A config without the member is switched on. Source: the member's documentation in the service model."""
    return bool(config.get("EnableCapture", True))


def capture_of(fleet: Fleet) -> Capture | None:
    """What the routers take of the fleet's invocations."""
    config = fleet.capture
    if config is None or not is_enabled(config):
        return None
    bucket, prefix = _place(config["DestinationS3Uri"])
    headers = config.get("CaptureContentTypeHeader", {})
    modes = {each["CaptureMode"] for each in config["CaptureOptions"]}
    return Capture(
        percent=config["InitialSamplingPercentage"],
        bucket=bucket,
        prefix=prefix,
        input=bool(modes & {"Input", "InputAndOutput"}),
        output=bool(modes & {"Output", "InputAndOutput"}),
        kms_key=config.get("KmsKeyId", ""),
        csv_types=_types(headers, "CsvContentTypes"),
        json_types=_types(headers, "JsonContentTypes"),
        rules=rules.parse(fleet.capture_rules),
    )


def summary(config: Config, status: Status) -> dict[str, Any]:
    """DescribeEndpoint's DataCaptureConfig."""
    on = is_enabled(config)
    serves = status in (Status.IN_SERVICE, Status.UPDATING, Status.ROLLING_BACK, Status.UPDATE_ROLLBACK_FAILED)
    return {
        "EnableCapture": on,
        "CaptureStatus": "Started" if on and serves else "Stopped",
        "CurrentSamplingPercentage": config["InitialSamplingPercentage"],
        "DestinationS3Uri": config["DestinationS3Uri"],
        "KmsKeyId": config.get("KmsKeyId", ""),
    }


def _place(uri: str) -> tuple[str, str]:
    """(bucket, prefix); ("", "") for what is no address on S3."""
    if not uri.startswith("s3://"):
        return "", ""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    return bucket, prefix.strip("/")


def _types(headers: Mapping[str, Any], member: str) -> tuple[str, ...]:
    return tuple(mime_of(each) for each in headers.get(member, ()))
