"""What the supervisor writes down, so that a later one knows whom to adopt, to bring back or to end."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kedge.compute.base import TaskSpec, TaskState, TaskStatus
from kedge.compute.process_id import ProcessId
from kedge.home import Home

RECORD = "record.json"
STATE = "report/state.json"
"""In a folder of its own: the instance may write there, and not beside the record."""
OUTPUT = "output.log"
WORK = "work"
TEMPORARY = "tmp"
"""What the instance sees as /tmp."""
ROOT = "root"
"""An empty folder on which its view of the file system is put together."""
MODELS = "models"
"""Where a multi-model instance finds what it asks for while it runs."""


@dataclass(frozen=True)
class TaskRecord:
    """One task as of its last change. DATA/tasks/ID/record.json."""

    spec: TaskSpec
    spec_hash: str
    socket: str
    state: TaskState = TaskState.STARTING
    process: ProcessId | None = None
    restarts: int = 0
    ever_ready: bool = False
    reason: str = ""
    wants: Mapping[str, str] = field(default_factory=dict)
    serves: str = ""
    batch: Mapping[str, Any] = field(default_factory=dict)
    gpus: tuple[int, ...] = ()
    """Indices of the GPUs that are its own for as long as it is on record."""
    gate: ProcessId | None = None
    """The first process of its sandbox, which ends after it."""
    sidecars: tuple[ProcessId, ...] = ()
    """The processes beside its containers, which remove those and end after it."""
    exit_status: int | None = None
    """As TaskStatus's."""

    def status(self) -> TaskStatus:
        return TaskStatus(
            id=self.spec.id,
            state=self.state,
            spec_hash=self.spec_hash,
            socket=self.socket,
            pid=self.process.pid if self.process else None,
            reason=self.reason,
            restarts=self.restarts,
            labels=self.spec.labels,
            wants=self.wants,
            serves=self.serves,
            batch=self.batch,
            exit_status=self.exit_status,
        )


@dataclass(frozen=True)
class RoleRecord:
    """A process that is no task: control, a router or the fork server."""

    role: str
    task: str
    process: ProcessId
    settings_hash: str
    """Of the settings and the release it was started with; a role with others is replaced when it is adopted."""


@dataclass(frozen=True)
class RunRecord:
    """The running server. DATA/run.json, as programs read it, and what the supervisor needs to know of its past."""

    supervisor: ProcessId
    api_url: str
    inference_url: str
    ephemeral: bool
    auth_required: bool
    ca_bundle: str
    roles: tuple[RoleRecord, ...] = field(default_factory=tuple)

    @property
    def pid(self) -> int:
        return self.supervisor.pid


def write_task(home: Home, record: TaskRecord) -> None:
    """Whole or not at all. Survives every kill; after a power loss no task runs and control asks again, so no fsync."""
    _replace(home.tasks / record.spec.id / RECORD, asdict(record))


def read_tasks(home: Home) -> list[TaskRecord]:
    """Every task on record; a damaged one is left out, and what it ran is claimed by nobody."""
    found = (read_task(folder / RECORD) for folder in sorted(home.tasks.iterdir()))
    return [record for record in found if record is not None]


def read_task(path: Path) -> TaskRecord | None:
    try:
        fields = json.loads(path.read_bytes())
        return TaskRecord(
            **{
                **fields,
                "spec": TaskSpec.of(fields["spec"]),
                "state": TaskState(fields["state"]),
                "process": _process(fields["process"]),
                "gate": _process(fields.get("gate")),
                "gpus": tuple(fields.get("gpus", ())),
                "sidecars": tuple(ProcessId(**each) for each in fields.get("sidecars", ())),
            }
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_run(path: Path, record: RunRecord) -> None:
    _replace(path, {"pid": record.pid, **asdict(record)})


def read_run(path: Path) -> RunRecord | None:
    """None when nothing runs, or ran and was not ended."""
    try:
        fields = json.loads(path.read_bytes())
        del fields["pid"]
        roles = tuple(RoleRecord(**{**each, "process": ProcessId(**each["process"])}) for each in fields["roles"])
        return RunRecord(**{**fields, "supervisor": ProcessId(**fields["supervisor"]), "roles": roles})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _process(fields: Mapping[str, Any] | None) -> ProcessId | None:
    return ProcessId(**fields) if fields else None


def _replace(path: Path, fields: Mapping[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(fields, file, indent=1)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
