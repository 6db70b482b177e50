"""Deleting objects and versions: as a client asks, and as lifecycle rules do."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import replace

from kedge.clock import Clock
from kedge.objects import index, index_versions
from kedge.objects.bodies import Bodies
from kedge.objects.events import Note
from kedge.objects.index import Index
from kedge.objects.index_buckets import find_bucket
from kedge.objects.lifecycle import Due
from kedge.objects.records import BY_PLATFORM, Attributes, Bucket, BucketRef, Cause, Check, Deleted, ObjectInfo


class Deletions:
    """Reached as `Objects.deletions`, whose files it shares. Every method blocks."""

    def __init__(self, its_index: Index, bodies: Bodies, clock: Clock, note: Note) -> None:
        self._index = its_index
        self._bodies = bodies
        self._clock = clock
        self._note = note

    def delete(
        self, bucket: BucketRef, key: str, version: str | None = None, check: Check | None = None,
        cause: Cause = BY_PLATFORM,
    ) -> Deleted:  # fmt: skip
        """A key without an object is no error. Raises NoSuchBucket and what `check` raises."""
        [done] = self.delete_all(bucket, [(key, version, check)], cause)
        if isinstance(done, Exception):
            raise done
        return done

    def delete_all(
        self,
        bucket: BucketRef,
        wanted: Iterable[tuple[str, str | None, Check | None]],
        cause: Cause = BY_PLATFORM,
    ) -> list[Deleted | Exception]:
        """All of them by one transaction. wanted: (key, version, check). For each what was done, or what forbade it."""

        def delete(db: sqlite3.Connection) -> tuple[list[Deleted | Exception], list[str]]:
            owner = find_bucket(db, bucket)
            done: list[Deleted | Exception] = []
            files: list[str] = []
            for key, version, check in wanted:
                try:
                    if check is not None:
                        check(index_versions.version_at(db, owner, key))
                except Exception as error:  # noqa: BLE001 (the answer for this key)
                    done.append(error)
                    continue
                result, gone = self._delete(db, owner, key, version, cause, "ObjectRemoved")
                done.append(result)
                files += gone
            return done, files

        done, files = self._index.write(delete)
        self._bodies.remove(files)
        return done

    def _delete(
        self, db: sqlite3.Connection, bucket: Bucket, key: str, version: str | None, cause: Cause, kind: str
    ) -> tuple[Deleted, list[str]]:
        now = self._clock.now()
        gone = ObjectInfo(bucket.name, key, 0, "", now, Attributes(), {}, "", (), version=version or "null")
        gone = replace(gone, sequence=index.as_number(now))
        if version is not None:
            found, files = index_versions.delete_version(db, bucket, key, version)
            if found is not None:
                self._note(db, bucket, f"{kind}:Delete", gone, cause)
            return Deleted(key, version, marker=found is not None and found.marker), files
        done, files = index_versions.delete_key(db, bucket, key, now)
        if done is None:
            return Deleted(key), files
        action = "DeleteMarkerCreated" if done.created else "Delete"
        self._note(db, bucket, f"{kind}:{action}", replace(gone, version=done.version or "null"), cause)
        return done, files

    def expire(self, bucket: BucketRef, found: Iterable[Due], cause: Cause) -> int:
        """Remove what is still as it was looked at, by one transaction. Returns how many versions went or hid."""

        def remove(db: sqlite3.Connection) -> tuple[int, list[str]]:
            owner = find_bucket(db, bucket)
            count = 0
            files: list[str] = []
            for due in found:
                now = index_versions.version_at(db, owner, due.key, due.version or None)
                if now is not None and now.sequence == due.sequence:
                    _, gone = self._delete(db, owner, due.key, due.version or None, cause, "LifecycleExpiration")
                    count, files = count + 1, files + gone
            return count, files

        count, gone = self._index.write(remove)
        self._bodies.remove(gone)
        return count
