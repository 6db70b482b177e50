"""Sketches on the disk: sealed, read by others meanwhile, cut by a kill, and dropped in time."""

from __future__ import annotations

from pathlib import Path

import pytest

from kedge.minutes import files
from kedge.minutes.files import Files, Found
from kedge.minutes.frames import VariantKey
from tests.minutes.conftest import SECRET, WINE

HOUR = 483_000
FIRST = 60 * HOUR
OTHER = WINE._replace(variant="w")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "minutes"


def read(folder: Path, variant: VariantKey = WINE, first: int = FIRST, last: int = FIRST + 119) -> Found:
    return files.read(folder, SECRET, variant, first, last)


def test_what_was_added_is_read_while_it_goes_on_and_after(folder: Path) -> None:
    keeping = Files(folder, SECRET, 10**6)
    for minute, data in ((FIRST, b"one"), (FIRST + 59, b"two"), (FIRST + 60, b"three"), (FIRST, b"late")):
        keeping.begin(WINE, minute)
        keeping.add(WINE, minute, data)
    keeping.begin(WINE, FIRST + 61)
    keeping.add(OTHER, FIRST, b"w")
    expected = [(FIRST, b"one"), (FIRST, b"late"), (FIRST + 59, b"two"), (FIRST + 60, b"three")]
    assert read(folder) == Found(expected, [])
    assert read(folder, first=FIRST + 1, last=FIRST + 60).sketches == expected[2:]
    keeping.close()
    assert read(folder) == Found(expected, [])
    assert files.variants(folder, SECRET, WINE.account, WINE.region, "WINE") == [WINE, OTHER]
    assert files.variants(folder, SECRET, WINE.account, WINE.region, "beer") == []


def test_nothing_of_it_can_be_read_on_the_disk(folder: Path) -> None:
    keeping = Files(folder, SECRET, 10**6)
    keeping.add(WINE, FIRST, b"a very secret sketch")
    files.seal_baseline(folder, SECRET, "0" * 32, b"a very secret baseline")
    written = [path for path in folder.rglob("*") if path.is_file()]
    assert len(written) == 4
    for path in written:
        assert b"secret" not in path.read_bytes()
        assert b"wine" not in path.read_bytes()
        assert path.stat().st_mode & 0o777 == 0o600
    assert files.read_baseline(folder, SECRET, "0" * 32) == b"a very secret baseline"
    assert files.read_baseline(folder, bytes(32), "0" * 32) is None
    assert files.read_baseline(folder, SECRET, "1" * 32) is None
    keeping.close()


def test_a_killed_process_is_told_by_the_minute_that_it_had_begun(folder: Path) -> None:
    killed = Files(folder, SECRET, 10**6)
    killed.begin(WINE, FIRST)
    killed.add(WINE, FIRST, b"kept")
    killed.begin(WINE, FIRST + 1)
    (path,) = folder.glob("*/*.open")
    with path.open("ab") as file:
        file.write(b"\x40\0\0\0half a block")
    killed.release()
    assert read(folder) == Found([(FIRST, b"kept")], [FIRST + 1]), "also before another is there"
    again = Files(folder, SECRET, 10**6)
    again.begin(WINE, FIRST + 2)
    again.add(WINE, FIRST + 2, b"more")
    again.begin(WINE, FIRST + 3)
    assert read(folder) == Found([(FIRST, b"kept"), (FIRST + 2, b"more")], [FIRST + 1])
    again.close()


def test_old_files_go_and_so_do_the_oldest_of_too_many(folder: Path) -> None:
    keeping = Files(folder, SECRET, 2_500)
    keeping.add(OTHER, FIRST, b"old")
    for hour in (1, 2, 3):
        keeping.add(WINE, FIRST + 60 * hour, b"x" * 1000)
    keeping.tidy(HOUR + 3)
    assert len(list(folder.glob("*/*.open"))) == 2, "those of this hour and the one before"
    assert [minute for minute, _ in read(folder, last=FIRST + 300).sketches] == [FIRST + 120, FIRST + 180]
    assert files.variants(folder, SECRET, WINE.account, WINE.region, "wine") == [WINE]
    keeping.tidy(HOUR + files.KEPT_H + 3)
    assert [minute for minute, _ in read(folder, last=FIRST + 300).sketches] == [FIRST + 180]
    keeping.forget()
    assert read(folder, last=FIRST + 300).sketches == []
    keeping.add(WINE, FIRST, b"new")
    assert read(folder).sketches == [(FIRST, b"new")]
    keeping.close()


def test_a_second_process_waits_for_the_first_ones_end(folder: Path) -> None:
    first = Files(folder, SECRET, 10**6)
    with pytest.raises(BlockingIOError):
        Files(folder, SECRET, 10**6, wait=False)
    first.close()
    Files(folder, SECRET, 10**6, wait=False).close()
