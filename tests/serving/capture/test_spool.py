from __future__ import annotations

import errno
import os
from dataclasses import replace

import pytest

from kedge.serving.capture.spool import Spool, SpoolFull, Target

SECRET = bytes(range(32))
TARGET = Target("1", "r", "e", "v", "b", "p", "", 446_317)
OTHER = replace(TARGET, variant="w")
LINES = [b'{"n":1}\n', b'{"n":2}\n']


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "capture"


@pytest.fixture
def spool(folder):
    return Spool(folder, SECRET, 100_000)


def test_what_was_appended_is_read(spool):
    segment = spool.append(TARGET, LINES, 5.0)
    assert spool.append(TARGET, [b"more\n"], 6.0) is segment
    assert spool.read(segment) == b"".join(LINES) + b"more\n"
    assert (segment.first_at_s, segment.records) == (5.0, 3)
    assert spool.append(OTHER, LINES, 5.0) is not segment


def test_another_hour_is_another_file(spool):
    assert spool.append(TARGET, LINES, 5.0) is not spool.append(replace(TARGET, hour=446_318), LINES, 5.0)


def test_a_closed_segment_is_not_appended_to(spool):
    segment = spool.append(TARGET, LINES, 5.0)
    spool.close(segment)
    assert spool.append(TARGET, LINES, 5.0) is not segment


def test_nothing_of_it_can_be_read_on_the_disk(spool, folder):
    segment = spool.append(TARGET, [b"a very secret line\n"], 5.0)
    data = (folder / segment.id).read_bytes()
    assert b"secret" not in data
    assert b"prefix" not in data
    assert (folder / segment.id).stat().st_mode & 0o777 == 0o600


def test_the_next_process_finds_what_was_left(spool, folder):
    segment = spool.append(TARGET, LINES, 5.0)
    after = Spool(folder, SECRET, 100_000)
    (found,) = after.left()
    assert (found.id, found.target, found.first_at_s) == (segment.id, TARGET, 5.0)
    assert after.bytes == segment.bytes
    assert after.read(found) == b"".join(LINES)
    assert after.append(TARGET, LINES, 6.0).id != segment.id


def test_a_kill_within_an_append_loses_that_append_alone(spool, folder):
    segment = spool.append(TARGET, LINES, 5.0)
    whole = (folder / segment.id).read_bytes()
    spool.append(TARGET, [b"torn\n"], 6.0)
    longer = (folder / segment.id).read_bytes()
    for end in range(len(whole), len(longer)):
        (folder / segment.id).write_bytes(longer[:end])
        after = Spool(folder, SECRET, 100_000)
        (found,) = after.left()
        assert after.read(found) == b"".join(LINES)


@pytest.mark.parametrize("data", [b"", b"\x05", b"\xff\xff\xff\xff" + b"x" * 50, b"\5\0\0\0hello"])
def test_what_cannot_be_read_is_removed(spool, folder, data):
    (folder / "00000000-0000-4000-8000-000000000000").write_bytes(data)
    assert list(spool.left()) == []
    assert list(folder.iterdir()) == []


def test_another_key_opens_nothing(spool, folder):
    spool.append(TARGET, LINES, 5.0)
    assert list(Spool(folder, bytes(32), 100_000).left()) == []


def test_a_variant_gets_a_quarter_and_all_together_the_whole(spool):
    with pytest.raises(SpoolFull, match="of the variant"):
        spool.append(TARGET, [b"x" * 25_001], 5.0)
    for n in range(4):
        spool.append(replace(TARGET, variant=f"v{n}"), [b"x" * 24_000], 5.0)
    with pytest.raises(SpoolFull, match="at most 100000"):
        spool.append(OTHER, [b"x" * 4_000], 5.0)


def test_what_is_removed_makes_room(spool, folder):
    segment = spool.append(TARGET, [b"x" * 24_000], 5.0)
    spool.remove(segment)
    spool.remove(segment)
    assert spool.bytes == 0
    assert list(folder.iterdir()) == []
    spool.append(TARGET, [b"x" * 24_000], 5.0)


def test_a_full_disk_takes_the_append_and_no_more(spool, folder, monkeypatch):
    """Half a block is on the disk then: its number is not used again, so its file is closed."""
    segment = spool.append(TARGET, LINES, 5.0)
    real = os.write

    def full(descriptor, data):
        if len(data) < 10:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data[:10])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space"):
            spool.append(TARGET, [b"lost\n"], 6.0)
    assert spool.append(TARGET, [b"kept\n"], 7.0) is not segment
    assert spool.read(segment) == b"".join(LINES)
    assert len({each.id for each in Spool(folder, SECRET, 100_000).left()}) == 2
