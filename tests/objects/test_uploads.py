from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import zlib

import pytest

from kedge.errors import BadDigest
from kedge.objects import errors
from kedge.objects.upload_operations import SMALLEST_PART_BYTES
from tests.objects.conftest import Body, files_under

BIG = SMALLEST_PART_BYTES


def crc32(data: bytes) -> str:
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


async def begun(s3, **parameters):
    made = await s3.CreateMultipartUpload(Bucket="bucket", Key="k", **parameters)
    return {"Bucket": "bucket", "Key": "k", "UploadId": made["UploadId"]}


async def put_parts(s3, upload, bodies):
    puts = [s3.UploadPart(**upload, PartNumber=n, Body=Body([body])) for n, body in enumerate(bodies, 1)]
    return [{"PartNumber": n, "ETag": put["ETag"]} for n, put in enumerate(await asyncio.gather(*puts), 1)]


async def test_an_object_of_parts(folder, s3):
    bodies = [os.urandom(BIG), os.urandom(BIG + 3), b"end"]
    upload = await begun(s3, ContentType="a/b", Metadata={"k": "v"})
    parts = await put_parts(s3, upload, bodies)
    await s3.UploadPart(**upload, PartNumber=9, Body=b"not used")
    with pytest.raises(errors.NoSuchKey):
        await s3.HeadObject(Bucket="bucket", Key="k")
    made = await s3.CompleteMultipartUpload(**upload, MultipartUpload={"Parts": parts})
    digest = hashlib.md5(b"".join(hashlib.md5(body).digest() for body in bodies)).hexdigest()
    assert made["ETag"] == f'"{digest}-3"'
    whole = b"".join(bodies)
    assert await s3.read(Bucket="bucket", Key="k") == whole
    head = await s3.HeadObject(Bucket="bucket", Key="k")
    assert (head["ContentType"], head["Metadata"], head["ContentLength"]) == ("a/b", {"k": "v"}, len(whole))
    across = await s3.GetObject(Bucket="bucket", Key="k", Range=f"bytes={BIG - 2}-{BIG + 1}")
    assert b"".join([chunk async for chunk in across["Body"]]) == whole[BIG - 2 : BIG + 2]
    second = await s3.GetObject(Bucket="bucket", Key="k", PartNumber=2)
    assert (second["PartsCount"], second["ContentLength"]) == (3, BIG + 3)
    assert b"".join([chunk async for chunk in second["Body"]]) == bodies[1]
    assert len(files_under(folder)) == 3
    assert await s3.CompleteMultipartUpload(**upload, MultipartUpload={"Parts": parts}) == made  # a client's retry
    await s3.CopyObject(Bucket="bucket", Key="copy", CopySource="bucket/k")
    await s3.DeleteObject(Bucket="bucket", Key="k")
    assert await s3.read(Bucket="bucket", Key="copy") == whole
    with pytest.raises(errors.NoSuchUpload):
        await s3.CompleteMultipartUpload(**upload, MultipartUpload={"Parts": parts})
    await s3.DeleteObject(Bucket="bucket", Key="copy")
    assert files_under(folder) == []


async def test_parts_that_make_no_object(folder, s3):
    upload = await begun(s3)
    one, two = await put_parts(s3, upload, [b"small", b"last"])
    for parts, error in (
        ([], errors.MalformedXML),
        ([{"ETag": one["ETag"]}], errors.MalformedXML),
        ([two, one], errors.InvalidPartOrder),
        ([one, one], errors.InvalidPartOrder),
        ([one, {"PartNumber": 3, "ETag": one["ETag"]}], errors.InvalidPart),
        ([{"PartNumber": 1, "ETag": two["ETag"]}], errors.InvalidPart),
        ([{"PartNumber": 1}], errors.InvalidPart),
        ([one, two], errors.EntityTooSmall),
    ):
        with pytest.raises(error):
            await s3.CompleteMultipartUpload(**upload, MultipartUpload={"Parts": parts})
    with pytest.raises(errors.InvalidRequest):
        await s3.CompleteMultipartUpload(**upload, MultipartUpload={"Parts": [two]}, MpuObjectSize=99)
    await s3.CompleteMultipartUpload(**upload, MultipartUpload={"Parts": [two]})
    assert await s3.read(Bucket="bucket", Key="k") == b"last"
    assert len(files_under(folder)) == 1


