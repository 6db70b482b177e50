"""Data directories that go with their supervisor."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

from kedge.compute import cgroup
from kedge.home import run_folder
from kedge.node import lock

PREFIX = "kedge-ephemeral-"
_YOUNG_S = 10.0
"""A folder of this age may not have been locked yet by the supervisor that made it."""


def make() -> Path:
    return Path(tempfile.mkdtemp(prefix=PREFIX))


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
