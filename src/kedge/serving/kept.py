"""Reports that control has not taken yet, as files: so that they outlive the router that counted them.

A file each, BOOT-SEQUENCE, in a folder of the router's number. Only one thread touches them, and no request waits for
it. A router that is killed loses the second that is going on; a kill of the whole machine may take more, since nothing
here is synced.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

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
    def __init__(self, folders: Sequence[Path]) -> None:
        """folders: the one of this router, and those of routers that are no more. Raises OSError."""
        self._folders = folders
        folders[0].mkdir(mode=0o700, parents=True, exist_ok=True)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reports")
        self._failed = False

    def read(self, most: int) -> list[Report]:
        """What former routers left, each one's in its order; of more than `most` the first are given up."""
        found = [report for folder in self._folders for path in sorted(folder.glob("*")) if (report := _read(path))]
        for report in found[:-most]:
            self.remove(report)
        return found[-most:]

    def add(self, report: Report) -> None:
        self._thread.submit(self._guarded, lambda: self._write(report))

    def remove(self, report: Report) -> None:
        self._thread.submit(self._guarded, lambda: self._unlink(report))

    def close(self) -> None:
        """When all that was asked for is done."""
        self._thread.shutdown()

    def _write(self, report: Report) -> None:
        path = self._folders[0] / report.file
        half = path.with_name(f".{path.name}")
        half.write_bytes(report.frame)
        os.replace(half, path)
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


def _read(path: Path) -> Report | None:
    """None for what is no report: the half that a killed router has written, or what does not belong here."""
    boot, _, sequence = path.name.partition("-")
    with contextlib.suppress(OSError):
        if not boot.startswith(".") and sequence.isdigit() and path.stat().st_size <= MAX_FRAME_BYTES:
            return Report(boot, int(sequence), path.read_bytes())
        path.unlink()
    return None
