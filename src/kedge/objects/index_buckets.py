"""Rows of the index: buckets, and the events that wait to be told."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from kedge.objects.errors import NoSuchBucket
from kedge.objects.index import as_number, as_time
from kedge.objects.notifications import Message
from kedge.objects.records import Bucket, BucketRef, Event

_BUCKET = "id, name, account, region, created, versioning, notifications, encryption"


def bucket_named(db: sqlite3.Connection, name: str) -> Bucket | None:
    row = db.execute(f"SELECT {_BUCKET} FROM bucket WHERE name = ?", (name,)).fetchone()  # noqa: S608
    return None if row is None else _bucket(row)


def find_bucket(db: sqlite3.Connection, bucket: BucketRef) -> Bucket:
    """Raises NoSuchBucket."""
    name = bucket if isinstance(bucket, str) else bucket.name
    found = bucket_named(db, name)
    if found is None or (isinstance(bucket, Bucket) and found.id != bucket.id):
        raise NoSuchBucket(name)
    return found


def buckets_of(db: sqlite3.Connection, account: str | None) -> list[Bucket]:
    """By name; of every account for None."""
    rows = db.execute(
        f"SELECT {_BUCKET} FROM bucket WHERE ? IS NULL OR account = ? ORDER BY name",  # noqa: S608
        (account, account),
    )
    return [_bucket(row) for row in rows]


def add_bucket(db: sqlite3.Connection, name: str, account: str, region: str, created: datetime) -> None:
    db.execute(
        "INSERT INTO bucket (name, account, region, created) VALUES (?, ?, ?, ?)",
        (name, account, region, as_number(created)),
    )


def set_versioning(db: sqlite3.Connection, bucket: Bucket, status: str) -> None:
    db.execute("UPDATE bucket SET versioning = ? WHERE id = ?", (status, bucket.id))


def set_notifications(db: sqlite3.Connection, bucket: Bucket, configuration: str) -> None:
    db.execute("UPDATE bucket SET notifications = ? WHERE id = ?", (configuration, bucket.id))


def set_encryption(db: sqlite3.Connection, bucket: Bucket, default: str) -> None:
    db.execute("UPDATE bucket SET encryption = ? WHERE id = ?", (default, bucket.id))


def remove_bucket(db: sqlite3.Connection, bucket: Bucket) -> None:
    db.execute("DELETE FROM bucket WHERE id = ?", (bucket.id,))


def is_empty(db: sqlite3.Connection, bucket: Bucket) -> bool:
    """Whether there is no version of any key, nor a delete marker."""
    return all(
        db.execute(f"SELECT 1 FROM {table} WHERE bucket = ? LIMIT 1", (bucket.id,)).fetchone() is None  # noqa: S608
        for table in ("object", "version")
    )


def note_event(db: sqlite3.Connection, bucket: Bucket, at: datetime, message: Message) -> None:
    db.execute(
        "INSERT INTO event (id, at, account, region, source, detail_type, detail) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            str(uuid.uuid4()),
            as_number(at),
            bucket.account,
            bucket.region,
            message.source,
            message.detail_type,
            json.dumps(message.detail),
        ),
    )


def events(db: sqlite3.Connection, limit: int) -> list[Event]:
    """Oldest first."""
    rows = db.execute(
        "SELECT number, id, at, account, region, source, detail_type, detail FROM event ORDER BY number LIMIT ?",
        (limit,),
    )
    return [Event(row[0], row[1], as_time(row[2]), row[3], row[4], row[5], row[6], json.loads(row[7])) for row in rows]


def forget_events(db: sqlite3.Connection, numbers: Sequence[int]) -> None:
    db.executemany("DELETE FROM event WHERE number = ?", [(number,) for number in numbers])


def _bucket(row: tuple[Any, ...]) -> Bucket:
    return Bucket(row[0], row[1], row[2], row[3], as_time(row[4]), row[5], row[6], row[7])
