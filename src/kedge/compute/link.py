"""The line that every role keeps to the supervisor.

A supervisor that was killed and started again finds its roles by it: each one dials in and lends the listening socket
that it inherited, if it did, so that the new supervisor has it to pass on and no connection is refused in between.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from pathlib import Path
from typing import NoReturn

from kedge.compute import held_pipe
from kedge.compute.lines import Lines
from kedge.compute.messages import LineError
from kedge.home import Home

RETRY_S = 0.1

log = logging.getLogger(__name__)


async def keep_link(home: Home, role: str, task_id: str, listen_socket: socket.socket | None = None) -> NoReturn:
    """Stay connected to whichever supervisor there is, for ever; run it as a task of the role's own loop.

    role: "control", "router" or "capture". task_id: what KEDGE_TASK_ID holds. A role that loses its supervisor goes on.
    """
    held_pipe.die_with_supervisor()
    while True:
        try:
            await _stay(home.supervisor_socket, role, task_id, listen_socket)
        except (OSError, LineError) as error:
            log.debug("no supervisor: %s", error)
        await asyncio.sleep(RETRY_S)


async def _stay(path: Path, role: str, task_id: str, listen_socket: socket.socket | None) -> None:
    sock = socket.socket(socket.AF_UNIX)
    sock.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(sock, str(path))
    except BaseException:
        sock.close()
        raise
    lines = Lines(sock)
    try:
        hello = {"op": "hello", "role": role, "task": task_id, "pid": os.getpid()}
        await lines.write(hello, [listen_socket.fileno()] if listen_socket is not None else [])
        while await lines.read() is not None:
            pass
    finally:
        lines.close()
