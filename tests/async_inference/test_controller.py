"""The dispatcher with a real store, real objects and a clock that is moved by hand; instances are peers on sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from kedge.async_inference.capturing import Capturing
from kedge.async_inference.controller import SHUN_S, Dispatcher
from kedge.async_inference.operations import invoke_endpoint_async
from kedge.async_inference.records import MARK, QUEUE
from kedge.async_inference.turns import MOST_LOSSES
from kedge.compute.base import TaskState
from kedge.logs.platform import PlatformLog
from kedge.logs.store import LogStore
from kedge.loop import Signal
from kedge.metrics.store import MetricStore
from kedge.objects.records import Attributes
from kedge.serving.capture.tap import Tap
from kedge.store.lease import Lease
from tests.endpoints import world as worlds
from tests.endpoints.world import ACCOUNT, REGION, World, variant
from tests.objects.putting import put_bytes
from tests.serving.peers import Call, Worker, never

BUCKET = "results"


@dataclass
class Queue:
    """An asynchronous endpoint whose instances are peers."""

    world: World
    dispatcher: Dispatcher
    folder: Path
    lease: Lease
    workers: list[Worker] = field(default_factory=list)

    def invoke(self, body: bytes = b"a", **more: Any) -> dict[str, Any]:
        return invoke_endpoint_async(self.world.call(), {"EndpointName": "e", "Body": body, **more})

    async def instance(self, number: int, serve: Callable[[Call], None]) -> Worker:
        task = sorted(self.world.engine.tasks)[number]
        worker = await Worker(task, self.folder / f"{number}.sock", serve).start()
        ready = replace(self.world.engine.tasks[task], state=TaskState.READY, socket=str(worker.socket))
        self.world.engine.tasks[task] = ready
        self.workers.append(worker)
        return worker

    async def until(self, condition: Callable[[], Any]) -> Any:
        """Steps, until it is true."""
        async with asyncio.timeout(10):
            while not (found := condition()):
                self.lease.hold()
                await self.dispatcher.step()
                await asyncio.sleep(0.01)
        return found

    def read(self, uri: str) -> bytes | None:
        key = uri.removeprefix(f"s3://{BUCKET}/")
        if self.world.objects.head(BUCKET, key) is None:
            return None
        with self.world.objects.open(BUCKET, key) as file:
            return file.read()

    @property
    def waiting(self) -> int:
        return sum(each.count for each in self.world.store.backlogs(QUEUE).values())


@pytest.fixture
async def queue(tmp_path: Path) -> AsyncIterator[Queue]:
    world = worlds.make(tmp_path / "data")
    world.changed.attach(asyncio.get_running_loop())
    metrics, logs = MetricStore(tmp_path / "m.db", world.clock), LogStore(tmp_path / "l.db")
    lease = Lease(world.store, "async", "one", world.clock)
    dispatcher = Dispatcher(
        world.store, world.objects, metrics, PlatformLog(logs, world.store, world.clock), world.engine, world.clock,
        lease, Signal(), Random(1), Capturing(Tap(tmp_path / "none.sock", Random(1).random)),
    )  # fmt: skip
    world.objects.create_bucket(BUCKET, ACCOUNT, REGION)
    world.make_model()
    output = {"S3OutputPath": f"s3://{BUCKET}/out", "S3FailurePath": f"s3://{BUCKET}/bad"}
    config = {"OutputConfig": output, "ClientConfig": {"MaxConcurrentInvocationsPerInstance": 1}}
    world.make_config("c", variant(count=2), AsyncInferenceConfig=config)
    world.do("CreateEndpoint", EndpointName="e", EndpointConfigName="c")
    await world.bring_up()
    world.engine.put_all(TaskState.READY, TaskState.STARTING)
    made = Queue(world, dispatcher, tmp_path, lease)
    yield made
    await dispatcher.close()
    for worker in made.workers:
        await worker.close()
    await world.controller.close()
    metrics.close()
    logs.close()
    world.close()


async def test_what_waits_too_long_fails_though_nothing_is_there_to_carry_it_out(queue: Queue):
    short, long = queue.invoke(RequestTTLSeconds=60), queue.invoke()
    await queue.dispatcher.step()
    queue.world.clock.advance(61)
    said = await queue.until(lambda: queue.read(short["FailureLocation"]))
    assert said.startswith(b"The invocation has waited for 61 s")
    assert queue.read(long["FailureLocation"]) is None
    assert queue.waiting == 1


async def test_an_instance_that_takes_nothing_is_left_alone_and_counts_for_nothing(queue: Queue):
    def refuse(call: Call) -> None:
        call.error(503, "The instance is ending.", "busy", ending=True)

    refusing = await queue.instance(0, refuse)
    answer = queue.invoke(b"hello")
    await queue.until(lambda: refusing.calls)
    await queue.instance(1, Call.answer)
    assert await queue.until(lambda: queue.read(answer["OutputLocation"])) == b"hello"
    await queue.until(lambda: not queue.waiting)
    assert len(refusing.calls) == 1


async def test_an_instance_that_ends_before_it_has_heard_of_an_invocation_counts_for_nothing(queue: Queue):
    """One that is stopped while the invocation is on its way to it."""
    stopping = await queue.instance(0, Call.answer)
    stopping.turned_away = 2 * MOST_LOSSES
    answer = queue.invoke(b"hello")

    def read_later() -> bytes | None:
        queue.world.clock.advance(SHUN_S)
        return queue.read(answer["OutputLocation"])

    assert await queue.until(read_later) == b"hello"
    await queue.until(lambda: not queue.waiting)


async def test_an_instance_has_as_many_as_it_may(queue: Queue):
    slow = await queue.instance(0, never)
    for _ in range(3):
        queue.invoke()
    await queue.until(lambda: slow.calls)
    for _ in range(5):
        await queue.dispatcher.step()
    assert len(slow.calls) == 1
    assert queue.dispatcher.busy() == {slow.id}


async def test_an_output_that_is_there_is_not_made_again(queue: Queue):
    """As a kill between the output and the end of the invocation leaves it."""
    answer = queue.invoke(b"hello")
    key = answer["OutputLocation"].removeprefix(f"s3://{BUCKET}/")
    (entry,) = queue.world.store.due(QUEUE, next(iter(queue.world.store.backlogs(QUEUE))), queue.world.clock.now(), 9)
    put_bytes(queue.world.objects, BUCKET, key, b"HELLO", Attributes(metadata={MARK: entry.payload}))
    worker = await queue.instance(0, Call.answer)
    await queue.until(lambda: not queue.waiting)
    assert queue.read(answer["OutputLocation"]) == b"HELLO"
    assert not worker.calls


async def test_an_output_of_another_invocation_is_replaced(queue: Queue):
    put_bytes(queue.world.objects, BUCKET, "out/mine.out", b"old")
    answer = queue.invoke(b"new", InferenceId="mine")
    await queue.instance(0, Call.answer)
    await queue.until(lambda: not queue.waiting)
    assert queue.read(answer["OutputLocation"]) == b"new"


async def test_what_is_asked_twice_under_one_id_is_done_once(queue: Queue):
    """A router asks again when control went away before it had answered."""
    call = queue.world.call()
    first, second = (invoke_endpoint_async(call, {"EndpointName": "e", "Body": b"a"}) for _ in range(2))
    assert first == second
    assert queue.waiting == 1


async def test_a_failure_of_the_model_is_not_tried_again(queue: Queue):
    def fail(call: Call) -> None:
        call.answer(json.dumps({"wrong": True}).encode(), status=400)

    worker = await queue.instance(0, fail)
    answer = queue.invoke()
    said = await queue.until(lambda: queue.read(answer["FailureLocation"]))
    assert said.startswith(b'Received client error (400) from primary with message "{"wrong": true}"')
    assert len(worker.calls) == 1


async def test_without_the_lease_nothing_happens(queue: Queue):
    other = Lease(queue.world.store, "async", "two", queue.world.clock)
    other.hold()
    worker = await queue.instance(0, Call.answer)
    queue.invoke()
    queue.lease.hold()
    for _ in range(5):
        await queue.dispatcher.step()
    assert not worker.calls
