"""What a job leaves in its folder becomes objects, each of them whole or not there at all."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

from kedge.errors import ServiceError
from kedge.jobs import tree
from kedge.jobs.failing import JobFailed
from kedge.jobs.program_plan import MODEL, OUTPUT_DATA, Output, ProgramPlan
from kedge.jobs.tree import Found
from kedge.objects import address
from kedge.objects.of_account import AccountObjects

PIECE_BYTES = 1024 * 1024


class Outputs:
    """Of one run of a job. What was uploaded and has not changed since is not uploaded again."""

    def __init__(self, objects: AccountObjects, plan: ProgramPlan, ml: Path) -> None:
        self._objects, self._plan, self._ml = objects, plan, ml
        self._seen: dict[tuple[Output, str], Found] = {}
        """As they were at the last look."""
        self._sent: dict[tuple[Output, str], Found] = {}

    @property
    def has_continuous(self) -> bool:
        return any(each.continuous for each in self._plan.outputs)

    async def while_running(self) -> None:
        """Of Continuous outputs the files that have not changed since the last look. Raises JobFailed."""
        for output in self._plan.outputs:
            if output.continuous:
                for each in await asyncio.to_thread(tree.files, self._ml, output.local):
                    if self._seen.get((output, each.name)) == each:
                        await self._send(output, each)
                    self._seen[output, each.name] = each

    async def at_the_end(self, *, completed: bool) -> None:
        """All files of all outputs; of a job that is not completed those of Continuous ones. Raises JobFailed."""
        for output in self._plan.outputs:
            if completed or output.continuous:
                for each in await asyncio.to_thread(tree.files, self._ml, output.local):
                    await self._send(output, each)

    async def model(self) -> None:
        """The model of a training job. Raises JobFailed."""
        plan = self._plan
        if plan.packed:
            await self._pack(MODEL, plan.model_uri)
            return
        for each in await asyncio.to_thread(tree.files, self._ml, MODEL):
            await self._send(Output(plan.model_uri, MODEL), each)

    async def output_data(self) -> None:
        """What a training job left in output/data, if anything. Raises JobFailed."""
        if await asyncio.to_thread(tree.files, self._ml, OUTPUT_DATA):
            await self._pack(OUTPUT_DATA, self._plan.output_data_uri)

    async def _pack(self, below: str, uri: str) -> None:
        archive = self._ml.parent / f"{below.replace('/', '-')}.tar.gz"
        try:
            await asyncio.to_thread(tree.pack, self._ml, below, archive)
            with archive.open("rb") as file:
                await self._put(uri, _pieces(file), "application/x-tar")
        except OSError as error:
            raise JobFailed(f"InternalServerError: {uri} cannot be written: {error}") from error
        finally:
            archive.unlink(missing_ok=True)

    async def _send(self, output: Output, each: Found) -> None:
        if self._sent.get((output, each.name)) == each:
            return
        try:
            file = await asyncio.to_thread(tree.open_file, self._ml, f"{output.local}/{each.name}")
        except OSError:  # the job took it away, or put a link in its place
            return
        with contextlib.closing(file):
            await self._put(address.below(output.uri, each.name), _pieces(file), "")
        self._sent[output, each.name] = each

    async def _put(self, uri: str, body: AsyncIterator[bytes], content_type: str) -> None:
        try:
            await self._objects.put(uri, body, content_type, kms_key=self._plan.kms_key)
        except ServiceError as error:
            raise JobFailed(f"ClientError: {uri} cannot be written: {error.message}") from error
        except (OSError, sqlite3.Error) as error:
            raise JobFailed(f"InternalServerError: {uri} cannot be written: {error}") from error


async def _pieces(file: BinaryIO) -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
        yield piece
