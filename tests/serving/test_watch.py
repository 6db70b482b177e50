"""A model that hangs is replaced, and one that is slow is not: the decision, then real worker processes."""

from __future__ import annotations

import asyncio
import json
import math
from pathlib import Path

import pytest

from kedge.serving.frames import Kind
from kedge.serving.runtimes.base import Invocation
from kedge.serving.table import Instance, Variant
from kedge.serving.watch import Stuck, Watch
from kedge.serving.work import Job
from kedge.serving.worker import EXIT_DIED
from tests.serving.peers import endpoint, running, table, until
from tests.serving.test_worker import PATIENCE_S, Connect, Start, connect, start  # noqa: F401 (fixtures)

SCRIPT = """
import os, re, time
def model_fn(model_dir):
    return None
def transform_fn(model, data, content_type, accept):
    data = data.encode()
    if data == b"hang":
        open("hangs", "w").close()
        time.sleep(1000)
    if data == b"slow":
        time.sleep(0.7)
    if data == b"long":
        time.sleep(2.2)
    if data == b"greedy":
        re.match("(a+)+$", "a" * 60 + "b")  # for years, and no other thread runs meanwhile
    if data == b"close":
        os.closerange(3, 1024)
    return data, "application/octet-stream"
"""


def jobs(*timeouts_s: float) -> list[Job[int]]:
    return [Job(0, stream, Invocation(b""), None, timeout_s) for stream, timeout_s in enumerate(timeouts_s)]


@pytest.mark.parametrize(
    ("timeouts_s", "lasts_s"),
    [((2.0,), 2.0), ((2.0, 5.0, 3.0), 5.0), ((0.01,), 1.0), ((math.inf,), math.inf), ((2.0, math.inf), math.inf)],
)
def test_a_batch_is_given_the_largest_time_out_of_its_requests(timeouts_s: tuple[float, ...], lasts_s: float):
    watch = Watch()
    watch.begin(jobs(*timeouts_s))
    assert watch.stuck(100.0) is None, "seen for the first time"
    assert watch.stuck(100.0 + min(lasts_s, 1e6) - 0.001) is None
    late_s = 100.0 + min(lasts_s, 1e6)
    assert watch.stuck(late_s) == (None if lasts_s == math.inf else Stuck(lasts_s, len(timeouts_s)))


def test_nobody_waits_behind_a_stream_though_it_gets_on():
    watch = Watch()
    watch.begin(jobs(10.0))
    watch.stream(goes_on=True)
    for tenths in range(100):
        assert watch.stuck(tenths / 10) is None
        assert watch.holds_up == (tenths >= 20)
        watch.step()
    watch.stream(goes_on=False)
    assert watch.stuck(10.0) is None
    assert not watch.holds_up
    # One that gives nothing any more hangs like any other.
    watch.stream(goes_on=True)
    assert watch.stuck(20.0) is None
    assert watch.stuck(30.0) == Stuck(10.0, 1)


def test_every_step_and_every_batch_starts_afresh():
    watch = Watch()
    assert watch.stuck(0.0) is None
    assert watch.stuck(1e6) is None, "idle for as long as it likes"
    watch.begin(jobs(2.0))
    for now_s in (0.0, 1.9):
        assert watch.stuck(now_s) is None
    watch.step()
    for now_s in (2.5, 4.4):
        assert watch.stuck(now_s) is None
    watch.end()
    watch.begin(jobs(2.0))
    for now_s in (5.0, 6.9):
        assert watch.stuck(now_s) is None
    assert watch.stuck(7.0) == Stuck(2.0, 1)
    watch.end()
    assert watch.stuck(9.0) is None


@pytest.mark.parametrize(("timeout_s", "after_s"), [(60.0, 2.0), (3.0, 1.5), (1.5, 1.0)])
def test_nobody_waits_behind_a_batch_that_takes_long(timeout_s: float, after_s: float):
    watch = Watch()
    watch.begin(jobs(timeout_s))
    for now_s, holds_up in ((10.0, False), (9.9 + after_s, False), (10.0 + after_s, True)):
        watch.stuck(now_s)
        assert watch.holds_up is holds_up
    watch.step()
    watch.stuck(10.1 + after_s)
    assert not watch.holds_up


