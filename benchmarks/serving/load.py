"""A closed loop of N connections against a server, and what it cost."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.serving import machine
from benchmarks.serving.checking import Check, Checker

LUA = Path(__file__).parent / "wrk.lua"
_GRACE_S = 60.0


@dataclass(frozen=True)
class Sent:
    """What a load saw. Latencies in milliseconds; `requests` are all that were answered, errors among them."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    errors: int
    """Answers that were no success, resets, time-outs, and wrong answers."""
    checked: int
    """Answers that were compared with what the model says."""


@dataclass(frozen=True)
class Measured:
    sent: Sent
    cpu_us: float
    """CPU time of the server's whole process tree for one request."""
    server_cores: float
    other_cores: float
    """What everything but server and load used meanwhile."""
    pss_mib: float
    processes: int

    def fields(self) -> dict[str, Any]:
        good = max(0, self.sent.requests - self.sent.errors)
        flat = {**asdict(self), **asdict(self.sent), "rps": good / self.sent.seconds}
        del flat["sent"]
        return flat


Load = Callable[[float], Sent]
"""Send for so many seconds."""


def measure(tree: machine.Tree, load: Load, seconds: float) -> Measured:
    cpu_s, busy_s, own_s = tree.cpu_s(), machine.busy_s(), _own_s()
    start = time.monotonic()
    sent = load(seconds)
    wall_s = time.monotonic() - start
    cpu_s, busy_s, own_s = tree.cpu_s() - cpu_s, machine.busy_s() - busy_s, _own_s() - own_s
    members = tree.members()
    return Measured(
        sent,
        cpu_us=cpu_s / max(1, sent.requests) * 1e6,
        server_cores=cpu_s / wall_s,
        other_cores=max(0.0, busy_s - cpu_s - own_s) / wall_s,
        pss_mib=machine.memory_mib(members),
        processes=len(members),
    )


def _own_s() -> float:
    """CPU time of this process and of the loads that it ran."""
    uses = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(use.ru_utime + use.ru_stime for use in uses)


def wrk(port: int, prepared: Path, connections: int, seconds: float) -> dict[str, int]:
    """Counts and latencies as wrk.lua prints them. One thread; a request that is reset is an error, not sent again."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--latency", "--timeout", "30s"]
    command += ["-s", str(LUA), f"http://127.0.0.1:{port}/", "--", str(prepared)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=seconds + _GRACE_S, check=True)
    found: dict[str, int] = json.loads(done.stdout.split("JSON ", 1)[1])
    return found


def over_http(
    port: int, prepared: Path, connections: int, samples: list[tuple[int, bytes]], check: Check | None, rate: float
) -> Load:
    """rate: requests a second to come, about. check None: the answers are the server's own, nothing to compare."""

    def load(seconds: float) -> Sent:
        if check is None:
            return _sent(wrk(port, prepared, connections, seconds), 0, 0)
        with Checker(port, samples, check, rate) as checker:
            found = wrk(port, prepared, connections, seconds)
        return _sent(found, checker.asked, checker.errors + checker.wrong)

    return load


def _sent(found: dict[str, int], checked: int, failed: int) -> Sent:
    return Sent(
        requests=found["requests"] + checked,
        seconds=found["us"] / 1e6,
        p50_ms=found["p50_us"] / 1000,
        p99_ms=found["p99_us"] / 1000,
        max_ms=found["max_us"] / 1000,
        errors=found["status"] + found["reset"] + found["timeout"] + failed,
        checked=checked,
    )


def environment(**more: str) -> dict[str, str]:
    """Of every server: one thread for numerical libraries, and none of this user's own settings of Kedge."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("KEDGE_")}
    counts = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**own, **counts, "PYTHONUNBUFFERED": "1", **more}
