"""One POST to a subscriber: to an address that may be reached, within a time, following no redirect.

The address is looked up and checked here, and the connection goes to that very address: a name cannot lead to one when
it is checked and to another when it is used.
"""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from kedge.serving.http_client import AnswerTooLarge, BrokenAnswer, Client, Stream
from kedge.topics.addresses import Allowed

TIMEOUT_S = 15.0
"""For the whole of it. Source: "Make sure your endpoint is ready" in the SNS developer guide."""
LARGEST_ANSWER_BYTES = 1024 * 1024
_TOO_MANY_REQUESTS = 429


@dataclass(frozen=True)
class Answer:
    """What came of an attempt."""

    delivered: bool
    retryable: bool
    """Whether another attempt may do better: no answer, 5xx or 429. Other codes say that it is the message's fault."""
    reason: str = ""


class Outgoing:
    def __init__(self, allowed: Allowed, authority: str = "", timeout_s: float = TIMEOUT_S) -> None:
        """authority: PEM file of a further certificate authority."""
        self._allowed = allowed
        self._authority = authority
        self._timeout_s = timeout_s
        self._context: ssl.SSLContext | None = None

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """url: http or https; credentials in it are sent as basic authentication."""
        parts = urlsplit(url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        authority = parts.netloc.rpartition("@")[2]
        given = dict(headers)
        if parts.username:
            credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            given["Authorization"] = f"Basic {base64.b64encode(credentials.encode()).decode()}"
        try:
            context = await asyncio.to_thread(self._tls) if parts.scheme == "https" else None
            host, port = parts.hostname or "", parts.port or (443 if context else 80)
            client = Client(lambda: self._connect(host, port, context), authority)
            async with asyncio.timeout(self._timeout_s):
                reply = await client.ask("POST", path, given, body, LARGEST_ANSWER_BYTES, fresh=True)
        except TimeoutError:
            return Answer(False, True, f"no answer within {self._timeout_s:g} s")
        except AnswerTooLarge:
            return Answer(False, False, f"an answer of more than {LARGEST_ANSWER_BYTES} bytes")
        except (OSError, BrokenAnswer) as error:
            return Answer(False, True, str(error) or type(error).__name__)
        if 200 <= reply.status < 300:
            return Answer(True, False)
        return Answer(False, reply.status >= 500 or reply.status == _TOO_MANY_REQUESTS, f"status {reply.status}")

    async def _connect(self, host: str, port: int, context: ssl.SSLContext | None) -> Stream:
        """Raises OSError, also where no address of the host may be reached."""
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        known = list(dict.fromkeys(str(address[0]) for *_, address in found))
        refused: OSError = PermissionError(
            f"{host} is {', '.join(known)}, which may not be reached from here; KEDGE_SUBSCRIBER_ADDRESSES says what "
            "may be"
        )
        for address in known:
            if not self._allowed(address):
                continue
            try:
                return await asyncio.open_connection(
                    address, port, ssl=context, server_hostname=host if context else None
                )
            except OSError as error:
                refused = error
        raise refused

    def _tls(self) -> ssl.SSLContext:
        """Made once: reading the system's authorities takes some milliseconds."""
        if self._context is None:
            context = ssl.create_default_context()
            if self._authority:
                context.load_verify_locations(Path(self._authority).expanduser())
            self._context = context
        return self._context
