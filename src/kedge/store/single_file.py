"""One SQLite file of this process alone: one writer whose commits are shared by who waits, and readers beside it."""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, cast

_MOST_TOGETHER = 64
"""Changes that are committed by one transaction."""

Flush = Literal["FULL", "NORMAL", "OFF"]
"""SQLite's synchronous: what a loss of power may take. FULL: nothing; NORMAL: the newest commits; OFF: the file."""

T = TypeVar("T")


class _Waiting(Generic[T]):
    """A change that waits for its commit, and then what came of it."""

    def __init__(self, change: Callable[[sqlite3.Connection], T]) -> None:
        self.change = change
        self.done = False
        self.result: T | None = None
        self.error: BaseException | None = None


class SingleFile:
    """Connections: one that writes, and as many idle ones that read as threads have read at once."""

    def __init__(
        self,
        path: Path,
        *,
        flush: Flush,
        setup: str = "",
        committed: Callable[[], None] = lambda: None,
        undone: Callable[[], None] = lambda: None,
    ) -> None:
        """committed: called after each transaction, by the thread that made it. setup: pragmas before the first table.

        undone: called by that thread after a change, or all of a transaction, was rolled back and before the next one
        begins: what a caller remembers of the file may be wrong now.

        The tables are the caller's to make."""
        self._path = path
        self._committed = committed
        self._undone = undone
        self._flush = flush
        self._writing = threading.Lock()
        self._waiting: deque[_Waiting[Any]] = deque()
        self._idle: list[sqlite3.Connection] = []
        self._writer = self._connect(setup)

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._connect()
        try:
            yield connection
        finally:
            self._idle.append(connection)

    def write(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """Make a change; it is committed when this returns. One that raises changes nothing.

        Changes of several threads that come while one is being committed are committed together, by whichever thread
        is first to have the writer: a flush of the disk costs the same for one and for many. So a change does nothing
        but read and write the file, and does not wait.
        """
        mine = _Waiting(change)
        self._waiting.append(mine)
        with self._writing:
            while not mine.done:
                self._commit([self._waiting.popleft() for _ in range(min(len(self._waiting), _MOST_TOGETHER))])
        if mine.error is not None:
            raise mine.error
        return cast(T, mine.result)

    def close(self) -> None:
        with self._writing:
            while self._idle:
                self._idle.pop().close()
            self._writer.close()

    def _commit(self, batch: list[_Waiting[Any]]) -> None:
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            for each in batch:
                self._make(each)
            self._writer.execute("COMMIT")
            self._committed()
        except BaseException as error:  # noqa: BLE001 (every one of those who wait is told)
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            self._undone()
            for each in batch:
                each.error = each.error or error
        finally:
            for each in batch:
                each.done = True

    def _make(self, waiting: _Waiting[Any]) -> None:
        """Raises only what ends the transaction for all."""
        self._writer.execute("SAVEPOINT one")
        try:
            waiting.result = waiting.change(self._writer)
        except BaseException as error:
            waiting.error = error
            if not self._writer.in_transaction:  # a full disk: SQLite has rolled back by itself
                raise
            self._writer.execute("ROLLBACK TO one")
            self._undone()
        self._writer.execute("RELEASE one")

    def _connect(self, setup: str = "") -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=30)
        connection.executescript(setup)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {self._flush}")
        connection.execute("PRAGMA cache_size = -16000")  # KiB
        return connection
