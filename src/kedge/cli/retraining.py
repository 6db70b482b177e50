"""`kedge monitor retrain`, and what `kedge monitor status` says of retrainings."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from kedge.cli.failures import Failed
from kedge.cli.jobs import brief
from kedge.cli.lifecycle import data_option, json_option
from kedge.cli.server import Server, find
from kedge.cli.tables import table
from kedge.monitors.retraining.operations import BEGIN, PATH, STOP
from kedge.monitors.retraining.records import GOING

_GOES_ON = tuple(each.value for each in GOING)
_LOOK_S = 0.5
_LONGEST_WAIT_S = 86400.0
_SHOWN = 10


def retrainings(server: Server, name: str) -> list[dict[str, Any]]:
    """Of the schedule of that name, the newest first."""
    found: list[dict[str, Any]] = server.ask("GET", PATH, {"MonitoringScheduleName": name})["Retrainings"]
    return found


def drawn(found: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (
            time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(each["CreationTime"])),
            each["RetrainingStatus"],
            each.get("Verdict", "-"),
            each["RetrainingName"] if "TrainingJobArn" in each else "-",
            brief(each.get("Reason", "")),
        )
        for each in reversed(found[:_SHOWN])
    ]
    head = table(["ASKED FOR", "STATUS", "VERDICT", "MODEL", "REASON"], rows)
    given = next((each for each in found[:_SHOWN] if each.get("Baselines")), None)
    return head if given is None else f"{head}\n\nBaselines after {given['RetrainingName']}:\n{_baselines(given)}"


def _baselines(run: Mapping[str, Any]) -> str:
    rows = [
        (each["MonitoringScheduleName"], each["BaselineStatus"], each.get("MadeOf", "-"), brief(each.get("Reason", "")))
        for each in run["Baselines"]
    ]
    return table(["MONITOR", "BASELINE", "MADE OF", "REASON"], rows)


@click.command("retrain", short_help="Train the model of a monitor again, now.")
@click.argument("name")
@click.option("--stop", is_flag=True, help="End the one that goes on instead.")
@click.option("--no-wait", is_flag=True, help="Return at once; kedge monitor status shows the end.")
@data_option
@json_option
def retrain(name: str, stop: bool, no_wait: bool, data: Path | None, as_json: bool) -> None:
    """Train again as the tags of the schedule NAME say, whatever it found, and deploy what comes of it.

    It takes labelled records of the last window that was looked at. Exit code 1 if no new model is promoted.
    """
    server = find(data)
    asked = server.ask("POST", PATH, body={"MonitoringScheduleName": name, "Action": STOP if stop else BEGIN})
    if no_wait:
        told = {"name": asked["RetrainingName"]}
        click.echo(json.dumps(told, indent=2) if as_json else f"{told['name']} {'ends' if stop else 'begins'}.")
        return
    ended = _ended(server, name, asked["RetrainingName"], quiet=as_json)
    if as_json:
        click.echo(json.dumps(ended, indent=2))
    status, reason = ended["RetrainingStatus"], ended.get("Reason", "")
    if status not in ("Promoted", "Stopped") or (status == "Stopped" and not stop):
        raise Failed(f"{status}: {reason}")


def _ended(server: Server, name: str, run: str, *, quiet: bool) -> dict[str, Any]:
    until, said = time.monotonic() + _LONGEST_WAIT_S, ""
    while time.monotonic() < until:
        found = next((each for each in retrainings(server, name) if each["RetrainingName"] == run), None)
        if found is None:
            raise Failed(f"The retraining {run} is not known any more.")
        if found["RetrainingStatus"] != said:
            said = found["RetrainingStatus"]
            if not quiet:
                click.echo(f"{run}: {said}")
        if said not in _GOES_ON:
            return found
        time.sleep(_LOOK_S)
    raise Failed(f"The retraining {run} goes on still; kedge monitor status {name} shows its end.")
