"""What an engine is: something that starts, stops and watches tasks on machines. PURE records and the port.

A task is one instance of a variant, or one job. Control decides how many instances there are and which model each one
serves; the engine alone restarts a dead one, under the same id and the same socket path. A job runs once: the engine
says how it has ended, and starts it again never.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Protocol

SERVER, CONTAINER = "server", "container"
"""Runtimes in which a server answers that is not Kedge's: a command, and an image that podman or docker runs."""

MODEL = "model"
"""Name of the folder with the data of one of many models, in the model's own, where an own server is to load it."""


class TaskState(StrEnum):
    STARTING = "starting"  # asked for; the model is not loaded yet
    READY = "ready"  # it listens on its socket and answers
    RESTARTING = "restarting"  # it died after it had been ready; the engine is bringing it back
    FAILED = "failed"  # it could not be started; `reason` says why; the engine tries no more
    STOPPING = "stopping"  # asked to end; SIGTERM is sent
    STOPPED = "stopped"  # gone
    ENDED = "ended"  # a job that has run; `exit_status` says how


@dataclass(frozen=True)
class Container:
    """One of several containers of a task. Each runs in a process of its own, beside the others."""

    name: str
    """Its ContainerHostname, or container-1, container-2, ... by its place."""
    runtime: str
    artifact_sha256: str
    """As TaskSpec's; "" where `many_models`, but for what an own server is made of."""
    environment: Mapping[str, str] = field(default_factory=dict)
    many_models: bool = False
    """It loads models when they are asked for by name (TaskStatus.wants), each from a folder of its own."""
    keeps_models: bool = True
    """Whether such a model stays loaded after it has answered."""


@dataclass(frozen=True)
class Job:
    """What a task runs to its end, instead of serving: a module of Kedge's, a command, or an image."""

    folder: str
    """Its name below DATA/jobs. What lies in it the job sees as /opt/ml, and may change."""
    module: str = ""
    """Has main(environment, opt_ml) -> exit status. Not empty: the words below are not used."""
    entrypoint: tuple[str, ...] = ()
    """First words of the command; where the task is a container, what takes the place of its image's own."""
    arguments: tuple[str, ...] = ()
    work_dir: str = ""
    """Where a command starts, as the job sees it; "" is a folder of its own."""

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Job:
        words = {name: tuple(fields.get(name, ())) for name in ("entrypoint", "arguments")}
        return cls(**{**fields, **words})


@dataclass(frozen=True)
class TaskSpec:
    """What to run. Equal specs have equal hashes, so that starting twice is starting once."""

    id: str
    runtime: str
    """A name of kedge.serving.runtimes, for example "sklearn"; "" where `containers` say what runs."""
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
    drain_s: float = 0.0
    """How long it may take over what it has read when it leaves for good, where that is longer than stop_grace_s."""
    containers: tuple[Container, ...] = ()
    """Not empty: the task is these, and the runtime and the artifact above are empty."""
    direct: bool = False
    """A request goes to the one container that it names; otherwise through all of them in turn."""
    execution_role: str = ""
    """ARN of the role whose temporary credentials it can ask for; "" where it gets none."""
    network_isolation: bool = False
    """It reaches no network at all, the API port neither."""
    explainer: Mapping[str, Any] = field(default_factory=dict)
    """A ClarifyExplainerConfig by which an explainer beside `containers` explains their answers; none: nothing does."""
    job: Job | None = None
    """Not None: it serves nothing. Of `containers` it has one where an image is run, else none."""

    @property
    def artifacts(self) -> frozenset[str]:
        """The hashes of all artifacts that it reads."""
        hashes = {self.artifact_sha256, *(each.artifact_sha256 for each in self.containers)}
        return frozenset(each for each in hashes if each)

    @property
    def many_models(self) -> bool:
        """Whether further models come into its folder while it runs."""
        return any(each.many_models for each in self.containers)

    @property
    def own_servers(self) -> list[tuple[int, Container]]:
        """(place, container) of each in which a command serves."""
        return [(at, each) for at, each in enumerate(self.containers) if each.runtime == SERVER]

    @property
    def images(self) -> list[tuple[int, Container]]:
        """(place, container) of each that is run from its image."""
        return [(at, each) for at, each in enumerate(self.containers) if each.runtime == CONTAINER]

    def digest(self) -> str:
        fields = asdict(self)
        for member in ("job", "explainer"):
            if not fields[member]:
                del fields[member]  # as before there were any: what runs already keeps its hash
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> TaskSpec:
        job, containers = fields.get("job"), fields.get("containers", ())
        return cls(
            **{
                **fields,
                "containers": tuple(Container(**each) for each in containers),
                "job": Job.of(job) if job else None,
            }
        )


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
    wants: Mapping[str, str] = field(default_factory=dict)
    """Models that it asked for and has not let go yet: the name of the folder (below DATA/tasks/ID/models) in which it
    looks for one, CONTAINER-TOKEN with the container's place, to the model's name."""
    serves: str = ""
    """Of a single model: "compiling", "compiled (ENGINE)", or "original: WHY"; "" where nothing was said yet, and
    for what is never compiled."""
    batch: Mapping[str, Any] = field(default_factory=dict)
    """Of an instance of a transform job: how it wants batches to be sent (batch_hints.Hints)."""
    exit_status: int | None = None
    """Of a job that has ended; None where it was lost, and nobody knows."""


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
