"""What a sandbox is made of, piece by piece."""

from __future__ import annotations

import errno
import json
import os
import selectors
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.compute import credentials, gpus, grants, landlock, namespaces, sandbox, seccomp, view, watchdog
from kedge.compute.credentials import Source
from kedge.compute.grants import Grant
from kedge.compute.process_id import Stat
from kedge.compute.relay import Address, Relays

ALLOW = 0x7FFF_0000
REFUSE = 0x0005_0000 | errno.EPERM
UNKNOWN = 0x0005_0000 | errno.ENOSYS
ARCHES = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}


def run(program: list[seccomp.Instruction], number: int, arch: int, *arguments: int) -> int:
    """What the kernel would do with this call: an interpreter of the instructions that are used."""
    data = struct.pack("<iIQ6Q", number, arch, 0, *(*arguments, *[0] * (6 - len(arguments))))
    at, register = 0, 0
    while True:
        code, yes, no, operand = program[at]
        at += 1
        if code == 0x20:
            (register,) = struct.unpack_from("<I", data, operand)
        elif code == 0x54:
            register &= operand
        elif code == 0x06:
            return operand
        else:
            met = {0x15: register == operand, 0x35: register >= operand, 0x45: bool(register & operand)}[code]
            at += yes if met else no


@pytest.mark.parametrize("machine", ARCHES)
def test_the_filter_refuses_what_it_lists_and_nothing_else(machine: str):
    program, arch = seccomp.program(machine), ARCHES[machine]
    column = list(ARCHES).index(machine)
    refused = {columns[column] for columns in seccomp.REFUSED.values()}
    own = seccomp._CALLS[machine]
    special = {own[name] for name in ("clone", "clone3", "socket", "socketpair")}
    for number in range(500):
        if number not in special:
            assert run(program, number, arch) == (REFUSE if number in refused else ALLOW), number
    assert run(program, own["clone3"], arch) == UNKNOWN
    assert run(program, 0, 0x4000_0003) == REFUSE  # a 32-bit program
    threads = 0x3D0F00
    assert run(program, own["clone"], arch, threads) == ALLOW
    assert run(program, own["clone"], arch, 17) == ALLOW  # fork
    for flag in namespaces.FLAGS.values():
        assert run(program, own["clone"], arch, threads | flag) == REFUSE
    if machine == "x86_64":
        assert run(program, 0x4000_0000, arch) == UNKNOWN


@pytest.mark.parametrize("machine", ARCHES)
def test_families_of_sockets(machine: str):
    arch, own = ARCHES[machine], seccomp._CALLS[machine]
    everything = seccomp.program(machine)
    streams = seccomp.program(machine, seccomp.INTERNET, streams_only=True)
    for family in range(50):
        assert run(everything, own["socket"], arch, family) == (ALLOW if family in seccomp.FAMILIES else REFUSE)
        assert run(everything, own["socketpair"], arch, family) == (ALLOW if family == socket.AF_UNIX else REFUSE)
    flags = socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    assert run(streams, own["socket"], arch, socket.AF_INET, socket.SOCK_STREAM | flags) == ALLOW
    assert run(streams, own["socket"], arch, socket.AF_INET, socket.SOCK_DGRAM | flags) == REFUSE
    assert run(streams, own["socket"], arch, socket.AF_UNIX, socket.SOCK_STREAM) == REFUSE
    assert run(streams, own["socketpair"], arch, socket.AF_UNIX, socket.SOCK_STREAM) == ALLOW


def test_landlock_leaves_out_what_a_kernel_does_not_know():
    assert landlock.handled(1) == 0x1FFF
    assert landlock.handled(2) == 0x3FFF
    assert landlock.handled(3) == landlock.handled(4) == 0x7FFF
    assert landlock.handled(5) == landlock.handled(9) == 0xFFFF


@given(st.lists(st.lists(st.sampled_from("ab"), min_size=1, max_size=4), max_size=12))
def test_outermost_paths_cover_all_and_overlap_nowhere(parts: list[list[str]]):
    paths = ["/" + "/".join(each) for each in parts]
    kept = view.outermost(paths)
    assert all(any(path == each or path.startswith(each + "/") for each in kept) for path in paths)
    assert not [1 for a in kept for b in kept if a != b and a.startswith(b + "/")]


