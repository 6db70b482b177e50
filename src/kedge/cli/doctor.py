"""`kedge doctor`: what this machine can do, and what is off because of what it cannot. Changes nothing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import click

from kedge import config, core
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
    "control_groups": "memory of instances is bounded by a watchdog that looks twice a second",
    "own_proc": "an instance is shown the processes of this container, which it cannot touch",
    "fork_server": "each instance imports scikit-learn itself: it starts in seconds, not milliseconds",
}
_ENOUGH_BYTES = 1_000_000_000
_NAMES_ITS_WAITER = (1, 37)
"""Version of botocore that first says in its User-Agent that a waiter asks. Source: botocore/useragent.py."""


@dataclass(frozen=True)
class Finding:
    what: str
    state: Literal["ok", "degraded", "problem"]
    detail: str


@click.command(short_help="What this machine can do.")
@data_option
@json_option
def doctor(data: Path | None, as_json: bool) -> None:
    """Look at Python, the core, the kernel, botocore, ports, disk and extras.

    Exit code 1 when something has to be mended first.
    """
    settings = config.read(data_dir=data)
    folder = data_folder(data)
    findings = [
        _python(),
        _core("core", core.look(core.MODULES), built=core.MODULES.folder.exists()),
        _core("native", core.look(core.NATIVE), built=core.NATIVE.folder.exists()),
        *_kernel(require_sandbox=settings.require_sandbox),
        _botocore(importlib.metadata.version("botocore")),
        _disk(folder),
        _port(settings.host, settings.api_port, "API port", folder),
        _port(settings.host, settings.inference_port, "inference port", folder),
        _engine(settings.container_engine),
        _extra("postgresql", "psycopg", "the resource store is SQLite only"),
        _extra("monitor", "polars", "monitoring jobs cannot read their data"),
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


def _core(what: str, found: core.Core, *, built: bool) -> Finding:
    """Nothing is missing without the compiled one; one that was built and is not used is not what was wanted."""
    if found.compiled:
        return Finding(what, "ok", "compiled")
    return Finding(what, "degraded" if built else "ok", f"Python; the compiled one is {found.why}")


def _kernel(*, require_sandbox: bool) -> list[Finding]:
    from kedge.compute import linux, sandbox

    able = linux.probe()
    works = able.as_dict()
    lost = {**_DEGRADED, **{name: f"off: {text}" for name, text in sandbox.LAYERS.items()}}
    findings = [
        Finding(name.replace("_", " "), "ok" if there else "degraded", "" if there else lost[name])
        for name, there in works.items()
    ]
    return [*findings, _sandbox(len(sandbox.LAYERS), able.missing_layers(), require=require_sandbox)]


def _sandbox(layers: int, missing: list[str], *, require: bool) -> Finding:
    if not missing:
        return Finding("sandbox", "ok", f"all {layers} layers work")
    names = ", ".join(name.replace("_", " ") for name in missing)
    detail = f"{layers - len(missing)} of {layers} layers work; missing: {names}"
    return Finding("sandbox", "problem" if require else "degraded", detail)


def _botocore(version: str) -> Finding:
    """Only a botocore that says that its waiter asks is answered as soon as an endpoint's state changes."""
    if tuple(int(part) for part in version.split(".")[:2]) >= _NAMES_ITS_WAITER:
        return Finding("botocore", "ok", version)
    since = ".".join(map(str, _NAMES_ITS_WAITER))
    slow = f"{version} is below {since}: its waiter does not say that it is one, so it notices a change up to 30 s late"
    return Finding("botocore", "degraded", slow)


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


def _engine(setting: str) -> Finding:
    """Images run only where one is; all else needs none."""
    from kedge.compute import containers, engine_trial

    try:
        found = containers.find(setting)
    except config.SettingError as error:
        return Finding("containers", "problem", f"{error}")
    if found is None:
        return Finding("containers", "degraded", "images of your own run only as commands (KEDGE_IMAGES)")
    if refusal := engine_trial.refusal(found):
        state: Literal["degraded", "problem"] = "degraded" if setting == "auto" else "problem"
        return Finding("containers", state, f"{found.program} cannot run an image here: {refusal}")
    if not found.bounds:
        return Finding("containers", "degraded", f"{found.program} cannot bound the memory of containers here")
    return Finding("containers", "ok", found.program)


def _extra(extra: str, module: str, otherwise: str) -> Finding:
    if importlib.util.find_spec(module) is not None:
        return Finding(f"extra {extra}", "ok", "installed")
    return Finding(f"extra {extra}", "degraded", f'{otherwise}; pip install "kedge[{extra}]"')
