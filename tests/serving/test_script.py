import json
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from kedge.serving import runtimes
from kedge.serving.runtimes.base import Answer, Invocation, LoadError, Outcome, Streamed

ECHO = """
def model_fn(model_dir):
    return "model"
def transform_fn(model, data, content_type, accept):
    return f"{model}|{data!r}|{content_type}|{accept}"
"""
DOUBLE = """
import numpy as np
KEDGE_JOINABLE = True
CALLS = []
class Model:
    def predict(self, rows):
        CALLS.append(len(rows))
        return rows.sum(axis=1) * 2
def model_fn(model_dir):
    return Model()
"""


@pytest.fixture(autouse=True)
def _leave_no_modules() -> Iterator[None]:
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def load(folder: Path, source: str, name: str = "code/inference.py", **environment: str) -> runtimes.Runtime:
    script = folder / name
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(textwrap.dedent(source))
    return runtimes.load("sklearn", folder, environment)


def outcomes(runtime: runtimes.Runtime, *requests: Invocation) -> list[Outcome]:
    return [outcome for _, outcome in sorted((i, o) for group in runtime.answer(requests) for i, o in group)]


def ask(runtime: runtimes.Runtime, body: bytes, content_type: str = "", accept: str = "", **fields: str) -> Outcome:
    [outcome] = outcomes(runtime, Invocation(body, content_type, accept, **fields))
    return outcome


@pytest.mark.parametrize(
    ("content_type", "accept", "seen"),
    [
        ("text/csv", "text/csv", "'1'|text/csv|text/csv"),
        ("", "", "'1'|application/json|application/json"),
        ("application/json; charset=utf-8", "*/*", "'1'|application/json; charset=utf-8|application/json"),
        ("application/x-npy", "a/b", "b'1'|application/x-npy|a/b"),
    ],
)
def test_what_a_handler_is_given(tmp_path: Path, content_type: str, accept: str, seen: str):
    answer = ask(load(tmp_path, ECHO), b"1", content_type, accept)
    assert answer == Answer(f"model|{seen}".encode(), seen.rpartition("|")[2])


def test_the_four_handlers_in_their_order(tmp_path: Path):
    runtime = load(
        tmp_path,
        """
        import os
        def model_fn(model_dir):
            return sorted(os.listdir(model_dir))
        def input_fn(data, content_type):
            return [data]
        def predict_fn(data, model):
            return data + model
        def output_fn(prediction, accept):
            return ",".join(prediction), "text/plain"
        """,
    )
    assert ask(runtime, b"x", "text/csv") == Answer(b"x,code", "text/plain")
    assert not runtime.joinable
    assert runtime.takes == 1


def test_the_defaults_decode_predict_and_encode(tmp_path: Path):
    runtime = load(tmp_path, DOUBLE)
    assert ask(runtime, b"1,2\n3,4\n", "text/csv") == Answer(b"[6.0, 14.0]", "application/json")
    assert ask(runtime, b"[[1, 2]]", "application/json", "text/csv") == Answer(b"6.0\n", "text/csv")
    assert ask(runtime, b"[[1, 2]]", accept="image/png").status == 406
    assert ask(runtime, b"x", "image/png").status == 415
    assert ask(load(tmp_path, DOUBLE, SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT="text/csv"), b"[[1, 2]]").body == b"6.0\n"


def test_rows_are_joined_only_when_the_script_declares_it(tmp_path: Path):
    requests = [Invocation(json.dumps([[i, i]]).encode()) for i in range(5)]
    for source, calls in ((DOUBLE, [5]), (DOUBLE.replace("= True", "= 'yes'"), [1] * 5)):
        runtime = load(tmp_path, source)
        assert [json.loads(answer.body) for answer in outcomes(runtime, *requests)] == [[4.0 * i] for i in range(5)]
        assert calls == sys.modules["inference"].CALLS
        assert runtime.joinable is (len(calls) == 1)


def test_a_model_is_loaded_as_usual_when_there_is_no_model_fn(tmp_path: Path):
    import joblib
    from sklearn.tree import DecisionTreeClassifier

    joblib.dump(DecisionTreeClassifier().fit([[0.0], [1.0]], [0, 1]), tmp_path / "model.joblib")
    runtime = load(tmp_path, "def output_fn(prediction, accept):\n    return str(prediction.sum())")
    assert ask(runtime, b"1\n1\n0\n", "text/csv").body == b"2"


