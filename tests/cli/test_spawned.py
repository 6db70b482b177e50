"""A server that is somebody's own: it says why it cannot start, speaks TLS when asked, and ends with its owner."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import SSLError

from kedge.cli.server import Server, find
from kedge.cli.spawned import Spawned, StartFailed

OWNER = """
import sys, time
from kedge.cli.spawned import Spawned
spawned = Spawned()
print(spawned.ready()["pid"], flush=True)
time.sleep(600)
"""


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"  # nobody reaps it here
    except FileNotFoundError:
        return not Path("/proc/self").exists() or not Path(f"/proc/{pid}").exists()


def test_it_ends_when_its_owner_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        assert not gone(pid)
        owner.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 15
    while not gone(pid):
        assert time.monotonic() < deadline, "the server outlived its owner"
        time.sleep(0.05)


def test_it_is_found_by_the_folder_that_was_chosen_for_it(tmp_path: Path) -> None:
    spawned = Spawned("--data", str(tmp_path / "data"))
    try:
        spawned.ready()
        server = find(tmp_path / "data")
        assert server.client("sts").get_caller_identity()["Account"] == server.account
        assert server.session is server.session, "each client would read botocore's models anew"
    finally:
        spawned.stop()
    assert list(tmp_path.iterdir()) == []


def test_it_says_why_it_cannot_start() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        spawned = Spawned("--api-port", str(taken.getsockname()[1]))
        try:
            with pytest.raises(StartFailed, match=str(taken.getsockname()[1])) as raised:
                spawned.ready()
        finally:
            spawned.stop()
    assert "Traceback" not in str(raised.value)


def test_stop_may_be_called_twice_and_early() -> None:
    spawned = Spawned()
    spawned.stop()
    spawned.stop()


def test_tls_with_its_own_authority() -> None:
    spawned = Spawned("--tls")
    try:
        server = Server.of(spawned.ready())
        assert server.api_url.startswith("https://")
        assert server.client("sts").get_caller_identity()["Account"] == server.account
        server.client("s3").put_object(Bucket=server.bucket, Key="a", Body=b"b")
        stranger = boto3.client(
            "sts",
            endpoint_url=server.api_url,
            region_name=server.region,
            aws_access_key_id="a",
            aws_secret_access_key="b",
        )
        with pytest.raises(SSLError):
            stranger.get_caller_identity()
    finally:
        spawned.stop()
