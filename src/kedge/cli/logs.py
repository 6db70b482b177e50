"""`kedge logs`: what instances of an endpoint, copies of a component, or a job wrote, by the API of CloudWatch Logs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from kedge.cli.deploy import describe
from kedge.cli.deployment import component_option
from kedge.cli.failures import Failed
from kedge.cli.lifecycle import data_option, json_option
from kedge.cli.server import Server, find
from kedge.logs.names import JOB_GROUPS, TRANSFORM_GROUP, component_group, endpoint_group

_LOOK_EVERY_S = 0.5
_LATE_MS = 10_000
"""How much older than what is shown already an event may be that comes later: instances are read one by one."""
_MOST_INSTANCES = 50
_JOBS = {
    "processing": JOB_GROUPS["processing_job"],
    "training": JOB_GROUPS["training_job"],
    "transform": TRANSFORM_GROUP,
}
"""Log groups, by the kind of job."""


@dataclass(frozen=True)
class _Place:
    """Where the lines are: all of a group, or the streams of it that begin so."""

    group: str
    prefix: str = ""

    def asked(self) -> dict[str, str]:
        """Of FilterLogEvents."""
        return {"logGroupName": self.group, **({"logStreamNamePrefix": self.prefix} if self.prefix else {})}


@click.command(short_help="What its instances, or a job, wrote.")
@click.argument("name")
@click.option("-n", "--lines", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Of each instance.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what they write from now on, until Ctrl-C.")
@click.option("--filter", "pattern", default="", help='Only lines with all of these terms: "ERROR timeout".')
@component_option
@data_option
@json_option
def logs(name: str, lines: int, follow: bool, pattern: str, component: bool, data: Path | None, as_json: bool) -> None:
    """The last lines that each instance of the endpoint NAME wrote, or the job of this name where there is no such
    endpoint. They stay when the endpoint is deleted."""
    server = find(data)
    client = server.client("logs")
    place, streams = (_of_component if component else _found)(server, client, name)
    begun_ms = int(time.time() * 1000)
    shown: dict[str, int] = {}
    if follow:  # what is there already and is not among the last lines is not new
        shown = {e["eventId"]: e["timestamp"] for page in _pages(client, place, pattern, begun_ms) for e in page}
    for stream in streams:
        last = _last(client, place, stream["logStreamName"], lines, pattern)
        shown |= {event["eventId"]: event["timestamp"] for event in last}
        if not as_json:
            click.echo(f"==> {stream['logStreamName'].replace('/', ' ')} <==")
        _show(last, as_json=as_json, named=False)
    if follow:
        for events in _new(client, place, pattern, begun_ms, shown):
            _show(events, as_json=as_json, named=True)


def _found(server: Server, client: Any, name: str) -> tuple[_Place, list[Any]]:
    """Where NAME's lines are, and the streams that there are by now. Raises Failed."""
    for place in (_Place(endpoint_group(name)), *(_Place(group, f"{name}/") for group in _JOBS.values())):
        if streams := _streams(client, place):
            return place, streams
    sagemaker = server.client("sagemaker")
    if describe(sagemaker, name) is not None:
        click.echo(f'No instance of the endpoint "{name}" has written anything yet.', err=True)
        return _Place(endpoint_group(name)), []
    for kind, group in _JOBS.items():
        listed = getattr(sagemaker, f"list_{kind}_jobs")(NameContains=name)[f"{kind.title()}JobSummaries"]
        if any(each[f"{kind.title()}JobName"] == name for each in listed):
            click.echo(f'The {kind} job "{name}" has written nothing yet.', err=True)
            return _Place(group, f"{name}/"), []
    hint = "`kedge status` and `kedge jobs` list those that there are."
    if _is_component(sagemaker, name):
        hint = f"`kedge logs --component {name}` shows that of the inference component."
    raise Failed(f'There is no endpoint or job "{name}", and no log of one; {hint}')


def _of_component(server: Server, client: Any, name: str) -> tuple[_Place, list[Any]]:
    """As _found, of an inference component."""
    place = _Place(component_group(name))
    streams = _streams(client, place)
    if not streams:
        if not _is_component(server.client("sagemaker"), name):
            raise Failed(f'There is no inference component "{name}", and no log of one.')
        click.echo(f'No copy of the inference component "{name}" has written anything yet.', err=True)
    return place, streams


def _is_component(sagemaker: Any, name: str) -> bool:
    found = sagemaker.list_inference_components(NameContains=name, MaxResults=100)["InferenceComponents"]
    return any(each["InferenceComponentName"] == name for each in found)


def _streams(client: Any, place: _Place) -> list[Any]:
    """Those that were written last, the newest one at the end; none where there is no such group."""
    order = {"logStreamNamePrefix": place.prefix} if place.prefix else {"orderBy": "LastEventTime", "descending": True}
    try:
        found = client.describe_log_streams(logGroupName=place.group, limit=_MOST_INSTANCES, **order)["logStreams"]
    except client.exceptions.ResourceNotFoundException:
        return []
    return sorted(found, key=lambda each: each.get("lastEventTimestamp", 0))


def _last(client: Any, place: _Place, stream: str, lines: int, pattern: str) -> list[Any]:
    asked = {"filterPattern": pattern} if pattern else {}
    found: list[Any] = []
    token: dict[str, str] = {}
    while len(found) < lines:
        page = client.filter_log_events(
            logGroupName=place.group, logStreamNames=[stream], startFromHead=False,
            startTime=1_704_067_200_000, limit=lines - len(found), **asked, **token,
        )  # fmt: skip
        found += page["events"]
        if "nextToken" not in page:
            break
        token = {"nextToken": page["nextToken"]}
    return found[::-1]


def _new(client: Any, place: _Place, pattern: str, begun_ms: int, shown: dict[str, int]) -> Iterator[list[Any]]:
    """What is written from begun_ms on, for ever. shown: time of each event that was shown already, by id."""
    newest_ms = begun_ms
    while True:
        for page in _pages(client, place, pattern, newest_ms):
            new = [event for event in page if event["eventId"] not in shown]
            shown |= {event["eventId"]: event["timestamp"] for event in new}
            newest_ms = max([newest_ms, *(event["timestamp"] for event in new)])
            yield new
        for event_id in [each for each, at_ms in shown.items() if at_ms < newest_ms - 2 * _LATE_MS]:
            del shown[event_id]
        time.sleep(_LOOK_EVERY_S)


def _pages(client: Any, place: _Place, pattern: str, newest_ms: int) -> Iterator[list[Any]]:
    """Events of all instances since somewhat before that time; none as long as nobody has written anything."""
    asked = {"filterPattern": pattern} if pattern else {}
    pages = client.get_paginator("filter_log_events")
    try:
        for page in pages.paginate(**place.asked(), startTime=newest_ms - _LATE_MS, **asked):
            yield page["events"]
    except client.exceptions.ResourceNotFoundException:
        return


def _show(events: list[Any], *, as_json: bool, named: bool) -> None:
    for event in events:
        if as_json:
            click.echo(json.dumps({key: event[key] for key in ("logStreamName", "timestamp", "message")}))
        else:
            click.echo(f"{event['logStreamName']}  {event['message']}" if named else event["message"])
