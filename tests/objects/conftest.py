from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kedge.call import Call
from kedge.config import DEFAULTS
from kedge.identity.records import Caller
from kedge.loop import Signal
from kedge.objects.files import Objects
from kedge.objects.operations import OPERATIONS
from kedge.store.store import Store

ACCOUNT = "111122223333"


class Body:
    """A body as the wire hands it over: chunks, a length, checksums at the end, perhaps an error before it."""

    def __init__(
        self, chunks: Sequence[bytes], checksums: dict[str, str] | None = None, error: Exception | None = None
    ) -> None:
        self.length = sum(map(len, chunks))
        self.checksums: dict[str, str] = {}
        self._chunks = chunks
        self._at_end = checksums or {}
        self._error = error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            await asyncio.sleep(0)
            yield chunk
        if self._error is not None:
            raise self._error
        self.checksums |= self._at_end


class Client:
    """Calls operations as the gateway does: `await s3.PutObject(Bucket=..., Key=...)`."""

    def __init__(self, objects: Objects, store: Store, account: str = ACCOUNT, region: str = "us-east-1") -> None:
        caller = Caller(account, region, f"arn:aws:iam::{account}:root", account, "AKIA")
        self.objects, self.store = objects, store
        self._call = Call(
            caller=caller,
            now=datetime.now(UTC),
            request_id="r",
            user_agent="",
            settings=DEFAULTS,
            store=store,
            objects=objects,
            changed=Signal(),
        )

    def __getattr__(self, name: str) -> Any:
        operation = OPERATIONS["s3." + name]

        async def call(**request: Any) -> dict[str, Any]:
            return await operation(self._call, request)

        return call

    async def read(self, **request: Any) -> bytes:
        answer = await self.GetObject(**request)
        return b"".join([chunk async for chunk in answer["Body"]])


def files_under(folder: Path) -> list[Path]:
    """The files of all bodies."""
    return [path for path in (folder / "bodies").rglob("*") if path.is_file()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "objects"


@pytest.fixture
def objects(folder: Path) -> Iterator[Objects]:
    store = Objects(folder)
    store.create_bucket("bucket", ACCOUNT, "us-east-1")
    yield store
    store.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "kedge.db", durable=False)
    yield store
    store.close()


@pytest.fixture
def s3(objects: Objects, store: Store) -> Client:
    return Client(objects, store)
