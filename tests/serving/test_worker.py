"""A real worker process, driven over its real socket."""

import contextlib
import json
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.tree import DecisionTreeClassifier

from kedge.serving import frames
from kedge.serving.frames import PART_BYTES, WINDOW_BYTES, Frame, Kind
from kedge.serving.worker import EXIT_DIED, EXIT_LOAD_FAILED, WorkerSpec, environment
from kedge.serving.worker_io import ABANDONED_S, FULL, MAX_CONNECTIONS

PATIENCE_S = 30.0
SCRIPT = """
import os, signal, sys, threading, time
import numpy as np
KEDGE_JOINABLE = True
BATCHES = []
def model_fn(model_dir):
    print("loading", flush=False)
    return os.path.join(os.getcwd())
def input_fn(data, content_type):
    if isinstance(data, str) and data.startswith("sleep"):
        open("busy", "w").close()
        # Until the test lets it go on: a file in the working directory.
        while not os.path.exists(data):
            time.sleep(0.005)
        return np.array([[0.0]])
    if isinstance(data, str) and data.startswith("die"):
        os._exit(9)
    if isinstance(data, str) and data.startswith("fork"):
        child = os.fork()
        if not child:
            time.sleep(60)
        os.kill(child, signal.SIGTERM)
        return np.array([[float(os.waitpid(child, 0)[1])]])
    return np.frombuffer(data, dtype=np.uint8).reshape(1, -1) if isinstance(data, bytes) else np.array([[float(data)]])
def predict_fn(rows, model):
    BATCHES.append(len(rows))
    if rows.shape[1] == 1 and (rows < 0).any():
        raise ValueError("below zero")
    return rows
def output_fn(prediction, accept):
    if accept == "text/batches":
        return repr(BATCHES)
    if prediction.dtype == np.uint8:
        return prediction.tobytes()
    return str(float(prediction[0, 0]))
"""