def test_mounts_are_read_with_their_escapes():
    places = ("/", "/a", "/a/b\\040\\134c", "/ab")
    info = "".join(f"1 0 8:1 / {place} rw - ext4 x rw\n" for place in places)
    assert namespaces.mounts_below(info, "/a") == ["/a", "/a/b \\c"]
    assert len(namespaces.mounts_below(info, "/")) == 4


def test_the_layers_found_are_the_ones_described():
    assert sandbox.probe() <= set(sandbox.LAYERS)
    assert sandbox.namespace_names(dict.fromkeys(sandbox.LAYERS, True))[0] == "user"
    assert sandbox.namespace_names({}) == []


def test_members_are_descendants_and_sessions():
    def stat(parent: int, session: int) -> Stat:
        return Stat("S", parent, session, "1")

    everybody = {
        1: stat(0, 1),
        5: stat(1, 5),
        6: stat(5, 5),
        7: stat(1, 5),
        8: stat(6, 8),
        9: stat(1, 9),
        10: stat(1, 1),
    }
    assert watchdog.members([5, 9], everybody) == {5, 6, 7, 8, 9}
    assert watchdog.members([77], everybody) == set()


def test_memory_is_counted():
    block = bytearray(os.urandom(8 << 20))
    assert watchdog.over([os.getpid()], len(block))
    assert not watchdog.over([os.getpid()], 1 << 40)
    assert watchdog.over([], 0) is False


def test_gpus_are_found_and_given_once(tmp_path: Path):
    driver, devices = tmp_path / "gpus", tmp_path / "dev"
    devices.mkdir()
    assert gpus.found(driver, devices) == []
    for name in ("nvidia0", "nvidia1", "nvidiactl", "null"):
        (devices / name).touch()
    assert [gpu.minor for gpu in gpus.found(driver, devices)] == [0, 1]
    for minor, bus in ((1, "a"), (0, "b")):
        (driver / bus).mkdir(parents=True)
        (driver / bus / "information").write_text(f"Model: X\nGPU UUID: \t GPU-{bus}{bus}\nDevice Minor: \t {minor}\n")
    known = gpus.found(driver, devices)
    assert [(gpu.index, gpu.uuid, gpu.minor) for gpu in known] == [(0, "GPU-bb", 0), (1, "GPU-aa", 1)]
    assert gpus.visible([1], known)["CUDA_VISIBLE_DEVICES"] == "GPU-aa"
    assert gpus.visible([0, 3], [])["CUDA_VISIBLE_DEVICES"] == "0,3"
    assert gpus.visible([], known) == {
        "CUDA_VISIBLE_DEVICES": "", "NVIDIA_VISIBLE_DEVICES": "void", "SM_NUM_GPUS": "0",
    }  # fmt: skip
    assert gpus.devices([1], known, devices) == [str(devices / "nvidia1"), str(devices / "nvidiactl")]
    assert gpus.devices([], known, devices) == []
    assert gpus.chosen(2, 4, {0, 2}) == (1, 3)
    assert gpus.chosen(0, 0, ()) == ()
    assert gpus.chosen(3, 4, {0, 2}) is None


def test_a_grant_opens_with_its_key_only():
    made = grants.grant(b"k" * 32, Grant("i-1", "arn:role"))
    assert grants.granted(b"k" * 32, made) == Grant("i-1", "arn:role")
    assert grants.granted(b"l" * 32, made) is None
    assert grants.granted(b"k" * 32, made[:-4] + "AAAA") is None
    for text in ("", "x", "é", "A" * 200):
        assert grants.granted(b"k" * 32, text) is None


