"""The commands against a running server: the way from a file to an answer and back to nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import boto3
import joblib
import pytest
from sklearn.datasets import load_wine
from sklearn.dummy import DummyClassifier
from sklearn.tree import DecisionTreeClassifier

from kedge.testing import Kedge

ASK = """
import boto3
print(boto3.client("sts").get_caller_identity()["Account"], boto3.client("sagemaker").list_models()["Models"])
"""
ROOT = Path(__file__).parent.parent.parent


def run(kedge: Kedge, *arguments: str, code: int = 0, text: str | None = None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "kedge", *arguments],
        env={**os.environ, "KEDGE_DATA_DIR": str(kedge.data_dir)},
        capture_output=True, text=True, timeout=60, check=False, input=text,
    )  # fmt: skip
    assert done.returncode == code, f"{arguments}: {done.stdout}\n{done.stderr}"
    assert "kedge/cli" not in done.stderr, "a traceback of the command itself"
    return done


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    path = tmp_path / "wine.joblib"
    joblib.dump(DecisionTreeClassifier(random_state=0).fit(*load_wine(return_X_y=True)), path)
    return path


def test_from_a_file_to_an_answer_and_back_to_nothing(kedge: Kedge, model_file: Path, tmp_path: Path) -> None:
    rows, growers = load_wine(return_X_y=True)
    body = ",".join(map(str, rows[100]))

    done = run(kedge, "deploy", str(model_file), "--json")
    assert json.loads(done.stdout)["endpoint"] == "wine"
    assert json.loads(run(kedge, "invoke", "wine", "--data", body).stdout) == [growers[100]]
    (tmp_path / "row.csv").write_text(body)
    as_csv = ("--accept", "text/csv", "--json")
    answer = json.loads(run(kedge, "invoke", "wine", "--file", str(tmp_path / "row.csv"), *as_csv).stdout)
    assert (answer["variant"], float(answer["body"])) == ("AllTraffic", growers[100])
    assert json.loads(run(kedge, "invoke", "wine", "--file", "-", text=body).stdout) == [growers[100]]

    joblib.dump(DummyClassifier(strategy="constant", constant=7).fit([[0]], [7]), tmp_path / "seven.joblib")
    done = run(kedge, "deploy", str(tmp_path / "seven.joblib"), "--name", "wine", "--variant", "seven", "--weight", "3")
    assert "InService" in done.stderr
    assert json.loads(run(kedge, "weights", "wine", "AllTraffic=1", "seven=9", "--json").stdout) == {
        "AllTraffic": 1.0,
        "seven": 9.0,
    }
    asked = run(kedge, "invoke", "wine", "--data", body, "--target-variant", "seven", "--accept", "application/json")
    assert "7" in asked.stdout
    assert "say by --variant" in run(kedge, "deploy", str(model_file), "--name", "wine", code=2).stderr

    status = json.loads(run(kedge, "status", "--json").stdout)
    assert {each["role"] for each in status["roles"]} >= {"supervisor", "control", "router"}
    assert len([each for each in status["instances"] if each["pid"]]) == 2
    assert "wine" in run(kedge, "status").stdout
    run(kedge, "logs", "wine")

    assert "1 label of wine kept" in run(kedge, "label", "WINE", "order-7", "1").stdout
    (tmp_path / "labels").write_text('a,0\n\n{"InferenceId": "b", "Label": {"grower": 2}}\n')
    told = json.loads(run(kedge, "label", "wine", "--file", str(tmp_path / "labels"), "--json").stdout)
    assert (told["Labels"], told["S3Uri"].endswith("/kedge/labels/wine")) == (2, True)
    (tmp_path / "labels").write_text("".join(f"{number},{'x' * 300}\n" for number in range(1001)))
    told = json.loads(run(kedge, "label", "wine", "--file", str(tmp_path / "labels"), "--json").stdout)
    assert told["Labels"] == 1001, "more than one call takes, by number and by size"
    (tmp_path / "labels").write_text("a,0\nb\n")
    assert "Line 2 of" in run(kedge, "label", "wine", "--file", str(tmp_path / "labels"), code=1).stderr
    (tmp_path / "labels").write_bytes(b"order-7,1\norder-8,caf\xe9\n")
    assert "is not UTF-8" in run(kedge, "label", "wine", "--file", str(tmp_path / "labels"), code=1).stderr
    assert "INFERENCE_ID and LABEL, or --file" in run(kedge, "label", "wine", "a", code=2).stderr

    run(kedge, "delete", "wine")
    sagemaker = kedge.client("sagemaker")
    assert sagemaker.list_endpoints()["Endpoints"] == []
    assert sagemaker.list_endpoint_configs()["EndpointConfigs"] == []
    assert sagemaker.list_models()["Models"] == []
    assert "There is no endpoint" in run(kedge, "delete", "wine", code=1).stderr
    assert "There is no endpoint" in run(kedge, "logs", "none", code=1).stderr


def test_a_model_that_cannot_be_loaded_fails_with_its_reason(kedge: Kedge, tmp_path: Path) -> None:
    (tmp_path / "broken.joblib").write_bytes(b"no model at all")
    done = run(kedge, "deploy", str(tmp_path / "broken.joblib"), code=1)
    assert "broken is Failed: " in done.stderr
    sagemaker = kedge.client("sagemaker")
    assert (sagemaker.list_models()["Models"], sagemaker.list_endpoint_configs()["EndpointConfigs"]) == ([], [])
    joblib.dump(DummyClassifier(strategy="constant", constant=1).fit([[0]], [1]), tmp_path / "broken.joblib")
    run(kedge, "deploy", str(tmp_path / "broken.joblib"))
    assert json.loads(run(kedge, "invoke", "broken", "--data", "0").stdout) == [1]


def test_a_service_error_is_one_sentence(kedge: Kedge) -> None:
    done = run(kedge, "invoke", "nobody", "--data", "1", code=1)
    assert "nobody" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_env_is_all_that_an_unmodified_sdk_needs(kedge: Kedge) -> None:
    script = f"""
        export AWS_PROFILE=missing AWS_SESSION_TOKEN=stale AWS_USE_FIPS_ENDPOINT=true
        export AWS_ENDPOINT_URL_STS=http://127.0.0.1:9 AWS_ENDPOINT_URL_SAGEMAKER=http://127.0.0.1:9
        export HTTP_PROXY=http://127.0.0.1:9 NO_PROXY=x
        eval "$({sys.executable} -m kedge env)"
        {sys.executable} -c "$ASK"
        eval "$({sys.executable} -m kedge env)"
        echo "$NO_PROXY"
        echo "$SAGEMAKER_ROLE_ARN"
        cat "$SAGEMAKER_USER_CONFIG_OVERRIDE"
        eval "$({sys.executable} -m kedge env --unset)"
        echo "${{AWS_ENDPOINT_URL-gone}} ${{NO_PROXY-gone}}"
    """
    done = subprocess.run(
        ["bash", "-euc", script],
        env={**os.environ, "KEDGE_DATA_DIR": str(kedge.data_dir), "ASK": ASK},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert lines[0] == f"{kedge.account} []"
    assert lines[1:3] == ["x,127.0.0.1", kedge.role_arn]
    assert f"        DefaultS3Bucket: '{kedge.bucket}'" in lines
    assert lines[-1] == "gone x"


def test_a_session_of_the_callers_own_makes_no_difference(kedge: Kedge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "missing")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    identity = kedge.client("sts").get_caller_identity()
    assert identity["Account"] == kedge.account
    kedge.client("s3").head_bucket(Bucket=kedge.bucket)


def test_each_test_finds_a_clean_server(kedge: Kedge) -> None:
    kedge.deploy(DummyClassifier(strategy="constant", constant=3).fit([[0]], [3]), "three")
    answer = kedge.client("sagemaker-runtime").invoke_endpoint(EndpointName="three", ContentType="text/csv", Body="0")
    assert json.loads(answer["Body"].read()) == [3]
    kedge.client("s3").put_object(Bucket=kedge.bucket, Key="left", Body=b"over")
    kedge.reset()
    assert kedge.client("sagemaker").list_endpoints()["Endpoints"] == []
    assert kedge.client("s3").list_objects_v2(Bucket=kedge.bucket).get("KeyCount") == 0
    with pytest.raises(boto3.client("sts", region_name="us-east-1").exceptions.ClientError):
        kedge.client("sagemaker-runtime").invoke_endpoint(EndpointName="three", ContentType="text/csv", Body="0")


@pytest.mark.parametrize("example", ["deploy_sklearn.py", "two_variants.py"])
def test_the_examples_run(kedge: Kedge, example: str) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")} | kedge.environment()
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / example)],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_the_script_example_answers(kedge: Kedge) -> None:
    run(kedge, "deploy", str(ROOT / "examples" / "script_contract"), "--name", "words")
    done = run(kedge, "invoke", "words", "--data", '{"text": "to be or not to be"}')
    assert json.loads(done.stdout) == [["be", 2], ["not", 1]]


def test_the_training_example_saves_a_model(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, str(ROOT / "examples/train.py"), str(tmp_path / "m.joblib")], check=True, timeout=60
    )
    assert joblib.load(tmp_path / "m.joblib").predict(
        [[13.2, 1.78, 2.14, 11.2, 100, 2.65, 2.76, 0.26, 1.28, 4.38, 1.05, 3.4, 1050]]
    ) == [0]


def test_the_demo_shows_the_split_move_and_leaves_nothing(tmp_path: Path) -> None:
    sockets = Path(tempfile.mkdtemp(prefix="kd", dir="/tmp"))  # a socket's path must be short
    environment = {**os.environ, "KEDGE_RUN_DIR": str(sockets), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "kedge", "demo"],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.split("The weights are now")
    assert "logistic       270  90.0%" in first
    assert "forest         240  80.0%" in second
    assert list(tmp_path.iterdir()) == []
    assert list(sockets.glob("**/*.sock")) == []
    shutil.rmtree(sockets)
