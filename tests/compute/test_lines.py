"""Lines between processes, with descriptors."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from kedge.compute import messages
from kedge.compute.lines import Lines
from kedge.compute.messages import LineError, receive_now, send_now


def pair() -> tuple[Lines, Lines]:
    left, right = socket.socketpair()
    return Lines(left), Lines(right)


async def test_lines_arrive_in_order_and_whole_from_several_writers():
    left, right = pair()
    large = "x" * 300_000
    writes = [asyncio.create_task(left.write({"n": n, "text": large})) for n in range(4)]
    assert [(await right.read() or {})["n"] for _ in range(4)] == [0, 1, 2, 3]
    await asyncio.gather(*writes)
    left.close()
    assert await right.read() is None
    right.close()


async def test_a_descriptor_is_lent():
    left, right = pair()
    read_end, write_end = os.pipe()
    await left.write({"op": "hello"}, [read_end])
    assert await right.read() == {"op": "hello"}
    (lent,) = right.lent
    os.close(read_end)
    os.write(write_end, b"through")
    os.close(write_end)
    assert os.read(lent, 10) == b"through"
    assert not os.get_inheritable(lent)
    assert right.peer_pid() in (os.getpid(), None)
    left.close()
    right.close()
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(lent)


@pytest.mark.parametrize("data", [b"nonsense\n", b"[1]\n"])
async def test_what_is_no_object_is_refused(data):
    left, right = socket.socketpair()
    reader = Lines(right)
    left.sendall(data)
    with pytest.raises(LineError):
        await reader.read()
    left.close()
    reader.close()


async def test_closing_wakes_who_waits():
    left, right = pair()
    reading = asyncio.create_task(right.read())
    await asyncio.sleep(0)
    right.close()
    with pytest.raises(ConnectionResetError):
        await reading
    left.close()


def test_the_same_without_a_loop():
    left, right = socket.socketpair()
    with left, right:
        lent: list[int] = []
        send_now(left, {"a": 1}, [0])
        assert receive_now(right, lent) == {"a": 1}
        os.close(lent.pop())
        left.close()
        assert receive_now(right, lent) is None
    assert messages.MAX_LINE_BYTES > 1 << 20
