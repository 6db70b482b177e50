"""One invocation at one instance: its input read from the object store, its answer written there, both as they come."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from kedge import arn
from kedge.async_inference.capturing import Kept
from kedge.async_inference.notices import LARGEST_RESPONSE_BYTES
from kedge.async_inference.records import MARK, Completed, Failed, Item, Outcome
from kedge.async_inference.turns import Place
from kedge.errors import ServiceError
from kedge.logs import names
from kedge.objects.of_account import AccountObjects
from kedge.objects.receiving import BodyReader
from kedge.serving import answers
from kedge.serving.asking import encoded_head
from kedge.serving.direct import Answer, Refused, asked
from kedge.serving.table import Endpoint

LARGEST_INPUT_BYTES = 1024**3
LARGEST_ERROR_BYTES = 64 * 1024
"""Of what a model says when it fails."""


class NoInput(Exception):
    """The input cannot be read."""


@dataclass
class Latencies:
    """What it took, as far as it came."""

    download_s: float = 0.0
    upload_s: float = 0.0
    model_s: float = 0.0


@dataclass
class Execution:
    objects: AccountObjects
    item: Item
    place: Place
    identity: str
    """Of the invocation."""
    took: Latencies = field(default_factory=Latencies)
    kept: Kept | None = None
    """Where its bodies are captured."""

    async def run(self) -> Outcome:
        """Raises Lost and Refused of kedge.serving.direct, with nothing written."""
        if (done := await self._done_before()) is not None:
            self.kept = None  # what it was asked and answered has gone past
            return done
        try:
            async with asyncio.timeout(self.item.timeout_s):
                return await self._ask()
        except TimeoutError:
            return Failed(answers.timed_out(self._endpoint(), self._stream()).message)
        except NoInput as error:
            return Failed(str(error), "RequestDownloadFailures")

    async def _done_before(self) -> Outcome | None:
        """A kill between the output and the end of the invocation has left it in the queue."""
        found = await self.objects.head(self.item.output)
        if found is None or found.attributes.metadata.get(MARK) != self.identity:
            return None
        return Completed(found.attributes.headers.get("ContentType", ""), None)

    async def _ask(self) -> Outcome:
        item = self.item
        given = (
            ("content_type", item.content_type or await self._type_of_input()),
            ("accept", item.accept),
            ("custom_attributes", item.custom_attributes),
            ("inference_id", item.inference_id),
        )
        fields = tuple((name, value) for name, value in given if value)
        if self.kept is not None:
            self.kept.content_type = given[0][1]
        timeout_ms = int(item.timeout_s * 1000)
        head = encoded_head(fields, self.identity.rpartition("/")[2], timeout_ms, timeout_ms)
        began_s = time.monotonic()
        try:
            async with asked(self.place.socket, self.place.instance, head, self._input()) as answer:
                if not 200 <= answer.status < 300:
                    return await self._model_failed(answer)
                return await self._write(answer, began_s)
        except Refused as refused:
            if refused.head.get("kind") in ("busy", "loading", "lost"):
                raise
            status = refused.head.get("status")
            container = str(refused.head.get("container") or answers.PRIMARY)
            return self._failed(status if isinstance(status, int) else 500, str(refused), container)

    async def _type_of_input(self) -> str:
        """Of the object; so the SageMaker SDK says what it has put there."""
        found = await self.objects.head(self.item.input) if self.item.input else None
        return found.attributes.headers.get("ContentType", "") if found is not None else ""

    async def _input(self) -> AsyncIterator[bytes]:
        """Raises NoInput."""
        async for part in self._given():
            if self.kept is not None:
                self.kept.input(part)
            yield part

    async def _given(self) -> AsyncIterator[bytes]:
        """Raises NoInput."""
        if not self.item.input:
            yield self.item.body
            return
        reader: BodyReader | None = None
        try:
            waits_s = time.monotonic()
            info, reader = await self.objects.open(self.item.input)
            if info.size > LARGEST_INPUT_BYTES:
                raise NoInput(f"{self.item.input} has {info.size} bytes; at most {LARGEST_INPUT_BYTES} are taken.")
            async for part in reader:
                self.took.download_s += time.monotonic() - waits_s
                yield part
                waits_s = time.monotonic()
        except ServiceError as error:
            raise NoInput(f"The input {self.item.input} cannot be read: {error.message}") from error
        except (OSError, sqlite3.Error) as error:
            raise NoInput(f"The input {self.item.input} cannot be read: {error}") from error
        finally:
            if reader is not None:
                await reader.aclose()

    async def _write(self, answer: Answer, began_s: float) -> Outcome:
        item, kept, size, ended_s = self.item, bytearray(), 0, began_s

        async def parts() -> AsyncIterator[bytes]:
            nonlocal size, ended_s
            async for part in answer.parts:
                size += len(part)
                if size <= LARGEST_RESPONSE_BYTES:
                    kept.extend(part)
                if self.kept is not None:
                    self.kept.output(part)
                yield part
            ended_s = time.monotonic()
            self.took.model_s = max(0.0, ended_s - began_s - self.took.download_s)

        try:
            await self.objects.put(
                item.output, parts(), answer.content_type, metadata={MARK: self.identity}, kms_key=item.kms_key
            )
        except ServiceError as error:
            return Failed(f"The result cannot be written to {item.output}: {error.message}", "ResponseUploadFailures")
        except (OSError, sqlite3.Error) as error:
            return Failed(f"The result cannot be written to {item.output}: {error}", "ResponseUploadFailures")
        self.took.upload_s = time.monotonic() - ended_s
        return Completed(answer.content_type, bytes(kept) if size <= LARGEST_RESPONSE_BYTES else None)

    async def _model_failed(self, answer: Answer) -> Outcome:
        said = bytearray()
        async for part in answer.parts:
            said.extend(part[: LARGEST_ERROR_BYTES - len(said)])
            if len(said) >= LARGEST_ERROR_BYTES:
                break
        return self._failed(answer.status, said.decode("utf-8", "replace"))

    def _failed(self, status: int, message: str, container: str = answers.PRIMARY) -> Failed:
        reason = answers.model_error(self._endpoint(), self._stream(), status, message, container).message
        return Failed(reason, response=message.encode(errors="replace"))

    def _endpoint(self) -> Endpoint:
        """For messages."""
        item = self.item
        endpoint_arn = arn.sagemaker(item.region, item.account, "endpoint", item.endpoint)
        return Endpoint(item.account, item.region, item.endpoint, endpoint_arn, ())

    def _stream(self) -> str:
        return names.instance_stream(self.place.variant, self.place.instance)
