"""A request that arrived whole and is plain, read in one go. PURE.

Most requests are: one piece, one Content-Length, nothing about the connection itself. They need no state machine that
calls back for each header. Whatever is not plain, or might be read in two ways, is left to the parser that
`connection.py` has: nothing is refused here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

LONGEST_BYTES = 16 * 1024
"""Of a head that is read here."""
MOST_HEADERS = 64
_VERSION = " HTTP/1.1"
_METHODS = frozenset(("POST", "GET", "HEAD"))
_TARGET = re.compile(r"(/[!-\"$->@-~]*)(?:\?([!-\"$-~]*))?\Z")
"""Path and query: no fragment, no blank."""
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_NOT_PLAIN = frozenset(("transfer-encoding", "expect", "upgrade", "te", "trailer", "proxy-connection"))


_PRINT = bytes(code for code in range(256) if chr(code).isprintable())
"""In Latin-1."""

Plain = tuple[str, str, str, dict[str, str], bytes]
"""Method, path, query, headers with their names in lower case, body."""

_in_c: Callable[[bytes], Plain | None] | None = None
try:
    from kedge.wire import native

    _in_c = native.read_head
except ImportError:
    pass  # the core is not compiled


def read(data: bytes) -> Plain | None:
    """data: all that was read since the request before it was complete. None for what is not exactly one request."""
    plain = _in_c(data) if _in_c is not None else None
    return plain if plain is not None else parse(data)


def parse(data: bytes) -> Plain | None:
    """As `read`, which asks the compiled core first: that knows what most requests are, and nothing else."""
    end = data.find(b"\r\n\r\n", 0, LONGEST_BYTES)
    if end < 0:
        return None
    lines = data[:end].decode("latin-1").split("\r\n")
    target = _request_line(lines.pop(0))
    if target is None or len(lines) > MOST_HEADERS:
        return None
    # What else is left over is a lone CR or LF, a NUL, a tab.
    if data[:end].translate(None, _PRINT) != b"\r\n" * len(lines):
        return None
    headers: dict[str, str] = {}
    for line in lines:
        written, colon, value = line.partition(":")
        name = _name(written)
        if not name or not colon or name in headers:
            return None
        headers[name] = value.strip(" ")
    if "host" not in headers or headers.get("connection", "keep-alive").lower() != "keep-alive":
        return None
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit() and len(length) < 12 and int(length) == len(data) - end - 4):
        return None
    method, path, query = target
    return method, path, query, headers, data[end + 4 :]


@lru_cache(1024)
def _request_line(line: str) -> tuple[str, str, str] | None:
    """(method, path, query). Clients ask the same few endpoints over and over."""
    method, _, rest = line.partition(" ")
    found = _TARGET.match(rest.removesuffix(_VERSION)) if rest.endswith(_VERSION) and method in _METHODS else None
    return None if found is None else (method, found[1], found[2] or "")


@lru_cache(256)
def _name(written: str) -> str:
    """In lower case; "" for what is no name, or one that says how to read on. Clients send the same few."""
    name = written.lower()
    return name if _TOKEN.match(written) and name not in _NOT_PLAIN else ""
