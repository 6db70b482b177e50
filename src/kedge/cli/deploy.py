"""`kedge deploy`: a model file becomes an endpoint in service."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from kedge.cli import rollout
from kedge.cli.failures import Failed
from kedge.cli.lifecycle import data_option, json_option
from kedge.cli.packing import ARCHIVES, MODEL_SUFFIXES, pack
from kedge.cli.rollout import Rollout
from kedge.cli.server import Server, find

TAG = "kedge:deployed-as"
"""On models and endpoint configurations that `kedge deploy` made; the value is the endpoint's name."""

AT_ONCE = Rollout()
_POLL_S = 0.1
SETTLE_S = 600.0
DEFAULT_CONCURRENCY = 20


def endpoint_name(path: Path) -> str:
    """A name that SageMaker allows, from the file's own."""
    stem = path.name
    for suffix in (*ARCHIVES, *MODEL_SUFFIXES):
        stem = stem.removesuffix(suffix)
    return re.sub(r"[^A-Za-z0-9]+", "-", stem).strip("-")[:63].strip("-") or "model"


def place_variant(existing: list[dict[str, Any]], new: dict[str, Any], chosen: str | None) -> list[dict[str, Any]]:
    """The endpoint's variants after this deployment. PURE. Raises click.UsageError when it is unclear which one it is.

    chosen: what --variant says. Without it the endpoint has, or gets, one variant.
    """
    names = [variant["VariantName"] for variant in existing]
    if chosen is None and len(names) > 1:
        raise click.UsageError(f"The endpoint has the variants {', '.join(names)}; say by --variant which one it is.")
    name = chosen or (names[0] if names else "AllTraffic")
    placed = {**new, "VariantName": name}
    if name in names:
        return [placed if variant["VariantName"] == name else variant for variant in existing]
    return [*existing, placed]


def serverless_members(memory_mb: int | None, most: int | None, provisioned: int | None) -> dict[str, Any]:
    """Of a ProductionVariant; none where it is not to be serverless. PURE. Raises click.UsageError."""
    if memory_mb is None:
        for option, value in (("--max-concurrency", most), ("--provisioned-concurrency", provisioned)):
            if value is not None:
                raise click.UsageError(f"{option} is for --serverless MB, the memory of one invocation.")
        return {}
    config = {"MemorySizeInMB": memory_mb, "MaxConcurrency": most or DEFAULT_CONCURRENCY}
    if provisioned is not None:
        config["ProvisionedConcurrency"] = provisioned
    return {"ServerlessConfig": config}


@click.command(short_help="Put a model in service.")
@click.argument("model_path", type=click.Path(exists=True, path_type=Path))
@click.option("--name", help="Endpoint; the file's name when not given.")
@click.option("--variant", help="Variant to add or replace, the others stay.")
@click.option("--weight", type=click.FloatRange(0), help="Share of the traffic beside the other variants' weights. [1]")
@click.option("--instance-count", type=click.IntRange(1), default=1, show_default=True)
@click.option("--instance-type", default="ml.t3.medium", show_default=True)
@click.option("--serverless", type=click.IntRange(1024, 6144), metavar="MB", help="No instance while it is idle.")
@click.option("--max-concurrency", type=click.IntRange(1, 200), help="Of --serverless: invocations at a time. [20]")
@click.option("--provisioned-concurrency", type=click.IntRange(1, 200), help="Of --serverless: instances kept warm.")
@click.option("--image", default="kedge/sklearn", show_default=True, help="Picks the runtime.")
@click.option("--canary", type=click.IntRange(1, 50), metavar="PERCENT", help="First so much of the traffic.")
@click.option("--linear", type=click.IntRange(10, 50), metavar="PERCENT", help="So much more at each step.")
@click.option("--rolling", type=click.IntRange(5, 50), metavar="PERCENT", help="So many of the instances at a time.")
@click.option("--bake", metavar="TIME", help="How long each step is watched: 90s, 5m, up to 1h.")
@click.option("--final-bake", metavar="TIME", help="How long the old fleet is kept once all traffic has moved.")
@click.option("--rollback-on", multiple=True, metavar="ALARM", help="An alarm that takes traffic back.")
@click.option("--trial", metavar="SOURCE", help="Requests to try the new fleet with: s3://..., captured, synthetic.")
@click.option("--trial-with", multiple=True, metavar="NAME=VALUE", help="A limit of the trial, such as max-p99=200.")
@data_option
@json_option
def deploy(
    model_path: Path,
    name: str | None,
    variant: str | None,
    weight: float | None,
    instance_count: int,
    instance_type: str,
    serverless: int | None,
    max_concurrency: int | None,
    provisioned_concurrency: int | None,
    image: str,
    canary: int | None,
    linear: int | None,
    rolling: int | None,
    bake: str | None,
    final_bake: str | None,
    rollback_on: tuple[str, ...],
    trial: str | None,
    trial_with: tuple[str, ...],
    data: Path | None,
    as_json: bool,
) -> None:
    """Put MODEL_PATH behind an endpoint, new or existing, and wait until it is in service.

    MODEL_PATH: a joblib, pickle or skops file, a folder with a model or inference.py, or a model.tar.gz.

    An endpoint that is there goes on serving until the new model is ready. Then all traffic moves at once, or step by
    step: kedge deploy model.joblib --name wine --canary 10 --bake 5m --rollback-on too-many-errors
    """
    from kedge.serving.runtimes import images

    if images.choose(image) is None and not images.is_reference(image):
        raise click.UsageError(f'"{image}" is no image; known are {", ".join(images.known_images())}.')
    bake_s, final_bake_s = rollout.bake_seconds("--bake", bake), rollout.bake_seconds("--final-bake", final_bake)
    tried = rollout.trial_settings(trial, trial_with)
    way = Rollout(canary, linear, rolling, bake_s, final_bake_s, rollback_on, tried)
    way.deployment_config()
    server = find(data)
    say = quiet if as_json else progress()
    endpoint = name or endpoint_name(model_path)
    new = serverless_members(serverless, max_concurrency, provisioned_concurrency)
    source = click.get_current_context().get_parameter_source
    says = any(source(each) is not ParameterSource.DEFAULT for each in ("instance_type", "instance_count"))
    if new and says:
        raise click.UsageError("--serverless has no --instance-type and no --instance-count: choose one of the two.")
    if not new:
        new = {"InstanceType": instance_type, "InitialInstanceCount": instance_count}
    if weight is not None:
        new["InitialVariantWeight"] = weight
    result = run(server, model_path, endpoint, variant, new, image, say, way, keeps_serverless=not says)
    if as_json:
        click.echo(json.dumps(result, indent=2))
    else:
        click.echo(f'In service: {endpoint}. Ask it: kedge invoke {endpoint} --data "..."')


