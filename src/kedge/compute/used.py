"""What instances use of the machine, as samples. PURE."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

PERIOD_S = 10.0
"""Between two samples."""


@dataclass(frozen=True)
class GpuUsage:
    index: int
    busy_share: float
    """Of the driver's last sample period, for how long it worked."""
    memory_share: float


@dataclass(frozen=True)
class Usage:
    """One instance at one moment."""

    task: str
    labels: Mapping[str, str]
    cpu_s: Mapping[str, float]
    """What each of its processes has had of the processors, by process."""
    memory_bytes: int
    memory_limit_bytes: int
    """0: it has no limit of its own."""
    loaded: int | None
    gpus: tuple[GpuUsage, ...] = ()


@dataclass(frozen=True)
class Used:
    """One instance between two moments."""

    task: str
    labels: Mapping[str, str]
    cores: float
    """How many it kept busy, on average."""
    memory_bytes: int
    memory_limit_bytes: int
    loaded: int | None
    """Models of a multi-model instance that can answer; None for any other."""
    gpus: tuple[GpuUsage, ...] = ()


@dataclass(frozen=True)
class Sample:
    """All instances of this machine."""

    boot: str
    sequence: int
    at_s: float
    """When it was taken, since 1970: it is on the PERIOD_S before that."""
    disk_share: float
    """Of the file system that the data directory is on, how much is in use."""
    instances: tuple[Used, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Sample:
        """Of what as_json has made."""
        instances = (
            Used(**{**each, "gpus": tuple(GpuUsage(**gpu) for gpu in each["gpus"])}) for each in fields["instances"]
        )
        return cls(**{**fields, "instances": tuple(instances)})


def between(before: Usage | None, now: Usage, span_s: float) -> Used:
    """before: None for one that was not there. What a process used that has ended meanwhile is not known."""
    had_s = before.cpu_s if before is not None else {}
    cpu_s = sum(used - had_s.get(process, 0.0) for process, used in now.cpu_s.items())
    return Used(now.task, now.labels, cpu_s / span_s, now.memory_bytes, now.memory_limit_bytes, now.loaded, now.gpus)
