"""From a task's spec to a running instance: forked where that is possible, a fresh process elsewhere."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kedge.compute import output
from kedge.compute.base import TaskSpec
from kedge.compute.cgroup import MemoryGroups
from kedge.compute.children import Children
from kedge.compute.fork_client import CannotFork, ForkFailed, ForkServer
from kedge.compute.instance import Request
from kedge.compute.process_id import ProcessId
from kedge.compute.records import OUTPUT, STATE, WORK
from kedge.home import Home

HOME_MARK = "KEDGE_HOME_ID"
"""Every process of a data directory carries this variable; what carries it and stands in no record is ended."""
TASK_MARK = "KEDGE_TASK_ID"
_FORK_TRIES = 3
_KEPT_VARIABLES = ("PATH", "LANG", "LANGUAGE", "TZ", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
_KEPT_PREFIXES = ("LC_", "PYTHON")
_ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "BLIS", "NUMEXPR", "VECLIB_MAXIMUM")}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Launched:
    process: ProcessId | None
    """None when it ended at once."""
    exit_status: int | None
    """Of one that ended at once, where the kernel told."""
    reports: int
    """Descriptor of the status pipe, to be closed by the caller."""


class LaunchFailed(Exception):
    """The machine could not start a process; the message says why."""


def home_id(home: Home) -> str:
    return home.run.name


def clean_environment(source: Mapping[str, str], home: Home) -> dict[str, str]:
    """What a process without any key needs from the operator's environment: where programs and modules are."""
    kept = {name: value for name, value in source.items() if name in _KEPT_VARIABLES or name.startswith(_KEPT_PREFIXES)}
    return {**kept, **_ONE_THREAD, HOME_MARK: home_id(home)}


def instance_environment(source: Mapping[str, str], home: Home, task_id: str) -> dict[str, str]:
    """What an instance sees before the worker adds the model's own variables and the standard ones."""
    return {**clean_environment(source, home), **_own_environment(home, task_id)}


def worker_fields(home: Home, spec: TaskSpec) -> dict[str, Any]:
    """The fields of kedge.serving.worker.WorkerSpec. The model's own variables win, except over the marks."""
    folder = home.tasks / spec.id
    own = _own_environment(home, spec.id)
    marks = {name: own[name] for name in (HOME_MARK, TASK_MARK)}
    return {
        "id": spec.id,
        "runtime": spec.runtime,
        "artifact_dir": str(home.artifacts / spec.artifact_sha256),
        "environment": {**own, **spec.environment, **marks},
        "socket": str(home.instance_socket(spec.id)),
        "cores": spec.cores,
        "work_dir": str(folder / WORK),
        "state_file": str(folder / STATE),
        "labels": dict(spec.labels),
    }


def _own_environment(home: Home, task_id: str) -> dict[str, str]:
    work = str(home.tasks / task_id / WORK)
    return {"HOME": work, "TMPDIR": work, HOME_MARK: home_id(home), TASK_MARK: task_id}


class Launcher:
    """One for each supervisor. module: what an instance runs; fork_server: None where forking is not possible."""

    def __init__(
        self,
        home: Home,
        children: Children,
        module: str,
        fork_server: ForkServer | None,
        groups: MemoryGroups | None,
        *,
        tied: bool,
    ) -> None:
        self._home = home
        self._children = children
        self._module = module
        self._fork_server = fork_server
        self._groups = groups
        self._tied = tied

    async def launch(self, spec: TaskSpec) -> Launched:
        """Raises LaunchFailed. Cancelling it leaves a process that no record claims; the caller has those ended."""
        folder = self._home.tasks / spec.id
        try:
            (folder / WORK).mkdir(mode=0o700, parents=True, exist_ok=True)
            (folder / STATE).unlink(missing_ok=True)
            self._home.instance_socket(spec.id).unlink(missing_ok=True)
            read_end, write_end = os.pipe()
        except OSError as error:
            raise LaunchFailed(str(error)) from error
        try:
            log_file = output.open_for_append(folder / OUTPUT)
            try:
                pid = await self._start(self._request(spec), write_end, log_file)
            finally:
                os.close(log_file)
        except (OSError, ForkFailed) as error:
            os.close(read_end)
            raise LaunchFailed(str(error)) from error
        except BaseException:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        os.set_blocking(read_end, False)
        process = self._children.claim(pid)
        return Launched(process, None if process else self._children.exit_status(pid), read_end)

    def out_of_memory(self, task_id: str) -> bool:
        return self._groups is not None and self._groups.killed(task_id)

    def clean(self, task_id: str) -> None:
        """What lies outside the task's folder."""
        if self._groups is not None:
            self._groups.remove(task_id)
        with contextlib.suppress(OSError):
            self._home.instance_socket(task_id).unlink(missing_ok=True)

    def _request(self, spec: TaskSpec) -> Request:
        group: Path | None = None
        if self._groups is not None and spec.memory_bytes:
            self._groups.remove(spec.id)  # a new group: its count of ends for lack of memory begins at none
            group = self._groups.make(spec.id, spec.memory_bytes)
        return Request(
            module=self._module,
            worker=worker_fields(self._home, spec),
            environment=instance_environment(os.environ, self._home, spec.id),
            work_dir=str(self._home.tasks / spec.id / WORK),
            cgroup_file=str(group or ""),
            supervisor=os.getpid() if self._tied else 0,
        )

    async def _start(self, request: Request, status: int, log_file: int) -> int:
        for attempt in range(_FORK_TRIES):
            if self._fork_server is None:
                break
            try:
                return await self._fork_server.fork(request, status, log_file)
            except CannotFork:
                self._fork_server = None
            except ForkFailed as error:
                if attempt == _FORK_TRIES - 1:
                    raise
                log.warning("fork of %s failed, trying again: %s", request.worker["id"], error)
        return self._fresh(request, status, log_file)

    def _fresh(self, request: Request, status: int, log_file: int) -> int:
        with tempfile.TemporaryFile("w+") as file:
            json.dump(request.as_dict(), file)
            file.flush()
            file.seek(0)
            command = [
                *(sys.executable, "-P", "-m", "kedge.compute.instance"),
                *("--request-fd", str(file.fileno()), "--status-fd", str(status)),
            ]
            descriptors = [file.fileno(), status]
            return self._children.spawn(command, request.environment, output=log_file, descriptors=descriptors).pid
