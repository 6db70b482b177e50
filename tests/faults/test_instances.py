"""What 64 clients see while the instances that answer them die, hang, leak, and say what makes no sense."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import resource
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .clients import Clients, Connection, ask, instance_pids, percentile, records, role_pids, run, signed
from .conftest import Server, archive, until
from .hosted import assert_unharmed, create, delete, running, settled

SCRIPT = """
import json, os, signal, socket, stat, struct, threading, time

SEEN = []

def model_fn(model_dir):
    if os.environ.get("ENDS_AFTER_S"):
        threading.Timer(float(os.environ["ENDS_AFTER_S"]), os._exit, (7,)).start()
    return []

def routers():
    for number in range(3, 256):
        try:
            is_socket = stat.S_ISSOCK(os.fstat(number).st_mode)
        except OSError:
            continue
        if is_socket:
            with socket.socket(fileno=os.dup(number)) as sock:
                if sock.getsockname() and not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    yield sock

def transform_fn(model, body, content_type, accept):
    said = json.loads(body)
    if isinstance(said, int):
        return str(said), "application/json"
    act = said["act"]
    if act == "exit":
        os._exit(3)
    if act == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if act == "leak":
        while True:
            model.append(bytearray(os.urandom(4096)) * 256)
    if act == "garbage":
        for each in routers():
            each.send(os.urandom(4096))
    if act == "half":
        for each in routers():
            each.send(struct.pack("<IIBBH", 1000, 1, 3, 1, 0) + b"and no more")
            each.shutdown(socket.SHUT_RDWR)
    if act == "never":
        time.sleep(1000)
    if act == "raise":
        raise ValueError("row 7 has no price")
    if act == "slow":
        time.sleep(said["s"])
    if act == "note":
        SEEN.append(said["n"])
    if act == "seen":
        return json.dumps(SEEN), "application/json"
    if act == "large":
        return b"x" * said["bytes"], "application/octet-stream"
    return json.dumps(said), "application/json"
"""
MODEL = archive({"code/inference.py": SCRIPT.encode()})
HURRIED_S = 8
HURRIED = {"SAGEMAKER_MODEL_SERVER_TIMEOUT": str(HURRIED_S)}
ENDPOINTS = {"pair": 2, "trio": 3, "hurried": 2, "single": 1}
CLIENTS = 64


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("instances")) as started:
        for name, count in ENDPOINTS.items():
            create(started, name, MODEL, HURRIED if name == "hurried" else {}, instances=count)
        for name in ENDPOINTS:
            assert settled(started, name, MODEL)["EndpointStatus"] == "InService"
        yield started


def ready(server: Server, endpoint: str, but: set[int] | frozenset[int] = frozenset()) -> dict[str, int]:
    """The instances' processes once all of them are ready, none of them one of `but`."""

    def all_ready() -> dict[str, int] | None:
        found = instance_pids(server, endpoint)
        whole = len(found) == ENDPOINTS[endpoint] and not but & set(found.values())
        return found if whole and healthy(server) == sum(ENDPOINTS.values()) + 1 else None

    found: dict[str, int] = until(all_ready, 30, f"all instances of {endpoint}")
    return found


def healthy(server: Server) -> int:
    async def get() -> int:
        connection = await Connection.open(server)
        _, _, body = await connection.ask(b"GET /kedge/health HTTP/1.1\r\nHost: here\r\n\r\n")
        connection.close()
        return int(json.loads(body)["healthy_instances"])

    return int(run(get))


def restarts(server: Server, endpoint: str) -> int:
    return sum(int(each["restarts"]) for each in records(server, endpoint))


def act(server: Server, endpoint: str, what: str, **more: Any) -> tuple[int, dict[str, Any]]:
    status, _, body = ask(server, endpoint, json.dumps({"act": what, **more}).encode())
    return status, json.loads(body)


def test_one_of_two_is_killed_again_and_again(server: Server):
    pids = ready(server, "pair")
    with Clients(server, "pair", CLIENTS) as clients:
        for victim in itertools.islice(itertools.cycle(pids), 4):
            now = ready(server, "pair")
            answers = clients.answers
            os.kill(now[victim], 9)
            until(lambda: clients.answers > answers + 200, what="answers of the other one")  # noqa: B023
            ready(server, "pair", {now[victim]})
            time.sleep(1.0)  # what the kill left behind is answered one by one, and the next is not to meet it
    assert clients.errors == []
    assert clients.answers > 1000


def test_one_of_two_that_is_stopped_by_a_signal_is_replaced(server: Server):
    """Its connection stays open and says nothing: what it had is answered by the other one all the same."""
    pids = ready(server, "pair")
    victim = next(iter(pids.values()))
    with Clients(server, "pair", CLIENTS) as clients:
        until(lambda: clients.answers > 200, what="answers")
        os.kill(victim, signal.SIGSTOP)
        ready(server, "pair", {victim})
        answers = clients.answers
        until(lambda: clients.answers > answers + 500, what="answers of both")
    assert clients.errors == []


@pytest.mark.parametrize(
    ("endpoint", "what"), [("pair", "exit"), ("pair", "kill"), ("pair", "leak"), ("trio", "kill"), ("trio", "exit")]
)
def test_a_request_that_kills_costs_two_instances_and_one_answer(server: Server, endpoint: str, what: str):
    ready(server, endpoint)
    before = restarts(server, endpoint)
    with Clients(server, endpoint, CLIENTS) as clients:
        until(lambda: clients.answers > 200, what="some answers")
        status, said = act(server, endpoint, what)
        answers = clients.answers
        until(lambda: clients.answers > answers + 500, what="answers afterwards")
        ready(server, endpoint)
    assert (status, said["OriginalStatusCode"]) == (424, 0)
    assert "ended twice before it answered; it is not tried again" in said["Message"]
    assert clients.errors == []
    assert restarts(server, endpoint) - before == 2
    assert_unharmed(server)


