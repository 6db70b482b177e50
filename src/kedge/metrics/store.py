"""The metric store: datapoints of every metric, in one SQLite file of its own. docs/metrics.md says why it is so.

What `put` or `take` has returned for survives the end of every process, kill -9 of all of them too; a loss of power may
take the last second. Readers see what is committed, at once, and the period that is going on as far as it has come.
Times are seconds since 1970. Every method may be called from any thread.
"""

from __future__ import annotations

import asyncio
import math
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from kedge.clock import Clock
from kedge.errors import ServiceUnavailable
from kedge.metrics import catalog, rolling, tables
from kedge.metrics.catalog import Catalog
from kedge.metrics.series import HOUR_S, Datum, Metric, Summary
from kedge.metrics.tables import MERGE, in_plain_words
from kedge.metrics.tiers import TIERS, Mark, first, readable
from kedge.store.single_file import SingleFile

_REMEMBERED_S = 24 * HOUR_S
"""How long a sender that is silent is known: it holds what it could not send for 15 minutes."""

_Row = tuple[int, int, int, float | bytes]


class MetricStore:
    def __init__(self, path: Path, clock: Clock, *, durable: bool = True) -> None:
        """durable: False for state that goes with the process. Raises ServiceUnavailable."""
        self._clock = clock
        self._catalog = Catalog()
        self._marks: list[Mark] | None = None
        """As in the file; None when they have to be read again."""
        self._sweep_at_s = 0.0
        self._gathered: list[tuple[Sequence[Datum], asyncio.Future[None]]] = []
        self._committing: asyncio.Task[None] | None = None
        with in_plain_words():
            self._file = SingleFile(
                path, flush="NORMAL" if durable else "OFF", setup=tables.SETUP, undone=self._forget_known
            )
            self._file.write(tables.prepare)

    def close(self) -> None:
        self._file.close()

    def put(self, data: Sequence[Datum]) -> None:
        """Raises ServiceUnavailable; then nothing of it is kept."""
        with in_plain_words():
            self._file.write(lambda db: self._add(db, data))

    async def put_with_others(self, data: Sequence[Datum]) -> None:
        """As `put`, for one event loop: what comes while a commit is under way is committed together by the next one.

        A hundred small puts at once then take one thread, once, instead of a hundred."""
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._gathered.append((data, mine))
        if self._committing is None:
            self._committing = asyncio.create_task(self._commit_gathered())
        await mine

    async def _commit_gathered(self) -> None:
        try:
            while self._gathered:
                batch, self._gathered = self._gathered, []
                try:
                    outcomes = await asyncio.to_thread(self._put_each, [data for data, _ in batch])
                except BaseException:  # the loop ends: nobody may wait for ever
                    for _, waiting in batch + self._gathered:
                        waiting.cancel()
                    self._gathered = []
                    raise
                for (_, waiting), error in zip(batch, outcomes, strict=True):
                    if waiting.done():  # who waited has gone
                        continue
                    if error is None:
                        waiting.set_result(None)
                    else:
                        waiting.set_exception(error)
        finally:
            self._committing = None

    def _put_each(self, batch: Sequence[Sequence[Datum]]) -> list[Exception | None]:
        """What went wrong with each: in one transaction, or, if that fails, each in its own."""
        if len(batch) > 1:
            try:
                self.put([datum for data in batch for datum in data])
            except ServiceUnavailable:
                return [self._put_alone(data) for data in batch]
            return [None] * len(batch)
        return [self._put_alone(data) for data in batch]

    def _put_alone(self, data: Sequence[Datum]) -> Exception | None:
        try:
            self.put(data)
        except Exception as error:  # noqa: BLE001 (it is told to who waits)
            return error
        return None

    def take(self, sender: str, sequence: int, data: Sequence[Datum]) -> bool:
        """Add a report, together with the mark that it was. False: it, or a later one of this sender, was taken before.

        sequence: grows with each report of a sender. Raises ServiceUnavailable."""

        def change(db: sqlite3.Connection) -> bool:
            row = db.execute("SELECT sequence FROM taken WHERE sender = ?", (sender,)).fetchone()
            if row is not None and sequence <= row[0]:
                return False
            db.execute("REPLACE INTO taken VALUES (?, ?, ?)", (sender, sequence, int(self._now_s())))
            self._add(db, data)
            return True

        with in_plain_words():
            return self._file.write(change)

    def taken(self, sender: str) -> int:
        """The sequence of its last report; 0 for a sender that is not known. Raises ServiceUnavailable."""
        with in_plain_words(), self._file.read() as db:
            row = db.execute("SELECT sequence FROM taken WHERE sender = ?", (sender,)).fetchone()
        return 0 if row is None else int(row[0])

    def read(
        self,
        metric: Metric,
        unit: str | None,
        period_s: int,
        start_s: int,
        end_s: int,
        counted: Callable[[int], None] = lambda count: None,
    ) -> list[tuple[str, dict[int, Summary]]]:
        """By unit, those alone that have something in the range: start of the period -> what is known of it.

        unit: None is every one. Periods begin at start_s itself; the last one ends at end_s or after it, and has what
        came before end_s. Data is read from what is kept, so a period that is no multiple of what is kept of that time
        finds nothing there. counted: told of each unit how many kept datapoints it was put together from, and what it
        raises ends the reading. Raises ServiceUnavailable.
        """
        tier_number = readable(period_s, start_s)
        step_s, now_s = TIERS[tier_number].step_s, self._now_s()
        end_s = math.ceil(end_s / step_s) * step_s
        found = []
        with in_plain_words(), self._snapshot() as db:
            for each, series in catalog.units(db, metric, unit):
                periods: dict[int, Summary] = {}
                kept = 0
                for kept, (at_s, data) in enumerate(  # noqa: B007 (how many there were)
                    rolling.points(db, tier_number, series, start_s, end_s, now_s), 1
                ):
                    period = at_s - (at_s - start_s) % period_s
                    if period in periods:
                        periods[period].merge(Summary.unpacked(data))
                    else:
                        periods[period] = Summary.unpacked(data)
                counted(kept)
                if periods:
                    found.append((each, periods))
        return found

    def metrics(
        self,
        account: str,
        region: str,
        namespace: str | None = None,
        name: str | None = None,
        dimensions: Sequence[tuple[str, str | None]] = (),
        active_since_s: float | None = None,
        after: Metric | None = None,
    ) -> Iterator[Metric]:
        """In the order of namespace, name and dimensions, those behind `after`. Raises ServiceUnavailable.

        dimensions: (name, value) that a metric must have, besides others; value None is any. active_since_s: with a
        datapoint that is no older, as nearly as a quarter of an hour: some have been silent for that much longer.
        """
        while True:
            with in_plain_words(), self._file.read() as db:
                page = catalog.page(db, account, region, namespace, name, dimensions, active_since_s, after)
            if not page:
                return
            yield from page
            after = page[-1]

    def keep_house(self) -> bool:
        """A step of rolling up or of forgetting. False: there is nothing left to do now. Raises ServiceUnavailable."""
        now_s = self._now_s()

        def change(db: sqlite3.Connection) -> bool:
            self._marks = None
            if rolling.roll_up(db, now_s) or rolling.forget(db, now_s):
                return True
            if now_s >= self._sweep_at_s:
                self._catalog.drop_silent(db, now_s)
                db.execute("DELETE FROM taken WHERE at < ?", (now_s - _REMEMBERED_S,))
                self._sweep_at_s = now_s + HOUR_S
            return False

        with in_plain_words():
            return self._file.write(change)

    def wipe(self) -> None:
        """Drop everything. Raises ServiceUnavailable."""

        def change(db: sqlite3.Connection) -> None:
            for table in tables.EVERY:
                db.execute(f"DELETE FROM {table}")  # noqa: S608 (fixed names)
            self._forget_known()

        with in_plain_words():
            self._file.write(change)

    def _add(self, db: sqlite3.Connection, data: Sequence[Datum]) -> None:
        """Each datapoint where it belongs, and where that was rolled up to already."""
        if self._marks is None:
            self._marks = rolling.marks(db)
        rows: list[list[_Row]] = [[] for _ in TIERS]
        for datum in data:
            at_s = math.floor(datum.at_s)
            series = self._catalog.series(db, datum.metric, datum.unit, at_s)
            packed = datum.summary.packed()
            for number in range(first(datum.resolution_s), len(TIERS)):
                chunk, slot = TIERS[number].place(at_s)
                rows[number].append((chunk, series, slot, packed))
                if number == len(self._marks) or (chunk, series) > self._marks[number]:
                    break
        for merge, added in zip(MERGE, rows, strict=True):
            if added:
                db.executemany(merge, added)

    def _forget_known(self) -> None:
        self._catalog.forget()
        self._marks = None

    @contextmanager
    def _snapshot(self) -> Iterator[sqlite3.Connection]:
        """A connection that sees one state for as long as it is had."""
        with self._file.read() as db:
            db.execute("BEGIN")
            try:
                yield db
            finally:
                db.execute("ROLLBACK")

    def _now_s(self) -> float:
        return self._clock.now().timestamp()
