"""What happens by itself: events are passed on to topics and the outbox, and objects whose time has come go.

Both take small steps that can be taken again. An event stays in the index until it is in the outbox, or a message to a
topic waits in the queue of actions, under the same id; a crash in between passes it on twice. An expiry is decided from
what is there and made only if that is there still.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from datetime import datetime
from itertools import groupby

from kedge.objects import configuration, lifecycle, notifications, telling
from kedge.objects.errors import NoSuchBucket, NoSuchUpload
from kedge.objects.files import Objects
from kedge.objects.lifecycle import Due, Rule
from kedge.objects.records import Bucket, Cause, ListedVersion, Upload
from kedge.store.store import Author, Scope, Store

log = logging.getLogger(__name__)

LIFECYCLE_PERIOD_S = 600.0
"""Things expire at midnight UTC; this is how long after it at the latest they begin to go."""
EVENTS_PERIOD_S = 10.0
_PAGE = 1000
_TOGETHER = 100
_CAUSE = Cause("Lifecycle", principal="s3.amazonaws.com")


async def pass_events_on(objects: Objects, store: Store) -> None:
    """Until none is left."""
    while await objects.run(_pass_some_on, objects, store):
        pass


def _pass_some_on(objects: Objects, store: Store) -> bool:
    found = objects.events.waiting(_TOGETHER)
    if not found:
        return False
    with store.transaction(Author("s3.amazonaws.com", "", found[-1].at)) as tx:
        for event in found:
            scope = Scope(event.account, event.region)
            if event.detail_type == notifications.TO_TARGET and telling.is_topic(event.detail["TargetArn"]):
                message = event.detail["Message"]
                bucket = message["Records"][0]["s3"]["bucket"]["name"]
                telling.tell(tx, event.detail["TargetArn"], message, bucket, scope, event.at, event.id)
                continue
            tx.emit(event.source, event.detail_type, dict(event.detail), scope, identity=event.id)
    objects.events.forget([event.number for event in found])
    return True


async def expire(objects: Objects, store: Store, now: datetime) -> int:
    """One pass over all buckets with a lifecycle configuration. Returns how many versions and uploads went."""
    count = 0
    page = await objects.run(store.list, configuration.SCOPE, configuration.KIND)
    for resource in page.items:
        rules = lifecycle.enabled(resource.document.get("Lifecycle") or ())
        if not rules:
            continue
        try:
            bucket = await objects.run(objects.bucket, resource.name)
            if bucket.id == resource.document.get("Id"):
                count += await _expire_bucket(objects, bucket, rules, now)
        except NoSuchBucket:
            continue  # it was deleted meanwhile
    if count:
        log.info("lifecycle rules removed %d versions and uploads", count)
    return count


async def _expire_bucket(objects: Objects, bucket: Bucket, rules: list[Rule], now: datetime) -> int:
    count = 0
    after: tuple[str, str] | None = None
    rest: list[ListedVersion] = []
    while True:
        page = await objects.run(objects.list_versions, bucket, "", "", after, _PAGE)
        keys = [list(versions) for _, versions in groupby([*rest, *page.rows], key=lambda row: row.key)]
        rest = keys.pop() if page.truncated and keys else []  # its last versions are on the next page
        found = [due for versions in keys for due in lifecycle.due(rules, versions, now)]
        for some in _batches(found):
            count += await objects.run(objects.deletions.expire, bucket, some, _CAUSE)
        if not page.truncated:
            break
        after = (page.last, page.rows[-1].version)
        await asyncio.sleep(0)
    return count + await objects.run(_abort, objects, bucket, rules, now)


def _batches(found: list[Due]) -> Iterator[list[Due]]:
    for start in range(0, len(found), _TOGETHER):
        yield found[start : start + _TOGETHER]


def _abort(objects: Objects, bucket: Bucket, rules: list[Rule], now: datetime) -> int:
    """Pages begin behind the last upload that was seen, so that those which go do not shift them."""
    after: tuple[str, str] | None = None
    count = 0
    while True:
        page = objects.uploads.list_page(bucket, "", "", after, _PAGE)
        for upload in page.rows:
            if lifecycle.upload_is_due(rules, upload, now):
                count += _abort_one(objects, bucket, upload)
        if not page.truncated:
            return count
        after = (page.rows[-1].key, page.rows[-1].id)


def _abort_one(objects: Objects, bucket: Bucket, upload: Upload) -> int:
    try:
        objects.uploads.abort(bucket, upload.key, upload.id)
    except NoSuchUpload:
        return 0  # completed meanwhile
    return 1
