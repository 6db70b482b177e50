"""What the control process does with models and their answers while nobody waits, built in one place for app.py."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Iterator
from random import Random
from typing import Any

from kedge.async_inference import operations as async_operations
from kedge.async_inference.capturing import Capturing
from kedge.async_inference.controller import TELL_S, Dispatcher
from kedge.clock import Clock
from kedge.compute.base import Engine
from kedge.config import Settings
from kedge.endpoints.others import Others
from kedge.home import Home
from kedge.jobs import operations as job_operations
from kedge.jobs.admitting import Admitting
from kedge.jobs.controller import JobController
from kedge.jobs.machine import JobMachine
from kedge.jobs.measuring import Measuring
from kedge.jobs.notes import Notes
from kedge.jobs.program_records import LABELS
from kedge.jobs.programs import Programs
from kedge.jobs.transforming import Transforming
from kedge.labels import controller as labels
from kedge.logs.platform import PlatformLog
from kedge.loop import Signal, run
from kedge.objects.files import Objects
from kedge.serving.capture.tap import Tap
from kedge.store.lease import Lease
from kedge.store.store import Store
from kedge.telemetry import Telemetry
from kedge.wire.gateway import Operation


class Offline:
    def __init__(
        self,
        settings: Settings,
        home: Home,
        store: Store,
        objects: Objects,
        telemetry: Telemetry,
        engine: Engine,
        clock: Clock,
        lease: Lease,
    ) -> None:
        self._clock = clock
        self._wake = Signal()
        store.on_put(self._wake.notify)
        store.on_commit(self._wake.notify)
        lease.on_taken(self._wake.notify)
        platform_log = PlatformLog(telemetry.logs, store, clock)
        random = Random(os.urandom(16))
        self._tap = Tap(home.capture_socket, random.random)
        self._dispatcher = Dispatcher(
            store,
            objects,
            telemetry.metrics,
            platform_log,
            engine,
            clock,
            lease,
            self._wake,
            random,
            Capturing(self._tap),
            telemetry.recent.want,
        )
        self._jobs_wake = Signal()
        store.on_commit(self._jobs_wake.notify)
        lease.on_taken(self._jobs_wake.notify)
        notes = Notes(store, clock, lease, platform_log)
        transforming = Transforming(notes, objects, engine, settings, home, clock)
        measuring = Measuring(store, telemetry.metrics, telemetry.logs, clock, telemetry.read_output)
        programs = [Programs(kind, notes, objects, engine, home, clock, measuring) for kind in LABELS]
        admitting = Admitting(notes, clock, engine.capacity)
        self._jobs = JobController(
            store, engine, clock, lease, self._jobs_wake, notes, admitting, [transforming, *programs]
        )
        self._filing = labels.Filing(store, objects, clock, lease)
        self.others = Others(self._dispatcher.busy, self._jobs.artifacts, transforming.fetching)
        """For who drives endpoints."""

    def operations(self, machine: JobMachine) -> dict[str, Operation]:
        return {**async_operations.OPERATIONS, **job_operations.operations(machine)}

    def start(self) -> None:
        """Before `loops`, in the loop that will run them."""
        self._wake.attach(asyncio.get_running_loop())
        self._jobs_wake.attach(asyncio.get_running_loop())

    def loops(self) -> Iterator[tuple[str, Coroutine[Any, Any, None]]]:
        """What happens by itself, by name."""
        yield "async inference", run("async inference", self._dispatcher.step, self._wake, self._clock)
        yield "async capture", self._tap.run()
        yield "jobs", run("jobs", self._jobs.step, self._jobs_wake, self._clock)
        yield "labels", run("labels", self._filing.step, Signal(), self._clock, period_s=labels.PERIOD_S)
        yield "backlogs", run("backlogs", self._dispatcher.tell_backlogs, Signal(), self._clock, period_s=TELL_S)

    async def close(self) -> None:
        await self._dispatcher.close()
        await self._tap.close()
        await self._jobs.close()
