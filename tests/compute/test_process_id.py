"""Which process: real ones, ended and alive."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from kedge.compute import process_id
from kedge.compute.process_id import ProcessId
from kedge.node import strays

SLEEP = [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"]


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(SLEEP, stdout=subprocess.PIPE, start_new_session=True) as started:
        try:
            yield started
        finally:
            started.kill()


def test_a_process_is_itself_until_it_ends(child):
    process = ProcessId.of(child.pid)
    assert process.alive()
    assert process == ProcessId.of(child.pid)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie
    assert not process.alive()
    with pytest.raises(ProcessLookupError):
        ProcessId.of(child.pid)
    assert ProcessId.of(child.pid, zombie=True) == process
    child.wait()
    assert not process.alive()
    assert not process.signal(signal.SIGKILL)


@pytest.mark.parametrize("send", [process_id.signal_by_pidfd, process_id.signal_by_pid])
def test_a_signal_reaches_that_very_process_only(child, send):
    process = ProcessId.of(child.pid)
    for other in (replace(process, start="1"), replace(process, boot="another boot")):
        assert not other.alive()
        assert not send(other, signal.SIGKILL)
    assert child.poll() is None
    assert send(process, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert not send(process, signal.SIGKILL)


@pytest.mark.parametrize("exited", [process_id.exited_by_pidfd, process_id.exited_by_polling])
async def test_the_end_is_waited_for(child, exited):
    process = ProcessId.of(child.pid)
    waiting = asyncio.ensure_future(exited(process))
    await asyncio.sleep(0)
    assert not waiting.done()
    child.kill()
    await asyncio.wait_for(waiting, 5)
    await asyncio.wait_for(exited(process), 5)


@pytest.mark.skipif(shutil.which("ps") is None, reason="no ps on this machine")
def test_ps_tells_the_same_where_there_is_no_proc(child):
    start = process_id.start_by_ps(child.pid)
    assert start
    assert start == process_id.start_by_ps(child.pid)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert process_id.start_by_ps(child.pid) is None
    assert process_id.start_by_ps(child.pid, zombie=True) == start


def test_strays_are_found_by_their_mark_and_the_claimed_are_spared():
    marked = {**os.environ, "KEDGE_HOME_ID": f"test-{os.getpid()}"}
    below = [sys.executable, "-c", f"import subprocess; subprocess.run({SLEEP!r})"]
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, start_new_session=True)
        for command, environment in ((below, marked), (SLEEP, marked), (SLEEP, {**marked, "KEDGE_HOME_ID": "test-x"}))
    ]
    try:
        for each in started:
            assert each.stdout is not None
            each.stdout.readline()
        claimed, stray, other = started
        killed = strays.kill_unclaimed(f"test-{os.getpid()}", [ProcessId.of(claimed.pid)])
        assert [each.pid for each in killed] == [stray.pid]
        assert stray.wait(5) == -signal.SIGKILL
        assert claimed.poll() is None
        assert other.poll() is None
        assert len(strays.kill_unclaimed(f"test-{os.getpid()}", [])) == 2
    finally:
        for each in started:
            each.kill()
            each.communicate()