CONTEXT = """
def model_fn(model_dir, context):
    return context.system_properties["model_dir"] == model_dir
def input_fn(data, content_type, context=None):
    return data, context.get_request_header(0, "x-amzn-sagemaker-inference-id"), context.custom_attributes
def predict_fn(data, model, *, context):
    return [model, *data, context.request_processor[0].get_request_properties().get("Accept")]
def output_fn(prediction, accept, context):
    context.set_response_header(0, "X-Amzn-SageMaker-Custom-Attributes", "seen=" + context.request_id)
    context.set_response_content_type(0, "text/x-list")
    return repr(prediction)
"""


def test_the_context_is_an_optional_last_argument(tmp_path: Path):
    runtime = load(tmp_path, CONTEXT)
    answer = ask(runtime, b"b", "text/csv", "a/b", custom_attributes="c=1", inference_id="i", request_id="r")
    assert answer == Answer(b"[True, 'b', 'i', 'c=1', 'a/b']", "text/x-list", "seen=r")


def test_custom_attributes_come_back_unless_the_script_says_otherwise(tmp_path: Path):
    assert ask(load(tmp_path, ECHO), b"", custom_attributes="c=1").custom_attributes == "c=1"


@pytest.mark.parametrize(
    ("body", "want"),
    [
        ("return b'bytes'", Answer(b"bytes", "application/json")),
        ("return bytearray(b'x'), 'a/b'", Answer(b"x", "a/b")),
        ("return {'a': 1}", Answer(b'{"a": 1}', "application/json")),
        ("return __import__('numpy').array([1, 2])", Answer(b"[1, 2]", "application/json")),
        ("context.set_response_status(201); return ''", Answer(b"", "application/json", "", 201)),
    ],
)
def test_what_a_handler_may_return(tmp_path: Path, body: str, want: Answer):
    source = f"model_fn = lambda model_dir: 1\ndef transform_fn(model, data, kind, accept, context):\n    {body}\n"
    assert ask(load(tmp_path, source), b"") == want


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ("raise ValueError('no\\nsense')", 500, "ValueError: no sense"),
        ("return {}['gone']", 500, "KeyError: 'gone'"),
        ("import sys; sys.exit(3)", 500, "SystemExit: 3"),
        ("raise KeyboardInterrupt", 500, "KeyboardInterrupt"),
        ("raise GeneratorExit", 500, "GeneratorExit"),
        ("raise type('PanicException', (BaseException,), {})('in Rust')", 500, "PanicException: in Rust"),
        ("raise type('Teapot', (Exception,), {'status_code': 418})('short')", 418, "short"),
        ("raise type('Odd', (Exception,), {'status_code': 200})('odd')", 500, "odd"),
        ("raise type('Sly', (Exception,), {'status_code': property(lambda self: 1 / 0)})('sly')", 500, "Sly: sly"),
        ("context.set_response_status(422, 'no'); return 'a bad row'", 422, "a bad row"),
        ("context.set_response_status(99)", 500, "status is 99"),
        ("return 'x', 'text/plain\\r\\nevil: 1'", 500, "printable ASCII"),
        ("context.set_response_header(0, 'x-amzn-sagemaker-custom-attributes', 'a\\r\\nb')", 500, "printable ASCII"),
        ("return object()", 500, "cannot be written"),
    ],
)
def test_what_a_handler_raises(tmp_path: Path, body: str, status: int, says: str, caplog: pytest.LogCaptureFixture):
    source = f"model_fn = lambda model_dir: 1\ndef transform_fn(model, data, kind, accept, context):\n    {body}\n"
    error = ask(load(tmp_path, source), b"")
    assert error.status == status
    assert says in str(error)
    assert "Traceback" not in str(error)
    if "raise" in body:
        assert "Traceback" in caplog.text


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (
            "def model_fn(d): pass\ndef transform_fn(a, b, c, d): pass\ndef predict_fn(a, b): pass",
            "has transform_fn and al",
        ),
        ("def model_fn(d): pass\ndef input_fn(a): pass", "input_fn takes 1 arguments; it has to take 2"),
        ("def model_fn(d): pass\ndef output_fn(a, b, c, d): pass", "output_fn takes 4 arguments"),
        ("model_fn = 3", "model_fn is a int; it has to be a function"),
        ("import nothing_like_it", r"ModuleNotFoundError: No module named 'nothing_like_it' \(inference.py, line 1"),
        ("x = 1\n1 +", r"SyntaxError: invalid syntax \(inference.py, line 2\)"),
        ("raise KeyboardInterrupt", r"KeyboardInterrupt \(inference.py, line 1, in <module>\)"),
        ("import sys\nsys.exit('no licence')", r"SystemExit: no licence \(inference.py, line 2, in <module>\)"),
        (
            "def model_fn(d):\n    raise OSError('no weights')",
            r"OSError: no weights \(inference.py, line 2, in model_fn\)",
        ),
        ("def predict_fn(a, b): pass", "The script defines no model_fn. .*root holds no model"),
    ],
)
def test_a_script_that_cannot_be_loaded_says_why(tmp_path: Path, source: str, says: str):
    with pytest.raises(LoadError, match=says):
        load(tmp_path, source)


