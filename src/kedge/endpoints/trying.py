"""Carries out trials (trial.py) on the side: a new fleet answers requests before any client's reaches it.

Each goes straight to an instance, without a router; a copy goes to an instance of the present fleet, one at a time,
so that production is not slowed. The report is written into the endpoint's record. Trials under way are the only thing
in memory: after a restart the plan asks for them again, and they begin anew.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from kedge.clock import Clock
from kedge.compute.base import TaskState, TaskStatus
from kedge.endpoints import requests, shifting, trial
from kedge.endpoints.capture import is_enabled
from kedge.endpoints.records import KIND, Endpoint, Fleet
from kedge.endpoints.requests import Request
from kedge.endpoints.trial import Measured, Report, Trial
from kedge.errors import ServiceError
from kedge.home import Home
from kedge.objects.files import Objects
from kedge.objects.of_account import AccountObjects
from kedge.serving.asking import encoded_head
from kedge.serving.direct import Lost, Refused, asked
from kedge.serving.meter import VariantPlace
from kedge.serving.runtimes.base import LoadError
from kedge.serving.runtimes.readiness import sample
from kedge.shadowing.pairs import MAX_BODY_BYTES, Answer, Pair
from kedge.shadowing.tally import Tally
from kedge.store.store import Author, LeaseLost, Resource, Store

REQUEST_TIMEOUT_S = 60.0
AT_ONCE = 8
"""Requests that are under way, their copies too; slower fleets get them at a lower rate."""
MOST_ANSWER_BYTES = 8 * 1024 * 1024
MOST_READ_BYTES = 256 * 1024 * 1024
"""Of objects with requests."""

Key = tuple[str, int]
"""(uid of the endpoint, number of the fleet)."""

log = logging.getLogger(__name__)


class NoRequests(Exception):
    """They cannot be had; the message says why."""


@dataclass(frozen=True)
class Place:
    """An instance that is ready."""

    variant: str
    id: str
    socket: str


class Trials:
    def __init__(self, store: Store, objects: Objects, home: Home, clock: Clock, hold: Callable[[str], None]) -> None:
        """hold: leave the endpoint of this uid alone for a while, since something failed that is to be tried again."""
        self._store, self._objects, self._home, self._clock, self._hold = store, objects, home, clock, hold
        self._running: dict[Key, asyncio.Task[None]] = {}

    def begin(
        self, resource: Resource, endpoint: Endpoint, tasks: Mapping[str, TaskStatus], held: tuple[str, int]
    ) -> None:
        """Of the pending fleet, all of whose instances are ready. Nothing where it is under way already."""
        assert endpoint.pending is not None
        key = (endpoint.uid, endpoint.pending.number)
        if key in self._running:
            return
        task = asyncio.create_task(self._carry_out(resource, endpoint, tasks, held), name=f"trial {endpoint.name}")
        self._running[key] = task
        task.add_done_callback(lambda _: self._running.pop(key, None))

    def keep(self, wanted: Collection[Key]) -> None:
        """End all others: their deployments are over."""
        for key, task in self._running.items():
            if key not in wanted:
                task.cancel()

    async def close(self) -> None:
        self.keep(())
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def settle(self) -> None:
        """Wait for what is under way."""
        await asyncio.gather(*self._running.values())

    async def _carry_out(
        self, resource: Resource, endpoint: Endpoint, tasks: Mapping[str, TaskStatus], held: tuple[str, int]
    ) -> None:
        try:
            report = await self._report(resource, endpoint, tasks)
            await asyncio.to_thread(self._note, resource, report, held)
        except LeaseLost as lost:
            log.info("endpoint %s: %s; who has it now tries the fleet", resource.name, lost)
        except Exception:
            log.exception(
                "endpoint %s: the report of a trial could not be written; it begins anew later", resource.name
            )
            self._hold(endpoint.uid)

    async def _report(self, resource: Resource, endpoint: Endpoint, tasks: Mapping[str, TaskStatus]) -> Report:
        assert endpoint.pending is not None
        wanted = trial.read(endpoint.pending.trial)
        assert wanted is not None, "a fleet that is to be tried says how"
        scope = resource.scope
        found = Measured(Tally(VariantPlace(scope.account, scope.region, endpoint.name, ""), ""))
        try:
            async with asyncio.timeout(wanted.max_time_s):
                given = await self._requests(scope.account, endpoint, endpoint.pending, wanted)
                new, old = _places(endpoint, tasks)
                await _Run(wanted, found, new, old).run(given)
        except NoRequests as error:
            return trial.judged(wanted, found, str(error))
        except TimeoutError:
            return trial.judged(wanted, found, f"it was not over after {wanted.max_time_s:g} s.")
        except Exception as error:
            log.exception("endpoint %s: a trial could not be carried out", resource.name)
            return trial.judged(wanted, found, f"it could not be carried out: {type(error).__name__}: {error}.")
        return trial.judged(wanted, found)

    async def _requests(self, account: str, endpoint: Endpoint, fleet: Fleet, wanted: Trial) -> list[Request]:
        """At most wanted.count. Raises NoRequests."""
        if wanted.source == trial.SYNTHETIC:
            return await asyncio.to_thread(self._made, endpoint, fleet, wanted.count)
        uri, newest_first = wanted.source, False
        if wanted.source == trial.CAPTURED:
            config = None if endpoint.live is None else endpoint.live.capture
            if config is None or not is_enabled(config):
                raise NoRequests("the present fleet captures no requests.")
            uri, newest_first = f"{config['DestinationS3Uri'].rstrip('/')}/{endpoint.name}/", True
        objects = AccountObjects(self._objects, account)
        try:
            found = await _read(objects, uri, wanted, newest_first=newest_first)
        except (ServiceError, OSError, sqlite3.Error) as error:
            raise NoRequests(f"{uri} cannot be read: {error}") from error
        if not found:
            raise NoRequests(f"{uri} holds no request.")
        return found

    def _made(self, endpoint: Endpoint, fleet: Fleet, count: int) -> list[Request]:
        """From the probe of the first variant's model; the same whenever the trial begins anew. Raises NoRequests."""
        sha256 = fleet.production[0].containers[0].artifact_sha256
        try:
            found = sample(self._home.artifacts / sha256) if sha256 else None
        except LoadError as error:
            raise NoRequests(str(error)) from error
        if found is None:
            raise NoRequests("the model data has no probe/request.csv or .json to make requests from.")
        first = Request(found.request.content_type, found.request.body)
        random = Random(f"{endpoint.uid}/{fleet.number}")
        try:
            return list(itertools.islice(requests.varied(first, random), count))
        except ValueError as error:
            raise NoRequests(f"probe/{found.request_file.name} cannot be varied: {error}.") from error

    def _note(self, resource: Resource, report: Report, held: tuple[str, int]) -> None:
        """Write the report into the record, whatever else has changed in it, if it still waits for this one."""
        number = resource.document["pending"]["number"]
        with self._store.transaction(Author("kedge:endpoints", "", self._clock.now()), lease=held) as tx:
            now = tx.get(resource.scope, KIND, resource.name)
            if now is None or now.document["uid"] != resource.document["uid"]:
                return
            endpoint = Endpoint.of(now.document)
            if endpoint.pending is not None and endpoint.pending.number == number and endpoint.shift is not None:
                tx.update(now, shifting.tried(endpoint, report).document())