async def test_a_part_put_again_replaces(folder, s3):
    upload = await begun(s3)
    await put_parts(s3, upload, [b"first"])
    parts = await put_parts(s3, upload, [b"second"])
    assert len(files_under(folder)) == 1
    await s3.CompleteMultipartUpload(**upload, MultipartUpload={"Parts": parts})
    assert await s3.read(Bucket="bucket", Key="k") == b"second"


async def test_aborting(folder, s3):
    upload = await begun(s3)
    await put_parts(s3, upload, [b"x", b"y"])
    await s3.AbortMultipartUpload(**upload)
    assert files_under(folder) == []
    for call in (s3.AbortMultipartUpload, s3.ListParts):
        with pytest.raises(errors.NoSuchUpload):
            await call(**upload)
    with pytest.raises(errors.NoSuchUpload):
        await s3.UploadPart(**upload, PartNumber=1, Body=b"x")


async def test_a_part_that_arrives_behind_the_abort_leaves_nothing(folder, s3):
    upload = await begun(s3)

    class Aborting(Body):
        async def __aiter__(self):
            yield b"x"
            await s3.AbortMultipartUpload(**upload)

    with pytest.raises(errors.NoSuchUpload):
        await s3.UploadPart(**upload, PartNumber=1, Body=Aborting([]))
    assert files_under(folder) == []


async def test_of_complete_and_abort_at_once_one_wins(folder, s3):
    for _ in range(10):
        upload = await begun(s3)
        parts = await put_parts(s3, upload, [b"x"])
        done = await asyncio.gather(
            s3.CompleteMultipartUpload(**upload, MultipartUpload={"Parts": parts}),
            s3.AbortMultipartUpload(**upload),
            s3.UploadPart(**upload, PartNumber=2, Body=b"late"),
            return_exceptions=True,
        )
        assert sum(isinstance(each, errors.NoSuchUpload) for each in done[:2]) == 1
        if isinstance(done[0], dict):
            assert await s3.read(Bucket="bucket", Key="k") == b"x"
            await s3.DeleteObject(Bucket="bucket", Key="k")
        assert files_under(folder) == []


@pytest.mark.parametrize("number", [0, 10_001])
async def test_part_numbers(s3, number):
    with pytest.raises(errors.InvalidArgument):
        await s3.UploadPart(**await begun(s3), PartNumber=number, Body=b"x")


async def test_conditions_on_the_whole(s3):
    await s3.PutObject(Bucket="bucket", Key="k", Body=b"there")
    upload = await begun(s3)
    parts = await put_parts(s3, upload, [b"x"])
    with pytest.raises(errors.PreconditionFailed):
        await s3.CompleteMultipartUpload(**upload, MultipartUpload={"Parts": parts}, IfNoneMatch="*")
    assert await s3.read(Bucket="bucket", Key="k") == b"there"


async def test_checksums_of_parts(s3):
    bodies = [os.urandom(BIG), b"end"]
    raw = b"".join(zlib.crc32(body).to_bytes(4, "big") for body in bodies)
    for kind, want in (("COMPOSITE", crc32(raw) + "-2"), ("FULL_OBJECT", crc32(b"".join(bodies)))):
        upload = await begun(s3, ChecksumAlgorithm="CRC32", ChecksumType=kind)
        first = await s3.UploadPart(
            **upload, PartNumber=1, Body=Body([bodies[0]], {"CRC32": crc32(bodies[0])}), ChecksumAlgorithm="CRC32"
        )
        second = await s3.UploadPart(**upload, PartNumber=2, Body=Body([bodies[1]]))
        assert second["ChecksumCRC32"] == crc32(bodies[1])
        parts = [
            {"PartNumber": 1, "ETag": first["ETag"], "ChecksumCRC32": first["ChecksumCRC32"]},
            {"PartNumber": 2, "ETag": second["ETag"]},
        ]
        with pytest.raises(BadDigest):
            await s3.CompleteMultipartUpload(**upload, MultipartUpload={"Parts": parts}, ChecksumCRC32="AAAAAA==")
        wrong = [{**parts[0], "ChecksumCRC32": "AAAAAA=="}, parts[1]]
        with pytest.raises(errors.InvalidPart):
            await s3.CompleteMultipartUpload(**upload, MultipartUpload={"Parts": wrong})
        made = await s3.CompleteMultipartUpload(**upload, MultipartUpload={"Parts": parts}, ChecksumCRC32=want)
        assert (made["ChecksumCRC32"], made["ChecksumType"]) == (want, kind)
        head = await s3.HeadObject(Bucket="bucket", Key="k", ChecksumMode="ENABLED")
        assert (head["ChecksumCRC32"], head["ChecksumType"]) == (want, kind)
        listed = (await s3.ListObjectsV2(Bucket="bucket"))["Contents"][0]
        assert (listed["ChecksumAlgorithm"], listed["ChecksumType"]) == (["CRC32"], kind)


