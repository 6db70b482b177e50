"""Reports that control has not taken yet, as files: so that they outlive the router that counted them.

A file each, BOOT-SEQUENCE, in a folder of the router's number. Only one thread touches them, and no request waits for
it. What is no report yet is in the router's journal (journal.py), of which the next one to look makes such files. A
loss of power may take some of it, since nothing here is synced.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from kedge.serving import journal
from kedge.serving.journal import Journal
from kedge.serving.meter import MAX_FRAME_BYTES

log = logging.getLogger(__name__)


class Report(NamedTuple):
    boot: str
    sequence: int
    frame: bytes

    @property
    def file(self) -> str:
        return f"{self.boot}-{self.sequence:012d}"

    def is_called(self, boot: object, sequence: object) -> bool:
        return (self.boot, self.sequence) == (boot, sequence)


class Kept:
    def __init__(self, folders: Sequence[Path], memory: Path | None = None) -> None:
        """folders: the one of this router, and those of routers that are no more. memory: where the journal is made;
        None: there is none, and a killed router takes along what it has not told. Raises OSError."""
        self._folders, self._memory = folders, memory
        folders[0].mkdir(mode=0o700, parents=True, exist_ok=True)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reports")
        self._failed = False
        self._journal: Journal | None = None

    def read(self, most: int) -> list[Report]:
        """What former routers left, each one's in its order; of more than `most` the first are given up.

        Before `journal`."""
        for folder in self._folders:
            self._guarded(lambda: rescue(folder))  # noqa: B023 (done at once)
        found = [report for folder in self._folders for path in sorted(folder.glob("*")) if (report := _read(path))]
        for report in found[:-most]:
            self.remove(report)
        return found[-most:]

    def journal(self, boot: str) -> Journal | None:
        """A new one for this router; None where there is to be none, or cannot be."""
        if self._memory is None:
            return None
        try:
            journal.sweep(self._memory, time.time())
            self._journal = Journal(self._folders[0] / f"{boot}{journal.SUFFIX}", self._memory)
            return self._journal
        except OSError as error:
            log.warning("what this router has not told yet will not outlive it: %s", error)
            return None

    def add(self, report: Report) -> None:
        self._thread.submit(self._guarded, lambda: self._write(report))

    def remove(self, report: Report) -> None:
        self._thread.submit(self._guarded, lambda: self._unlink(report))

    def close(self) -> None:
        """When all that was asked for is done. The journal goes, and what it still holds becomes files."""
        if self._journal is not None:
            self._journal.release()
        self._thread.submit(self._guarded, lambda: rescue(self._folders[0]))
        self._thread.shutdown()

    def _write(self, report: Report) -> None:
        _write(self._folders[0], report)
        self._failed = False

    def _unlink(self, report: Report) -> None:
        for folder in self._folders:
            (folder / report.file).unlink(missing_ok=True)

    def _guarded(self, work: Callable[[], None]) -> None:
        """A full disk costs no more than what a killed router would have left."""
        try:
            work()
        except OSError as error:
            if not self._failed:
                log.warning("reports are kept in memory alone: %s", error)
            self._failed = True


def folders_of(reports: Path, number: int, routers: int) -> list[Path]:
    """Where router `number` of so many looks: the first one also after those that there are no more."""
    folders = [reports / str(number)]
    if number == 0:
        with contextlib.suppress(FileNotFoundError):
            folders += sorted(each for each in reports.iterdir() if each.name.isdigit() and int(each.name) >= routers)
    return folders


def rescue(folder: Path) -> None:
    """Make reports of the journals in this folder, whose routers are no more. Raises OSError."""
    for link in sorted(folder.glob(f"*{journal.SUFFIX}")):
        try:
            found = [Report(link.stem, *each) for each in journal.left(link)]
        except BlockingIOError:
            continue  # its router lives
        except ValueError as error:
            log.error("what a killed router has left in %s cannot be read: %s", link, error)
            found = []
        for report in found:
            if not (folder / report.file).exists():
                _write(folder, report)
        journal.drop(link)


def _write(folder: Path, report: Report) -> None:
    path = folder / report.file
    half = path.with_name(f".{path.name}")
    half.write_bytes(report.frame)
    os.replace(half, path)


def _read(path: Path) -> Report | None:
    """None for what is no report: the half that a killed router has written, or what does not belong here."""
    if path.suffix == journal.SUFFIX:
        return None  # it could not be made into reports; the next router tries again
    boot, _, sequence = path.name.partition("-")
    with contextlib.suppress(OSError):
        if not boot.startswith(".") and sequence.isdigit() and path.stat().st_size <= MAX_FRAME_BYTES:
            return Report(boot, int(sequence), path.read_bytes())
        path.unlink()
    return None
