"""Lifecycle rules: what is one, what is due, and what goes."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kedge.clock import HandClock
from kedge.objects import errors, lifecycle
from kedge.objects.controller import expire, pass_events_on
from kedge.objects.files import Objects
from kedge.objects.lifecycle import Due, Rule, due, midnight_after
from kedge.objects.records import Attributes, Cause, ListedVersion, Upload
from kedge.store.store import Scope
from tests.objects.conftest import ACCOUNT, Client, files_under
from tests.objects.putting import put_bytes

START = datetime(2030, 1, 1, 10, tzinfo=UTC)
DAY = timedelta(days=1)


def version(days_ago=0.0, name="v", *, now=START, marker=False, **more):
    at = now - timedelta(days=days_ago)
    row = ListedVersion("logs/a", 10, "e", at, (), "", "STANDARD", name, 0, marker)
    return replace(row, **more)


@pytest.mark.parametrize(
    ("days", "want"),
    [(1, datetime(2030, 1, 3, tzinfo=UTC)), (30, datetime(2030, 2, 1, tzinfo=UTC))],
)
def test_days_end_at_midnight(days, want):
    assert midnight_after(START, days) == want
    assert midnight_after(START.replace(hour=0), days) == want - DAY


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**9), st.integers(1, 1000))
def test_nothing_goes_before_its_days_are_over(seconds, days):
    moment = START + timedelta(seconds=seconds)
    end = midnight_after(moment, days)
    assert timedelta(days=days) <= end - moment < timedelta(days=days + 1)
    assert (end.hour, end.minute, end.second, end.microsecond) == (0, 0, 0, 0)


CURRENT = [Due("logs/a", "", 0)]


@pytest.mark.parametrize(
    ("rule", "versions", "want"),
    [
        (Rule("r", days=1), [version(3)], CURRENT),
        (Rule("r", days=1), [version(0.5)], []),
        (Rule("r", days=1, prefix="logs/"), [version(3)], CURRENT),
        (Rule("r", days=1, prefix="data/"), [version(3)], []),
        (Rule("r", days=1, tags=(("a", "1"),)), [version(3, tags={"a": "1", "b": "2"})], CURRENT),
        (Rule("r", days=1, tags=(("a", "1"),)), [version(3, tags={"a": "2"})], []),
        (Rule("r", days=1, larger_than=9), [version(3)], CURRENT),
        (Rule("r", days=1, larger_than=10), [version(3)], []),
        (Rule("r", days=1, smaller_than=10), [version(3)], []),
        (Rule("r", date=START), [version(0)], CURRENT),
        (Rule("r", date=START + DAY), [version(9)], []),
        (Rule("r", days=1), [version(3, marker=True), version(9, "o")], []),
        (Rule("r", days=1), [version(3, marker=True)], [Due("logs/a", "v", 0)]),
        (Rule("r", removes_markers=True), [version(0, marker=True)], [Due("logs/a", "v", 0)]),
        (Rule("r", removes_markers=True), [version(0, marker=True), version(1, "o")], []),
        (Rule("r", removes_markers=True, larger_than=1), [version(0, marker=True)], []),
        (Rule("r", removes_markers=True), [version(9)], []),
        (Rule("r", noncurrent_days=1), [version(3), version(9, "o")], [Due("logs/a", "o", 0)]),
        (Rule("r", noncurrent_days=1), [version(0.5), version(9, "o")], []),
        (
            Rule("r", noncurrent_days=1, newer_kept=1),
            [version(3), version(4, "o"), version(5, "p")],
            [Due("logs/a", "p", 0)],
        ),
        (
            Rule("r", noncurrent_days=1, removes_markers=True),
            [version(3, "m", marker=True), version(9, "o")],
            [Due("logs/a", "o", 0), Due("logs/a", "m", 0)],
        ),
    ],
)
def test_what_is_due(rule, versions, want):
    assert due([rule], versions, START) == want


def test_uploads_that_nobody_completes():
    upload = Upload("u", "bucket", "logs/a", START, Attributes())
    rules = [Rule("r", prefix="logs/", abort_days=2)]
    assert not lifecycle.upload_is_due(rules, upload, START + 2 * DAY)
    assert lifecycle.upload_is_due(rules, upload, START + 3 * DAY)
    assert not lifecycle.upload_is_due([Rule("r", prefix="x", abort_days=2)], upload, START + 9 * DAY)
    assert not lifecycle.upload_is_due([Rule("r", days=1)], upload, START + 9 * DAY)


def rule(**more):
    found = {"ID": "r", "Status": "Enabled", "Filter": {}, "Expiration": {"Days": 1}, **more}
    return {name: value for name, value in found.items() if value is not None}


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ([], errors.MalformedXML),
        ([rule()] * 2, errors.InvalidArgument),
        ([rule(Status="On")], errors.MalformedXML),
        ([rule(Filter=None)], errors.MalformedXML),
        ([rule(Prefix="a")], errors.MalformedXML),
        ([rule(Expiration=None)], errors.InvalidRequest),
        ([rule(Expiration={})], errors.MalformedXML),
        ([rule(Expiration={"Days": 0})], errors.InvalidArgument),
        ([rule(Expiration={"Days": 1, "Date": START})], errors.MalformedXML),
        ([rule(Expiration={"Date": START})], errors.InvalidArgument),
        ([rule(Filter={"Prefix": "a", "Tag": {"Key": "k", "Value": "v"}})], errors.MalformedXML),
        ([rule(Filter={"And": {"ObjectSizeGreaterThan": 5, "ObjectSizeLessThan": 5}})], errors.InvalidRequest),
        ([rule(Transitions=[{"Days": 1, "StorageClass": "GLACIER"}])], errors.NotImplementedHere),
        ([rule(NoncurrentVersionExpiration={"NewerNoncurrentVersions": 1})], errors.MalformedXML),
        ([rule(AbortIncompleteMultipartUpload={"DaysAfterInitiation": 0})], errors.InvalidArgument),
        (
            [rule(Filter={"ObjectSizeLessThan": 5}, AbortIncompleteMultipartUpload={"DaysAfterInitiation": 1})],
            errors.InvalidRequest,
        ),
    ],
)
async def test_configurations_that_are_refused(s3, wrong, error):
    with pytest.raises(error):
        await s3.PutBucketLifecycleConfiguration(Bucket="bucket", LifecycleConfiguration={"Rules": wrong})


async def test_a_configuration_is_shown_as_it_was_put(s3):
    both = {"And": {"Prefix": "a", "Tags": [{"Key": "k", "Value": "v"}]}}
    rules = [
        rule(ID=None, Filter=both, Expiration={"Date": datetime(2031, 1, 1, tzinfo=UTC)}),
        rule(ID="old", Filter=None, Prefix="x/", Status="Disabled"),
    ]
    await s3.PutBucketLifecycleConfiguration(Bucket="bucket", LifecycleConfiguration={"Rules": rules})
    shown = (await s3.GetBucketLifecycleConfiguration(Bucket="bucket"))["Rules"]
    assert shown == [{**rules[0], "ID": "rule-1"}, rules[1]]
    await s3.DeleteBucketLifecycle(Bucket="bucket")


@pytest.fixture
def clock():
    return HandClock(START)


@pytest.fixture
def objects(folder, clock):
    objects = Objects(folder, clock, durable=False)
    objects.create_bucket("bucket", ACCOUNT, "us-east-1")
    yield objects
    objects.close()


async def follow(s3: Client, **more):
    await s3.PutBucketLifecycleConfiguration(Bucket="bucket", LifecycleConfiguration={"Rules": [rule(**more)]})


async def test_objects_go_when_their_days_are_over(folder, objects, clock, s3):
    await follow(s3, Filter={"Prefix": "logs/"})
    for key in ("logs/a", "logs/b", "data/a"):
        await s3.PutObject(Bucket="bucket", Key=key, Body=b"x")
    assert await expire(objects, s3.store, clock.now()) == 0
    clock.advance(86_400)
    await s3.PutObject(Bucket="bucket", Key="logs/b", Body=b"newer")
    assert await expire(objects, s3.store, clock.now()) == 0
    clock.advance(86_400)
    assert await expire(objects, s3.store, clock.now()) == 1
    assert [row["Key"] for row in (await s3.ListObjectsV2(Bucket="bucket"))["Contents"]] == ["data/a", "logs/b"]
    assert len(files_under(folder)) == 2
    await follow(s3, Status="Disabled")
    clock.advance(10 * 86_400)
    assert await expire(objects, s3.store, clock.now()) == 0


async def test_versions_and_markers_go_too(folder, objects, clock, s3, monkeypatch):
    monkeypatch.setattr("kedge.objects.controller._PAGE", 7)
    monkeypatch.setattr("kedge.objects.controller._TOGETHER", 3)
    await s3.PutBucketVersioning(Bucket="bucket", VersioningConfiguration={"Status": "Enabled"})
    await follow(s3, NoncurrentVersionExpiration={"NoncurrentDays": 1})
    keys = [f"k{n:04}" for n in range(30)]  # of several pages
    for key in keys:
        put_bytes(objects, "bucket", key, b"x")
    clock.advance(2 * 86_400)
    assert await expire(objects, s3.store, clock.now()) == 30
    page = await s3.ListObjectVersions(Bucket="bucket", MaxKeys=3)
    assert (await s3.ListObjectsV2(Bucket="bucket"))["Contents"] == []
    assert [row["Key"] for row in page["DeleteMarkers"]] == keys[:2]
    clock.advance(2 * 86_400)
    assert await expire(objects, s3.store, clock.now()) == 60  # the versions, and the markers that hid them
    page = await s3.ListObjectVersions(Bucket="bucket")
    assert (page["Versions"], page["DeleteMarkers"]) == ([], [])
    assert files_under(folder) == []


async def test_uploads_go(folder, objects, clock, s3):
    await follow(s3, Expiration=None, AbortIncompleteMultipartUpload={"DaysAfterInitiation": 1})
    upload = await s3.CreateMultipartUpload(Bucket="bucket", Key="k")
    await s3.UploadPart(Bucket="bucket", Key="k", UploadId=upload["UploadId"], PartNumber=1, Body=b"x")
    clock.advance(2 * 86_400)
    young = await s3.CreateMultipartUpload(Bucket="bucket", Key="k")
    assert await expire(objects, s3.store, clock.now()) == 1
    left = (await s3.ListMultipartUploads(Bucket="bucket"))["Uploads"]
    assert [each["UploadId"] for each in left] == [young["UploadId"]]
    assert files_under(folder) == []


async def test_what_came_since_is_spared(objects, s3):
    first = put_bytes(objects, "bucket", "k", b"1")
    put_bytes(objects, "bucket", "k", b"2")
    assert objects.deletions.expire("bucket", [Due("k", "", first.sequence)], Cause("Lifecycle")) == 0
    assert objects.head("bucket", "k") is not None


# Events

EVERYTHING = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*", "s3:LifecycleExpiration:*", "s3:ObjectTagging:*"]
QUEUE = "arn:aws:sqs:us-east-1:111122223333:q"


def notifying(events=EVERYTHING, **filters):
    rules = [{"Name": name, "Value": value} for name, value in filters.items()]
    queue = {"QueueArn": QUEUE, "Events": events, "Filter": {"Key": {"FilterRules": rules}}}
    return {"QueueConfigurations": [queue], "EventBridgeConfiguration": {}}


async def told(s3):
    await pass_events_on(s3.objects, s3.store)
    found = s3.store.outbox(1000)
    s3.store.delivered([event.id for event in found])
    return found


async def test_events_reach_the_outbox_in_both_shapes(objects, s3):
    await s3.PutBucketNotificationConfiguration(Bucket="bucket", NotificationConfiguration=notifying())
    put = await s3.PutObject(Bucket="bucket", Key="a b/é", Body=b"12345")
    message, event = await told(s3)
    assert message.detail_type == "S3 Event Notification"
    assert message.detail["TargetArn"] == QUEUE
    (record,) = message.detail["Message"]["Records"]
    assert (record["eventName"], record["eventSource"], record["awsRegion"]) == (
        "ObjectCreated:Put", "aws:s3", "us-east-1",
    )  # fmt: skip
    thing = record["s3"]["object"]
    assert (thing["key"], thing["size"], f'"{thing["eTag"]}"') == ("a+b/%C3%A9", 5, put["ETag"])
    assert record["s3"]["bucket"]["arn"] == "arn:aws:s3:::bucket"
    assert (event.source, event.detail_type, event.scope) == (
        "aws.s3", "Object Created", Scope(ACCOUNT, "us-east-1"),
    )  # fmt: skip
    assert event.detail["object"] == {
        "key": "a b/é", "size": 5, "etag": thing["eTag"], "sequencer": thing["sequencer"],
    }  # fmt: skip
    assert (event.detail["reason"], event.detail["requester"]) == ("PutObject", ACCOUNT)
    assert objects.events.waiting() == []


async def test_every_change_is_told(objects, clock, s3):
    await s3.PutBucketNotificationConfiguration(Bucket="bucket", NotificationConfiguration=notifying())
    await s3.PutObject(Bucket="bucket", Key="k", Body=b"x")
    await s3.CopyObject(Bucket="bucket", Key="c", CopySource="bucket/k")
    upload = await s3.CreateMultipartUpload(Bucket="bucket", Key="m")
    named = {"Bucket": "bucket", "Key": "m", "UploadId": upload["UploadId"]}
    part = await s3.UploadPart(**named, PartNumber=1, Body=b"x")
    parts = [{"PartNumber": 1, "ETag": part["ETag"]}]
    await s3.CompleteMultipartUpload(**named, MultipartUpload={"Parts": parts})
    await s3.CompleteMultipartUpload(**named, MultipartUpload={"Parts": parts})  # a retry is no second event
    await s3.PutObjectTagging(Bucket="bucket", Key="k", Tagging={"TagSet": []})
    await s3.DeleteObject(Bucket="bucket", Key="absent")
    await s3.DeleteObject(Bucket="bucket", Key="c")
    await s3.PutBucketVersioning(Bucket="bucket", VersioningConfiguration={"Status": "Enabled"})
    marker = await s3.DeleteObject(Bucket="bucket", Key="k")
    await s3.DeleteObject(Bucket="bucket", Key="k", VersionId=marker["VersionId"])
    await follow(s3)
    clock.advance(3 * 86_400)
    await expire(objects, s3.store, clock.now())
    found = await told(s3)
    names = [e.detail["Message"]["Records"][0]["eventName"] for e in found if "TargetArn" in e.detail]
    assert names == [
        "ObjectCreated:Put",
        "ObjectCreated:Copy",
        "ObjectCreated:CompleteMultipartUpload",
        "ObjectTagging:Put",
        "ObjectRemoved:Delete",
        "ObjectRemoved:DeleteMarkerCreated",
        "ObjectRemoved:Delete",
        "LifecycleExpiration:DeleteMarkerCreated",
        "LifecycleExpiration:DeleteMarkerCreated",
    ]
    kinds = [(e.detail_type, e.detail.get("deletion-type")) for e in found if "TargetArn" not in e.detail]
    assert kinds[3:6] == [
        ("Object Tags Added", None),
        ("Object Deleted", "Permanently Deleted"),
        ("Object Deleted", "Delete Marker Created"),
    ]
    assert found[-1].detail["reason"] == "Lifecycle Expiration"


async def test_filters(s3):
    only = notifying(["s3:ObjectCreated:Put"], prefix="in/", Suffix=".csv")
    del only["EventBridgeConfiguration"]
    await s3.PutBucketNotificationConfiguration(Bucket="bucket", NotificationConfiguration=only)
    shown = await s3.GetBucketNotificationConfiguration(Bucket="bucket")
    assert shown["QueueConfigurations"][0].pop("Id")
    assert shown == only
    for key in ("in/a.csv", "in/a.txt", "a.csv"):
        await s3.PutObject(Bucket="bucket", Key=key)
    await s3.DeleteObject(Bucket="bucket", Key="in/a.csv")
    assert len(await told(s3)) == 1
    await s3.PutBucketNotificationConfiguration(Bucket="bucket", NotificationConfiguration={})
    await s3.PutObject(Bucket="bucket", Key="in/a.csv")
    assert await told(s3) == []
    for wrong in (notifying(["s3:Nothing"]), notifying([]), notifying(middle="x"), {"QueueConfigurations": [{}]}):
        with pytest.raises(errors.InvalidArgument):
            await s3.PutBucketNotificationConfiguration(Bucket="bucket", NotificationConfiguration=wrong)


@pytest.mark.parametrize(
    ("first", "second", "overlap"),
    [
        ("s3:ObjectCreated:* in/ .csv", "s3:ObjectCreated:Put in/a/ .csv", True),
        ("s3:ObjectCreated:Put in/ ", "s3:ObjectCreated:*  .csv", True),
        ("s3:ObjectCreated:*  ", "s3:ObjectCreated:*  ", True),
        ("s3:ObjectCreated:* in/ ", "s3:ObjectCreated:* out/ ", False),
        ("s3:ObjectCreated:*  .csv", "s3:ObjectCreated:*  .json", False),
        ("s3:ObjectCreated:Put  ", "s3:ObjectCreated:Post  ", False),
        ("s3:ObjectCreated:*  ", "s3:ObjectRemoved:*  ", False),
    ],
)
async def test_a_change_is_told_to_one_place_only(s3, first, second, overlap):
    def rule(text: str, name: str) -> dict[str, object]:
        event, prefix, suffix = text.split(" ")
        filters = [{"Name": "Prefix", "Value": prefix}, {"Name": "Suffix", "Value": suffix}]
        arn = f"arn:aws:{'sqs' if name == 'QueueArn' else 'sns'}:us-east-1:111122223333:q"
        return {name: arn, "Events": [event], "Filter": {"Key": {"FilterRules": filters}}}

    both = {"QueueConfigurations": [rule(first, "QueueArn")], "TopicConfigurations": [rule(second, "TopicArn")]}
    with pytest.raises(errors.InvalidArgument, match="overlap") if overlap else contextlib.nullcontext():
        await s3.PutBucketNotificationConfiguration(Bucket="bucket", NotificationConfiguration=both)


async def test_an_event_is_in_the_outbox_once_though_it_is_passed_on_twice(objects, s3):
    await s3.PutBucketNotificationConfiguration(
        Bucket="bucket", NotificationConfiguration={"EventBridgeConfiguration": {}}
    )
    await s3.PutObject(Bucket="bucket", Key="k")
    forget, objects.events.forget = objects.events.forget, lambda numbers: 1 / 0  # a crash between the two stores
    with pytest.raises(ZeroDivisionError):
        await pass_events_on(objects, s3.store)
    objects.events.forget = forget
    assert len(await told(s3)) == 1
