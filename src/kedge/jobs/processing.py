"""DataProcessing: what of a record goes to the model, and what of record and answer into the output. PURE.

Records are lines of text/csv or application/jsonlines; one JSON document for each request is a record, too. The joined
record of CSV is the input's columns and then the answer's; of JSON it is the input's object with the answer under
"SageMakerOutput" (an input that is no object is under "SageMakerInput"). The output filter looks at what was joined.
"""

from __future__ import annotations

import csv
import io
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kedge.jobs import paths
from kedge.jobs.paths import NotFound, Path

INPUT, OUTPUT = "SageMakerInput", "SageMakerOutput"
INFERENCE_ID, INFERENCE_TIME = "SageMakerInferenceId", "SageMakerInferenceTime"
CSV, JSON_LINES, JSON = "text/csv", "application/jsonlines", "application/json"
KINDS = (CSV, JSON_LINES, JSON)
_WHOLE = "$"


class Unprocessed(ValueError):
    """A record or an answer cannot be filtered or joined."""


@dataclass(frozen=True)
class Processing:
    input: Path | None = None
    output: Path | None = None
    join: bool = False
    identify: bool = False
    """Every record of the output gets an id, and the time at which the job began."""

    @classmethod
    def of(cls, given: Mapping[str, Any], *, identify: bool = False) -> Processing | None:
        """given: DataProcessing. None where nothing is to be done. Raises BadPath."""
        inward, outward = (_filter(given.get(member, _WHOLE)) for member in ("InputFilter", "OutputFilter"))
        join = given.get("JoinSource", "None") == "Input"
        return cls(inward, outward, join, identify) if inward or outward or join or identify else None

    def to_model(self, records: Sequence[bytes], content_type: str) -> list[bytes]:
        """What the model is sent of each record. Raises Unprocessed."""
        if self.input is None:
            return list(records)
        kind = kind_of(content_type)
        return [_written(_picked(self.input, _read(record, kind)), kind) for record in records]

    def to_output(
        self, records: Sequence[bytes], content_type: str, answer: bytes, answer_type: str, began_at: str = ""
    ) -> list[bytes]:
        """Lines of the output. records: as they were before the input filter. began_at: the job's start, as text.

        Raises Unprocessed.
        """
        if self.output is None and not self.join and not self.identify:
            return [answer]
        kind = kind_of(answer_type)
        answers = [answer] if kind == JSON and len(records) == 1 else _lines(answer)
        if self.join:
            if len(answers) != len(records):
                raise Unprocessed(
                    f"{len(records)} records were sent and {len(answers)} came back, so they cannot be joined"
                )
            of_input = kind_of(content_type)
            if (of_input == CSV) != (kind == CSV):
                raise Unprocessed(f"{content_type} cannot be joined with {answer_type}")
            found = [
                _joined(_read(record, of_input), _read(each, kind), kind)
                for record, each in zip(records, answers, strict=True)
            ]
        else:
            found = [_read(each, kind) for each in answers]
        if self.output is not None:
            found = [_picked(self.output, each) for each in found]
        if self.identify:
            found = [_identified(each, kind, began_at) for each in found]
        return [_written(each, kind) for each in found]


def kind_of(content_type: str) -> str:
    """Raises Unprocessed for one that is not known here."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in KINDS:
        raise Unprocessed(f'records of the content type "{content_type}" cannot be filtered or joined')
    return kind


def _filter(text: str) -> Path | None:
    path = paths.parse(text)
    return path if path.steps else None


def _identified(value: Any, kind: str, began_at: str) -> Any:
    """Source: "Capture data from batch transform job" in the SageMaker developer guide."""
    name = str(uuid.uuid4())
    if kind == CSV:
        return [*(value if isinstance(value, list) else [value]), name, began_at]
    return {**(value if isinstance(value, dict) else {OUTPUT: value}), INFERENCE_ID: name, INFERENCE_TIME: began_at}


def _lines(body: bytes) -> list[bytes]:
    return [line for line in body.split(b"\n") if line.strip()]


def _picked(path: Path, value: Any) -> Any:
    try:
        return path.of(value)
    except NotFound as error:
        raise Unprocessed(str(error)) from None


def _read(record: bytes, kind: str) -> Any:
    try:
        text = record.decode()
        if kind != CSV:
            return json.loads(text)
        rows = list(csv.reader([text.rstrip("\r\n")]))
    except (ValueError, RecursionError, csv.Error) as error:
        raise Unprocessed(f"it is no {kind}: {error}") from None
    return rows[0] if rows else []


def _written(value: Any, kind: str) -> bytes:
    """With a line's end."""
    if kind != CSV:
        return json.dumps(value, ensure_ascii=False).encode() + b"\n"
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(value if isinstance(value, list) else [value])
    return out.getvalue().encode()


def _joined(record: Any, answer: Any, kind: str) -> Any:
    if kind == CSV:
        return [*record, *answer]
    return {**record, OUTPUT: answer} if isinstance(record, dict) else {INPUT: record, OUTPUT: answer}
