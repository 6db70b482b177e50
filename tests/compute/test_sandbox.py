"""Sandboxes of real instances: what they are in, how they end, what is missing where a machine lacks something."""

from __future__ import annotations

import os
import signal

import pytest

from kedge.compute import records
from kedge.compute.base import TaskState
from kedge.compute.processes import LocalEngine
from kedge.compute.sandbox import LAYERS, probe
from kedge.errors import ResourceLimitExceeded
from kedge.home import write_whole

from .conftest import Server, gone, kill, reached, spec, until, vanished

READY, FAILED = TaskState.READY, TaskState.FAILED
NAMESPACES = ("user", "mnt", "pid", "ipc", "uts", "net")
EVERYTHING = ",".join([*LAYERS, "own_proc"])
complete = pytest.mark.skipif(probe() != set(LAYERS), reason="this machine has not every layer")


def namespaces(pid: int) -> dict[str, str]:
    return {name: os.readlink(f"/proc/{pid}/ns/{name}") for name in NAMESPACES}


def gate_of(server: Server, task: str) -> int:
    found = records.read_task(server.data / "tasks" / task / records.RECORD)
    assert found is not None
    assert found.gate is not None
    return found.gate.pid


@complete
async def test_an_instance_has_namespaces_of_its_own_and_its_gate_ends_with_it(running: Server, engine: LocalEngine):
    await engine.start(spec("one"))
    await engine.start(spec("two"))
    one, two = [await reached(engine, task, READY) for task in ("one", "two")]
    assert one.pid
    assert two.pid
    sets = [namespaces(pid) for pid in (os.getpid(), one.pid, two.pid)]
    for name in NAMESPACES:
        assert len({each[name] for each in sets}) == 3, name
    seen = running.seen("one")
    assert seen["host_name"] == "instance"
    assert "passwd" in seen["etc"]
    assert "shadow" not in seen["etc"]
    gate = gate_of(running, "one")
    inside = namespaces(gate)
    assert inside["pid"] == sets[1]["pid"]
    assert inside["net"] == sets[0]["net"]  # it is the way to the API port
    await engine.stop("one")
    await vanished(engine, "one")
    assert gone(gate)
    assert not gone(gate_of(running, "two"))


async def test_who_kills_the_gate_kills_the_instance_which_comes_back(running: Server, engine: LocalEngine):
    if not running.status()["capabilities"]["pid_namespace"]:
        pytest.skip("this machine has no pid namespaces")
    await engine.start(spec())
    first = await reached(engine, "one", READY)
    gate = gate_of(running, "one")
    kill(gate)
    second = await reached(engine, "one", READY, not_pid=first.pid)
    assert second.restarts == 1
    assert gate_of(running, "one") != gate


async def test_a_sandbox_is_adopted_with_its_instance(server: Server):
    server.up()
    engine = LocalEngine(server.home)
    await engine.start(spec())
    pid = (await reached(engine, "one", READY)).pid
    gate = gate_of(server, "one")
    server.kill_supervisor()
    server.up()
    assert (await reached(engine, "one", READY)).pid == pid
    assert gate_of(server, "one") == gate
    assert not gone(gate)
    await engine.stop("one")
    await vanished(engine, "one")
    assert gone(gate)
    await engine.close()


async def test_a_dead_keeper_is_replaced_and_its_sandboxes_live(running: Server, engine: LocalEngine):
    await engine.start(spec())
    pid = (await reached(engine, "one", READY)).pid
    before = running.pid("keeper")
    kill(before)
    await engine.start(spec("two"))
    await reached(engine, "two", READY)
    assert running.pid("keeper") != before
    assert (await reached(engine, "one", READY)).pid == pid


