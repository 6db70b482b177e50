"""A server with own servers behind its endpoints."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from kedge.compute import containers, engine_trial
from tests.faults.conftest import Server, until

ECHO = Path(__file__).with_name("echo.py").read_bytes()
SMALL = "ml.tiny.small"
SMALL_BYTES = 256 * 1024**2


def archive(files: Mapping[str, bytes]) -> bytes:
    """Every file of it may be executed."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o755
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


class Hosted(Server):
    @property
    def role_arn(self) -> str:
        return f"arn:aws:iam::{self.ready['account']}:role/kedge-execution-role"

    def model(self, name: str, *containers: tuple[str, Mapping[str, bytes], Mapping[str, str]], **more: Any) -> None:
        """containers: (image, files of the archive, environment) of each."""
        given = []
        for at, (image, files, environment) in enumerate(containers):
            key = f"{name}-{at}.tar.gz"
            self.client("s3").put_object(Bucket=self.bucket, Key=key, Body=archive(files))
            url = f"s3://{self.bucket}/{key}"
            given.append({"Image": image, "ModelDataUrl": url, "Environment": dict(environment)})
        shape: dict[str, Any] = {"PrimaryContainer": given[0]} if len(given) == 1 else {"Containers": given}
        self.client("sagemaker").create_model(ModelName=name, ExecutionRoleArn=self.role_arn, **shape, **more)

    def in_service(self, name: str, count: int = 1) -> dict[str, Any]:
        """The endpoint of the model's name, once it is InService or Failed."""
        sagemaker = self.client("sagemaker")
        variant = {"VariantName": "v", "ModelName": name, "InitialInstanceCount": count, "InstanceType": SMALL}
        sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
        sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)

        def final() -> dict[str, Any] | None:
            found: dict[str, Any] = sagemaker.describe_endpoint(EndpointName=name)
            return None if found["EndpointStatus"] == "Creating" else found

        found: dict[str, Any] = until(final, 60, f"the end of creating {name}")
        return found

    def deploy(self, name: str, image: str, files: Mapping[str, bytes], environment: Mapping[str, str] | None = None,
               **more: Any) -> dict[str, Any]:  # fmt: skip
        self.model(name, (image, files, environment or {}), **more)
        return self.in_service(name)

    def ask(self, name: str, body: str | bytes, **more: Any) -> bytes:
        answer = self.client("sagemaker-runtime").invoke_endpoint(EndpointName=name, Body=body, **more)
        data: bytes = answer["Body"].read()
        return data

    def answers(self, name: str, body: str = "still here") -> None:
        """Waits until it does."""
        until(lambda: self._tried(name, body), 40, f"an answer of {name}")

    def _tried(self, name: str, body: str) -> bool:
        try:
            return self.ask(name, body) == body.encode()
        except ClientError:
            return False

    def record(self) -> dict[str, Any]:
        """Of the only task."""
        (found,) = self.records()
        return found

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in self.data.glob("tasks/*/record.json")]


@pytest.fixture(scope="session")
def engine_here() -> None:
    """Skips, in the engine's own words, where none can run an image."""
    found = containers.find("auto")
    if found is None:
        pytest.skip("neither podman nor docker is here")
    if refusal := engine_trial.refusal(found):
        pytest.skip(f"{found.program} cannot run an image here: {refusal}")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of the server, as variables; a module may have more."""
    folder = tmp_path_factory.mktemp("settings")
    types = folder / "types.json"
    types.write_text(json.dumps({SMALL: {"cores": 1, "memory_gib": SMALL_BYTES / 1024**3, "gpus": 0}}))
    return {"KEDGE_INSTANCE_TYPES": str(types)}


@pytest.fixture(scope="module")
def server(settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosted]:
    made = Hosted(tmp_path_factory.mktemp("server") / "data")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        try:
            yield made.up()  # type: ignore[misc]
        finally:
            made.down()


@pytest.fixture
def own_server(settings: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hosted]:
    """One that a test may kill."""
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    made = Hosted(tmp_path / "data")
    try:
        yield made.up()  # type: ignore[misc]
    finally:
        made.down()
