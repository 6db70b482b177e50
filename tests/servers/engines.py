"""The engine of this machine, asked as a person would ask it."""

from __future__ import annotations

import subprocess

from kedge.compute import containers
from kedge.home import run_folder

from .conftest import Hosted

ENGINE = containers.find("auto")


def engine(*words: str) -> str:
    assert ENGINE is not None
    done = subprocess.run(ENGINE.words(*words), capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def running(server: Hosted) -> list[str]:
    """Names of the containers of this server, whatever state they are in."""
    label = f"label={containers.HOME_LABEL}={run_folder(server.data).name}"
    return engine("ps", "--all", "--format", "{{.Names}}", "--filter", label).split()
