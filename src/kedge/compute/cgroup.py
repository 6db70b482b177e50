"""Bounding an instance's memory by control groups, version 2 or 1, where this user may make some. Best effort.

Where it is not possible an instance has no bound of its own, and `kedge status` says so.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class MemoryGroups:
    """A folder of the cgroup file system that belongs to this data directory; each task has a group below it."""

    folder: Path
    version: int

    def make(self, task_id: str, limit_bytes: int) -> Path | None:
        """The file into which the instance writes "0" to be bounded; None when the kernel refuses."""
        group = self.folder / task_id
        try:
            group.mkdir(parents=True, exist_ok=True)
            (group / ("memory.max" if self.version == 2 else "memory.limit_in_bytes")).write_text(str(limit_bytes))
        except OSError:
            return None
        return group / "cgroup.procs"

    def killed(self, task_id: str) -> bool:
        """Whether the kernel has ended a process of this group for using too much memory."""
        name = "memory.events" if self.version == 2 else "memory.oom_control"
        try:
            text = (self.folder / task_id / name).read_text()
        except OSError:
            return False
        found = re.search(r"^oom_kill (\d+)$", text, re.MULTILINE)
        return found is not None and int(found[1]) > 0

    def remove(self, task_id: str) -> None:
        """Only an empty group can go; one that is not is found again at the next start."""
        with contextlib.suppress(OSError):
            (self.folder / task_id).rmdir()

    def clear(self) -> None:
        """Remove every empty group, and the folder itself when none is left."""
        with contextlib.suppress(OSError):
            for group in self.folder.iterdir():
                if group.is_dir():
                    self.remove(group.name)
            self.folder.rmdir()


def find(
    home_id: str, mounts: Path = Path("/proc/mounts"), own: Path = Path("/proc/self/cgroup")
) -> MemoryGroups | None:
    """Where groups with a memory limit can be made; None when nowhere. Leaves nothing behind."""
    try:
        places = _places(mounts.read_text(), own.read_text())
    except OSError:
        return None
    for base, version in places:
        groups = MemoryGroups(base / f"kedge-{home_id}", version)
        probe = groups.make("probe", 1 << 40)
        groups.remove("probe")
        with contextlib.suppress(OSError):
            groups.folder.rmdir()
        if probe is not None:
            return groups
    return None


def _places(mounts: str, own: str) -> list[tuple[Path, int]]:
    """(folder, version) in order of preference: below this process's own group, then below the root group."""
    paths = {controllers: path for _, controllers, path in (line.split(":", 2) for line in own.splitlines())}
    found = []
    for line in mounts.splitlines():
        _, at, kind, options, *_ = line.split(" ")
        if kind == "cgroup2":
            mine, version = paths.get("", "/"), 2
        elif kind == "cgroup" and "memory" in options.split(","):
            mine, version = next((path for names, path in paths.items() if "memory" in names.split(",")), "/"), 1
        else:
            continue
        for path in dict.fromkeys((mine, "/")):
            found.append((Path(at) / path.lstrip("/"), version))
    return found
