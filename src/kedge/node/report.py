"""`kedge status`: what runs, asked of the supervisor, or found in the records of one that is dead."""

from __future__ import annotations

import socket
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kedge.compute.base import TaskState
from kedge.compute.linux import probe
from kedge.compute.messages import receive_now, send_now
from kedge.compute.records import read_run, read_tasks
from kedge.home import Home, read_home
from kedge.node import captured, lock

_ANSWER_WITHIN_S = 5.0


def status(data_dir: Path) -> dict[str, Any]:
    """Raises HomeError.

    {"running": whether a supervisor lives, "data_dir", "pid", "api_url", "inference_url", "account", "region",
     "ephemeral", "auth_required", "ca_bundle",
     "capabilities": {name: bool, "memory_limit": "cgroup2" | "cgroup1" | "watchdog"},
     "sandbox": {"missing": [name], "network": "api", "none" or "host"}, "gpus": N,
     "core": "python" or "compiled",
     "zones": [letter],
     "roles": [{"role": "supervisor" | "control" | "router" | "capture" | "keeper" | "forkserver",
                "task", "pid", "state", "restarts"}],
     "instances": [the fields of compute.base.TaskStatus],
     "capture": [{"account", "region", "endpoint", "variant", "taken", "dropped", "withheld", "problem"}]}

    state of a role: "running", "restarting" or "dead". pid is None where no process lives.
    """
    found: dict[str, Any] = {"running": False, "data_dir": str(data_dir), "pid": None, "roles": [], "instances": []}
    found["capture"] = []
    if not (data_dir / "node.json").exists():
        return found
    home = read_home(data_dir)
    found |= {"account": home.account, "region": home.region}
    run = read_run(home.run_file)
    if run is not None:
        found |= {
            "api_url": run.api_url,
            "inference_url": run.inference_url,
            "ephemeral": run.ephemeral,
            "auth_required": run.auth_required,
            "ca_bundle": run.ca_bundle,
        }
    supervisor = lock.holder(home.lock)
    if supervisor is not None:
        found |= {"running": True, "pid": supervisor.pid}
    told = _ask(home) if supervisor is not None else None
    found |= told if told is not None else _from_records(home)
    routers = [each for each in found["roles"] if each["role"] == "router" and each["pid"]]
    found["capture"] = captured.ask(home.router_socket(int(each["task"].rpartition("-")[2])) for each in routers)
    return found


def _ask(home: Home) -> dict[str, Any] | None:
    """None when the supervisor does not answer: it is just starting or ending."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(_ANSWER_WITHIN_S)
        try:
            sock.connect(str(home.supervisor_socket))
            send_now(sock, {"id": 1, "op": "status"})
            answer = receive_now(sock, [])
        except OSError:
            return None
    result = answer.get("result") if answer is not None else None
    return result if isinstance(result, dict) else None


def _from_records(home: Home) -> dict[str, Any]:
    run = read_run(home.run_file)
    roles = []
    if run is not None:
        known = [("supervisor", "supervisor", run.supervisor)]
        known += [(each.role, each.task, each.process) for each in run.roles]
        for role, task, process in known:
            alive = process.alive()
            state, pid = ("running", process.pid) if alive else ("dead", None)
            roles.append({"role": role, "task": task, "pid": pid, "state": state, "restarts": 0})
    instances = []
    for record in read_tasks(home):
        alive = record.process is not None and record.process.alive()
        state = record.state if alive or record.state is TaskState.FAILED else TaskState.STOPPED
        instances.append({**asdict(record.status()), "state": state, "pid": record.status().pid if alive else None})
    return {"roles": roles, "instances": instances, "capabilities": probe().as_dict()}
