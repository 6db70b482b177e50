"""Routing tables from control to routers: whole, versioned, acknowledged. Both halves of the Unix socket between them.

A message is a u32 length (little-endian) and that many bytes. Control sends encoded tables (serving/table.py); the
router answers each with {"version": N, "accepted": BOOL, "reason": TEXT}. A router that has just connected gets the
current table at once. Control is the socket's server, so that routers find a new control process by themselves.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kedge.home import write_whole
from kedge.serving import table as tables
from kedge.serving.table import RoutingTable, TableRefused

MAX_TABLE_BYTES = 64 * 1024 * 1024
MAX_ANSWER_BYTES = 64 * 1024
ACKNOWLEDGED_IN_S = 1.0
RECONNECT_S = 0.05
MAX_ROUTERS = 64

_LENGTH = struct.Struct("<I")

log = logging.getLogger(__name__)


class MessageTooLarge(Exception):
    """The peer announced more than it may send; the connection cannot go on."""


async def read_message(reader: asyncio.StreamReader, limit_bytes: int) -> bytes | None:
    """One message, or None at the end of the stream. Raises MessageTooLarge."""
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        if length > limit_bytes:
            raise MessageTooLarge(f"a message of {length} bytes; {limit_bytes} are taken")
        return await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


def message(data: bytes) -> bytes:
    return _LENGTH.pack(len(data)) + data


async def listen(path: Path, accept: Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]) -> asyncio.Server:
    """Listen for this user alone. A socket file that a former control process left is replaced."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    server = await asyncio.start_unix_server(accept, temporary)
    temporary.chmod(0o600)
    temporary.replace(path)
    return server


class TablePush:
    """Control's half."""

    def __init__(self, socket_path: Path) -> None:
        self._path = socket_path
        self._server: asyncio.Server | None = None
        self._routers: set[_Router] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._current: tuple[int, bytes] | None = None

    async def start(self) -> None:
        self._server = await listen(self._path, self._accept)

    async def publish(self, table: RoutingTable) -> None:
        """Send the table to every connected router; back when each has answered, or after 1 s."""
        self._current = (table.version, tables.encode(table))
        routers = list(self._routers)
        for router in routers:
            router.news.set()
        waits = [asyncio.ensure_future(router.answered(table.version)) for router in routers]
        if waits:
            _, late = await asyncio.wait(waits, timeout=ACKNOWLEDGED_IN_S)
            for wait in late:
                wait.cancel()
            if late:
                log.warning("%d routers have not answered to routing table %d yet", len(late), table.version)

    async def stop(self) -> None:
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        for router in list(self._routers):
            router.close()
        await asyncio.gather(*self._serving, return_exceptions=True)

    @property
    def routers(self) -> int:
        """How many are connected."""
        return len(self._routers)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        router = _Router(reader, writer)
        if len(self._routers) >= MAX_ROUTERS:
            router.close()
            return
        self._routers.add(router)
        answers = asyncio.create_task(router.read_answers())
        try:
            await self._send_news(router, answers)
        except ConnectionError:
            pass  # it has gone; a new one dials in by itself
        finally:
            answers.cancel()
            await asyncio.gather(answers, return_exceptions=True)
            self._routers.discard(router)
            router.close()

    async def _send_news(self, router: _Router, answers: asyncio.Task[None]) -> None:
        """Each time the newest table: one that was overtaken while the router read is never sent."""
        router.news.set()
        while not answers.done():
            news = asyncio.ensure_future(router.news.wait())
            await asyncio.wait((news, answers), return_when=asyncio.FIRST_COMPLETED)
            news.cancel()
            if router.news.is_set() and self._current is not None:
                router.news.clear()
                version, data = self._current
                if version > router.version:
                    await router.send(data)
            else:
                router.news.clear()


