"""Requests to a server that serves which no model can answer: bodies, names, order of calls, a full disk."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from .conftest import Server, adding_model, archive
from .hosted import GOOD, TINY, assert_unharmed, create, delete, invoke, refused, running, settled

LIMIT_BYTES = 26_214_400
MIB = 1024**2
ROLE = "kedge-execution-role"
LENGTH = b"""
def model_fn(model_dir):
    return None
def transform_fn(model, body, content_type, accept):
    return str(len(body)), "text/plain"
"""


def iris() -> bytes:
    model = LogisticRegression(max_iter=1000).fit(*load_iris(return_X_y=True))
    return archive({"model.pkl": pickle.dumps(model)})


def length() -> bytes:
    return archive({"code/inference.py": LENGTH})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("bodies")) as started:
        models = {"iris": iris(), "length": length(), "small": length()}
        for name, model in models.items():
            create(started, name, model, {"SAGEMAKER_MAX_PAYLOAD_IN_MB": "1"} if name == "small" else {})
        for name, model in models.items():
            assert settled(started, name, model)["EndpointStatus"] == "InService"
        yield started


@pytest.fixture(autouse=True)
def _unharmed(server: Server) -> Iterator[None]:
    yield
    assert_unharmed(server)


def signed(server: Server, method: str, url: str, body: bytes, service: str, headers: dict[str, str]) -> dict[str, str]:
    """The headers of a request that is as good as its signature, whatever is sent after them."""
    request = AWSRequest(method, url, data=body, headers=headers)
    credentials = Credentials(server.ready["access_key_id"], server.ready["secret_access_key"])
    SigV4Auth(credentials, service, server.ready["region"]).add_auth(request)
    return dict(request.headers.items())


# The size of a body.


def test_an_empty_body(server: Server):
    status, code, message, response = refused(lambda: invoke(server, "iris", b"", "text/csv"))
    assert (status, code, response["OriginalStatusCode"]) == (424, "ModelError", 400)
    assert "empty" in message
    assert invoke(server, "length", b"", "application/octet-stream") == b"0"


@pytest.mark.parametrize(("endpoint", "limit_bytes"), [("length", LIMIT_BYTES), ("small", MIB)])
def test_a_body_at_the_limit_and_one_byte_over(server: Server, endpoint: str, limit_bytes: int):
    body = bytes(limit_bytes + 1)
    assert invoke(server, endpoint, body[:-1], "application/octet-stream") == str(limit_bytes).encode()
    status, code, message, _ = refused(lambda: invoke(server, endpoint, body, "application/octet-stream"))
    assert (status, code) == (413, "413")
    assert message == f"HTTP content length exceeded {limit_bytes} bytes."


def test_a_body_over_the_limit_is_refused_before_it_is_sent(server: Server):
    head = (
        f"POST /endpoints/length/invocations HTTP/1.1\r\nHost: x\r\nContent-Length: {10 * 1024**4}\r\n"
        "Expect: 100-continue\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.ready["inference_port"]), timeout=10) as client:
        client.sendall(head.encode())
        assert client.recv(65536).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("port", ["api_port", "inference_port"])
def test_a_declared_length_that_never_comes(server: Server, port: str):
    """The client ends its half of the connection: the server ends the other, and has run nothing."""
    body = b"7" * 1000
    url = f"http://127.0.0.1:{server.ready[port]}/endpoints/length/invocations"
    headers = signed(server, "POST", url, body, "sagemaker", {"Content-Type": "text/csv"})
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"POST /endpoints/length/invocations HTTP/1.1\r\nContent-Length: 1000\r\n{lines}\r\n"
    if "host" not in {name.lower() for name in headers}:
        head = head.replace("\r\n", f"\r\nHost: 127.0.0.1:{server.ready[port]}\r\n", 1)
    with socket.create_connection(("127.0.0.1", server.ready[port]), timeout=10) as client:
        client.sendall(head.encode() + body)
        assert client.recv(65536).startswith(b"HTTP/1.1 200 "), "the request would be good if it were whole"
    with socket.create_connection(("127.0.0.1", server.ready[port]), timeout=10) as client:
        client.sendall(head.encode() + body[:-1])
        client.shutdown(socket.SHUT_WR)
        answer = client.recv(65536)
        assert not answer or answer.split()[1] in (b"400", b"408"), answer


def test_an_object_that_never_comes_is_not_there(server: Server):
    body = b"7" * 1000
    port = server.ready["api_port"]
    url = f"http://127.0.0.1:{port}/{server.bucket}/half"
    headers = signed(server, "PUT", url, body, "s3", {"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"})
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"PUT /{server.bucket}/half HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 1000\r\n{lines}\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(head.encode() + body[:-1])
        client.shutdown(socket.SHUT_WR)
        answer = client.recv(65536)
        assert not answer or answer.split()[1] in (b"400", b"408"), answer
    status, code, _, _ = refused(lambda: server.client("s3").get_object(Bucket=server.bucket, Key="half"))
    assert (status, code) == (404, "NoSuchKey")


# What is in it.


@pytest.mark.parametrize(
    ("body", "kind", "accept", "original", "says"),
    [
        ("[[5.1, NaN, 1.4, 0.2]]", "application/json", "*/*", 500, ("NaN",)),
        ("5.1,,1.4,0.2", "text/csv", "*/*", 500, ("NaN",)),
        ("[[5.1, Infinity, 1.4, 0.2]]", "application/json", "*/*", 500, ("infinity",)),
        ("5.1,3.5,1.4", "text/csv", "*/*", 500, ("3 features", "expecting 4 features")),
        ("[[1, 2, 3, 4, 5]]", "application/json", "*/*", 500, ("5 features", "expecting 4 features")),
        ("1,2,3,4\n1,2,3", "text/csv", "*/*", 400, ("Row 2 has 3 fields, but row 1 has 4.",)),
        ("[[1, 2, 3, 4], [1, 2]]", "application/json", "*/*", 400, ("row",)),
        ("sepal,width,petal,length", "text/csv", "*/*", 500, ("could not convert string to float",)),
        ("[[1, 2, 3, 4]", "application/json", "*/*", 400, ("JSON",)),
        ('{"rows": [[1, 2, 3, 4]]}', "application/json", "*/*", 400, ("instances",)),
        (b"\xff\xfe\x00", "text/csv", "*/*", 400, ("UTF-8",)),
        (b"\x93NUMPY\x01\x00\x10", "application/x-npy", "*/*", 400, ("npy",)),
        ("1,2,3,4", "application/x-image", "*/*", 415, ("application/x-image", "text/csv")),
        ("1,2,3,4", "text/csv; charset=utf-16", "*/*", 415, ("utf-16", "UTF-8")),
        ("1,2,3,4", "text/csv", "image/png", 406, ("image/png", "text/csv")),
    ],
)
def test_a_body_that_the_model_cannot_take(
    server: Server, body: bytes | str, kind: str, accept: str, original: int, says: tuple[str, ...]
):
    status, code, message, response = refused(lambda: invoke(server, "iris", body, kind, Accept=accept))
    assert (status, code, response["OriginalStatusCode"]) == (424, "ModelError", original)
    for text in says:
        assert text.lower() in message.lower(), message
    assert float(invoke(server, "iris", "5.1,3.5,1.4,0.2", "text/csv", Accept="text/csv")) == 0.0


# Names.


def model(server: Server, name: str) -> Any:
    return server.client("sagemaker").create_model(
        ModelName=name,
        ExecutionRoleArn=f"arn:aws:iam::{server.ready['account']}:role/{ROLE}",
        PrimaryContainer={"Image": "kedge/sklearn", "ModelDataUrl": f"s3://{server.bucket}/{GOOD}.tar.gz"},
    )


def config(server: Server, name: str, of: str = GOOD) -> Any:
    variant = {"VariantName": "v", "ModelName": of, "InitialInstanceCount": 1, "InstanceType": TINY}
    return server.client("sagemaker").create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])


def endpoint(server: Server, name: str) -> Any:
    return server.client("sagemaker").create_endpoint(EndpointName=name, EndpointConfigName=GOOD)


@pytest.mark.parametrize(
    ("make", "member"), [(model, "modelName"), (config, "endpointConfigName"), (endpoint, "endpointName")]
)
@pytest.mark.parametrize("name", ["n" * 64, "two words", "größe", "名前", "-a", "a_b", "a/b", "a\n"])
def test_names_that_cannot_be(server: Server, make: Callable[[Server, str], Any], member: str, name: str):
    status, code, message, _ = refused(lambda: make(server, name))
    assert (status, code) == (400, "ValidationException")
    wanted = "have length less than or equal to 63" if len(name) == 64 else "satisfy regular expression pattern: "
    assert f"Value '{name}' at '{member}' failed to satisfy constraint: Member must {wanted}" in message


@pytest.mark.parametrize("name", ["n" * 64, "two words", "größe", "名前", "a/b"])
def test_names_that_no_endpoint_has(server: Server, name: str):
    status, code, message, _ = refused(lambda: invoke(server, name, "1"))
    assert (status, code) == (400, "ValidationError")
    assert "ndpoint" in message


def test_the_longest_name_serves(server: Server):
    name = "n" * 63
    create(server, name, adding_model(3))
    assert settled(server, name, adding_model(3))["EndpointStatus"] == "InService"
    assert invoke(server, name, "4") == b"7"
    delete(server, name)


# The order of calls.


def role(server: Server, name: str) -> Any:
    return server.client("iam").create_role(
        RoleName=name,
        AssumeRolePolicyDocument=json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [
                    {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
                ],
            }
        ),
    )


@pytest.mark.parametrize(
    ("make", "status", "code", "says"),
    [
        (model, 400, "ValidationException", 'Cannot create already existing model "arn:aws:sagemaker:'),
        (
            config,
            400,
            "ValidationException",
            'Cannot create already existing endpoint configuration "arn:aws:sagemaker:',
        ),
        (endpoint, 400, "ValidationException", 'Cannot create already existing endpoint "arn:aws:sagemaker:'),
        (role, 409, "EntityAlreadyExists", "Role with name twice already exists."),
    ],
)
def test_of_creates_at_once_one_wins(
    server: Server, make: Callable[[Server, str], Any], status: int, code: str, says: str
):
    found = at_once(server, lambda: make(server, "twice"))
    assert Counter(each[:2] for each in found) == {(200, ""): 1, (status, code): 7}
    assert all(message.startswith(says) for answered, _, message in found if answered != 200), found
    if make is endpoint:
        assert settled(server, "twice")["EndpointStatus"] == "InService"
        delete(server, "twice")


def test_a_bucket_that_is_created_at_once_is_there_once(server: Server):
    """In us-east-1 the owner may create it again, as in S3; elsewhere the second one is told that it has it."""
    s3 = server.client("s3")
    assert {each[0] for each in at_once(server, lambda: s3.create_bucket(Bucket="twice"))} == {200}
    west = {"LocationConstraint": "eu-west-1"}
    found = at_once(server, lambda: s3.create_bucket(Bucket="twice-west", CreateBucketConfiguration=west))
    assert Counter(each[:2] for each in found) == {(200, ""): 1, (409, "BucketAlreadyOwnedByYou"): 7}
    assert Counter(each["Name"] for each in s3.list_buckets()["Buckets"])["twice"] == 1


def at_once(server: Server, call: Callable[[], Any]) -> list[tuple[int, str, str]]:
    """(status, code, message) of eight calls that are made together."""
    for service in ("sagemaker", "iam"):
        server.client(service)  # made before threads ask for it
    found: list[tuple[int, str, str]] = []
    barrier = threading.Barrier(8)

    def attempt() -> None:
        barrier.wait(10)
        try:
            call()
            found.append((200, "", ""))
        except ClientError as error:
            about = error.response["Error"]
            found.append((error.response["ResponseMetadata"]["HTTPStatusCode"], about["Code"], about["Message"]))

    threads = [threading.Thread(target=attempt) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return found


def test_what_is_in_use_is_deleted_as_on_aws(server: Server):
    sagemaker, s3, iam = (server.client(name) for name in ("sagemaker", "s3", "iam"))
    create(server, "used", adding_model(2))
    assert settled(server, "used", adding_model(2))["EndpointStatus"] == "InService"
    # A model and a config may go while an endpoint is made of them: it has copies.
    sagemaker.delete_model(ModelName="used")
    sagemaker.delete_endpoint_config(EndpointConfigName="used")
    s3.delete_object(Bucket=server.bucket, Key="used.tar.gz")
    assert invoke(server, "used", "1") == b"3"
    for again in (
        lambda: sagemaker.delete_model(ModelName="used"),
        lambda: sagemaker.delete_endpoint_config(EndpointConfigName="used"),
        lambda: config(server, "of-none", "used"),
        lambda: sagemaker.update_endpoint(EndpointName="used", EndpointConfigName="used"),
    ):
        status, code, message, _ = refused(again)
        assert (status, code) == (400, "ValidationException")
        assert message.startswith("Could not find ")
    delete(server, "used")
    status, code, message, _ = refused(lambda: sagemaker.delete_endpoint(EndpointName="used"))
    assert (status, code) == (400, "ValidationException")
    assert message.startswith("Could not find endpoint")

    status, code, message, _ = refused(lambda: s3.delete_bucket(Bucket=server.bucket))
    assert (status, code) == (409, "BucketNotEmpty")
    assert message == f'The bucket "{server.bucket}" you tried to delete is not empty.'

    # A role may go while a model names it, but not while policies are attached.
    arn = role(server, "in-use")["Role"]["Arn"]
    sagemaker.create_model(ModelName="with-role", ExecutionRoleArn=arn, PrimaryContainer={"Image": "kedge/sklearn"})
    policy = "arn:aws:iam::aws:policy/AmazonSageMakerFullAccess"
    iam.attach_role_policy(RoleName="in-use", PolicyArn=policy)
    status, code, message, _ = refused(lambda: iam.delete_role(RoleName="in-use"))
    assert (status, code) == (409, "DeleteConflict")
    assert "must detach all policies first" in message
    iam.detach_role_policy(RoleName="in-use", PolicyArn=policy)
    iam.delete_role(RoleName="in-use")


def test_an_endpoint_in_progress_is_not_updated_but_deleted(server: Server):
    slow = archive({"code/inference.py": b"import time\ndef model_fn(model_dir):\n    time.sleep(1000)\n"})
    create(server, "slow", slow)
    sagemaker = server.client("sagemaker")
    status, code, message, _ = refused(lambda: sagemaker.update_endpoint(EndpointName="slow", EndpointConfigName=GOOD))
    assert (status, code) == (400, "ValidationException")
    assert message.startswith("Cannot update in-progress endpoint")
    delete(server, "slow")


# A full disk.


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if mount is None or umount is None or os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(folder)], check=False, capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run([umount, str(folder)], check=True)


def fill(file: Path) -> None:
    """Until not a byte is left."""
    with file.open("wb", buffering=0) as out:
        for size in (MIB, 4096, 1):
            while True:
                try:
                    if not out.write(bytes(size)):
                        break
                except OSError:
                    break


@pytest.fixture
def full(small_disk: Path) -> Iterator[Server]:
    with running(small_disk) as started:
        yield started


def test_a_full_disk(full: Server, small_disk: Path):
    s3, sagemaker = full.client("s3"), full.client("sagemaker")
    s3.put_object(Bucket=full.bucket, Key="before", Body=b"kept")
    large = archive({"code/inference.py": LENGTH, "weights": os.urandom(6 * MIB)})
    s3.put_object(Bucket=full.bucket, Key="large-model.tar.gz", Body=large)

    # Room for records, and not for the model.
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(free_bytes(small_disk) - 3 * MIB))
    create(full, "large-model", None)
    found = settled(full, "large-model")
    assert found["EndpointStatus"] == "Failed"
    assert "could not be unpacked: the disk of the data directory is full; free space" in found["FailureReason"]
    assert_unharmed(full)

    fill(small_disk / "rest")
    assert_refused_for_want_of_room(full)
    assert s3.get_object(Bucket=full.bucket, Key="before")["Body"].read() == b"kept"
    assert sagemaker.describe_endpoint(EndpointName=GOOD)["EndpointStatus"] == "InService"
    for number in range(50):
        assert invoke(full, GOOD, str(number)) == str(number + 10).encode()
    full.kill("instance")
    assert invoke(full, GOOD, "1") == b"11", "an instance starts again though its record cannot be written"
    assert_unharmed(full)

    ballast.unlink()
    (small_disk / "rest").unlink()
    s3.put_object(Bucket=full.bucket, Key="large", Body=bytes(MIB))
    assert s3.get_object(Bucket=full.bucket, Key="large")["Body"].read() == bytes(MIB)
    delete(full, "large-model")
    sagemaker.create_endpoint(EndpointName="large-model", EndpointConfigName="large-model")
    assert settled(full, "large-model", large)["EndpointStatus"] == "InService"
    assert invoke(full, "large-model", "12345", "application/octet-stream") == b"5"
    assert_unharmed(full)


def free_bytes(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def assert_refused_for_want_of_room(server: Server) -> None:
    """Every call that writes, each in its own words; the caller's retries find a 503."""
    s3 = server.client("s3")
    for call in (
        lambda: s3.put_object(Bucket=server.bucket, Key="one-more", Body=bytes(MIB)),
        lambda: s3.create_bucket(Bucket="one-more"),
    ):
        status, code, message, _ = refused(call)
        assert (status, code) == (503, "ServiceUnavailable")
        assert message.startswith(
            "The disk of the object store is full; nothing of this request was stored. Free space"
        )
    # The database's files may hold some more records: until they do not.
    answers: list[dict[str, Any]] = []
    for number in range(2000):
        try:
            model(server, f"model-{number}")
        except ClientError as error:
            answers.append(dict(error.response))
            break
    assert answers, "2000 models were stored on a full disk"
    assert answers[0]["ResponseMetadata"]["HTTPStatusCode"] == 503
    for make in (model, config, endpoint, role):
        status, code, message, _ = refused(lambda make=make: make(server, "one-more"))  # type: ignore[misc]
        assert (status, code) == (503, "ServiceUnavailable")
        assert message == "The resource store is not available: the disk is full."
