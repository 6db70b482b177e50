"""A job's folder, and what its first process is told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kedge.compute.base import Job, TaskSpec
from kedge.compute.records import STATE, WORK
from kedge.home import Home

MODULE = "kedge.jobs.program"
"""Has `WorkerSpec` and `run(spec, status_fd)`; the fields below are its WorkerSpec's."""
OPT_ML = "/opt/ml"
ML = "ml"
"""In the job's folder: what it sees as OPT_ML."""
CODE = "code"
"""In that: the unpacked source of a training job, whose requirements.txt is installed."""


def ml_folder(home: Home, job: Job) -> Path:
    return home.jobs / job.folder / ML


def worker_fields(
    home: Home, spec: TaskSpec, job: Job, environment: Mapping[str, str], *, door: str, viewed: bool
) -> dict[str, Any]:
    """door: of its container, which runs beside; "" where there is none. viewed: whether it sees OPT_ML."""
    folder = home.tasks / spec.id
    return {
        "id": spec.id,
        "environment": dict(environment),
        "socket": "",
        "work_dir": str(folder / WORK),
        "state_file": str(folder / STATE),
        "cores": spec.cores,
        "opt_ml": OPT_ML if viewed else str(ml_folder(home, job)),
        "module": job.module,
        "command": [] if door else [*job.entrypoint, *job.arguments],
        "starts_in": job.work_dir,
        "door": door,
    }
