"""Model archives and scripts that are broken or hostile, each as a client of a real server meets it."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import Server, archive, until
from .hosted import GOOD, assert_unharmed, create, delete, invoke, refused, running, settled

MIB = 1024**2
CONTAINER = "The primary container for production variant v did not pass the ping health check."


def member(name: str, kind: bytes, link: str = "") -> bytes:
    """An archive with a good script and this one."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        script = b"def model_fn(model_dir): return 1\n"
        good = tarfile.TarInfo("code/inference.py")
        good.size = len(script)
        tar.addfile(good, io.BytesIO(script))
        bad = tarfile.TarInfo(name)
        bad.type, bad.linkname = kind, link
        tar.addfile(bad)
    return out.getvalue()


def bomb() -> bytes:
    """4 GiB in 4 MiB."""
    large = tarfile.TarInfo("model.joblib")
    large.size = 4 * 1024 * MIB
    zeros = gzip.compress(bytes(64 * MIB), 9)
    return gzip.compress(large.tobuf()) + zeros * 64 + gzip.compress(bytes(2 * tarfile.BLOCKSIZE))


def script(text: str) -> bytes:
    return archive({"code/inference.py": text.encode()})


def damaged() -> bytes:
    data = archive({"model.joblib": os.urandom(100_000)})
    return data[:-40_000]


NEVER_LOADED: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "not-gzip": (b"PK\3\4 this is a zip", ("cannot be used", "it is not a gzip archive (a model is a .tar.gz)")),
    "no-tar": (zlib.compress(b"x" * 5000, wbits=31), ("cannot be used", "there is no readable tar archive in it")),
    "empty-object": (b"", ("cannot be used", "there is no readable tar archive in it")),
    "cut-off": (damaged(), ("cannot be used", "it is cut off before its end")),
    "parent": (member("../../evil", tarfile.REGTYPE), ('"../../evil" in it would lie outside of its folder',)),
    "absolute": (member("/tmp/evil", tarfile.REGTYPE), ('"/tmp/evil" in it would lie outside of its folder',)),
    "deep": (member("d/" * 300 + "x", tarfile.REGTYPE), ("in it lies 300 folders deep; at most 100 are taken",)),
    "symlink": (
        member("model.pkl", tarfile.SYMTYPE, "/etc/passwd"),
        ('"model.pkl" in it is a link to "/etc/passwd"', "only files and folders are taken"),
    ),
    "hard-link": (
        member("model.pkl", tarfile.LNKTYPE, "../../kedge.db"),
        ('"model.pkl" in it is a link to "../../kedge.db"', "only files and folders are taken"),
    ),
    "device": (member("sda", tarfile.BLKTYPE), ('"sda" in it is a device or pipe; only files and folders are taken',)),
    "no-model": (archive({"README": b"the model comes later"}), (CONTAINER, "model.joblib")),
    "no-pickle": (archive({"model.joblib": b"this is no model"}), (CONTAINER, "model.joblib")),
    "not-a-model": (archive({"model.pkl": pickle.dumps({"a": 1})}), (CONTAINER, "predict")),
    "no-syntax": (script("def model_fn(:\n"), (CONTAINER, "SyntaxError: invalid syntax (inference.py, line 1)")),
    "raises-on-import": (
        script("raise RuntimeError('the import is broken')"),
        (CONTAINER, "RuntimeError: the import is broken (inference.py, line 1"),
    ),
    "raises-on-load": (
        script("def model_fn(model_dir):\n    raise KeyError('no weights')"),
        (CONTAINER, "KeyError: 'no weights' (inference.py, line 2, in model_fn)"),
    ),
    "exits-on-import": (script("import sys\nsys.exit(3)"), (CONTAINER, "SystemExit: 3 (inference.py, line 2")),
    "exits-on-load": (
        script("import os\ndef model_fn(model_dir):\n    print('giving up', flush=True)\n    os._exit(3)"),
        (CONTAINER, "3", "giving up"),
    ),
    "killed-on-load": (
        script("import os, signal\ndef model_fn(model_dir):\n    os.kill(os.getpid(), signal.SIGSEGV)"),
        (CONTAINER, "SIGSEGV"),
    ),
    "never-loads": (
        script("import time\ndef model_fn(model_dir):\n    print('waiting', flush=True)\n    time.sleep(1000)"),
        (CONTAINER, "20 s", "waiting"),
    ),
    "leaks-on-load": (
        script("def model_fn(model_dir):\n    held = []\n    while True: held.append(b'x' * 2 ** 20)"),
        (CONTAINER, "memory"),
    ),
    "no-handler": (
        script("def transform_fn(a): return a\ndef model_fn(model_dir): return 1"),
        (CONTAINER, "transform_fn takes 1 arguments; it has to take 4"),
    ),
    "bomb": (bomb(), ("it expands more than 100 times, which no model does",)),
}

