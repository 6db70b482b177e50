"""SageMaker's captured record, and where its file goes. PURE.

Source: "Interpret captured data" in the SageMaker developer guide, and files that the service wrote.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from functools import lru_cache

import orjson

from kedge.serving.capture import rules
from kedge.serving.capture.records import Capture, Taken

CSV, JSON, BASE64 = "CSV", "JSON", "BASE64"
_CSV_TYPES = ("text/csv",)
_JSON_TYPES = ("application/json", "application/jsonlines", "application/x-jsonlines")


@lru_cache(1024)
def mime_of(content_type: str) -> str:
    """Without its parameters: those count for nothing when it is compared."""
    return content_type.partition(";")[0].strip().lower()


def encoding_of(content_type: str, capture: Capture) -> str:
    mime = mime_of(content_type)
    if mime in capture.csv_types:
        return CSV
    return JSON if mime in capture.json_types else BASE64


def line(taken: Taken, capture: Capture, key: bytes) -> tuple[bytes, bool]:
    """One line of the file, and whether a body was withheld because a rule could not be applied to it.

    key: of the hashes that rules ask for.
    """
    data: dict[str, object] = {}
    withheld = False
    for wanted, name, side, content_type, body in (
        (capture.input, "endpointInput", rules.INPUT, taken.input_type, taken.input),
        (capture.output, "endpointOutput", rules.OUTPUT, taken.output_type, taken.output),
    ):
        if wanted:
            text, encoding = _written(content_type, body, side, capture, key)
            withheld = withheld or text is None
            data[name] = {
                "observedContentType": content_type,
                "mode": side.upper(),
                "data": text or "",
                "encoding": encoding,
            }
    event: dict[str, object] = {"eventId": taken.event_id}
    if taken.inference_id:
        event["inferenceId"] = taken.inference_id
    if taken.attributes:
        event["customAttributes"] = [taken.attributes]
    event["inferenceTime"] = _seconds_text(int(taken.at_s))
    record = {"captureData": data, "eventMetadata": event, "eventVersion": "0"}
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE), withheld


@lru_cache(16)
def _seconds_text(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _written(content_type: str, body: bytes, side: str, capture: Capture, key: bytes) -> tuple[str | None, str]:
    """(data, encoding). None: it may not be shown."""
    encoding = encoding_of(content_type, capture)
    text: str | None
    try:
        text = body.decode()
    except UnicodeDecodeError:
        text, encoding = None, BASE64
    if any(rule.side in ("", side) for rule in capture.rules):
        form = "" if text is None else _form(content_type, encoding)
        hidden = rules.applied(capture.rules, side, form, text or "", key)
        if hidden is None:
            return None, encoding
        text, body = hidden, hidden.encode()
    if encoding == BASE64 or text is None:
        return base64.b64encode(body).decode(), BASE64
    return text, encoding


def _form(content_type: str, encoding: str) -> str:
    """How the rules read a body: as it is written, or, where that is base64, as it says of itself."""
    mime = mime_of(content_type)
    if encoding == CSV or (encoding == BASE64 and mime in _CSV_TYPES):
        return rules.CSV
    if encoding == JSON or mime in _JSON_TYPES or mime.endswith("+json"):
        return rules.JSON
    return ""


def hour_of(at_s: float) -> int:
    """Hours since 1970: one file holds records of one hour, UTC."""
    return int(at_s // 3600)


def object_key(prefix: str, endpoint: str, variant: str, first_at_s: float, unique: str) -> str:
    """first_at_s: of the file's first record. unique: a UUID."""
    at = datetime.fromtimestamp(first_at_s, UTC)
    name = f"{at:%M-%S}-{at.microsecond // 1000:03d}-{unique}.jsonl"
    return "/".join([*([prefix] if prefix else []), endpoint, variant, f"{at:%Y/%m/%d/%H}", name])
