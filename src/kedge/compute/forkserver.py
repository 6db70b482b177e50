"""A process that has imported what models need, and forks instances.

    python -m kedge.compute.forkserver --socket-fd N MODULE ...

It is exec'ed with a clean environment and never held a key. It imports and does nothing else: no prediction, no fit, no
thread, since a fork after OpenMP has run hangs. Over its socket (JSON lines) it says {"ready": PID} once, and then
answers each {"fork": ENTRY} that lends a status pipe, an output file, a request and namespaces by {"pid": N} or
{"error": TEXT}. It does not read the request, which may hold a model's secrets: the instance does.

An instance is forked twice: so it falls to the supervisor (a subreaper) and outlives this process, and the process in
between enters the namespaces.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import socket
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from kedge.compute import sandbox
from kedge.compute.instance import Entry, become_forked, enter
from kedge.compute.messages import receive_now, send_now

THREADS_FOUND = 3
"""Exit status: a thread runs here, so nothing can be forked any more; the supervisor starts another one."""
_OWN = 3
"""Descriptors that every instance is lent: status pipe, output, request."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Forks instances; started by the supervisor.")
    parser.add_argument("--socket-fd", type=int, required=True)
    parser.add_argument("modules", nargs="*", help="imported ahead; one that is not installed is left out")
    options = parser.parse_args()
    _import(options.modules)
    sandbox.prepare()
    gc.collect()
    gc.freeze()
    gc.disable()
    sock = socket.socket(fileno=options.socket_fd)
    os.set_inheritable(sock.fileno(), False)
    send_now(sock, {"ready": os.getpid(), "threads": _threads()})
    _serve(sock)


def _import(modules: Sequence[str]) -> None:
    for name in modules:
        try:
            importlib.import_module(name)
        except ImportError as error:
            print(f"{name} is not imported ahead: {error}", file=sys.stderr, flush=True)  # noqa: T201


def _serve(sock: socket.socket) -> None:
    while True:
        lent: list[int] = []
        message = receive_now(sock, lent)
        if message is None:
            return
        if _threads() != 1:
            sys.exit(THREADS_FOUND)
        try:
            answer: dict[str, Any] = {"pid": _fork_twice(sock, Entry(**message["fork"]), lent)}
        except (OSError, TypeError, KeyError, ValueError) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        finally:
            for descriptor in lent:
                os.close(descriptor)
        send_now(sock, {**answer, "number": message.get("number")})


def _fork_twice(sock: socket.socket, entry: Entry, lent: Sequence[int]) -> int:
    """The pid of the instance. Raises OSError when the machine has no room for it."""
    sys.stdout.flush()
    sys.stderr.flush()
    read_end, write_end = os.pipe()
    forker = os.fork()
    if forker == 0:
        _fork_and_end(sock, entry, lent, write_end)
    os.close(write_end)
    with open(read_end, "rb") as pipe:
        told = pipe.read().decode()
    os.waitpid(forker, 0)
    if not told.isdigit():
        raise OSError(told or "the process could not be forked")
    return int(told)


def _fork_and_end(sock: socket.socket, entry: Entry, lent: Sequence[int], write_end: int) -> NoReturn:
    forker = os.getpid()
    try:
        enter(entry, lent[_OWN:])
        instance = os.fork()
        if instance == 0:
            sock.detach()  # its number is closed below and will mean another file
            become_forked(entry, lent[:_OWN], forker)
        os.write(write_end, str(instance).encode())
    except OSError as error:
        os.write(write_end, str(error).encode())
    finally:
        os._exit(0)


def _threads() -> int:
    return len(os.listdir("/proc/self/task"))


if __name__ == "__main__":
    main()
