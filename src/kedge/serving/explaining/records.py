"""Requests and answers of a model as records, and rows of features as requests. PURE.

A record of CSV is a line, whose fields are numbers where they can be; a field may be a list in JSON. A record of JSON
Lines is a line.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from jmespath.exceptions import JMESPathError

from kedge.serving.explaining.config import CSV, FEATURES, LINES, Explainer, compiled
from kedge.serving.runtimes.base import BadInput, InvocationError, ModelFailure, UnsupportedContentType

_SOME_RECORDS = 500
"""Of a request to the model, where the configuration does not say how many. Other requests come in between."""


def kind_of(content_type: str, what: str) -> str:
    """CSV or LINES. Raises UnsupportedContentType."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in (CSV, LINES):
        raise UnsupportedContentType(
            f"{what} is {content_type!r}; an endpoint with an explainer takes {CSV} and {LINES}."
        )
    return kind


def features_of(body: bytes, kind: str, explainer: Explainer) -> list[list[Any]]:
    """The features of each record of a request. Raises BadInput."""
    try:
        found = _records(body, kind)
        if kind == LINES and explainer.features_attribute:
            found = [_search(explainer.features_attribute, "FeaturesAttribute", each) for each in found]
    except ValueError as error:
        raise BadInput(f"The request cannot be read as {kind}: {error}") from None
    if not found:
        raise BadInput("The request has no record.")
    if not all(isinstance(each, list) and each for each in found):
        raise BadInput(
            "A record of the request has no list of features; InferenceConfig.FeaturesAttribute says where it is."
        )
    widths = {len(each) for each in found}
    if len(widths) > 1:
        raise BadInput(f"The records have different numbers of features: {', '.join(map(str, sorted(widths)))}.")
    return found


def answers_of(body: bytes, content_type: str, records: int) -> list[Any]:
    """The records of a model's answer. Raises ModelFailure where there are not so many."""
    kind = content_type.partition(";")[0].strip().lower()
    try:
        if kind == "application/json" and records == 1:
            found = [json.loads(body)]
        else:
            found = _records(body, CSV if kind == CSV else LINES)
    except ValueError as error:
        raise ModelFailure(f"The model's answer ({content_type}) cannot be read: {error}") from None
    if len(found) != records:
        raise ModelFailure(f"The model was asked for {records} records and answered {len(found)}.")
    return found


def is_enabled(expression: str, answer: Any) -> bool:
    """Whether a record with this answer is explained. Raises BadInput."""
    found = _search(expression, "EnableExplanations", answer)
    if not isinstance(found, bool):
        raise BadInput(
            f"EnableExplanations is {expression!r}, which gives {json.dumps(found)[:80]} for the model's answer "
            f"{json.dumps(answer)[:80]}; it has to give true or false."
        )
    return found


def scores_of(answer: Any, explainer: Explainer) -> list[float]:
    """What is explained: a number for each class. Raises ModelFailure."""
    where = ""
    if isinstance(answer, list) and explainer.probability_index is not None:
        where = f" at ProbabilityIndex {explainer.probability_index}"
        found = answer[explainer.probability_index] if explainer.probability_index < len(answer) else None
    elif explainer.probability_attribute:
        where = f" at ProbabilityAttribute {explainer.probability_attribute!r}"
        found = _search(explainer.probability_attribute, "ProbabilityAttribute", answer)
    else:
        found = answer
    given = found if isinstance(found, list) else [found]
    scores = [float(each) for each in given if isinstance(each, int | float) and not isinstance(each, bool)]
    if not scores or len(scores) < len(given):
        raise ModelFailure(
            f"The model's answer {json.dumps(answer)[:80]} has no numbers{where}; InferenceConfig says where they are."
        )
    return scores


def labels_of(answer: Any, explainer: Explainer) -> list[str]:
    """Headers of the classes: as configured, else as the model gives them; none where it does not."""
    if explainer.label_headers:
        return list(explainer.label_headers)
    found = None
    if isinstance(answer, list) and explainer.label_index is not None and explainer.label_index < len(answer):
        found = answer[explainer.label_index]
    elif explainer.label_attribute:
        found = _search(explainer.label_attribute, "LabelAttribute", answer)
    return [str(each) for each in found] if isinstance(found, list) else []


def bodies(rows: Sequence[Sequence[Any]], kind: str, explainer: Explainer) -> Iterator[tuple[bytes, int]]:
    """(body, records) of the requests in which the model is asked about rows of features. Raises BadInput."""
    most = explainer.most_records or _SOME_RECORDS
    lines: list[bytes] = []
    size = 0
    for row in rows:
        line = _line(row, kind, explainer)
        if lines and (len(lines) >= most or size + len(line) > explainer.most_bytes):
            yield b"".join(lines), len(lines)
            lines, size = [], 0
        lines.append(line)
        size += len(line)
    if lines:
        yield b"".join(lines), len(lines)


def _line(row: Sequence[Any], kind: str, explainer: Explainer) -> bytes:
    if kind == CSV:
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerow([_plain(each) for each in row])
        return out.getvalue().encode()
    text = json.dumps([_plain(each) for each in row])
    if explainer.content_template:
        return explainer.content_template.replace(FEATURES, text).encode() + b"\n"
    if explainer.features_attribute:
        raise BadInput("InferenceConfig has a FeaturesAttribute and no ContentTemplate, by which records are written.")
    return text.encode() + b"\n"


def _plain(value: Any) -> Any:
    """A whole number as the client wrote it, without a fraction."""
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    return value


def _records(body: bytes, kind: str) -> list[Any]:
    """Raises ValueError."""
    text = body.decode()
    if kind == LINES:
        return [json.loads(line) for line in text.split("\n") if line.strip()]
    try:
        return [[_field(each) for each in row] for row in csv.reader(io.StringIO(text)) if row]
    except csv.Error as error:
        raise ValueError(str(error)) from None


def _field(text: str) -> Any:
    """Digits after a leading zero are a code, not a number."""
    digits = text.lstrip("+-")
    try:
        if not digits.isdigit():
            return float(text)
        if digits == "0" or digits[0] != "0":
            return int(text)
    except ValueError:
        pass
    if text.startswith("["):
        try:
            return json.loads(text.replace("'", '"'))
        except ValueError:
            return text
    return text


def _search(expression: str, member: str, record: Any) -> Any:
    """Raises BadInput where the expression cannot be used on it."""
    try:
        return compiled(member, expression).search(record)
    except (JMESPathError, ValueError, TypeError, RecursionError) as error:
        said = " ".join(str(error).split())
        failure: InvocationError = BadInput(f"{member} is {expression!r}: {said}")
        raise failure from None
