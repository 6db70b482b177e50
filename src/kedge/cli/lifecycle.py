"""`kedge up`, `down`, `status` and `env`: the server itself."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from kedge import config
from kedge.cli import environment
from kedge.cli.failures import NotRunning
from kedge.cli.server import data_folder, find
from kedge.cli.tables import table
from kedge.home import write_whole
from kedge.logs.names import JOB_GROUPS

_MAX_SERVES = 60
_SET_THEM = {
    "bash": 'eval "$(kedge env)"',
    "fish": "kedge env --shell fish | source",
    "powershell": "kedge env --shell powershell | Out-String | Invoke-Expression",
}

data_option = click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="Data directory; KEDGE_DATA_DIR, else ~/.kedge.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="For programs.")


@click.command(short_help="Start the server.")
@data_option
@click.option("--api-port", type=int, help="Port of the AWS APIs and S3; 0 is any free one. [8770]")
@click.option("--inference-port", type=int, help="Port of InvokeEndpoint; 0 is any free one. [8771]")
@click.option("--host", help="Address to listen on. [127.0.0.1]")
@click.option("--routers", type=int, help="Processes that share the inference port. [1]")
@click.option("--detach", is_flag=True, help="Return once both ports answer; end it with `kedge down`.")
@click.option("--tls", is_flag=True, default=None, help="HTTPS, with an own certificate authority.")
@click.option("--tls-cert", type=click.Path(dir_okay=False), help="PEM file of a certificate chain; means --tls.")
@click.option("--tls-key", type=click.Path(dir_okay=False), help="PEM file of its private key.")
@click.option("--ephemeral", is_flag=True, default=None, help="State goes with the process; --data is a new folder.")
@click.option("--require-sandbox", is_flag=True, default=None, help="Refuse to start without every layer of it.")
@click.option("--insecure-no-auth", is_flag=True, help="Check no signatures; loopback only.")
@click.option("--until-stdin-closes", is_flag=True, hidden=True, help="End with the process that started this one.")
@json_option
def up(
    data: Path | None,
    detach: bool,
    insecure_no_auth: bool,
    until_stdin_closes: bool,
    as_json: bool,
    tls: bool | None,
    tls_cert: str | None,
    **flags: Any,
) -> None:
    """Start the server and print its addresses once both ports answer.

    It runs until Ctrl-C or `kedge down`. What it held is there again at the next start, unless --ephemeral.
    """
    settings = config.read(
        data_dir=data,
        auth_required=False if insecure_no_auth else None,
        tls=True if tls or tls_cert else None,
        tls_cert=tls_cert,
        **flags,
    )
    from kedge import node

    if until_stdin_closes:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    chosen = settings.data_dir.expanduser().absolute() if data is not None else None
    raise SystemExit(node.up(settings, ephemeral_at=chosen, detach=detach, as_json=as_json))


def _end_with_stdin() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


@click.command(short_help="End the server and all it runs.")
@data_option
def down(data: Path | None) -> None:
    """End the server and everything that it runs, also when its supervisor is already dead."""
    from kedge import node

    raise SystemExit(node.down(data_folder(data)))


@click.command(short_help="Processes, addresses and instances.")
@data_option
@json_option
def status(data: Path | None, as_json: bool) -> None:
    """Processes, addresses and instances. Exit code 3 when no server is running."""
    from kedge import node

    folder = data_folder(data)
    found: dict[str, Any] = node.status(folder)
    alive = found["running"] or any(each["pid"] for each in (*found["roles"], *found["instances"]))
    zones = found.get("zones", [])
    if as_json:
        click.echo(json.dumps(found, indent=2))
        raise SystemExit(0 if alive else 3)
    if not alive:
        raise NotRunning(f"No server is running with the data directory {folder}; start it with `kedge up`.")
    for label, key in (("API", "api_url"), ("Inference", "inference_url"), ("Data", "data_dir"), ("Core", "core")):
        click.echo(f"{label:10} {found.get(key, '')}")
    if not found["running"]:
        click.echo("The supervisor is dead: `kedge up` takes over what still runs, `kedge down` ends it.")
    if found.get("auth_required") is False:
        click.echo("Signatures are NOT checked (--insecure-no-auth).")
    if missing := found.get("sandbox", {}).get("missing"):
        click.echo(f"The sandbox around instances lacks: {', '.join(missing).replace('_', ' ')} (`kedge doctor`).")
    click.echo()
    click.echo(table(["ROLE", "PID"], [(each["role"], each["pid"] or "-") for each in found.get("roles", [])]))
    if instances := found.get("instances", []):
        rows = [
            (
                _for_what(each.get("labels") or {}),
                (each.get("labels") or {}).get("variant", ""),
                each.get("id", ""),
                *([_zone(each.get("labels") or {})] if len(zones) > 1 else []),
                each.get("state", ""),
                each.get("pid") or "-",
                each.get("restarts", 0),
                _shortened(each.get("serves") or "-"),
            )
            for each in instances
        ]
        click.echo()
        names = ["ENDPOINT", "VARIANT", "INSTANCE", *(["ZONE"] if len(zones) > 1 else []), "STATE", "PID", "RESTARTS"]
        click.echo(table([*names, "SERVES"], rows))
    if len(zones) > 1 and found["running"]:
        click.echo()
        click.echo(_zones(data))
    if captured := found.get("capture", []):
        members = ("endpoint", "variant", "taken", "dropped", "withheld", "problem")
        click.echo()
        head = ["ENDPOINT", "VARIANT", "CAPTURED", "DROPPED", "WITHHELD", "PROBLEM"]
        click.echo(table(head, [[each[name] for name in members] for each in captured]))


def _zone(labels: dict[str, str]) -> str:
    """Jobs belong to no zone."""
    from kedge.endpoints.zones import az_name

    return az_name(labels.get("region", ""), labels["zone"]) if "zone" in labels else "-"


def _zones(data: Path | None) -> str:
    from kedge.cli.fault import zones_table
    from kedge.endpoints.zoning import PATH

    try:
        return zones_table(find(data).ask("GET", PATH)["Zones"])
    except click.ClickException as error:
        return f"The zones are not known: {error.message}"


def _for_what(labels: dict[str, str]) -> str:
    jobs = (labels.get(each) for each in ("transform_job", *JOB_GROUPS))
    return labels.get("endpoint") or next((f"job {name}" for name in jobs if name), "")


def _shortened(text: str) -> str:
    """All of it stands in --json."""
    return text if len(text) <= _MAX_SERVES else text[: _MAX_SERVES - 3] + "..."


@click.command(short_help="Variables for boto3 and other SDKs.")
@data_option
@click.option("--shell", type=click.Choice(environment.SHELLS), default="bash", show_default=True)
@click.option("--unset", is_flag=True, help="Take the variables back.")
@json_option
def env(data: Path | None, shell: str, unset: bool, as_json: bool) -> None:
    """Variables for boto3, the AWS CLI and the SageMaker SDK: eval "$(kedge env)"."""
    proxies = {name: os.environ.get(name, "") for name in environment.NO_PROXY}
    values: dict[str, str] = {}
    if unset:
        host = _host_of_last(data_folder(data))
        proxies = {name: environment.without_host(text, host) for name, text in proxies.items()}
        gone = [*environment.EXPORTED, *(name for name, text in proxies.items() if not text)]
    else:
        server = find(data)
        api, inference = environment.by_number(server.api_url), environment.by_number(server.inference_url)
        defaults = server.data_dir / "sagemaker-sdk" / "config.yaml"
        defaults.parent.mkdir(mode=0o700, exist_ok=True)
        write_whole(defaults, environment.sdk_configuration(server.bucket, server.role_arn).encode())
        reach = (api, inference, server.access_key_id, server.secret_access_key, server.region, server.region)
        trust = (server.ca_bundle, server.ca_bundle)
        exported = zip(environment.EXPORTED, (*reach, *trust, str(defaults), server.role_arn), strict=True)
        values = {name: value for name, value in exported if value}
        host = urlsplit(api).hostname or ""
        proxies = {name: environment.with_host(text, host) for name, text in proxies.items()}
        gone = list(environment.LEFTOVERS)
    values |= {name: text for name, text in proxies.items() if text}
    if as_json:
        click.echo(json.dumps({"unset": gone, "set": values} if unset else values, indent=2))
        return
    click.echo("\n".join([*environment.unsets(gone, shell), *environment.exports(values, shell)]))
    if sys.stdout.isatty() and not unset:
        click.echo(f"# To set them: {_SET_THEM[shell]}")


def _host_of_last(folder: Path) -> str:
    """The host that `kedge env` added to NO_PROXY: that of the server that ran last, running or not."""
    try:
        url = json.loads((folder / "run.json").read_bytes())["api_url"]
        return urlsplit(environment.by_number(url)).hostname or ""
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "127.0.0.1"
