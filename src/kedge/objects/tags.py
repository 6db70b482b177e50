"""Tags of objects and buckets. PURE. Source: "Categorizing your objects using tags" in the S3 user guide."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from kedge.objects.errors import BadRequest, InvalidArgument, InvalidTag, MalformedXML

MOST_OF_OBJECT = 10
MOST_OF_BUCKET = 50
_KEY_CHARS, _VALUE_CHARS = 128, 256
_ALLOWED = re.compile(r"[\w\s.:/=+@-]*")
"""Letters, digits and spaces of any language, and these signs."""


def of_header(text: str) -> dict[str, str]:
    """x-amz-tagging: a query string. Raises InvalidArgument, InvalidTag, BadRequest."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), errors="strict", max_num_fields=100)
    except ValueError:
        raise InvalidArgument(
            "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag "
            "name duplicates.",
            ArgumentName="x-amz-tagging",
            ArgumentValue=text[:256],
        ) from None
    if len(dict(pairs)) != len(pairs):
        raise InvalidArgument(
            "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag "
            "name duplicates.",
            ArgumentName="x-amz-tagging",
            ArgumentValue=text[:256],
        )
    return checked(pairs, MOST_OF_OBJECT)


def of_document(tagging: Mapping[str, Any], most: int) -> dict[str, str]:
    """A Tagging structure. Raises MalformedXML, InvalidTag, BadRequest."""
    pairs = [(tag.get("Key"), tag.get("Value")) for tag in tagging.get("TagSet") or []]
    if any(key is None or value is None for key, value in pairs):
        raise MalformedXML("Each Tag has a Key and a Value.")
    return checked([(str(key), str(value)) for key, value in pairs], most)


def checked(pairs: Iterable[tuple[str, str]], most: int) -> dict[str, str]:
    """Raises InvalidTag, BadRequest."""
    tags: dict[str, str] = {}
    for key, value in pairs:
        if not 1 <= len(key) <= _KEY_CHARS or not _ALLOWED.fullmatch(key):
            raise InvalidTag(
                f'The TagKey you have provided is invalid: "{key[:_KEY_CHARS]}"; it has 1 to {_KEY_CHARS} letters, '
                "digits, spaces and _ . : / = + - @",
                TagKey=key[:_KEY_CHARS],
            )
        if len(value) > _VALUE_CHARS or not _ALLOWED.fullmatch(value):
            raise InvalidTag(
                f'The TagValue you have provided is invalid: "{value[:_VALUE_CHARS]}"; it has up to {_VALUE_CHARS} '
                "letters, digits, spaces and _ . : / = + - @",
                TagKey=key,
                TagValue=value[:_VALUE_CHARS],
            )
        if key.lower().startswith("aws:"):
            raise InvalidTag("System tags cannot be added/updated by requester", TagKey=key)
        if key in tags:
            raise InvalidTag("Cannot provide multiple Tags with the same key", TagKey=key)
        tags[key] = value
    if len(tags) > most:
        raise BadRequest(f"{'Object' if most == MOST_OF_OBJECT else 'Bucket'} tags cannot be greater than {most}")
    return tags


def shown(tags: Mapping[str, str]) -> dict[str, Any]:
    """As a Tagging answer has them."""
    return {"TagSet": [{"Key": key, "Value": value} for key, value in tags.items()]}
