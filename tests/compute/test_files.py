"""Records, output, status files, locks and control groups: what the supervisor keeps on disk."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.compute import cgroup, output
from kedge.compute.base import TaskState
from kedge.compute.process_id import ProcessId
from kedge.compute.records import (
    RoleRecord,
    RunRecord,
    TaskRecord,
    read_run,
    read_task,
    read_tasks,
    write_run,
    write_task,
)
from kedge.compute.reports import StateFile, StatusPipe
from kedge.config import Settings
from kedge.home import open_home
from kedge.node import lock

from .conftest import spec

ME = ProcessId.of(os.getpid())


def record(task: str = "one") -> TaskRecord:
    wanted = spec(task, labels={"endpoint": "é"}, memory_bytes=5)
    return TaskRecord(wanted, wanted.digest(), "/s", TaskState.READY, ME, restarts=2, ever_ready=True, reason="x\ny")


def test_a_task_is_read_as_it_was_written(tmp_path):
    home = open_home(Settings(data_dir=tmp_path))
    (home.tasks / "one").mkdir()
    write_task(home, record())
    write_task(home, replace(record(), process=None))
    assert read_tasks(home) == [replace(record(), process=None)]
    assert read_tasks(home)[0].spec.digest() == record().spec_hash
    assert [path.name for path in (home.tasks / "one").iterdir()] == ["record.json"]


@given(st.binary(max_size=200))
def test_a_damaged_record_is_none(tmp_path_factory, data):
    file = tmp_path_factory.getbasetemp() / "damaged.json"
    file.write_bytes(data)
    assert read_task(file) is None
    assert read_run(file) is None


def test_a_run_is_read_as_it_was_written(tmp_path):
    roles = (RoleRecord("router", "router-0", ME, "h"),)
    run = RunRecord(ME, "http://a", "http://b", ephemeral=False, auth_required=True, ca_bundle="", roles=roles)
    write_run(tmp_path / "run.json", run)
    assert read_run(tmp_path / "run.json") == run
    assert read_run(tmp_path / "none.json") is None


def test_the_tail_is_the_last_lines(tmp_path):
    file = tmp_path / "output.log"
    assert output.tail(file, 5) == ""
    file.write_bytes(b"\n".join(b"line %d" % n for n in range(100)) + b"\n\xff")
    assert output.tail(file, 2) == "line 99\n\N{REPLACEMENT CHARACTER}"
    assert output.tail(file, 0) == ""
    assert len(output.tail(file, 1000, limit_bytes=50)) <= 50


def test_old_output_is_given_back_and_offsets_stay(tmp_path):
    file = tmp_path / "output.log"
    descriptor = output.open_for_append(file)
    try:
        line = b"x" * 4095 + b"\n"
        for _ in range(256):
            os.write(descriptor, line)
        output.bound(file, limit_bytes=2 << 20, kept_bytes=1 << 18)
        assert file.stat().st_blocks * 512 >= 1 << 20
        output.bound(file, limit_bytes=1 << 19, kept_bytes=1 << 18)
        assert file.stat().st_blocks * 512 <= 1 << 19
        os.write(descriptor, b"the end\n")
        assert output.tail(file, 1) == "the end"
        if file.stat().st_size > 1 << 20:  # the file system has holes
            assert file.stat().st_size == 256 * 4096 + 8
            assert file.read_bytes()[-8 - (1 << 18) : -8] == line * 64
    finally:
        os.close(descriptor)
    output.bound(tmp_path / "none.log")


async def test_reports_are_heard_and_noise_is_not(tmp_path):
    heard: list[object] = []
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    pipe = StatusPipe(read_end, heard.append)
    os.write(write_end, b'{"state": "ready"}\nnoise\n[1]\n{"state": "fai')
    os.write(write_end, b'led"}\n')
    os.close(write_end)
    pipe.close()
    pipe.close()
    assert heard == [{"state": "ready"}, {"state": "failed"}]
    heard.clear()
    file = StateFile(tmp_path / "state.json", heard.append)
    (tmp_path / "state.json").write_text('{"state": "ready"}')
    file.close()
    assert heard == [{"state": "ready"}]


def test_the_lock_is_one_process_s_and_says_whose(tmp_path):
    held = lock.acquire(tmp_path / "lock")
    lock.sign(held)
    assert lock.holder(tmp_path / "lock") == ME
    with pytest.raises(lock.Held):
        lock.acquire(tmp_path / "lock")
    # A child does not inherit it.
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, close_fds=False
    ) as child:
        os.close(held)
        os.close(lock.acquire(tmp_path / "lock", wait_s=5.0))  # it is let go in the middle of the child's exec
        child.communicate()
    assert lock.holder(tmp_path / "none") is None


def test_places_for_control_groups_of_both_versions():
    mounts = "tmpfs /sys tmpfs rw 0 0\ncgroup /v1/memory cgroup rw,memory 0 0\ncgroup2 /v2 cgroup2 rw 0 0\n"
    own = "5:cpu,memory:/user/x\n0::/slice/y\n"
    assert cgroup._places(mounts, own) == [
        (2, {"memory": [Path("/v2/slice/y"), Path("/v2")]}),
        (1, {"memory": [Path("/v1/memory/user/x"), Path("/v1/memory")]}),
    ]
    # A server that has moved itself makes its groups where it was.
    moved = cgroup._places(mounts, "0::/slice/y/kedge-server\n")
    assert moved[0] == (2, {"memory": [Path("/v2/slice/y"), Path("/v2")]})
    assert cgroup.find("x", Path("/none"), Path("/none")) is None


def test_a_group_of_version_2_is_made_and_read(tmp_path):
    folder = tmp_path / "kedge-x"
    folder.mkdir()
    (folder / "cgroup.subtree_control").write_text("memory pids")
    groups = cgroup.Groups({"memory": folder, "pids": folder}, 2)
    (file,) = groups.make("t", 1000, 50)
    group = Path(file).parent
    assert file == str(folder / "t" / "cgroup.procs")
    assert (group / "memory.max").read_text() == "1000"
    assert (group / "pids.max").read_text() == "50"
    assert not groups.killed("t")
    (group / "memory.events").write_text("low 0\noom 1\noom_kill 1\n")
    assert groups.killed("t")


def test_groups_of_version_2_are_found_where_limits_are_handed_down(tmp_path):
    base = tmp_path / "slice"
    base.mkdir()
    mounts, own = tmp_path / "mounts", tmp_path / "own"
    mounts.write_text(f"cgroup2 {tmp_path} cgroup2 rw 0 0\n")
    own.write_text("0::/slice\n")
    assert cgroup.find("x", mounts, own) is None  # no such file: this is no control group
    (base / "cgroup.subtree_control").write_text("cpu memory pids")
    # What the kernel does when a folder is made cannot be imitated, so the group below is refused.
    assert cgroup.find("x", mounts, own) is None
    assert sorted(each.name for each in base.iterdir()) == ["cgroup.subtree_control"]
