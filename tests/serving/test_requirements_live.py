"""A model with code/requirements.txt, through boto3: installed once, served in the sandbox, refused in words."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.compute.test_environments import wheel
from tests.faults.conftest import Server, archive, variant

SCRIPT = b"""
import json, sys
import kedge_test_extra, threadpoolctl
def model_fn(folder):
    return kedge_test_extra.__version__
def transform_fn(model, body, content_type, accept):
    return json.dumps([model, threadpoolctl.__version__, sys.prefix])
"""


def deployed(server: Server, name: str, requirements: bytes, **options: Any) -> dict[str, Any]:
    files = {"code/inference.py": SCRIPT, "code/requirements.txt": requirements}
    server.client("s3").put_object(Bucket=server.bucket, Key=name, Body=archive(files))
    sagemaker = server.client("sagemaker")
    container = {"Image": "kedge/sklearn:1.2", "ModelDataUrl": f"s3://{server.bucket}/{name}"}
    role = f"arn:aws:iam::{server.ready['account']}:role/kedge-execution-role"
    sagemaker.create_model(ModelName=name, ExecutionRoleArn=role, PrimaryContainer=container, **options)
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant(name)])
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    end = time.monotonic() + 120
    while (found := sagemaker.describe_endpoint(EndpointName=name))["EndpointStatus"] == "Creating":
        assert time.monotonic() < end, "it neither came up nor failed"
        time.sleep(0.05)
    return dict(found)


def test_what_a_model_names_is_installed_and_what_it_may_not_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    index = tmp_path / "index"
    wheel(index, "kedge_test_extra", "1.5")
    wheel(index, "threadpoolctl", "0.1", code="def threadpool_limits(count): pass\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    server = Server(tmp_path / "data").up()
    try:
        found = deployed(server, "first", b"kedge_test_extra\nthreadpoolctl==0.1\n")
        assert found["EndpointStatus"] == "InService", found.get("FailureReason")
        answer = server.client("sagemaker-runtime").invoke_endpoint(EndpointName="first", Body=b"{}")
        environments = server.data / "environments"
        [venv] = [path for path in environments.iterdir() if (path / "complete").exists()]
        assert answer["Body"].read().decode() == f'["1.5", "0.1", "{venv}"]'
        assert deployed(server, "again", b"kedge_test_extra\nthreadpoolctl==0.1\n")["EndpointStatus"] == "InService"
        assert len([path for path in environments.iterdir() if (path / "complete").exists()]) == 1
        for name, text, options, says in (
            ("gone", b"kedge_test_gone==4\n", {}, "No matching distribution found for kedge_test_gone==4"),
            ("other", b"-i https://elsewhere.example\n", {}, "is an option that only an operator may give"),
            ("alone", b"kedge_test_gone\n", {"EnableNetworkIsolation": True}, "EnableNetworkIsolation is true"),
        ):
            found = deployed(server, name, text, **options)
            assert found["EndpointStatus"] == "Failed"
            assert says in found["FailureReason"]
    finally:
        server.down()
