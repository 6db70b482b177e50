"""The policy of a form upload: may a form with these fields be posted? PURE.

Source: "POST policy" in the S3 API reference.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from kedge.errors import AccessDenied
from kedge.objects.errors import InvalidPolicyDocument

MOST_CONDITIONS = 200
_NEED_NO_CONDITION = frozenset(
    {"policy", "signature", "x-amz-signature", "awsaccesskeyid", "file", "bucket", "content-length-range"}
)


def check(text: str, fields: Mapping[str, str], now: datetime) -> tuple[int, int | None]:
    """(fewest, most) bytes that the file may have. text: as the form has it, in base64.

    fields: by lower-case name, with `bucket`. Raises InvalidPolicyDocument, AccessDenied.
    """
    policy = _parsed(text)
    if _expiration(policy) <= now:
        raise AccessDenied("Invalid according to Policy: Policy expired.")
    conditions = policy.get("conditions")
    if not isinstance(conditions, list) or len(conditions) > MOST_CONDITIONS:
        raise InvalidPolicyDocument("Invalid Policy: Policy missing conditions.")
    fewest, most = 0, None
    named: set[str] = set()
    for condition in conditions:
        if isinstance(condition, list) and condition[:1] and str(condition[0]).lower() == "content-length-range":
            fewest, most = _length_range(condition)
            continue
        for operator, name, value in _parts(condition):
            named.add(name)
            if not _holds(operator, fields.get(name, ""), value):
                raise AccessDenied(
                    "Invalid according to Policy: Policy Condition failed: "
                    f"{json.dumps([operator, '$' + name, value])[:512]}"
                )
    for name in fields:
        if name not in named | _NEED_NO_CONDITION and not name.startswith("x-ignore-"):
            raise AccessDenied(f"Invalid according to Policy: Extra input fields: {name[:128]}")
    return fewest, most


def _parsed(text: str) -> dict[str, Any]:
    try:
        found = json.loads(base64.b64decode("".join(text.split()), validate=True))
    except (ValueError, RecursionError):
        raise InvalidPolicyDocument("Invalid Policy: Invalid JSON.") from None
    if not isinstance(found, dict):
        raise InvalidPolicyDocument("Invalid Policy: Invalid JSON.")
    return found


def _expiration(policy: Mapping[str, Any]) -> datetime:
    text = policy.get("expiration")
    if not isinstance(text, str):
        raise InvalidPolicyDocument("Invalid Policy: Policy missing expiration.")
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidPolicyDocument(f"Invalid Policy: Invalid 'expiration' value: '{text[:64]}'") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _parts(condition: Any) -> list[tuple[str, str, str]]:
    """[(operator, field, value)]; a map may name several fields."""
    if isinstance(condition, dict) and condition:
        return [("eq", str(name).lower(), str(value)) for name, value in condition.items()]
    if isinstance(condition, list) and len(condition) == 3 and all(isinstance(each, str) for each in condition):
        operator, name, value = condition
        if operator.lower() in ("eq", "starts-with") and name.startswith("$"):
            return [(operator.lower(), name[1:].lower(), value)]
    raise InvalidPolicyDocument(f"Invalid Policy: Invalid condition: {json.dumps(condition)[:256]}")


def _length_range(condition: list[Any]) -> tuple[int, int]:
    bounds = [int(each) for each in condition[1:] if re.fullmatch(r"[0-9]{1,15}", str(each))]
    if len(condition) != 3 or len(bounds) != 2:
        raise InvalidPolicyDocument(f"Invalid Policy: Invalid content-length-range: {json.dumps(condition)[:256]}")
    return bounds[0], bounds[1]


def _holds(operator: str, value: str, wanted: str) -> bool:
    return value == wanted if operator == "eq" else value.startswith(wanted)
