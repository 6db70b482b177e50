"""The requests of a trial: read from JSON Lines or capture files, or made from one by small changes. PURE."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from random import Random
from typing import Any, NamedTuple

from kedge.serving.capture.record import mime_of

SPREAD = 0.05
"""Standard deviation of a changed number, as a part of it."""


class Request(NamedTuple):
    content_type: str
    body: bytes


def of_line(line: bytes, content_type: str) -> Request | None:
    """A line is a body, or a record of data capture, whose input counts; None where nothing can be sent.

    content_type: of bodies; "" takes JSON for what begins as an array or an object, else CSV.
    """
    line = line.strip()
    if not line:
        return None
    if line[:1] == b"{":
        try:
            found = json.loads(line)
        except ValueError:
            found = {}
        if isinstance(found, dict) and isinstance(data := found.get("captureData"), dict):
            return _of_capture(data.get("endpointInput"))
    if not content_type:
        content_type = "application/json" if line[:1] in (b"{", b"[") else "text/csv"
    return Request(content_type, line)


def _of_capture(given: Any) -> Request | None:
    """given: an endpointInput. A record whose input was withheld has no data."""
    if not isinstance(given, dict) or not given.get("data"):
        return None
    try:
        body = base64.b64decode(given["data"]) if given.get("encoding") == "BASE64" else str(given["data"]).encode()
    except (ValueError, TypeError):
        return None
    return Request(str(given.get("observedContentType") or "application/octet-stream"), body)


def varied(request: Request, random: Random) -> Iterator[Request]:
    """The request, then others like it with other numbers, for ever. Raises ValueError for a form without any."""
    mime = mime_of(request.content_type)
    yield request
    while True:
        if mime == "text/csv":
            lines = request.body.decode().splitlines()
            body = "\n".join(",".join(_changed_text(cell, random) for cell in each.split(",")) for each in lines)
        elif mime == "application/json":
            body = json.dumps(_changed(json.loads(request.body), random))
        else:
            raise ValueError(f"no numbers of {mime} can be changed; CSV and JSON can be")
        yield Request(request.content_type, body.encode())


def _changed_text(cell: str, random: Random) -> str:
    for kind in (int, float):
        try:
            return str(_changed(kind(cell), random))
        except ValueError:
            continue
    return cell


def _changed(value: Any, random: Random) -> Any:
    """Whole numbers stay whole; 0 and 1, which may mean yes and no, stay as they are."""
    if isinstance(value, dict):
        return {name: _changed(each, random) for name, each in value.items()}
    if isinstance(value, list):
        return [_changed(each, random) for each in value]
    if isinstance(value, bool) or not isinstance(value, int | float) or value in (0, 1):
        return value
    other = value * random.gauss(1.0, SPREAD)
    return round(other) if isinstance(value, int) else other
