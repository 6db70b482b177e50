"""ONNX models with one input and several, and MLflow folders with every format that MLflow's server takes."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import mlflow.sklearn
import numpy as np
import onnx
import pandas
import pytest
from mlflow.models import infer_signature
from onnx import TensorProto, helper, numpy_helper
from sklearn.tree import DecisionTreeClassifier

from kedge.serving import runtimes
from kedge.serving.runtimes.base import Answer, Invocation, InvocationError, LoadError

from .data import ask, outcomes

JSON = "application/json"
WEIGHTS = np.arange(6, dtype=np.float32).reshape(3, 2)


def graph(folder: Path, nodes: Sequence[Any], inputs: Sequence[Any], outputs: Sequence[Any]) -> Path:
    made = helper.make_graph(list(nodes), "g", list(inputs), list(outputs), [numpy_helper.from_array(WEIGHTS, "w")])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(folder / "model.onnx"))
    return folder


def tensor(name: str, shape: Sequence[Any], kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, list(shape))


def product(folder: Path, rows: Any) -> Path:
    return graph(
        folder, [helper.make_node("MatMul", ["x", "w"], ["y"])], [tensor("x", [rows, 3])], [tensor("y", [rows, 2])]
    )


@pytest.mark.parametrize("rows", ["n", 1, None])
@pytest.mark.parametrize(
    ("body", "kind", "values"),
    [
        (b"1,2,3\n4,5,6\n", "text/csv", [[1, 2, 3], [4, 5, 6]]),
        (b"[[1, 2, 3]]", JSON, [[1, 2, 3]]),
        (b"[1, 2, 3]", JSON, [[1, 2, 3]]),
        (b'{"instances": [[1, 2, 3], [0, 0, 1]]}', JSON, [[1, 2, 3], [0, 0, 1]]),
        (b'{"inputs": [[1, 2, 3]]}', JSON, [[1, 2, 3]]),
        (b'{"inputs": {"x": [[1, 2, 3]]}}', JSON, [[1, 2, 3]]),
        (b'{"x": [[1.5, 2, 3]]}', "", [[1.5, 2, 3]]),
    ],
)
def test_one_input_however_it_is_sent(tmp_path: Path, rows: Any, body: bytes, kind: str, values: Any):
    runtime = runtimes.load("onnx", product(tmp_path, rows), {})
    assert not runtime.joinable
    assert json.loads(ask(runtime, body, kind).body) == (np.array(values, np.float32) @ WEIGHTS).tolist()


def test_several_inputs_and_outputs_go_by_name(tmp_path: Path):
    nodes = [helper.make_node("Add", ["a", "b"], ["s"]), helper.make_node("Sub", ["a", "b"], ["t"])]
    graph(tmp_path, nodes, [tensor(n, ["n", 1]) for n in "ab"], [tensor(n, ["n", 1]) for n in "st"])
    runtime = runtimes.load("onnx", tmp_path, {})
    for body in (b'{"a": [[1], [2]], "b": [[3], [4]]}', b'[{"b": 3, "a": 1}, {"a": 2, "b": 4}]'):
        assert json.loads(ask(runtime, body, JSON).body) == {"s": [[4.0], [6.0]], "t": [[-2.0], [-2.0]]}
    assert ask(runtime, b"1,3\n2,4", "text/csv", "text/csv").body == b"4.0\n6.0\n"
    chosen = runtimes.load("onnx", tmp_path, {"KEDGE_ONNX_OUTPUTS": "t"})
    assert json.loads(ask(chosen, b"1,3", "text/csv").body) == [[-2.0]]
    with pytest.raises(LoadError, match="names u; the model's outputs are s, t"):
        runtimes.load("onnx", tmp_path, {"KEDGE_ONNX_OUTPUTS": "u"})


def test_whole_numbers_and_texts_keep_their_types(tmp_path: Path):
    kinds = [("i", TensorProto.INT64, ["n", 2]), ("s", TensorProto.STRING, ["n"])]
    nodes = [helper.make_node("Identity", [name], [name + name]) for name, _, _ in kinds]
    graph(
        tmp_path,
        nodes,
        [tensor(name, shape, kind) for name, kind, shape in kinds],
        [tensor(name + name, shape, kind) for name, kind, shape in kinds],
    )
    runtime = runtimes.load("onnx", tmp_path, {})
    assert json.loads(ask(runtime, b'{"i": [[1, 2]], "s": ["x"]}', JSON).body) == {"ii": [[1, 2]], "ss": ["x"]}
    [refused] = outcomes(runtime, Invocation(b'{"i": [[1.5, 2]], "s": ["x"]}', JSON))
    assert "takes whole numbers" in str(refused)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"[[1, 2]]", "takes the shape"),
        (b'[["a", "b", "c"]]', "could not convert"),
        (b'{"z": [[1, 2, 3]]}', "missing, or not one of them: x, z"),
        (b'{"x": [[1], [2, 3]]}', "different lengths"),
        (b"", "empty"),
        (b"[[[[1]]]]", "takes the shape"),
        (b"null", "takes the shape|single value"),
    ],
)
def test_a_body_that_does_not_fit_is_the_clients_fault(tmp_path: Path, body: bytes, says: str):
    [refused] = outcomes(runtimes.load("onnx", product(tmp_path, "n"), {}), Invocation(body, JSON))
    assert isinstance(refused, InvocationError)
    assert refused.status == 400, refused
    import re

    assert re.search(says, str(refused)), refused


def test_a_file_that_is_no_onnx_says_so(tmp_path: Path):
    (tmp_path / "model.onnx").write_bytes(b"x")
    with pytest.raises(LoadError, match=r"model\.onnx cannot be loaded: .*this is onnxruntime \d"):
        runtimes.load("onnx", tmp_path, {})


FRAME = pandas.DataFrame({"a": [1.0, 2.0, 3.0, 4.0], "b": [0, 1, 0, 1]})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mlflow") / "model"
    model = DecisionTreeClassifier().fit(FRAME, ["x", "y", "x", "y"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.sklearn.save_model(
            model,
            str(path),
            signature=infer_signature(FRAME, model.predict(FRAME)),
            pip_requirements=["scikit-learn"],
            serialization_format="cloudpickle",
        )
    return path


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("body", "kind", "labels"),
    [
        (b'{"dataframe_split": {"columns": ["b", "a"], "data": [[1, 2.0], [0, 1]]}}', JSON, ["y", "x"]),
        (b'{"dataframe_records": [{"a": 2, "b": 1}]}', JSON, ["y"]),
        (b'{"instances": [{"a": 2.0, "b": 1}]}', JSON, ["y"]),
        (b'{"inputs": {"a": [2.0, 1.0], "b": [1, 0]}}', JSON, ["y", "x"]),
        (b"b,a\n0,1\n1,2\n", "text/csv", ["x", "y"]),
        (b"a,b\n1,0\n", "text/csv; charset=utf-8", ["x"]),
    ],
)
def test_mlflow_takes_what_its_own_server_takes(folder: Path, body: bytes, kind: str, labels: list[str]):
    for artifact in (folder, folder.parent):
        answer = ask(runtimes.load("mlflow", artifact, {}), body, kind, "")
        assert answer == Answer(json.dumps({"predictions": labels}).encode(), JSON)


@pytest.mark.filterwarnings("ignore")
def test_mlflow_says_what_is_wrong_with_a_body(folder: Path):
    runtime = runtimes.load("mlflow", folder, {})
    for body, kind, status in (
        (b"[[1, 2]]", JSON, 400),
        (b'{"dataframe_records": [{"a": 2}]}', JSON, 400),
        (b'{"dataframe_records": [{"a": "q", "b": 1}]}', JSON, 400),
        (b'{"dataframe_split": 3}', JSON, 400),
        (b'{"dataframe_split": {}, "inputs": []}', JSON, 400),
        (b'{"dataframe_records": [], "params": 3}', JSON, 400),
        (b"1,0\n", "text/csv", 400),
        (b"", JSON, 400),
        (b"x", "image/png", 415),
    ):
        [refused] = outcomes(runtime, Invocation(body, kind))
        assert isinstance(refused, InvocationError), body
        assert refused.status == status, (body, refused)


@pytest.mark.filterwarnings("ignore")
def test_mlflow_models_of_ones_own_take_parameters(tmp_path: Path):
    class Adding(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):  # MLflow reads hints as its schema
            return model_input + (params or {}).get("more", 0)

    signature = infer_signature(FRAME, FRAME, params={"more": 1})
    mlflow.pyfunc.save_model(
        str(tmp_path / "m"), python_model=Adding(), signature=signature, pip_requirements=["numpy"]
    )
    runtime = runtimes.load("mlflow", tmp_path, {})
    body = b'{"dataframe_records": [{"a": 1, "b": 2}], "params": {"more": 5}}'
    assert json.loads(ask(runtime, body, JSON).body) == {"predictions": [{"a": 6.0, "b": 7}]}
    assert ask(runtime, body, JSON, "text/csv").body == b"6.0,7.0\n"


def test_a_folder_that_is_no_mlflow_model_says_so(tmp_path: Path):
    with pytest.raises(LoadError, match="holds no MLmodel"):
        runtimes.load("mlflow", tmp_path, {})
    (tmp_path / "MLmodel").write_text("mlflow_version: 1.2.3\nflavors: {}\n")
    with pytest.raises(LoadError, match=r"written by mlflow 1\.2\.3.*mlflow==1\.2\.3"):
        runtimes.load("mlflow", tmp_path, {})
