"""What is counted, while those who count it are killed: what clients were answered is their ledger."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator

import pytest

from .clients import Clients, role_pids, send
from .conftest import Server, until
from .hosted import GOOD, running
from .ledgers import back, data, settled


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("metering")) as started:
        yield started


def test_kills_of_control_lose_nothing(server: Server):
    before = settled(server, GOOD)
    with Clients(server, GOOD, 8, adds=10) as clients:
        for _ in range(4):
            pids = set(role_pids(server, "control").values())
            for pid in pids:
                send(pid)
            back(server, "control", pids)
            time.sleep(1.0)
    assert clients.errors == []
    assert clients.answers > 500
    assert settled(server, GOOD) - before == clients.answers
    assert sum(data(server, GOOD, "AWS/SageMaker", "ModelLatency", "SampleCount").values()) >= clients.answers


def test_while_control_is_away_a_killed_router_takes_nothing_along(server: Server):
    before = settled(server, GOOD)
    (control,) = role_pids(server, "control").values()
    (router,) = role_pids(server, "router").values()
    os.kill(control, signal.SIGSTOP)
    try:
        with Clients(server, GOOD, 8, adds=10) as clients:
            time.sleep(1.7)
            send(router)
    finally:
        with contextlib.suppress(ProcessLookupError):  # the supervisor may have taken it for dead
            os.kill(control, signal.SIGKILL)
    back(server, "control", {control})
    back(server, "router", {router})
    # A request that was counted and whose answer the client did not get any more is more, not less.
    assert 0 <= settled(server, GOOD) - before - clients.answers <= 8


@pytest.mark.parametrize("who", ["router", "everybody"])
def test_a_kill_loses_nothing(server: Server, who: str):
    before = settled(server, GOOD)
    with Clients(server, GOOD, 8, adds=10) as clients:
        time.sleep(2.5)
        if who == "router":
            (router,) = role_pids(server, "router").values()
            send(router)
            back(server, "router", {router})
        else:
            server.kill_everything()
    if who == "everybody":
        server.up()
    assert clients.answers > 500
    assert 0 <= settled(server, GOOD) - before - clients.answers <= 8


def test_what_a_killed_router_has_counted_outlives_the_server(server: Server):
    """Its memory is not left behind when nothing of the server runs any more."""
    before = settled(server, GOOD)
    with Clients(server, GOOD, 8, adds=10) as clients:
        time.sleep(1.0)
        server.kill_everything()
    journals = [path.readlink() for path in server.data.glob("reports/0/*.journal")]
    assert [path for path in journals if path.exists()]
    server.down()
    assert [path for path in journals if path.exists()] == []
    server.up()
    assert 0 <= settled(server, GOOD) - before - clients.answers <= 8


def test_what_instances_use_is_told(server: Server):
    def found() -> dict[str, float]:
        names = ("CPUUtilization", "MemoryUtilization", "DiskUtilization")
        told = {name: data(server, GOOD, "/aws/sagemaker/Endpoints", name, "Maximum") for name in names}
        return {name: max(points.values()) for name, points in told.items() if points}

    with Clients(server, GOOD, 4, adds=10):
        until(lambda: len(found()) == 3 and found()["CPUUtilization"] > 1, 60, "what instances use")
    assert 0 < found()["MemoryUtilization"] < 100
    assert 0 < found()["DiskUtilization"] <= 100
