"""A processing or training job goes on, begins once more, or fails with a reason, whatever of its server is killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.async_inference.conftest import until
from tests.faults.conftest import Server
from tests.faults.test_jobs import _Kedge
from tests.jobs.programs import Programs

COUNTS = """
import pathlib, time
out = pathlib.Path("/opt/ml/processing/out")
print("begun", flush=True)
(out / "begun.txt").write_text("begun")
deadline = time.monotonic() + SLEEP_S
while time.monotonic() < deadline and not (out / "go").exists():
    time.sleep(0.05)
(out / "whole.txt").write_text("x" * 1_000_000)
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "data").up()
    yield server
    server.down()


def begun(jobs: Programs, name: str, sleep_s: float) -> None:
    """A job whose program runs, for so long or until it is told to go on."""
    script = COUNTS.replace("SLEEP_S", str(sleep_s))
    outputs = [jobs.output("out", f"{name}/out", "Continuous")]
    jobs.process(name, script, outputs=outputs)
    describe = jobs.sagemaker.describe_processing_job
    until(lambda: "ProcessingStartTime" in describe(ProcessingJobName=name), "its start", 40)


def has_begun(jobs: Programs, name: str, times: int) -> bool:
    streams = jobs.logs.describe_log_streams(
        logGroupName="/aws/sagemaker/ProcessingJobs", logStreamNamePrefix=f"{name}/"
    )["logStreams"]
    return bool(streams) and jobs.log("ProcessingJobs", name).count("begun") == times


def whole(jobs: Programs, name: str) -> dict[str, Any]:
    found = jobs.processed(name)
    assert found["ProcessingJobStatus"] == "Completed", found
    assert jobs.get(f"{name}/out/whole.txt") == b"x" * 1_000_000
    return found


def test_its_program_goes_on_while_control_and_the_supervisor_are_killed(server: Server):
    jobs = Programs(_Kedge(server))
    begun(jobs, "goes-on", 300)
    pids = server.pids("instance")
    server.kill("control")
    os.kill(server.pids("supervisor")[0], signal.SIGKILL)
    server.reap()
    server.up()
    assert server.pids("instance") == pids
    (folder,) = (server.data / "jobs").iterdir()
    (folder / "ml" / "processing" / "out" / "go").touch()
    whole(Programs(_Kedge(server)), "goes-on")
    until(lambda: not list((server.data / "jobs").iterdir()), "the end of its folder")


def test_a_job_that_is_lost_begins_once_more_and_then_fails(server: Server):
    jobs = Programs(_Kedge(server))
    begun(jobs, "lost", 3)
    server.kill_everything()
    server.up()
    jobs = Programs(_Kedge(server))
    whole(jobs, "lost")
    assert any("begun once more" in line for line in jobs.log("ProcessingJobs", "lost"))
    begun(jobs, "twice", 300)
    for times in (1, 2):
        until(partial(has_begun, jobs, "twice", times), "its begin", 30)
        for pid in server.pids("instance"):
            os.kill(pid, signal.SIGKILL)
    found = jobs.processed("twice")
    assert found["ProcessingJobStatus"] == "Failed"
    assert "lost again" in found["FailureReason"]


def test_what_ended_while_no_supervisor_was_there_is_known(server: Server):
    jobs = Programs(_Kedge(server))
    begun(jobs, "unseen", 2)
    process = server.pids("instance")[0]
    for pid in (*server.pids("supervisor"), *server.pids("control")):
        os.kill(pid, signal.SIGKILL)
    server.reap()
    until(lambda: not Path(f"/proc/{process}").exists(), "the end of the program", 20)
    server.up()
    jobs = Programs(_Kedge(server))
    whole(jobs, "unseen")
    assert jobs.log("ProcessingJobs", "unseen") == ["begun"]


def test_a_job_that_uses_too_much_memory_fails_and_says_so(server: Server):
    jobs = Programs(_Kedge(server))
    script = "held = []\nwhile True:\n    held.append(b'x' * 50_000_000)\n"
    jobs.process("large", script, cluster={"InstanceType": "ml.t3.medium"})
    found = jobs.processed("large", 90)
    assert found["ProcessingJobStatus"] == "Failed"
    assert "4 GiB" in found["FailureReason"], found


def test_a_server_that_is_ended_in_order_takes_the_job_up_again(server: Server):
    jobs = Programs(_Kedge(server))
    begun(jobs, "ended", 2)
    server.down()
    server.up()
    whole(Programs(_Kedge(server)), "ended")
