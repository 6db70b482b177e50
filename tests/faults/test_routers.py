"""What clients see while routers die, end, and come back. Two of them share the inference port here."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Iterator

import pytest

from kedge.home import run_folder

from .clients import Clients, Connection, Kill, role_pids, run, send, signed, unexplained
from .conftest import Server, until
from .hosted import GOOD, running

BACK_IN_S = 0.5


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("routers"), routers="2") as started:
        yield started


def both(server: Server, but: int = 0) -> dict[str, int]:
    """Two processes, none of them `but`, which both answer."""

    def found() -> dict[str, int] | None:
        pids = role_pids(server, "router")
        return pids if len(pids) == 2 and but not in pids.values() and answering(server) == set(pids.values()) else None

    pids: dict[str, int] = until(found, 20, "two routers")
    return pids


def answering(server: Server) -> set[int]:
    """Who accepts connections: several of a new one each find every router."""

    async def pid() -> int:
        connection = await Connection.open(server)
        try:
            _, _, body = await connection.ask(b"GET /kedge/health HTTP/1.1\r\nHost: here\r\n\r\n")
        finally:
            connection.close()
        said = json.loads(body)
        return int(said["pid"]) if said["healthy_instances"] else 0

    async def all_of_them() -> set[int]:
        return set(await asyncio.gather(*(pid() for _ in range(16))))

    found: set[int] = run(all_of_them)
    return found


def test_of_a_killed_router_only_what_it_had_read_is_lost(server: Server):
    kills: list[Kill] = []
    both(server)
    with (
        Clients(server, GOOD, 32, adds=10) as steady,
        Clients(server, GOOD, 4, adds=10, requests_each=1) as new,
    ):
        for number in range(3):
            victim = sorted(both(server).items())[number % 2][1]
            kills.append(send(victim))
            answers = steady.answers
            until(lambda: steady.answers > answers + 200, what="answers of the other one")  # noqa: B023
            both(server, but=victim)
    assert unexplained(steady.failures, kills) == []
    assert unexplained(new.failures, kills) == []
    # A connection was in one of the routers, or it is new: each fails at most once a kill.
    assert 0 < len(steady.failures) <= 32 * len(kills)
    assert len(new.failures) <= 4 * len(kills)
    assert new.answers > 100


def test_a_router_that_is_stopped_by_a_signal_is_replaced(server: Server):
    victim = next(iter(both(server).values()))
    with Clients(server, GOOD, 8, adds=10) as clients:
        os.kill(victim, signal.SIGSTOP)
        both(server, but=victim)
        answers = clients.answers
        until(lambda: clients.answers > answers + 100, what="answers of both")
    # What it had read is lost with it, and nothing else.
    assert len(clients.failures) <= 8


@pytest.mark.parametrize("with_control", [True, False])
def test_routers_that_are_all_killed_are_back_at_once_with_the_last_table(server: Server, with_control: bool):
    both(server)
    requests = [signed(server, GOOD, b"%d" % number) for number in range(2)]
    pids = set(role_pids(server, "router").values())
    control = 0
    if not with_control:
        control = next(iter(server.pids("control")))
        os.kill(control, signal.SIGSTOP)  # it is there, and says nothing
    try:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        began_s = time.monotonic()

        async def ask() -> list[tuple[int, dict[str, str], bytes]]:
            connection = await Connection.open(server)
            try:
                return [await connection.ask(each) for each in requests]
            finally:
                connection.close()

        answers = run(ask)
        took_s = time.monotonic() - began_s
    finally:
        if control:
            with contextlib.suppress(ProcessLookupError):  # the supervisor may have taken it for dead
                os.kill(control, signal.SIGCONT)
    assert [(status, body) for status, _, body in answers] == [(200, b"10"), (200, b"11")]
    print(f"back after {took_s:.3f} s")
    # The bound is that of an idle machine; this one may run other tests.
    assert took_s < 4 * BACK_IN_S
    both(server)


def test_a_planned_restart_loses_nothing(server: Server):
    both(server)
    with Clients(server, GOOD, 64, adds=10) as clients:
        for number in range(2):
            pids = sorted(both(server).items())
            victim = pids[number % 2][1]
            os.kill(victim, signal.SIGTERM)
            both(server, but=victim)
    assert clients.errors == []
    assert clients.answers > 500


@pytest.mark.parametrize("damage", ["cut", "old", "wrong", "silent"])
def test_what_does_not_read_as_a_table_is_not_served(server: Server, damage: str):
    """Somebody who answers at control's socket in its place, while requests come in."""
    pids = both(server)
    path = server.data / "routing.json"
    table = path.read_bytes()
    (control,) = server.pids("control")
    version = json.loads(table)["version"]
    data = {
        "cut": table[: len(table) // 2],
        "old": table.replace(b'"version":%d' % version, b'"version":%d' % (version - 1), 1),
        "wrong": table.replace(b'"endpoints"', b'"endpoint_"', 1),
        "silent": b"",
    }[damage]
    assert data != table
    place = run_folder(server.data) / "control.sock"
    os.kill(control, signal.SIGSTOP)
    with socket.socket(socket.AF_UNIX) as listener:
        place.unlink()
        listener.bind(str(place))
        listener.listen()
        listener.settimeout(20)
        send(next(iter(pids.values())))
        sock, _ = listener.accept()  # of the router that comes after it
        both(server, but=next(iter(pids.values())))
        with Clients(server, GOOD, 16, adds=10) as clients:
            for _ in range(2):
                with sock:
                    sock.settimeout(20)
                    # Of what is half-written the rest never comes.
                    length = len(data) * (2 if damage == "cut" else 1)
                    sock.sendall(length.to_bytes(4, "little") + data)
                    if damage in ("old", "wrong"):
                        answer = json.loads(sock.recv(4096)[4:])
                        assert not answer["accepted"]
                        assert answer["reason"]
                sock, _ = listener.accept()
            sock.close()
            before = clients.answers
            until(lambda: clients.answers > before + 100, what="answers by the table that was there")
    with contextlib.suppress(ProcessLookupError):  # the supervisor may have taken it for dead
        os.kill(control, signal.SIGKILL)
    until(lambda: server.pids("control") not in ([], [control]), what="a new control process")
    assert clients.errors == []
    assert json.loads(path.read_bytes())["version"] >= version
