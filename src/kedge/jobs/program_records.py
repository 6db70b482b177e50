"""What is stored of a processing or a training job: a program that runs once, to its end. PURE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from typing import Any

PROCESSING, TRAINING = "processing-job", "training-job"
"""Kinds of resources."""
LABELS = {PROCESSING: "processing_job", TRAINING: "training_job"}
"""The label of a task that says for which job it is."""
STREAM = "stream"
"""The label that says where its output goes."""


class Stage(StrEnum):
    """How far it is; a training job's SecondaryStatus."""

    WAITING = "Pending"
    STARTING = "Starting"
    DOWNLOADING = "Downloading"
    RUNNING = "Training"
    UPLOADING = "Uploading"
    STOPPING = "Stopping"
    COMPLETED = "Completed"
    FAILED = "Failed"
    STOPPED = "Stopped"
    OUT_OF_TIME = "MaxRuntimeExceeded"


SAYS = {
    Stage.WAITING: "Waiting for room on this machine",
    Stage.STARTING: "Preparing the instances for training",
    Stage.DOWNLOADING: "Downloading input data",
    Stage.RUNNING: "Training image download completed. Training in progress.",
    Stage.UPLOADING: "Uploading generated training model",
    Stage.STOPPING: "Stopping the training job",
    Stage.COMPLETED: "Training job completed",
    Stage.FAILED: "Training job failed",
    Stage.STOPPED: "Training job stopped",
    Stage.OUT_OF_TIME: "Training job runtime exceeded MaxRuntimeInSeconds provided",
}
"""StatusMessage of a transition."""


@dataclass(frozen=True)
class Size:
    """What it takes of the machine."""

    instance_type: str
    cores: float
    memory_bytes: int
    gpus: int


@dataclass(frozen=True)
class Outcome:
    """How its program ended."""

    exit_status: int | None = None
    """None where it was ended before it had one."""
    reason: str = ""
    """What else is known: the last lines of its output."""
    timed_out: bool = False
    exit_message: str = ""
    """What it left in output/message."""
    failure: str = ""
    """What it left in output/failure."""


@dataclass(frozen=True)
class ProgramJob:
    name: str
    uid: str
    request: Mapping[str, Any]
    """Members of the Create call that Describe repeats."""
    runs: str
    """What its image stands for: see jobs.images."""
    size: Size
    created_at_s: float
    """Seconds since 1970, as all times here."""
    stages: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    """{"stage", "at_s"}, oldest first."""
    attempt: int = 1
    """A job whose process was lost is begun once more, in a new folder and as a new task."""
    started_at_s: float | None = None
    ended_at_s: float | None = None
    outcome: Outcome | None = None
    failure_reason: str = ""
    metrics: Sequence[Mapping[str, Any]] = ()
    """{"MetricName", "Value", "at_s"}: the last one of each that it wrote."""
    looked_through: Sequence[int] = (-1, -1)
    """How far its log was searched for metrics: (ms since 1970, sequence) of an event."""
    schedule: str = ""
    """ARN of the monitoring schedule whose execution it is."""

    def document(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> ProgramJob:
        """Of this release or an earlier one."""
        names = {each.name for each in fields(cls)}
        given = {name: value for name, value in document.items() if name in names}
        outcome = given.get("outcome")
        return cls(**{**given, "size": Size(**given["size"]), "outcome": Outcome(**outcome) if outcome else None})

    @property
    def stage(self) -> Stage:
        return Stage(self.stages[-1]["stage"]) if self.stages else Stage.STARTING

    @property
    def is_admitted(self) -> bool:
        """It has its share of the machine."""
        return self.stage is not Stage.WAITING

    @property
    def task(self) -> str:
        return f"job-{self.uid}-{self.attempt}"

    @property
    def folder(self) -> str:
        """Below DATA/jobs."""
        return f"{self.uid}-{self.attempt}"

    @property
    def stream(self) -> str:
        """Of its log."""
        return f"{self.name}/algo-1-{int(self.created_at_s)}"

    def at(self, stage: Stage, at_s: float) -> ProgramJob:
        """With one more stage, unless it is there already."""
        if self.stages and self.stage is stage:
            return self
        return replace(self, stages=(*self.stages, {"stage": stage.value, "at_s": at_s}))