def test_a_model_that_hangs_ends_its_process_with_a_reason(start: Start, connect: Connect):  # noqa: F811
    worker = start(SCRIPT, runtime="script").ready()
    router = connect(worker)
    assert router.ask(b"1", timeout_ms=1000)[1] == b"1"
    router.send(b"hang", timeout_ms=1000)
    behind = router.send(b"2", timeout_ms=60_000)
    ending = {"status": 503, "message": "The instance is ending.", "kind": "busy", "ending": True}
    assert router.answers(1)[behind][0] == ending
    with pytest.raises(ConnectionResetError):
        router.next()
    assert worker.process.wait(PATIENCE_S) == EXIT_DIED
    state = worker.state()
    reason = "The model made no progress on a batch of 1 request for 1 s (inference.py, line 9, in transform_fn)."
    assert state == {"state": "died", "reason": reason, "pid": worker.process.pid}
    assert json.loads(Path(worker.spec.state_file).read_text()) == state
    assert reason in worker.output
    assert "time.sleep(1000)" in worker.output, "the stack"


def test_what_waits_behind_a_long_request_is_given_back(start: Start, connect: Connect):  # noqa: F811
    worker = start(SCRIPT, runtime="script").ready()
    router, other = connect(worker), connect(worker)
    long = router.send(b"long", timeout_ms=3000)
    behind = [router.send(b"%d" % number, timeout_ms=60_000) for number in range(3)]
    held_up = {"status": 503, "message": "The instance is at a request that takes long.", "kind": "busy"}
    for stream, (head, _) in router.answers(3).items():
        assert stream in behind
        assert head == {**held_up, "held_up": True}
    assert router.answers(1).keys() == {long}
    assert router.next().kind is Kind.HELLO, "it takes requests again"
    assert router.ask(b"2")[1] == b"2"
    assert other.ask(b"3")[1] == b"3", "who had nothing given back is told nothing"
    assert worker.end() == 0


def test_a_model_that_is_slow_goes_on(start: Start, connect: Connect):  # noqa: F811
    worker = start(SCRIPT, runtime="script").ready()
    router = connect(worker)
    # Each waits longer than its time-out, and no batch takes that long.
    streams = [router.send(b"slow", timeout_ms=1000) for _ in range(3)]
    assert router.answers(3).keys() == set(streams)
    assert worker.end() == 0


def test_a_batch_that_is_answered_one_by_one_goes_on(start: Start, connect: Connect):  # noqa: F811
    script = """
    import time
    KEDGE_JOINABLE = True
    def model_fn(model_dir):
        return None
    def predict_fn(rows, model):
        if len(rows) > 1:
            raise ValueError("one at a time")
        time.sleep(0.7)
        return rows
    """
    worker = start(script).ready()
    router = connect(worker)
    for _ in range(4):
        router.send(b"1", timeout_ms=1000)
    assert {head["status"] for head, _ in router.answers(4).values()} == {200}
    assert worker.end() == 0


def test_a_model_that_lets_no_other_thread_run_is_ended_too(start: Start, connect: Connect):  # noqa: F811
    worker = start(SCRIPT, runtime="script").ready()
    connect(worker).send(b"greedy", timeout_ms=1000)
    assert worker.process.wait(PATIENCE_S) == 1
    assert "in transform_fn" in worker.output, "the stack"


def test_a_process_without_its_sockets_ends_with_a_reason(start: Start, connect: Connect):  # noqa: F811
    worker = start(SCRIPT, runtime="script").ready()
    router = connect(worker)
    router.send(b"close")
    with pytest.raises(ConnectionResetError):
        router.next()
    assert worker.process.wait(PATIENCE_S) == EXIT_DIED
    state = json.loads(Path(worker.spec.state_file).read_text())
    assert (state["state"], state["reason"]) == ("died", "The model's code closed the instance's sockets.")
    assert state["reason"] in worker.output


async def test_what_waits_behind_a_request_that_hangs_is_answered(start: Start, tmp_path: Path):  # noqa: F811
    worker = start(SCRIPT, runtime="script")
    one = Variant("AllTraffic", 1.0, (Instance("i-1", worker.spec.socket),))
    kind = {"content_type": "text/csv"}
    async with running(table(endpoint(one, timeout_s=30.0))) as served:
        assert (await served.invoke(b"1", **kind)).body == b"1"
        served.router.swap(table(endpoint(one, timeout_s=1.0), version=2))
        hanging = asyncio.create_task(served.invoke(b"hang", **kind))
        await until((tmp_path / "work" / "hangs").exists, PATIENCE_S)
        # They were not run, so they go on although retries are off.
        served.router.swap(table(endpoint(one, timeout_s=30.0, retries=False), version=3))
        bodies = [b"%d" % n for n in range(20)]
        waiting = [asyncio.create_task(served.invoke(body, **kind)) for body in bodies]
        answer = await hanging
        assert (answer.status, answer.json()["OriginalStatusCode"]) == (424, 0)
        assert await asyncio.to_thread(worker.process.wait, PATIENCE_S) == EXIT_DIED
        start(SCRIPT, runtime="script")
        answers = [await each for each in waiting]
        assert [(each.status, each.body) for each in answers] == [(200, body) for body in bodies]
