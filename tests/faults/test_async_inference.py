"""What is acknowledged is done, and once, whatever is killed meanwhile."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.async_inference.conftest import Async, until
from tests.faults.conftest import Server

COUNTING = """
import time
def model_fn(model_dir):
    return None
def transform_fn(model, data, content_type, accept):
    time.sleep(0.02)
    return data, "text/plain"
"""


class _Kedge:
    """What Async needs of a server."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.client = server.client
        self.bucket = server.bucket
        self.role_arn = f"arn:aws:iam::{server.ready['account']}:role/kedge-execution-role"


@pytest.fixture
def killed(tmp_path: Path) -> Iterator[tuple[Server, Async]]:
    server = Server(tmp_path / "data").up()
    try:
        hosted = Async(_Kedge(server))
        hosted.model("echo", COUNTING)
        hosted.config("echo", "echo", concurrency=2)
        hosted.endpoint("echo")
        hosted.s3.put_bucket_versioning(Bucket=server.bucket, VersioningConfiguration={"Status": "Enabled"})
        yield server, hosted
    finally:
        server.down()


def _outputs(hosted: Async) -> Counter[str]:
    """How often each output was written."""
    pages = hosted.s3.get_paginator("list_object_versions").paginate(Bucket=hosted.bucket, Prefix="out/")
    return Counter(each["Key"] for page in pages for each in page.get("Versions", ()))


def test_a_queue_outlives_kills_of_the_control_process(killed: tuple[Server, Async]):
    server, hosted = killed
    wanted: dict[str, bytes] = {}
    failed: list[Exception] = []
    stop = threading.Event()

    def ask() -> None:
        """Without a pause, and without retries of its own: while control is away the router holds the call."""
        while not stop.is_set():
            body = b"%d" % len(wanted)
            try:
                wanted[hosted.invoke("echo", body)["OutputLocation"]] = body
            except ClientError as error:
                failed.append(error)

    client = threading.Thread(target=ask)
    client.start()
    try:
        for count in (15, 30, 45):
            until(lambda at_least=count: len(wanted) >= at_least or failed, f"{count} acknowledged", 30)
            server.kill("control")
        until(lambda: len(wanted) >= 60 or failed, "more of them", 30)
    finally:
        stop.set()
        client.join()
    assert not failed
    assert {uri: hosted.read(uri) for uri in wanted} == wanted
    written = _outputs(hosted)
    assert set(written.values()) == {1}, "an output was written twice"
    assert len(written) == len(wanted)


def test_a_queue_outlives_the_end_of_everything(killed: tuple[Server, Async]):
    server, hosted = killed
    wanted = {hosted.invoke("echo", b"%d" % n)["OutputLocation"]: b"%d" % n for n in range(20)}
    server.kill_everything()
    server.up()
    again = Async(_Kedge(server))
    assert {uri: again.read(uri) for uri in wanted} == wanted
    assert set(_outputs(again).values()) == {1}


def test_invocations_of_an_instance_that_dies_are_tried_again(killed: tuple[Server, Async]):
    server, hosted = killed
    wanted: dict[str, Any] = {hosted.invoke("echo", b"%d" % n)["OutputLocation"]: b"%d" % n for n in range(40)}
    for pid in server.pids("instance"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert {uri: hosted.read(uri) for uri in wanted} == wanted
