"""What the control process measures, keeps and watches: its metrics, logs and alarms, built in one place for app.py."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

from kedge.alarms import operations as alarm_operations
from kedge.alarms.controller import Controller as AlarmController
from kedge.autoscaling.concurrency import Recent
from kedge.clock import Clock
from kedge.compute.processes import LocalEngine
from kedge.config import SettingError, Settings, header_pairs
from kedge.endpoints import routing
from kedge.endpoints.records import COMPONENT, KIND
from kedge.home import Home
from kedge.logs import controller as logs_controller
from kedge.logs import operations as log_operations
from kedge.logs.follower import PERIOD_S as FOLLOW_EVERY_S
from kedge.logs.follower import Follower
from kedge.logs.store import LogStore
from kedge.loop import Signal, run
from kedge.metrics import controller as metrics_controller
from kedge.metrics import dashboard_operations, detector_controller, detector_operations, picture_operations
from kedge.metrics import operations as metric_operations
from kedge.metrics.bands import band_of
from kedge.metrics.idle import Idle
from kedge.metrics.instances import Instances
from kedge.metrics.intake import Intake
from kedge.metrics.platform import Served
from kedge.metrics.scraping import Scraping
from kedge.metrics.store import MetricStore
from kedge.metrics.totals import Totals
from kedge.serving.reports import ReportServer, Tally
from kedge.store.lease import Lease
from kedge.store.store import Store
from kedge.wire.gateway import Operation

if TYPE_CHECKING:
    from kedge.metrics.exporting import Exporting

METERING_THREADS = 2


class Telemetry:
    def __init__(
        self,
        settings: Settings,
        home: Home,
        store: Store,
        clock: Clock,
        engine: LocalEngine,
        lease: Lease,
        routers: Callable[[], int],
        node: str,
    ) -> None:
        """lease: of a name, in this process's. routers: how many are connected. node: id of this one.

        Raises SettingError.
        """
        self._settings, self._store, self._clock = settings, store, clock
        durable = not settings.ephemeral
        self.metrics = MetricStore(home.metrics, clock, durable=durable)
        self.logs = LogStore(home.log_store, durable=durable)
        self._follower = Follower(self.logs, store, home, clock)
        self._alarms = AlarmController(
            store, self.metrics.read, clock, lease, bands=partial(band_of, store)
        )  # fmt: skip
        self.tally = Tally()
        self._threads = ThreadPoolExecutor(METERING_THREADS, thread_name_prefix="metering")
        totals = Totals(clock)
        self.recent = Recent(clock)
        """By which autoscaling follows the last seconds."""
        taken = (self.tally.take, totals.take, self.recent.take)
        self._intake = Intake(self.metrics, clock, self._threads, taken)
        self._idle = Idle(self.metrics, clock, self._threads, self._served)
        self._instances = Instances(self.metrics, self._threads, engine.usage, totals.take_usage)
        self._reports = ReportServer(home.report_socket, self._intake.take)
        self.scraping = Scraping(totals, self._threads, self._served, routers)
        self._exporting = _exporting(settings, node, clock, self.scraping)

    def operations(self) -> dict[str, Operation]:
        return {
            **metric_operations.operations(self.metrics),
            **dashboard_operations.OPERATIONS,
            **detector_operations.OPERATIONS,
            **picture_operations.operations(self.metrics),
            **alarm_operations.OPERATIONS,
            **log_operations.operations(self.logs),
        }

    async def start(self) -> None:
        """Before `loops`, in the loop that will run them."""
        await self._reports.start()
        self._intake.wake.attach(asyncio.get_running_loop())
        if self._settings.metrics_port:
            await self.scraping.listen(self._settings.metrics_port)

    def loops(self) -> Iterator[tuple[str, Coroutine[Any, Any, None]]]:
        """What happens by itself, by name."""
        yield "alarms", self._alarms.run()
        if self._exporting is not None:
            yield "export of metrics", run("export of metrics", self._exporting.step, Signal(), self._clock)
        yield self._loop("metrics", self._keep_metrics, metrics_controller.PERIOD_S)
        yield self._loop("anomaly detectors", self._train, detector_controller.PERIOD_S)
        yield self._loop("log store", self._keep_logs, logs_controller.KEEP_EVERY_S)
        yield self._loop("expired logs", self._erase_logs, logs_controller.ERASE_EVERY_S)
        yield self._loop("output", self._follow_output, FOLLOW_EVERY_S)
        yield "concurrency", run("concurrency", self._intake.step, self._intake.wake, self._clock)
        yield "idle variants", run("idle variants", self._idle.step, Signal(), self._clock)
        yield "usage", run("usage", self._instances.step, Signal(), self._clock)

    def read_output(self) -> None:
        """What tasks have written until now is among the events when this returns. Blocks."""
        while self._follower.step() == 0.0:
            pass

    def forget_output(self) -> None:
        """All events of logs, and what instances wrote that are not there any more. Blocks."""
        self._follower.forget()

    async def stop(self) -> None:
        """No report comes any more."""
        await self._reports.stop()
        await self.scraping.close()
        if self._exporting is not None:
            await self._exporting.close()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def close(self) -> None:
        """After the last operation."""
        self.metrics.close()
        self.logs.close()

    def _loop(
        self, name: str, step: Callable[[], Coroutine[Any, Any, float | None]], period_s: float
    ) -> tuple[str, Coroutine[Any, Any, None]]:
        return name, run(name, step, Signal(), self._clock, period_s=period_s)

    def _served(self) -> list[Served]:
        """Every variant, and inference component, that takes requests. Blocks."""
        endpoints, components = (self._store.list(None, kind).items for kind in (KIND, COMPONENT))
        return list(routing.served([*endpoints, *components]))

    async def _keep_metrics(self) -> float | None:
        return await metrics_controller.keep_house(self.metrics)

    async def _train(self) -> float | None:
        reading = detector_controller.reading(self.metrics, self._clock)
        return await detector_controller.step(self._store, reading, self._clock)

    async def _keep_logs(self) -> float | None:
        await asyncio.to_thread(logs_controller.keep, self.logs)
        return None

    async def _erase_logs(self) -> float | None:
        await asyncio.to_thread(logs_controller.erase, self.logs, self._store, self._clock.now())
        return None

    async def _follow_output(self) -> float | None:
        due_s = await asyncio.to_thread(self._follower.step)
        return self._follower.period_s if due_s is None else due_s


def _exporting(settings: Settings, node: str, clock: Clock, scraping: Scraping) -> Exporting | None:
    """None where no collector is set. Raises SettingError where there is one and the extra is missing."""
    if not settings.otlp_endpoint:
        return None
    try:
        from kedge.metrics.exporting import Exporting
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("google", "opentelemetry"):
            raise
        raise SettingError(
            f'otlp_endpoint is "{settings.otlp_endpoint}", and {error.name} is not installed: pip install "kedge[otel]"'
        ) from error
    return Exporting(settings.otlp_endpoint, header_pairs(settings.otlp_headers), node, clock, scraping.families)
