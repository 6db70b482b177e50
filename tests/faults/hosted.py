"""Steps of tests that give a server bad models and bad requests, and look at what it says and how it is afterwards."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from .conftest import NO_RETRY, Server, adding_model, until

TINY = "ml.tiny.small"
TINY_BYTES = 384 * 1024**2
FINAL = ("InService", "Failed")
GOOD = "good"
"""The endpoint beside the bad ones: it answers its input plus 10."""
_MACHINE = re.compile(r"Errno 12|keeper ended|could not be started", re.IGNORECASE)
"""Of an instance that the machine, and not its model, kept from starting: it is tried again."""


class Hosted(Server):
    """Keeps its clients: making one takes longer than most of what these tests ask."""

    def client(self, service: str, config: Config = NO_RETRY, **options: Any) -> Any:
        if config is not NO_RETRY or options:
            return super().client(service, config, **options)
        kept: dict[str, Any] = self.__dict__.setdefault("kept", {})
        if service not in kept:
            kept[service] = super().client(service)
        return kept[service]

    def down(self) -> None:
        super().down()
        for client in self.__dict__.pop("kept", {}).values():
            client.close()


@contextmanager
def running(folder: Path, **settings: str) -> Iterator[Server]:
    """A server with the instance type TINY and the endpoint GOOD."""
    types = folder / "types.json"
    types.write_text(json.dumps({TINY: {"cores": 1, "memory_gib": TINY_BYTES / 1024**3, "gpus": 0}}))
    server = Hosted(folder / "data")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"instance_types": str(types), **settings}.items():
            patch.setenv(f"KEDGE_{name.upper()}", value)
        server.up()
    try:
        create(server, GOOD, adding_model(10))
        assert settled(server, GOOD, adding_model(10))["EndpointStatus"] == "InService"
        yield server
    finally:
        server.down()


def create(
    server: Server,
    name: str,
    model: bytes | None,
    environment: Mapping[str, str] | None = None,
    instance_type: str = TINY,
    instances: int = 1,
) -> None:
    """Everything up to the endpoint, which has variant `v`. model: the archive; None: what is there already."""
    sagemaker = server.client("sagemaker")
    if model is not None:
        server.client("s3").put_object(Bucket=server.bucket, Key=f"{name}.tar.gz", Body=model)
    sagemaker.create_model(
        ModelName=name,
        ExecutionRoleArn=f"arn:aws:iam::{server.ready['account']}:role/kedge-execution-role",
        PrimaryContainer={
            "Image": "kedge/sklearn",
            "ModelDataUrl": f"s3://{server.bucket}/{name}.tar.gz",
            "Environment": dict(environment or {}),
        },
    )
    variant = {"VariantName": "v", "ModelName": name, "InitialInstanceCount": instances, "InstanceType": instance_type}
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)


def settled(server: Server, name: str, model: bytes | None = None, timeout_s: float = 60.0) -> dict[str, Any]:
    """The endpoint once it is InService or Failed. model: given, it is created anew when the machine was at fault."""
    sagemaker = server.client("sagemaker")

    def final() -> dict[str, Any] | None:
        found = sagemaker.describe_endpoint(EndpointName=name)
        return found if found["EndpointStatus"] in FINAL else None

    for _ in range(3):
        found: dict[str, Any] = until(final, timeout_s, f"the end of creating {name}")
        if model is None or not _MACHINE.search(found.get("FailureReason", "")):
            break
        delete(server, name)
        sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    return found


def delete(server: Server, name: str) -> None:
    """The endpoint, until it is gone."""
    sagemaker = server.client("sagemaker")
    sagemaker.delete_endpoint(EndpointName=name)
    until(lambda: not _there(sagemaker, name), what=f"the end of {name}")


def _there(sagemaker: Any, name: str) -> bool:
    try:
        sagemaker.describe_endpoint(EndpointName=name)
    except ClientError:
        return False
    return True


def invoke(server: Server, endpoint: str, body: bytes | str, kind: str = "application/json", **more: Any) -> bytes:
    runtime = server.client("sagemaker-runtime")
    answer = runtime.invoke_endpoint(EndpointName=endpoint, ContentType=kind, Body=body, **more)
    data: bytes = answer["Body"].read()
    return data


def refused(call: Callable[[], Any]) -> tuple[int, str, str, dict[str, Any]]:
    """(status, code, message, whole answer) of a call that has to be refused."""
    with pytest.raises(ClientError) as caught:
        call()
    response: dict[str, Any] = dict(caught.value.response)
    error = response["Error"]
    assert error["Message"], "a refusal without a message"
    assert "Traceback" not in error["Message"]
    return response["ResponseMetadata"]["HTTPStatusCode"], error["Code"], error["Message"], response


def assert_unharmed(server: Server) -> None:
    """The roles are healthy and have written no traceback, and the good endpoint answers."""
    assert invoke(server, GOOD, "5") == b"15"
    for url in (server.ready["api_url"], server.ready["inference_url"]):
        with urlopen(f"{url.rstrip('/')}/kedge/health", timeout=10) as answer:
            assert answer.status == 200
    logs = [*server.data.glob("log/control*.log"), *server.data.glob("log/router*.log")]
    assert len(logs) >= 2
    for path in logs:
        assert "Traceback" not in path.read_text(errors="replace"), path.read_text(errors="replace")[-3000:]
