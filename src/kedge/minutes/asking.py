"""Gives the sketches of an endpoint's minutes away: Kedge's own call, for whoever may read what was captured.

    GET /kedge/minutes?EndpointName=NAME&First=MINUTE&Last=MINUTE

MINUTE counts since 1970. The answer has {"Minutes": [{"Variant", "Minute", "Sketch"}], "Lost": [minutes that a kill
took], "Through": MINUTE, "Kept": bool}; a sketch is in base64 (kedge.monitoring.live.sketch). It holds whole minutes,
up to Through: for more, ask again from the one after it.
"""

from __future__ import annotations

import base64
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kedge.call import Call
from kedge.endpoints.capture import capture_of
from kedge.endpoints.descriptions import arn_of
from kedge.endpoints.records import KIND, Endpoint
from kedge.errors import ValidationFailed
from kedge.minutes import files

PATH = "/kedge/minutes"
MOST_BYTES = 8 << 20
MOST_MINUTES = 24 * 60
"""Looked at in one call."""


def give(call: Call, asked: Mapping[str, str], folder: Path, secret: bytes) -> dict[str, Any]:
    """Needs s3:GetObject for what is captured of the endpoint, which sketches are made of. Blocks.

    Raises ValidationFailed, AccessDenied.
    """
    name = asked.get("EndpointName", "")
    first, last = (_minute(asked, member) for member in ("First", "Last"))
    if last < first:
        raise ValidationFailed(f"Last is {last}, which is before First, {first}.")
    named = arn_of(call.scope.region, call.scope.account, name)
    resource = call.store.get(call.scope, KIND, name.lower())
    if resource is None:
        raise ValidationFailed(f'Could not find endpoint "{named}".')
    endpoint = Endpoint.of(resource.document)
    fleets = [fleet for fleet in (endpoint.live, endpoint.pending) if fleet is not None]
    captures = [found for found in map(capture_of, fleets) if found is not None]
    if not captures:
        raise ValidationFailed(f'Endpoint "{named}" captures nothing: its config has no DataCaptureConfig.')
    for each in captures:
        key = "/".join(part for part in (each.bucket, each.prefix, endpoint.name, "*") if part)
        call.require(call, "s3:GetObject", f"arn:aws:s3:::{key}", {})
    last = min(last, first + MOST_MINUTES - 1)
    held: dict[int, list[dict[str, Any]]] = {}
    lost: set[int] = set()
    for variant in files.variants(folder, secret, call.scope.account, call.scope.region, endpoint.name):
        found = files.read(folder, secret, variant, first, last)
        lost |= set(found.lost)
        for minute, data in found.sketches:
            sketch = base64.b64encode(data).decode()
            held.setdefault(minute, []).append({"Variant": variant.variant, "Minute": minute, "Sketch": sketch})
    minutes: list[dict[str, Any]] = []
    size = 0
    for minute in sorted(held):
        size += sum(len(each["Sketch"]) for each in held[minute])
        if size > MOST_BYTES and minutes:
            last = minute - 1
            break
        minutes += held[minute]
    kept = call.settings.capture_minutes_bytes > 0 and importlib.util.find_spec("polars") is not None
    return {"Minutes": minutes, "Lost": [each for each in sorted(lost) if each <= last], "Through": last, "Kept": kept}


def _minute(asked: Mapping[str, str], member: str) -> int:
    text = asked.get(member, "")
    if not text.isascii() or not text.isdecimal() or len(text) > 9:
        raise ValidationFailed(f'{member} is "{text[:100]}"; it has to be a number of minutes since 1970.')
    return int(text)