class Worker:
    """One worker process and what a supervisor knows of it."""

    def __init__(self, folder: Path, **fields: Any) -> None:
        self.folder = folder
        self.spec = WorkerSpec(
            id="i-1",
            runtime=fields.pop("runtime", "sklearn"),
            artifact_dir=str(folder / "artifact"),
            socket=str(folder / "i.sock"),
            state_file=str(folder / "state.json"),
            work_dir=str(folder / "work"),
            labels={"region": "eu-west-1"},
            **fields,
        )
        spec_in, spec_out = os.pipe()
        self.status, status_out = os.pipe()
        command = [sys.executable, "-m", "kedge.serving.worker"]
        command += ["--spec-fd", str(spec_in), "--status-fd", str(status_out)]
        with (folder / "output.log").open("ab") as log:
            self.process = subprocess.Popen(command, pass_fds=(spec_in, status_out), stdout=log, stderr=log)
        os.close(spec_in)
        os.close(status_out)
        os.write(spec_out, self.spec.as_json().encode())
        os.close(spec_out)

    def state(self) -> dict[str, Any]:
        """The next line of the status pipe; {} at its end."""
        line = b""
        while not line.endswith(b"\n"):
            assert select.select([self.status], [], [], PATIENCE_S)[0], "the worker says nothing"
            data = os.read(self.status, 1)
            if not data:
                return {}
            line += data
        return json.loads(line)

    def ready(self) -> "Worker":
        state = self.state()
        assert state == {"state": "ready", "pid": self.process.pid}, self.output
        assert json.loads((self.folder / "state.json").read_text()) == state
        return self

    @property
    def output(self) -> str:
        return (self.folder / "output.log").read_text()

    def hold(self, router: "Router") -> int:
        """Keep the model busy with a request, until `let_go`."""
        stream = router.send(b"sleep")
        until((self.folder / "work" / "busy").exists)
        return stream

    def let_go(self) -> None:
        (self.folder / "work" / "sleep").touch()

    def end(self, sig: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(sig)
        return self.process.wait(PATIENCE_S)


class Router:
    """A blocking client of frames."""

    def __init__(self, path: str, hello: bytes | None = None) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE_S)
        self.socket.connect(path)
        self.decoder = frames.Decoder()
        self.frames: list[Frame] = []
        self.socket.sendall(hello if hello is not None else frames.with_head(Kind.HELLO, 0, {"version": 1}))
        self.hello = self.next().head()[0]
        self.stream = 0

    def next(self) -> Frame:
        while not self.frames:
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionResetError("the worker closed")
            self.frames += self.decoder.feed(data)
        return self.frames.pop(0)

    def send(self, body: bytes, content_type: str = "text/csv", **head: Any) -> int:
        self.stream += 1
        head["content_type"] = content_type
        self.socket.sendall(b"".join(frames.message(Kind.REQUEST, self.stream, head, body)))
        return self.stream

    def answers(self, count: int) -> dict[int, tuple[dict[str, Any], bytes]]:
        """{stream: (head, body)} of the next answers that are whole; credits what it takes."""
        whole: dict[int, tuple[dict[str, Any], bytes]] = {}
        heads: dict[int, dict[str, Any]] = {}
        bodies: dict[int, bytearray] = {}
        while len(whole) < count:
            frame = self.next()
            if frame.kind is Kind.CREDIT:
                continue
            if frame.kind in (Kind.RESPONSE, Kind.ERROR):
                heads[frame.stream], part = frame.head()
                bodies[frame.stream] = bytearray(part)
            else:
                part = frame.payload
                bodies[frame.stream] += part
            if frame.kind is Kind.ERROR or frame.flags & frames.LAST:
                whole[frame.stream] = heads[frame.stream], bytes(bodies[frame.stream])
            elif part:
                self.socket.sendall(frames.credit(frame.stream, len(part)))
        return whole

    def ask(self, body: bytes, content_type: str = "text/csv", **head: Any) -> tuple[dict[str, Any], bytes]:
        stream = self.send(body, content_type, **head)
        return self.answers(1)[stream]

    def ping(self) -> None:
        self.socket.sendall(frames.frame(Kind.PING, 0, b"alive?"))
        while (frame := self.next()).kind is not Kind.PING:
            assert frame.kind is Kind.CREDIT
        assert frame == Frame(Kind.PING, 0, frames.ACK, b"alive?")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    """start(script=..., files=...): a worker over an artifact of these."""
    workers: list[Worker] = []

    def started(script: str | None = SCRIPT, files: dict[str, bytes] | None = None, **fields: Any) -> Worker:
        artifact = tmp_path / "artifact"
        (artifact / "code").mkdir(parents=True, exist_ok=True)
        if script is not None:
            (artifact / "code" / "inference.py").write_text(textwrap.dedent(script))
        for name, content in (files or {}).items():
            (artifact / name).write_bytes(content)
        workers.append(Worker(tmp_path, **fields))
        return workers[-1]

    yield started
    for worker in workers:
        os.close(worker.status)
        if worker.process.poll() is None:
            worker.process.kill()
        worker.process.wait(PATIENCE_S)


@pytest.fixture
def connect() -> Iterator[Callable[..., Router]]:
    with contextlib.ExitStack() as stack:

        def connected(worker: Worker, **options: Any) -> Router:
            router = Router(worker.spec.socket, **options)
            stack.callback(router.socket.close)
            return router

        yield connected


def send_until_it_ends(router: Router, process: subprocess.Popen[bytes]) -> None:
    """Requests without a pause to an instance that is told to stop meanwhile: each that was sent has its answer."""
    sent = 0

    def send() -> None:
        nonlocal sent
        with contextlib.suppress(BrokenPipeError):
            while sent < 1_000_000:
                router.socket.sendall(frames.with_head(Kind.REQUEST, sent + 1, {}, b"1", frames.LAST))
                sent += 1

    sending = threading.Thread(target=send, daemon=True)
    sending.start()
    received = [router.socket.recv(65536)]
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(ConnectionResetError):
        while data := router.socket.recv(65536):
            received.append(data)
    sending.join(PATIENCE_S)
    heads = {frame.stream: frame.head()[0] for frame in router.decoder.feed(b"".join(received))}
    assert heads.keys() == set(range(1, sent + 1))
    assert all(head.get("ending") or head["status"] == 200 for head in heads.values())
    assert process.wait(PATIENCE_S) == 0