ACTS = """
import os, subprocess, sys, threading, time

def model_fn(model_dir):
    return []

def transform_fn(model, body, content_type, accept):
    act = body.decode()
    if act == "raise":
        raise ValueError("row 7 has no price")
    if act == "text":
        raise ValueError("\\ud800 is no character")
    if act == "exit":
        sys.exit(3)
    if act == "die":
        os._exit(3)
    if act == "print":
        for _ in range(100):
            os.write(1, (b"x" * 127 + b"\\n") * 8192)
    if act == "line":
        for _ in range(100):
            os.write(2, b"y" * 2 ** 20)
    if act == "never":
        while True:
            time.sleep(1)
    if act == "spin":
        while True:
            pass
    if act == "leak":
        while True:
            model.append(b"x" * 2 ** 20)
    if act == "fork":
        for _ in range(20):
            if not os.fork():
                os.setsid()
                time.sleep(1000)
                os._exit(0)
        subprocess.Popen(["sleep", "1000"], start_new_session=True)
    if act == "large":
        return b"x" * (2 ** 20 + 1), "text/plain"
    if act == "object":
        return object(), "text/plain"
    if act == "type":
        return b"x", "text/plain\\r\\nX-Evil: 1"
    return "did " + act, "text/plain"
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Every endpoint that this file looks at is asked for at once: each would be waited for otherwise."""
    with running(tmp_path_factory.mktemp("models"), start_timeout_s="20") as started:
        create(started, "never-loads", NEVER_LOADED["never-loads"][0])
        create(started, "acts", script(ACTS), HURRIED)
        create(started, "patient", script(ACTS))
        for name, (model, _) in NEVER_LOADED.items():
            if name != "never-loads":
                create(started, name, model)
        yield started


HURRIED = {"SAGEMAKER_MODEL_SERVER_TIMEOUT": "2", "SAGEMAKER_MAX_PAYLOAD_IN_MB": "1"}


def act(server: Server, what: str, endpoint: str = "acts") -> bytes:
    return invoke(server, endpoint, what, "application/octet-stream")


def serves(server: Server, endpoint: str = "acts") -> None:
    """It answers again, at most for a while after what it went through."""
    assert settled(server, endpoint, script(ACTS))["EndpointStatus"] == "InService"

    def answers() -> bool:
        try:
            return act(server, "well", endpoint) == b"did well"
        except server.client("sagemaker-runtime").exceptions.ClientError:
            return False

    until(answers, 20, f"the recovery of {endpoint}")


def instance(server: Server, endpoint: str) -> dict[str, Any]:
    return next(each for each in server.status()["instances"] if each["labels"]["endpoint"] == endpoint)


def output(server: Server, endpoint: str) -> Path:
    return server.data / "tasks" / instance(server, endpoint)["id"] / "output.log"


