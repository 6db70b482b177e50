"""Compiling one model, in a process and a sandbox of its own that hears of nothing but the model.

It has the lowest priority there is: it runs while nothing else would. What it finds it writes into the file RESULT of
its own folder; whoever started it takes it from there.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kedge.compute.compilations import RESULT
from kedge.serving import runtimes
from kedge.serving.compiled import of_boosters, of_sklearn, proof
from kedge.serving.compiled.program import Array, NotCompiled, Program
from kedge.serving.compiled.result import Result, Timing, dump
from kedge.serving.compiled.run import compiled, engine
from kedge.serving.compiled.versions import made_with
from kedge.serving.runtimes import images, readiness, tabular
from kedge.serving.runtimes.base import LoadError, last_line
from kedge.serving.worker_setup import WorkerSpec, settle

__all__ = ["WorkerSpec", "run"]

log = logging.getLogger(__name__)

_LOWEST = 19
_TIMED_CALLS = 20
_TIMES = 5
_LARGE = (256, 1024)
"""Rows in a call, as where many requests share one: the arrays of all trees at once outgrow the processor's caches."""


def run(spec: WorkerSpec, status_fd: int) -> int:
    """Returns the exit code. Call it as kedge.serving.worker.run is called."""
    settle(spec)
    idle()
    try:
        runtime = runtimes.load(spec.runtime, Path(spec.artifact_dir), os.environ)
        result = made_of(runtime, Path(spec.artifact_dir), spec.runtime)
    except LoadError as error:
        result = Result(reason=f"The model cannot be loaded: {error}")
    Path(spec.work_dir, RESULT).write_bytes(dump(result))
    os.close(status_fd)
    return 0


def idle() -> None:
    """Give way to everything else on this machine."""
    with contextlib.suppress(OSError):
        os.nice(_LOWEST)
    if hasattr(os, "SCHED_IDLE"):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def made_of(runtime: Any, artifact: Path, name: str) -> Result:
    """name: of the runtime, as `images` has it."""
    with_these = made_with()
    origin = runtime.origin if isinstance(runtime, tabular.Compilable) else None
    if origin is None:
        return Result("Models of this kind are not compiled.", with_these)
    try:
        read = of_sklearn.read if name == images.SKLEARN else of_boosters.read
        program = read(origin.model, origin.method)
    except NotCompiled as error:
        return Result(str(error), with_these)
    except Exception as error:
        log.exception("the model cannot be compiled")
        return Result(f"The model cannot be read: {last_line(error)}.", with_these)
    try:
        verdict = proof.prove(program, origin.predict, _samples(runtime, artifact))
    except Exception as error:
        log.exception("the program cannot be run")
        return Result(f"What was compiled cannot be run: {last_line(error)}.", with_these, engine(program))
    if verdict.program is None:
        reason = f"It is not proven to answer alike: {verdict.reason}."
        return Result(reason, with_these, engine(program), verdict.rows, verdict.difference)
    before, after, most_rows = timed(verdict.program, origin.predict)
    proven = (engine(program), verdict.rows, verdict.difference)
    return Result("", with_these, *proven, before, after, most_rows, verdict.program)


def timed(program: Program, original: Callable[[Array], Any]) -> tuple[Timing, Timing, int]:
    """Of the model and of the program, and up to how many rows in a call the program is the faster one; 0: always."""
    rows = proof.rows_for(program, np.random.default_rng(1))[:1000]
    answer = compiled(program, original)
    before, after = _timing(original, rows), _timing(answer, rows)
    faster = [count for count in _LARGE if _call_us(answer, rows, count) < _call_us(original, rows, count)]
    return before, after, 0 if _LARGE[-1] in faster else max(faster, default=64)


def _timing(call: Callable[[Array], Any], rows: Array) -> Timing:
    return Timing(_call_us(call, rows, 1), _call_us(call, rows, 64))


def _call_us(call: Callable[[Array], Any], rows: Array, count: int) -> float:
    """The best of several rounds, by the time of this thread: others have their share of the machine meanwhile."""
    calls = max(2, min(_TIMED_CALLS, 2 * len(rows) // count))
    parts = [np.resize(rows[7 * start :], (count, rows.shape[1])) for start in range(calls)]
    best = float("inf")
    for _ in range(_TIMES):
        began_s = time.thread_time()
        for part in parts:
            call(part)
        best = min(best, (time.thread_time() - began_s) / len(parts))
    return best * 1e6


def _samples(runtime: tabular.Compilable, artifact: Path) -> list[Array]:
    """The rows of the artifact's probe, if it has one that can be read."""
    found = readiness.sample(artifact)
    if found is None:
        return []
    try:
        return [np.asarray(runtime.read(found.request), dtype=np.float64)]
    except Exception:
        log.exception("the probe's rows cannot be read")
        return []
