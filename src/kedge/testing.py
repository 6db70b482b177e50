"""pytest plugin: `def test_it(kedge): kedge.client("sagemaker")` has a clean server.

One server serves the whole session (fixture `kedge_server`); each test that asks for `kedge` finds it emptied. Nothing
heavy is imported until a test asks.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import boto3

    from kedge.cli.server import Server


class Kedge:
    """A running server, as a test sees it."""

    def __init__(self, server: Server) -> None:
        self._server = server

    @property
    def api_url(self) -> str:
        return self._server.api_url

    @property
    def inference_url(self) -> str:
        return self._server.inference_url

    @property
    def account(self) -> str:
        return self._server.account

    @property
    def region(self) -> str:
        return self._server.region

    @property
    def role_arn(self) -> str:
        """An execution role that exists."""
        return self._server.role_arn

    @property
    def bucket(self) -> str:
        """A bucket that exists: the one that the SageMaker SDK takes by default."""
        return self._server.bucket

    @property
    def data_dir(self) -> Path:
        return self._server.data_dir

    @property
    def session(self) -> boto3.Session:
        """A boto3 session with the root key. Its clients need the endpoint URLs; `client` gives them."""
        return self._server.session

    def client(self, service: str, **options: Any) -> Any:
        """A boto3 client of this server; `options` are boto3's."""
        return self._server.client(service, **options)

    def environment(self) -> dict[str, str]:
        """Variables with which a child process reaches this server through an unmodified SDK."""
        found = {
            "AWS_ENDPOINT_URL": self.api_url,
            "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": self.inference_url,
            "AWS_ACCESS_KEY_ID": self._server.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self._server.secret_access_key,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "NO_PROXY": "127.0.0.1",
        }
        return found | ({"AWS_CA_BUNDLE": self._server.ca_bundle} if self._server.ca_bundle else {})

    def deploy(
        self,
        model: Any,
        name: str = "model",
        *,
        variant: str | None = None,
        instance_count: int = 1,
        instance_type: str = "ml.t3.medium",
        image: str = "kedge/sklearn",
    ) -> str:
        """Put a fitted model, or the path of a model file, folder or model.tar.gz, in service. Returns the endpoint.

        Raises kedge.cli.failures.Failed with the endpoint's FailureReason.
        """
        import tempfile

        from kedge.cli.deploy import run

        new = {"InstanceType": instance_type, "InitialInstanceCount": instance_count}
        if isinstance(model, str | Path):
            run(self._server, Path(model), name, variant, new, image, lambda _text: None)
            return name
        import joblib

        with tempfile.TemporaryDirectory(prefix="kedge-test-") as folder:
            path = Path(folder) / "model.joblib"
            joblib.dump(model, path)
            run(self._server, path, name, variant, new, image, lambda _text: None)
        return name

    def reset(self) -> None:
        """Drop everything that the server holds and end its instances."""
        from kedge.cli.failures import Failed

        try:
            self._server.ask("POST", "/kedge/reset")
        except Failed as error:
            raise RuntimeError(f"the server was not reset: {error}") from None


@pytest.fixture(scope="session")
def kedge_server() -> Iterator[Kedge]:
    """One server for the session, on free ports, with a temporary data directory. It is not emptied between tests."""
    from kedge.cli.server import Server
    from kedge.cli.spawned import Spawned, StartFailed

    spawned = Spawned()
    try:
        try:
            ready = spawned.ready()
        except StartFailed as error:
            pytest.fail(str(error), pytrace=False)
        yield Kedge(Server.of(ready))
    finally:
        spawned.stop()


@pytest.fixture
def kedge(kedge_server: Kedge) -> Kedge:
    """A clean server for this test."""
    kedge_server.reset()
    return kedge_server
