"""One object of a transform job: read, split, sent to the model in requests, and its answers written in order.

Requests of one object are out at once as far as there is room; of the object only what is in them is held here. The
output appears whole, marked with the job that has written it: a job that goes on after a kill leaves it as it is.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from kedge.errors import ServiceError
from kedge.jobs.failing import JobFailed
from kedge.jobs.gzipped import NotPacked, unpacked
from kedge.jobs.instances import Instances
from kedge.jobs.plan import Input, Plan
from kedge.jobs.processing import Unprocessed
from kedge.jobs.splitting import BadRecord, Batches, check_size, splitter
from kedge.objects.of_account import AccountObjects
from kedge.serving.asking import encoded_head
from kedge.serving.direct import Lost, Refused, Unheard, asked

MARK = "kedge-transform-job"
"""Metadata of an output: which job has written it."""
FIRST_PAUSE_S = 0.25
BUSY_PAUSE_S = 0.1
LARGEST_ANSWER_BYTES = 256 * 1024 * 1024


class _TryAgain(Exception):
    """A request that may do better."""


@dataclass(frozen=True)
class Transform:
    objects: AccountObjects
    plan: Plan
    instances: Instances
    uid: str
    """Of the job."""
    began_at: str = ""
    """When it began, as text."""

    async def run(self, given: Input) -> bool:
        """False when the output was there already. Raises JobFailed."""
        found = await self.objects.head(given.output)
        if found is not None and found.attributes.metadata.get(MARK) == self.uid:
            return False
        try:
            await self.objects.put(
                given.output,
                self._output(given),
                self.plan.accept,
                metadata={MARK: self.uid},
                kms_key=self.plan.kms_key,
            )
        except (BadRecord, Unprocessed) as error:
            raise JobFailed(f"{given.uri}: {error}.") from error
        except ServiceError as error:
            raise JobFailed(f"{given.output} cannot be written: {error.message}") from error
        except (OSError, sqlite3.Error) as error:
            raise JobFailed(f"{given.output} cannot be written: {error}") from error
        return True

    async def _output(self, given: Input) -> AsyncIterator[bytes]:
        """The answers in the order of the records."""
        pending: deque[asyncio.Task[list[bytes]]] = deque()
        try:
            async for batch in self._batches(given):
                pending.append(asyncio.create_task(self._answered(batch)))
                if len(pending) >= self.instances.slots:
                    for part in await pending.popleft():
                        yield part
            while pending:
                for part in await pending.popleft():
                    yield part
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)

    async def _batches(self, given: Input) -> AsyncIterator[list[bytes]]:
        plan = self.plan
        split, batches = splitter(plan.split, plan.payload_bytes), Batches(plan.payload_bytes, single=plan.single)
        async for data in self._data(given.uri):
            for batch in batches.add(split.feed(data)):
                yield batch
        for batch in batches.add(split.end()):
            yield batch
        for batch in batches.end():
            yield batch

    async def _data(self, uri: str) -> AsyncIterator[bytes]:
        """Raises JobFailed where the object cannot be read."""
        try:
            _, reader = await self.objects.open(uri)
        except (ServiceError, OSError, sqlite3.Error) as error:
            raise JobFailed(f"The input {uri} cannot be read: {error}") from error
        try:
            if not self.plan.gzip:
                async for data in reader:
                    yield data
                return
            async for data in unpacked(reader):
                yield data
        except NotPacked as error:
            raise JobFailed(f"The input {uri} is {error}") from error
        except (OSError, sqlite3.Error) as error:
            raise JobFailed(f"The input {uri} cannot be read: {error}") from error
        finally:
            await reader.aclose()

    async def _answered(self, records: Sequence[bytes]) -> list[bytes]:
        """What of a batch goes into the output. Raises JobFailed, BadRecord, Unprocessed."""
        plan, work = self.plan, self.plan.processing
        sent = records if work is None else await asyncio.to_thread(work.to_model, records, plan.content_type)
        body = b"".join(sent)
        if plan.single and plan.split == "Line":
            body = body.removesuffix(b"\n")
        check_size(len(body.removesuffix(b"\n")), plan.payload_bytes)
        answer, answer_type = await self._ask(body)
        parts = [answer]
        if work is not None:
            kind = answer_type or plan.accept or plan.content_type
            parts = await asyncio.to_thread(work.to_output, records, plan.content_type, answer, kind, self.began_at)
        return [part if part.endswith(b"\n") else part + b"\n" for part in parts] if plan.lines else parts

    async def _ask(self, body: bytes) -> tuple[bytes, str]:
        """(answer, its content type), after as many tries as the job allows. Raises JobFailed."""
        tries = 0
        busy_until_s = asyncio.get_running_loop().time() + self.plan.timeout_s
        while True:
            instance = await self.instances.take()
            try:
                return await self._ask_once(instance, body)
            except Refused as refused:
                if refused.head.get("kind") in ("busy", "loading"):
                    reason = "The instances were busy."
                    if asyncio.get_running_loop().time() < busy_until_s:
                        await asyncio.sleep(BUSY_PAUSE_S)
                        continue
                reason = str(refused)
            except Lost as lost:
                reason = f"{instance}: {lost}."
                await self.instances.until_ready(instance)
                if isinstance(lost, Unheard) and asyncio.get_running_loop().time() < busy_until_s:
                    await asyncio.sleep(BUSY_PAUSE_S)
                    continue
            except TimeoutError:
                reason = f"The model did not answer within {self.plan.timeout_s:g} s."
            except _TryAgain as error:
                reason = str(error)
            finally:
                self.instances.give_back(instance)
            tries += 1
            if tries > self.plan.retries:
                raise JobFailed(reason)
            await asyncio.sleep(FIRST_PAUSE_S * 2**tries)

    async def _ask_once(self, instance: str, body: bytes) -> tuple[bytes, str]:
        given = (("content_type", self.plan.content_type), ("accept", self.plan.accept))
        timeout_ms = int(self.plan.timeout_s * 1000)
        head = encoded_head(tuple(each for each in given if each[1]), self.uid, timeout_ms, timeout_ms)
        async with (
            asyncio.timeout(self.plan.timeout_s),
            asked(self.instances.socket(instance), instance, head, _once(body)) as answer,
        ):
            parts, size = [], 0
            async for part in answer.parts:
                parts.append(part)
                size += len(part)
                if size > LARGEST_ANSWER_BYTES:
                    raise JobFailed(f"An answer of the model has more than {LARGEST_ANSWER_BYTES} bytes.")
            found = b"".join(parts)
            if not 200 <= answer.status < 300:
                side = "client" if 400 <= answer.status < 500 else "server"
                said = found[:1024].decode("utf-8", "replace")
                raise _TryAgain(f'Received {side} error ({answer.status}) from the model with message "{said}"')
            return found, answer.content_type


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body
