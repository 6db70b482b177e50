"""Who is stopped by a signal for a while is taken for dead: real processes, a clock moved by hand."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from kedge.compute.process_id import ProcessId, has_proc
from kedge.compute.stopped import STOPPED_S, Stopped

pytestmark = pytest.mark.skipif(not has_proc(), reason="only /proc says that a process is stopped")


@pytest.fixture
def child() -> Iterator[ProcessId]:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True) as started:
        try:
            yield ProcessId.of(started.pid)
        finally:
            started.kill()


def stop(process: ProcessId) -> None:
    os.kill(process.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)


def test_only_who_stays_stopped_is_named(child: ProcessId):
    seen = Stopped()
    assert seen.look([child], 10.0) == []
    stop(child)
    assert seen.look([child], 10.5) == []
    assert seen.look([child], 10.5 + STOPPED_S - 0.1) == []
    assert seen.look([child], 10.5 + STOPPED_S) == [child]
    other = replace(child, start="1")
    assert seen.look([other], 20.0) == []
    assert seen.look([other], 30.0) == [], "another process has this number"


def test_who_goes_on_starts_anew(child: ProcessId):
    seen = Stopped()
    stop(child)
    assert seen.look([child], 0.0) == []
    os.kill(child.pid, signal.SIGCONT)
    os.waitid(os.P_PID, child.pid, os.WCONTINUED)
    assert seen.look([child], 5.0) == []
    stop(child)
    assert seen.look([child], 5.1) == []
    assert seen.look([child], 5.1 + STOPPED_S) == [child]
