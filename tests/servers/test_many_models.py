"""Many models in a server of the container's own: the contract by which they are loaded, asked and unloaded."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.faults.conftest import until

from .conftest import Hosted, archive

MANY = Path(__file__).with_name("many.py").read_bytes()


def deploy(server: Hosted, name: str, before: dict[str, Any] | None = None, **environment: str) -> None:
    """An endpoint whose server multiplies by the models below the prefix of its name."""
    s3 = server.client("s3")
    s3.put_object(Bucket=server.bucket, Key=f"{name}.code.tar.gz", Body=archive({"serve": MANY}))
    for factor in (2, 3, 4):
        put(server, name, str(factor))
    container = {
        "Image": "kedge/server",
        "Mode": "MultiModel",
        "ModelDataUrl": f"s3://{server.bucket}/{name}/",
        "Environment": {"SAGEMAKER_SUBMIT_DIRECTORY": f"s3://{server.bucket}/{name}.code.tar.gz", **environment},
    }
    role = f"arn:aws:iam::{server.ready['account']}:role/kedge-execution-role"
    shape: dict[str, Any] = {"Containers": [before, container]} if before else {"PrimaryContainer": container}
    server.client("sagemaker").create_model(ModelName=name, ExecutionRoleArn=role, **shape)
    found = server.in_service(name)
    assert found["EndpointStatus"] == "InService", found


def put(server: Hosted, name: str, factor: str, **more: bytes) -> None:
    body = archive({"factor": factor.encode(), **{f"probe/{key}.txt": data for key, data in more.items()}})
    server.client("s3").put_object(Bucket=server.bucket, Key=f"{name}/{factor}", Body=body)


def ask(server: Hosted, name: str, model: str, body: str) -> bytes:
    return server.ask(name, body, TargetModel=model)


def see(server: Hosted, name: str, model: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ask(server, name, model, "see"))
    return found


def refused(server: Hosted, name: str, model: str, body: str) -> dict[str, Any]:
    with pytest.raises(ClientError) as caught:
        ask(server, name, model, body)
    return dict(caught.value.response)


def comes_back(server: Hosted, name: str) -> None:
    def answers() -> bool:
        try:
            return ask(server, name, "2", "4") == b"8"
        except ClientError:
            return False

    until(answers, 40, f"an answer of {name} after the end of its server")


@pytest.fixture(scope="module")
def roomy(server: Hosted) -> str:
    deploy(server, "roomy")
    return "roomy"


def test_models_are_loaded_once_when_they_are_asked_for(server: Hosted, roomy: str):
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda n: ask(server, roomy, str(2 + n % 3), str(n)), range(24)))
    assert answers == [b"%d" % (n * (2 + n % 3)) for n in range(24)]
    seen = see(server, roomy, "3")
    assert seen["counts"] == {"loads": 3, "unloads": 0}
    assert seen["files"] == ["factor"]
    assert seen["url"] == f"/opt/ml/models/{seen['name']}/model"
    assert seen["target"] == seen["headers"]["X-Amzn-SageMaker-Target-Model"] == "3"
    assert seen["environment"]["SAGEMAKER_MULTI_MODEL"] == "true"


def test_what_cannot_be_loaded_fails_its_own_requests(server: Hosted, roomy: str):
    put(server, roomy, "bad")
    for _ in range(2):  # the next request tries again
        error = refused(server, roomy, "bad", "1")
        assert (error["Error"]["Code"], error["OriginalStatusCode"]) == ("ModelError", 500)
        assert "the server answered POST /models with 500: no such luck" in error["OriginalMessage"]
    absent = refused(server, roomy, "absent", "1")
    assert absent["Error"]["Code"] == "ValidationError"
    put(server, roomy, "5", request=b"2", response=b"11")
    assert "is not that of probe/response.txt" in refused(server, roomy, "5", "1")["OriginalMessage"]
    put(server, roomy, "6", request=b"2", response=b"12")
    assert ask(server, roomy, "6", "2") == b"12"
    assert see(server, roomy, "6")["models"] == ["2", "3", "4", "6"]


def test_a_404_is_the_models_own_unless_the_server_has_let_it_go(server: Hosted, roomy: str):
    assert ask(server, roomy, "2", "1") == b"2"
    assert refused(server, roomy, "2", "404")["OriginalStatusCode"] == 404
    before = see(server, roomy, "2")["name"]
    assert ask(server, roomy, "2", "forget") == b"forgotten"
    assert ask(server, roomy, "2", "4") == b"8"
    assert see(server, roomy, "2")["name"] != before


def test_a_server_that_ends_loses_its_models_and_gets_them_again(server: Hosted, roomy: str):
    before = see(server, roomy, "2")["began"]
    assert refused(server, roomy, "2", "exit")["Error"]["Code"] == "ModelError"
    comes_back(server, roomy)
    assert see(server, roomy, "2")["began"] > before


def test_in_a_pipeline_the_server_alone_is_brought_back(server: Hosted):
    script = b"def model_fn(d): return 2\ndef transform_fn(m, body, t, a): return body, 'text/plain'\n"
    plain = {"Image": "kedge/script", "ModelDataUrl": f"s3://{server.bucket}/plain.tar.gz"}
    server.client("s3").put_object(
        Bucket=server.bucket, Key="plain.tar.gz", Body=archive({"code/inference.py": script})
    )
    deploy(server, "line", before=plain)
    assert ask(server, "line", "2", "4") == b"8"
    (record,) = [each for each in server.records() if each["spec"]["labels"]["endpoint"] == "line"]
    assert refused(server, "line", "2", "exit")["Error"]["Code"] == "ModelError"
    comes_back(server, "line")
    assert record["process"] in [each["process"] for each in server.records()]


def test_where_the_server_has_no_room_the_least_recently_used_goes(server: Hosted):
    deploy(server, "narrow", CAPACITY="2")
    for model in ("2", "3", "2", "4"):
        assert ask(server, "narrow", model, "5") == b"%d" % (5 * int(model))
    seen = see(server, "narrow", "4")
    assert seen["models"] == ["2", "4"]
    assert seen["counts"] == {"loads": 3, "unloads": 1}
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda n: ask(server, "narrow", str(2 + n % 3), str(n)), range(24)))
    assert answers == [b"%d" % (n * (2 + n % 3)) for n in range(24)]


def test_a_server_that_has_room_for_none_is_told_of(server: Hosted):
    deploy(server, "full", CAPACITY="0")
    assert "with 507: no more room" in refused(server, "full", "2", "1")["OriginalMessage"]