def run(
    server: Server,
    path: Path,
    endpoint: str,
    variant: str | None,
    new: dict[str, Any],
    image: str,
    say: Callable[[str], None],
    way: Rollout = AT_ONCE,
    *,
    keeps_serverless: bool = False,
) -> dict[str, Any]:
    """Pack, upload, create, wait. Returns names, ARN and URL. Raises Failed with the endpoint's FailureReason.

    keeps_serverless: a serverless variant stays one, since instances could not become serverless again.
    """
    started = time.monotonic()
    sagemaker = server.client("sagemaker")
    before = describe(sagemaker, endpoint)
    existing = _variants(sagemaker, before) if before and before["EndpointStatus"] != "Failed" else []
    full_name = f"{endpoint[:40].strip('-')}-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"
    before_it = [each for each in existing if variant in (None, each["VariantName"]) and "ServerlessConfig" in each]
    if keeps_serverless and before_it and "ServerlessConfig" not in new:
        of_instances = ("InstanceType", "InitialInstanceCount")
        new = {name: value for name, value in new.items() if name not in of_instances}
        new["ServerlessConfig"] = before_it[0]["ServerlessConfig"]
    variants = place_variant(existing, {**new, "ModelName": full_name}, variant)
    for each in variants:
        each.setdefault("InitialVariantWeight", _weight_of(existing, each["VariantName"]))

    say(f"packing {path}")
    with tempfile.TemporaryDirectory(prefix="kedge-deploy-") as folder:
        archive = Path(folder) / "model.tar.gz"
        pack(path, archive)
        with open(archive, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        key = f"kedge-deploy/{endpoint}/{digest[:16]}/model.tar.gz"
        say(f"uploading {archive.stat().st_size:,} bytes to s3://{server.bucket}/{key}")
        server.client("s3").upload_file(str(archive), server.bucket, key)

    if way.is_asked_for and (not before or before["EndpointStatus"] == "Failed"):
        say(f"{endpoint} is new: no traffic has to move, so how it is to move counts from the next deployment on")
    tags = [{"Key": TAG, "Value": endpoint}]
    sagemaker.create_model(
        ModelName=full_name,
        ExecutionRoleArn=server.role_arn,
        PrimaryContainer={"Image": image, "ModelDataUrl": f"s3://{server.bucket}/{key}"},
        Tags=tags,
    )
    try:
        sagemaker.create_endpoint_config(
            EndpointConfigName=full_name, ProductionVariants=variants, Tags=[*tags, *way.trial_tags()]
        )
        if before and before["EndpointStatus"] == "Failed":
            say(f"removing the failed endpoint {endpoint}")
            sagemaker.delete_endpoint(EndpointName=endpoint)
            wait_until_gone(sagemaker, endpoint)
            before = None
        if before:
            config = way.deployment_config()
            given = {} if config is None else {"DeploymentConfig": config}
            sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=full_name, **given)
        else:
            sagemaker.create_endpoint(EndpointName=endpoint, EndpointConfigName=full_name, Tags=tags)
        settled = wait_until_settled(sagemaker, endpoint, say, SETTLE_S + way.waits_s)
        if settled["EndpointConfigName"] != full_name:
            reason = settled.get("FailureReason") or "no reason was given"
            raise Failed(f"{endpoint} was not updated and serves what it served before: {reason}")
    except Exception:
        _remove_unused(sagemaker, endpoint, full_name)
        raise
    say(f"in service after {time.monotonic() - started:.1f} s")
    return {
        "endpoint": endpoint,
        "arn": settled["EndpointArn"],
        "model": full_name,
        "endpoint_config": full_name,
        "url": f"{server.inference_url}/endpoints/{endpoint}/invocations",
        "seconds": round(time.monotonic() - started, 3),
    }


