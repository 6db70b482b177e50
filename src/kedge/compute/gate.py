"""The first process of an instance's sandbox: it ends with the instance, and is its only way to the API port.

As process 1 of the pid namespace it takes what the model's processes leave behind, and when it ends the kernel ends all
of them. It stays in the host's network: what connects to 127.0.0.1 inside, on the ports of the server, is passed on to
the server byte by byte, so TLS goes through. It also answers the SDKs' question for credentials, with a secret of its
own that the model's processes never see.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import threading
from collections.abc import Mapping

from kedge.compute.credentials import Source, serve
from kedge.compute.messages import LineError, receive_now
from kedge.compute.relay import Relays, Target

_LOOK_EVERY_S = 0.1


def live(
    supervisor: socket.socket,
    relays: Mapping[socket.socket, Target],
    credentials: tuple[socket.socket, Source] | None,
    *,
    tied: bool,
) -> None:
    """Returns when the instance has ended.

    supervisor: on it comes once which process the instance is; that it closes before means that there will be none.
    tied: to end with the supervisor, also after that.
    """
    selector = selectors.DefaultSelector()
    if credentials is not None:
        threading.Thread(target=serve, args=credentials, name="credentials", daemon=True).start()
    woken, wake = socket.socketpair()
    wake.setblocking(False)
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    selector.register(woken, selectors.EVENT_READ, lambda _: _reap(woken))
    Relays(selector, dict(relays))
    watch = Watch(selector, supervisor, tied=tied)
    while not watch.over():
        for key, events in selector.select(watch.look_every_s):
            key.data(events)


class Watch:
    """Whether the instance is still there."""

    def __init__(self, selector: selectors.BaseSelector, supervisor: socket.socket, *, tied: bool) -> None:
        self._selector = selector
        self._supervisor = supervisor
        self._tied = tied
        self._pid = 0
        self._over = False
        self.look_every_s: float | None = None
        """Where the end cannot be waited for."""
        selector.register(supervisor, selectors.EVENT_READ, self._told)

    def over(self) -> bool:
        return self._over or (self._pid > 0 and not _exists(self._pid))

    def _told(self, _: int) -> None:
        lent: list[int] = []
        try:
            message = receive_now(self._supervisor, lent)
        except (OSError, LineError):
            message = None
        if message is None:
            self._over = True
            return
        if lent:
            self._selector.register(lent[0], selectors.EVENT_READ, self._end)
        else:
            self._pid, self.look_every_s = int(message["pid"]), _LOOK_EVERY_S
        if not self._tied:
            self._selector.unregister(self._supervisor)
            self._supervisor.close()

    def _end(self, _: int) -> None:
        self._over = True


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _reap(woken: socket.socket) -> None:
    woken.recv(4096)
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
