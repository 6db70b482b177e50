"""`kedge invoke`, `weights` and `delete`: an endpoint that is there."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

import click

from kedge.cli.deploy import TAG, describe, wait_until_gone, wait_until_settled
from kedge.cli.failures import Failed
from kedge.cli.lifecycle import data_option, json_option
from kedge.cli.server import find
from kedge.cli.tables import table

_CONTENT_TYPES = {
    ".csv": "text/csv",
    ".json": "application/json",
    ".jsonl": "application/jsonlines",
    ".ndjson": "application/jsonlines",
    ".npy": "application/x-npy",
}


def content_type_of(body: bytes, file: str) -> str:
    """What a body is, by its file's name or by its first character."""
    suffix = Path(file).suffix.lower()
    if suffix in _CONTENT_TYPES:
        return _CONTENT_TYPES[suffix]
    if body.startswith(b"\x93NUMPY"):
        return "application/x-npy"
    return "application/json" if body.lstrip()[:1] in (b"[", b"{") else "text/csv"


@click.command(short_help="Ask an endpoint.")
@click.argument("name")
@click.option("--file", "file", type=click.File("rb"), help="Body; - is the standard input.")
@click.option("--data", "text", help="Body, as text.")
@click.option("--content-type", help="Guessed from the file's name or the body when not given.")
@click.option("--accept", help="Form of the answer, such as text/csv.")
@click.option("--target-variant", help="Ask this variant, whatever the weights say.")
@click.option("--data-dir", type=click.Path(path_type=Path, file_okay=False), help="Data directory of the server.")
@json_option
def invoke(
    name: str,
    file: Any,
    text: str | None,
    content_type: str | None,
    accept: str | None,
    target_variant: str | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Send one request to the endpoint NAME and print its answer."""
    if (file is None) == (text is None):
        raise click.UsageError('Give the body by --data TEXT or by --file FILE ("-" reads the standard input).')
    body = text.encode() if text is not None else file.read()
    options = {"Accept": accept, "TargetVariant": target_variant}
    answer = (
        find(data_dir)
        .client("sagemaker-runtime")
        .invoke_endpoint(
            EndpointName=name,
            Body=body,
            ContentType=content_type or content_type_of(body, getattr(file, "name", "")),
            **{key: value for key, value in options.items() if value is not None},
        )
    )
    result = answer["Body"].read()
    if as_json:
        click.echo(json.dumps({**_described(answer), **_shown(result)}, indent=2))
        return
    sys.stdout.buffer.write(result)
    if sys.stdout.isatty() and not result.endswith(b"\n"):
        sys.stdout.buffer.write(b"\n")
    sys.stdout.buffer.flush()


def _described(answer: dict[str, Any]) -> dict[str, Any]:
    return {"variant": answer.get("InvokedProductionVariant"), "content_type": answer.get("ContentType")}


def _shown(body: bytes) -> dict[str, str]:
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(body).decode()}


@click.command(short_help="Divide an endpoint's traffic.")
@click.argument("name")
@click.argument("weights", nargs=-1, required=True, metavar="VARIANT=WEIGHT...")
@data_option
@json_option
def weights(name: str, weights: tuple[str, ...], data: Path | None, as_json: bool) -> None:
    """Divide the endpoint's traffic: kedge weights NAME a=90 b=10."""
    desired = [_desired(text) for text in weights]
    sagemaker = find(data).client("sagemaker")
    sagemaker.update_endpoint_weights_and_capacities(EndpointName=name, DesiredWeightsAndCapacities=desired)
    found = wait_until_settled(sagemaker, name, lambda _text: None)
    variants = found["ProductionVariants"]
    if as_json:
        click.echo(json.dumps({each["VariantName"]: each["CurrentWeight"] for each in variants}, indent=2))
        return
    total = sum(each["CurrentWeight"] for each in variants) or 1.0
    rows = [
        (
            each["VariantName"],
            each["CurrentWeight"],
            f"{each['CurrentWeight'] / total:.1%}",
            each["CurrentInstanceCount"],
        )
        for each in variants
    ]
    click.echo(table(["VARIANT", "WEIGHT", "SHARE", "INSTANCES"], rows))


def _desired(text: str) -> dict[str, Any]:
    variant, sign, weight = text.rpartition("=")
    try:
        if not sign or not variant:
            raise ValueError
        return {"VariantName": variant, "DesiredWeight": float(weight)}
    except ValueError:
        raise click.UsageError(f'"{text}" is not VARIANT=WEIGHT, for example a=90.') from None


@click.command(short_help="Delete an endpoint.")
@click.argument("name")
@data_option
def delete(name: str, data: Path | None) -> None:
    """Delete the endpoint NAME, and the models and configurations that `kedge deploy` made for it."""
    sagemaker = find(data).client("sagemaker")
    if describe(sagemaker, name) is not None:
        sagemaker.delete_endpoint(EndpointName=name)
        wait_until_gone(sagemaker, name)
        click.echo(f"Deleted the endpoint {name}.")
    elif not _ours(sagemaker, name):
        raise Failed(f'There is no endpoint "{name}"; `kedge status` lists those that there are.')
    for kind, resource in _ours(sagemaker, name):
        if kind == "model":
            sagemaker.delete_model(ModelName=resource)
        else:
            sagemaker.delete_endpoint_config(EndpointConfigName=resource)
        click.echo(f"Deleted the {kind} {resource}.")


def _ours(sagemaker: Any, name: str) -> list[tuple[str, str]]:
    """(kind, name) of what `kedge deploy` made for this endpoint; configurations first, since they name models."""
    start = f"{name[:40].strip('-')}-"
    found = []
    for operation, listed, key, kind in (
        ("list_endpoint_configs", "EndpointConfigs", "EndpointConfig", "configuration"),
        ("list_models", "Models", "Model", "model"),
    ):
        for page in sagemaker.get_paginator(operation).paginate(NameContains=start):
            for each in page[listed]:
                tags = sagemaker.list_tags(ResourceArn=each[f"{key}Arn"])["Tags"]
                if {"Key": TAG, "Value": name} in tags:
                    found.append((kind, each[f"{key}Name"]))
    return found