def describe(sagemaker: Any, endpoint: str) -> dict[str, Any] | None:
    from botocore.exceptions import ClientError

    try:
        found: dict[str, Any] = sagemaker.describe_endpoint(EndpointName=endpoint)
    except ClientError as error:
        if "Could not find" in error.response["Error"]["Message"]:
            return None
        raise
    return found


def wait_until_settled(
    sagemaker: Any, endpoint: str, say: Callable[[str], None], patience_s: float = SETTLE_S
) -> dict[str, Any]:
    """The endpoint as it is once nothing moves any more; what moves is said.

    Raises Failed if it is not in service then.
    """
    deadline, status = time.monotonic() + patience_s, ""
    said: set[str] = set()
    while time.monotonic() < deadline:
        found = describe(sagemaker, endpoint)
        if found is None:
            raise Failed(f"{endpoint} was deleted meanwhile.")
        if found["EndpointStatus"] != status:
            status = found["EndpointStatus"]
            say(f"{endpoint}: {status}")
        for line in rollout.news(found):
            if line not in said:
                say(line)
                said.add(line)
        if status == "InService":
            return found
        if status in ("Failed", "OutOfService", "UpdateRollbackFailed"):
            raise Failed(f"{endpoint} is {status}: {found.get('FailureReason') or 'no reason was given'}")
        time.sleep(_POLL_S)
    raise Failed(f"{endpoint} is still {status} after {patience_s:.0f} s; look at `kedge logs {endpoint}`.")


def _remove_unused(sagemaker: Any, endpoint: str, name: str) -> None:
    """The model and the endpoint configuration that were made for a deployment that has failed, unless it may go on."""
    from botocore.exceptions import ClientError

    found = describe(sagemaker, endpoint)
    if found is not None and found["EndpointStatus"] != "Failed":
        pending = found.get("PendingDeploymentSummary", {}).get("EndpointConfigName")
        if name in (found.get("EndpointConfigName"), pending) or found["EndpointStatus"] == "UpdateRollbackFailed":
            return
    with contextlib.suppress(ClientError):  # it was not made
        sagemaker.delete_endpoint_config(EndpointConfigName=name)
    with contextlib.suppress(ClientError):
        sagemaker.delete_model(ModelName=name)


def wait_until_gone(sagemaker: Any, endpoint: str) -> None:
    deadline = time.monotonic() + SETTLE_S
    while describe(sagemaker, endpoint) is not None:
        if time.monotonic() > deadline:
            raise Failed(f"{endpoint} is still there after {SETTLE_S:.0f} s; look at `kedge status`.")
        time.sleep(_POLL_S)


def _variants(sagemaker: Any, endpoint: dict[str, Any]) -> list[dict[str, Any]]:
    """The configuration's variants with the weights, counts and concurrency that the endpoint has now."""
    config = sagemaker.describe_endpoint_config(EndpointConfigName=endpoint["EndpointConfigName"])
    now = {each["VariantName"]: each for each in endpoint.get("ProductionVariants", [])}
    found = []
    for variant in config["ProductionVariants"]:
        seen = now.get(variant["VariantName"], {})
        now_has = {"InitialVariantWeight": seen.get("DesiredWeight", variant.get("InitialVariantWeight", 1.0))}
        if "ServerlessConfig" in variant:
            now_has["ServerlessConfig"] = seen.get("DesiredServerlessConfig", variant["ServerlessConfig"])
        else:
            now_has["InitialInstanceCount"] = seen.get("DesiredInstanceCount", variant.get("InitialInstanceCount", 1))
        found.append({**variant, **now_has})
    return found


def _weight_of(existing: list[dict[str, Any]], name: str) -> float:
    return next((each["InitialVariantWeight"] for each in existing if each["VariantName"] == name), 1.0)


def quiet(_text: str) -> None:
    """Programs read the result only."""


def progress() -> Callable[[str], None]:
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - started:6.1f} s  {text}", file=sys.stderr, flush=True)

    return say
