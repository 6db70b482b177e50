"""What the C library keeps after large bodies goes back to the system once a router rests."""

from __future__ import annotations

import subprocess
import sys

import pytest

from kedge.serving import giving_back
from kedge.serving.giving_back import Rest

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("seen_mib", "due_at"),
    [
        ([30, 30, 30], []),
        ([30, 400, 400], [2]),
        ([30, 400, 300, 400, 350], []),  # it works
        ([30, 90, 90], []),  # too little
        ([400, 30, 400, 400.5], [3]),
        ([], []),
    ],
)
def test_it_is_due_once_memory_has_grown_and_stands_still(seen_mib: list[float], due_at: list[int]):
    rest = Rest()
    assert [at for at, each in enumerate(seen_mib) if rest.is_due(round(each * MIB))] == due_at


def test_what_is_still_in_use_is_not_asked_for_again():
    rest = Rest()
    assert [rest.is_due(each * MIB) for each in (30, 400, 400)] == [False, False, True]
    rest.asked(300 * MIB)
    assert [rest.is_due(each * MIB) for each in (300, 300, 370, 370)] == [False, False, False, True]


PROGRAM = """
import asyncio, datetime
from kedge.clock import HandClock
from kedge.serving.giving_back import LOOK_S, give_back, resident_bytes

async def main():
    clock = HandClock(datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC))
    task = asyncio.create_task(give_back(clock))
    await asyncio.sleep(0)
    clock.advance(LOOK_S)
    await asyncio.sleep(0.05)
    bytearray(30_000_000)  # from now on the library takes blocks of that size from its own memory
    small, bodies = [], []
    for size in range(5_000_000, 5_000_060):
        bodies.append(b"x" * size)  # the size is no constant, so each is another one
        small.append(bytearray(100_000))  # so that the top of its memory stays in use
    del bodies
    high = resident_bytes()
    for _ in range(2):
        clock.advance(LOOK_S)
        await asyncio.sleep(0.05)
    for _ in range(200):
        if resident_bytes() < high - 200_000_000:
            break
        await asyncio.sleep(0.05)
    print(high, resident_bytes())
    task.cancel()

asyncio.run(main())
"""


@pytest.mark.skipif(giving_back.trimmer() is None, reason="this C library has no malloc_trim")
def test_it_goes_back():
    found = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=True)
    before, after = map(int, found.stdout.split())
    assert before > 250 * MIB
    assert after < 100 * MIB
