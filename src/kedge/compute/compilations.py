"""Compiling models, one at a time, each in a sandbox of its own.

An instance that serves a model which could be faster says so, and no more: what is compiled is the artifact of its
task, in a process that is given nothing but this artifact and the few variables that say how to read it. The result
goes into DATA/compiled, which instances only read, under a name that is made here. So no instance can put anything
there, for its own model or for another's.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import shutil
import signal
import stat
from dataclasses import replace

from kedge.compute import output
from kedge.compute.base import TaskSpec
from kedge.compute.children import Children
from kedge.compute.compiled_name import READ_BY, compiled_file
from kedge.compute.launcher import Launched, Launcher, LaunchFailed
from kedge.compute.records import OUTPUT, WORK
from kedge.home import Home, write_whole

RESULT = "compiled"
"""The file that the job leaves in its folder; kedge.serving.compiled.result reads and writes it."""
WITHIN_S = 900.0
MAX_RESULT_BYTES = 256 * 1024 * 1024
_GATE_ENDS_WITHIN_S = 5.0
_SAID_LINES = 3

log = logging.getLogger(__name__)


class Compilations:
    """One for each supervisor. module: what a job runs."""

    def __init__(self, home: Home, launcher: Launcher, children: Children, module: str) -> None:
        self._home = home
        self._launcher = launcher
        self._children = children
        self._module = module
        self._asked: set[str] = set()
        self._waiting: asyncio.Queue[TaskSpec] = asyncio.Queue()
        self._working: asyncio.Task[None] | None = None

    def want(self, spec: TaskSpec) -> None:
        """Have the model of this task compiled, once in the life of this supervisor."""
        path = compiled_file(self._home, spec)
        if path is None or str(path) in self._asked:
            return
        self._asked.add(str(path))
        self._waiting.put_nowait(spec)
        if self._working is None:
            self._working = asyncio.create_task(self._work())

    async def close(self) -> None:
        if self._working is not None:
            self._working.cancel()
            await asyncio.wait({self._working})

    def collect(self) -> None:
        """Remove what was compiled of artifacts that are there no more."""
        for folder in self._home.compiled.iterdir():
            if not (self._home.artifacts / folder.name).exists():
                shutil.rmtree(folder, ignore_errors=True)

    async def _work(self) -> None:
        while True:
            spec = await self._waiting.get()
            path = compiled_file(self._home, spec)
            assert path is not None, "only those that have one wait"
            try:
                found = await self._run(_job(spec, path.name))
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                write_whole(path, found)
            except OSError as error:
                log.error("what was compiled of %s cannot be kept: %s", spec.artifact_sha256, error)

    async def _run(self, job: TaskSpec) -> bytes:
        """The result of one job; where it leaves none, one that says why."""
        folder = self._home.tasks / job.id
        folder.mkdir(mode=0o700, exist_ok=True)
        try:
            async with asyncio.timeout(WITHIN_S):
                launched = await self._launcher.launch(job, module=self._module)
            why = await self._ended(launched)
            if self._launcher.out_of_memory(job.id):
                why = "it took more memory than the instance has"
            if not why:
                return _taken(folder / WORK / RESULT)
            said = output.tail(folder / OUTPUT, _SAID_LINES)
            return _refused(f"Compiling it failed: {why}." + (f" {said}" if said else ""))
        except (LaunchFailed, TimeoutError, ValueError) as error:
            return _refused(f"Compiling it failed: {error or 'it was not started in time'}.")
        finally:
            self._launcher.end_rest(job.id)
            self._launcher.clean(job)
            shutil.rmtree(folder, ignore_errors=True)

    async def _ended(self, launched: Launched) -> str:
        """Waits for the end of the job; what was wrong with it."""
        os.close(launched.reports)
        there = [each for each in (launched.process, launched.gate) if each is not None]
        self._launcher.beginning.update(there)
        status = launched.exit_status
        why = ""
        try:
            if launched.process is not None:
                async with asyncio.timeout(WITHIN_S):
                    status = await self._children.ended(launched.process)
        except TimeoutError:
            why = f"it was not done within {WITHIN_S:g} s"
        finally:
            for process in there[:1]:
                process.signal(signal.SIGKILL)
            for line in launched.lines:
                line.close()
            if launched.gate is not None:
                ended = asyncio.ensure_future(self._children.ended(launched.gate))
                await asyncio.wait({ended}, timeout=_GATE_ENDS_WITHIN_S)
                launched.gate.signal(signal.SIGKILL)
                ended.cancel()
            self._launcher.beginning.difference_update(there)
        return why or ("" if status == 0 else f"the job ended with {status}")


def _job(spec: TaskSpec, name: str) -> TaskSpec:
    """A task that reads the artifact and reaches nothing else."""
    digest = hashlib.sha256(f"{spec.artifact_sha256} {name}".encode()).hexdigest()[:16]
    return replace(
        spec,
        id=f"compile-{digest}",
        environment={name: value for name, value in spec.environment.items() if name in READ_BY},
        cores=1.0,
        gpus=0,
        labels={},
        execution_role="",
        network_isolation=True,
    )


def _taken(path: os.PathLike[str]) -> bytes:
    """A file that foreign code wrote. Raises ValueError when it is none, or too large."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise ValueError(f"it left no result ({error.strerror})") from error
    with open(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_RESULT_BYTES:
            raise ValueError("what it left is no file, or too large")
        return file.read(MAX_RESULT_BYTES)


def _refused(reason: str) -> bytes:
    """As kedge.serving.compiled.result writes one without a program."""
    return json.dumps({"reason": reason, "made_with": None, "original": None, "compiled": None}).encode() + b"\n"
