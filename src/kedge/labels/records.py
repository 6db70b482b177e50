"""Labels: what turned out to be right, told by the id of the inference that it belongs to. PURE.

What waits to be filed is in the store's queue of kind `QUEUE`, one queue for each endpoint: {"EndpointName": ...,
"Labels": [[inference id, data, encoding], ...]}. It is filed as SageMaker's monitors read ground truth: JSON Lines
below `s3://BUCKET/kedge/labels/ENDPOINT/yyyy/mm/dd/hh/`, the hour in which the label came.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from kedge.errors import ValidationFailed
from kedge.store.records import Entry, Scope

QUEUE = "label"
MOST_LABELS = 1000
"""In one call."""
LONGEST_ID = 64
"""Of an InferenceId, as InvokeEndpoint takes it."""
LONGEST_LABEL_BYTES = 64 * 1024
MOST_BYTES = 256 * 1024
"""Of one call: some thousand calls are in memory when they are filed."""

FORM = (
    '{"EndpointName": NAME, "InferenceId": ID, "Label": LABEL}, or with "Labels": [{"InferenceId": ..., "Label": ...}]'
)


class Label(NamedTuple):
    inference_id: str
    data: str
    encoding: str
    """CSV for a single value, JSON for an object or an array."""


def read(body: bytes) -> tuple[str, list[Label]]:
    """(endpoint, labels) of a request. Raises ValidationFailed."""
    if len(body) > MOST_BYTES:
        raise ValidationFailed(
            f"The body has {len(body):,} bytes; at most {MOST_BYTES:,} are taken: tell fewer labels."
        )
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict) or not isinstance(given.get("EndpointName"), str):
        raise ValidationFailed(f"The body has to be {FORM}.")
    if unknown := given.keys() - {"EndpointName", "InferenceId", "Label", "Labels"}:
        raise ValidationFailed(
            f"The body has {', '.join(sorted(unknown))}, which means nothing here; it has to be {FORM}."
        )
    many = given.get("Labels")
    if ("Labels" in given) == ("InferenceId" in given or "Label" in given):
        raise ValidationFailed(f"The body has to be {FORM}, one of both.")
    if many is None:
        return given["EndpointName"], [_label(given, "the body")]
    if not isinstance(many, list) or not 1 <= len(many) <= MOST_LABELS:
        found = f"{len(many)} of them" if isinstance(many, list) else json.dumps(many)[:100]
        raise ValidationFailed(f"Labels has to be an array of 1 to {MOST_LABELS} labels; it is {found}.")
    return given["EndpointName"], [_label(each, f"Labels[{place}]") for place, each in enumerate(many)]


def _label(given: Any, where: str) -> Label:
    if not isinstance(given, dict) or "InferenceId" not in given or given.get("Label") is None:
        raise ValidationFailed(f'{where} has to have "InferenceId" and "Label".')
    id_, value = given["InferenceId"], given["Label"]
    if not isinstance(id_, str) or not 1 <= len(id_) <= LONGEST_ID or not id_.isascii():
        raise ValidationFailed(
            f"InferenceId of {where} is {json.dumps(id_)[:100]}; it has to be 1 to {LONGEST_ID} ASCII characters."
        )
    nested = isinstance(value, dict | list)
    label = Label(id_, json.dumps(value) if nested else _cell(value), "JSON" if nested else "CSV")
    if len(label.data.encode(errors="replace")) > LONGEST_LABEL_BYTES:
        raise ValidationFailed(f"Label of {where} is longer than {LONGEST_LABEL_BYTES:,} bytes.")
    return label


def _cell(value: Any) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow([value if isinstance(value, str) else json.dumps(value)])
    return out.getvalue()


def queue_of(scope: Scope, endpoint: str) -> str:
    return f"{scope.account}/{scope.region}/{endpoint.lower()}"


def default_bucket(scope: Scope) -> str:
    """Where the SageMaker SDK puts things when it is told no bucket."""
    return f"sagemaker-{scope.region}-{scope.account}"


def prefix_of(scope: Scope, endpoint: str) -> str:
    """Of all labels of an endpoint: what a monitor takes as GroundTruthS3Input.S3Uri where none is given."""
    return f"s3://{default_bucket(scope)}/kedge/labels/{endpoint}"


class File(NamedTuple):
    key: str
    """Below the endpoint's prefix."""
    body: bytes
    entries: Sequence[Entry]


def file_of(entries: Sequence[Entry]) -> File:
    """Those of the first one's hour, in one file. What is filed again after a kill has the same name."""
    hour = _hour(entries[0].at)
    taken = [each for each in entries if _hour(each.at) == hour]
    first = entries[0]
    name = f"{first.at:%M-%S}-{first.at.microsecond // 1000:03d}-{first.payload}.jsonl"
    return File(f"{hour}/{name}", b"".join(_lines(taken)), taken)


def _hour(at: datetime) -> str:
    return f"{at:%Y/%m/%d/%H}"


def _lines(entries: Iterable[Entry]) -> Iterable[bytes]:
    for entry in entries:
        for id_, data, encoding in entry.body["Labels"]:
            record = {
                "groundTruthData": {"data": data, "encoding": encoding},
                "eventMetadata": {"eventId": id_},
                "eventVersion": "0",
            }
            yield json.dumps(record, ensure_ascii=False).encode(errors="replace") + b"\n"
