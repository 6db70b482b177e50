"""A real server: a model is in service at once, is compiled meanwhile, and answers alike all the while."""

import json
import os
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from tests.faults.conftest import SCRIPT, Server, archive, pickled, until, variant

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(500, 5))
MODEL = HistGradientBoostingClassifier(max_iter=20).fit(X, X[:, 0] + X[:, 1] * X[:, 2] > 0)
WITHIN_S = 60.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("compiled") / "data").up()
    try:
        yield made
    finally:
        made.down()


def deploy(server: Server, name: str, body: bytes, **environment: str) -> None:
    server.client("s3").put_object(Bucket=server.bucket, Key=f"{name}.tar.gz", Body=body)
    sagemaker = server.client("sagemaker")
    sagemaker.create_model(
        ModelName=name,
        ExecutionRoleArn=f"arn:aws:iam::{server.ready['account']}:role/kedge-execution-role",
        PrimaryContainer={
            "Image": "kedge/sklearn",
            "ModelDataUrl": f"s3://{server.bucket}/{name}.tar.gz",
            "Environment": environment,
        },
    )
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant(name)])
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})


def instance(server: Server, name: str) -> dict[str, Any]:
    [found] = [each for each in server.status()["instances"] if each["labels"]["endpoint"] == name]
    return found


def resolved_image(server: Server, name: str) -> str:
    [variant] = server.client("sagemaker").describe_endpoint(EndpointName=name)["ProductionVariants"]
    return str(variant["DeployedImages"][0]["ResolvedImage"])


def settled(server: Server, name: str) -> str:
    """What the endpoint's instance serves in the end."""

    def said() -> str:
        found = instance(server, name)["serves"]
        return "" if found in ("", "compiling") else found

    return str(until(said, WITHIN_S, "the end of compiling"))


def ask(server: Server, name: str, rows: np.ndarray) -> Any:
    answer = server.client("sagemaker-runtime").invoke_endpoint(
        EndpointName=name, ContentType="application/json", Body=json.dumps(rows.tolist())
    )
    return json.loads(answer["Body"].read())


def results(server: Server) -> list[Path]:
    return sorted(each for each in (server.data / "compiled").glob("*/*") if each.is_file())


def test_the_endpoint_serves_all_the_while_and_a_model_is_compiled_once(server: Server):
    want = MODEL.predict_proba(X[:50])
    wrong: list[object] = []
    answers = 0
    over = threading.Event()

    def keep_asking() -> None:
        nonlocal answers
        while not over.is_set():
            try:
                if not np.allclose(ask(server, "one", X[:50]), want, rtol=0, atol=1e-6):
                    wrong.append("another answer")
            except Exception as error:  # noqa: BLE001 (every failure that a client sees)
                wrong.append(error)
            answers += 1

    body = pickled(MODEL)
    deploy(server, "one", body, KEDGE_PREDICT_METHOD="predict_proba")
    thread = threading.Thread(target=keep_asking)
    thread.start()
    try:
        assert settled(server, "one").startswith("compiled (")
        assert re.fullmatch(r"kedge/sklearn:compiled-(native|numpy)", resolved_image(server, "one"))
        before = answers
        until(lambda: answers > before + 20, what="answers of the compiled model")
    finally:
        over.set()
        thread.join()
    assert wrong == []
    [kept] = results(server)
    made_ns = kept.stat().st_mtime_ns

    # The same artifact again, and the same instance after its end: what is there is taken.
    deploy(server, "two", body, KEDGE_PREDICT_METHOD="predict_proba")
    assert settled(server, "two").startswith("compiled (")
    before_pid = instance(server, "two")["pid"]
    os.kill(before_pid, signal.SIGKILL)
    until(lambda: instance(server, "two")["pid"] not in (None, before_pid), what="a new process")
    assert settled(server, "two").startswith("compiled (")
    assert np.allclose(ask(server, "two", X[:50]), want, rtol=0, atol=1e-6)
    assert results(server) == [kept]
    assert kept.stat().st_mtime_ns == made_ns
    assert not list((server.data / "tasks").glob("compile-*"))


def test_a_setting_and_a_script_keep_the_original(server: Server):
    deploy(server, "off", pickled(MODEL), KEDGE_COMPILE="off")
    assert settled(server, "off") == "original: KEDGE_COMPILE is off"
    assert resolved_image(server, "off") == "kedge/sklearn:original"
    deploy(server, "script", archive({"start": b"1", "code/inference.py": SCRIPT.encode()}))
    assert "scripts" in settled(server, "script")


def test_what_cannot_be_compiled_says_why(server: Server):
    from sklearn.neighbors import KNeighborsClassifier

    model = KNeighborsClassifier().fit(X, X[:, 0] > 0)
    deploy(server, "neighbours", pickled(model), KEDGE_COMPILE="on")
    assert "A KNeighborsClassifier is not among the models" in settled(server, "neighbours")
    assert ask(server, "neighbours", X[:3]) == model.predict(X[:3]).tolist()


class Planter:
    """Becomes the model when it is loaded, after it has written wherever it may, as a hostile pickle would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        command = f"find {self.folder} -type d -exec touch '{{}}/planted' ';'; find {self.folder} -type f > seen"
        return eval, (f"(__import__('os').system({command!r}), model)[1]", {"model": MODEL})


def test_neither_an_instance_nor_a_job_can_plant_anything(server: Server):
    deploy(server, "honest", pickled(MODEL))
    settled(server, "honest")
    before = results(server)
    deploy(server, "planter", pickled(Planter(server.data / "compiled")))
    assert settled(server, "planter").startswith("compiled (")
    [own] = set(results(server)) - set(before)
    assert own.name != "planted"
    assert not list((server.data / "compiled").rglob("planted"))
    task = server.data / "tasks" / instance(server, "planter")["id"]
    assert not any(str(each) in (task / "work" / "seen").read_text() for each in before)
