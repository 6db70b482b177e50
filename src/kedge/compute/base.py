"""What an engine is: something that starts, stops and watches tasks on machines. PURE records and the port.

A task is one instance of a variant (later also a job). Control decides how many there are and which model each one
serves; the engine alone restarts a dead one, under the same id and the same socket path.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Protocol


class TaskState(StrEnum):
    STARTING = "starting"  # asked for; the model is not loaded yet
    READY = "ready"  # it listens on its socket and answers
    RESTARTING = "restarting"  # it died after it had been ready; the engine is bringing it back
    FAILED = "failed"  # it could not be started; `reason` says why; the engine tries no more
    STOPPING = "stopping"  # asked to end; SIGTERM is sent
    STOPPED = "stopped"  # gone


@dataclass(frozen=True)
class TaskSpec:
    """What to run. Equal specs have equal hashes, so that starting twice is starting once."""

    id: str
    runtime: str
    """A name of kedge.serving.runtimes, for example "sklearn"."""
    artifact_uri: str
    artifact_sha256: str
    """The hash under which models/artifact.py has put the unpacked artifact into the node's cache."""
    environment: Mapping[str, str] = field(default_factory=dict)
    cores: float = 1.0
    memory_bytes: int = 0
    """0 means no limit of its own."""
    gpus: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    """account, region, endpoint (its name), variant, fleet."""
    start_timeout_s: float = 240.0
    stop_grace_s: float = 30.0

    def digest(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> TaskSpec:
        return cls(**fields)


@dataclass(frozen=True)
class TaskStatus:
    id: str
    state: TaskState
    spec_hash: str
    socket: str
    """Unix socket path at which a ready instance speaks kedge.serving.frames."""
    pid: int | None = None
    reason: str = ""
    """Why it failed or last died: one sentence, then the last lines of its output."""
    restarts: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Capacity:
    """What a machine has, already multiplied by the overcommit settings."""

    cores: float
    memory_bytes: int
    gpus: int


class Engine(Protocol):
    """Every call may be repeated: starting a started task or stopping a stopped one changes nothing."""

    async def start(self, spec: TaskSpec) -> None:
        """Ask for the task. Returns once the engine has recorded it, not once it is ready."""

    async def stop(self, task_id: str, *, at_once: bool = False) -> None:
        """SIGTERM, then SIGKILL after the spec's grace; `at_once` sends SIGKILL. Returns once it is recorded."""

    async def observe(self) -> Sequence[TaskStatus]:
        """Every task that the engine knows, the ended ones excepted."""

    def changes(self) -> AsyncIterator[TaskStatus]:
        """Each task's status whenever it changes, from now on."""

    async def log_tail(self, task_id: str, lines: int = 20) -> str:
        """The last lines that the task wrote, oldest first."""

    def capacity(self) -> Capacity: ...