class _Run:
    """One trial."""

    def __init__(self, wanted: Trial, found: Measured, new: Sequence[Place], old: Mapping[str, Place]) -> None:
        """old: by variant, the instance of the present fleet that gets copies."""
        self._wanted, self._found, self._new, self._old = wanted, found, new, old
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._copying = asyncio.Lock()

    async def run(self, given: Sequence[Request]) -> None:
        """Raises NoRequests where there is nobody to ask."""
        if not self._new:
            raise NoRequests("no instance of the new fleet is ready.")
        began_s = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number, request in enumerate(given):
                await asyncio.sleep(max(0.0, began_s + number / self._wanted.rate - time.monotonic()))
                await self._at_once.acquire()
                group.create_task(self._ask(self._new[number % len(self._new)], request, number))

    async def _ask(self, place: Place, request: Request, number: int) -> None:
        try:
            answer, why = await _answer(place, request, number)
            if 200 <= answer.status < 300:
                self._found.answered(answer.latency_us / 1000)
            else:
                self._found.failed(why)
            if (old := self._old.get(place.variant)) is not None:
                async with self._copying:
                    present, _ = await _answer(old, request, number)
                if present.status and answer.status:
                    self._compare(place.variant, present, answer)
        finally:
            self._at_once.release()

    def _compare(self, variant: str, present: Answer, answer: Answer) -> None:
        whole = max(len(present.body), len(answer.body)) <= MAX_BODY_BYTES
        place = self._found.tally.place._replace(variant=variant)
        self._found.compare(Pair(place, "", present, answer, present.body == answer.body, whole))