@pytest.mark.parametrize(
    ("what", "status", "says"),
    [
        ("raise", 500, ("Received server error (500) from primary", "ValueError: row 7 has no price")),
        ("text", 500, ("Received server error (500) from primary", "ValueError: ? is no character")),
        ("exit", 500, ("Received server error (500) from primary", "SystemExit: 3")),
        ("object", 500, ("Received server error (500) from primary", "object")),
        ("type", 500, ("Received server error (500) from primary", "content type", "printable ASCII")),
        ("large", 500, ("could not load the entire response body",)),
        ("never", 0, ("Your invocation timed out while waiting for a response from container primary",)),
        ("spin", 0, ("Your invocation timed out while waiting for a response from container primary",)),
        ("die", 0, ("The instance that ran this invocation ended twice before it answered",)),
    ],
)
def test_a_script_that_fails_while_it_predicts(server: Server, what: str, status: int, says: tuple[str, ...]):
    serves(server)
    http_status, code, message, response = refused(lambda: act(server, what))
    assert (http_status, code, response["OriginalStatusCode"]) == (424, "ModelError", status)
    for text in (*says, "/aws/sagemaker/Endpoints/acts"):
        assert text in message
    assert "/aws/sagemaker/Endpoints/acts" in response["LogStreamArn"]
    assert_unharmed(server)
    serves(server)


def test_a_script_that_takes_more_memory_than_its_instance_type_has(server: Server):
    serves(server, "patient")
    http_status, code, message, response = refused(lambda: act(server, "leak", "patient"))
    assert (http_status, code, response["OriginalStatusCode"]) == (424, "ModelError", 0)
    assert "ended twice before it answered; it is not tried again" in message
    assert_unharmed(server)
    serves(server, "patient")
    supervisor = (server.data / "log/supervisor.log").read_text(errors="replace")
    assert "memory" in supervisor, supervisor


def test_a_traceback_is_in_the_log_of_the_instance_only(server: Server):
    serves(server)
    refused(lambda: act(server, "raise"))
    assert "row 7 has no price" in output(server, "acts").read_text(errors="replace")


@pytest.mark.parametrize("what", ["print", "line"])
def test_a_hundred_megabytes_of_output(server: Server, what: str):
    serves(server)
    assert act(server, what) == f"did {what}".encode()
    path = output(server, "acts")
    until(lambda: path.stat().st_blocks * 512 <= 64 * MIB, what="a bounded log")
    assert_unharmed(server)
    serves(server)


def test_children_go_with_their_endpoint(server: Server):
    serves(server, "patient")
    assert act(server, "fork", "patient") == b"did fork"
    root = instance(server, "patient")["pid"]
    family = descendants(root)
    assert len(family) >= 21
    assert_unharmed(server)
    delete(server, "patient")
    until(lambda: not [pid for pid in family if alive(pid)], what="the end of every child")
    assert_unharmed(server)


def descendants(root: int) -> set[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found: set[int] = set()
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting += children.get(pid, ())
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.parametrize("name", NEVER_LOADED)
def test_what_cannot_be_loaded_says_why(server: Server, name: str):
    model, says = NEVER_LOADED[name]
    found = settled(server, name, model)
    assert found["EndpointStatus"] == "Failed"
    reason = found["FailureReason"]
    for text in says:
        assert text in reason
    assert len(reason) <= 1024
    assert "kedge/serving" not in reason, "frames of the server's own code"
    status, code, message, _ = refused(lambda: invoke(server, name, "1"))
    assert (status, code) == (400, "ValidationError")
    assert name in message
    delete(server, name)
    assert_unharmed(server)


def test_nothing_of_what_was_refused_stays(server: Server):
    assert not {each["labels"]["endpoint"] for each in server.status()["instances"]} & set(NEVER_LOADED)
    assert not Path("/tmp/evil").exists()
    assert not list(server.data.rglob("evil"))
    until(lambda: not list((server.data / "artifacts").glob(".tmp-*")), what="an empty cache")


def test_the_good_endpoint_has_never_been_replaced(server: Server):
    found = instance(server, GOOD)
    assert (found["state"], found["restarts"]) == ("ready", 0)
