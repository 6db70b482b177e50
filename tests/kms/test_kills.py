"""What is acknowledged survives kill -9, nothing plain is left behind, and a lost master key is said to be lost."""

from __future__ import annotations

import http.client
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from kedge.home import run_folder
from kedge.kms import records
from kedge.store.records import Author, Scope
from kedge.store.store import Store
from tests.faults.conftest import Server, until

MARK = b"the plaintext that must not be on the disk "
PLAIN = MARK * 200_000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    started = Server(tmp_path / "data").up()
    try:
        yield started
    finally:
        started.down()


def on_disk(folder: Path, text: bytes) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text in path.read_bytes()]


def test_keys_and_objects_survive_the_death_of_everything(server):
    kms, s3 = server.client("kms"), server.client("s3")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    sealed = kms.encrypt(KeyId=key, Plaintext=b"x", EncryptionContext={"a": "b"})["CiphertextBlob"]
    kms.rotate_key_on_demand(KeyId=key)
    asked = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key}
    s3.put_object(Bucket=server.bucket, Key="k", Body=PLAIN, **asked)
    s3.put_object(Bucket=server.bucket, Key="own", Body=PLAIN)
    upload = s3.create_multipart_upload(Bucket=server.bucket, Key="m", **asked)["UploadId"]
    where = {"Bucket": server.bucket, "Key": "m", "UploadId": upload}
    parts = [{"PartNumber": 1, "ETag": s3.upload_part(**where, PartNumber=1, Body=PLAIN)["ETag"]}]
    sending = _begin_a_put(server)
    try:
        bodies = server.data / "objects" / "bodies"
        until(
            lambda: sum(path.stat().st_size for path in bodies.rglob("*/*")) > 3.5 * len(PLAIN), what="a put under way"
        )
        server.kill_everything()
    finally:
        sending.close()
    assert on_disk(server.data, MARK) == []
    server.up()
    kms, s3 = server.client("kms"), server.client("s3")
    assert kms.decrypt(CiphertextBlob=sealed, EncryptionContext={"a": "b"})["Plaintext"] == b"x"
    parts.append({"PartNumber": 2, "ETag": s3.upload_part(**where, PartNumber=2, Body=b"end")["ETag"]})
    s3.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})
    for name, body in (("k", PLAIN), ("own", PLAIN), ("m", PLAIN + b"end")):
        assert s3.get_object(Bucket=server.bucket, Key=name)["Body"].read() == body
    assert on_disk(server.data, MARK) == []


def _begin_a_put(server: Server) -> http.client.HTTPConnection:
    """Of a body whose end never comes."""
    url = server.client("s3").generate_presigned_url("put_object", {"Bucket": server.bucket, "Key": "never"})
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=30)
    connection.putrequest("PUT", f"{parts.path}?{parts.query}")
    connection.putheader("Content-Length", str(2 * len(PLAIN)))
    connection.endheaders()
    connection.send(PLAIN)
    return connection


def test_a_key_whose_day_has_come_takes_its_objects_with_it(server):
    kms, s3 = server.client("kms"), server.client("s3")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    s3.put_object(Bucket=server.bucket, Key="k", Body=PLAIN, ServerSideEncryption="aws:kms", SSEKMSKeyId=key)
    kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    server.down()
    store = Store(server.data / "kedge.db")
    scope = Scope(server.ready["account"], server.ready["region"])
    now = datetime.now(UTC)
    (wrapped,) = store.get(scope, records.MATERIAL, key).document.values()
    with store.transaction(Author("test", "r", now)) as tx:
        pending = tx.get(scope, records.KEY, key)
        tx.update(pending, {**pending.document, "DeletionDate": (now - timedelta(seconds=1)).timestamp()})
    store.close()
    server.up()
    kms, s3 = server.client("kms"), server.client("s3")

    def code() -> str:
        with pytest.raises(ClientError) as caught:
            s3.get_object(Bucket=server.bucket, Key="k")
        return caught.value.response["Error"]["Code"]

    until(lambda: code() == "KMS.NotFoundException", what="the deletion")
    with pytest.raises(kms.exceptions.NotFoundException):
        kms.describe_key(KeyId=key)
    server.down()
    assert on_disk(server.data, wrapped.encode()) == []


def test_without_its_master_key_the_server_does_not_start(server):
    s3 = server.client("s3")
    s3.put_object(Bucket=server.bucket, Key="k", Body=b"x")
    server.down()
    path, kept = server.data / "master.key", server.data.parent / "kept.key"
    assert path.stat().st_mode & 0o777 == 0o600
    path.rename(kept)
    assert "master.key is gone" in _refusal(server)
    os.environ["KEDGE_MASTER_KEY_FILE"] = str(kept)
    try:
        server.up()
    finally:
        del os.environ["KEDGE_MASTER_KEY_FILE"]
    assert server.client("s3").get_object(Bucket=server.bucket, Key="k")["Body"].read() == b"x"
    assert not path.exists()


def test_objects_of_a_newer_release_are_not_misread(server):
    server.down()
    with closing(sqlite3.connect(server.data / "objects" / "index.db")) as index:
        (format_,) = index.execute("PRAGMA user_version").fetchone()
        index.execute(f"PRAGMA user_version = {format_ + 1}")
        said = _refusal(server)
        index.execute(f"PRAGMA user_version = {format_}")
    assert f"The object index has format {format_ + 1}" in said
    assert "Traceback" not in said
    server.up()


def _refusal(server: Server) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "kedge", "up", "--data", str(server.data), "--api-port", "0", "--inference-port", "0"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert not (run_folder(server.data) / "supervisor.sock").exists()
    return done.stderr
