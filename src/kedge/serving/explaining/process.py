"""The process of an explainer: it gets an instance's requests, asks the model beside it, and explains the answers.

It runs no code of a model. One connection brings requests, as a router's would; on the other one it asks the instance
for plain answers. What is computed is computed in threads, some explanations at once; a request that is not to be
explained waits for none of them, nor do other requests to the model, which come in between.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import signal
import socket
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson

from kedge.serving.asking import Wire, encoded_head
from kedge.serving.composition import EXPLAINED
from kedge.serving.explaining import records
from kedge.serving.explaining.config import BadExplainer, Explainer, compiled, read
from kedge.serving.line import Line
from kedge.serving.runtimes.base import Answer, BadInput, Busy, InvocationError, LoadError, as_outcome, last_line
from kedge.serving.streams import MAX_BODY_BYTES, Arrived, Failure
from kedge.serving.work import MAX_BYTES, MAX_REQUESTS
from kedge.serving.worker_setup import EXIT_DIED, EXIT_LOAD_FAILED, Entrance, Status, WorkerSpec, settle

AT_ONCE = 2
"""Explanations that are computed at a time; others wait."""
ASKED_AT_ONCE = 4
"""Requests to the model of one explanation that are under way at a time."""
_BUSY_PAUSE_S = 0.05
_NO_BOUND_S = 3600.0

log = logging.getLogger(__name__)


def serve(spec: WorkerSpec, status: Status, entrance: Entrance, asks: socket.socket, instance: str) -> int:
    """Until SIGTERM, or until the instance has closed a connection. Returns the exit code.

    entrance: the connection by which requests come. asks: the one to ask on. instance: who is at its other end.
    """
    try:
        settle(spec)
        explainer = read(spec.explainer)
        baseline = _baseline(explainer)
    except (BadExplainer, LoadError) as error:
        return status.end("failed", str(error), EXIT_LOAD_FAILED)
    except Exception as error:
        log.exception("the explainer cannot be started")
        return status.end("failed", last_line(error), EXIT_LOAD_FAILED)
    try:
        return asyncio.run(Explaining(spec.id, explainer, baseline, instance).serve(entrance.socket, asks, status))
    except Exception as error:
        log.exception("the explainer died")
        return status.end("died", last_line(error), EXIT_DIED)


def _baseline(explainer: Explainer) -> list[list[Any]]:
    """Rows of features. Raises LoadError."""
    body = explainer.baseline.encode()
    if explainer.baseline_uri:
        body = _fetched(explainer.baseline_uri)
    try:
        return records.features_of(body, explainer.baseline_type, explainer)
    except InvocationError as error:
        raise LoadError(f"The SHAP baseline cannot be used. {error.message}") from None


def _fetched(uri: str) -> bytes:
    """With the keys of the model's execution role. Raises LoadError."""
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, _, key = uri.removeprefix("s3://").partition("/")
    try:
        with tempfile.TemporaryDirectory() as folder:
            to = Path(folder) / "baseline"
            boto3.client("s3").download_file(bucket, key, str(to))
            return to.read_bytes()
    except (BotoCoreError, ClientError, ValueError) as error:
        raise LoadError(f"ShapBaselineUri {uri} cannot be read: {error}") from None


class _Asked:
    """One request to the model, on its way. Waiting of asking.py."""

    def __init__(self) -> None:
        self.outcome: asyncio.Future[Answer | Failure] = asyncio.get_running_loop().create_future()

    def begun(self) -> None:
        """It is never asked for."""

    def told(self, samples: object) -> None:
        """The instance counts the request that it is a part of."""

    def answered(self, head: dict[str, Any], body: bytes) -> None:
        status = head.get("status", 200)
        if not isinstance(status, int) or not 200 <= status < 300:
            self._end(Failure(status, body[:2048].decode(errors="replace"), "model"))
            return
        said = (str(head.get("content_type") or ""), str(head.get("custom_attributes") or ""))
        self._end(Answer(body, *said, status))

    def failed(self, head: dict[str, Any]) -> None:
        self._end(Failure(head.get("status", 500), str(head.get("message", "")), str(head.get("kind", "model"))))

    def overran(self) -> None:
        self._end(Failure(500, f"The model's answer has more than {MAX_BODY_BYTES} bytes.", "model"))

    def lost(self) -> None:
        self._end(Failure(503, "The model ended before it answered.", "lost"))

    def _end(self, outcome: Answer | Failure) -> None:
        if not self.outcome.done():
            self.outcome.set_result(outcome)


