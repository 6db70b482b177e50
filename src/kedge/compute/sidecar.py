"""The process beside a container: makes it, connects it with its instance, and removes it when that has ended.

    python -m kedge.compute.sidecar --order-fd N --socket-fd N

Started by the supervisor, outside of every sandbox, with an order on a file; it runs no code of a model. On its socket
it says {"ready": true} or {"error": TEXT} once, and is told which process the instance is (gate.Watch): with that one
it ends, and the container with it.

The container has a network of its own with nothing but lo. From inside, 127.0.0.1 leads to the server's ports on the
numbers that they have outside. From outside, DOOR.http leads to its port 8080. On DOOR.line the instance may say "stop"
and "kill", and hears {"reason": TEXT, "was_killed": BOOL, "code": NUMBER or null} when the container has ended.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kedge.compute import credentials, linux, namespaces
from kedge.compute.containers import PORT, Engine, environment, last_words
from kedge.compute.gate import Watch
from kedge.compute.messages import LineError, receive_now, send_now
from kedge.compute.relay import Address, Relays, Target

HTTP, LINE = ".http", ".line"
"""Endings of the two sockets; kedge.serving.hosts knows them too."""
_ENGINE_WITHIN_S = 60.0
_INSTANCE_WITHIN_S = 30.0
"""How long an instance may live without its container; then its sidecar ends all the same."""
_LOOK_EVERY_S = 0.1
_LAST_WORDS_S = 2.0
"""How long the engine may take to say how a container has ended."""
_NAME_TAKEN = ("already in use",)
_KILLED = 128 + signal.SIGKILL
_LISTEN_QUEUE = 128


@dataclass(frozen=True)
class Order:
    engine: Mapping[str, Any]
    """The fields of containers.Engine."""
    name: str
    create: Sequence[str]
    environment_file: str
    """Removed once the container is made."""
    door: str
    relays: Mapping[str, Sequence[Any]]
    """From a port of 127.0.0.1 inside to (host, port) outside."""
    memory_gib: str
    """Of its bound, for a message; empty: it has none."""
    image: str = ""
    grant: str = ""
    """For credentials.Source; empty: no credentials are given."""
    token: str = ""
    port_of_credentials: int = 0
    api: Sequence[Any] = ()
    authority: str = ""
    tied: bool = False
    """It ends with the supervisor."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Refused(Exception):
    """The engine does not do it; the message is a sentence."""


class Door:
    """A process in the container's network, which lends its sockets."""

    def __init__(self, pid: int, ports: Sequence[int]) -> None:
        """pid: of the container, as this process sees it. ports: on which it listens inside. Raises OSError."""
        files = [(name, os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)) for name in ("user", "net")]
        if os.path.samestat(os.fstat(files[0][1]), os.stat("/proc/self/ns/user")):
            os.close(files.pop(0)[1])
        self._line, theirs = socket.socketpair()
        child = os.fork()
        if child == 0:
            self._line.close()
            _be_door(theirs, files, ports)
        theirs.close()
        for _, descriptor in files:
            os.close(descriptor)
        self.listeners = [socket.socket(fileno=each) for each in self._ask({})]

    def begin(self) -> socket.socket:
        """A socket that is connecting to the container's server. Raises OSError."""
        return socket.socket(fileno=self._ask({"connect": PORT})[0])

    def _ask(self, message: Mapping[str, Any]) -> list[int]:
        lent: list[int] = []
        send_now(self._line, message)
        answer = receive_now(self._line, lent)
        if answer is None or "error" in answer:
            raise OSError(answer["error"] if answer else "the container's network cannot be entered")
        return lent


def _be_door(line: socket.socket, files: Sequence[tuple[str, int]], ports: Sequence[int]) -> None:
    """Until the sidecar ends; never returns."""
    with contextlib.suppress(OSError, LineError):
        linux.name_process("kedge-door")
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        problem = ""
        listeners = []
        try:
            namespaces.enter(files)
            listeners = [_listener(port) for port in ports]
        except OSError as error:
            problem = str(error)
        while (asked := receive_now(line, [])) is not None:
            if problem:
                send_now(line, {"error": problem})
            elif "connect" in asked:
                with Address("127.0.0.1", int(asked["connect"])).begin() as sock:
                    send_now(line, {}, [sock.fileno()])
            else:
                send_now(line, {}, [each.fileno() for each in listeners])
    os._exit(0)


