"""Bounding an instance's memory and processes by control groups, version 2 or 1, where this user may make some.

Where it is not possible `watchdog` bounds the memory, and `kedge status` says so.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

CONTROLLERS = ("memory", "pids")
SERVER = "kedge-server"
"""Version 2 wants processes in leaves only: where the server moves itself, so that groups can be made beside it."""


@dataclass(frozen=True)
class Groups:
    """Folders of the cgroup file system that belong to this data directory; each task has a group below each."""

    folders: Mapping[str, Path]
    """By controller. With version 2 it is the same one; with version 1 there may be none for pids."""
    version: int

    def make(self, task_id: str, memory_bytes: int, processes: int) -> list[str]:
        """The files into which a process of one thread enters itself to be bounded. 0: no bound of this kind.

        Raises OSError. Entering a whole process waits until every processor has seen it, 10 ms and more; version 1 has
        a file for a single thread, which does not.
        """
        files = []
        for folder in dict.fromkeys(self.folders.values()):
            folder.mkdir(parents=True, exist_ok=True)
            if self.version == 2:
                _hand_down(folder, may_move=False)
            group = folder / task_id
            group.mkdir(exist_ok=True)
            files.append(str(group / ("cgroup.procs" if self.version == 2 else "tasks")))
        if memory_bytes:
            group = self.folders["memory"] / task_id
            (group / ("memory.max" if self.version == 2 else "memory.limit_in_bytes")).write_text(str(memory_bytes))
            # Best effort: kernels that do not count swap have no such file.
            with contextlib.suppress(OSError):
                if self.version == 2:
                    (group / "memory.swap.max").write_text("0")
                else:
                    (group / "memory.memsw.limit_in_bytes").write_text(str(memory_bytes))
        if processes and "pids" in self.folders:
            (self.folders["pids"] / task_id / "pids.max").write_text(str(processes))
        return files

    def killed(self, task_id: str) -> bool:
        """Whether the kernel has ended a process of this group for using too much memory."""
        name = "memory.events" if self.version == 2 else "memory.oom_control"
        try:
            text = (self.folders["memory"] / task_id / name).read_text()
        except OSError:
            return False
        found = re.search(r"^oom_kill (\d+)$", text, re.MULTILINE)
        return found is not None and int(found[1]) > 0

    def processes(self, task_id: str) -> list[int]:
        """All in the task's group."""
        with contextlib.suppress(OSError):
            return [int(pid) for pid in (self.folders["memory"] / task_id / "cgroup.procs").read_text().split()]
        return []

    def memory_bytes(self, task_id: str) -> int | None:
        """What its processes use now, files that the kernel keeps for them left out; None where that is not told."""
        kinds = ("anon", "shmem") if self.version == 2 else ("total_rss", "total_shmem")
        try:
            text = (self.folders["memory"] / task_id / "memory.stat").read_text()
        except OSError:
            return None
        found = dict(line.split() for line in text.splitlines())
        return sum(int(found.get(kind, 0)) for kind in kinds) if kinds[0] in found else None

    def kill(self, task_id: str) -> None:
        """SIGKILL to every process in the task's group."""
        for pid in self.processes(task_id):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    def remove(self, task_id: str) -> None:
        """Only an empty group can go; one that is not is found again at the next start."""
        for folder in self.folders.values():
            with contextlib.suppress(OSError):
                (folder / task_id).rmdir()

    def clear(self) -> None:
        """Remove every empty group, and the folders themselves when none is left."""
        for folder in self.folders.values():
            with contextlib.suppress(OSError):
                for group in folder.iterdir():
                    if group.is_dir():
                        self.remove(group.name)
                folder.rmdir()


def find(
    home_id: str,
    mounts: Path = Path("/proc/mounts"),
    own: Path = Path("/proc/self/cgroup"),
    *,
    may_move: bool = False,
) -> Groups | None:
    """Where groups with a memory limit can be made; None when nowhere. Leaves no group behind.

    may_move: this process may be moved into the group SERVER, where version 2 asks for that.
    """
    try:
        places = _places(mounts.read_text(), own.read_text())
    except OSError:
        return None
    for version, bases in places:
        memory = _usable(version, "memory", bases.get("memory", []), home_id, may_move=may_move)
        if memory is None:
            continue
        if version == 2:
            return Groups(dict.fromkeys(CONTROLLERS, memory), 2)
        pids = _usable(1, "pids", bases.get("pids", []), home_id, may_move=False)
        return Groups({"memory": memory, **({"pids": pids} if pids else {})}, 1)
    return None


def _usable(version: int, controller: str, bases: list[Path], home_id: str, *, may_move: bool) -> Path | None:
    """The folder of this data directory below the first base where a bound can be set."""
    for base in bases:
        folder = base / f"kedge-{home_id}"
        groups = Groups({"memory": folder, controller: folder}, version)
        try:
            if version == 2:
                _hand_down(base, may_move=may_move)
            groups.make("probe", 1 << 40 if controller == "memory" else 0, 1 << 15 if controller == "pids" else 0)
        except OSError:
            continue
        finally:
            groups.remove("probe")
            with contextlib.suppress(OSError):
                folder.rmdir()
        return folder
    return None


def _hand_down(base: Path, *, may_move: bool) -> None:
    """Let groups below a group of version 2 have limits. Raises OSError where that is not for us to say."""
    switch = base / "cgroup.subtree_control"
    missing = [each for each in CONTROLLERS if each not in switch.read_text().split()]
    if not missing:
        return
    wanted = " ".join(f"+{each}" for each in missing)
    try:
        switch.write_text(wanted)
    except OSError:
        if not may_move:
            raise
        leaf = base / SERVER
        leaf.mkdir(exist_ok=True)
        (leaf / "cgroup.procs").write_text("0")
        switch.write_text(wanted)


def _places(mounts: str, own: str) -> list[tuple[int, dict[str, list[Path]]]]:
    """(version, folders by controller) in order of preference: below this process's own group, then below the root.

    PURE. Source: cgroups(7).
    """
    paths = {controllers: path for _, controllers, path in (line.split(":", 2) for line in own.splitlines())}
    second: dict[str, list[Path]] = {}
    first: dict[str, list[Path]] = {}
    for line in mounts.splitlines():
        _, at, kind, options, *_ = line.split(" ")
        if kind == "cgroup2":
            mine = paths.get("", "/").removesuffix(f"/{SERVER}")
            second["memory"] = _bases(at, mine)
        elif kind == "cgroup":
            for controller in CONTROLLERS:
                if controller in options.split(","):
                    mine = next((path for names, path in paths.items() if controller in names.split(",")), "/")
                    first[controller] = _bases(at, mine)
    return [(2, second), (1, first)]


def _bases(at: str, mine: str) -> list[Path]:
    return [Path(at) / path.lstrip("/") for path in dict.fromkeys((mine or "/", "/"))]
