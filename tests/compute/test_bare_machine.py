"""The whole hosting job on a machine that has none of the capabilities, as docs/operations.md promises it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from botocore.exceptions import ClientError
from sklearn.linear_model import LinearRegression

from tests.faults.conftest import Server, pickled, until, variant

from .conftest import ROOT, gone, kill


def command(what: str, data: Path) -> list[str]:
    return [sys.executable, "-m", "tests.compute.bare_machine", what, str(data)]


class BareServer(Server):
    def up(self) -> BareServer:
        self.process = subprocess.Popen(
            command("up", self.data), stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, cwd=ROOT
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1].decode()
        self.ready = json.loads(line)
        return self

    def down(self) -> None:
        subprocess.run(command("down", self.data), check=True, timeout=60, capture_output=True, cwd=ROOT)
        self.reap()

    def status(self) -> dict[str, Any]:
        done = subprocess.run(command("status", self.data), check=True, timeout=30, capture_output=True, cwd=ROOT)
        found = json.loads(done.stdout)
        assert isinstance(found, dict)
        return found


@pytest.fixture
def server(tmp_path: Path) -> Iterator[BareServer]:
    made = BareServer(tmp_path / "data")
    try:
        yield made.up()
    finally:
        with contextlib.suppress(subprocess.SubprocessError):
            made.down()
        made.reap()


def predicts(server: Server, x: float) -> float | None:
    """None while the only instance is not there."""
    runtime = server.client("sagemaker-runtime")
    try:
        answer = runtime.invoke_endpoint(
            EndpointName="line", ContentType="text/csv", Accept="application/json", Body=str(x)
        )
    except ClientError:
        return None
    return float(np.ravel(json.loads(answer["Body"].read()))[0])


def test_a_model_is_hosted_killed_and_comes_back(server: BareServer):
    assert not any(server.status()["capabilities"][name] for name in ("pidfd", "subreaper", "proc", "fork_server"))
    assert len(server.pids("router")) == 2
    model = LinearRegression().fit(np.array([[0.0], [1.0]]), np.array([1.0, 3.0]))
    server.client("s3").put_object(Bucket=server.bucket, Key="model.tar.gz", Body=pickled(model))
    sagemaker = server.client("sagemaker")
    sagemaker.create_model(
        ModelName="line",
        PrimaryContainer={"Image": "kedge/sklearn", "ModelDataUrl": f"s3://{server.bucket}/model.tar.gz"},
    )
    sagemaker.create_endpoint_config(EndpointConfigName="line", ProductionVariants=[variant("line")])
    sagemaker.create_endpoint(EndpointName="line", EndpointConfigName="line")
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="line", WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    assert predicts(server, 2.0) == pytest.approx(5.0)

    (instance,) = server.kill("instance")
    until(lambda: set(server.pids("instance")) - {instance}, what="another process of the instance")
    assert until(lambda: predicts(server, 3.0), what="an answer after the kill") == pytest.approx(7.0)

    roles = [server.pids("control"), server.pids("router")]
    (kept,) = server.pids("instance")
    kill(server.pids("supervisor")[0])
    server.reap()
    server.up()
    assert [server.pids("control"), server.pids("router")] == roles
    assert server.pids("instance") == [kept]

    pids = [each["pid"] for each in (*server.status()["roles"], *server.status()["instances"])]
    assert len(pids) == 7
    server.down()
    until(lambda: all(gone(pid) for pid in pids), what="the end of every process")