class Control:
    """Answers each connection with the next of `answers`; none left: it is away."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self.asked: list[bytes] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = Address("127.0.0.1", self.listener.getsockname()[1])
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def say(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.answers.append(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(data), data))

    def _run(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            with sock:
                self.asked.append(sock.recv(65536))
                if self.answers:
                    sock.sendall(self.answers.pop(0))

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(5)


@pytest.fixture
def control() -> Iterator[Control]:
    with closing(Control()) as made:
        yield made


NOW = datetime(2026, 1, 1, tzinfo=UTC)


def lasting(name: str, **time_left: float) -> dict[str, str]:
    return credentials.as_sdk_reads(name, "secret", "token", NOW + timedelta(**time_left))


def test_credentials_are_kept_while_they_last(control: Control):
    keeper = credentials.Keeper(Source(control.address, "grant", "token"))
    now_s = NOW.timestamp()
    assert keeper.credentials(now_s)[0] == 503  # control is away from the start
    control.say(403, {"message": "no such role"})
    assert keeper.credentials(now_s) == (403, {"message": "no such role"})
    control.say(200, lasting("first", hours=1))
    assert keeper.credentials(now_s)[1]["AccessKeyId"] == "first"
    asked = len(control.asked)
    assert b"Authorization: Bearer grant\r\n" in control.asked[-1]
    assert keeper.credentials(now_s + 1800)[1]["AccessKeyId"] == "first"
    assert len(control.asked) == asked
    # Too little is left of them, but nobody answers.
    assert keeper.credentials(now_s + 3000)[1]["AccessKeyId"] == "first"
    assert len(control.asked) == asked + 1
    control.say(200, lasting("second", hours=2))
    assert keeper.credentials(now_s + 3000)[1]["AccessKeyId"] == "second"
    assert keeper.credentials(now_s + 7300)[0] == 503


def test_credentials_are_for_who_knows_the_token(control: Control):
    def ask(head: str) -> bytes:
        with socket.create_connection(listener.getsockname(), 5) as sock:
            sock.sendall(head.encode())
            return sock.recv(65536)

    listener = socket.create_server(("127.0.0.1", 0))
    source = Source(control.address, "grant", "the-token")
    threading.Thread(target=credentials.serve, args=(listener, source), daemon=True).start()
    control.say(200, lasting("key", days=9999))
    found = ask("GET /credentials HTTP/1.1\r\nauthorization: the-token\r\n\r\n")
    assert found.startswith(b"HTTP/1.1 200 ")
    assert json.loads(found.partition(b"\r\n\r\n")[2])["AccessKeyId"] == "key"
    for head in ("GET /credentials HTTP/1.1\r\n\r\n", "GET /credentials HTTP/1.1\r\nAuthorization: x\r\n\r\n"):
        assert ask(head).startswith(b"HTTP/1.1 403 ")
    assert ask("GET / HTTP/1.1\r\nAuthorization: the-token\r\n\r\n").startswith(b"HTTP/1.1 404 ")
    assert ask("nonsense\r\n\r\n").startswith(b"HTTP/1.1 404 ")


class Relaying:
    """A relay that runs in a thread until the end of the test."""

    def __init__(self, to: Address) -> None:
        self.inside = socket.create_server(("127.0.0.1", 0))
        self._end, self._ending = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._over = False
        self._selector.register(self._end, selectors.EVENT_READ, self._finish)
        Relays(self._selector, {self.inside: to})
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _finish(self, _: int) -> None:
        self._over = True

    def _run(self) -> None:
        while not self._over:
            for key, events in self._selector.select():
                key.data(events)

    def connect(self) -> socket.socket:
        return socket.create_connection(self.inside.getsockname(), 10)

    def open_connections(self) -> int:
        return len(self._selector.get_map()) - 2

    def close(self) -> None:
        self._ending.send(b"x")
        self._thread.join(10)
        for each in (self.inside, self._end, self._ending):
            each.close()


def test_a_relay_passes_everything_both_ways_and_half_closes():
    with socket.create_server(("127.0.0.1", 0)) as outside:
        address = Address(*outside.getsockname())
        with closing(Relaying(address)) as relaying:
            data = os.urandom(3 << 20)
            for _ in range(3):
                with relaying.connect() as client:
                    server, _address = outside.accept()
                    with server:
                        sender = threading.Thread(target=lambda c=client: (c.sendall(data), c.shutdown(socket.SHUT_WR)))
                        sender.start()
                        received = b"".join(iter(lambda s=server: s.recv(1 << 20), b""))
                        sender.join()
                        assert received == data
                        server.sendall(b"answer")
                        server.shutdown(socket.SHUT_WR)
                        assert client.recv(100) == b"answer"
                        assert client.recv(100) == b""
            end = time.monotonic() + 5
            while relaying.open_connections() and time.monotonic() < end:
                time.sleep(0.01)
            assert relaying.open_connections() == 0


def test_a_relay_whose_other_end_is_gone_closes():
    with socket.create_server(("127.0.0.1", 0)) as outside:
        address = Address(*outside.getsockname())
    with closing(Relaying(address)) as relaying, relaying.connect() as client:
        try:
            assert client.recv(100) == b""
        except ConnectionResetError:
            return
