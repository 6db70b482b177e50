"""What a transform job may ask for, what it sends at once, and where the output of an input goes. PURE."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kedge.compute.batch_hints import CONCURRENCY, PAYLOAD_MB, STRATEGY, Hints
from kedge.errors import ValidationFailed
from kedge.jobs import processing
from kedge.jobs.paths import BadPath
from kedge.jobs.processing import Processing, Unprocessed, kind_of
from kedge.objects import address

SHOWN = (
    "TransformJobName",
    "ModelName",
    "MaxConcurrentTransforms",
    "ModelClientConfig",
    "MaxPayloadInMB",
    "BatchStrategy",
    "Environment",
    "TransformInput",
    "TransformOutput",
    "TransformResources",
    "DataProcessing",
    "DataCaptureConfig",
    "ExperimentConfig",
)
READ = ("ManifestFile", "S3Prefix")
"""The values of S3DataType that SageMaker takes here. Source: TransformS3DataSource in its API reference."""
DEFAULT_PAYLOAD_MB, MOST_PAYLOAD_MB = 6, 100
DEFAULT_TIMEOUT_S, DEFAULT_RETRIES = 600, 3
SUFFIX = ".out"
_MIB = 1024 * 1024


class BadInput(ValueError):
    """The job's input is not what it should be."""


@dataclass(frozen=True)
class Plan:
    """How the job asks the model, with defaults filled in."""

    content_type: str
    accept: str
    split: str
    single: bool
    payload_bytes: int
    """Largest body of a request; 0 is without a limit."""
    concurrency: int
    """Requests at once on one instance."""
    timeout_s: float
    retries: int
    gzip: bool
    lines: bool
    """Whether every record of the output ends its line."""
    processing: Processing | None
    kms_key: str


@dataclass(frozen=True)
class Input:
    """One object, and where its output goes."""

    uri: str
    output: str


def checked(request: Mapping[str, Any]) -> dict[str, Any]:
    """The members that are kept. Raises ValidationFailed."""
    given = request["TransformInput"]
    source, split = given["DataSource"]["S3DataSource"], given.get("SplitType", "None")
    if source["S3DataType"] not in READ:
        raise ValidationFailed(
            f"S3DataType is {source['S3DataType']}, which is not compatible with transform jobs; it has to be "
            f"{' or '.join(READ)}."
        )
    if request["TransformResources"].get("VolumeKmsKeyId"):
        raise ValidationFailed("TransformResources.VolumeKmsKeyId is given, which this release of Kedge cannot do.")
    addresses = [("S3Uri", source["S3Uri"]), ("S3OutputPath", request["TransformOutput"]["S3OutputPath"])]
    if captured := request.get("DataCaptureConfig"):
        addresses.append(("DestinationS3Uri", captured["DestinationS3Uri"]))
    _check_addresses(addresses)
    if request.get("BatchStrategy") == "SingleRecord" and split == "None":
        raise ValidationFailed(
            "BatchStrategy is SingleRecord and SplitType is None; SplitType has to be Line, RecordIO or TFRecord."
        )
    payload_mb, concurrency = (
        request.get("MaxPayloadInMB", DEFAULT_PAYLOAD_MB),
        request.get("MaxConcurrentTransforms", 0),
    )
    if max(1, payload_mb) * max(1, concurrency) > MOST_PAYLOAD_MB:
        raise ValidationFailed(
            f"MaxPayloadInMB is {payload_mb} and MaxConcurrentTransforms is {concurrency}; their product is at most "
            f"{MOST_PAYLOAD_MB}."
        )
    _check_processing(request, split)
    return {member: request[member] for member in SHOWN if member in request}


def _check_addresses(given: Sequence[tuple[str, str]]) -> None:
    """given: (member, address)."""
    for member, uri in given:
        try:
            address.parse(uri)
        except ValueError as error:
            raise ValidationFailed(f'{member} is "{uri}"; {error}.') from None


def _check_processing(request: Mapping[str, Any], split: str) -> None:
    given = request.get("DataProcessing", {})
    for member in ("InputFilter", "OutputFilter"):
        try:
            Processing.of({member: given[member]} if member in given else {})
        except BadPath as error:
            raise ValidationFailed(f'DataProcessing.{member} is "{given[member]}"; {error}.') from None
    found = Processing.of(given)
    if found is None:
        return
    content_type = request["TransformInput"].get("ContentType", "")
    assemble = request["TransformOutput"].get("AssembleWith", "None")
    try:
        kind = kind_of(content_type)
    except Unprocessed as error:
        raise ValidationFailed(f"DataProcessing is given, but {error}; TransformInput.ContentType has to be one of "
                               f"{', '.join(processing.KINDS)}.") from None  # fmt: skip
    if kind != processing.JSON and split != "Line":
        raise ValidationFailed(f"DataProcessing of {kind} needs SplitType Line; it is {split}.")
    if kind != processing.JSON and found.join and assemble != "Line":
        raise ValidationFailed(f"JoinSource Input needs AssembleWith Line; it is {assemble}.")
    if kind == processing.JSON and split == "Line" and request.get("BatchStrategy") != "SingleRecord":
        raise ValidationFailed(
            f"DataProcessing of {processing.JSON} needs BatchStrategy SingleRecord where SplitType is Line; with "
            f"{processing.JSON_LINES} several records may share a request."
        )


