"""The commands as programs: what they print, where, and the code they end with."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from kedge.cli import doctor
from kedge.cli.endpoints import content_type_of
from kedge.cli.tables import table


def run(*arguments: str, data: Path, **options: object) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("KEDGE_", "AWS_"))}
    return subprocess.run(
        [sys.executable, "-m", "kedge", *arguments],
        env={**environment, "KEDGE_DATA_DIR": str(data)},
        capture_output=True, text=True, timeout=60, check=False, **options,  # type: ignore[call-overload]
    )  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [
        ("env",),
        ("status",),
        ("invoke", "x", "--data", "1"),
        ("weights", "x", "a=1"),
        ("experiment", "x"),
        ("delete", "x"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_without_a_server_the_exit_code_is_3_and_the_way_out_is_named(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    done = run(*arguments, data=tmp_path / "data")
    assert (done.returncode, done.stdout) == (3, "")
    assert "start it with `kedge up`" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("deploy", "nothing-there.joblib"), "does not exist"),
        (("deploy", ".", "--image", "no image"), '"no image" is no image; known are kedge/sklearn'),
        (("weights", "x", "a"), '"a" is not VARIANT=WEIGHT'),
        (("weights", "x", "a=many"), "is not VARIANT=WEIGHT"),
        (("invoke", "x"), "Give the body by --data"),
        (("up", "--api-port", "99999"), "api_port is 99999; a port is 0 to 65535"),
        (("up", "--host", "0.0.0.0", "--insecure-no-auth"), "only a loopback address"),
        (("nonsense",), "No such command"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_wrong_use_has_exit_code_2(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    done = run(*arguments, data=tmp_path / "data")
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_server_that_is_gone_is_not_running(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]  # bound, but nobody listens
        url = f"http://127.0.0.1:{port}"
        (tmp_path / "run.json").write_text(json.dumps({"api_url": url, "inference_url": url}))
        (tmp_path / "node.json").write_text(json.dumps({"account": "000000000000", "region": "us-east-1"}))
        (tmp_path / "credentials.json").write_text(json.dumps({"access_key_id": "a", "secret_access_key": "b"}))
        done = run("env", data=tmp_path)
    assert done.returncode == 3
    assert f"does not answer at {url}" in done.stderr


def test_damaged_files_are_said_to_be_damaged(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{")
    done = run("env", data=tmp_path)
    assert done.returncode == 1
    assert "damaged" in done.stderr


def test_unset_needs_no_server(tmp_path: Path) -> None:
    done = run("env", "--unset", data=tmp_path)
    assert done.returncode == 0
    assert "unset AWS_ENDPOINT_URL\n" in done.stdout


@pytest.mark.parametrize(
    ("last", "no_proxy", "left"),
    [
        ({"api_url": "http://10.1.2.3:8770"}, "10.1.2.3,127.0.0.1,10.1.2.3", "10.1.2.3,127.0.0.1"),
        ({"api_url": "http://10.1.2.3:8770"}, "x,127.0.0.1", "x,127.0.0.1"),
        ({"api_url": "http://localhost:8770"}, "127.0.0.1", None),
        ({}, "x,127.0.0.1", "x"),
    ],
)
def test_unset_takes_the_last_servers_host_off_no_proxy(
    last: dict[str, str], no_proxy: str, left: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run.json").write_text(json.dumps(last))
    monkeypatch.setenv("NO_PROXY", no_proxy)
    monkeypatch.delenv("no_proxy", raising=False)
    found = json.loads(run("env", "--unset", "--json", data=tmp_path).stdout)
    assert set(found) == {"unset", "set"}
    assert {"AWS_ENDPOINT_URL", "no_proxy"} <= set(found["unset"])
    assert found["set"] == ({"NO_PROXY": left} if left else {})
    assert ("NO_PROXY" in found["unset"]) == (left is None)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str, tmp_path: Path) -> None:
    assert "_KEDGE_COMPLETE" in run("completion", shell, data=tmp_path).stdout


def test_doctor_finds_a_taken_port(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        environment = {**os.environ, "KEDGE_API_PORT": str(port), "KEDGE_INFERENCE_PORT": "0"}
        done = subprocess.run(
            [sys.executable, "-m", "kedge", "doctor", "--json", "--data", str(tmp_path / "data")],
            env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    findings = {each["what"]: each for each in json.loads(done.stdout)}
    assert done.returncode == 1
    assert findings["API port"]["state"] == "problem"
    assert findings["inference port"]["state"] == "ok"
    assert findings["data directory"]["state"] == "ok"
    assert "layers work" in findings["sandbox"]["detail"]
    assert findings["botocore"]["detail"].startswith(version("botocore"))
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("version", "state"),
    [("1.34.0", "degraded"), ("1.36.26", "degraded"), ("1.37.0", "ok"), ("1.100.1", "ok"), ("2.0.0rc1", "ok")],
)
def test_doctor_on_the_waiter_of_botocore(version: str, state: str) -> None:
    found = doctor._botocore(version)
    assert found.state == state
    assert version in found.detail


def test_help_and_up_load_no_sdk() -> None:
    script = (
        "import sys; from kedge.cli import lifecycle, main; import kedge.testing;"
        "heavy = {'boto3', 'botocore', 'sklearn', 'numpy', 'sqlalchemy', 'uvicorn'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


@pytest.mark.parametrize(
    ("body", "file", "want"),
    [
        (b"[1]", "", "application/json"),
        (b' {"a": 1}', "<stdin>", "application/json"),
        (b"1,2", "", "text/csv"),
        (b"", "", "text/csv"),
        (b"[1]", "rows.CSV", "text/csv"),
        (b"1", "a.jsonl", "application/jsonlines"),
        (b"\x93NUMPY\x01", "x", "application/x-npy"),
    ],
)
def test_the_content_type_is_guessed(body: bytes, file: str, want: str) -> None:
    assert content_type_of(body, file) == want


def test_table() -> None:
    assert table(["NAME", "N"], [("a", 5), ("long", 10.5)]) == "NAME     N\na        5\nlong  10.5"
    assert table(["NAME", "N"], []) == "NAME  N"
