"""`kedge monitor`: which monitors watch, what their executions found, and an execution at once."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from kedge.cli.failures import Commands, Failed
from kedge.cli.jobs import brief
from kedge.cli.lifecycle import data_option, json_option
from kedge.cli.retraining import drawn, retrain, retrainings
from kedge.cli.server import Server, find
from kedge.cli.tables import table
from kedge.monitors.execution_operations import PATH
from kedge.objects import address

MARKS = {"Completed": "·", "CompletedWithViolations": "▲", "Failed": "x", "Stopped": "-"}
LEGEND = "· nothing found   ▲ violations   x failed   - stopped   o goes on"
OVER = tuple(MARKS)
_SHOWN = 24
_LOOK_S = 0.3
_LONGEST_WAIT_S = 7200.0
_SAME_S = 0.01
"""Times of answers are rounded to milliseconds."""
_SUMMARIES = "MonitoringScheduleSummaries"
_VIOLATIONS = "constraint_violations.json"


@click.group(cls=Commands, short_help="What monitors find; an execution at once.")
def monitor() -> None:
    """Monitoring schedules: what they look at, and what they found."""


monitor.add_command(retrain)


@monitor.command("list", short_help="Which monitors there are.")
@data_option
@json_option
def list_all(data: Path | None, as_json: bool) -> None:
    """All schedules, with a mark for each of their last executions, the newest at the end."""
    sagemaker = find(data).client("sagemaker")
    pages = sagemaker.get_paginator("list_monitoring_schedules").paginate(SortBy="Name", SortOrder="Ascending")
    found = [picture_of(sagemaker, each["MonitoringScheduleName"]) for page in pages for each in page[_SUMMARIES]]
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    if not found:
        click.echo("There are no monitors.")
        return
    columns = ("name", "type", "endpoint", "status", "schedule", "alert")
    rows = [(*(each[column] or "-" for column in columns), _strip(each)) for each in found]
    click.echo(table(["NAME", "TYPE", "ENDPOINT", "STATUS", "SCHEDULE", "ALERT", "LAST"], rows))
    click.echo(f"\n{LEGEND}")


@monitor.command(short_help="What one monitor found.")
@click.argument("name")
@data_option
@json_option
def status(name: str, data: Path | None, as_json: bool) -> None:
    """The last executions of the schedule NAME, and the violations that the newest of them found."""
    server = find(data)
    sagemaker = server.client("sagemaker")
    picture = picture_of(sagemaker, name)
    violated = [each for each in picture["executions"] if each["status"] in ("Completed", "CompletedWithViolations")]
    violations = violations_of(server, violated[-1]) if violated else []
    again = retrainings(server, picture["name"])
    if as_json:
        click.echo(json.dumps({**picture, "violations": violations, "retrainings": again}, indent=2))
        return
    of = f" of {picture['endpoint']}" if picture["endpoint"] else ""
    click.echo(f"{picture['name']}: {picture['type']}{of}, {picture['status']}, {picture['schedule']}")
    if picture["reason"]:
        click.echo(picture["reason"])
    click.echo(
        f"Alert {picture['alert']}: it rings when {picture['datapoints_to_alert']} of the last "
        f"{picture['evaluation_period']} executions are bad."
    )
    if not picture["executions"]:
        click.echo(f"There was no execution yet; kedge monitor run {picture['name']} begins one.")
        return
    click.echo(f"{_strip(picture)}   {LEGEND}\n")
    rows = [(each["scheduled"], each["status"], brief(each["reason"])) for each in picture["executions"][-10:]]
    click.echo(table(["SCHEDULED", "STATUS", "REASON"], rows))
    if violations:
        click.echo(f"\nViolations at {violated[-1]['scheduled']}:")
        click.echo(table(["WHAT", "CHECK", "DESCRIPTION"], [_line(each) for each in violations]))
    if again:
        click.echo(f"\nRetrainings:\n{drawn(again)}")


@monitor.command(short_help="Begin an execution now.")
@click.argument("name")
@click.option("--no-wait", is_flag=True, help="Return at once; kedge monitor status shows the end.")
@data_option
@json_option
def run(name: str, no_wait: bool, data: Path | None, as_json: bool) -> None:
    """Have the schedule NAME look at its last window now; also while it is stopped. Exit code 1 if that fails.

    The window ends now, and what is captured takes ten seconds to be in its file, so this takes a moment longer.
    """
    server = find(data)
    asked = server.ask("POST", PATH, body={"MonitoringScheduleName": name})
    if no_wait:
        told = {"name": asked["MonitoringScheduleName"], "scheduled": _time(asked["ScheduledTime"])}
        click.echo(json.dumps(told, indent=2) if as_json else f"{told['name']} looks at its last window.")
        return
    sagemaker = server.client("sagemaker")
    found = _ended(sagemaker, asked)
    violations = violations_of(server, found)
    if as_json:
        click.echo(json.dumps({**found, "violations": violations}, indent=2))
    elif found["status"] == "Failed":
        raise Failed(f"The execution failed: {found['reason']}")
    else:
        click.echo(f"{found['status']}, {len(violations)} violations; its job is {found['job'] or '-'}.")
        if violations:
            click.echo(table(["WHAT", "CHECK", "DESCRIPTION"], [_line(each) for each in violations]))


def picture_of(sagemaker: Any, name: str) -> dict[str, Any]:
    try:
        shown = sagemaker.describe_monitoring_schedule(MonitoringScheduleName=name)
    except sagemaker.exceptions.ResourceNotFound as error:
        raise Failed(error.response["Error"]["Message"]) from None
    (alert,) = sagemaker.list_monitoring_alerts(MonitoringScheduleName=name)["MonitoringAlertSummaries"]
    executions = sagemaker.list_monitoring_executions(
        MonitoringScheduleName=name, SortBy="ScheduledTime", SortOrder="Descending", MaxResults=_SHOWN
    )["MonitoringExecutionSummaries"]
    times = shown["MonitoringScheduleConfig"].get("ScheduleConfig", {})
    return {
        "name": shown["MonitoringScheduleName"],
        "type": shown["MonitoringType"],
        "endpoint": shown.get("EndpointName", ""),
        "status": shown["MonitoringScheduleStatus"],
        "reason": shown.get("FailureReason", ""),
        "schedule": times.get("ScheduleExpression", "daily"),
        "alert": alert["AlertStatus"],
        "datapoints_to_alert": alert["DatapointsToAlert"],
        "evaluation_period": alert["EvaluationPeriod"],
        "executions": [_execution(each) for each in reversed(executions)],
    }


def _execution(summary: Mapping[str, Any]) -> dict[str, str]:
    return {
        "scheduled": summary["ScheduledTime"].strftime("%Y-%m-%d %H:%M:%S"),
        "status": summary["MonitoringExecutionStatus"],
        "reason": summary.get("FailureReason", ""),
        "job": summary.get("ProcessingJobArn", "").rpartition("/")[2],
    }


def _strip(picture: Mapping[str, Any]) -> str:
    return "".join(MARKS.get(each["status"], "o") for each in picture["executions"])


def _ended(sagemaker: Any, asked: Mapping[str, Any]) -> dict[str, str]:
    """The execution that was asked for, once it is over."""
    until = time.monotonic() + _LONGEST_WAIT_S
    while time.monotonic() < until:
        listed: Sequence[Mapping[str, Any]] = sagemaker.list_monitoring_executions(
            MonitoringScheduleName=asked["MonitoringScheduleName"], SortBy="CreationTime", SortOrder="Descending"
        )["MonitoringExecutionSummaries"]
        for each in listed:
            own = abs(each["ScheduledTime"].timestamp() - asked["ScheduledTime"]) < _SAME_S
            if own and each["MonitoringExecutionStatus"] in OVER:
                return _execution(each)
        time.sleep(_LOOK_S)
    raise Failed(f"The execution goes on still; kedge monitor status {asked['MonitoringScheduleName']} shows its end.")


def violations_of(server: Server, execution: Mapping[str, str]) -> list[dict[str, Any]]:
    """As its job wrote them; none where it wrote no such file."""
    if not execution["job"]:
        return []
    job = server.client("sagemaker").describe_processing_job(ProcessingJobName=execution["job"])
    bucket, prefix = address.parse(job["ProcessingOutputConfig"]["Outputs"][0]["S3Output"]["S3Uri"])
    s3 = server.client("s3")
    try:
        body = s3.get_object(Bucket=bucket, Key=f"{prefix}/{_VIOLATIONS}")["Body"].read()
    except s3.exceptions.NoSuchKey:
        return []
    found: list[dict[str, Any]] = json.loads(body)["violations"]
    return found


def _line(violation: Mapping[str, Any]) -> tuple[str, str, str]:
    what = [
        violation[key] for key in ("feature_name", "facet", "facet_value", "label", "metric_name") if key in violation
    ]
    return (
        " ".join(map(str, what)),
        str(violation.get("constraint_check_type", "")),
        brief(violation.get("description", "")),
    )


def _time(at_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at_s))