class _NotAnswered(InvocationError):
    """The model has refused a request, or failed at it."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class _Task:
    """A request while it is explained; what a Line has of it."""

    def __init__(self, task: asyncio.Task[None], size: int) -> None:
        self.size = size
        self._task = task

    def cancel(self) -> None:
        self._task.cancel()

    def go_on(self) -> None:
        """Its answer comes whole."""


class Explaining:
    """Front of a Line, and owner of a Wire."""

    def __init__(self, name: str, explainer: Explainer, baseline: list[list[Any]], instance: str) -> None:
        self.instance_id = instance
        self.hello = {
            "instance": name,
            "joinable": False,
            "max_requests": MAX_REQUESTS,
            "max_body_bytes": MAX_BODY_BYTES,
        }
        self.lines: set[Line] = set()
        self._explainer, self._baseline = explainer, baseline
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="explaining")
        self._wire: Wire | None = None
        self._held_bytes = 0

    async def serve(self, requests: socket.socket, asks: socket.socket, status: Status) -> int:
        self._loop = asyncio.get_running_loop()
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._changed = asyncio.Event()
        self._ends = asyncio.Event()
        self._loop.add_signal_handler(signal.SIGTERM, self._ends.set)
        for each in (requests, asks):
            each.setblocking(False)
        await self._loop.create_unix_connection(lambda: Wire(self), sock=asks)
        await self._loop.create_unix_connection(lambda: Line(self), sock=requests)
        status.tell({"state": "ready"})
        await self._ends.wait()
        for line in list(self.lines):
            line.close_door()
        while any(line.flows or not line.is_quiet for line in self.lines):
            self._changed.clear()
            await self._changed.wait()
        self._pool.shutdown(wait=False, cancel_futures=True)
        return status.end("stopped", "", 0)

    # What a Line asks its front.

    def welcome(self, line: Line) -> str:
        self.lines.add(line)
        return ""

    def room(self) -> int:
        return MAX_BYTES - self._held_bytes - sum(line.partial_bytes for line in self.lines)

    def look(self) -> None:
        self._changed.set()
        if not self.lines:
            self._ends.set()

    def begin(self, line: Line, arrived: Arrived) -> None:
        task = self._loop.create_task(self._answer(line, arrived))
        size = len(arrived.request.body)
        self._held_bytes += size
        line.flows[arrived.stream] = _Task(task, size)
        task.add_done_callback(functools.partial(self._done, line, arrived.stream, size))

    def _done(self, line: Line, stream: int, size: int, task: asyncio.Task[None]) -> None:
        line.flows.pop(stream, None)
        self._held_bytes -= size
        if not task.cancelled() and (error := task.exception()) is not None:
            line.answer(stream, as_outcome(error))
        self.look()

    # What a Wire tells its owner.

    def now_connected(self, wire: Wire) -> None:
        self._wire = wire

    def now_ready(self) -> None:
        """The instance takes requests whenever it has greeted."""

    def now_ending(self) -> None:
        """It says so of each request, too."""

    def now_refused(self, why: str) -> None:
        log.warning("the instance takes no requests: %s", why)

    def now_lost(self) -> None:
        self._ends.set()

    # One request.

    async def _answer(self, line: Line, arrived: Arrived) -> None:
        end_s = self._loop.time() + (_NO_BOUND_S if arrived.deadline_ms is None else arrived.deadline_ms / 1000)
        outcome: Answer | InvocationError | Failure
        try:
            outcome = await self._explained(arrived, end_s)
        except _NotAnswered as error:
            outcome = error.failure
        except InvocationError as error:
            outcome = error
        line.answer(arrived.stream, outcome)

    async def _explained(self, arrived: Arrived, end_s: float) -> Answer:
        request, explainer = arrived.request, self._explainer
        kind = records.kind_of(request.content_type, "The content type of the request")
        enable = request.enable_explanations or explainer.enable
        try:
            compiled("EnableExplanations", enable)
        except BadExplainer as error:
            raise BadInput(str(error)) from None
        rows = await asyncio.to_thread(records.features_of, request.body, kind, explainer)
        answer = await self._ask(arrived, request.body, end_s)
        answers = await asyncio.to_thread(records.answers_of, answer.body, answer.content_type, len(rows))
        wanted = [place for place, each in enumerate(answers) if records.is_enabled(enable, each)]
        explained: list[Any] = [None] * len(rows)
        if wanted:
            async with self._turns:
                found = await self._attributed(arrived, [rows[place] for place in wanted], kind, end_s)
            for place, each in zip(wanted, found, strict=True):
                explained[place] = each
        from kedge.serving.explaining import shap  # loaded with the first explanation, if there is one

        labels = records.labels_of(answers[0], explainer)
        body = orjson.dumps(shap.document(answer.body, answer.content_type, explained, labels))
        return Answer(body, "application/json", answer.custom_attributes)

    async def _attributed(self, arrived: Arrived, rows: list[list[Any]], kind: str, end_s: float) -> list[Any]:
        from kedge.serving.explaining import shap

        loop, going = self._loop, True

        def ask_all(asked: Sequence[tuple[bytes, int]]) -> list[tuple[bytes, str]]:
            if not going:
                raise Busy("Nobody waits for the explanation any more.")
            coming = asyncio.run_coroutine_threadsafe(self._ask_all(arrived, [body for body, _ in asked], end_s), loop)
            return [(each.body, each.content_type) for each in coming.result()]

        work = functools.partial(shap.attributions, rows, self._baseline, kind, self._explainer, ask_all)
        try:
            found: list[Any] = await loop.run_in_executor(self._pool, work)
        finally:
            going = False
        return found

    async def _ask_all(self, arrived: Arrived, bodies: Sequence[bytes], end_s: float) -> list[Answer]:
        some = asyncio.Semaphore(ASKED_AT_ONCE)

        async def ask(body: bytes) -> Answer:
            async with some:
                return await self._ask(arrived, body, end_s)

        return list(await asyncio.gather(*(ask(body) for body in bodies)))

    async def _ask(self, arrived: Arrived, body: bytes, end_s: float) -> Answer:
        """The model's plain answer. Raises _NotAnswered."""
        request = arrived.request
        given = {
            "content_type": request.content_type,
            "accept": request.accept or request.content_type,
            "custom_attributes": request.custom_attributes,
            "inference_id": request.inference_id,
            "target_model": request.target_model,
            "target_container": EXPLAINED,
        }
        fields = tuple((name, value) for name, value in given.items() if value)
        while True:
            left_ms = max(1, int((end_s - self._loop.time()) * 1000))
            timeout_ms = left_ms if arrived.timeout_ms is None else max(1, int(arrived.timeout_ms))
            asked = _Asked()
            assert self._wire is not None, "it is connected before the first request comes"
            head = encoded_head(fields, request.request_id, left_ms, timeout_ms)
            stream = self._wire.send(asked, head, body, MAX_BODY_BYTES)
            try:
                outcome = await asked.outcome
            except asyncio.CancelledError:
                self._wire.cancel(stream)
                raise
            if isinstance(outcome, Answer):
                return outcome
            if outcome.kind != Busy.kind or self._loop.time() + _BUSY_PAUSE_S >= end_s:
                raise _NotAnswered(outcome)
            await asyncio.sleep(_BUSY_PAUSE_S)
