"""The output of tasks that are there no more, kept until it has been read: DATA/output/ID.log and ID.json."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from kedge.compute.base import TaskSpec
from kedge.compute.records import OUTPUT, RECORD, read_task
from kedge.home import Home

_LOG, _RECORD = ".log", ".json"


def keep(home: Home, task_id: str) -> None:
    """Take output and record out of the folder of a task that is about to be removed. May be called again.

    The record goes last: as long as it is in its place the next supervisor ends the task once more.
    """
    folder, kept = home.tasks / task_id, home.outputs / f"{task_id}{_LOG}"
    with contextlib.suppress(FileNotFoundError):
        os.replace(folder / OUTPUT, kept)
    with contextlib.suppress(FileNotFoundError):
        if kept.exists():
            os.replace(folder / RECORD, home.outputs / f"{task_id}{_RECORD}")


def found(home: Home) -> Iterator[str]:
    """Ids of the tasks whose output is kept whole."""
    for each in os.scandir(home.outputs):
        if each.name.endswith(_RECORD):
            yield each.name.removesuffix(_RECORD)


def spec(home: Home, task_id: str) -> TaskSpec | None:
    record = read_task(home.outputs / f"{task_id}{_RECORD}")
    return None if record is None else record.spec


def path(home: Home, task_id: str) -> str:
    return os.path.join(home.outputs, f"{task_id}{_LOG}")


def remove(home: Home, task_id: str) -> None:
    """It was read. The record goes last, so that a removal that is cut off is done again."""
    for suffix in (_LOG, _RECORD):
        (home.outputs / f"{task_id}{suffix}").unlink(missing_ok=True)
