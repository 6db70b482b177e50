"""Two nodes on one store: one drives the endpoints, both hand tables to their routers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from kedge.compute.base import TaskState
from kedge.loop import keep
from kedge.store.store import Resource
from tests.endpoints.world import World, variant


@pytest.fixture
async def other(world: World, tmp_path: Path) -> AsyncIterator[World]:
    node = world.other_node(tmp_path / "two")
    yield node
    await node.controller.close()


def create(world: World) -> None:
    world.make_model()
    world.make_config("c", variant())
    world.do("CreateEndpoint", EndpointName="e", EndpointConfigName="c")


def record(world: World) -> Resource:
    (found,) = world.store.list(None, "endpoint").items
    return found


def take(world: World) -> None:
    """Another node gets the lease while the holder still believes in it: its clock is ahead."""
    later = world.clock.now() + timedelta(seconds=11)
    assert world.store.acquire("endpoints", "two", later, timedelta(seconds=10)) is not None


async def test_one_node_drives_and_both_publish(world: World, other: World):
    create(world)
    await world.settle()
    for _ in range(4):
        await other.settle()
        world.clock.advance(3)
        await world.bring_up()
    await other.settle()
    assert record(world).status == "InService"
    assert world.engine.starts
    assert not other.engine.starts
    assert len(other.route("e").variants[0].instances) == 1


async def test_the_other_node_takes_over_when_the_lease_has_run_out(world: World, other: World):
    create(world)
    await world.settle()
    world.clock.advance(9.9)
    await other.bring_up()
    assert not other.engine.starts
    world.clock.advance(0.1)
    await other.settle()  # it fetches the model data: its own cache is empty
    await other.bring_up()
    assert record(world).status == "InService"
    assert other.engine.starts == world.engine.starts
    world.engine.tasks.clear()
    await world.settle()
    assert not world.engine.tasks


async def test_a_node_that_ends_lets_the_other_one_begin_at_once(world: World, other: World):
    create(world)
    await world.settle()
    await world.controller.close()
    await asyncio.to_thread(world.lease.release)
    await other.bring_up()
    assert record(world).status == "InService"


async def test_the_successor_of_a_killed_process_begins_at_once(world: World):
    create(world)
    await world.settle()
    killed, killed_lease = world.controller, world.lease
    world.restart_control()
    await world.bring_up()
    assert record(world).status == "InService"
    assert len(world.engine.starts) == 1

    await asyncio.to_thread(killed_lease.hold)  # were it alive after all, it would leave the successor in peace
    world.engine.tasks.clear()
    await killed.step()
    await killed.close()
    assert not world.engine.tasks
    await world.bring_up()
    assert len(world.engine.tasks) == 1


async def test_a_pass_that_has_lost_the_lease_writes_nothing_and_ends_quietly(
    world: World, caplog: pytest.LogCaptureFixture
):
    create(world)
    await world.settle()
    world.engine.put_all(TaskState.STARTING, TaskState.READY)
    before = record(world)
    take(world)
    await world.controller.publisher.step()
    await world.controller.step()
    assert record(world) == before
    assert world.lease.held is None
    assert not [entry for entry in caplog.records if entry.levelno >= logging.WARNING]
    await world.settle()
    assert record(world) == before


async def test_a_download_that_ends_after_the_lease_was_lost_is_not_noted(
    world: World, other: World, caplog: pytest.LogCaptureFixture
):
    create(world)
    await asyncio.to_thread(world.lease.hold)
    await world.controller.step()  # begins the download
    before = record(world)
    world.clock.advance(10)
    await asyncio.to_thread(other.lease.hold)
    await world.controller.settle()
    assert record(world) == before
    assert not [entry for entry in caplog.records if entry.levelno >= logging.WARNING]
    await other.bring_up()
    assert record(world).status == "InService"


async def test_a_pass_whose_lease_runs_out_asks_the_engine_for_nothing_more(world: World):
    create(world)
    world.do("CreateEndpoint", EndpointName="f", EndpointConfigName="c")
    await asyncio.to_thread(world.lease.hold)
    await world.controller.step()
    await world.controller.settle()
    start = world.engine.start

    async def slow_start(spec):
        await start(spec)
        world.clock.advance(11)

    world.engine.start = slow_start
    await world.controller.step()
    assert len(world.engine.starts) == 1
    await world.settle()
    assert len(world.engine.starts) == 2


async def test_the_lease_is_taken_and_renewed_and_whoever_waits_for_it_is_woken(world: World):
    create(world)
    running = asyncio.gather(world.controller.run(), keep(world.lease, world.clock))
    try:
        async with asyncio.timeout(10):
            while record(world).status != "InService":
                seen = world.changed.count
                world.engine.put_all(TaskState.STARTING, TaskState.READY)
                await world.changed.changed_since(seen, 0.05)
        held = world.lease.held
        world.clock.advance(world.lease.ttl_s)
        assert world.lease.held is None
        async with asyncio.timeout(10):
            while world.lease.held != held:  # renewed under the same token
                world.clock.advance(1)
                await asyncio.sleep(0.005)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
