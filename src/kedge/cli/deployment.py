"""`kedge deployment`, `promote`, `rollback` and `history`: a deployment is watched and steered."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import click

from kedge.cli.deploy import SETTLE_S, progress, wait_until_settled
from kedge.cli.deployment_views import past_table, picture_text
from kedge.cli.failures import Failed
from kedge.cli.lifecycle import data_option, json_option
from kedge.cli.server import Server, find
from kedge.endpoints.steering import PATH, PROMOTE, ROLL_BACK

_EVERY_S = 0.5
_CLEAR = "\x1b[H\x1b[2J"
_MEMBERS = {False: "EndpointName", True: "InferenceComponentName"}
component_option = click.option("--component", is_flag=True, help="NAME is an inference component.")


@click.command(short_help="What a deployment is doing.")
@click.argument("name")
@click.option("--watch", is_flag=True, help="Draw it anew in a terminal until it is over.")
@component_option
@data_option
@json_option
def deployment(name: str, watch: bool, component: bool, data: Path | None, as_json: bool) -> None:
    """Show the fleets of the endpoint NAME, their instances, their part of the traffic, the alarms and the phase."""
    server = find(data)
    live = watch and not as_json and sys.stdout.isatty()
    while True:
        found = _picture(server, name, component=component)
        if as_json:
            click.echo(json.dumps(found, indent=2))
            return
        text = picture_text(found, time.time())
        click.echo(f"{_CLEAR}{text}" if live else text)
        if not live or "Deployment" not in found:
            return
        time.sleep(_EVERY_S)


@click.command(short_help="Go on with a deployment now.")
@click.argument("name")
@component_option
@data_option
def promote(name: str, component: bool, data: Path | None) -> None:
    """Skip what the deployment of the endpoint NAME has left to bake, and wait until it is over.

    Its steps are taken one after another all the same, and its alarms still take it back.
    """
    server = find(data)
    to = _picture(server, name, component=component).get("Deployment", {}).get("To", "")
    server.ask("POST", PATH, body={_MEMBERS[component]: name, "Action": PROMOTE})
    if component:
        _wait_for_component(server, name)
    else:
        _wait_for(server, name, to)


@click.command(short_help="Take an endpoint back to what it served before.")
@click.argument("name")
@component_option
@data_option
def rollback(name: str, component: bool, data: Path | None) -> None:
    """Take the endpoint NAME back, and wait until it is there.

    While a deployment is under way, all traffic goes back to the old fleet at once. After it, the endpoint is updated
    to the configuration that it had before: all at once, as soon as its instances are ready. What an inference
    component served before is not known after its deployment.
    """
    server = find(data)
    if component:
        server.ask("POST", PATH, body={_MEMBERS[component]: name, "Action": ROLL_BACK})
        _wait_for_component(server, name)
        return
    found = _picture(server, name)
    if "Deployment" in found and found["EndpointStatus"] == "Updating":
        server.ask("POST", PATH, body={"EndpointName": name, "Action": ROLL_BACK})
        _wait_for(server, name, found["Deployment"]["From"])
        return
    before = found["PreviousEndpointConfigName"]
    if not before:
        raise Failed(f"It is not known what {name} served before; `kedge history {name}` shows what is known.")
    server.client("sagemaker").update_endpoint(EndpointName=name, EndpointConfigName=before)
    _wait_for(server, name, before)


@click.command(short_help="Deployments of an endpoint, and how they ended.")
@click.argument("name")
@data_option
@json_option
def history(name: str, data: Path | None, as_json: bool) -> None:
    """List the deployments of the endpoint NAME, the newest first: when, how, what became of it and why.

    Also those of one that was deleted, and of others that had its name before.
    """
    found = _picture(find(data), name)
    lines = [found["Deployment"]] if "Deployment" in found else []
    lines += found["Deployments"]
    click.echo(json.dumps(lines, indent=2) if as_json else past_table(lines, time.time()))


def _picture(server: Server, name: str, *, component: bool = False) -> dict[str, Any]:
    return server.ask("GET", PATH, {_MEMBERS[component]: name})


def _wait_for_component(server: Server, name: str) -> None:
    """Says which model it serves at the end. Raises Failed when it is not in service then."""
    say, end_s = progress(), time.monotonic() + SETTLE_S
    before = ""
    while time.monotonic() < end_s:
        found = _picture(server, name, component=True)
        status = found["InferenceComponentStatus"]
        if status != before:
            before = status
            say(f"{name}: {status}")
        if status == "InService":
            (serves,) = (each["Variants"][0]["ModelName"] for each in found["Fleets"] if not each["IsPending"])
            reason = f" {found['FailureReason']}" if found["FailureReason"] else ""
            click.echo(f"In service: {name} with model {serves}.{reason}")
            return
        if status == "Failed":
            raise Failed(f"{name} is Failed: {found['FailureReason'] or 'no reason was given'}")
        time.sleep(_EVERY_S)
    raise Failed(f"{name} is still {before} after {SETTLE_S:.0f} s; look at `kedge logs --component {name}`.")


def _wait_for(server: Server, name: str, config: str) -> None:
    """Raises Failed when something else serves at the end."""
    settled = wait_until_settled(server.client("sagemaker"), name, progress(), SETTLE_S)
    if settled["EndpointConfigName"] != config:
        reason = settled.get("FailureReason") or "no reason was given"
        raise Failed(f"{name} serves {settled['EndpointConfigName']}, not {config}: {reason}")
    click.echo(f"In service: {name} with {config}.")
