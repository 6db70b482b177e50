"""A body on its way into a file: written by the store's threads while more of it arrives.

A large one that comes quickly is poured (pouring.py); any other arrives over the event loop.
"""

from __future__ import annotations

import asyncio
import errno
import sqlite3
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import ParamSpec, TypeVar

from kedge.objects.bodies import Bodies, NewBody, OpenBody
from kedge.objects.errors import EntityTooLarge, StorageFull
from kedge.objects.pouring import Buffers, Pouring, pour
from kedge.objects.records import CHECKSUMS
from kedge.objects.vault import Sealing

CHUNK_BYTES = 1024 * 1024
"""A body goes to and from the disk in pieces of about this size; at most three are in memory for one upload."""
_POURING_THREADS = 4
_CHUNKS_AHEAD = 4
_FEW_STREAMS = 16
LARGEST_PUT_BYTES = 5 * 1024**3
"""Of one put or one part. Larger objects are made of parts."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

Body = AsyncIterable[bytes] | bytes
P = ParamSpec("P")
T = TypeVar("T")


class Work:
    """The store's own threads."""

    def __init__(self, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, "objects")
        self._pouring = ThreadPoolExecutor(_POURING_THREADS, "objects-in")
        """Apart, since what they do takes longer than all other steps."""
        self._buffers = Buffers()
        self._poured = 0
        """Bodies that have a thread of these, or wait for one."""
        self.streams = 0
        """Bodies that are being sent."""

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Cancelled: a step under way still ends, its result is dropped. Raises StorageFull for a full disk."""
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: saying_full(function, *args, **kwargs)
        )

    async def pour(self, body: Pouring, into: NewBody) -> None:
        """As pouring.pour. Raises StorageFull too."""
        self._poured += 1
        try:
            await asyncio.get_running_loop().run_in_executor(
                self._pouring, lambda: saying_full(pour, body, into, self._buffers, self._others_wait)
            )
        finally:
            self._poured -= 1

    def _others_wait(self) -> bool:
        return self._poured > _POURING_THREADS

    def submit(self, function: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        self._threads.submit(function, *args, **kwargs)

    def close(self) -> None:
        """Waits for the steps under way."""
        self._pouring.shutdown(wait=True, cancel_futures=True)
        self._threads.shutdown(wait=True, cancel_futures=True)


@asynccontextmanager
async def receiving(
    bodies: Bodies, work: Work, body: Body, sealing: Sealing | None, algorithm: str = ""
) -> AsyncIterator[tuple[NewBody, list[bytes]]]:
    """Yields the new body and its last bytes, not yet written. One that raises leaves nothing.

    algorithm: of a checksum that is wanted of it, besides what the body itself verifies.
    """
    new = NewBody(bodies, sealing, algorithm)
    pouring = _poured(body)
    batch: list[bytes] = []
    size = whole = 0
    writing: asyncio.Future[None] | None = None
    try:
        if isinstance(body, bytes):
            batch.append(body)
        elif pouring is not None:
            if pouring.length > LARGEST_PUT_BYTES:
                raise too_large(pouring.length)
            while await pouring.more():
                await work.pour(pouring, new)
        else:
            async for chunk in body:
                batch.append(chunk)
                size += len(chunk)
                whole += len(chunk)
                if whole > LARGEST_PUT_BYTES:
                    raise too_large(whole)
                if size >= CHUNK_BYTES:
                    if writing is not None:
                        await writing
                    writing = asyncio.ensure_future(work.run(new.write, batch))
                    writing.add_done_callback(_look_at_error)
                    batch, size = [], 0
        if writing is not None:
            await writing
        yield new, batch
    except Exception:
        await work.run(new.abandon)
        raise
    except BaseException:  # cancelled: a thread may still write or commit, and abandoning waits for it
        work.submit(new.abandon)
        raise


def _poured(body: Body) -> Pouring | None:
    """The body for threads to take, where it can."""
    poured: Callable[[], Pouring | None] | None = getattr(body, "poured", None)
    return None if poured is None else poured()


class BodyReader:
    """Bytes of an open body for the event loop. It closes the body at the end; `aclose` does it before.

    While what was read is sent, more is read. A few streams read far ahead at each step, since every step costs two
    changes of the thread; many read less, so that the memory of all together stays bounded.
    """

    def __init__(self, work: Work, body: OpenBody, start: int, count: int) -> None:
        self._work = work
        self._body = body
        self._at = start
        self._left = count
        """Bytes that no step has been told to read."""
        self._ready: deque[bytes] = deque()
        self._next: asyncio.Future[list[bytes]] | None = None
        self._open = True
        work.streams += 1

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self._ready:
            if self._next is None and self._left:
                self._next = self._read()
            if self._next is None:
                await self.aclose()
                raise StopAsyncIteration
            self._ready.extend(await self._next)
            self._next = None
        if self._next is None and self._left:
            self._next = self._read()
        return self._ready.popleft()

    def _read(self) -> asyncio.Future[list[bytes]]:
        count = min(self._left, CHUNK_BYTES * (_CHUNKS_AHEAD if self._work.streams <= _FEW_STREAMS else 1))
        reading = asyncio.ensure_future(self._work.run(_read_all, self._body, self._at, count))
        reading.add_done_callback(_look_at_error)
        self._at += count
        self._left -= count
        return reading

    async def aclose(self) -> None:
        """May be called at any time and more than once. Waits for a read that is under way."""
        self._left, self._next = 0, None
        self._ready.clear()
        if self._open:
            self._open = False
            self._work.streams -= 1
        await self._work.run(self._body.close)


def _read_all(body: OpenBody, offset: int, count: int) -> list[bytes]:
    found: list[bytes] = []
    while count:
        data = body.read_at(offset, min(count, CHUNK_BYTES))
        found.append(data)
        offset += len(data)
        count -= len(data)
    return found


def checksums_of(body: Body) -> dict[str, str]:
    """What the stream has verified. It knows at its end."""
    found: Mapping[str, str] = getattr(body, "checksums", {})
    return {name: value for name, value in found.items() if name in CHECKSUMS}


def too_large(size: int) -> EntityTooLarge:
    return EntityTooLarge(
        f"The body has at least {size} bytes; at most {LARGEST_PUT_BYTES} are taken at once. Upload it in parts.",
        ProposedSize=size,
        MaxSizeAllowed=LARGEST_PUT_BYTES,
    )


def saying_full(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Calls it. Raises StorageFull for the errors that a full disk causes."""
    try:
        return function(*args, **kwargs)
    except (OSError, sqlite3.OperationalError) as error:
        full = error.errno in _FULL if isinstance(error, OSError) else error.sqlite_errorcode == sqlite3.SQLITE_FULL
        if not full:
            raise
        raise StorageFull(
            "The disk of the object store is full; nothing of this request was stored. Free space, then try again."
        ) from error


def _look_at_error(done: asyncio.Future[T]) -> None:
    """So that a step nobody waits for any more, because the body itself failed, is not reported as forgotten."""
    if not done.cancelled():
        done.exception()
