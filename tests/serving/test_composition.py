"""An instance of several containers: a real process, driven over its real socket, with a folder in place of control."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kedge.serving import frames, memory
from kedge.serving.frames import Kind
from kedge.serving.work import MAX_BYTES, MAX_REQUESTS
from kedge.serving.worker import EXIT_LOAD_FAILED, WorkerSpec
from kedge.serving.worker_io import FULL, MAX_CONNECTIONS
from tests.serving.test_worker import PATIENCE_S, Router, send_until_it_ends, until, what_is_said_to_one_more

SCRIPT = """
import json, os, signal, sys, time
STATE = {"calls": 0}
def others_wait():
    # Behind this request, in the queue of the worker that has called for it.
    frame = sys._getframe()
    while frame and "work" not in frame.f_locals:
        frame = frame.f_back
    return frame is not None and frame.f_locals["work"].has_waiting
def model_fn(model_dir):
    if os.environ.get("FAIL"):
        raise ValueError(os.environ["FAIL"])
    held = b"x" * int(os.environ.get("HOLD_MIB", "0")) * 1024 * 1024
    start = os.path.join(model_dir, "start")
    return (open(start).read() if os.path.exists(start) else "", held)
def transform_fn(model, body, content_type, accept, context):
    STATE["calls"] += 1
    text = body if isinstance(body, str) else body.decode("latin-1")
    if text.endswith("die"):
        os.kill(os.getpid(), signal.SIGKILL)
    if text.endswith("raise"):
        raise ValueError("asked to")
    if text.endswith("hang"):
        time.sleep(600)
    if text.startswith("grow "):
        text = "x" * (int(text.split()[1]) * 1024 * 1024)
    if text.endswith("wait"):
        # Until it may go on and what was cancelled has arrived: each on its own, so nothing waits for some turns.
        open("begun", "w").close()
        end_s, quiet = time.monotonic() + 20, 0
        while time.monotonic() < end_s and quiet < 60:
            behind = others_wait()
            if behind:
                open("behind", "w").close()
            quiet = quiet + 1 if os.path.exists("go") and not behind else 0
            time.sleep(0.005)
    if text == "about":
        return json.dumps({"pid": os.getpid(), "cwd": os.getcwd(), "calls": STATE["calls"],
            "environment": dict(os.environ), "descriptors": len(os.listdir("/proc/self/fd"))}), "application/json"
    out = text + model[0]
    return out.encode("latin-1"), accept if accept.startswith("image/") else "application/octet-stream"
