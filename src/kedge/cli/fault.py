"""`kedge fault`: make a part of the machine fail, to see that what is served goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from kedge.cli.lifecycle import data_option, json_option
from kedge.cli.server import find
from kedge.cli.tables import table
from kedge.endpoints.zoning import OFF, ON, PATH


@click.group(short_help="Make a part of the machine fail, for a test.")
def fault() -> None:
    """Make a part of the machine fail, to see that what is served goes on."""


@fault.command(short_help="Switch a zone off, or on again.")
@click.argument("name", required=False)
@click.option("--clear", is_flag=True, help="Switch it on again.")
@data_option
@json_option
def zone(name: str | None, clear: bool, data: Path | None, as_json: bool) -> None:
    """Switch the zone NAME (a letter of KEDGE_ZONES) off: its instances are killed, and started in the other zones.

    It stays off, over restarts too, until --clear. Without NAME: show the zones.
    """
    if clear and name is None:
        raise click.UsageError("--clear needs the NAME of the zone.")
    server = find(data)
    if name is not None:
        server.ask("POST", PATH, body={"Zone": name, "State": ON if clear else OFF})
    found = server.ask("GET", PATH)
    click.echo(json.dumps(found["Zones"], indent=2) if as_json else zones_table(found["Zones"]))


def zones_table(zones: list[dict[str, Any]]) -> str:
    rows = [
        (each["AvailabilityZone"], each["State"], f"{each['ReadyInstanceCount']}/{each['InstanceCount']}")
        for each in zones
    ]
    return table(["ZONE", "STATE", "READY"], rows)