@pytest.mark.parametrize(
    ("name", "environment"),
    [
        ("code/inference.py", {}),
        ("code/serve.py", {"SAGEMAKER_PROGRAM": "serve.py"}),
        ("code/serve.py", {"SAGEMAKER_PROGRAM": "serve"}),
        ("serve.py", {"SAGEMAKER_PROGRAM": "serve.py"}),
        ("src/serve.py", {"SAGEMAKER_PROGRAM": "serve.py", "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/src"}),
        ("src/serve.py", {"SAGEMAKER_PROGRAM": "serve.py", "SAGEMAKER_SUBMIT_DIRECTORY": "file:///opt/ml/model/src"}),
        ("src/inference.py", {"SAGEMAKER_SUBMIT_DIRECTORY": "src"}),
        ("code/serve.py", {"SAGEMAKER_PROGRAM": "serve.py", "SAGEMAKER_SUBMIT_DIRECTORY": "s3://b/sourcedir.tar.gz"}),
    ],
)
def test_where_the_script_is_found(tmp_path: Path, name: str, environment: dict[str, str]):
    (tmp_path / Path(name).parent).mkdir(exist_ok=True)
    (tmp_path / Path(name).parent / "beside.py").write_text("ANSWER = 'beside'")
    source = "import beside\nmodel_fn = lambda model_dir: 1\ntransform_fn = lambda m, d, c, a: beside.ANSWER\n"
    assert ask(load(tmp_path, source, name, **environment), b"").body == b"beside"


def test_a_script_that_is_named_and_not_there(tmp_path: Path):
    with pytest.raises(LoadError, match=r"SAGEMAKER_PROGRAM is serve\.py, but the artifact has no code/serve\.py"):
        runtimes.load("sklearn", tmp_path, {"SAGEMAKER_PROGRAM": "serve.py"})
    elsewhere = {"SAGEMAKER_PROGRAM": "serve.py", "SAGEMAKER_SUBMIT_DIRECTORY": "s3://b/sourcedir.tar.gz"}
    with pytest.raises(LoadError, match=r"s3://b/sourcedir\.tar\.gz, which an instance does not fetch"):
        runtimes.load("sklearn", tmp_path, elsewhere)
    (tmp_path.parent / "outside.py").write_text("")
    with pytest.raises(LoadError, match="has no code/"):
        runtimes.load("script", tmp_path, {"SAGEMAKER_PROGRAM": f"{'../' * 3}outside.py"})
    with pytest.raises(LoadError, match=r"has no code/inference\.py"):
        runtimes.load("script", tmp_path, {})


def test_warm_up_and_what_comes_before_the_model(tmp_path: Path):
    runtime = load(
        tmp_path,
        """
        SEEN = []
        def pre_model_fn(model_dir):
            SEEN.append("before")
        def model_fn(model_dir):
            SEEN.append("load")
            return SEEN
        def model_warmup_fn(model_dir, model):
            model.append("warm")
        def transform_fn(*arguments):
            return arguments[0]
        """,
    )
    assert json.loads(ask(runtime, b"").body) == ["before", "load", "warm"]


def test_what_was_pickled_from_the_script_is_found(tmp_path: Path):
    import pickle

    source = "class Own:\n    def __init__(self): self.value = 7\n    def predict(self, rows): return [self.value]\n"
    load(tmp_path, source + "model_fn = lambda model_dir: Own()\n")
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(sys.modules["inference"].Own()))
    del sys.modules["inference"]
    assert ask(load(tmp_path, source), b"[[1]]").body == b"[7]"