def what_is_said_to_one_more(path: str) -> str:
    """By an instance that takes no further connection."""
    with socket.socket(socket.AF_UNIX) as refused:
        refused.settimeout(PATIENCE_S)
        refused.connect(path)
        (refusal,) = frames.Decoder().feed(refused.recv(65536))
        assert refused.recv(1) == b""
    assert (refusal.kind, refusal.stream) == (Kind.ERROR, 0)
    head, _ = refusal.head()
    assert (head["status"], head["kind"]) == (503, "busy")
    return str(head["message"])


Start = Callable[..., Worker]
Connect = Callable[..., Router]


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.005)


def test_a_plain_model_from_start_to_end(start: Start, connect: Connect):
    rows = np.random.default_rng(0).normal(size=(50, 3))
    model = DecisionTreeClassifier().fit(rows, rows[:, 0] > 0)
    worker = start(None, {"model.pkl": pickle.dumps(model)}).ready()
    router = connect(worker)
    assert router.hello["version"] == 1
    assert (router.hello["instance"], router.hello["joinable"]) == ("i-1", True)
    head, body = router.ask(json.dumps(rows.tolist()).encode(), "application/json", custom_attributes="c=1")
    assert head == {"status": 200, "content_type": "application/json", "custom_attributes": "c=1"}
    assert json.loads(body) == model.predict(rows).tolist()
    # Many at once, from two routers: the same answers, in whatever batches they were.
    other = connect(worker)
    bodies = [json.dumps([row]).encode() for row in rows.tolist()]
    streams = [(each, each.send(body, "application/json")) for body in bodies for each in (router, other)]
    found = {each: each.answers(50) for each in (router, other)}
    labels = [json.loads(found[each][stream][1])[0] for each, stream in streams]
    assert labels == np.repeat(model.predict(rows), 2).tolist()
    assert worker.end() == 0
    assert worker.state()["state"] == "stopped"
    assert worker.state() == {}
    assert not Path(worker.spec.socket).exists()


def test_what_arrives_while_the_model_is_busy_is_one_batch(start: Start, connect: Connect):
    worker = start().ready()
    router = connect(worker)
    busy = worker.hold(router)
    streams = {router.send(str(i).encode()): i for i in range(20)}
    bad = [router.send(b"-1"), router.send(b"word")]
    router.ping()
    worker.let_go()
    found = router.answers(23)
    assert found.pop(busy)[1] == b"0.0"
    for stream in bad:
        head, _ = found.pop(stream)
        assert head["status"] == 500
        assert head["message"] in ("ValueError: below zero", "ValueError: could not convert string to float: 'word'")
        assert head["kind"] == "model"
    assert {streams[stream]: float(body) for stream, (_, body) in found.items()} == {i: float(i) for i in range(20)}
    assert "below zero" in worker.output
    # One at first; then twenty-one in one batch, which failed, so each of them alone; then this one.
    assert router.ask(b"1", accept="text/batches")[1] == repr([1, 21, *[1] * 21, 1]).encode()


def test_bad_requests_are_answered_and_bad_routers_are_closed(start: Start, connect: Connect):
    worker = start().ready()
    router = connect(worker)
    head, _ = router.ask(b"\xff", "application/json")
    assert (head["status"], head["kind"]) == (400, "input")
    for garbage in (b"GET / HTTP/1.1\r\n\r\n", frames.with_head(Kind.HELLO, 0, {"version": 9}), b"\0" * 64):
        stranger = connect(worker, hello=garbage)
        with pytest.raises(ConnectionResetError):
            stranger.next()
    assert router.ask(b"5")[1] == b"5.0"


