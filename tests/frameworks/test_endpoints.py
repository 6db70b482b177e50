"""Models of each framework, deployed through boto3 to a server, answer as their library does."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import catboost
import lightgbm
import mlflow.sklearn
import numpy as np
import onnx
import pytest
import xgboost
from onnx import TensorProto, helper, numpy_helper
from sklearn.tree import DecisionTreeClassifier

from tests.faults.conftest import Server, variant

from .data import TARGET, X, Y, csv

ECR = "683313688378.dkr.ecr.us-east-1.amazonaws.com"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Server(tmp_path_factory.mktemp("server") / "data").up()
    try:
        yield started
    finally:
        started.down()


def packed(folder: Path) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        tar.add(folder, ".")
    return out.getvalue()


def deployed(server: Server, name: str, image: str, folder: Path, **environment: str) -> dict[str, Any]:
    """The endpoint, once it is in service or has failed."""
    server.client("s3").put_object(Bucket=server.bucket, Key=f"{name}.tar.gz", Body=packed(folder))
    sagemaker = server.client("sagemaker")
    container = {"Image": image, "ModelDataUrl": f"s3://{server.bucket}/{name}.tar.gz", "Environment": environment}
    role = f"arn:aws:iam::{server.ready['account']}:role/kedge-execution-role"
    sagemaker.create_model(ModelName=name, ExecutionRoleArn=role, PrimaryContainer=container)
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant(name)])
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    end = time.monotonic() + 90
    while (found := sagemaker.describe_endpoint(EndpointName=name))["EndpointStatus"] == "Creating":
        assert time.monotonic() < end, "it neither came up nor failed"
        time.sleep(0.05)
    return dict(found)


def answer(server: Server, name: str, body: bytes, kind: str = "text/csv", **options: str) -> bytes:
    runtime = server.client("sagemaker-runtime")
    found = runtime.invoke_endpoint(EndpointName=name, Body=body, ContentType=kind, **options)
    read: bytes = found["Body"].read()
    return read


def log_of(server: Server, name: str) -> str:
    [instance] = [each for each in server.status()["instances"] if each["labels"]["endpoint"] == name]
    return (server.data / "tasks" / instance["id"] / "output.log").read_text()


def test_xgboost_by_its_public_image(server: Server, tmp_path: Path):
    model = xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(X, label=Y), 10)
    (tmp_path / "xgboost-model").write_bytes(model.save_raw("ubj"))
    found = deployed(server, "xgboost", f"{ECR}/sagemaker-xgboost:1.7-1", tmp_path)
    assert found["EndpointStatus"] == "InService", found.get("FailureReason")
    want = model.predict(xgboost.DMatrix(X[:5])).tolist()
    assert [float(line) for line in answer(server, "xgboost", csv(X[:5])).split()] == want
    scores = json.loads(answer(server, "xgboost", csv(X[:5]), Accept="application/json"))
    assert scores == {"predictions": [{"score": each} for each in want]}
    assert f"stands for xgboost 1.7; this is xgboost {xgboost.__version__}" in log_of(server, "xgboost")


@pytest.mark.parametrize("name", ["lightgbm", "catboost"])
def test_trees_by_kedges_own_images(server: Server, tmp_path: Path, name: str):
    model: Any
    if name == "lightgbm":
        model = lightgbm.train({"objective": "regression", "verbose": -1}, lightgbm.Dataset(X, TARGET), 10)
        model.save_model(tmp_path / "model.txt")
    else:
        model = catboost.CatBoostRegressor(iterations=10, verbose=0, allow_writing_files=False).fit(X, TARGET)
        model.save_model(str(tmp_path / "model.cbm"))
    found = deployed(server, name, f"kedge/{name}", tmp_path)
    assert found["EndpointStatus"] == "InService", found.get("FailureReason")
    assert json.loads(answer(server, name, csv(X[:5]))) == model.predict(X[:5]).tolist()


def test_onnx(server: Server, tmp_path: Path):
    weights = np.arange(10, dtype=np.float32).reshape(5, 2)
    shapes = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["rows", c]) for n, c in (("x", 5), ("y", 2))]
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "g", shapes[:1], shapes[1:], [numpy_helper.from_array(weights, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(tmp_path / "model.onnx"))
    (tmp_path / "probe").mkdir()
    (tmp_path / "probe" / "request.csv").write_text("1,1,1,1,1\n")
    (tmp_path / "probe" / "response.json").write_text("[[20.0, 25.0]]")
    found = deployed(server, "onnx", "kedge/onnx", tmp_path)
    assert found["EndpointStatus"] == "InService", found.get("FailureReason")
    assert np.allclose(json.loads(answer(server, "onnx", csv(X[:3]))), X[:3] @ weights, atol=1e-5)
    (tmp_path / "probe" / "response.json").write_text("[[20.0, 26.0]]")
    found = deployed(server, "onnx-wrong", "kedge/onnx", tmp_path)
    assert found["EndpointStatus"] == "Failed"
    assert (
        "its answer to probe/request.csv is not that of probe/response.json: [[20.0, 25.0]]" in found["FailureReason"]
    )


def test_mlflow(server: Server, tmp_path: Path):
    model = DecisionTreeClassifier().fit(X, Y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.sklearn.save_model(
            model, str(tmp_path / "m"), pip_requirements=["scikit-learn"], serialization_format="cloudpickle"
        )
    # It names all of mlflow, some 280 MB; the small one is there and does as well.
    (tmp_path / "m" / "requirements.txt").write_text("mlflow-skinny>=2.9\nscikit-learn\n")
    found = deployed(server, "mlflow", "kedge/mlflow", tmp_path / "m")
    assert found["EndpointStatus"] == "InService", found.get("FailureReason")
    body = json.dumps({"instances": X[:5].tolist()}).encode()
    assert json.loads(answer(server, "mlflow", body, "application/json")) == {
        "predictions": model.predict(X[:5]).tolist()
    }


def test_a_model_that_another_version_wrote_fails_with_both_versions(server: Server, tmp_path: Path):
    (tmp_path / "model.json").write_text('{"learner": {}, "version": [0, 90, 2]}')
    found = deployed(server, "old", f"{ECR}/sagemaker-xgboost:0.90-2-cpu-py3", tmp_path)
    assert found["EndpointStatus"] == "Failed"
    assert f"written by xgboost 0.90.2; this is xgboost {xgboost.__version__}" in found["FailureReason"]
    assert "put xgboost==0.90.2 into" in found["FailureReason"]


def test_a_pickled_estimator_is_served_by_a_script(server: Server, tmp_path: Path):
    model = xgboost.XGBClassifier(n_estimators=4).fit(X, Y)
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(model))
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "inference.py").write_text(
        "import os, pickle\n"
        "def model_fn(folder):\n"
        "    return pickle.load(open(os.path.join(folder, 'model.pkl'), 'rb'))\n"
        "def predict_fn(data, model):\n"
        "    return model.predict_proba(data)[:, 1]\n"
    )
    found = deployed(server, "scripted", f"{ECR}/sagemaker-xgboost:3.0-5", tmp_path)
    assert found["EndpointStatus"] == "InService", found.get("FailureReason")
    body = json.dumps(X[:5].tolist()).encode()
    got = json.loads(answer(server, "scripted", body, "application/json", Accept="application/json"))
    assert got == model.predict_proba(X[:5])[:, 1].tolist()
