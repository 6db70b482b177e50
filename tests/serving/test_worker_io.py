"""The I/O thread and the model's thread of a worker, with the test in the place of the model."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pytest

from kedge.serving import frames
from kedge.serving.frames import Frame, Kind
from kedge.serving.runtimes.base import Answer, Invocation, Outcomes
from kedge.serving.watch import Watch
from kedge.serving.work import Job, Work
from kedge.serving.worker import run_batch
from kedge.serving.worker_io import LONGEST_HOLD_S, Connection, WorkerIo

PATIENCE_S = 10.0


@dataclass
class Worker:
    io: WorkerIo
    work: Work[Connection]
    router: socket.socket

    def ask(self, count: int) -> list[Job[Connection]]:
        """As many requests in one write; back when the model could take them."""
        requests = (frames.with_head(Kind.REQUEST, 1 + n, {}, b"%d" % n, frames.LAST) for n in range(count))
        self.router.sendall(b"".join(requests))
        jobs = [job for _ in range(count) for job in self.work.take(1) or ()]
        self.work.done(jobs)
        return jobs

    def answers(self, count: int) -> list[Frame]:
        decoder, found = frames.Decoder(), list[Frame]()
        while len(found) < count:
            found += [each for each in decoder.feed(self.router.recv(65536)) if each.kind is Kind.RESPONSE]
        return found


@pytest.fixture
def worker() -> Iterator[Worker]:
    router, entrance = socket.socketpair()
    stop_in, stop_out = socket.socketpair()
    router.settimeout(PATIENCE_S)
    work: Work[Connection] = Work()
    io = WorkerIo(entrance, stop_out, {"instance": "i"}, work, Watch(), on_stop=lambda: None)
    thread = threading.Thread(target=io.run)
    thread.start()
    router.sendall(frames.with_head(Kind.HELLO, 0, {"version": frames.VERSION}))
    yield Worker(io, work, router)
    stop_in.send(b"\0")
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    io.close_in_child()
    for each in (router, stop_in, stop_out):
        each.close()


def held(worker: Worker, jobs: list[Job[Connection]]) -> None:
    for job in jobs:
        worker.io.answer([(job, Answer(job.request.body, "text/csv"))], hold=True)


def test_what_is_held_goes_out_though_nothing_follows(worker: Worker):
    """The model was quick, and is not any more: nobody waits for the slow one that came after."""
    worker.io.may_hold = True
    jobs = worker.ask(3)
    began_s = time.monotonic()
    held(worker, jobs[:2])
    assert [frame.stream for frame in worker.answers(2)] == [1, 2]
    assert time.monotonic() - began_s < 100 * LONGEST_HOLD_S
    worker.io.answer([(jobs[2], Answer(b"", "text/csv"))])
    assert [frame.stream for frame in worker.answers(1)] == [3]


def test_answers_of_a_quick_model_go_out_together(worker: Worker):
    drain_hello(worker)
    together = 0
    for _ in range(50):
        first, second = worker.ask(2)
        held(worker, [first])
        worker.io.answer([(second, Answer(b"", "text/csv"))])
        # The I/O thread may have been at its turn, and sent the first one.
        together += len(frames.Decoder().feed(worker.router.recv(65536))) == 2 or bool(worker.answers(1)[1:])
    assert together > 25


def test_no_more_than_a_few_are_held(worker: Worker):
    jobs = worker.ask(40)
    drain_hello(worker)
    held(worker, jobs)
    assert [frame.stream for frame in worker.answers(32)] == list(range(1, 33))


class OneByOne:
    """Answers each request of a batch by itself; between two of them it calls `pause`."""

    joinable, takes = True, 64

    def __init__(self, pause: Callable[[], object]) -> None:
        self.pause = pause

    def answer(self, batch: Sequence[Invocation]) -> Iterator[Outcomes]:
        for index, request in enumerate(batch):
            yield [(index, Answer(request.body, "text/csv"))]
            if index < len(batch) - 1:
                self.pause()


def test_the_answers_of_one_batch_of_a_quick_model_go_out_together(worker: Worker):
    """A system call for each would cost more than such a model does."""
    drain_hello(worker)
    worker.io.may_hold = True
    writes = 0
    for _ in range(50):
        run_batch(OneByOne(lambda: None), worker.ask(8), worker.io, Watch(), 0.0)
        answered = 0
        while answered < 8:
            writes += 1
            answered += len(frames.Decoder().feed(worker.router.recv(65536)))
    # The I/O thread may have been at its turn, and sent some of them.
    assert writes < 50 * 4


def test_the_first_answer_of_a_batch_does_not_wait_for_the_others(worker: Worker):
    def pause() -> None:
        seen.extend(each.stream for each in worker.answers(1))

    seen: list[int] = []
    worker.io.may_hold = False
    run_batch(OneByOne(pause), worker.ask(3), worker.io, Watch(), 0.0)
    assert seen == [1, 2]


def drain_hello(worker: Worker) -> None:
    [hello] = frames.Decoder().feed(worker.router.recv(65536))
    assert hello.kind is Kind.HELLO
