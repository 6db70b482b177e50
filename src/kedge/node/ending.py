"""`kedge down`: ends a server, also one whose supervisor is already dead."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from kedge import config
from kedge.compute import cgroup, containers
from kedge.compute.launcher import home_id
from kedge.compute.process_id import ProcessId, read_stat
from kedge.compute.records import TaskRecord, read_run, read_tasks
from kedge.home import Home, read_home
from kedge.node import lock, strays
from kedge.node.adoption import CAPTURE
from kedge.node.supervisor import remove_traces
from kedge.serving.kept import rescue

ROLE_GRACE_S = 10.0
_AFTER_KILL_S = 5.0
_REAPED_WITHIN_S = 3.0
_SIDECARS_END_WITHIN_S = 10.0
_GATES_END_WITHIN_S = 2.0
_POLL_S = 0.02

log = logging.getLogger(__name__)


def down(data_dir: Path) -> bool:
    """End the server of this directory and everything that it runs; False when nothing ran. Raises HomeError.

    Records of tasks stay: the next `kedge up` brings the instances back.
    """
    if not (data_dir / "node.json").exists():
        return False
    home = read_home(data_dir)
    supervisor = lock.holder(home.lock)
    if supervisor is not None:
        # It gives routers, the capture process and instances their graces one after the other.
        grace_s = max((record.spec.stop_grace_s for record in read_tasks(home)), default=0.0)
        end([supervisor], 3 * ROLE_GRACE_S + grace_s + _AFTER_KILL_S)
    return _end_what_is_left(home) or supervisor is not None


def _end_what_is_left(home: Home) -> bool:
    """By the records of a supervisor that was killed, now or earlier. Nobody starts a server meanwhile."""
    try:
        held = lock.acquire(home.lock, wait_s=_AFTER_KILL_S)
    except (lock.Held, FileNotFoundError):
        return False  # somebody has just started another one, or an ephemeral one took its folder along
    try:
        run = read_run(home.run_file)
        tasks = [record for record in read_tasks(home) if record.process is not None and record.process.alive()]
        living = [each for each in (run.roles if run else ()) if each.process.alive()]
        roles = [each.process for each in living]
        end([each.process for each in living if each.role != CAPTURE], ROLE_GRACE_S)
        end([each.process for each in living if each.role == CAPTURE], ROLE_GRACE_S)
        instances = [record.process for record in tasks if record.process is not None]
        every = read_tasks(home)
        gates = [record.gate for record in every if record.gate is not None and record.gate.alive()]
        sidecars = [each for record in every for each in record.sidecars if each.alive()]
        end(instances, max((record.spec.stop_grace_s for record in tasks), default=0.0))
        # They end with their instances; one that does not holds what is left of its sandbox.
        end(gates, _GATES_END_WITHIN_S)
        end(sidecars, _SIDECARS_END_WITHIN_S)
        _remove_containers(home, every)
        unclaimed = strays.kill_unclaimed(home_id(home), [])
        _wait(unclaimed, _AFTER_KILL_S)
        _wait_until_reaped([*roles, *instances, *gates, *sidecars, *unclaimed])
        groups = cgroup.find(home_id(home))
        if groups is not None:
            groups.clear()
        _keep_what_was_counted(home)
        remove_traces(home)
        return bool(roles or instances or unclaimed)
    finally:
        os.close(held)


def _keep_what_was_counted(home: Home) -> None:
    """By routers that were killed. Their memory is given back; their reports are sent by those that come next."""
    for folder in home.reports.glob("*/"):
        try:
            rescue(folder)
        except OSError as error:
            log.warning("what a killed router has counted stays where it is: %s", error)


def _remove_containers(home: Home, tasks: Sequence[TaskRecord]) -> None:
    """Those whose sidecars were killed, too. They are found by their label."""
    engine = containers.find(config.read().container_engine) if any(each.spec.images for each in tasks) else None
    if engine is None:
        return
    environment = containers.environment(os.environ)
    label = f"label={containers.HOME_LABEL}={home_id(home)}"
    words = engine.words("ps", "--all", "--quiet", "--filter", label)
    found = subprocess.run(words, env=environment, capture_output=True, text=True, check=False).stdout.split()
    if found:
        subprocess.run(engine.remove(*found), env=environment, capture_output=True, check=False)


def end(processes: Sequence[ProcessId], grace_s: float) -> None:
    """SIGTERM to all, SIGKILL to those who are there after the grace; returns once they are gone."""
    for process in processes:
        process.signal(signal.SIGTERM)
    for process in _wait(processes, grace_s):
        process.signal(signal.SIGKILL)
    _wait(processes, _AFTER_KILL_S)


def _wait(processes: Sequence[ProcessId], within_s: float) -> list[ProcessId]:
    """Until all have ended; returns who has not."""
    deadline = time.monotonic() + within_s
    while (left := [each for each in processes if each.alive()]) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return left


def _wait_until_reaped(processes: Sequence[ProcessId]) -> None:
    """Whoever inherited them does it soon; a script that looks for them afterwards shall find none."""
    deadline = time.monotonic() + _REAPED_WITHIN_S
    while any(read_stat(each.pid) for each in processes) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
