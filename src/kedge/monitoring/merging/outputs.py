"""Outputs of batch transforms as captured records: a line each, with the id and the time that its job put there. PURE.

Source: GenerateInferenceId of a transform job's DataCaptureConfig: of CSV the last two columns, of JSON two members.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

SIDE = "batchTransformOutput"
ID, TIME, ANSWER = "SageMakerInferenceId", "SageMakerInferenceTime", "SageMakerOutput"
"""The last one holds an answer that is no object."""
WITHOUT_ID = (
    "a line of an output has no inference id: the transform's DataCaptureConfig has to have GenerateInferenceId"
)


def records(lines: Iterable[bytes], *, of_csv: bool, header: bool = False) -> Iterator[dict[str, Any] | None]:
    """None for a line that has no id."""
    return _of_csv(lines, header=header) if of_csv else map(_of_json, filter(bytes.strip, lines))


def _of_csv(lines: Iterable[bytes], *, header: bool) -> Iterator[dict[str, Any] | None]:
    for number, line in enumerate(lines):
        if not line.strip() or (header and not number):
            continue
        try:
            text = line.decode().rstrip("\r\n")
            fields = next(csv.reader([text], strict=True))
        except (UnicodeDecodeError, csv.Error, StopIteration):
            yield None
            continue
        if len(fields) < 3 or not fields[-2] or not _is_time(fields[-1]):
            yield None
            continue
        # The text as it was: neither of the two last fields is ever quoted.
        values = text.rsplit(",", 2)[0]
        yield _record(fields[-2], fields[-1], values, "CSV", "text/csv")


def _of_json(line: bytes) -> dict[str, Any] | None:
    try:
        held = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(held, dict):
        return None
    name, at = held.pop(ID, None), held.pop(TIME, None)
    if not isinstance(name, str) or not name or not isinstance(at, str) or not _is_time(at):
        return None
    answer = held[ANSWER] if held.keys() == {ANSWER} else held
    return _record(name, at, orjson.dumps(answer).decode(), "JSON", "application/json")


def _record(name: str, at: str, data: str, encoding: str, kind: str) -> dict[str, Any]:
    side = {"observedContentType": kind, "mode": "OUTPUT", "data": data, "encoding": encoding}
    return {
        "captureData": {SIDE: side},
        "eventMetadata": {"eventId": name, "inferenceId": name, "inferenceTime": at},
        "eventVersion": "0",
    }


def _is_time(text: str) -> bool:
    return len(text) >= len("2026-01-01T00:00:00Z") and text[4:5] == "-" and text[10:11] == "T"
