"""Kedge's rows: the worker alone, the router without signatures, the router with them."""

from __future__ import annotations

from pathlib import Path

from benchmarks.serving import own
from benchmarks.serving.load import Load
from benchmarks.serving.own import Setup
from benchmarks.serving.own_router import RouterAlone
from benchmarks.serving.rows import FrameRequests, Requests, Route, Row

FORMS = {"echo": "instances", "gbdt1": "instances", "gbdt100": "csv"}
SIGNED = "kedge"
UNSIGNED = "kedge, unsigned"
ALONE = "kedge worker alone"
ORIGINAL = "kedge, not compiled"


class Alone:
    """A worker without a router."""

    def __init__(self, works: tuple[str, ...], setup: Setup) -> None:
        self._worker = own.Worker(own.model_of(works[0]), setup)
        self.roots = (self._worker.root,)
        self._requests = FrameRequests(self._worker.socket, FORMS)

    def load(self, work: str, connections: int, rate: float) -> Load:
        return self._requests.load(work, connections, rate)

    def stop(self) -> None:
        self._worker.stop()


class Whole:
    """A server with an endpoint for each model of these works."""

    def __init__(self, works: tuple[str, ...], folder: Path, setup: Setup) -> None:
        self.server = own.Server(setup)
        self.roots = (self.server.root,)
        try:
            for model in sorted({own.model_of(work) for work in works}):
                self.server.deploy(model, own.artifact(model))
        except BaseException:
            self.server.stop()
            raise
        routes = {work: Route(f"/endpoints/{own.model_of(work)}/invocations", FORMS[work]) for work in works}
        self._requests = Requests(self.server.port, routes, folder, self.server.signer)

    def load(self, work: str, connections: int, rate: float) -> Load:
        return self._requests.load(work, connections, rate)

    def stop(self) -> None:
        self.server.stop()


class Routed:
    """A router and one worker, without control: its table names the worker under so many endpoints.

    spread: the requests go to all of them in turn, else to the first.
    """

    def __init__(self, works: tuple[str, ...], folder: Path, setup: Setup, endpoints: int, spread: bool) -> None:
        self._router = RouterAlone(own.model_of(works[0]), setup, endpoints)
        self.roots = self._router.roots
        paths = [f"/endpoints/{name}/invocations" for name in self._router.names[: None if spread else 1]]
        routes = {work: Route(paths[0], FORMS[work], tuple(paths[1:])) for work in works}
        self._requests = Requests(self._router.port, routes, folder, self._router.signer)

    def load(self, work: str, connections: int, rate: float) -> Load:
        return self._requests.load(work, connections, rate)

    def stop(self) -> None:
        self._router.stop()


_OFF = {"KEDGE_COMPILE": "off"}

ROWS = (
    Row(ALONE, tuple(FORMS), lambda works, folder: Alone(works, Setup()), one_model=True),
    Row(UNSIGNED, tuple(FORMS), lambda works, folder: Whole(works, folder, Setup(signed=False))),
    Row(SIGNED, tuple(FORMS), lambda works, folder: Whole(works, folder, Setup())),
    Row(ORIGINAL, ("gbdt1", "gbdt100"), lambda works, folder: Whole(works, folder, Setup(model_environment=_OFF))),
)