"""


class Instance:
    """One worker process with containers, and what a supervisor knows of it."""

    def __init__(self, folder: Path, containers: list[dict[str, Any]], **fields: Any) -> None:
        self.folder = folder
        (folder / "models").mkdir(exist_ok=True)
        self.spec = WorkerSpec(
            id="i-1",
            runtime="",
            artifact_dir="",
            socket=str(folder / "i.sock"),
            state_file=str(folder / "state.json"),
            work_dir=str(folder / "work"),
            environment={"HOME": "/nowhere", "MARK": "1"},
            labels={"region": "eu-west-1"},
            containers=containers,
            models_dir=str(folder / "models"),
            **fields,
        )
        spec_in, spec_out = os.pipe()
        self._status, status_out = os.pipe()
        command = [sys.executable, "-m", "kedge.serving.worker"]
        command += ["--spec-fd", str(spec_in), "--status-fd", str(status_out)]
        with (folder / "output.log").open("ab") as log:
            self.process = subprocess.Popen(command, pass_fds=(spec_in, status_out), stdout=log, stderr=log)
        os.close(spec_in)
        os.close(status_out)
        os.write(spec_out, self.spec.as_json().encode())
        os.close(spec_out)
        self.states: list[dict[str, Any]] = []
        self.wants: dict[str, str] = {}
        self.supply: Callable[[str], Path | str | None] = lambda name: None
        """The folder of a model, or why there is none; None: it does not come."""
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        rest = b""
        while data := os.read(self._status, 65536):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                said = json.loads(line)
                if "wants" in said:
                    self._level(said["wants"])
                else:
                    self.states.append(said)

    def _level(self, wants: dict[str, str]) -> None:
        for folder, name in wants.items():
            found = self.supply(name) if folder not in self.wants else None
            target = self.folder / "models" / folder
            if isinstance(found, Path):
                shutil.copytree(found, target.with_name(".tmp"))
                target.with_name(".tmp").rename(target)
            elif found is not None:
                target.with_name(f"{folder}.error").write_text(json.dumps({"missing": True, "message": found}))
        for folder in self.wants.keys() - wants.keys():
            shutil.rmtree(self.folder / "models" / folder, ignore_errors=True)
        self.wants = wants

    def state(self, at: int = 0) -> dict[str, Any]:
        until(lambda: len(self.states) > at or not self._reading.is_alive())
        return self.states[at] if len(self.states) > at else {}

    def ready(self) -> Instance:
        assert self.state()["state"] == "ready", self.output
        return self

    @property
    def output(self) -> str:
        return (self.folder / "output.log").read_text()

    def end(self, sig: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(sig)
        return self.process.wait(PATIENCE_S)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE_S)
        self._reading.join(PATIENCE_S)
        os.close(self._status)


@pytest.fixture
def artifact(tmp_path: Path) -> Callable[[str], str]:
    def made(start: str) -> str:
        folder = tmp_path / f"artifact-{start}"
        (folder / "code").mkdir(parents=True, exist_ok=True)
        (folder / "code" / "inference.py").write_text(SCRIPT)
        (folder / "start").write_text(start)
        return str(folder)

    return made


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Instance]]:
    started: list[Instance] = []

    def begun(*containers: dict[str, Any], **fields: Any) -> Instance:
        started.append(Instance(tmp_path, list(containers), **fields))
        return started[-1]

    yield begun
    for each in started:
        each.close()


@pytest.fixture
def connect() -> Iterator[Callable[[Instance], Router]]:
    with contextlib.ExitStack() as stack:

        def connected(instance: Instance) -> Router:
            router = Router(instance.spec.socket)
            stack.callback(router.socket.close)
            return router

        yield connected


Start = Callable[..., Instance]
Connect = Callable[[Instance], Router]
Artifact = Callable[[str], str]
HeldChain = tuple[Instance, Router, int, Path]


def container(name: str, artifact_dir: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "runtime": "script", "artifact_dir": artifact_dir, **more}


def many(**more: Any) -> dict[str, Any]:
    return container("primary", "", many_models=True, **more)


def children_of(instance: Instance) -> list[int]:
    pid = instance.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_chain_from_start_to_end(start: Start, connect: Connect, artifact: Artifact):
    instance = start(
        container("a", artifact("1"), environment={"WHO": "a", "HOME": "/mine"}),
        container("b", artifact("2")),
    ).ready()
    router = connect(instance)
    binary = bytes(range(256)) * 40
    head, body = router.ask(binary, "image/png", accept="image/x", custom_attributes="c=1")
    assert body == binary + b"12"
    told = head.pop("told")
    assert head == {"status": 200, "content_type": "image/x", "custom_attributes": "c=1"}
    assert [each[:2] for each in told] == [["a", "ContainerLatency"], ["b", "ContainerLatency"]]
    large = os.urandom(9_000_000)
    assert router.ask(large, "application/octet-stream")[1] == large + b"12"
    streams = {router.send(b"%d-" % number): number for number in range(100)}
    assert {streams[s]: body for s, (_, body) in router.answers(100).items()} == {n: b"%d-12" % n for n in range(100)}
    head, _ = router.ask(b"raise")
    assert (head["status"], head["kind"], head["container"]) == (500, "model", "a")
    pids = children_of(instance)
    assert len(pids) == 2
    assert instance.end() == 0
    assert instance.state(1)["state"] == "stopped"
    assert not any(is_alive(pid) for pid in pids)
    assert not Path(instance.spec.socket).exists()


def test_each_container_has_its_own_world(start: Start, connect: Connect, artifact: Artifact):
    instance = start(
        container("a", artifact("1"), environment={"WHO": "a", "HOME": "/mine"}),
        container("b", artifact("2"), environment={"WHO": "b"}),
        direct=True,
    ).ready()
    router = connect(instance)
    a, b = (json.loads(router.ask(b"about", target_container=name)[1]) for name in "ab")
    assert (a["environment"]["WHO"], b["environment"]["WHO"]) == ("a", "b")
    assert (a["environment"]["HOME"], b["environment"]["HOME"]) == ("/mine", b["cwd"])
    assert a["environment"]["MARK"] == "1"
    assert a["environment"]["SM_MODEL_DIR"].endswith("artifact-1")
    assert Path(a["cwd"]).parts[-2:] == ("work", "a")
    assert len({a["pid"], b["pid"], instance.process.pid}) == 3
    # 0, 1, 2, the connection, the status pipe, wake-ups and the listing itself: nothing of the front's.
    assert a["descriptors"] <= 13
    head, _ = router.ask(b"x", target_container="c")
    assert head["kind"] == "target"


def test_a_container_that_dies_fails_its_own_requests_and_comes_back(
    start: Start, connect: Connect, artifact: Artifact
):
    instance = start(container("a", artifact("1")), container("b", artifact("2")), direct=True).ready()
    router = connect(instance)
    pid = json.loads(router.ask(b"about", target_container="a")[1])["pid"]
    other = json.loads(router.ask(b"about", target_container="b")[1])["pid"]
    head, _ = router.ask(b"die", target_container="a")
    assert (head["kind"], head["container"]) == ("lost", "a")
    # The next one waits until it is back.
    about = json.loads(router.ask(b"about", target_container="a")[1])
    assert (about["pid"] != pid, about["calls"]) == (True, 1)
    assert json.loads(router.ask(b"about", target_container="b")[1])["pid"] == other
    assert "container a: The process was ended by SIGKILL" in instance.output


def test_a_hanging_container_gives_its_queue_back(start: Start, connect: Connect, artifact: Artifact):
    instance = start(container("a", artifact("1"))).ready()
    router = connect(instance)
    hanging = router.send(b"hang", timeout_ms=1000, deadline_ms=60_000)
    behind = [router.send(b"%d" % n, timeout_ms=1000, deadline_ms=60_000) for n in range(5)]
    found = router.answers(6)
    assert found[hanging][0]["kind"] == "lost"
    assert [found[stream][1] for stream in behind] == [b"%d1" % n for n in range(5)]


@pytest.fixture
def held_chain(start: Start, connect: Connect, artifact: Artifact) -> HeldChain:
    """A chain whose second container is at a request until a file appears: (it, a router, that request, the file)."""
    instance = start(container("a", artifact("")), container("b", artifact("2"))).ready()
    router = connect(instance)
    until((instance.folder / "work" / "a").exists)
    (instance.folder / "work" / "a" / "go").touch()
    holding = router.send(b"wait")
    until((instance.folder / "work" / "b" / "begun").exists)
    return instance, router, holding, instance.folder / "work" / "b" / "go"


def test_the_time_of_a_request_is_over_at_a_later_container_too(held_chain: HeldChain):
    _, router, holding, go = held_chain
    late, other = router.send(b"late", deadline_ms=200), router.send(b"other")
    end_s = time.monotonic() + 0.3
    until(lambda: time.monotonic() > end_s)
    go.touch()
    found = router.answers(3)
    assert (found[late][0]["kind"], found[late][0]["container"]) == ("busy", "b")
    assert found[late][0]["message"] == "The request's time was over before the model was free."
    assert [found[each][1] for each in (holding, other)] == [b"wait2", b"other2"]


def test_a_chain_holds_so_many_requests(held_chain: HeldChain):
    _, router, holding, go = held_chain
    taken = [router.send(b"%d" % n) for n in range(1, MAX_REQUESTS)]
    refused = router.send(b"one more")
    head, _ = router.answers(1)[refused]
    assert (head["status"], head["message"]) == (503, "The instance holds as many requests as it can.")
    go.touch()
    found = router.answers(MAX_REQUESTS)
    assert [found[stream][1] for stream in (holding, *taken)] == [
        b"wait2", *(b"%d2" % n for n in range(1, MAX_REQUESTS))
    ]  # fmt: skip


def test_a_chain_holds_so_many_bytes_between_its_containers(held_chain: HeldChain):
    """Answers of the first container, which may be larger than any request, wait for the second."""
    instance, router, holding, go = held_chain
    size = 70 * 2**20
    asked = [router.send(b"grow 70") for _ in range(MAX_BYTES // size)]
    # All four at once would be too much for the first container alone.
    until(lambda: memory.bytes_of(instance.process.pid) > len(asked) * size)
    asked.append(router.send(b"grow 70"))
    ((refused, (head, _)),) = router.answers(1).items()
    assert (head["status"], head["kind"], head["container"]) == (503, "model", "b")
    assert head["message"] == f"The instance has no room for the {size} bytes that the container before answered."
    go.touch()
    found = router.answers(len(asked))
    taken = [stream for stream in asked if stream != refused]
    assert [len(found[stream][1]) for stream in (holding, *taken)] == [5, *(size + 1 for _ in taken)]


def test_one_that_cannot_be_loaded_fails_the_instance(start: Start, artifact: Artifact):
    instance = start(container("good", artifact("1")), container("bad", artifact("2"), environment={"FAIL": "no luck"}))
    state = instance.state()
    assert state["state"] == "failed"
    assert state["reason"].startswith("Container bad: ValueError: no luck (inference.py, line ")
    assert instance.process.wait(PATIENCE_S) == EXIT_LOAD_FAILED


def test_the_containers_die_with_the_instance(start: Start, connect: Connect, artifact: Artifact):
    instance = start(container("a", artifact("1")), container("b", artifact("2"))).ready()
    pids = children_of(instance)
    instance.end(signal.SIGKILL)
    until(lambda: not any(is_alive(pid) for pid in pids))


def test_sigterm_finishes_what_is_in_flight(start: Start, connect: Connect, artifact: Artifact):
    instance = start(container("a", artifact("1")), container("b", artifact("2"))).ready()
    router = connect(instance)
    waiting = router.send(b"wait")
    router.ping()
    instance.process.send_signal(signal.SIGTERM)
    until(lambda: not Path(instance.spec.socket).exists())
    late = router.send(b"x")
    assert router.answers(1)[late][0]["ending"] is True
    (instance.folder / "work" / "a" / "go").touch()
    assert router.answers(1)[waiting][1] == b"wait12"
    assert instance.process.wait(PATIENCE_S) == 0


def test_whatever_was_sent_to_one_that_stops_is_answered_or_given_back(
    start: Start, connect: Connect, artifact: Artifact
):
    instance = start(container("a", artifact("1")), container("b", artifact("2"))).ready()
    send_until_it_ends(connect(instance), instance.process)


def test_beyond_the_most_connections_it_says_why_until_one_goes(start: Start, connect: Connect, artifact: Artifact):
    instance = start(container("a", artifact("1"))).ready()
    routers = [connect(instance) for _ in range(MAX_CONNECTIONS)]
    assert what_is_said_to_one_more(instance.spec.socket) == FULL
    routers[0].socket.close()
    assert connect(instance).ask(b"x")[1] == b"x1"


def test_models_are_loaded_when_they_are_asked_for(start: Start, connect: Connect, artifact: Artifact):
    instance = start(many())
    folders = {name: Path(artifact(name)) for name in "xyz"}
    asked: list[str] = []

    def supply(name: str) -> Path | str:
        asked.append(name)
        return folders.get(name) or f"no {name}"

    instance.supply = supply
    router = connect(instance.ready())
    streams = {router.send(b"%d" % n, target_model="xyz"[n % 3]): n for n in range(30)}
    found = {streams[s]: body for s, (_, body) in router.answers(30).items()}
    assert found == {n: b"%d%s" % (n, b"xyz"[n % 3 : n % 3 + 1]) for n in range(30)}
    assert sorted(asked) == ["x", "y", "z"], "each is loaded once, however many ask"
    head, _ = router.ask(b"1", target_model="absent")
    assert (head["kind"], head["status"], head["message"]) == ("target", 400, "no absent")
    until(lambda: sorted(instance.wants.values()) == ["x", "y", "z"])
    about = json.loads(router.ask(b"about", target_model="x")[1])
    assert about["environment"]["SAGEMAKER_MULTI_MODEL"] == "true"
    # One that cannot be loaded leaves the others alone, however it ends.
    for name, code in (("raises", "raise ValueError('no luck')"), ("exits", "import os; os._exit(7)")):
        folders[name] = Path(artifact(name))
        (folders[name] / "code" / "inference.py").write_text(code)
        head, _ = router.ask(b"1", target_model=name)
        assert (head["kind"], head["status"]) == ("model", 500)
        assert head["message"].startswith(f"Model {name} cannot be loaded: ")
    assert json.loads(router.ask(b"about", target_model="x")[1])["pid"] == about["pid"]
    # One that dies is loaded anew by the next request.
    assert router.ask(b"die", target_model="x")[0]["kind"] == "lost"
    assert router.ask(b"1", target_model="x")[1] == b"1x"
    assert asked.count("x") == 2
    assert instance.end() == 0


def test_others_are_served_while_one_does_not_come(start: Start, connect: Connect, artifact: Artifact):
    instance = start(many())
    folder = Path(artifact("x"))
    instance.supply = lambda name: folder if name == "x" else None
    router = connect(instance.ready())
    slow = router.send(b"1", target_model="slow", deadline_ms=3000)
    assert router.ask(b"1", target_model="x")[1] == b"1x"
    head, _ = router.answers(1)[slow]
    assert (head["kind"], head["status"]) == ("loading", 429)
    # It comes at last; nobody asked again.
    shutil.copytree(folder, instance.folder / "models" / next(f for f, n in instance.wants.items() if n == "slow"))
    assert router.ask(b"2", target_model="slow")[1] == b"2x"


def test_the_least_recently_used_goes_when_memory_is_short(start: Start, connect: Connect, artifact: Artifact):
    instance = start(many(environment={"HOLD_MIB": "60"}), memory_bytes=230 * 1024 * 1024)
    folders = {name: Path(artifact(name)) for name in "xyz"}
    instance.supply = folders.get
    router = connect(instance.ready())
    for name in "xyx":
        router.ask(b"1", target_model=name)
    assert router.ask(b"1", target_model="z")[1] == b"1z"
    until(lambda: sorted(instance.wants.values()) == ["x", "z"])
    assert "model y is unloaded" in instance.output
    assert router.ask(b"1", target_model="y")[1] == b"1y"
    until(lambda: sorted(instance.wants.values()) == ["y", "z"])
    assert sorted(os.listdir(instance.folder / "models")) == sorted(instance.wants)
    assert sorted(os.listdir(instance.folder / "work" / "primary")) == sorted(instance.wants)


def test_without_a_cache_a_model_goes_after_each_answer(start: Start, connect: Connect, artifact: Artifact):
    instance = start(many(keeps_models=False))
    folder = Path(artifact("x"))
    instance.supply = lambda name: folder
    router = connect(instance.ready())
    for _ in range(2):
        assert json.loads(router.ask(b"about", target_model="x")[1])["calls"] == 1
        until(lambda: not instance.wants)


def test_a_router_that_goes_takes_its_requests_along(start: Start, connect: Connect, artifact: Artifact):
    instance = start(container("a", artifact("1"))).ready()
    router, leaving = connect(instance), connect(instance)
    folder = instance.folder / "work" / "a"
    waiting = router.send(b"wait")
    until((folder / "begun").exists)
    for _ in range(5):
        leaving.send(b"x")
    cancelled = router.send(b"x")
    router.socket.sendall(frames.frame(Kind.CANCEL, cancelled))
    router.ping()
    leaving.ping()
    # What came before the pings is on its way, and what is cancelled from now on comes after it.
    until((folder / "behind").exists)
    leaving.socket.close()
    (folder / "go").touch()
    assert list(router.answers(1)) == [waiting]
    assert json.loads(router.ask(b"about")[1])["calls"] == 2
