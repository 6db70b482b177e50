"""Versions of objects: what a client sees, and the store against a model of S3's rules."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kedge.objects import errors
from kedge.objects.files import Objects
from kedge.objects.records import Attributes
from tests.objects.conftest import ACCOUNT, files_under
from tests.objects.putting import put_bytes


async def versioning(s3, status="Enabled"):
    await s3.PutBucketVersioning(Bucket="bucket", VersioningConfiguration={"Status": status})


async def put(s3, body, key="k", **more):
    return await s3.PutObject(Bucket="bucket", Key=key, Body=body, **more)


async def listed(s3, **more):
    """[(key, version, latest, marker)], in the order of the answer: keys, and newest first."""
    page = await s3.ListObjectVersions(Bucket="bucket", **more)
    rows = [(v["Key"], v["VersionId"], v["IsLatest"], False) for v in page["Versions"]]
    return rows + [(m["Key"], m["VersionId"], m["IsLatest"], True) for m in page["DeleteMarkers"]]


async def test_a_bucket_says_whether_it_keeps_versions(s3):
    assert await s3.GetBucketVersioning(Bucket="bucket") == {}
    for status in ("Enabled", "Suspended", "Enabled"):
        await versioning(s3, status)
        assert await s3.GetBucketVersioning(Bucket="bucket") == {"Status": status}
    for wrong, error in (
        ({}, errors.IllegalVersioning),
        ({"Status": "Off"}, errors.IllegalVersioning),
        ({"Status": "Enabled", "MFADelete": "Enabled"}, errors.NotImplementedHere),
    ):
        with pytest.raises(error):
            await s3.PutBucketVersioning(Bucket="bucket", VersioningConfiguration=wrong)


async def test_old_versions_stay(s3):
    await put(s3, b"before")
    await versioning(s3)
    first, second = await put(s3, b"first"), await put(s3, b"second")
    assert first["VersionId"] != second["VersionId"]
    assert await s3.read(Bucket="bucket", Key="k") == b"second"
    for version, body in (
        (first["VersionId"], b"first"), (second["VersionId"], b"second"), ("null", b"before")
    ):  # fmt: skip
        got = await s3.HeadObject(Bucket="bucket", Key="k", VersionId=version)
        assert (got["VersionId"], got["ContentLength"]) == (version, len(body))
        assert await s3.read(Bucket="bucket", Key="k", VersionId=version) == body
    assert await listed(s3) == [
        ("k", second["VersionId"], True, False),
        ("k", first["VersionId"], False, False),
        ("k", "null", False, False),
    ]
    assert len((await s3.ListObjectsV2(Bucket="bucket"))["Contents"]) == 1


async def test_a_delete_hides_and_another_delete_shows_again(folder, s3):
    await versioning(s3)
    made = await put(s3, b"kept")
    hidden = await s3.DeleteObject(Bucket="bucket", Key="k")
    assert hidden["DeleteMarker"] is True
    with pytest.raises(errors.NoSuchKey) as absent:
        await s3.GetObject(Bucket="bucket", Key="k")
    assert absent.value.headers == {"x-amz-delete-marker": "true", "x-amz-version-id": hidden["VersionId"]}
    with pytest.raises(errors.MethodNotAllowed) as marker:
        await s3.HeadObject(Bucket="bucket", Key="k", VersionId=hidden["VersionId"])
    assert marker.value.headers["x-amz-delete-marker"] == "true"
    assert (await s3.ListObjectsV2(Bucket="bucket"))["Contents"] == []
    with pytest.raises(errors.BucketNotEmpty):
        await s3.DeleteBucket(Bucket="bucket")
    gone = await s3.DeleteObject(Bucket="bucket", Key="k", VersionId=hidden["VersionId"])
    assert gone == {"DeleteMarker": True, "VersionId": hidden["VersionId"]}
    assert await s3.read(Bucket="bucket", Key="k") == b"kept"
    gone = await s3.DeleteObject(Bucket="bucket", Key="k", VersionId=made["VersionId"])
    assert gone == {"VersionId": made["VersionId"]}
    assert files_under(folder) == []
    await s3.DeleteBucket(Bucket="bucket")


async def test_deleting_the_newest_version_shows_the_one_before(s3):
    await versioning(s3)
    versions = [(await put(s3, body))["VersionId"] for body in (b"1", b"2", b"3")]
    await s3.DeleteObject(Bucket="bucket", Key="k", VersionId=versions[2])
    assert await s3.read(Bucket="bucket", Key="k") == b"2"
    await s3.DeleteObject(Bucket="bucket", Key="k", VersionId=versions[0])
    assert await s3.read(Bucket="bucket", Key="k") == b"2"


async def test_suspended_versioning_has_one_null_version(folder, s3):
    await versioning(s3)
    kept = await put(s3, b"kept")
    await versioning(s3, "Suspended")
    assert (await put(s3, b"null 1"))["VersionId"] == "null"
    await put(s3, b"null 2")
    assert [row[1] for row in await listed(s3)] == ["null", kept["VersionId"]]
    assert await s3.DeleteObject(Bucket="bucket", Key="k") == {"DeleteMarker": True, "VersionId": "null"}
    assert await listed(s3) == [("k", kept["VersionId"], False, False), ("k", "null", True, True)]
    assert len(files_under(folder)) == 1
    assert (await put(s3, b"null 3"))["VersionId"] == "null"
    assert [row[1] for row in await listed(s3)] == ["null", kept["VersionId"]]


async def test_versions_that_are_not_there(s3):
    await versioning(s3)
    made = await put(s3, b"x")
    for operation in (s3.GetObject, s3.HeadObject, s3.GetObjectTagging, s3.GetObjectAcl):
        with pytest.raises(errors.NoSuchVersion):
            await operation(Bucket="bucket", Key="k", VersionId="0" * 32)
        with pytest.raises(errors.NoSuchVersion):
            await operation(Bucket="bucket", Key="other", VersionId=made["VersionId"])
        for nonsense in ("no version!", "garbage", "0" * 31, "0" * 33, "A" * 32):
            with pytest.raises(errors.InvalidArgument, match="Invalid version id"):
                await operation(Bucket="bucket", Key="k", VersionId=nonsense)
    assert await s3.DeleteObject(Bucket="bucket", Key="k", VersionId="0" * 32) == {"VersionId": "0" * 32}
    assert await s3.read(Bucket="bucket", Key="k") == b"x"


async def test_deleting_many(s3):
    await versioning(s3)
    first, second = (await put(s3, b"1"))["VersionId"], (await put(s3, b"2"))["VersionId"]
    etag = (await s3.HeadObject(Bucket="bucket", Key="k"))["ETag"]
    wanted = [
        {"Key": "k", "VersionId": first},
        {"Key": "k", "ETag": '"other"'},
        {"Key": "k", "ETag": etag},
        {"Key": "k", "VersionId": second},
    ]
    result = await s3.DeleteObjects(Bucket="bucket", Delete={"Objects": wanted})
    assert [error["Code"] for error in result["Errors"]] == ["PreconditionFailed"]
    one, marker, two = result["Deleted"]
    assert (one, two) == ({"Key": "k", "VersionId": first}, {"Key": "k", "VersionId": second})
    assert marker["DeleteMarker"] is True
    assert await listed(s3) == [("k", marker["DeleteMarkerVersionId"], True, True)]


async def test_copies_of_versions(s3):
    await put(s3, b"old")
    await versioning(s3)
    await put(s3, b"new")
    copied = await s3.CopyObject(Bucket="bucket", Key="c", CopySource="bucket/k?versionId=null")
    assert copied["CopySourceVersionId"] == "null"
    assert await s3.read(Bucket="bucket", Key="c", VersionId=copied["VersionId"]) == b"old"
    back = await s3.CopyObject(Bucket="bucket", Key="k", CopySource="bucket/k?versionId=null")
    assert await s3.read(Bucket="bucket", Key="k") == b"old"
    assert len(await listed(s3, Prefix="k")) == 3
    upload = await s3.CreateMultipartUpload(Bucket="bucket", Key="m")
    named = {"Bucket": "bucket", "Key": "m", "UploadId": upload["UploadId"]}
    source = f"bucket/k?versionId={back['VersionId']}"
    part = await s3.UploadPartCopy(**named, PartNumber=1, CopySource=source)
    assert part["CopySourceVersionId"] == back["VersionId"]
    parts = [{"PartNumber": 1, "ETag": part["CopyPartResult"]["ETag"]}]
    made = await s3.CompleteMultipartUpload(**named, MultipartUpload={"Parts": parts})
    assert await s3.read(Bucket="bucket", Key="m", VersionId=made["VersionId"]) == b"old"


async def test_tags_belong_to_a_version(s3):
    await versioning(s3)
    first, second = await put(s3, b"1", Tagging="a=1"), await put(s3, b"2")
    tagged = {"TagSet": [{"Key": "b", "Value": "2"}]}
    await s3.PutObjectTagging(Bucket="bucket", Key="k", Tagging=tagged)
    found = await s3.GetObjectTagging(Bucket="bucket", Key="k")
    assert found == {**tagged, "VersionId": second["VersionId"]}
    old = await s3.GetObjectTagging(Bucket="bucket", Key="k", VersionId=first["VersionId"])
    assert old["TagSet"] == [{"Key": "a", "Value": "1"}]
    await s3.DeleteObjectTagging(Bucket="bucket", Key="k", VersionId=first["VersionId"])
    assert "TagCount" not in await s3.HeadObject(Bucket="bucket", Key="k", VersionId=first["VersionId"])
    assert (await s3.HeadObject(Bucket="bucket", Key="k"))["TagCount"] == 1


@pytest.mark.parametrize("most", [1, 2, 3, 1000])
async def test_pages_of_versions_miss_nothing(s3, most):
    await put(s3, b"null", key="b")
    await versioning(s3)
    for key in ("a/1", "b", "a/1", "c", "b", "b"):
        await put(s3, b"x", key=key)
    await s3.DeleteObject(Bucket="bucket", Key="c")
    seen, marker = [], {}
    while True:
        page = await s3.ListObjectVersions(Bucket="bucket", MaxKeys=most, **marker)
        assert len(page["Versions"]) + len(page["DeleteMarkers"]) <= most
        seen += [(row["Key"], row["VersionId"]) for row in (*page["Versions"], *page["DeleteMarkers"])]
        if not page["IsTruncated"]:
            break
        marker = {"KeyMarker": page["NextKeyMarker"], "VersionIdMarker": page["NextVersionIdMarker"]}
    assert sorted(seen) == sorted((row[0], row[1]) for row in await listed(s3))
    assert len(seen) == 8
    page = await s3.ListObjectVersions(Bucket="bucket", Delimiter="/", MaxKeys=1)
    assert (page["CommonPrefixes"], page["NextKeyMarker"]) == ([{"Prefix": "a/"}], "a/")
    assert "NextVersionIdMarker" not in page
    assert {row[0] for row in await listed(s3, KeyMarker="a/1")} == {"b", "c"}
    with pytest.raises(errors.InvalidArgument):
        await s3.ListObjectVersions(Bucket="bucket", VersionIdMarker="null")


async def test_puts_at_once_each_become_a_version(s3):
    await versioning(s3)
    made = await asyncio.gather(*(put(s3, b"%d" % n) for n in range(20)))
    versions = {each["VersionId"] for each in made}
    assert len(versions) == 20
    assert {row[1] for row in await listed(s3)} == versions
    assert sum(row[2] for row in await listed(s3)) == 1


KEYS = st.sampled_from(["a", "b"])


class VersionMachine(RuleBasedStateMachine):
    """A model: for each key a list of (version, body or None for a marker), newest last."""

    @initialize()
    def open(self):
        self.folder = Path(tempfile.mkdtemp())
        self.store = Objects(self.folder, durable=False)
        self.store.create_bucket("bucket", ACCOUNT, "us-east-1")
        self.model: dict[str, list[tuple[str, bytes | None]]] = {"a": [], "b": []}
        self.status = ""

    @rule(status=st.sampled_from(["Enabled", "Suspended"]))
    def set_versioning(self, status):
        self.store.set_versioning("bucket", status)
        self.status = status

    def add(self, key, version, body):
        if version == "null":
            self.model[key] = [each for each in self.model[key] if each[0] != "null"]
        self.model[key].append((version, body))

    @rule(key=KEYS, body=st.binary(max_size=4))
    def put(self, key, body):
        made = put_bytes(self.store, "bucket", key, body, Attributes())
        assert (made.version == "null") == (self.status != "Enabled")
        self.add(key, made.version, body)

    @rule(key=KEYS)
    def delete(self, key):
        done = self.store.deletions.delete("bucket", key)
        if self.status:
            self.add(key, done.version, None)
        else:
            self.model[key] = []

    @precondition(lambda self: any(self.model.values()))
    @rule(data=st.data())
    def delete_a_version(self, data):
        key, version = data.draw(st.sampled_from([(k, v) for k, rows in self.model.items() for v, _ in rows]))
        self.store.deletions.delete("bucket", key, version)
        self.model[key] = [each for each in self.model[key] if each[0] != version]

    @rule()
    def open_again(self):
        self.store.close()
        self.store = Objects(self.folder, durable=False)

    @invariant()
    def the_same_as_the_model(self):
        if not hasattr(self, "model"):
            return
        rows = self.store.list_versions("bucket", "", "", None, 10_000).rows
        want = [(key, v, body is None) for key in "ab" for v, body in reversed(self.model[key])]
        assert [(row.key, row.version, row.marker) for row in rows] == want
        shown = {key: rows[-1][1] for key, rows in self.model.items() if rows and rows[-1][1] is not None}
        assert list(self.store.list_keys("bucket")) == sorted(shown)
        for key, body in shown.items():
            with self.store.open("bucket", key) as file:
                assert file.read() == body
        bodies = sum(body is not None for rows in self.model.values() for _, body in rows)
        assert len(files_under(self.folder)) == bodies

    def teardown(self):
        if hasattr(self, "folder"):
            self.store.close()
            shutil.rmtree(self.folder)


VersionMachine.TestCase.settings = settings(max_examples=10, stateful_step_count=20, deadline=None)
TestVersions = VersionMachine.TestCase
