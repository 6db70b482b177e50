"""Events out of the log store: those of several streams as one sequence, by pages, never more than a page in memory.

Blocks come in the order of their nearer end. An event is taken over once no block that is still to come can hold one
before it; of the events that wait only as many are kept as the page still needs.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import dataclass, field

from kedge.logs.block import FIRST_KEY, LAST_KEY, Block, Event, Key
from kedge.logs.pattern import EVERYTHING, Pattern
from kedge.logs.tables import BLOCKS, LONGEST_MS, Row, load, snapshot


@dataclass(frozen=True)
class Question:
    """Which events of a group. start_ms is included, end_ms is not; only keys after `after` and before `before`."""

    group: int
    streams: Collection[int] | None = None
    """None: all of the group."""
    start_ms: int = 0
    end_ms: int = 2**62
    after: Key = FIRST_KEY
    before: Key = LAST_KEY
    pattern: Pattern = EVERYTHING
    newest_first: bool = False

    @property
    def low_ms(self) -> int:
        return max(self.start_ms, self.after[0])

    @property
    def high_ms(self) -> int:
        return min(self.end_ms, self.before[0] + 1)


@dataclass(frozen=True)
class Answer:
    """In the order asked for. rest: the next question's `after`, or `before`; None when there is nothing more."""

    events: list[Event] = field(default_factory=list)
    rest: Key | None = None


@dataclass(frozen=True)
class Bounds:
    """Of one answer. An event that is longer than all of the text may be comes alone."""

    events: int
    text_bytes: int
    scanned_bytes: int
    """Once that much was looked at, the answer ends, with fewer events or none."""


def read(db: sqlite3.Connection, asked: Question, bounds: Bounds) -> Answer:
    page = _Page(asked, bounds)
    scanned = 0
    with snapshot(db):
        for row in _rows(db, asked):
            edge = row.last if asked.newest_first else row.first
            if page.take(edge):
                return page.answer(page.last_key)
            if scanned >= bounds.scanned_bytes and _beyond(edge, asked):
                return page.answer((edge, LAST_KEY[1] if asked.newest_first else FIRST_KEY[1]))
            scanned += row.raw
            page.add(_found(load(db, row), row.stream, asked, bounds.events + 1, page.edge_ms))
    return page.answer(page.last_key if page.take(None) else None)


class _Page:
    def __init__(self, asked: Question, bounds: Bounds) -> None:
        self._newest_first = asked.newest_first
        self._bounds = bounds
        self._text_bytes = 0
        self._events: list[Event] = []
        self._waiting: list[Event] = []
        """The next one last. Never more than the page can hold, and one to know that there are more."""
        self.edge_ms: int | None = None
        """Once so many wait: what is further away is not on the page."""

    @property
    def last_key(self) -> Key:
        return self._events[-1][:2]

    def add(self, found: list[Event]) -> None:
        """found: of one block, in the order of time."""
        waiting, most = self._waiting, self._bounds.events + 1 - len(self._events)
        # Both are in order, the nearest of them last: sorting what are two runs is merging them.
        waiting += found if self._newest_first else found[::-1]
        waiting.sort(reverse=not self._newest_first)
        if len(waiting) > most:
            del waiting[:-most]
            self.edge_ms = waiting[0].at_ms

    def take(self, edge: int | None) -> bool:
        """Take over what comes before this time, all of it for None. True when there is more than the page holds."""
        waiting, newest_first = self._waiting, self._newest_first
        while waiting:
            event = waiting[-1]
            if edge is not None and (event.at_ms <= edge if newest_first else event.at_ms >= edge):
                return False
            size = len(event.message) if event.message.isascii() else len(event.message.encode())
            too_much = self._text_bytes + size > self._bounds.text_bytes
            if len(self._events) == self._bounds.events or (self._events and too_much):
                return True
            self._text_bytes += size
            self._events.append(waiting.pop())
        return False

    def answer(self, rest: Key | None) -> Answer:
        return Answer(self._events, rest)


def _rows(db: sqlite3.Connection, asked: Question) -> Iterator[Row]:
    """The blocks that may hold an answer, in the order of their nearer end."""
    which, given = "grp = ?", list[int | str]([asked.group])
    if asked.streams is not None and len(asked.streams) == 1:
        which, given = "stream = ?", [*asked.streams]
    elif asked.streams is not None:
        which = "grp = ? AND stream IN (SELECT value FROM json_each(?))"
        given = [asked.group, json.dumps([*asked.streams])]
    low, high = asked.low_ms, asked.high_ms
    if asked.newest_first:
        when, bounds = "last >= ? AND last < ? AND first < ?", (low, high + LONGEST_MS, high)
        order = "last DESC"
    else:
        when, bounds = "first >= ? AND first < ? AND last >= ?", (low - LONGEST_MS, high, low)
        order = "first"
    living = "stream NOT IN (SELECT stream FROM doomed)"
    query = f"{BLOCKS} WHERE {which} AND {when} AND {living} ORDER BY {order}"
    with closing(db.execute(query, (*given, *bounds))) as cursor:
        for row in cursor:
            yield Row(*row)


def _found(block: Block, stream: int, asked: Question, most: int, edge_ms: int | None) -> list[Event]:
    """At most that many of the events of one block, the nearest; none that is further away than edge_ms."""
    low, high = asked.low_ms, asked.high_ms
    if edge_ms is not None:
        low, high = (max(low, edge_ms), high) if asked.newest_first else (low, min(high, edge_ms + 1))
    indices = asked.pattern.matching(block, block.within(low, high, asked.after, asked.before))
    return block.events(indices[-most:] if asked.newest_first else indices[:most], stream)


def _beyond(edge: int, asked: Question) -> bool:
    """Whether an answer that ends there has come further than the question began."""
    return edge < asked.before[0] if asked.newest_first else edge > asked.after[0]