def test_a_cancelled_request_is_not_run(start: Start, connect: Connect):
    worker = start().ready()
    router = connect(worker)
    worker.hold(router)
    cancelled = router.send(b"7")
    router.socket.sendall(frames.frame(Kind.CANCEL, cancelled))
    late = router.send(b"8", deadline_ms=0)
    router.ping()
    worker.let_go()
    found = router.answers(2)
    assert cancelled not in found
    assert found[late][0]["kind"] == "busy"
    assert router.ask(b"1", accept="text/batches")[1] == b"[1, 1]"


def test_a_router_that_goes_takes_its_requests_along(start: Start, connect: Connect):
    worker = start().ready()
    router, leaving = connect(worker), connect(worker)
    worker.hold(router)
    for _ in range(10):
        leaving.send(b"3")
    leaving.ping()
    leaving.socket.close()
    router.ping()
    worker.let_go()
    router.answers(1)
    assert router.ask(b"1", accept="text/batches")[1] == b"[1, 1]"


def test_beyond_the_queue_the_answer_is_busy(start: Start, connect: Connect):
    worker = start().ready()
    router = connect(worker)
    worker.hold(router)
    router.ping()
    # At once: what waits behind a batch for two seconds is handed back, and would be refused for that.
    asked = [
        frames.message(Kind.REQUEST, router.stream + number, {"content_type": "text/csv"}, str(number).encode())
        for number in range(1, 1031)
    ]
    router.socket.sendall(b"".join(part for parts in asked for part in parts))
    router.stream += 1030
    refused = router.answers(1)
    worker.let_go()
    rest = router.answers(1030)
    heads = [head for head, _ in (refused | rest).values()]
    busy = [head for head in heads if head["status"] == 503]
    assert all(head["kind"] == "busy" for head in busy)
    assert len(busy) == 6, "1024 wait besides the one in hand"
    assert sum(head["status"] == 200 for head in heads) == 1031 - len(busy)


def test_beyond_the_most_connections_it_says_why_until_one_goes(start: Start, connect: Connect):
    worker = start().ready()
    routers = [connect(worker) for _ in range(MAX_CONNECTIONS)]
    assert all(what_is_said_to_one_more(worker.spec.socket) == FULL for _ in range(2))
    assert routers[-1].ask(b"1")[1] == b"1.0"
    routers[0].socket.close()
    assert connect(worker).ask(b"2")[1] == b"2.0"
    assert worker.output.count("256 are connected") == 1


def test_large_bodies_mind_the_window_both_ways(start: Start, connect: Connect):
    worker = start().ready()
    router = connect(worker)
    body = np.random.default_rng(1).bytes(20 * 1024 * 1024)
    parts = list(frames.message(Kind.REQUEST, 1, {"content_type": "application/octet-stream"}, body))
    window = WINDOW_BYTES
    for part in parts:
        while window < PART_BYTES:
            frame = router.next()
            assert frame.kind is Kind.CREDIT
            window += frame.credit()
        router.socket.sendall(part)
        window -= PART_BYTES
    # The answer's parts come until the window is used up, and a small request passes them.
    router.stream = 1
    received = 0
    while received < WINDOW_BYTES:
        frame = router.next()
        if frame.kind is not Kind.CREDIT:
            received += len(frame.head()[1] if frame.kind is Kind.RESPONSE else frame.payload)
    assert received == WINDOW_BYTES
    assert router.ask(b"4")[1] == b"4.0"
    router.socket.sendall(frames.credit(1, len(body)))
    rest = bytearray()
    while True:
        frame = router.next()
        rest += frame.payload
        if frame.flags & frames.LAST:
            break
    assert bytes(rest) == body[WINDOW_BYTES:]


