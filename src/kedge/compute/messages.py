"""JSON objects, one a line, over a Unix socket; a line may lend file descriptors (SCM_RIGHTS).

The language between the supervisor, the roles, the fork server and the keeper. This is for programs without a loop;
`lines` is the same for asyncio.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any

MAX_LINE_BYTES = 8 * 1024 * 1024
MAX_DESCRIPTORS = 16
_PART_BYTES = 64 * 1024
_CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class LineError(Exception):
    """The peer does not speak this language; the connection cannot go on."""


def send_now(sock: socket.socket, message: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Write one line to a blocking socket."""
    data = memoryview(as_line(message))
    while data:
        sent = send_some(sock, data, descriptors)
        data, descriptors = data[sent:], ()


def receive_now(sock: socket.socket, lent: list[int]) -> dict[str, Any] | None:
    """Read one line from a blocking socket; None at the end. The peer waits for the answer before it sends another."""
    received = bytearray()
    while not received.endswith(b"\n"):
        if len(received) > MAX_LINE_BYTES:
            raise LineError(f"a line of more than {MAX_LINE_BYTES} bytes")
        data = receive_some(sock, lent)
        if not data:
            return None
        received += data
    return from_line(bytes(received))


def receive_some(sock: socket.socket, lent: list[int]) -> bytes:
    data, descriptors, _, _ = socket.recv_fds(sock, _PART_BYTES, MAX_DESCRIPTORS, _CLOSE_ON_EXEC)
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    lent.extend(descriptors)
    return data


def send_some(sock: socket.socket, data: memoryview, descriptors: Sequence[int]) -> int:
    part = data[:_PART_BYTES]
    return socket.send_fds(sock, [part], list(descriptors)) if descriptors else sock.send(part)


def as_line(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def from_line(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise LineError("a line that is not JSON") from error
    if not isinstance(found, dict):
        raise LineError("a line that is no object")
    return found