def hinted(request: Mapping[str, Any], hints: Hints) -> dict[str, Any]:
    """The request, with what it leaves open as the container says. What would not be allowed together is left out."""
    open_ = [name for name in hints if not request.get(name) and not (name == PAYLOAD_MB and name in request)]
    found = {**request, **{name: hints[name] for name in open_}}
    split = request["TransformInput"].get("SplitType", "None")
    if STRATEGY in open_ and (split == "None" or "DataProcessing" in request):
        found.pop(STRATEGY)  # it was checked without
    if max(1, found.get(PAYLOAD_MB, DEFAULT_PAYLOAD_MB)) * max(1, found.get(CONCURRENCY, 1)) > MOST_PAYLOAD_MB:
        return dict(request)
    return found


def plan_of(request: Mapping[str, Any]) -> Plan:
    """request: what `checked` has kept, or `hinted` made of it."""
    given, output, client = request["TransformInput"], request["TransformOutput"], request.get("ModelClientConfig", {})
    split = given.get("SplitType", "None")
    return Plan(
        content_type=given.get("ContentType", ""),
        accept=output.get("Accept", ""),
        split=split,
        single=request.get("BatchStrategy") == "SingleRecord" or split == "None",
        payload_bytes=request.get("MaxPayloadInMB", DEFAULT_PAYLOAD_MB) * _MIB,
        concurrency=request.get("MaxConcurrentTransforms", 0) or 1,
        timeout_s=float(client.get("InvocationsTimeoutInSeconds", DEFAULT_TIMEOUT_S)),
        retries=client.get("InvocationsMaxRetries", DEFAULT_RETRIES),
        gzip=given.get("CompressionType") == "Gzip",
        lines=output.get("AssembleWith") == "Line",
        processing=Processing.of(
            request.get("DataProcessing", {}),
            identify=bool(request.get("DataCaptureConfig", {}).get("GenerateInferenceId")),
        ),
        kms_key=output.get("KmsKeyId", ""),
    )


def environment_of(request: Mapping[str, Any]) -> dict[str, str]:
    """What a container sees besides the model's own variables."""
    strategy = "SINGLE_RECORD" if request.get("BatchStrategy") == "SingleRecord" else "MULTI_RECORD"
    return {
        **request.get("Environment", {}),
        "SAGEMAKER_BATCH": "true",
        "SAGEMAKER_MAX_PAYLOAD_IN_MB": str(request.get("MaxPayloadInMB", DEFAULT_PAYLOAD_MB)),
        "SAGEMAKER_BATCH_STRATEGY": strategy,
        "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS": str(request.get("MaxConcurrentTransforms", 0) or 1),
    }


def captured(
    request: Mapping[str, Any], inputs: Sequence[Input], name: str, started_at: datetime
) -> list[tuple[str, bytes]]:
    """What data capture writes: (address, manifest) of the inputs and of the outputs.

    Source of the layout: "Capture data from batch transform job" in the SageMaker developer guide.
    """
    config = request.get("DataCaptureConfig")
    if config is None:
        return []
    hour = started_at.astimezone(UTC).strftime("%Y/%m/%d/%H")
    found = []
    for side, uris in (("input", [each.uri for each in inputs]), ("output", [each.output for each in inputs])):
        bucket = address.parse(uris[0])[0]
        manifest = [{"prefix": f"s3://{bucket}/"}, *(address.parse(uri)[1] for uri in uris)]
        where = address.below(config["DestinationS3Uri"], side, hour, f"{name}.json")
        found.append((where, json.dumps(manifest).encode()))
    return found


def inputs_of_prefix(uri: str, keys: Sequence[str], output: str) -> list[Input]:
    """keys: of the objects that begin so; what shows a folder is none. Raises BadInput when there is none."""
    bucket, prefix = address.parse(uri)
    found = [key for key in keys if key and not key.endswith("/")]
    if not found:
        raise BadInput(f'No S3 objects found under S3 URL "{uri}" given in input data source.')
    return [Input(f"s3://{bucket}/{key}", address.below(output, _below(prefix, key)) + SUFFIX) for key in found]


def inputs_of_manifest(text: bytes, uri: str, output: str) -> list[Input]:
    """[{"prefix": "s3://bucket/some/"}, "key", ...]. Raises BadInput."""
    try:
        head, *names = json.loads(text)
        prefix = head["prefix"]
        bucket, start = address.parse(prefix)
        if not names or not all(isinstance(name, str) and name for name in names):
            raise ValueError("it has to name objects")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise BadInput(
            f"The manifest {uri} cannot be used ({error}); it has to be "
            '[{"prefix": "s3://BUCKET/PREFIX"}, "KEY", ...].'
        ) from None
    return [Input(f"s3://{bucket}/{start}{name}", address.below(output, name) + SUFFIX) for name in names]


def _below(prefix: str, key: str) -> str:
    """The key without the folder that the prefix names."""
    if key == prefix:
        return key.rpartition("/")[2]
    folder = prefix if prefix.endswith("/") or not prefix else f"{prefix}/"
    if key.startswith(folder):
        return key[len(folder) :]
    return key[len(prefix.rpartition("/")[0]) :].lstrip("/")
