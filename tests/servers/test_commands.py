"""Servers of a model's own as processes: a command of the archive, and one that the operator's map names."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.faults.conftest import until
from tests.faults.test_jobs import _Kedge
from tests.jobs.programs import Programs

from .conftest import ECHO, Hosted

MAPPED = "123456789012.dkr.ecr.us-east-1.amazonaws.com/ranker:7"

COUNT = """
import pathlib, sys
rows = pathlib.Path("/opt/ml/processing/data/rows.csv")
pathlib.Path("/opt/ml/output/message").write_text(f"{' '.join(sys.argv[1:])} {len(rows.read_text().splitlines())}")
"""


@pytest.fixture(scope="module")
def settings(settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("opt") / "ranker" / "bin"
    folder.mkdir(parents=True)
    (folder / "serve").write_bytes(ECHO)
    (folder / "serve").chmod(0o755)
    table = folder.parent.parent / "images.json"
    (folder / "count").write_text(COUNT)
    (folder / "count").chmod(0o755)
    words = [sys.executable, str(folder / "serve")]
    counting = [sys.executable, str(folder / "count"), "always"]
    commands = {"ranker:*": words, "counter:*": counting}
    table.write_text(
        json.dumps({name: {"command": words, "readable": [str(folder)]} for name, words in commands.items()})
    )
    return {**settings, "KEDGE_IMAGES": str(table)}


@pytest.fixture(scope="module")
def echo(server: Hosted) -> str:
    found = server.deploy("echo", "kedge/server", {"code/serve": ECHO, "weights.bin": b"w"}, {"OWN": "a b"})
    assert found["EndpointStatus"] == "InService", found
    return "echo"


def test_the_program_serve_of_the_archive_answers_as_a_container_would(server: Hosted, echo: str):
    asked = {"ContentType": "text/csv", "Accept": "a/b", "CustomAttributes": "c=1", "InferenceId": "i-1"}
    seen = json.loads(server.ask(echo, "see", **asked))
    assert seen["files"] == ["code", "weights.bin"]
    assert seen["environment"]["OWN"] == "a b"
    assert seen["environment"]["SAGEMAKER_BIND_TO_PORT"] == "8080"
    assert seen["environment"]["SM_MODEL_DIR"] == seen["cwd"] == "/opt/ml/model"
    assert {name: seen["headers"][name] for name in ("Content-Type", "Accept")} == {
        "Content-Type": "text/csv",
        "Accept": "a/b",
    }
    assert seen["headers"]["X-Amzn-SageMaker-Custom-Attributes"] == "c=1"
    assert seen["headers"]["X-Amzn-SageMaker-Inference-Id"] == "i-1"
    assert not any("secret" in name.lower() for name in seen["environment"])


def test_it_opens_and_closes_sessions(server: Hosted, echo: str):
    def ask(session: str, body: str) -> dict[str, Any]:
        runtime = server.client("sagemaker-runtime")
        return dict(runtime.invoke_endpoint(EndpointName=echo, Body=body, SessionId=session))

    name, _, end = ask("NEW_SESSION", "x")["NewSessionId"].partition("; ")
    assert end == "Expires=2099-01-02T03:04:05Z"
    seen = json.loads(ask(name, "see")["Body"].read())
    assert seen["headers"]["X-Amzn-SageMaker-Session-Id"] == "talk-1"
    assert ask(name, "bye")["ClosedSessionId"] == name


def test_bodies_of_every_size_come_back_whole(server: Hosted, echo: str):
    for size in (0, 1, 65_537, 20_000_000):
        assert server.ask(echo, b"x" * size) == b"x" * size


def test_a_slow_request_keeps_no_other_one_waiting(server: Hosted, echo: str):
    with ThreadPoolExecutor(9) as threads:
        slow = threads.submit(server.ask, echo, "sleep 3")
        quick = [threads.submit(server.ask, echo, f"quick {number}") for number in range(8)]
        assert [each.result(10) for each in quick] == [f"quick {number}".encode() for number in range(8)]
        assert not slow.done()
        assert slow.result(10) == b"sleep 3"


@pytest.mark.parametrize(("body", "status", "says"), [
    ("status 418", 418, "as you like it"),
    ("status 503", 503, "as you like it"),
    ("drop", 500, "closed the connection before it had answered"),
])  # fmt: skip
def test_what_is_no_success_is_a_model_error(server: Hosted, echo: str, body: str, status: int, says: str):
    with pytest.raises(ClientError) as caught:
        server.ask(echo, body)
    response = caught.value.response
    assert response["Error"]["Code"] == "ModelError"
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert response["OriginalStatusCode"] == status
    assert says in response["OriginalMessage"]


def test_it_has_the_api_the_keys_of_its_role_and_nothing_else(server: Hosted, echo: str):
    assert json.loads(server.ask(echo, "api"))["role"] == "control"
    assert json.loads(server.ask(echo, "keys"))["AccessKeyId"].startswith("ASIA")
    assert server.ask(echo, "reach http://1.1.1.1/").startswith(b"refused")
    assert server.ask(echo, "write /opt/ml/model/x") in (b"OSError", b"PermissionError")


def test_a_command_that_the_model_names(server: Hosted):
    environment = {"KEDGE_COMMAND": "python code/app.py --workers '2 3'"}
    assert server.deploy("named", "kedge/server", {"code/app.py": ECHO}, environment)["EndpointStatus"] == "InService"
    assert server.ask("named", "hello") == b"hello"


def test_the_operators_map_runs_a_command_in_the_place_of_an_image(server: Hosted):
    assert server.deploy("ranker", MAPPED, {"weights.bin": b"w"})["EndpointStatus"] == "InService"
    assert json.loads(server.ask("ranker", "see"))["files"] == ["weights.bin"]


def test_an_image_that_nothing_runs_is_named_with_what_would(server: Hosted):
    found = server.deploy("nobody", "example.com/other:1", {"weights.bin": b"w"})
    assert found["EndpointStatus"] == "Failed"
    assert "KEDGE_IMAGES" in found["FailureReason"]
    assert "podman" in found["FailureReason"]


def test_a_server_in_a_pipeline_takes_what_the_container_before_it_gives(server: Hosted):
    script = b"def model_fn(d): return 2\ndef transform_fn(m, body, t, a): return body * m, 'text/plain'\n"
    server.model(
        "line",
        ("kedge/script", {"code/inference.py": script}, {}),
        ("kedge/server", {"serve": ECHO}, {}),
        ("kedge/server", {"serve": ECHO}, {}),
    )
    assert server.in_service("line")["EndpointStatus"] == "InService"
    assert server.ask("line", "ab", ContentType="text/plain") == b"abab"


@pytest.mark.parametrize(("files", "environment", "says"), [
    ({"a": b"x"}, {}, "There is no program serve"),
    ({"a": b"x"}, {"KEDGE_COMMAND": "code/none"}, "There is no program code/none"),
    ({"a": b"x"}, {"KEDGE_COMMAND": "'"}, "KEDGE_COMMAND has No closing quotation"),
    ({"serve": b"#!/bin/sh\necho my last words\nexit 7\n"}, {}, "ended with exit status 7"),
    ({"serve": b"#!/bin/sh\nkill -9 $$\n"}, {}, "ended by SIGKILL"),
    ({"serve": ECHO, "probe/request.txt": b"status 500"}, {}, "answered probe/request.txt with 500"),
    ({"serve": ECHO, "probe/request.txt": b"a", "probe/response.txt": b"b"}, {}, "is not that of probe/response.txt"),
])  # fmt: skip
def test_what_cannot_start_fails_soon_with_its_reason(
    server: Hosted, request: pytest.FixtureRequest, files: dict[str, bytes], environment: dict[str, str], says: str
):
    name = f"bad-{request.node.callspec.indices['says']}"
    found = server.deploy(name, "kedge/server", files, environment)
    assert found["EndpointStatus"] == "Failed"
    assert says in found["FailureReason"]
    if b"my last words" in files.get("serve", b""):
        assert "my last words" in found["FailureReason"]


def test_a_probe_that_is_answered_right_lets_it_in(server: Hosted):
    files = {"serve": ECHO, "probe/request.txt": b"a", "probe/response.txt": b"a"}
    assert server.deploy("probed", "kedge/server", files)["EndpointStatus"] == "InService"


def test_a_server_that_ends_is_started_again_with_its_instance(server: Hosted):
    server.deploy("fragile", "kedge/server", {"serve": ECHO})
    with pytest.raises(ClientError) as caught:
        server.ask("fragile", "exit 3")
    assert caught.value.response["Error"]["Code"] == "ModelError"
    server.answers("fragile")


def test_nothing_of_it_is_left_when_the_endpoint_is_deleted(own_server: Hosted):
    own_server.deploy("gone", "kedge/server", {"serve": ECHO})
    outside = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]
    ours = [pid for pid in outside if b"serve" in _command(pid) and str(own_server.data).encode() in _environment(pid)]
    assert len(ours) == 1
    own_server.client("sagemaker").delete_endpoint(EndpointName="gone")
    until(lambda: not Path(f"/proc/{ours[0]}").exists(), 10, "the end of the server")


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _environment(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def test_a_job_runs_the_command_in_the_place_of_its_image(server: Hosted):
    jobs = Programs(_Kedge(server))
    jobs.put("data/rows.csv", "1\n2\n3\n")

    def message(name: str, **specification: Any) -> str:
        request = jobs.processing(name, inputs=[jobs.input("data", jobs.uri("data/"))])
        image = "123456789012.dkr.ecr.us-east-1.amazonaws.com/counter:1"
        request["AppSpecification"] = {"ImageUri": image, **specification}
        jobs.sagemaker.create_processing_job(**request)
        return str(jobs.processed(name)["ExitMessage"])

    assert message("counts", ContainerArguments=["and", "now"]) == "always and now 3"
    own = ["python3", "-c", "open('/opt/ml/output/message', 'w').write('my own words')"]
    assert message("own", ContainerEntrypoint=own) == "my own words"
