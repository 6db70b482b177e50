"""Temporary credentials of a model's execution role, as an instance gets them.

Three parties: the model's SDK asks `serve`, which runs beside the model and knows a token of its instance; `serve` asks
control, with a grant that only the supervisor can write (grants.py); control checks it and makes the keys. They are
kept while they last, so an instance has credentials while control is away.

Source of what the SDK asks: AWS's container credential provider, AWS_CONTAINER_CREDENTIALS_FULL_URI.
"""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kedge.compute.relay import Address

PATH = "/kedge/instance-credentials"
"""Of control: GET with `Authorization: Bearer GRANT`."""
URI_PATH = "/credentials"
MAX_HEAD_BYTES = 16 * 1024
MAX_ANSWER_BYTES = 64 * 1024
_PATIENCE_S = 5.0
_RENEW_BEFORE_S = 20 * 60
"""An SDK asks anew when less than 15 minutes are left; what it is given then has to last longer."""


@dataclass(frozen=True)
class Source:
    """Where credentials come from, and who may have them."""

    api: Address
    grant: str
    token: str
    """What the SDK sends as Authorization."""
    authority: str = ""
    """PEM text by which the API's certificate is checked; empty: the API is not behind TLS."""


def serve(listener: socket.socket, source: Source) -> None:
    """Answer one SDK after the other, for ever. A thread's whole life."""
    listener.setblocking(True)
    keeper = Keeper(source)
    while True:
        with contextlib.suppress(OSError):  # of this one client
            sock, _ = listener.accept()
            with sock:
                sock.settimeout(_PATIENCE_S)
                status, body = _answer(_head(sock), source.token, keeper)
                sock.sendall(_response(status, body))


class Keeper:
    """Asks when what it has does not last long enough, and goes on with what it has when there is no answer."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._kept: tuple[dict[str, Any], float] | None = None

    def credentials(self, now_s: float) -> tuple[int, dict[str, Any]]:
        """(HTTP status, JSON body)"""
        if self._kept is not None and self._kept[1] - now_s > _RENEW_BEFORE_S:
            return 200, self._kept[0]
        try:
            status, body = ask(self._source)
        except (OSError, ValueError) as error:
            status, body = 503, {"code": "ServiceUnavailable", "message": f"The API cannot be asked: {error}"}
        if status == 200:
            self._kept = body, datetime.fromisoformat(body["Expiration"]).timestamp()
        elif status >= 500 and self._kept is not None and self._kept[1] > now_s:
            return 200, self._kept[0]
        return status, body


def ask(source: Source) -> tuple[int, dict[str, Any]]:
    """What control answers. Raises OSError or ValueError."""
    with socket.create_connection((source.api.host, source.api.port), _PATIENCE_S) as plain:
        sock = _secured(plain, source.authority) if source.authority else plain
        with sock:
            head = f"GET {PATH} HTTP/1.1\r\nHost: {source.api.host}\r\nAuthorization: Bearer {source.grant}\r\n"
            sock.sendall(f"{head}Connection: close\r\n\r\n".encode())
            data = bytearray()
            while (part := sock.recv(65536)) and len(data) < MAX_ANSWER_BYTES:
                data += part
    head_bytes, _, body = bytes(data).partition(b"\r\n\r\n")
    words = head_bytes.split(b" ", 2)
    found = json.loads(body)
    if len(words) < 2 or not words[1].isdigit() or not isinstance(found, dict):
        raise ValueError("its answer cannot be read")
    return int(words[1]), found


def _secured(sock: socket.socket, authority: str) -> socket.socket:
    """The address is the server's own, so that its certificate need not name it; whose it is is checked."""
    import ssl  # only where it is needed: it takes memory in every instance

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=authority)
    return context.wrap_socket(sock)


def _head(sock: socket.socket) -> bytes:
    data = bytearray()
    while b"\r\n\r\n" not in data and len(data) < MAX_HEAD_BYTES:
        part = sock.recv(4096)
        if not part:
            break
        data += part
    return bytes(data)


def _answer(head: bytes, token: str, keeper: Keeper) -> tuple[int, Mapping[str, Any]]:
    line, _, rest = head.partition(b"\r\n")
    if line.split(b" ")[:2] != [b"GET", URI_PATH.encode()]:
        return 404, {"code": "NotFound", "message": f"GET {URI_PATH} is all that is answered here."}
    fields = (each.partition(b":") for each in rest.split(b"\r\n"))
    headers = {name.strip().lower(): value.strip() for name, _, value in fields}
    import hmac  # only in a gate that is asked: it takes memory in every instance

    if not hmac.compare_digest(headers.get(b"authorization", b""), token.encode()):
        return 403, {"code": "AccessDenied", "message": "Authorization is not AWS_CONTAINER_AUTHORIZATION_TOKEN."}
    return keeper.credentials(time.time())


def _response(status: int, body: Mapping[str, Any]) -> bytes:
    data = json.dumps(body).encode()
    head = f"HTTP/1.1 {status} {'OK' if status == 200 else 'Error'}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(data)}\r\nConnection: close\r\n\r\n".encode() + data


def as_sdk_reads(access_key_id: str, secret: str, token: str, expires_at: datetime) -> dict[str, Any]:
    """What an SDK finds at AWS_CONTAINER_CREDENTIALS_FULL_URI."""
    return {
        "AccessKeyId": access_key_id,
        "SecretAccessKey": secret,
        "Token": token,
        "Expiration": expires_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
