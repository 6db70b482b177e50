"""What this machine has, and how much of it instances may claim."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from kedge.compute import gpus, instance_types
from kedge.compute.base import Capacity
from kedge.compute.instance_types import InstanceType
from kedge.config import SettingError, Settings

_MEMORY_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def of_machine(settings: Settings) -> Capacity:
    """The machine, or the container that this process is in, times the overcommit settings."""
    return Capacity(
        cores=_cores() * settings.cpu_overcommit,
        memory_bytes=int(_memory_bytes() * settings.memory_overcommit),
        gpus=gpus.count(settings.gpus),
    )


def known_types(settings: Settings) -> Mapping[str, InstanceType]:
    """The built-in table with the entries of the setting `instance_types`. Raises SettingError."""
    if not settings.instance_types:
        return instance_types.BUILT_IN
    try:
        more = instance_types.parse(Path(settings.instance_types).expanduser().read_text())
    except (OSError, ValueError) as error:
        raise SettingError(f'instance_types is "{settings.instance_types}", which cannot be used: {error}') from error
    return {**instance_types.BUILT_IN, **more}


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_bytes() -> int:
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in _MEMORY_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
            found.append(int(Path(path).read_text()))
    return min(found)