class _Router:
    """One connected router, as control sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.news = asyncio.Event()
        self.version = -1
        """The newest that it has answered to."""
        self._changed = asyncio.Event()
        self._gone = False

    async def send(self, data: bytes) -> None:
        self._writer.write(message(data))
        await self._writer.drain()

    async def read_answers(self) -> None:
        try:
            while (data := await read_message(self._reader, MAX_ANSWER_BYTES)) is not None:
                answer: dict[str, Any] = json.loads(data)
                if not answer["accepted"]:
                    log.error("a router refused routing table %s: %s", answer["version"], answer["reason"])
                self.version = max(self.version, int(answer["version"]))
                self._wake()
        except (MessageTooLarge, ValueError, KeyError, TypeError) as error:
            log.warning("a router's answer cannot be read: %s", error)
        finally:
            self._gone = True
            self._wake()

    def _wake(self) -> None:
        woken, self._changed = self._changed, asyncio.Event()
        woken.set()

    async def answered(self, version: int) -> None:
        """Back when the router has answered to this version or a newer one, or has gone."""
        while self.version < version and not self._gone:
            await self._changed.wait()

    def close(self) -> None:
        self._writer.close()


class TableClient:
    """A router's half: takes newer tables, whole or not at all, and keeps the last one on disk."""

    def __init__(self, socket_path: Path, file: Path, accept: Callable[[RoutingTable], None]) -> None:
        """accept: serves the table from now on; whatever it raises refuses the table."""
        self._path = socket_path
        self._file = file
        self._accept = accept
        self._version = -1
        self._unwritten: bytes | None = None
        self._write_is_due = asyncio.Event()

    def load(self) -> None:
        """Serve the table on disk, if there is one that can be read."""
        try:
            data = self._file.read_bytes()
        except OSError:
            return
        try:
            self._take(data)
        except TableRefused as error:
            log.error("the routing table in %s is not used: %s", self._file, error)

    async def run(self) -> None:
        """Stay connected to control for ever."""
        writing = asyncio.create_task(self._write_accepted())
        try:
            while True:
                try:
                    reader, writer = await asyncio.open_unix_connection(self._path)
                except OSError:
                    pass  # control is away; what was accepted is served
                else:
                    await self._follow(reader, writer)
                await asyncio.sleep(RECONNECT_S)
        finally:
            writing.cancel()

    async def _follow(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (data := await read_message(reader, MAX_TABLE_BYTES)) is not None:
                writer.write(message(json.dumps(self._answer(data)).encode()))
                await writer.drain()
        except (MessageTooLarge, ConnectionError) as error:
            log.warning("the connection to control ended: %s", error)
        finally:
            writer.close()

    def _answer(self, data: bytes) -> dict[str, Any]:
        try:
            version = self._take(data)
        except TableRefused as error:
            log.error("a routing table is refused: %s", error)
            return {"version": _version_of(data), "accepted": False, "reason": str(error)[:1024]}
        self._unwritten = data
        self._write_is_due.set()
        return {"version": version, "accepted": True, "reason": ""}

    def _take(self, data: bytes) -> int:
        table = tables.decode(data)
        if not isinstance(table.version, int) or table.version < self._version:
            raise TableRefused(f"version {table.version} is older than {self._version}, which is served")
        if table.version > self._version:
            try:
                self._accept(table)
            except Exception as error:
                log.exception("routing table %d could not be put to use", table.version)
                raise TableRefused(f"it could not be put to use: {error!r}") from error
            self._version = table.version
        return table.version

    async def _write_accepted(self) -> None:
        """Beside the path of requests, and only the newest: the disk may be slow or full."""
        while True:
            await self._write_is_due.wait()
            self._write_is_due.clear()
            data, self._unwritten = self._unwritten, None
            if data is not None:
                try:
                    await asyncio.to_thread(write_whole, self._file, data)
                except OSError as error:
                    log.error("the routing table cannot be kept in %s: %s", self._file, error)


def _version_of(data: bytes) -> int:
    """Of a table that cannot be used; -1 when it does not even say that."""
    try:
        version = json.loads(data)["version"]
        return version if isinstance(version, int) else -1
    except (ValueError, KeyError, TypeError):
        return -1