def test_the_source_of_arrays_is_not_shared_between_requests(tmp_path: Path):
    source = DOUBLE + "def input_fn(data, kind):\n    return np.array([[1.0, float(data)]])\n"
    runtime = load(tmp_path, source)
    found = outcomes(
        runtime, *[Invocation(str(i).encode(), "text/csv") for i in range(3)], Invocation(b"x", "text/csv")
    )
    assert [f.status for f in found] == [200, 200, 200, 500]
    assert np.allclose([json.loads(f.body)[0] for f in found[:3]], [2.0, 4.0, 6.0])


def test_a_module_that_is_missing_says_where_to_name_it(tmp_path: Path):
    with pytest.raises(
        LoadError, match=r"named 'kedge_gone' .*Name the package that holds kedge_gone in .*requirements"
    ):
        load(tmp_path, "import kedge_gone.part\n")


YIELDS = """
CLOSED = []
def model_fn(model_dir):
    return None
def parts(data):
    try:
        for word in data.split():
            if word == "bad":
                raise ValueError("a bad word")
            yield {"bytes": b"bytes", "none": b"", "buffer": bytearray(b"buffer"), "number": 7}.get(word, word)
    finally:
        CLOSED.append(data)
"""


def streamed(outcome: Outcome) -> Streamed:
    assert isinstance(outcome, Streamed)
    return outcome


@pytest.mark.parametrize(
    "handlers",
    [
        "def transform_fn(model, data, content_type, accept): return parts(data), 'text/plain'",
        "def predict_fn(data, model): return parts(data)\ndef input_fn(data, content_type): return data",
        "def input_fn(d, kind): return d\ndef predict_fn(d, m): return d\ndef output_fn(d, accept): return parts(d)",
        "KEDGE_JOINABLE = True\ndef input_fn(data, kind): return data\ndef predict_fn(data, model): return parts(data)",
    ],
)
def test_an_iterator_is_an_answer_in_parts(tmp_path: Path, handlers: str):
    runtime = load(tmp_path, YIELDS + handlers)
    found = streamed(ask(runtime, b"none a bytes none buffer", "text/csv", "text/plain"))
    assert (found.content_type, found.status) == ("text/plain", 200)
    assert list(found.parts) == [b"a", b"bytes", b"buffer"]
    assert streamed(ask(runtime, b"none", "text/csv", "text/plain")).whole().body == b""
    refused = ask(runtime, b"bad", "text/csv")
    assert not isinstance(refused, Answer | Streamed)
    assert (refused.status, refused.message) == (500, "ValueError: a bad word")
    found = streamed(ask(runtime, b"a bad", "text/csv"))
    assert next(found.parts) == b"a"
    with pytest.raises(ValueError, match="a bad word"):
        next(found.parts)
    refused = ask(runtime, b"number", "text/csv")
    assert not isinstance(refused, Answer | Streamed)
    assert refused.message == "The script streams a int; each part has to be bytes or str."


def test_an_answer_in_parts_is_closed_with_its_last_reader(tmp_path: Path):
    runtime = load(tmp_path, YIELDS + "def transform_fn(model, data, content_type, accept): return parts(data)")
    closed = sys.modules["inference"].CLOSED
    found = streamed(ask(runtime, b"a b", "text/csv"))
    next(found.parts)
    assert closed == []
    found.parts.close()
    assert closed == ["a b"]
    streamed(ask(runtime, b"c d", "text/csv")).parts.close()
    assert closed == ["a b", "c d"], "also when nothing of it was taken"


def test_what_the_first_part_says_to_the_context_counts(tmp_path: Path):
    source = """
    def model_fn(model_dir): pass
    def transform_fn(model, data, content_type, accept, context):
        context.set_response_content_type(0, "text/late")
        if data != "ok":
            context.set_response_status(404)
        yield "one"
        yield "two"
    """
    runtime = load(tmp_path, source)
    assert streamed(ask(runtime, b"ok", "text/csv")).content_type == "text/late"
    refused = ask(runtime, b"no", "text/csv")
    assert not isinstance(refused, Answer | Streamed)
    assert (refused.status, refused.message) == (404, "onetwo")
