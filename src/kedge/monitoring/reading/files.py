"""The files of a folder, and the manifests among them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from kedge.monitoring.reading.pieces import Unreadable

_LARGEST_MANIFEST_BYTES = 16 << 20
_SKIPPED = ("_SUCCESS", "_temporary")

Fetch = Callable[[str], Path]
"""Brings an s3:// URI to a file here; the file may go once the next one is asked for."""


def files(source: Path) -> list[Path]:
    """Of a folder and all below it, by name; what begins with a dot, and the marks that Spark leaves, are no data."""
    if source.is_file():
        return [source]
    found = (path for path in sorted(source.rglob("*")) if path.is_file())
    return [path for path in found if not path.name.startswith(".") and path.name not in _SKIPPED]


def resolved(paths: list[Path], fetch: Fetch) -> Iterator[Path]:
    """The data itself: for a manifest, as capture of batch transforms writes it, the files that it names.

    They are looked for beside the manifest, by their key below the prefix, and are fetched otherwise.
    """
    for path in paths:
        named = manifest(path)
        if named is None:
            yield path
            continue
        prefix, keys = named
        for key in keys:
            beside = path.parent / key
            yield beside if beside.is_file() else fetch(prefix + key)


def manifest(path: Path) -> tuple[str, list[str]] | None:
    """(prefix, keys), if the file is one: a JSON array of an object with a prefix and of keys."""
    with path.open("rb") as file:
        head = file.read(256).lstrip()
        if not head.startswith(b"[") or b'"prefix"' not in head:
            return None
        if path.stat().st_size > _LARGEST_MANIFEST_BYTES:
            return None
        file.seek(0)
        try:
            held: Any = json.loads(file.read())
        except ValueError:
            return None
    if not isinstance(held, list) or not held or not isinstance(held[0], dict) or set(held[0]) != {"prefix"}:
        return None
    keys = held[1:]
    if not all(isinstance(key, str) for key in keys):
        raise Unreadable(f"The manifest {path.name} names a key that is no text.")
    return str(held[0]["prefix"]), keys


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """As bytes; gzip is unpacked. Raises Unreadable for what cannot be opened."""
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if zipped else path.open("rb") as stream:
            yield stream  # type: ignore[misc]
    except (OSError, EOFError) as error:
        raise Unreadable(f"{path.name} cannot be read: {error}") from None