@pytest.mark.parametrize("what", ["garbage", "half"])
def test_an_instance_that_does_not_speak_the_protocol_is_routed_around(server: Server, what: str):
    ready(server, "pair")
    before = restarts(server, "pair")
    with Clients(server, "pair", CLIENTS) as clients:
        until(lambda: clients.answers > 200, what="some answers")
        status, said = act(server, "pair", what)
        answers = clients.answers
        until(lambda: clients.answers > answers + 500, what="answers afterwards")
        ready(server, "pair")
    assert (status, said["OriginalStatusCode"]) == (424, 0)
    assert clients.errors == []
    assert restarts(server, "pair") - before <= 2
    assert_unharmed(server)


def test_a_model_that_raises_lives_on(server: Server):
    pids = ready(server, "pair")
    with Clients(server, "pair", CLIENTS) as clients:
        for _ in range(20):
            status, said = act(server, "pair", "raise")
            assert (status, said["OriginalStatusCode"]) == (424, 500)
            assert "ValueError: row 7 has no price" in said["Message"]
    assert clients.errors == []
    assert clients.answers > 200
    assert ready(server, "pair") == pids


def test_a_slow_model_is_not_taken_for_dead(server: Server):
    """Requests that take most of the time-out, one after another, on an instance that others ask too."""
    pids = ready(server, "hurried")
    with Clients(server, "hurried", 4) as clients:
        for _ in range(2):
            assert act(server, "hurried", "slow", s=0.6 * HURRIED_S) == (200, {"act": "slow", "s": 0.6 * HURRIED_S})
    assert clients.errors == []
    assert ready(server, "hurried") == pids


def test_of_an_instance_that_hangs_the_others_are_answered_elsewhere(server: Server):
    """Also those that waited behind it already."""
    ready(server, "hurried")
    before = restarts(server, "hurried")
    with Clients(server, "hurried", CLIENTS) as clients:
        until(lambda: clients.answers > 200, what="some answers")
        status, said = act(server, "hurried", "never")
        answers = clients.answers
        until(lambda: clients.answers > answers + 200, what="answers afterwards")
        ready(server, "hurried")
    assert (status, said["OriginalStatusCode"]) == (424, 0)
    assert "Your invocation timed out" in said["Message"]
    assert clients.errors == []
    # They were at it for two seconds at most, where the machine is quick, and not for all of the time-out.
    assert max(clients.took_s) < HURRIED_S - 1
    until(lambda: restarts(server, "hurried") == before + 1, what="a restart of the one that hung")


def test_a_client_that_goes_away_takes_its_request_out_of_the_queue(server: Server):
    ready(server, "single")

    async def leave() -> None:
        notes = [signed(server, "single", b'{"act": "note", "n": %d}' % number) for number in (*range(50), -1)]
        slow, stays, *leaving = [await Connection.open(server) for _ in range(52)]
        slow.writer.write(signed(server, "single", b'{"act": "slow", "s": 1.5}'))
        await asyncio.sleep(0.3)
        for connection, note in zip(leaving, notes, strict=False):
            connection.writer.write(note)
            await connection.writer.drain()
        await asyncio.sleep(0.3)
        for connection in leaving:
            connection.close()
        assert (await stays.ask(notes[-1]))[0] == 200
        assert (await slow.answer())[0] == 200
        slow.close()
        stays.close()

    run(leave)
    assert act(server, "single", "seen") == (200, [-1])


def test_who_does_not_read_holds_nobody_up(server: Server):
    """1.6 GB of answers that nobody takes: others are served as before, and the router's memory is bounded."""
    ready(server, "single")
    (router,) = role_pids(server, "router").values()
    most, took_s = 0, []

    async def load() -> None:
        nonlocal most
        large = signed(server, "single", b'{"act": "large", "bytes": 20000000}')
        small = signed(server, "single", b"7")
        sleeping = []
        other = await Connection.open(server)
        for _ in range(80):
            # Its reader stops after the first few bytes, as nobody takes them from it.
            connection = await Connection.open(server, limit=1024)
            connection.writer.write(large)
            assert (await connection.reader.readexactly(12)) == b"HTTP/1.1 200"
            sleeping.append(connection)
            began_s = time.monotonic()
            assert (await other.ask(small))[::2] == (200, b"7")
            took_s.append(time.monotonic() - began_s)
            most = max(most, memory_bytes(router))
        for each in [*sleeping, other]:
            each.writer.transport.abort()

    run(load)
    assert percentile(took_s, 0.9) < 1.0
    assert most < 1_000_000_000
    assert_unharmed(server)


def memory_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def test_a_model_that_ends_again_and_again_is_started_ever_later(server: Server):
    """It was ready each time, so it is never given up; others do not feel it, and the status says what happens."""
    create(server, "flaps", MODEL, {"ENDS_AFTER_S": "0.5"})
    assert settled(server, "flaps")["EndpointStatus"] == "InService"
    with Clients(server, "pair", 8) as clients:
        until(lambda: restarts(server, "flaps") >= 5, 30, "five restarts")
        began_s = time.monotonic()
        until(lambda: restarts(server, "flaps") >= 6, 30, "a sixth")
        took_s = time.monotonic() - began_s
    assert took_s > 2 * 0.5, "it lives for half a second, and is away for longer than that by now"
    assert clients.errors == []
    (found,) = records(server, "flaps")
    assert "7" in found["reason"], found["reason"]
    delete(server, "flaps")
    assert_unharmed(server)
