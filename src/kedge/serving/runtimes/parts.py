"""Answers that a model gives part by part, as an iterator of bytes or text."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any, TypeGuard

from kedge.serving.runtimes.base import ModelFailure


def is_stream(value: object) -> TypeGuard[Iterator[Any]]:
    """A generator or another iterator; a list, a text or an array is a value."""
    return isinstance(value, Iterator)


def begun(source: Iterator[Any]) -> Generator[bytes]:
    """Its parts, without empty ones, once the first of them is there. Closing them closes the source.

    Raises what the source raises until then, and ModelFailure for a part that is neither bytes nor text.
    """
    found = _parts(source)
    try:
        first = next(found, b"")
    except BaseException:
        found.close()
        raise
    return _with(first, found)


def _parts(source: Iterator[Any]) -> Generator[bytes]:
    try:
        for part in source:
            if data := _as_bytes(part):
                yield data
    finally:
        close = getattr(source, "close", None)
        if callable(close):
            close()


def _with(first: bytes, rest: Generator[bytes]) -> Generator[bytes]:
    try:
        if first:
            yield first
        yield from rest
    finally:
        rest.close()


def _as_bytes(part: object) -> bytes:
    if isinstance(part, bytes):
        return part
    if isinstance(part, str):
        return part.encode()
    if isinstance(part, bytearray | memoryview):
        return bytes(part)
    raise ModelFailure(f"The script streams a {type(part).__name__}; each part has to be bytes or str.")
