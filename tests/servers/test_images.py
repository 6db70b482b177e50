"""Real containers, of an image that was built offline, under podman or docker. Skipped where neither runs one."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.faults.conftest import until

from . import image
from .conftest import ECHO, Hosted, archive
from .engines import engine, running

pytestmark = pytest.mark.usefixtures("engine_here")


@pytest.fixture(scope="module")
def echo_image(engine_here: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = tmp_path_factory.mktemp("image") / "root.tar"
    image.write(path, {"serve": ECHO})
    name = f"localhost/kedge-echo:{os.getpid()}"
    engine("import", str(path), name)
    yield name
    engine("rmi", "--force", name)


@pytest.fixture(scope="module")
def settings(settings: dict[str, str], echo_image: str) -> dict[str, str]:
    """The image is there before the server is, and until after it."""
    return {**settings, "KEDGE_CONTAINER_ENGINE": "auto"}


@pytest.fixture(scope="module")
def echo(server: Hosted, echo_image: str) -> str:
    found = server.deploy("echo", echo_image, {"weights.bin": b"w"}, {"OWN": "a b", "LINES": "1\n2"})
    assert found["EndpointStatus"] == "InService", found
    return "echo"


def test_the_container_has_its_model_and_its_variables(server: Hosted, echo: str):
    seen = json.loads(server.ask(echo, "see", ContentType="text/csv", CustomAttributes="c=1"))
    assert seen["pid"] == 1
    assert seen["files"] == ["weights.bin"]
    assert (seen["environment"]["OWN"], seen["environment"]["LINES"]) == ("a b", "1\n2")
    assert seen["environment"]["SAGEMAKER_BIND_TO_PORT"] == "8080"
    assert seen["headers"]["X-Amzn-SageMaker-Custom-Attributes"] == "c=1"
    assert server.ask(echo, b"x" * 20_000_000) == b"x" * 20_000_000
    with pytest.raises(ClientError) as caught:
        server.ask(echo, "status 418")
    assert caught.value.response["OriginalStatusCode"] == 418


def test_it_reaches_the_api_with_the_keys_of_its_role_and_nothing_else(server: Hosted, echo: str):
    assert json.loads(server.ask(echo, "api"))["role"] == "control"
    assert json.loads(server.ask(echo, "keys"))["AccessKeyId"].startswith("ASIA")
    assert server.ask(echo, "reach http://1.1.1.1/").startswith(b"refused")
    assert server.ask(echo, "write /opt/ml/model/x") == b"OSError"
    assert server.ask(echo, "write /tmp/x") == b"write /tmp/x"


def test_network_isolation_leaves_it_nothing(server: Hosted, echo_image: str):
    found = server.deploy("alone", echo_image, {"weights.bin": b"w"}, EnableNetworkIsolation=True)
    assert found["EndpointStatus"] == "InService", found
    assert not {name for name in json.loads(server.ask("alone", "see"))["environment"] if name.startswith("AWS_END")}
    port = server.ready["api_port"]
    assert server.ask("alone", f"reach http://127.0.0.1:{port}/kedge/health").startswith(b"refused")


def test_an_image_that_is_not_there_fails_with_what_to_do(server: Hosted):
    found = server.deploy("missing", "localhost/nobody-has-this:1", {"weights.bin": b"w"})
    assert found["EndpointStatus"] == "Failed"
    assert "localhost/nobody-has-this:1" in found["FailureReason"]
    assert "KEDGE_PULL_IMAGES" in found["FailureReason"]


def test_a_container_that_ends_at_once_fails_with_its_last_words(server: Hosted, tmp_path: Path):
    image.write(tmp_path / "root.tar", {"serve": b"#\nprint('my last words', flush=True)\nraise SystemExit(9)\n"})
    name = f"localhost/kedge-ends:{os.getpid()}"
    engine("import", str(tmp_path / "root.tar"), name)
    try:
        found = server.deploy("ends", name, {"weights.bin": b"w"})
    finally:
        engine("rmi", "--force", name)
    assert found["EndpointStatus"] == "Failed"
    assert "my last words" in found["FailureReason"]


def test_an_image_without_a_server_fails_with_the_last_words_of_the_engine(server: Hosted, tmp_path: Path):
    image.write(tmp_path / "root.tar", {"another": ECHO})
    name = f"localhost/kedge-bare:{os.getpid()}"
    engine("import", str(tmp_path / "root.tar"), name)
    try:
        found = server.deploy("bare", name, {"weights.bin": b"w"})
    finally:
        engine("rmi", "--force", name)
    assert found["EndpointStatus"] == "Failed"
    assert f"image {name}" in found["FailureReason"]
    assert '"serve": executable file' in found["FailureReason"].replace("`serve`", '"serve"')
    until(lambda: not [each for each in running(server) if "bare" in each], 40, "the end of its container")


def test_many_models_in_the_server_of_an_image(server: Hosted, tmp_path: Path):
    image.write(tmp_path / "root.tar", {"serve": Path(__file__).with_name("many.py").read_bytes()})
    name = f"localhost/kedge-many:{os.getpid()}"
    engine("import", str(tmp_path / "root.tar"), name)
    try:
        for factor in ("2", "3"):
            body = archive({"factor": factor.encode()})
            server.client("s3").put_object(Bucket=server.bucket, Key=f"many/{factor}", Body=body)
        role = f"arn:aws:iam::{server.ready['account']}:role/kedge-execution-role"
        container = {"Image": name, "Mode": "MultiModel", "ModelDataUrl": f"s3://{server.bucket}/many/"}
        server.client("sagemaker").create_model(ModelName="many", ExecutionRoleArn=role, PrimaryContainer=container)
        found = server.in_service("many")
        assert found["EndpointStatus"] == "InService", found
        assert [server.ask("many", "7", TargetModel=each) for each in ("2", "3")] == [b"14", b"21"]
        seen = json.loads(server.ask("many", "see", TargetModel="2"))
        assert seen["url"] == f"/opt/ml/models/{seen['name']}/model"
        assert seen["environment"]["SAGEMAKER_MULTI_MODEL"] == "true"
    finally:
        server.client("sagemaker").delete_endpoint(EndpointName="many")
        engine("rmi", "--force", name)


def test_a_pipeline_may_mix_containers_and_processes(server: Hosted, echo_image: str):
    script = b"def model_fn(d): return 2\ndef transform_fn(m, body, t, a): return body * m, 'text/plain'\n"
    server.model("mixed", ("kedge/script", {"code/inference.py": script}, {}), (echo_image, {"a": b"x"}, {}))
    found = server.in_service("mixed")
    assert found["EndpointStatus"] == "InService", found
    assert server.ask("mixed", "ab", ContentType="text/plain") == b"abab"


def test_a_container_that_takes_too_much_memory_ends_with_that_reason(own_server: Hosted, echo_image: str):
    own_server.deploy("greedy", echo_image, {"a": b"x"})
    with pytest.raises(ClientError) as caught:
        own_server.ask("greedy", f"fill {600 * 1024**2}")
    assert caught.value.response["Error"]["Code"] == "ModelError"
    own_server.answers("greedy")
    assert "more memory than the 0.25 GiB" in own_server.record()["reason"]
    assert not Path("oom").exists(), "what the engine leaves of it lies in the task's own folder"


def test_the_container_its_sidecar_and_the_instance_live_and_die_together(own_server: Hosted, echo_image: str):
    own_server.deploy("one", echo_image, {"a": b"x"})
    (before,) = engine("ps", "--quiet", "--no-trunc", "--filter", f"name={running(own_server)[0]}").split()
    for victim in ("process", "sidecars"):
        _kill(own_server.record()[victim])
        own_server.answers("one")
    engine("kill", "--signal", "KILL", running(own_server)[0])
    own_server.answers("one")
    (after,) = engine("ps", "--quiet", "--no-trunc", "--filter", f"name={running(own_server)[0]}").split()
    assert after != before
    own_server.client("sagemaker").delete_endpoint(EndpointName="one")
    until(lambda: not running(own_server), 40, "the end of the container")


def test_a_container_outlives_the_supervisor_and_no_other_death(own_server: Hosted, echo_image: str):
    own_server.deploy("one", echo_image, {"a": b"x"})
    pid = json.loads(own_server.ask("one", "see"))["pid"]
    started = engine("inspect", "--format", "{{.State.StartedAt}}", running(own_server)[0])
    own_server.kill("supervisor")
    own_server.reap()
    assert own_server.ask("one", "unmoved") == b"unmoved"
    own_server.up()
    own_server.answers("one")
    assert engine("inspect", "--format", "{{.State.StartedAt}}", running(own_server)[0]) == started
    assert json.loads(own_server.ask("one", "see"))["pid"] == pid
    record = own_server.record()
    own_server.kill("supervisor")
    own_server.reap()
    _kill([record["process"], *record["sidecars"], record["gate"]])
    own_server.up()
    own_server.answers("one")
    assert len(running(own_server)) == 1
    own_server.down()
    assert not running(own_server)


def _kill(processes: Any) -> None:
    for each in processes if isinstance(processes, list) else [processes]:
        if each:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each["pid"], signal.SIGKILL)
