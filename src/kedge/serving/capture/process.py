"""The capture process: `python -m kedge.serving.capture.process`.

Routers connect to RUN/capture.sock and send what they have taken. It is encoded, stripped of what the rules hide, and
spooled before it is acknowledged; `delivery` brings the spool to S3. It opens the object store and the keys by itself,
so it needs no control process, and no request ever waits for it. What shadows answered comes to RUN/shadow.sock, and is
compared here (kedge.shadowing) for the same reasons. What is spooled is also kept as sketches of minutes, by a child
(kedge.minutes).
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast

from kedge import config
from kedge.clock import SystemClock
from kedge.compute import link
from kedge.config import SettingError, Settings
from kedge.errors import ServiceUnavailable
from kedge.home import Home, HomeError, open_home
from kedge.kms.master import MasterKey, read_master
from kedge.loop import run_on_fastest_loop
from kedge.minutes.feeding import Feeder
from kedge.minutes.frames import VariantKey as MinutesOf
from kedge.objects.records import Attributes
from kedge.serving.capture.delivery import Delivery, VariantKey
from kedge.serving.capture.frames import Announced, BadFrame, Decoder, Forget
from kedge.serving.capture.recorder import Counts, Recorder, key_of
from kedge.serving.capture.records import Source, Taken
from kedge.serving.capture.spool import Segment, Spool
from kedge.shadowing.comparer import Comparer, FromRouter

if TYPE_CHECKING:
    from kedge.objects.guest import Guest

ACKNOWLEDGE_S = 0.1
ROUTERS_END_WITHIN_S = 2.0
DELIVER_WITHIN_S = 5.0
KEEP_WITHIN_S = 3.0
_MASTER_POLL_S = 0.1
_ATTRIBUTES = Attributes(headers={"ContentType": "application/jsonlines"})

log = logging.getLogger(__name__)


class Routers:
    """Those that are connected."""

    def __init__(self, recorder: Recorder, delivery: Delivery, feeder: Feeder) -> None:
        self.recorder, self.delivery, self.feeder = recorder, delivery, feeder
        self.connections: set[_Router] = set()
        self.none_left = asyncio.Event()
        self.none_left.set()

    def said(self, variant: VariantKey) -> None:
        """Its delivery has another problem, or none any more."""
        self.recorder.delivery_changed(variant)
        for each in self.connections:
            each.tell(variant)

    def end(self) -> None:
        """Ask each to send what is on its way and no more."""
        for each in list(self.connections):
            each.acknowledge(ends=True)


class _Router(asyncio.Protocol):
    def __init__(self, routers: Routers) -> None:
        self._routers = routers
        self._decoder = Decoder()
        self._sources: dict[int, Source] = {}
        self._transport: asyncio.Transport | None = None
        self._counts = Counts()
        """Since the last acknowledgement."""
        self._to_tell: set[int] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._forgetting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._routers.connections.add(self)
        self._routers.none_left.clear()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._routers.connections.discard(self)
        if not self._routers.connections:
            self._routers.none_left.set()

    def eof_received(self) -> None:
        self.acknowledge()

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        taken: list[tuple[int, Source, Taken]] = []
        try:
            for frame in self._decoder.feed(data):
                if isinstance(frame, Announced):
                    self._sources[frame.number] = frame.source
                    self._to_tell.add(frame.number)
                elif isinstance(frame, Forget):
                    self._forgetting = asyncio.create_task(self._forget())
                else:
                    number, each = frame
                    taken.append((number, self._sources[number], each))
        except (BadFrame, KeyError) as error:
            log.error("a router's connection is closed: %r", error)
            self._transport.close()
        if taken:
            self._counts.add(self._routers.recorder.record(taken))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(ACKNOWLEDGE_S, self.acknowledge)

    def tell(self, variant: VariantKey) -> None:
        self._to_tell |= {number for number, source in self._sources.items() if key_of(source) == variant}
        if self._to_tell and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(ACKNOWLEDGE_S, self.acknowledge)

    def acknowledge(self, *, ends: bool = False) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        counts, self._counts = self._counts, Counts()
        streams = {
            str(number): {
                "spooled": counts.spooled[number],
                "dropped": counts.dropped[number],
                "withheld": counts.withheld[number],
                "problem": self._routers.recorder.problem(key_of(self._sources[number])),
            }
            for number in counts.spooled.keys() | counts.dropped.keys() | self._to_tell
        }
        self._to_tell.clear()
        if (streams or ends) and self._transport is not None:
            self._transport.write(json.dumps({"streams": streams, "ends": ends}).encode() + b"\n")

    async def _forget(self) -> None:
        self._routers.feeder.forget()
        await self._routers.delivery.forget()
        if self._transport is not None:
            self._transport.close()


class Store:
    """The object store, opened when something is put for the first time: who captures nothing stays small."""

    def __init__(self, settings: Settings, home: Home, master: MasterKey) -> None:
        self._settings, self._home, self._master = settings, home, master
        self._opening = threading.Lock()
        self._guest: Guest | None = None

    def put(self, segment: Segment, key: str, body: bytes) -> bool:
        """delivery.Put."""
        target = segment.target
        return self._open().put_once(target.account, target.bucket, key, body, _ATTRIBUTES, target.kms_key)

    def _open(self) -> Guest:
        with self._opening:
            if self._guest is None:
                from kedge.kms.keystore import KeyStore
                from kedge.objects.guest import Guest
                from kedge.objects.index import IndexRefused
                from kedge.objects.vault import Vault
                from kedge.store.store import Store as Resources

                durable = not self._settings.ephemeral
                resources = Resources(self._settings.database_url or self._home.database, durable=durable)
                vault = Vault(KeyStore(resources, self._master))
                try:
                    self._guest = Guest(self._home.objects, SystemClock(), vault, durable=durable)
                except IndexRefused as error:
                    raise ServiceUnavailable(str(error)) from error
            return self._guest


async def serve(settings: Settings, home: Home, task_id: str) -> None:
    """The process's life, until SIGTERM or SIGINT; then what has been sent is spooled, and delivered if that can be."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stop.set)
    linked = asyncio.create_task(link.keep_link(home, "capture", task_id))
    master = await _until_there_is_one(home, settings, stop)
    if master is not None:
        spool = Spool(home.capture, master.key_for("capture spool"), settings.capture_spool_bytes)
        delivery = Delivery(spool, Store(settings, home, master).put, SystemClock())
        feeder = Feeder(home.minutes, enabled=settings.capture_minutes_bytes > 0)
        recorder = Recorder(
            spool,
            delivery,
            master.key_for("capture hashes"),
            lambda variant, lines: feeder.feed(MinutesOf(*variant), lines),
        )
        routers = Routers(recorder, delivery, feeder)
        delivery.on_change(routers.said)
        delivery.take_up(spool.left())
        beside = [asyncio.create_task(delivery.run()), asyncio.create_task(feeder.run())]
        server = await loop.create_unix_server(lambda: _Router(routers), sock=_listen(home.capture_socket))
        comparer = Comparer(home, SystemClock())
        comparing = await loop.create_unix_server(lambda: FromRouter(comparer), sock=_listen(home.shadow_socket))
        await stop.wait()
        server.close()
        comparing.close()
        routers.end()
        with suppress(TimeoutError):
            await asyncio.wait_for(routers.none_left.wait(), ROUTERS_END_WITHIN_S)
        for task in beside:
            task.cancel()
        await asyncio.gather(delivery.finish(DELIVER_WITHIN_S), comparer.close(), feeder.close(KEEP_WITHIN_S))
    linked.cancel()


async def _until_there_is_one(home: Home, settings: Settings, stop: asyncio.Event) -> MasterKey | None:
    """The control process makes the master key at its first start, when nothing can be captured yet."""
    while not stop.is_set():
        if settings.master_key_file or home.master_key.exists():
            return read_master(home.master_key, settings.master_key_file)
        await asyncio.sleep(_MASTER_POLL_S)
    return None


def _listen(path: Path) -> socket.socket:
    """In place of the file that a killed process left."""
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    path.chmod(0o600)
    return sock


def main() -> int:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        settings = config.read()
        home = open_home(settings)
        run_on_fastest_loop(serve(settings, home, os.environ.get("KEDGE_TASK_ID", "")))
    except (SettingError, HomeError) as error:
        sys.stderr.write(f"{error}\n")
        return config.CANNOT_START
    return 0


if __name__ == "__main__":
    sys.exit(main())
