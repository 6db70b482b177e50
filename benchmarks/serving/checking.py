"""One answer in a thousand is looked at: a client of its own sends prepared requests beside the load, and compares."""

from __future__ import annotations

import http.client
import io
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

SHARE = 1000
_SLOWEST_S = 0.5
_TIMEOUT_S = 30.0

Check = Callable[[int, bytes], bool]
"""Whether these bytes answer request `number`."""


class Asker:
    """One kept-alive connection that sends raw requests. Never retries."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, raw: bytes) -> tuple[int, bytes]:
        """(status, body). Raises OSError or http.client.HTTPException."""
        self._socket.sendall(raw)
        response = http.client.HTTPResponse(_Reading(self._socket), method="POST")  # type: ignore[arg-type]
        response.begin()
        return response.status, response.read()

    def close(self) -> None:
        self._socket.close()


class _Reading:
    """What HTTPResponse wants of a socket; unlike a socket's own file it may be made once per answer."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def makefile(self, *_: Any) -> io.BufferedReader:
        return self._connection.makefile("rb")


class Checker:
    """While the load runs: asks and compares in a thread, at a thousandth of the load's rate or faster."""

    def __init__(self, port: int, samples: Sequence[tuple[int, bytes]], check: Check, rate_per_s: float) -> None:
        """samples: (number, raw request). rate_per_s: what the load will be, about."""
        self._port, self._samples, self._check = port, samples, check
        self._pause_s = min(_SLOWEST_S, 0.5 * SHARE / max(rate_per_s, 1.0))
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="checker")
        self.asked = 0
        self.wrong = 0
        self.errors = 0

    def __enter__(self) -> Checker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        asker = None
        due_s = time.monotonic()
        while not self._stopped.is_set():
            number, raw = self._samples[self.asked % len(self._samples)]
            self.asked += 1
            try:
                asker = asker or Asker(self._port)
                status, body = asker.ask(raw)
            except (OSError, http.client.HTTPException):
                self.errors += 1
                if asker is not None:
                    asker.close()
                asker = None
            else:
                self.errors += status != 200
                self.wrong += status == 200 and not self._check(number, body)
            due_s = max(due_s + self._pause_s, time.monotonic())
            self._stopped.wait(due_s - time.monotonic())
        if asker is not None:
            asker.close()