def _places(endpoint: Endpoint, tasks: Mapping[str, TaskStatus]) -> tuple[list[Place], dict[str, Place]]:
    """(the instances of the new fleet, one instance of the present fleet for each variant)."""
    new: list[Place] = []
    old: dict[str, Place] = {}
    for member in endpoint.members():
        task = tasks.get(member.id)
        fleet = endpoint.fleet(member.fleet)
        if task is None or task.state is not TaskState.READY or fleet is None or member.variant.name == fleet.shadow:
            continue
        place = Place(member.variant.name, member.id, task.socket)
        if fleet is endpoint.pending:
            new.append(place)
        elif fleet is endpoint.live:
            old.setdefault(place.variant, place)
    return new, old


async def _answer(place: Place, request: Request, number: int) -> tuple[Answer, str]:
    """(the answer, what is wrong with it). Status 0: there was none."""
    timeout_ms = int(REQUEST_TIMEOUT_S * 1000)
    head = encoded_head((("content_type", request.content_type),), f"trial-{number}", timeout_ms, timeout_ms)
    began_s = time.monotonic()
    status, content_type, body, why = 0, "", bytearray(), ""
    try:
        async with (
            asyncio.timeout(REQUEST_TIMEOUT_S),
            asked(place.socket, place.id, head, _parts(request.body)) as answer,
        ):
            status, content_type = answer.status, answer.content_type
            async for part in answer.parts:
                body += part
                if len(body) > MOST_ANSWER_BYTES:
                    break
        if not 200 <= status < 300:
            why = f"status {status}: {bytes(body[:200]).decode(errors='replace')}"
    except TimeoutError:
        status, why = 0, f"no answer within {REQUEST_TIMEOUT_S:g} s"
    except Refused as refused:
        known = refused.head.get("status")
        status, why = known if isinstance(known, int) else 0, str(refused)[:200]
    except Lost as lost:
        status, why = 0, str(lost)
    return Answer(status, (time.monotonic() - began_s) * 1e6, content_type, bytes(body)), why


async def _parts(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def _read(objects: AccountObjects, uri: str, wanted: Trial, *, newest_first: bool) -> list[Request]:
    """Raises ServiceError, OSError, sqlite3.Error."""
    found: list[Request] = []
    bucket = uri.removeprefix("s3://").partition("/")[0]
    left_bytes = MOST_READ_BYTES
    for key in sorted(await objects.keys(uri), reverse=newest_first):
        info, reader = await objects.open(f"s3://{bucket}/{key}")
        left_bytes -= info.size
        try:
            if left_bytes < 0:
                return found
            content = b"".join([part async for part in reader])
        finally:
            await reader.aclose()
        for line in content.splitlines():
            request = requests.of_line(line, wanted.content_type)
            if request is not None:
                found.append(request)
            if len(found) >= wanted.count:
                return found
    return found