def _listener(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    sock.listen(_LISTEN_QUEUE)
    return sock


class Container:
    """The container of an order, by the engine's commands."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._engine = Engine(**{**order.engine, "options": tuple(order.engine["options"])})
        self._attached: subprocess.Popen[bytes] | None = None
        self._folder = Path(order.environment_file).parent
        """Podman's process beside the container writes an empty file there when memory ran out."""

    def make(self) -> None:
        """Raises Refused."""
        what = "make a container of it"
        try:
            try:
                self._run(self._order.create, what, within_s=None, folder=self._folder)
            except Refused as error:
                if not any(words in str(error) for words in _NAME_TAKEN):
                    raise
                self.remove()  # what an earlier sidecar left, which was killed
                self._run(self._order.create, what, within_s=None, folder=self._folder)
        finally:
            Path(self._order.environment_file).unlink(missing_ok=True)
        if self._engine.is_podman:
            # Its network is there before its server is.
            self._run(self._engine.words("init", self._order.name), "prepare its container", folder=self._folder)
        else:
            self.start()

    def start(self) -> None:
        """What it writes is written where this process writes. Once."""
        if self._attached is None:
            words = self._engine.words("start", "--attach", "--sig-proxy=false", self._order.name)
            self._attached = subprocess.Popen(
                words, env=environment(os.environ), stdin=subprocess.DEVNULL, cwd=self._folder
            )

    def pid(self) -> int:
        """Of its first process, or of the one that keeps its place. Raises Refused."""
        end = time.monotonic() + _ENGINE_WITHIN_S
        while time.monotonic() < end:
            words = self._engine.words("inspect", "--type", "container", "--format", "{{.State.Pid}}", self._order.name)
            found = self._run(words, "inspect its container").strip()
            if found.isdecimal() and int(found) > 0:
                return int(found)
            if self._attached is not None and self._attached.poll() is not None:
                break
            time.sleep(_LOOK_EVERY_S)
        raise Refused(f"The container of image {self._order.image} ended at once{self._why()}.")

    def _why(self) -> str:
        """What the engine has noted of a start that failed; nothing where the server itself ended."""
        words = self._engine.words("inspect", "--type", "container", "--format", "{{.State.Error}}", self._order.name)
        with contextlib.suppress(Refused):  # it is gone already
            if noted := self._run(words, "inspect its container").strip():
                return f": {last_words(noted)}"
        return ""

    @property
    def attached(self) -> subprocess.Popen[bytes]:
        assert self._attached is not None, "started before anybody looks after it"
        return self._attached

    def signal(self, name: str) -> None:
        with contextlib.suppress(Refused):  # it has just ended
            self._run(self._engine.words("kill", "--signal", name, self._order.name), "signal its container")

    def remove(self) -> None:
        with contextlib.suppress(Refused):  # there is none
            self._run(self._engine.remove(self._order.name), "remove its container")

    def _run(
        self, words: Sequence[str], what: str, within_s: float | None = _ENGINE_WITHIN_S, folder: Path = Path("/")
    ) -> str:
        """What it printed. folder: where it runs. Raises Refused."""
        try:
            done = subprocess.run(
                words,
                env=environment(os.environ),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=within_s,
                check=False,
                cwd=folder,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Refused(f"{self._engine.name} could not {what}: {error}.") from error
        if done.returncode != 0:
            raise Refused(_said(self._engine.name, self._order.image, what, done.stderr))
        return done.stdout


def _said(engine: str, image: str, what: str, text: str) -> str:
    """The engine's last line, and what helps where an image is not there."""
    sentence = f"{engine} could not {what} (image {image}): {last_words(text)}."
    if any(words in text for words in ("image not known", "No such image", "unable to find image")):
        sentence += f" Bring it to this machine first ({engine} pull, load or build), or set KEDGE_PULL_IMAGES=true."
    return sentence


class Sidecar:
    def __init__(self, order: Order, supervisor: socket.socket) -> None:
        self._order = order
        self._supervisor = supervisor
        self._container = Container(order)
        self._selector = selectors.DefaultSelector()
        self._lines: list[socket.socket] = []
        self._ended: bytes = b""
        self._ended_at_s = 0.0
        self._pid = 0
        self._gone_at_s = 0.0
        self._stopped = False
        self._terminated = False

    def run(self) -> None:
        signal.signal(signal.SIGTERM, self._on_sigterm)
        try:
            self._begin()
        except (OSError, Refused) as error:
            self._container.remove()
            send_now(self._supervisor, {"error": str(error)})
            return
        watch = Watch(self._selector, self._supervisor, tied=self._order.tied)
        try:
            send_now(self._supervisor, {"ready": True})
            while not watch.over() and not self._terminated:
                for key, events in self._selector.select(_LOOK_EVERY_S):
                    key.data(events)
                if self._ended_at_s and time.monotonic() > self._ended_at_s + _INSTANCE_WITHIN_S:
                    return
                if not self._ended_at_s:
                    self._look()
        finally:
            self._container.remove()
            for ending in (HTTP, LINE):
                Path(self._order.door + ending).unlink(missing_ok=True)

    def _look(self) -> None:
        """Whether the container has ended; the engine says how, unless its own watcher was killed."""
        code = self._container.attached.poll()
        if code is None and not self._gone_at_s and not Path(f"/proc/{self._pid}").exists():
            self._gone_at_s = time.monotonic()
        if code is not None or (self._gone_at_s and time.monotonic() > self._gone_at_s + _LAST_WORDS_S):
            self._container_ended(code)

    def _on_sigterm(self, *_: object) -> None:
        self._terminated = True

    def _begin(self) -> None:
        """Raises OSError, Refused."""
        order = self._order
        self._container.make()
        inside = [*map(int, order.relays), *([order.port_of_credentials] if order.grant else [])]
        self._pid = self._container.pid()
        door = Door(self._pid, inside)
        listeners = list(door.listeners)
        if order.grant:
            source = credentials.Source(Address(*order.api), order.grant, order.token, order.authority)
            given = (listeners.pop(), source)
            threading.Thread(target=credentials.serve, args=given, name="credentials", daemon=True).start()
        to: dict[socket.socket, Target] = {
            sock: Address(*address) for sock, address in zip(listeners, order.relays.values(), strict=True)
        }
        to[_unix_listener(order.door + HTTP)] = door
        Relays(self._selector, to)
        line = _unix_listener(order.door + LINE)
        self._selector.register(line, selectors.EVENT_READ, lambda _: self._accept(line))
        self._container.start()

    def _accept(self, listener: socket.socket) -> None:
        sock, _ = listener.accept()
        self._lines.append(sock)
        self._selector.register(sock, selectors.EVENT_READ, lambda _: self._hear(sock))
        if self._ended:
            self._tell_end(sock)

    def _hear(self, sock: socket.socket) -> None:
        data = b""
        with contextlib.suppress(OSError):
            data = sock.recv(4096)
        if b"kill" in data:
            self._stopped = True
            self._container.signal("KILL")
        elif b"stop" in data:
            self._stopped = True
            self._container.signal("TERM")
        elif not data:
            self._close(sock)

    def _container_ended(self, code: int | None) -> None:
        was_killed = code == _KILLED and not self._stopped
        how = "ended" if code is None else f"ended with exit status {code}"
        if code is not None and code > 128:
            how = f"was ended by signal {code - 128}"
        if was_killed and self._order.memory_gib:
            how += f", as when it uses more memory than the {self._order.memory_gib} GiB of its instance type"
        reason = {"reason": f"The container {how}.", "was_killed": was_killed, "code": code}
        self._ended, self._ended_at_s = json.dumps(reason).encode() + b"\n", time.monotonic()
        for sock in list(self._lines):
            self._tell_end(sock)

    def _tell_end(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            sock.sendall(self._ended)
        self._close(sock)

    def _close(self, sock: socket.socket) -> None:
        self._lines.remove(sock)
        self._selector.unregister(sock)
        sock.close()


def _unix_listener(path: str) -> socket.socket:
    Path(path).unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    sock.listen(_LISTEN_QUEUE)
    return sock


def main() -> None:
    parser = argparse.ArgumentParser(description="Runs one container; started by the supervisor.")
    parser.add_argument("--order-fd", type=int, required=True)
    parser.add_argument("--socket-fd", type=int, required=True)
    options = parser.parse_args()
    linux.name_process("kedge-sidecar")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    supervisor = socket.socket(fileno=options.socket_fd)
    os.set_inheritable(supervisor.fileno(), False)
    with open(options.order_fd) as file:
        file.seek(0)
        order = Order(**json.load(file))
    Sidecar(order, supervisor).run()


if __name__ == "__main__":
    main()