def test_who_asks_is_told_when_the_model_begins(start: Start, connect: Connect):
    worker = start().ready()
    router = connect(worker)
    assert router.hello["tells_begun"] is True
    worker.hold(router)
    stream = router.send(b"2", tells="begun")
    router.ping()
    worker.let_go()
    assert [router.next() for _ in range(2)][1][:2] == (Kind.BEGUN, stream)
    assert router.answers(1)[stream][1] == b"2.0"


def test_sigterm_finishes_what_is_in_flight(start: Start, connect: Connect):
    worker = start().ready()
    router = connect(worker)
    first, second = worker.hold(router), router.send(b"2")
    half = router.stream = router.stream + 1
    router.socket.sendall(frames.with_head(Kind.REQUEST, half, {"content_type": "text/csv"}, b"3"))
    router.ping()
    worker.process.send_signal(signal.SIGTERM)
    until(lambda: not Path(worker.spec.socket).exists())
    new = router.send(b"4")
    ending = {"status": 503, "message": "The instance is ending.", "kind": "busy", "ending": True}
    assert router.answers(1)[new][0] == ending
    router.socket.sendall(frames.frame(Kind.CHUNK, half, b"0", frames.LAST))
    router.ping()
    worker.let_go()
    found = router.answers(3)
    assert [found[stream][1] for stream in (first, second, half)] == [b"0.0", b"2.0", b"30.0"]
    assert worker.process.wait(PATIENCE_S) == 0
    assert worker.state()["state"] == "stopped"


def test_whatever_was_sent_to_one_that_stops_is_answered_or_given_back(start: Start, connect: Connect):
    worker = start().ready()
    send_until_it_ends(connect(worker), worker.process)


def test_sigterm_does_not_wait_for_a_model_for_which_nobody_waits(start: Start, connect: Connect):
    """Its client has gone, or its time-out is over; the model may never come back."""
    worker = start().ready()
    router = connect(worker)
    stream = worker.hold(router)
    worker.process.send_signal(signal.SIGTERM)
    until(lambda: not Path(worker.spec.socket).exists())
    assert worker.process.poll() is None
    router.socket.sendall(frames.frame(Kind.CANCEL, stream))
    assert worker.process.wait(ABANDONED_S + PATIENCE_S) == 0
    assert worker.state()["state"] == "stopped"
    assert "nobody waits for" in worker.output


def test_a_successors_socket_is_left_alone(start: Start, connect: Connect):
    first = start().ready()
    second = start().ready()
    assert first.end() == 0
    assert connect(second).ask(b"1")[1] == b"1.0"


def test_a_stale_socket_is_replaced(start: Start, connect: Connect):
    worker = start().ready()
    assert worker.end(signal.SIGKILL) == -signal.SIGKILL
    assert Path(worker.spec.socket).exists()
    assert connect(start().ready()).ask(b"1")[1] == b"1.0"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("raise ValueError('no\\nsense')", "ValueError: no sense (inference.py, line 1, in <module>)"),
        ("import sys; sys.exit(7)", "SystemExit: 7 (inference.py, line 1, in <module>)"),
        ("def transform_fn(a, b, c, d): 0\ninput_fn = transform_fn", "The script has transform_fn and also input_fn"),
    ],
)
def test_a_load_failure_says_why(start: Start, script: str, reason: str):
    worker = start(script)
    state = worker.state()
    assert state["state"] == "failed"
    assert state["reason"].startswith(reason)
    assert worker.process.wait(PATIENCE_S) == EXIT_LOAD_FAILED
    assert json.loads(Path(worker.spec.state_file).read_text()) == state
    assert not Path(worker.spec.socket).exists()


def test_a_socket_that_cannot_be_bound_is_a_failure_too(start: Start, tmp_path: Path):
    (tmp_path / "i.sock").mkdir()
    state = start().state()
    assert (state["state"], state["reason"].partition(":")[0]) == ("failed", "IsADirectoryError")


