"""A small process that makes the sandboxes of instances, one at a time.

    python -m kedge.compute.keeper --folder FOLDER --socket-fd N

It is exec'ed with a clean environment and never held a key. Over its socket (JSON lines) it says {"ready": PID} once,
and then answers each {"sandbox": ORDER} by

    {"gate": PID, "namespaces": [NAME, ...], "environment": {...}, "number": N}

which lends a socket and one descriptor for each namespace, or by {"error": TEXT, "number": N}; N is the question's.
The gate is the first process of the sandbox and waits until it is told, over that socket, which process the instance is
(`gate.live`); when the socket closes before that, it ends and the sandbox with it.

Being small it forks in a fraction of the time that a process takes which has imported scikit-learn, and no gate is a
copy of such a one.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from kedge.compute import credentials, gate, linux, namespaces, relay, sandbox, view
from kedge.compute.messages import receive_now, send_now
from kedge.compute.sandbox import Confinement

URI = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
TOKEN = "AWS_CONTAINER_AUTHORIZATION_TOKEN"  # noqa: S105 (the name of a variable)
_LISTEN_QUEUE = 64


@dataclass(frozen=True)
class Network:
    """How an instance reaches the server. Only what is named here is reached where it has a network of its own."""

    own: bool = False
    """A network namespace with nothing but lo."""
    relays: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """From a port of 127.0.0.1 inside to (host, port) outside."""
    grant: str = ""
    """For credentials.Source; empty: no credentials are given."""
    api: Sequence[Any] = ()
    """(host, port) outside, where control is asked for credentials."""
    authority: str = ""


@dataclass(frozen=True)
class Order:
    """One sandbox."""

    namespaces: Sequence[str] = ()
    """As sandbox.namespace_names gives them."""
    view: Mapping[str, Any] | None = None
    """The fields of view.View; None where there is no mount namespace."""
    base: Mapping[str, Any] = field(default_factory=dict)
    """The fields of view.Base."""
    groups: Sequence[str] = ()
    """Files of control groups into which a process enters itself."""
    network: Mapping[str, Any] = field(default_factory=dict)
    """The fields of Network."""
    confinement: Mapping[str, Any] = field(default_factory=dict)
    """Of the gate: the fields of sandbox.Confinement."""
    tied: bool = False
    """It ends with the supervisor."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes sandboxes; started by the supervisor.")
    parser.add_argument("--socket-fd", type=int, required=True)
    parser.add_argument("--folder", required=True, help="an empty folder, on which file systems are mounted")
    options = parser.parse_args()
    sock = socket.socket(fileno=options.socket_fd)
    os.set_inheritable(sock.fileno(), False)
    bases = _Bases(options.folder)
    linux.name_process("kedge-keeper")
    sandbox.prepare()
    gc.collect()
    gc.freeze()
    gc.disable()
    send_now(sock, {"ready": os.getpid()})
    while True:
        lent: list[int] = []
        message = receive_now(sock, lent)
        if message is None:
            return
        for descriptor in lent:
            os.close(descriptor)
        order, number = Order(**message["sandbox"]), message.get("number")
        try:
            error = _made(order, bases.folder(order) if order.view is not None else "", sock, number)
        except OSError as refused:
            error = str(refused)
        if error is not None:
            send_now(sock, {"error": error, "number": number})


class _Bases:
    """What instances see alike, put together when it is first asked for, in a mount namespace of the keeper's."""

    def __init__(self, folder: str) -> None:
        """folder: an empty one, in which nothing is left."""
        self._folder = folder
        self._known: dict[view.Base, str] = {}

    def folder(self, order: Order) -> str:
        """Where the order's base is. Raises OSError."""
        base = view.Base.of(order.base)
        if base not in self._known:
            if not self._known:
                self._begin(order)
            place = f"{self._folder}/{len(self._known)}"
            os.mkdir(place)
            view.build_base(base, place)
            self._known[base] = place
        return self._known[base]

    def _begin(self, order: Order) -> None:
        uid, gid = os.getuid(), os.getgid()
        first = [name for name in ("user", "mnt") if name in order.namespaces]
        namespaces.unshare(first)
        if "user" in first:
            namespaces.map_own_ids(uid, gid)
        namespaces.keep_mounts_apart()
        namespaces.mount("tmpfs", self._folder, "tmpfs", namespaces.NOSUID | namespaces.NODEV, "mode=0700,size=1m")


def _made(order: Order, base: str, answers: socket.socket, number: int | None) -> str | None:
    """Make it in a process of its own, which answers; why it did not, or was killed after it had."""
    read_end, write_end = os.pipe()
    try:
        maker = os.fork()
    except OSError as error:
        os.close(read_end)
        os.close(write_end)
        return str(error)
    if maker == 0:
        os.close(read_end)
        _make_and_end(order, base, answers, number, write_end)
    os.close(write_end)
    with open(read_end, "rb") as pipe:
        told = pipe.read().decode()
    status = os.waitstatus_to_exitcode(os.waitpid(maker, 0)[1])
    return told or (None if status == 0 else f"the maker of the sandbox ended with {status}")


