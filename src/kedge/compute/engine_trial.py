"""Whether an engine that is installed can run anything on this machine: it is tried, since no setting tells.

An OCI runtime may refuse the machine's control groups, or limits that it may not set; podman is found all the same, and
says so only when it is to start a container.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from kedge.compute import containers
from kedge.compute.containers import Engine, Run

_WITHIN_S = 30.0
_PARTS = ("/bin", "/lib", "/lib32", "/lib64", "/usr", "/nix")
"""Folders with this machine's programs and what those need."""
_MEMORY_BYTES = 64 * 1024**2
_PROCESSES = 64


def refusal(engine: Engine) -> str:
    """Why it can run no image here, in its own last words; empty: it can. Takes about a second, leaves nothing behind.

    Podman runs `true` of this machine with the same bounds as any container of Kedge. Docker, which takes no folder in
    an image's place, is only asked whether its server is there.
    """
    with tempfile.TemporaryDirectory(prefix="kedge-trial-") as folder:
        try:
            if not engine.is_podman:
                return _refused(engine.words("version", "--format", "{{.Server.Version}}"))
            return _run(engine, Path(folder))
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"{error}"


def _run(engine: Engine, folder: Path) -> str:
    root, variables = folder / "root", folder / "environment"
    root.mkdir()
    variables.touch()
    run = Run(
        name=f"kedge-trial-{os.getpid()}",
        image=str(root),
        labels={},
        host_name="trial",
        environment_file=str(variables),
        environment={},
        mounts={part: os.path.realpath(part) for part in _PARTS if os.path.isdir(part)},
        arguments=(shutil.which("true") or "/bin/true",),
        memory_bytes=_MEMORY_BYTES,
        processes=_PROCESSES,
        is_folder=True,
    )
    try:
        commands = [engine.words(*words, run.name) for words in (("init",), ("start", "--attach"))]
        return next(filter(None, map(_refused, (containers.create(engine, run), *commands))), "")
    finally:
        _refused(engine.remove(run.name))


def _refused(words: Sequence[str]) -> str:
    """What the engine said last, unless it did it. Raises OSError, subprocess.TimeoutExpired."""
    done = subprocess.run(
        words,
        env=containers.environment(os.environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_WITHIN_S,
        check=False,
    )
    return "" if done.returncode == 0 else containers.last_words(done.stderr)