async def test_checksums_that_do_not_fit(s3):
    for parameters in (
        {"ChecksumAlgorithm": "CRC7"},
        {"ChecksumType": "COMPOSITE"},
        {"ChecksumAlgorithm": "SHA256", "ChecksumType": "FULL_OBJECT"},
    ):
        with pytest.raises(errors.InvalidRequest):
            await begun(s3, **parameters)
    upload = await begun(s3, ChecksumAlgorithm="SHA256")
    with pytest.raises(errors.InvalidRequest):
        await s3.UploadPart(**upload, PartNumber=1, Body=Body([b"x"], {"CRC32": crc32(b"x")}))


async def test_parts_copied_from_objects(folder, s3):
    data = os.urandom(BIG + 100)
    await s3.PutObject(Bucket="bucket", Key="source", Body=data)
    upload = await begun(s3, ChecksumAlgorithm="CRC32")
    ranges = [f"bytes=0-{BIG - 1}", f"bytes={BIG}-{BIG + 99}"]
    parts = []
    for number, each in enumerate(ranges, 1):
        copied = await s3.UploadPartCopy(**upload, PartNumber=number, CopySource="bucket/source", CopySourceRange=each)
        parts.append({"PartNumber": number, "ETag": copied["CopyPartResult"]["ETag"]})
    made = await s3.CompleteMultipartUpload(**upload, MultipartUpload={"Parts": parts})
    assert made["ChecksumCRC32"].endswith("-2")
    assert await s3.read(Bucket="bucket", Key="k") == data
    upload = await begun(s3)
    for header, error in (
        ("bytes=-5", errors.InvalidArgument),
        ("bytes=5-", errors.InvalidArgument),
        ("5-6", errors.InvalidArgument),
        (f"bytes=0-{len(data)}", errors.InvalidRange),
        (f"bytes={len(data)}-{len(data)}", errors.InvalidRange),
    ):
        with pytest.raises(error):
            await s3.UploadPartCopy(**upload, PartNumber=1, CopySource="bucket/source", CopySourceRange=header)
    await s3.DeleteObject(Bucket="bucket", Key="source")
    assert len(files_under(folder)) == 2


async def test_listing_parts(s3):
    upload = await begun(s3)
    await put_parts(s3, upload, [b"a", b"bb", b"ccc"])
    page = await s3.ListParts(**upload, MaxParts=2)
    assert [(part["PartNumber"], part["Size"]) for part in page["Parts"]] == [(1, 1), (2, 2)]
    assert (page["IsTruncated"], page["NextPartNumberMarker"]) == (True, "2")
    page = await s3.ListParts(**upload, PartNumberMarker=page["NextPartNumberMarker"])
    assert [part["PartNumber"] for part in page["Parts"]] == [3]
    assert page["IsTruncated"] is False
    with pytest.raises(errors.InvalidArgument):
        await s3.ListParts(**upload, PartNumberMarker="x")


async def test_listing_uploads(s3):
    made = []
    for key in ("a/1", "a/2", "b", "b", "c"):
        upload = await s3.CreateMultipartUpload(Bucket="bucket", Key=key)
        made.append((key, upload["UploadId"]))
    made.sort()
    found, marker = [], {}
    while True:
        page = await s3.ListMultipartUploads(Bucket="bucket", MaxUploads=1, **marker)
        found += [(upload["Key"], upload["UploadId"]) for upload in page["Uploads"]]
        if not page["IsTruncated"]:
            break
        marker = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}
    assert found == made
    page = await s3.ListMultipartUploads(Bucket="bucket", Delimiter="/", MaxUploads=1)
    assert (page["CommonPrefixes"], page["NextKeyMarker"]) == ([{"Prefix": "a/"}], "a/")
    page = await s3.ListMultipartUploads(Bucket="bucket", Delimiter="/", KeyMarker="a/")
    assert [upload["Key"] for upload in page["Uploads"]] == ["b", "b", "c"]
    page = await s3.ListMultipartUploads(Bucket="bucket", KeyMarker="b")
    assert [upload["Key"] for upload in page["Uploads"]] == ["c"]
    await s3.DeleteBucket(Bucket="bucket")