def _make_and_end(order: Order, base: str, answers: socket.socket, number: int | None, failed: int) -> NoReturn:
    try:
        _make(order, base, answers, number, failed)
    except BaseException as error:  # noqa: BLE001 (the last frame: the supervisor is told)
        os.write(failed, (str(error) or type(error).__name__).encode())
    finally:
        os._exit(0)


def _make(order: Order, base: str, answers: socket.socket, number: int | None, failed: int) -> None:
    """In the maker: make the namespaces, start the gate in them, and hand them over."""
    network = Network(**order.network)
    for file in order.groups:
        Path(file).write_text("0")
    uid, gid = os.getuid(), os.getgid()
    if uid == 0 and order.namespaces:
        with contextlib.suppress(OSError):
            os.setgroups([])
    ours, theirs = socket.socketpair()
    maker_end, gate_end = socket.socketpair()
    first = [name for name in order.namespaces if name != "net"]
    if first:
        namespaces.unshare(first)
    if "user" in first:
        namespaces.map_own_ids(uid, gid)
    # The first process of the sandbox gives this one another root, in which this is not found by its name.
    folder = os.open("/proc/self/ns", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) if order.namespaces else -1
    pid = os.fork()
    if pid == 0:
        for each in (ours, maker_end, answers):
            each.close()
        os.close(failed)
        _be_gate(order, base, theirs, gate_end)
    gate_end.close()
    files = {name: _namespace_file(folder, name) for name in first}
    if "net" in order.namespaces:
        namespaces.unshare(["net"])
        namespaces.loopback_up()
        files["net"] = _namespace_file(folder, "net")
    listeners, environment, handover = _listen(network)
    send_now(maker_end, handover, [each.fileno() for each in listeners])
    built = receive_now(maker_end, [])
    if built is None or "error" in built:
        raise OSError(built["error"] if built else "the first process of the sandbox ended")
    answer = {"gate": pid, "namespaces": list(files), "environment": environment, "number": number}
    send_now(answers, answer, [ours.fileno(), *files.values()])


def _namespace_file(folder: int, name: str) -> int:
    """Of a pid namespace: that of the children, since nobody leaves the one it is in."""
    return os.open("pid_for_children" if name == "pid" else name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)


def _listen(network: Network) -> tuple[list[socket.socket], dict[str, str], dict[str, Any]]:
    """Listening sockets in the instance's network, what its environment says of them, and what its gate is told."""
    sockets, to, environment = [], [], {}
    for port, address in network.relays.items():
        sockets.append(_listener(int(port)))
        to.append(list(address))
    handover: dict[str, Any] = {"relays": to}
    if network.grant:
        sockets.append(_listener(0))
        handover["token"] = environment[TOKEN] = os.urandom(24).hex()
        environment[URI] = f"http://127.0.0.1:{sockets[-1].getsockname()[1]}{credentials.URI_PATH}"
    return sockets, environment, handover


def _listener(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    sock.listen(_LISTEN_QUEUE)
    return sock


def _be_gate(order: Order, base: str, supervisor: socket.socket, maker: socket.socket) -> NoReturn:
    """In the first process of the sandbox: build the view, take the listening sockets, give up every right, wait."""
    try:
        os.setsid()
        linux.name_process("kedge-gate")
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if order.view is not None:
            view.build(view.View.of(order.view), view.Base.of(order.base), base)
        if "uts" in order.namespaces:
            namespaces.set_host_name(view.HOST_NAME)
        lent: list[int] = []
        handover = receive_now(maker, lent)
        if handover is None:
            os._exit(1)
        sandbox.confine(Confinement.of(order.confinement))
        sandbox.hide_memory()
        send_now(maker, {"built": True})
        maker.close()
        sockets = [socket.socket(fileno=descriptor) for descriptor in lent]
        network = Network(**order.network)
        source = None
        if "token" in handover:
            api = relay.Address(*network.api)
            source = sockets.pop(), credentials.Source(api, network.grant, handover["token"], network.authority)
        relays = {sock: relay.Address(*to) for sock, to in zip(sockets, handover["relays"], strict=True)}
        gate.live(supervisor, relays, source, tied=order.tied)
    except BaseException as error:  # noqa: BLE001 (the last frame: the maker is told)
        with contextlib.suppress(OSError):
            send_now(maker, {"error": str(error) or type(error).__name__})
            sys.stderr.write(f"gate: {error!r}\n")
    finally:
        os._exit(0)


if __name__ == "__main__":
    main()