def test_the_models_code_sees_its_environment_and_no_more(start: Start, connect: Connect, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("KEDGE_ROOT_SECRET_KEY", "secret")
    script = """
    import logging, os
    def model_fn(model_dir):
        logging.getLogger("mine").info("heard from %s", os.path.basename(model_dir))
        return dict(os.environ, cwd=os.getcwd())
    def transform_fn(model, data, content_type, accept):
        print("asked", data)
        return model
    """
    worker = start(script, environment={"MINE": "1", "SAGEMAKER_REGION": "mine"}).ready()
    seen = json.loads(connect(worker).ask(b"x")[1])
    assert "secret" not in seen.values()
    assert seen["cwd"] == seen["HOME"] == worker.spec.work_dir
    assert (seen["MINE"], seen["SAGEMAKER_REGION"], seen["AWS_REGION"]) == ("1", "mine", "eu-west-1")
    assert seen["SM_MODEL_DIR"] == worker.spec.artifact_dir
    assert "mine - heard from artifact" in worker.output
    assert "asked x\n" in worker.output, "lines are written as they are printed"


def test_the_environment_is_built_from_little():
    spec = WorkerSpec("i", "sklearn", "/a", "/s", "/f", "/w", {"OMP_NUM_THREADS": "3", "PATH": "/mine"}, cores=2.5)
    built = environment(spec, {"PATH": "/bin", "LANG": "C.UTF-8", "AWS_PROFILE": "me", "LD_PRELOAD": "x"})
    assert (built["PATH"], built["LANG"], built["OMP_NUM_THREADS"]) == ("/mine", "C.UTF-8", "3")
    assert (built["OPENBLAS_NUM_THREADS"], built["SM_NUM_CPUS"]) == ("1", "2"), "trees and linear models take one"
    assert built["OMP_WAIT_POLICY"] == "PASSIVE"
    assert environment(replace(spec, environment={"OMP_WAIT_POLICY": "ACTIVE"}), {})["OMP_WAIT_POLICY"] == "ACTIVE"
    torch = environment(replace(spec, runtime="torch"), {})
    assert (torch["OPENBLAS_NUM_THREADS"], torch["OMP_NUM_THREADS"]) == ("2", "3")
    assert not {"AWS_PROFILE", "LD_PRELOAD", "AWS_REGION", "SAGEMAKER_PROGRAM"} & built.keys()


def test_a_script_may_fork_and_die(start: Start, connect: Connect):
    worker = start().ready()
    router = connect(worker)
    assert router.ask(b"fork")[1] == b"15.0", "the child died of its SIGTERM"
    assert router.ask(b"6")[1] == b"6.0", "and the instance lives on"
    router.send(b"die")
    with pytest.raises(ConnectionResetError):
        router.next()
    assert worker.process.wait(PATIENCE_S) == 9


def test_a_script_that_sets_its_own_signals_is_stopped_all_the_same(start: Start, connect: Connect):
    script = """
    import signal
    def model_fn(model_dir):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, lambda *_: print("own signal"))
        return 1
    def transform_fn(model, data, content_type, accept):
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.raise_signal(signal.SIGUSR1)
        return data
    """
    worker = start(script).ready()
    assert connect(worker).ask(b"x")[1] == b"x"
    assert "own signal" in worker.output
    assert worker.end() == 0


def test_a_worker_without_its_io_thread_ends_with_a_reason(start: Start, connect: Connect):
    script = """
    import os
    def model_fn(model_dir):
        return 1
    def transform_fn(model, data, content_type, accept):
        import selectors
        selectors.DefaultSelector.select = None  # a defect, made by hand
        return data
    """
    worker = start(script).ready()
    router = connect(worker)
    assert router.ask(b"x")[1] == b"x"
    router.send(b"y")
    assert worker.process.wait(PATIENCE_S) == EXIT_DIED
    state = worker.state()
    assert (state["state"], state["reason"].partition(":")[0]) == ("died", "TypeError")
