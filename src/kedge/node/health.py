"""Whether both ports answer."""

from __future__ import annotations

import asyncio
import socket
import ssl

PATH = "/kedge/health"
_TRY_S = 2.0
_PAUSE_S = 0.02


async def answering(listener: socket.socket, *, tls: bool) -> None:
    """Returns once GET /kedge/health on this listening socket's address is answered with 200; asks for ever."""
    host, port, *_ = listener.getsockname()
    if host in ("0.0.0.0", "::"):  # noqa: S104 (compared with, not bound)
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"  # noqa: S104
    context = _no_questions() if tls else None
    while True:
        try:
            async with asyncio.timeout(_TRY_S):
                if await _ask(host, port, context):
                    return
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass
        await asyncio.sleep(_PAUSE_S)


async def _ask(host: str, port: int, context: ssl.SSLContext | None) -> bool:
    reader, writer = await asyncio.open_connection(host, port, ssl=context)
    try:
        writer.write(f"GET {PATH} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        words = (await reader.readline()).split()
        return len(words) > 1 and words[1] == b"200"
    finally:
        writer.close()


def _no_questions() -> ssl.SSLContext:
    """The server asks itself whether it is there; a certificate given to it need not name the loopback address."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
