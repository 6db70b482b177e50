"""Kedge's rows: the worker alone, the router without signatures, the router with them."""

from __future__ import annotations

from pathlib import Path

from benchmarks.serving import own
from benchmarks.serving.load import Load
from benchmarks.serving.own import Setup
from benchmarks.serving.rows import FrameRequests, Requests, Route, Row, Running

FORMS = {"echo": "instances", "gbdt1": "instances", "gbdt100": "csv"}
SIGNED = "kedge"
UNSIGNED = "kedge, unsigned"
ALONE = "kedge worker alone"


class _Worker:
    def __init__(self, model: str, setup: Setup) -> None:
        self._worker = own.Worker(model, setup)
        self.root = self._worker.root
        self._requests = FrameRequests(self._worker.socket, FORMS)

    def load(self, work: str, connections: int, rate: float) -> Load:
        return self._requests.load(work, connections, rate)

    def stop(self) -> None:
        self._worker.stop()


class Whole:
    """A server with an endpoint for each model of these works."""

    def __init__(self, works: tuple[str, ...], folder: Path, setup: Setup) -> None:
        self.server = own.Server(setup)
        self.root = self.server.root
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


def _alone(works: tuple[str, ...], folder: Path) -> Running:
    return _Worker(own.model_of(works[0]), Setup())


ROWS = (
    Row(ALONE, tuple(FORMS), _alone, one_model=True),
    Row(UNSIGNED, tuple(FORMS), lambda works, folder: Whole(works, folder, Setup(flags=("--insecure-no-auth",)))),
    Row(SIGNED, tuple(FORMS), lambda works, folder: Whole(works, folder, Setup())),
)
