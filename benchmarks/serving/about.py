"""What the figures were seen on: the machine, and the versions of everything that took part."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.serving import environments
from benchmarks.serving.registry import Peer

_BASE = ("kedge", "numpy", "scikit-learn", "uvloop", "httptools", "orjson")
_PACKAGES = {"wrk": "wrk", "nginx": "nginx-light", "java": "openjdk-17-jre-headless"}
"""Of Debian and Ubuntu."""


def missing(peers: Sequence[Peer]) -> str:
    """One sentence that says what this machine lacks; nothing when it has all."""
    wanted = dict.fromkeys(["wrk", *(program for peer in peers for program in peer.programs)])
    lacking = [program for program in wanted if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") is None]
    if not lacking:
        return ""
    packages = " ".join(_PACKAGES[program] for program in lacking)
    return f"The benchmark needs {' and '.join(lacking)}; install it (Debian: apt-get install {packages})."


def machine() -> dict[str, Any]:
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "revision": _revision(),
    }


def versions(peers: Sequence[Peer], cache: Path) -> dict[str, str]:
    """Of Kedge with what it stands on, and of each other server."""
    found: dict[str, str] = {}
    for peer in peers:
        if peer.packages:
            found |= environments.versions(environments.make(peer, cache), peer.packages)
    return found | {package: version(package) for package in _BASE}


def text(machine: dict[str, Any], versions: dict[str, str], pace: str, other_cores: float) -> str:
    """Two sentences for a reader of the table."""
    listed = ", ".join(f"{name} {number}" for name, number in sorted(versions.items()))
    return (
        f"{machine['date']}, revision {machine['revision']}, {machine['processor']}, {machine['cores']} cores, "
        f"Linux {machine['kernel']}, Python {machine['python']}; {pace}. Everything else on the machine used "
        f"{other_cores:.2f} cores meanwhile (median). Versions: {listed}.\n"
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _revision() -> str:
    root = Path(__file__).parent
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=root, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"
