"""`kedge deploy` with a canary, and the commands that watch and steer it, against a running server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import joblib
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.httpsession import URLLib3Session
from sklearn.dummy import DummyClassifier

from kedge.cli.deployment_views import past_table
from kedge.testing import Kedge
from tests.cli.test_live import run

CANARY = ("--canary", "10", "--bake", "1h")
PATH = "/kedge/deployment"


def constant(folder: Path, answer: int) -> str:
    path = folder / f"answers{answer}.joblib"
    joblib.dump(DummyClassifier(strategy="constant", constant=answer).fit([[0]], [answer]), path)
    return str(path)


@contextmanager
def deploying(kedge: Kedge, model: str, *options: str) -> Iterator[subprocess.Popen[str]]:
    """`kedge deploy` of a new model for the endpoint e, once it bakes."""
    arguments = ["deploy", model, "--name", "e", *options]
    process = subprocess.Popen(
        [sys.executable, "-m", "kedge", *arguments],
        env={**os.environ, "KEDGE_DATA_DIR": str(kedge.data_dir)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 30
        while "Baking" not in (shown := run(kedge, "deployment", "e").stdout):
            assert time.monotonic() < deadline, shown
            assert process.poll() is None, process.communicate()
            time.sleep(0.1)
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_canary_is_watched_promoted_and_taken_back(kedge: Kedge, tmp_path: Path) -> None:
    one, two, three = (constant(tmp_path, answer) for answer in (1, 2, 3))
    run(kedge, "deploy", one, "--name", "e")
    quiet: dict[str, Any] = {
        "AlarmName": "errors", "Namespace": "app", "MetricName": "errors", "Statistic": "Sum", "Period": 10,
        "EvaluationPeriods": 1, "Threshold": 1.0, "ComparisonOperator": "GreaterThanThreshold",
        "TreatMissingData": "notBreaching",
    }  # fmt: skip
    kedge.client("cloudwatch").put_metric_alarm(**quiet)

    with deploying(kedge, two, *CANARY, "--rollback-on", "errors") as process:
        shown = run(kedge, "deployment", "e", "--watch").stdout
        assert "CANARY 10 % since" in shown
        assert "step 1 of 2, bakes for another" in shown
        assert "90.0%" in shown
        assert "10.0%" in shown
        assert "errors" in shown
        found = json.loads(run(kedge, "deployment", "e", "--json").stdout)
        assert [each["AlarmName"] for each in found["Alarms"]] == ["errors"]
        assert "under way" in run(kedge, "history", "e").stdout
        assert "In service: e with " in run(kedge, "promote", "e").stdout
        _, said = process.communicate(timeout=30)
        assert process.returncode == 0, said
        assert "in service after" in said
    assert json.loads(run(kedge, "invoke", "e", "--data", "0").stdout) == [2]
    assert "No deployment of" in run(kedge, "promote", "e", code=1).stderr

    with deploying(kedge, three, *CANARY) as process:
        assert "In service: e with " in run(kedge, "rollback", "e").stdout
        _, said = process.communicate(timeout=30)
        assert process.returncode == 1
        assert "asked to take the deployment back" in said
    assert json.loads(run(kedge, "invoke", "e", "--data", "0").stdout) == [2]

    run(kedge, "rollback", "e")
    assert json.loads(run(kedge, "invoke", "e", "--data", "0").stdout) == [1]
    lines = json.loads(run(kedge, "history", "e", "--json").stdout)
    assert [(each["Kind"], each["Outcome"]) for each in lines] == [
        ("", "Succeeded"), ("CANARY", "RolledBack"), ("CANARY", "Succeeded"), ("", "Succeeded"),
    ]  # fmt: skip
    assert [each["Hurried"] for each in lines] == [False, False, True, False]
    table = run(kedge, "history", "e").stdout
    assert "CANARY 10 %, promoted" in table
    assert "asked to take the deployment back" in table


def test_a_model_that_answers_otherwise_is_taken_back_before_any_traffic(kedge: Kedge, tmp_path: Path) -> None:
    one, two = (constant(tmp_path, answer) for answer in (1, 2))
    run(kedge, "deploy", one, "--name", "e")
    kedge.client("s3").put_object(Bucket=kedge.bucket, Key="given.jsonl", Body=b"1\n2\n3\n")
    trial = ("--trial", f"s3://{kedge.bucket}/given.jsonl", "--trial-with", "min-agreement=0.9")
    done = run(kedge, "deploy", two, "--name", "e", *trial, code=1)
    assert "0.00% of 3 labels agree with the present fleet; at least 90.00% have to" in done.stderr
    run(kedge, "deploy", one, "--name", "e", *trial, "--trial-with", "rate=100")
    lines = run(kedge, "history", "e").stdout.splitlines()
    assert "passed; 3 requests, 0 failed" in lines[1]
    assert "100.0% of 3 agree" in lines[1]
    assert "RolledBack" in lines[2]
    assert "--trial-with needs --trial" in run(kedge, "deploy", one, "--trial-with", "rate=1", code=2).stderr
    assert "no setting of a trial" in run(kedge, "deploy", one, *trial, "--trial-with", "x=1", code=1).stderr


def test_an_endpoint_that_is_not_there(kedge: Kedge, tmp_path: Path) -> None:
    for command in ("deployment", "promote", "rollback", "history"):
        assert "Could not find endpoint" in run(kedge, command, "nobody", code=1).stderr
    done = run(kedge, "deploy", constant(tmp_path, 1), "--name", "e", "--canary", "10")
    assert "e is new: no traffic has to move" in done.stderr
    assert "It is not known what e served before" in run(kedge, "rollback", "e", code=1).stderr
    assert "created" in run(kedge, "history", "e").stdout
    run(kedge, "delete", "e")
    assert "created" in run(kedge, "history", "e").stdout
    assert "e: Deleted" in run(kedge, "deployment", "e").stdout


@pytest.mark.parametrize(
    ("action", "says"),
    [
        ("sagemaker:UpdateEndpoint", "Could not find endpoint"),
        ("sagemaker:DescribeEndpoint", "is not authorized to perform: sagemaker:UpdateEndpoint"),
        (None, "is not authorized to perform: sagemaker:UpdateEndpoint"),
        ("nobody", "signature"),
    ],
)
def test_who_may_steer(kedge: Kedge, action: str | None, says: str) -> None:
    iam = kedge.client("iam")
    iam.create_user(UserName="u")
    key = iam.create_access_key(UserName="u")["AccessKey"]
    if action is not None and ":" in action:
        arn = f"arn:aws:sagemaker:{kedge.region}:{kedge.account}:endpoint/e"
        statement = {"Effect": "Allow", "Action": action, "Resource": arn}
        policy = json.dumps({"Version": "2012-10-17", "Statement": statement})
        iam.put_user_policy(UserName="u", PolicyName="p", PolicyDocument=policy)
    secret = "wrong" if action == "nobody" else key["SecretAccessKey"]
    body = json.dumps({"EndpointName": "e", "Action": "Promote"}).encode()
    status, text = steer(kedge, Credentials(key["AccessKeyId"], secret), body)
    assert 400 <= status < 500
    assert says in text


def steer(kedge: Kedge, key: Credentials, body: bytes) -> tuple[int, str]:
    request = AWSRequest("POST", kedge.api_url + PATH, data=body)
    SigV4Auth(key, "sagemaker", kedge.region).add_auth(request)
    session = URLLib3Session(timeout=10)
    try:
        answer = session.send(request.prepare())
    finally:
        session.close()
    return answer.status_code, answer.text


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "The body has to be {"),
        (b"[]", "The body has to be {"),
        (b"[" * 100_000, "The body has to be {"),
        (b'{"EndpointName": 1, "Action": "Promote"}', "EndpointName is 1; it has to be a text"),
        (b'{"EndpointName": "e", "Action": ["Promote"]}', 'has to be \\"Promote\\" or'),
    ],
    ids=["nothing", "a list", "deep", "a number", "a list of actions"],
)
def test_what_cannot_be_asked(kedge_server: Kedge, body: bytes, says: str) -> None:
    key = kedge_server.environment()
    root = Credentials(key["AWS_ACCESS_KEY_ID"], key["AWS_SECRET_ACCESS_KEY"])
    status, text = steer(kedge_server, root, body)
    assert status == 400
    assert says in text


def test_a_long_reason_leaves_the_table_readable() -> None:
    line = {
        "StartTime": 0.0, "EndTime": 1.0, "From": "a", "To": "b", "Kind": "", "Hurried": False, "DeploymentConfig": {},
        "Outcome": "RolledBack", "Reason": "RuntimeError: no\n" + "more " * 400,
    }  # fmt: skip
    _, row = past_table([line], 2.0).splitlines()
    assert "RuntimeError: no more" in row
    assert row.endswith(" ...")
    assert len(row) < 250
