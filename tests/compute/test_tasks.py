"""Tasks through the engine, as control uses it, with real processes."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import time
from pathlib import Path

import pytest

from kedge.compute.base import TaskState
from kedge.compute.processes import LocalEngine
from kedge.config import Settings
from kedge.errors import ConcurrentChange, ServiceUnavailable, ValidationFailed
from kedge.home import open_home

from .conftest import Server, gone, identity, reached, spec, until, vanished


def proc(pid: int, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text().strip()


def module_of(pid: int) -> str:
    """NAME of `python -P -m NAME`."""
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[3]


READY, FAILED, RESTARTING = TaskState.READY, TaskState.FAILED, TaskState.RESTARTING


async def test_an_instance_is_forked_and_leaves_everything_behind(running: Server, engine: LocalEngine):
    await engine.start(spec(labels={"endpoint": "e", "region": "eu-west-1"}))
    status = await reached(engine, "one", READY)
    assert status.labels["endpoint"] == "e"
    assert status.socket == str(running.home.instance_socket("one"))
    seen = running.seen("one")
    assert seen["cwd"] == str(running.data / "tasks" / "one" / "work")
    assert seen["session"]
    assert [n for n in seen["descriptors"] if n > 4] == []  # 0, 1, 2, the status pipe, and the folder that was listed
    environment = seen["environment"]
    assert "SECRET_OF_THE_OPERATOR" not in environment
    assert not [name for name in environment if name.startswith("AWS_")]
    assert environment["HOME"] == environment["TMPDIR"] == seen["cwd"]
    assert status.pid is not None
    # Asked now, not by the instance: it may look before the process between it and the fork server has ended.
    assert proc(status.pid, "stat").rpartition(") ")[2].split()[1] == str(running.ready["pid"])
    assert resource.prlimit(status.pid, resource.RLIMIT_CORE) == (0, 0)
    assert proc(status.pid, "oom_score_adj") == "500"
    assert proc(status.pid, "comm") == "kedge-instance"
    assert await engine.log_tail("one") == "doing serve"


async def test_a_fork_listens_soon_and_draws_its_own_numbers(running: Server, engine: LocalEngine):
    await engine.start(spec("first"))
    await reached(engine, "first", READY)
    began = time.monotonic()
    await engine.start(spec("second"))
    await reached(engine, "second", READY)
    assert time.monotonic() - began < 4.0  # 30 ms on an idle machine; this one may be busy
    assert running.seen("first")["draw"] != running.seen("second")["draw"]


async def test_starting_twice_is_starting_once(engine: LocalEngine):
    await engine.start(spec())
    pid = (await reached(engine, "one", READY)).pid
    await engine.start(spec())
    assert [status.pid for status in await engine.observe()] == [pid]
    with pytest.raises(ConcurrentChange, match="another spec"):
        await engine.start(spec(cores=2.0))
    with pytest.raises(ValidationFailed, match=r"\.\./x"):
        await engine.start(spec("../x"))


async def test_stop_ends_forgets_and_may_be_repeated(running: Server, engine: LocalEngine):
    await engine.start(spec())
    status = await reached(engine, "one", READY)
    process = identity(status.pid)
    await engine.stop("one")
    await engine.stop("one")
    await vanished(engine, "one")
    await engine.stop("one")
    assert not process.alive()
    assert list((running.data / "tasks").iterdir()) == []
    assert not running.home.instance_socket("one").exists()


async def test_a_deaf_instance_is_killed_after_its_grace_or_at_once(engine: LocalEngine):
    await engine.start(spec("deaf", "deaf", stop_grace_s=0.2))
    await engine.start(spec("deafer", "deaf", stop_grace_s=600))
    await reached(engine, "deaf", READY)
    await reached(engine, "deafer", READY)
    await engine.stop("deaf")
    await vanished(engine, "deaf")
    await engine.stop("deafer")
    assert (await reached(engine, "deafer", TaskState.STOPPING)).pid
    with pytest.raises(ConcurrentChange, match="being stopped"):
        await engine.start(spec("deafer", "deaf", stop_grace_s=600))
    await engine.stop("deafer", at_once=True)
    await vanished(engine, "deafer")


async def test_one_that_leaves_for_good_has_the_longer_time(engine: LocalEngine):
    await engine.start(spec("deaf", "deaf", stop_grace_s=0.2, drain_s=600))
    await reached(engine, "deaf", READY)
    await engine.stop("deaf")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.0):
            await vanished(engine, "deaf")
    await engine.stop("deaf", at_once=True)
    await vanished(engine, "deaf")


async def test_what_says_that_it_failed_is_not_tried_again(engine: LocalEngine):
    await engine.start(spec("bad", "fail"))
    status = await reached(engine, "bad", FAILED)
    assert status.reason == "The model is not there.\ndoing fail"
    assert status.restarts == 0
    assert status.pid is None
    await engine.stop("bad")
    await vanished(engine, "bad")


async def test_a_crash_before_ready_gets_a_second_try(engine: LocalEngine):
    await engine.start(spec("bad", "crash"))
    await engine.start(spec("shaky", "crash-once"))
    status = await reached(engine, "bad", FAILED)
    assert status.reason.startswith("The instance was ended by SIGSEGV.\n")
    assert status.reason.count("doing crash") == 2
    assert (await reached(engine, "shaky", READY)).restarts == 1


async def test_a_slow_start_is_ended(engine: LocalEngine):
    await engine.start(spec("slow", "sleep", start_timeout_s=1.5))
    status = await reached(engine, "slow", FAILED)
    assert status.reason == "The model was not loaded within 1.5 s.\ndoing sleep"


async def test_a_killed_instance_is_brought_back_at_once_under_the_same_socket(engine: LocalEngine):
    await engine.start(spec())
    first = await reached(engine, "one", READY)
    assert first.pid is not None
    changes = engine.changes()
    assert (await anext(changes)).pid == first.pid
    os.kill(first.pid, signal.SIGKILL)
    second = await reached(engine, "one", READY, not_pid=first.pid)
    assert (second.restarts, second.socket) == (1, first.socket)
    assert "SIGKILL" in second.reason
    states = []
    async with asyncio.timeout(5):
        async for status in changes:
            states.append(status.state)
            if status.state is READY:
                break
    await changes.aclose()  # type: ignore[attr-defined]
    assert set(states) <= {RESTARTING, READY}
    assert states[-1] is READY


async def test_memory_is_bounded_where_groups_can_be_made(running: Server, engine: LocalEngine):
    if not running.status()["capabilities"]["memory_limit"]:
        pytest.skip("this user may not make control groups here")
    await engine.start(spec("eater", "eat", memory_bytes=100 * 2**20))
    assert "used more memory than the 0.0976562 GiB" in (await reached(engine, "eater", FAILED)).reason


async def test_a_dead_fork_server_is_replaced_and_its_instances_live(running: Server, engine: LocalEngine):
    await engine.start(spec())
    pid = (await reached(engine, "one", READY)).pid
    before = running.pid("forkserver")
    os.kill(before, signal.SIGKILL)
    await engine.start(spec("two"))
    await reached(engine, "two", READY)
    assert running.pid("forkserver") != before
    assert (await reached(engine, "one", READY)).pid == pid


async def test_watchers_hear_of_what_happened_while_the_supervisor_was_away(server: Server):
    server.up()
    engine = LocalEngine(server.home)
    await engine.start(spec("one"))
    await engine.start(spec("two"))
    await reached(engine, "one", READY)
    await reached(engine, "two", READY)
    changes = engine.changes()
    known = {(await anext(changes)).id for _ in range(2)}
    assert known == {"one", "two"}
    server.kill_supervisor()
    tasks = server.data / "tasks"
    killed = next(each["pid"] for each in server.status()["instances"] if each["id"] == "two")
    os.kill(killed, signal.SIGKILL)
    (tasks / "two" / "record.json").unlink()
    server.up()
    async with asyncio.timeout(10):
        status = await anext(changes)
    assert (status.id, status.state) == ("two", TaskState.STOPPED)
    await changes.aclose()  # type: ignore[attr-defined]
    assert await engine.log_tail("one") == "doing serve"
    await engine.close()


async def test_without_a_supervisor_calls_end_in_a_clear_error(tmp_path):
    engine = LocalEngine(open_home(Settings(data_dir=tmp_path)), patience_s=0.2)
    with pytest.raises(ServiceUnavailable, match=r"within 0\.2 s"):
        await engine.observe()
    await engine.close()


async def test_reset_is_for_ephemeral_servers_and_quick(server: Server):
    server.up("--ephemeral")
    engine = LocalEngine(server.home)
    for number in range(8):
        await engine.start(spec(f"t{number}"))
    pids = [(await reached(engine, f"t{number}", READY)).pid for number in range(8)]
    await engine.start(spec("starting", "sleep"))
    began = time.monotonic()
    await engine.reset()
    assert time.monotonic() - began < 4.0  # 20 ms on an idle machine; none is given its grace of 5 s
    assert await engine.observe() == []
    assert all(gone(pid) for pid in pids if pid)
    await engine.start(spec("t0"))
    await reached(engine, "t0", READY)
    await engine.close()


async def test_an_ordinary_server_is_not_reset(engine: LocalEngine):
    with pytest.raises(ValidationFailed, match="--ephemeral"):
        await engine.reset()


async def test_a_fork_server_with_a_thread_never_forks(server: Server):
    server.up("--threaded")
    engine = LocalEngine(server.home)
    await engine.start(spec())
    status = await reached(engine, "one", READY)
    assert status.pid
    assert module_of(status.pid) == "kedge.compute.instance"
    await engine.close()


@pytest.mark.parametrize("without", ["fork_server", "fork_server,subreaper,parent_death_signal,pidfd,proc"])
async def test_fresh_processes_where_nothing_can_be_forked(server: Server, without: str):
    server.up("--ephemeral", "--without", without)
    engine = LocalEngine(server.home)
    await engine.start(spec())
    status = await reached(engine, "one", READY)
    assert "SECRET_OF_THE_OPERATOR" not in server.seen("one")["environment"]
    await engine.close()
    pids = server.pids()
    assert status.pid in pids
    server.kill_supervisor()
    until(lambda: all(gone(pid) for pid in pids), "the end of every process")
