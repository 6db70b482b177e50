"""The inference port: `python -m kedge.serving.router --listen FD --number N`.

What becomes of a request stands in `routing.py`. The table comes from control (`push.py`) and is on disk too: a router
never needs control, nor the store, to serve.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import resource
import signal
import socket
import ssl
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from random import Random

from kedge import config
from kedge.clock import SystemClock
from kedge.compute import link
from kedge.config import SettingError, Settings
from kedge.home import Home, HomeError, open_home
from kedge.loop import run_on_fastest_loop
from kedge.serving import journal
from kedge.serving.capture.tap import Tap
from kedge.serving.giving_back import give_back
from kedge.serving.handover import Handover
from kedge.serving.inbound import Limits
from kedge.serving.kept import Kept, folders_of
from kedge.serving.push import TableClient
from kedge.serving.routing import Router
from kedge.shadowing.feed import Feed

DRAIN_S = 5.0
REPORT_S = 0.5
"""How long an ending router waits until control has what it counted last."""
_SPARE_DESCRIPTORS = 256

log = logging.getLogger(__name__)


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """For what listens on the network; None without TLS. Raises OSError or ssl.SSLError for files that cannot be.

    Where no files were chosen the supervisor has put those of its own certificate authority into the settings.
    """
    if not settings.tls:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(settings.tls_cert, settings.tls_key)
    return context


async def serve(
    settings: Settings, home: Home, listener: socket.socket, tls: ssl.SSLContext | None, number: int, task_id: str
) -> None:
    """A router's life, until SIGTERM or SIGINT; then what is in flight is finished."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stop.set)
    tap = Tap(home.capture_socket, Random(os.urandom(16)).random)
    kept = Kept(folders_of(home.reports, number, settings.routers), None if settings.ephemeral else journal.MEMORY)
    feed = Feed(home.shadow_socket)
    handover = Handover(home.queue_socket)
    clock = SystemClock()
    router = Router(
        number,
        clock,
        limits_of_process(),
        settings.body_limit_bytes,
        tap,
        kept,
        feed,
        handover,
    )
    client = TableClient(home.control_socket, home.routing_file, router.swap)
    client.load()
    router.front.start()
    servers = [
        await loop.create_server(router.front.new_connection, sock=listener.dup(), ssl=tls),
        await loop.create_unix_server(router.front.new_connection, sock=local_socket(home.router_socket(number))),
    ]
    beside = [
        asyncio.create_task(client.run()),
        asyncio.create_task(router.reporter.run(home.report_socket)),
        asyncio.create_task(link.keep_link(home, "router", task_id, listener)),
        asyncio.create_task(tap.run()),
        asyncio.create_task(give_back(clock)),
    ]
    # What was made until now stays: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    await stop.wait()
    for server in servers:
        server.close()
    await router.front.drain(DRAIN_S)
    await asyncio.gather(router.reporter.drain(REPORT_S), tap.close(), feed.close())
    router.fleet.close()
    for task in beside:
        task.cancel()
    await asyncio.gather(*beside, return_exceptions=True)
    kept.close()


def local_socket(path: Path) -> socket.socket:
    """For the control process, in place of the file that a killed router left."""
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    path.chmod(0o600)
    return sock


def limits_of_process() -> Limits:
    """As many connections as there may be descriptors, up to the default."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    limits = Limits()
    if soft == resource.RLIM_INFINITY:
        return limits
    return replace(limits, connections=max(16, min(limits.connections, soft - _SPARE_DESCRIPTORS)))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m kedge.serving.router")
    parser.add_argument("--listen", type=int, required=True, help="number of the inherited listening socket")
    parser.add_argument("--number", type=int, default=0, help="which of the routers this is")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        settings = config.read()
        home = open_home(settings)
        tls = tls_context(settings)
    except (SettingError, HomeError, OSError) as error:
        sys.exit(f"The router cannot start: {error}")
    with socket.socket(fileno=options.listen) as listener:
        listener.setblocking(False)
        task_id = os.environ.get("KEDGE_TASK_ID", "")
        run_on_fastest_loop(serve(settings, home, listener, tls, options.number, task_id))


if __name__ == "__main__":
    main()
