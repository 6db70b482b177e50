"""`kedge jobs`: what jobs there are, how far each is, and why it failed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from kedge.cli.lifecycle import data_option, json_option
from kedge.cli.server import find
from kedge.cli.tables import table

KINDS = {
    "processing": ("list_processing_jobs", "ProcessingJob"),
    "training": ("list_training_jobs", "TrainingJob"),
    "transform": ("list_transform_jobs", "TransformJob"),
}
_REASON_CHARS = 80


@click.command(short_help="What jobs there are.")
@click.option("-n", "--lines", type=click.IntRange(1, 100), default=20, show_default=True, help="Of each kind.")
@data_option
@json_option
def jobs(lines: int, data: Path | None, as_json: bool) -> None:
    """The newest processing, training and transform jobs, the newest at the end."""
    sagemaker = find(data).client("sagemaker")
    found = sorted((job for kind in KINDS for job in _listed(sagemaker, kind, lines)), key=lambda job: job["created"])
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    if not found:
        click.echo("There are no jobs.")
        return
    rows = [(each["kind"], each["name"], each["status"], each["created"], brief(each["reason"])) for each in found]
    click.echo(table(["KIND", "NAME", "STATUS", "CREATED", "REASON"], rows))


def _listed(sagemaker: Any, kind: str, lines: int) -> list[dict[str, str]]:
    operation, name = KINDS[kind]
    answer = getattr(sagemaker, operation)(MaxResults=lines, SortBy="CreationTime", SortOrder="Descending")
    found = []
    for each in answer[f"{name}Summaries"]:
        reason = each.get("FailureReason", "")
        if kind == "training" and each["TrainingJobStatus"] == "Failed":
            described = sagemaker.describe_training_job(TrainingJobName=each["TrainingJobName"])
            reason = described.get("FailureReason", "")
        status, stage = each[f"{name}Status"], each.get("SecondaryStatus", "")
        found.append(
            {
                "kind": kind,
                "name": each[f"{name}Name"],
                "status": status if stage in ("", status) else f"{status} ({stage})",
                "created": each["CreationTime"].strftime("%Y-%m-%d %H:%M:%S"),
                "reason": reason,
            }
        )
    return found


def brief(reason: str) -> str:
    """All of it stands in --json."""
    line = " ".join(reason.split())
    return line if len(line) <= _REASON_CHARS else line[: _REASON_CHARS - 3] + "..."
