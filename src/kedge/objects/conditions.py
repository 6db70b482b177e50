"""Conditional requests and byte ranges. PURE. Source: RFC 9110 parts 13 and 14, and the S3 API reference."""

from __future__ import annotations

import re
from datetime import datetime

from kedge.objects.errors import InvalidRange, NotModified, PreconditionFailed


def check_read(
    etag: str,
    modified: datetime,
    *,
    if_match: str | None = None,
    if_none_match: str | None = None,
    if_modified_since: datetime | None = None,
    if_unmodified_since: datetime | None = None,
) -> None:
    """Raises PreconditionFailed (412) or NotModified (304) where the body is not to be sent.

    An ETag goes before a time: If-Match that holds makes If-Unmodified-Since void, as does If-None-Match that holds
    with If-Modified-Since. HTTP's times have whole seconds.
    """
    modified = modified.replace(microsecond=0)
    if if_match is not None:
        if not _names(if_match, etag):
            raise PreconditionFailed("If-Match")
    elif if_unmodified_since is not None and modified > if_unmodified_since:
        raise PreconditionFailed("If-Unmodified-Since")
    if if_none_match is not None:
        if _names(if_none_match, etag):
            raise NotModified("The object has the ETag of If-None-Match.", etag, modified)
    elif if_modified_since is not None and modified <= if_modified_since:
        raise NotModified("The object has not changed since If-Modified-Since.", etag, modified)


def matches(etag: str, header: str) -> bool:
    """Whether an If-Match or If-None-Match header names the ETag."""
    return _names(header, etag)


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """(first byte, number of bytes) of a Range header; None: the whole body.

    What is not one range of bytes is ignored, as RFC 9110 says. Raises InvalidRange when no byte lies in it.
    """
    found = re.fullmatch(r"bytes=\s*([0-9]*)\s*-\s*([0-9]*)\s*", header or "")
    if found is None or found[1] == found[2] == "":
        return None
    first, last = (_number(text) for text in found.groups())
    if first is None:
        start, end = max(0, size - (last or 0)), size
    else:
        start, end = first, size if last is None else min(size, last + 1)
        if last is not None and last < start:
            return None
    if start >= end:
        raise InvalidRange(
            f"The requested range {(header or '')[:256]} cannot be satisfied: the object has {size} bytes.",
            RangeRequested=(header or "")[:256],
            ActualObjectSize=size,
        )
    return start, end - start


def _number(text: str) -> int | None:
    """None for no digit. A number of more digits than any object's size has is as good as the largest of these."""
    digits = text.lstrip("0")
    return None if text == "" else int(digits[:20] if len(digits) > 20 else digits or "0")


def _names(header: str, etag: str) -> bool:
    for each in header.split(","):
        wanted = each.strip().removeprefix("W/").strip('"')
        if wanted in ("*", etag):
            return True
    return False
