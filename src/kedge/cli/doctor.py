"""`kedge doctor`: what this machine can do, and what is off because of what it cannot. Changes nothing."""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import platform
import shutil
import socket
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import click

from kedge import config
from kedge.cli.failures import Failed
from kedge.cli.lifecycle import data_option, json_option
from kedge.cli.server import data_folder, listens
from kedge.cli.tables import table

_DEGRADED = {
    "pidfd": "processes are watched by polling",
    "subreaper": "orphaned instances are found by their records only",
    "parent_death_signal": "--ephemeral ends its processes by a held pipe",
    "proc": "processes that no record claims are not found",
    "peer_pid": "who connects to the supervisor is known by its own word only",
    "punch_hole": "an instance's old output goes all at once",
    "fork_server": "each instance imports scikit-learn itself: it starts in seconds, not milliseconds",
}
_ENOUGH_BYTES = 1_000_000_000
_LANDLOCK_CREATE_RULESET = 444
"""System call number on every architecture. Source: landlock_create_ruleset(2)."""


@dataclass(frozen=True)
class Finding:
    what: str
    state: Literal["ok", "degraded", "problem"]
    detail: str


@click.command(short_help="What this machine can do.")
@data_option
@json_option
def doctor(data: Path | None, as_json: bool) -> None:
    """Look at Python, the kernel, ports, disk and extras. Exit code 1 when something has to be mended first."""
    settings = config.read(data_dir=data)
    folder = data_folder(data)
    findings = [
        _python(),
        *_kernel(),
        _landlock(),
        _disk(folder),
        _port(settings.host, settings.api_port, "API port", folder),
        _port(settings.host, settings.inference_port, "inference port", folder),
        _extra("postgresql", "psycopg", "the resource store is SQLite only"),
        _extra("skops", "skops", "models in .skops files cannot be loaded"),
    ]
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        click.echo(table(["CHECK", "STATE", "DETAIL"], [(f.what, f.state, f.detail) for f in findings]))
    if any(finding.state == "problem" for finding in findings):
        raise Failed("Mend what is marked as a problem before `kedge up`.")


def _python() -> Finding:
    return Finding("Python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def _kernel() -> list[Finding]:
    from kedge.compute import linux

    return [
        Finding(name.replace("_", " "), "ok" if works else "degraded", "" if works else _DEGRADED.get(name, "missing"))
        for name, works in linux.probe().as_dict().items()
    ]


def _landlock() -> Finding:
    """Asks for the version of the interface only, which makes no rule set."""
    try:
        version = ctypes.CDLL(None, use_errno=True).syscall(_LANDLOCK_CREATE_RULESET, None, 0, 1) if _linux() else -1
    except (OSError, AttributeError):
        version = -1
    if version > 0:
        return Finding("Landlock", "ok", f"version {version}")
    return Finding("Landlock", "degraded", "instances are not kept from reading other files of this user")


def _linux() -> bool:
    return sys.platform == "linux"


def _disk(folder: Path) -> Finding:
    there = next(each for each in (folder, *folder.parents) if each.exists())
    if not os.access(there, os.W_OK):
        return Finding("data directory", "problem", f"{there} cannot be written; choose another by --data")
    free = shutil.disk_usage(there).free
    text = f"{folder}, {free / 1e9:.1f} GB free"
    return Finding("data directory", "ok" if free > _ENOUGH_BYTES else "degraded", text)


def _port(host: str, port: int, what: str, folder: Path) -> Finding:
    if port == 0:
        return Finding(what, "ok", "any free one")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if _is_ours(folder, port):
                return Finding(what, "ok", f"{port}, used by the running server")
            return Finding(what, "problem", f"{host}:{port}: {error.strerror}; choose another one")
    return Finding(what, "ok", f"{port} is free")


def _is_ours(folder: Path, port: int) -> bool:
    try:
        run = json.loads((folder / "run.json").read_bytes())
        urls = [run["api_url"], run["inference_url"]]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return any(url.rstrip("/").endswith(f":{port}") and listens(url) for url in urls)


def _extra(extra: str, module: str, otherwise: str) -> Finding:
    if importlib.util.find_spec(module) is not None:
        return Finding(f"extra {extra}", "ok", "installed")
    return Finding(f"extra {extra}", "degraded", f'{otherwise}; pip install "kedge[{extra}]"')
