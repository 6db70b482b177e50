"""The supervisor and what survives it, with real processes that are really killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kedge import node
from kedge.compute.base import TaskState
from kedge.compute.process_id import read_stat
from kedge.compute.processes import LocalEngine
from kedge.home import run_folder
from kedge.node import lock, ports

from .conftest import WITHIN_S, Server, gone, kill, reached, spec, until

READY = TaskState.READY


async def started(server: Server, *tasks: str) -> list[int]:
    """Ready instances; returns their pids."""
    engine = LocalEngine(server.home)
    for task in tasks:
        await engine.start(spec(task))
    pids = [(await reached(engine, task, READY)).pid for task in tasks]
    await engine.close()
    return [pid for pid in pids if pid]


async def ready_again(server: Server, task: str) -> int:
    engine = LocalEngine(server.home)
    status = await reached(engine, task, READY)
    await engine.close()
    assert status.pid
    return status.pid


def test_up_status_and_down(server: Server):
    server.up("--routers", "2")
    assert server.ask()["task"] == "control"
    assert server.ask("inference_url")["task"] in ("router-0", "router-1")
    status = server.status()
    assert status["running"]
    assert status["pid"] == server.ready["pid"] == server.pid("supervisor")
    tasks = ["supervisor", "control", "router-0", "router-1", "capture", "keeper", "forkserver"]
    assert [each["task"] for each in status["roles"]] == tasks
    assert json.loads(server.home.run_file.read_bytes())["pid"] == server.ready["pid"]
    pids = server.pids()
    assert node.down(server.data) == 0
    assert server.wait() == 0
    assert all(gone(pid) for pid in pids)
    assert not (server.data / "run.json").exists()
    assert not run_folder(server.data).exists()
    assert not server.status()["running"]
    assert node.down(server.data) == 0
    assert not run_folder(server.data).exists()
    server.up()
    assert server.ask()["task"] == "control"


def test_keys_are_for_nobody_below(server: Server):
    server.up(KEDGE_ROOT_ACCESS_KEY="AKIAROOT", KEDGE_ROOT_SECRET_KEY="root-secret")
    assert server.ready["secret_access_key"] == "root-secret"
    for task in ("control", "router-0", "capture", "keeper", "forkserver"):
        environment = Path(f"/proc/{server.pid(task)}/environ").read_bytes()
        assert b"root-secret" not in environment
        assert (b"SECRET_OF_THE_OPERATOR" in environment) == (task not in ("keeper", "forkserver"))


def test_it_says_which_settings_of_the_first_start_are_others_now(server: Server):
    first = {"KEDGE_ACCOUNT_ID": "123456789012", "KEDGE_ROOT_ACCESS_KEY": "AKIAROOT", "KEDGE_ROOT_SECRET_KEY": "old"}
    server.up(**first)
    node.down(server.data)
    server.wait()
    server.up(**first)
    assert "keeps" not in server.said()
    node.down(server.data)
    server.wait()
    server.up()
    assert "keeps" not in server.said(), "what is not set asks for nothing"
    node.down(server.data)
    server.wait()
    server.up(KEDGE_ACCOUNT_ID="210987654321", KEDGE_REGION="eu-west-1")
    assert "KEDGE_ACCOUNT_ID is 210987654321, but" in server.said()
    assert "was made with us-east-1, and keeps it." in server.said()
    node.down(server.data)
    server.wait()
    server.up(**{**first, "KEDGE_ROOT_SECRET_KEY": "new"})
    assert "KEDGE_ROOT_SECRET_KEY is not the key" in server.said()
    assert "new" not in server.said().partition("KEDGE_ROOT_SECRET_KEY")[2]


@pytest.mark.parametrize("task", ["control", "router-0"])
def test_a_killed_role_comes_back_and_connections_wait_meanwhile(server: Server, task: str):
    server.up()
    url = "api_url" if task == "control" else "inference_url"
    before = server.pid(task)
    kill(before)
    assert server.ask(url)["pid"] != before


async def test_the_next_supervisor_adopts(server: Server):
    server.up()
    (instance,) = await started(server, "one")
    roles = [server.pid("control"), server.pid("router-0"), server.pid("capture")]
    old = server.ready
    server.kill_supervisor()
    assert server.ask()["pid"] == roles[0]
    assert server.status()["running"] is False
    assert instance in server.pids()
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        server.up("--api-port", str(taken))
    assert (server.ready["api_url"], server.ready["inference_url"]) == (old["api_url"], old["inference_url"])
    assert f"to have {taken}, `kedge down` first" in server.said()
    assert [server.pid("control"), server.pid("router-0"), server.pid("capture")] == roles
    assert await ready_again(server, "one") == instance
    # It watches them, though they are not its children.
    kill(roles[0])
    assert server.ask()["pid"] != roles[0]
    kill(roles[2])
    until(
        lambda: (
            [each["restarts"] for each in server.status()["roles"] if each["task"] == "capture" and each["pid"]] == [1]
        )
    )
    kill(instance)
    engine = LocalEngine(server.home)
    assert (await reached(engine, "one", READY, not_pid=instance)).restarts == 1
    await engine.close()


async def test_everything_killed_comes_back(server: Server):
    server.up()
    (before,) = await started(server, "one")
    pids = server.pids()
    server.kill_supervisor()
    for pid in pids:
        kill(pid)
    server.up()
    assert await ready_again(server, "one") not in (0, before)
    assert server.ask()["task"] == "control"


async def test_down_keeps_the_records_and_up_brings_the_instances_back(server: Server):
    server.up()
    await started(server, "one")
    node.down(server.data)
    assert server.wait() == 0
    assert [each["state"] for each in server.status()["instances"]] == ["stopped"]
    server.up()
    await ready_again(server, "one")


async def test_an_instance_that_was_just_starting_is_adopted_too(server: Server):
    server.up()
    engine = LocalEngine(server.home)
    await engine.start(spec("slow", "sleep"))
    pid = until(lambda: server.status()["instances"][0]["pid"])
    server.kill_supervisor()
    (server.data / "tasks" / "slow" / "report" / "state.json").write_text('{"state": "ready"}')
    server.up()
    assert (await reached(engine, "slow", READY)).pid == pid
    await engine.close()


async def test_a_stop_survives_the_supervisor(server: Server):
    server.up()
    engine = LocalEngine(server.home)
    await engine.start(spec("deaf", "deaf", stop_grace_s=1.0))
    pid = (await reached(engine, "deaf", READY)).pid
    await engine.stop("deaf")
    server.kill_supervisor()
    assert pid
    assert not gone(pid)
    server.up()
    until(lambda: gone(pid), "the end of the stopped instance")
    until(lambda: not server.status()["instances"])
    await engine.close()


async def test_what_no_record_claims_is_killed(server: Server):
    server.up()
    one, two = await started(server, "one", "two")
    server.kill_supervisor()
    (server.data / "tasks" / "two" / "record.json").write_text("{")
    server.up()
    assert gone(two)
    assert not gone(one)
    assert [each["id"] for each in server.status()["instances"]] == ["one"]


def test_a_role_that_does_not_dial_in_is_replaced(server: Server):
    server.up()
    stuck, router = server.pid("control"), server.pid("router-0")
    port = server.ready["api_url"].rpartition(":")[2]
    server.kill_supervisor()
    os.kill(stuck, signal.SIGSTOP)
    server.up("--api-port", port)
    assert gone(stuck)
    assert server.ask()["pid"] == server.pid("control") != stuck
    assert server.pid("router-0") == router


def test_roles_with_other_settings_give_way_on_the_same_sockets(server: Server):
    server.up("--routers", "2")
    old, extra = server.pid("router-0"), server.pid("router-1")
    url = server.ready["inference_url"]
    server.kill_supervisor()
    server.up(KEDGE_BODY_LIMIT_BYTES="1000")
    assert server.ready["inference_url"] == url
    assert server.ask("inference_url")["pid"] == server.pid("router-0") != old
    until(lambda: gone(extra), "the end of the second router")


def test_a_second_supervisor_is_refused(server: Server):
    server.up()
    second = Server(server.data)
    try:
        assert second.spawn().wait(15) == 1
        assert f"already runs on {server.data} at {server.ready['api_url']}" in second.said()
        assert second.said().count("\n") == 1
    finally:
        second.wait()
        second.errors.close()
    assert server.ask()["task"] == "control"


@pytest.mark.parametrize("flag", ["--api-port", "--inference-port"])
def test_a_taken_port_is_named_with_its_flag(server: Server, flag: str):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        server.spawn(flag, str(port))
        assert server.wait() == 1
    assert server.said() == f"Port {port} on 127.0.0.1 is taken; choose another by {flag} (0 takes any free port).\n"
    assert server.pids() == []
    assert not run_folder(server.data).exists()


def test_a_role_that_cannot_start_ends_the_start(server: Server):
    server.spawn("--broken-control")
    assert server.wait() == 1
    assert "control ended 3 times" in server.said()
    assert "no table 5" in server.said()
    assert server.pids() == []


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("KEDGE_INSTANCE_TYPES", "/not/there", 'instance_types is "/not/there", which cannot be used: '),
        ("KEDGE_DATABASE_URL", "mysql://host/db", "database_url is mysql://host/db; it has to be sqlite:///FILE or "),
        ("KEDGE_DATABASE_URL", "sqlite:////not/there/x.db", "The resource store /not/there/x.db cannot be opened: "),
    ],
)
def test_what_control_refuses_ends_the_start_at_once(tmp_path: Path, variable: str, value: str, sentence: str):
    done = subprocess.run(
        [*(sys.executable, "-m", "kedge", "up", "--api-port", "0", "--inference-port", "0"), "--data", str(tmp_path)],
        env={**os.environ, variable: value},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(sentence)
    assert done.stderr.count("\n") == 1
    assert (tmp_path / "log" / "control.log").read_text() == done.stderr


def test_a_role_that_was_ready_once_is_started_again_whatever_it_says(server: Server):
    server.up(REFUSE_SECOND_START="1")
    before = server.pid("control")
    kill(before)
    assert server.ask()["pid"] != before


@pytest.mark.parametrize(
    ("address", "tls", "warned"),
    [
        ("0.0.0.0", False, True),
        ("::", False, True),
        ("127.0.0.1", False, False),
        ("::1", False, False),
        ("::", True, False),
    ],
)
def test_it_says_when_requests_travel_unencrypted(address: str, tls: bool, warned: bool):
    assert [each[:27] for each in ports.warnings(address, tls=tls)] == ["Requests travel unencrypted"] * warned


async def test_ephemeral_dies_whole_and_its_folder_goes_at_the_next_start(server: Server):
    server.up("--ephemeral")
    await started(server, "one")
    pids, folder = server.pids(), server.data
    assert len(pids) == 7
    server.kill_supervisor()
    until(lambda: all(gone(pid) for pid in pids), "the end of every process")
    assert folder.exists()
    os.utime(folder, (time.time() - 60, time.time() - 60))
    server.up("--ephemeral")
    assert not folder.exists()
    assert not run_folder(folder).exists()
    last = server.data
    node.down(last)
    assert server.wait() == 0
    assert not last.exists()


async def test_an_ephemeral_server_in_a_chosen_folder(server: Server):
    chosen = server.data
    server.up("--ephemeral", "--in-data")
    assert server.data == chosen
    await started(server, "one")
    pids = server.pids()
    second = Server(chosen)
    assert second.spawn("--ephemeral", "--in-data").wait(WITHIN_S) == 1
    assert "already runs" in second.said()
    second.wait()
    second.errors.close()
    assert (chosen / "node.json").exists(), "the second one took the first one's folder away"
    server.kill_supervisor()
    until(lambda: all(gone(pid) for pid in pids), "the end of every process")
    (chosen / "objects" / "left").write_text("over")
    server.up("--ephemeral", "--in-data")
    assert not (chosen / "objects" / "left").exists()
    assert server.status()["instances"] == []
    node.down(chosen)
    assert server.wait() == 0
    assert not chosen.exists()


@pytest.mark.parametrize("kept", ["a file of somebody's", "the state of a lasting server"])
def test_an_ephemeral_server_takes_no_folder_that_holds_anything_else(server: Server, kept: str):
    if kept.startswith("a file"):
        server.data.mkdir()
        (server.data / "thesis.txt").write_text("mine")
    else:
        server.up()
        server.kill_supervisor()
    before = {each.name for each in server.data.iterdir()}
    refused = Server(server.data)
    assert refused.spawn("--ephemeral", "--in-data").wait(WITHIN_S) == 1
    assert "is not empty" in refused.said()
    refused.wait()
    refused.errors.close()
    assert {each.name for each in server.data.iterdir()} == before


def test_a_lock_whose_folder_was_removed_meanwhile_is_none(tmp_path: Path):
    path = tmp_path / "lock"
    first = lock.acquire(path)
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(lock.acquire, path, WITHIN_S)
        path.unlink()
        os.close(first)
        held = second.result()
    assert os.path.samestat(os.fstat(held), path.stat())
    with pytest.raises(lock.Held):
        lock.acquire(path)
    os.close(held)


async def test_down_with_a_dead_supervisor_ends_all(server: Server):
    server.up()
    await started(server, "one")
    pids = server.pids()
    server.kill_supervisor()
    assert node.down(server.data) == 0
    assert [pid for pid in pids if read_stat(pid)] == []
    with pytest.raises(urllib.error.URLError):
        server.ask()


async def test_a_second_signal_hurries_the_end(server: Server):
    server.up()
    engine = LocalEngine(server.home)
    await engine.start(spec("deaf", "deaf", stop_grace_s=600))
    pid = (await reached(engine, "deaf", READY)).pid
    await engine.close()
    assert pid
    assert server.process is not None
    control = server.pid("control")
    server.process.terminate()
    until(lambda: gone(control), "the end of control")
    assert not gone(pid)
    server.process.terminate()
    assert server.wait() == 0
    assert gone(pid)


def test_detached_it_outlives_who_started_it(server: Server):
    server.up("--detach")
    assert server.wait() == 0
    assert server.process is not None
    assert server.ready["pid"] != server.process.pid
    assert server.ask()["task"] == "control"
    second = Server(server.data)
    assert second.spawn("--detach").wait(15) == 1
    assert "already runs" in second.said()
    second.wait()
    second.errors.close()