@pytest.mark.parametrize(
    "without",
    [
        "mount_namespace",
        "pid_namespace",
        "network_namespace,own_proc,landlock",
        "user_namespace,mount_namespace,pid_namespace,network_namespace,ipc_namespace,uts_namespace,own_proc",
        EVERYTHING,
        "fork_server,pid_namespace",
    ],
)
async def test_every_layer_may_be_missing(server: Server, without: str):
    server.up("--ephemeral", "--without", without)
    missing = [name for name in without.split(",") if name in LAYERS]
    if missing:
        assert server.status()["sandbox"]["missing"] == [n for n in LAYERS if n in missing or n not in probe()]
    engine = LocalEngine(server.home)
    await engine.start(spec())
    first = await reached(engine, "one", READY)
    assert first.pid
    os.kill(first.pid, signal.SIGKILL)
    assert (await reached(engine, "one", READY, not_pid=first.pid)).restarts == 1
    gate = gate_of(server, "one")
    await engine.stop("one")
    await vanished(engine, "one")
    assert gone(gate)
    await engine.start(spec("two"))
    await reached(engine, "two", READY)
    pids = [*server.pids(), gate_of(server, "two")]
    await engine.close()
    server.kill_supervisor()
    until(lambda: all(gone(pid) for pid in pids), "the end of every process")


def test_it_says_what_is_missing_and_starts_without_only_if_it_may(server: Server):
    server.spawn("--without", "seccomp", KEDGE_REQUIRE_SANDBOX="1")
    assert server.wait() == 1
    assert "seccomp" in server.said()
    assert server.said().count("\n") == 1
    server.up("--without", "seccomp,landlock")
    line = server.said().splitlines()[-1]
    assert line.startswith("The sandbox around instances lacks: ")
    assert "landlock, seccomp" in line


@complete
def test_nothing_is_said_where_every_layer_works(server: Server):
    server.up(KEDGE_REQUIRE_SANDBOX="1")
    assert server.said() == ""


@pytest.mark.parametrize("do", ["grow", "eat"])
async def test_memory_is_bounded_without_control_groups(server: Server, do: str):
    server.up("--ephemeral", "--without", "control_groups")
    assert server.status()["capabilities"]["memory_limit"] == "watchdog"
    engine = LocalEngine(server.home)
    await engine.start(spec("eater", do, memory_bytes=100 * 2**20))
    reason = (await reached(engine, "eater", FAILED)).reason
    # Who takes it slowly is ended; who takes it at once does not get it.
    assert ("used more memory than the 0.0976562 GiB" if do == "grow" else "MemoryError") in reason
    await engine.close()


async def test_gpus_belong_to_one_instance_at_a_time(server: Server):
    server.up(KEDGE_GPUS="2")
    engine = LocalEngine(server.home)
    assert server.status()["gpus"] == 2
    for task in ("one", "two"):
        await engine.start(spec(task, gpus=1))
        await reached(engine, task, READY)
    await engine.start(spec("none"))
    await reached(engine, "none", READY)
    shown = [server.seen(task)["own"]["CUDA_VISIBLE_DEVICES"] for task in ("one", "two", "none")]
    assert shown == ["0", "1", ""]
    server.kill_supervisor()
    server.up(KEDGE_GPUS="2")
    with pytest.raises(ResourceLimitExceeded, match="needs 1 GPUs; 0 of 2 are free"):
        await engine.start(spec("three", gpus=1))
    await engine.stop("one")
    await vanished(engine, "one")
    await engine.start(spec("three", gpus=1))
    await reached(engine, "three", READY)
    assert server.seen("three")["own"]["CUDA_VISIBLE_DEVICES"] == "0"
    await engine.close()


async def test_a_signal_without_a_name_is_a_reason_too(engine: LocalEngine):
    await engine.start(spec("odd", "rt-signal"))
    assert (await reached(engine, "odd", FAILED)).reason.startswith("The instance was ended by signal ")


async def test_what_an_instance_puts_in_its_folder_does_not_hold_up_the_supervisor(server: Server):
    server.up()
    engine = LocalEngine(server.home)
    await engine.start(spec("slow", "sleep"))
    pid = until(lambda: server.status()["instances"][0]["pid"])
    state = server.data / "tasks" / "slow" / records.STATE
    server.kill_supervisor()
    os.mkfifo(state)
    server.up()
    assert server.status()["running"]
    state.unlink()
    state.symlink_to("/dev/zero")
    assert server.status()["instances"][0]["pid"] == pid
    state.unlink()
    write_whole(state, b'{"state": "ready"}')
    assert (await reached(engine, "slow", READY)).pid == pid
    await engine.close()
