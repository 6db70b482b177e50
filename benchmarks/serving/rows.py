"""A row of the table: how one server is started, and how a work is put to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.serving import prepared, works
from benchmarks.serving.frames_load import over_frames, payloads
from benchmarks.serving.load import Load, over_http
from benchmarks.serving.prepared import Signer

_SAMPLE_EVERY = 50
_SIGNATURE_S = 180.0
"""Signed requests are made anew after that long: a server takes them for five minutes."""


@dataclass(frozen=True)
class Route:
    path: str
    form: str
    """A name of works.FORMATS."""
    more_paths: tuple[str, ...] = ()
    """The requests take these in turn with `path`."""


class Running(Protocol):
    """A server that answers."""

    @property
    def roots(self) -> tuple[int, ...]:
        """The processes whose trees are the server."""

    def load(self, work: str, connections: int, rate: float) -> Load:
        """Ready to send: all requests are made. rate: of requests a second to come, about."""

    def stop(self) -> None: ...


@dataclass(frozen=True)
class Row:
    name: str
    works: tuple[str, ...]
    start: Callable[[tuple[str, ...], Path], Running]
    """Takes the works to be ready for and a folder to write to. Raises RuntimeError with what the server said."""
    one_model: bool = False
    """It serves one model at a time: another one takes another start."""


class Requests:
    """The prepared requests of one HTTP server, a file for each work."""

    def __init__(self, port: int, routes: Mapping[str, Route], folder: Path, signer: Signer | None = None) -> None:
        self._port, self._routes, self._folder, self._signer = port, routes, folder, signer
        self._made_s: dict[str, float] = {}
        self._samples: dict[str, list[tuple[int, bytes]]] = {}

    def load(self, work: str, connections: int, rate: float, *, checked: bool = True) -> Load:
        file = self._folder / f"{work}.requests"
        if work not in self._made_s or (self._signer and time.monotonic() - self._made_s[work] > _SIGNATURE_S):
            self._made_s[work] = time.monotonic()
            prepared.write(file, self._requests(work))
            self._samples[work] = list(enumerate(prepared.read(file)))[::_SAMPLE_EVERY]
        check = (lambda number, answer: works.right(work, number, answer)) if checked else None
        return over_http(self._port, file, connections, self._samples[work], check, rate)

    def sample(self, work: str) -> tuple[int, bytes]:
        """(number, raw request): one to try the server with."""
        return 0, next(iter(self._requests(work)))

    def _requests(self, work: str) -> Iterator[bytes]:
        route = self._routes[work]
        kind = works.FORMATS[route.form][0]
        paths = (route.path, *route.more_paths)
        return prepared.requests(self._port, paths, kind, works.bodies(work, route.form), self._signer)


class FrameRequests:
    """The prepared requests of one worker."""

    def __init__(self, socket: Path, form: Mapping[str, str]) -> None:
        self._socket, self._form = socket, form
        self._made: dict[str, list[bytes]] = {}

    def load(self, work: str, connections: int, rate: float) -> Load:
        form = self._form[work]
        if work not in self._made:
            self._made[work] = payloads(works.FORMATS[form][0], works.bodies(work, form))
        return over_frames(
            self._socket, self._made[work], connections, lambda number, answer: works.right(work, number, answer)
        )
