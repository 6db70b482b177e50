"""Events of a bucket's objects, from the change that causes them to the one who passes them on."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

from kedge.clock import Clock
from kedge.objects import index_buckets
from kedge.objects.index import Index
from kedge.objects.notifications import Happening, messages
from kedge.objects.records import Bucket, Cause, Event, ObjectInfo

Note = Callable[[sqlite3.Connection, Bucket, str, ObjectInfo, Cause], None]


class Events:
    """Reached as `Objects.events`."""

    def __init__(self, its_index: Index, clock: Clock) -> None:
        self._index = its_index
        self._clock = clock
        self._noted = False
        self._callbacks: tuple[Callable[[], None], ...] = ()

    def note(self, db: sqlite3.Connection, bucket: Bucket, name: str, info: ObjectInfo, cause: Cause) -> None:
        """Put what the bucket's configuration asks for beside the change, in its transaction. name: of the event."""
        if not bucket.notifications:
            return
        created = name.startswith("ObjectCreated")
        tagged = name.startswith("ObjectTagging")
        what = Happening(
            name,
            info.key,
            self._clock.now(),
            info.sequence,
            cause,
            info.version,
            info.size if created else None,
            info.etag if created or tagged else "",
        )
        for message in messages(bucket.notifications, bucket, what):
            index_buckets.note_event(db, bucket, what.at, message)
            self._noted = True

    def committed(self) -> None:
        """One change after the other: the index has one writer, who calls this too."""
        if self._noted:
            self._noted = False
            for callback in self._callbacks:
                callback()

    def on_event(self, callback: Callable[[], None]) -> None:
        """Call it after a commit that has events, on the thread that made it."""
        self._callbacks = (*self._callbacks, callback)

    def waiting(self, limit: int = 100) -> list[Event]:
        """The oldest of those that were not yet passed on. Blocks."""
        with self._index.read() as db:
            return index_buckets.events(db, limit)

    def forget(self, numbers: Sequence[int]) -> None:
        """They have been passed on. Blocks."""
        self._index.write(lambda db: index_buckets.forget_events(db, numbers))
