"""Data directories that go with their supervisor."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

from kedge.compute import cgroup
from kedge.compute.records import read_run
from kedge.home import HomeError, run_folder
from kedge.node import lock

PREFIX = "kedge-ephemeral-"
_YOUNG_S = 10.0
"""A folder of this age may not have been locked yet by the supervisor that made it."""


def make() -> Path:
    return Path(tempfile.mkdtemp(prefix=PREFIX))


def check(folder: Path) -> None:
    """Raises HomeError for a folder with anything in it that is not an ephemeral server's, since all of it goes."""
    if not folder.exists() or not any(folder.iterdir()):
        return
    run = read_run(folder / "run.json")
    if run is None or not run.ephemeral:
        raise HomeError(
            f"The folder {folder} is not empty, and --ephemeral removes what is in it at the end; name an empty folder "
            "by --data, or none."
        )


def clear(folder: Path) -> None:
    """Remove all but the lock, which this process holds, and what belongs to the folder elsewhere. Raises OSError."""
    shutil.rmtree(run_folder(folder), ignore_errors=True)
    for each in folder.iterdir():
        if each.is_dir():
            shutil.rmtree(each)
        elif each.name != "lock":
            each.unlink()


def remove(data_dir: Path) -> None:
    """The folder and what belongs to it elsewhere."""
    run = run_folder(data_dir)
    groups = cgroup.find(run.name)
    if groups is not None:
        groups.clear()
    shutil.rmtree(run, ignore_errors=True)
    shutil.rmtree(data_dir, ignore_errors=True)


def remove_stale() -> None:
    """What supervisors left that were killed: their processes died with them, their folders did not."""
    for folder in Path(tempfile.gettempdir()).glob(PREFIX + "*"):
        try:
            found = folder.lstat()
            if found.st_uid != os.getuid() or time.time() - found.st_mtime < _YOUNG_S:
                continue
            held = lock.acquire(folder / "lock")
        except (OSError, lock.Held):
            continue
        remove(folder)
        os.close(held)
