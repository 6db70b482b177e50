"""In the control process: gives each endpoint's minutes the baseline of its data quality monitor, to be judged by.

The newest monitor that has statistics counts, as for `kedge drift`. They are copied into the folder of the minutes, of
this machine, so the process that judges opens neither the store nor any bucket, and goes on while control is away.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from kedge.endpoints.capture import capture_of
from kedge.endpoints.records import KIND, Endpoint
from kedge.errors import ServiceError
from kedge.minutes import files
from kedge.monitors import finding
from kedge.monitors.defining import monitor_of
from kedge.monitors.kinds import DATA_QUALITY
from kedge.monitors.records import SCHEDULE, Schedule
from kedge.objects.files import Objects
from kedge.objects.of_account import AccountObjects
from kedge.store.records import Resource
from kedge.store.store import Store

PERIOD_S = 5.0
LARGEST_BYTES = 256 << 20

log = logging.getLogger(__name__)


class Baselines:
    def __init__(self, store: Store, objects: Objects, folder: Path, secret: bytes) -> None:
        self._store, self._objects, self._folder, self._secret = store, objects, folder, secret
        self._given: dict[str, tuple[str, str]] = {}
        """By endpoint's digest: address and ETag of what was given."""
        self._said: dict[str, str] = {}

    async def step(self) -> None:
        wanted = await asyncio.to_thread(self._wanted)
        for name, (account, uri) in wanted.items():
            try:
                await self._give(name, account, uri)
                self._said.pop(name, None)
            except (ServiceError, OSError) as error:
                if self._said.get(name) != str(error):
                    self._said[name] = str(error)
                    log.warning("minutes cannot be judged by %s: %s", uri, error)
        await asyncio.to_thread(self._tidy, frozenset(wanted))

    async def _give(self, name: str, account: str, uri: str) -> None:
        objects = AccountObjects(self._objects, account)
        info = await objects.head(uri)
        if info is None:
            raise FileNotFoundError(f"there is no such object: {uri}")
        if self._given.get(name) == (uri, info.etag):
            return
        data = await objects.read(uri, LARGEST_BYTES)
        await asyncio.to_thread(files.seal_baseline, self._folder, self._secret, name, data)
        self._given[name] = uri, info.etag

    def _wanted(self) -> dict[str, tuple[str, str]]:
        """(account, address of statistics) by digest of the endpoint."""
        found: dict[str, tuple[str, str]] = {}
        schedules = sorted(self._store.list(None, SCHEDULE).items, key=lambda each: each.created_at, reverse=True)
        for resource in schedules:
            schedule, scope = Schedule.of(resource.document), resource.scope
            name = files.baseline_of(scope.account, scope.region, schedule.endpoint)
            if schedule.kind != DATA_QUALITY.type or not schedule.endpoint or name in found:
                continue
            if uri := self._statistics(resource, schedule):
                found[name] = scope.account, uri
        return found

    def _statistics(self, resource: Resource, schedule: Schedule) -> str:
        """ "" where nothing is captured, or there is no baseline yet."""
        endpoint = self._store.get(resource.scope, KIND, schedule.endpoint.lower())
        live = Endpoint.of(endpoint.document).live if endpoint is not None else None
        if live is None or capture_of(live) is None:
            return ""
        try:
            monitor = monitor_of(self._store, resource.scope, schedule.config)
            return finding.baseline(self._store, resource.scope, monitor).statistics
        except (ServiceError, finding.Unready, finding.Impossible):
            return ""  # the schedule's own executions say why

    def _tidy(self, wanted: frozenset[str]) -> None:
        folder = self._folder / files.BASELINES
        for path in folder.iterdir() if folder.exists() else ():
            if path.name not in wanted and not path.name.startswith("."):
                path.unlink(missing_ok=True)
                self._given.pop(path.name, None)
