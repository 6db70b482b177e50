"""An explainer: what it reads and writes, and its process beside a model's, which may be killed."""

from __future__ import annotations

import itertools
import json
import math
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.serving.explaining import records, shap
from kedge.serving.explaining.config import BadExplainer, Explainer, read
from kedge.serving.runtimes.base import BadInput, ModelFailure
from tests.serving.test_composition import (
    Connect,
    Start,
    artifact,
    children_of,
    connect,
    container,
    is_alive,
    many,
    start,
)
from tests.serving.test_worker import until

__all__ = ["artifact", "connect", "start"]

CSV, LINES = "text/csv", "application/jsonlines"
SHAP = {"ShapBaselineConfig": {"ShapBaseline": "0,0"}}
SCRIPT = """
def model_fn(model_dir):
    return None
def transform_fn(model, data, content_type, accept):
    data = data.decode() if isinstance(data, (bytes, bytearray)) else data
    rows = [[float(each) for each in line.split(",")] for line in data.splitlines()]
    return "\\n".join(str(2 * row[0] - row[1]) for row in rows), "text/csv"
"""


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"ShapConfig": {"ShapBaselineConfig": {}}}, "none is given"),
        ({"ShapConfig": {"ShapBaselineConfig": {"ShapBaseline": "1", "ShapBaselineUri": "s3://b/k"}}}, "both are"),
        ({"ShapConfig": {"ShapBaselineConfig": {"ShapBaseline": "1", "MimeType": "image/png"}}}, "image/png"),
        ({"ShapConfig": SHAP, "EnableExplanations": "a["}, "EnableExplanations is 'a\\['"),
        ({"ShapConfig": SHAP, "InferenceConfig": {"ContentTemplate": "{}"}}, "has to have \\$features"),
        ({"ShapConfig": SHAP, "InferenceConfig": {"FeatureTypes": ["text"]}}, "feature type text"),
        (
            {"ShapConfig": SHAP, "InferenceConfig": {"FeatureHeaders": ["a"], "FeatureTypes": ["numerical"] * 2}},
            "1 FeatureHeaders and 2 FeatureTypes",
        ),
    ],
)
def test_a_configuration_that_cannot_be(config: dict[str, Any], says: str):
    with pytest.raises(BadExplainer, match=says):
        read(config)


@pytest.mark.parametrize(
    ("expression", "answer", "wanted"),
    [
        ("`true`", [1], True),
        ("`false`", [1], False),
        ("[1]>`0.5`", [1, 0.6], True),
        ("probability>`0.5`", {"predicted_label": 1, "probability": 0.6}, True),
        ("!contains(probabilities[:-1], max(probabilities))", {"probabilities": [0.4, 0.1, 0.4]}, False),
    ],
)
def test_the_documented_expressions(expression: str, answer: Any, wanted: bool):
    assert records.is_enabled(expression, answer) is wanted


@pytest.mark.parametrize(
    ("body", "kind", "config", "scores", "labels"),
    [
        (b"0.6\n", CSV, {}, [0.6], []),
        (b"1,0.6\n", CSV, {"probability_index": 1}, [0.6], []),
        (b"\"['cat','dog']\",\"[0.1,0.9]\"\n", CSV,
         {"probability_index": 1, "label_index": 0}, [0.1, 0.9], ["cat", "dog"]),
        (b'{"p": [0.1, 0.9], "l": ["a", "b"]}', LINES,
         {"probability_attribute": "p", "label_attribute": "l"}, [0.1, 0.9], ["a", "b"]),
        (b'{"p": 3}', "application/json", {"probability_attribute": "p", "label_headers": ("x",)}, [3.0], ["x"]),
        (b"[0.2, 0.8]", LINES, {}, [0.2, 0.8], []),
    ],
)  # fmt: skip
def test_scores_and_labels_of_answers(
    body: bytes, kind: str, config: dict[str, Any], scores: list[float], labels: list[str]
):
    (answer,) = records.answers_of(body, kind, 1)
    assert records.scores_of(answer, Explainer(**config)) == scores
    assert records.labels_of(answer, Explainer(**config)) == labels


@pytest.mark.parametrize(
    ("answer", "config"),
    [(["a"], {}), ({"p": "high"}, {"probability_attribute": "p"}), ([1], {"probability_index": 3}), ([], {})],
)
def test_an_answer_without_scores(answer: Any, config: dict[str, Any]):
    with pytest.raises(ModelFailure, match="has no numbers"):
        records.scores_of(answer, Explainer(**config))


texts = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), min_size=1).filter(
    lambda text: not text.startswith("[")
)
fields = st.one_of(st.integers(-(10**6), 10**6), st.floats(-1e6, 1e6), texts)


@given(st.integers(1, 4).flatmap(lambda width: st.lists(st.lists(fields, min_size=width, max_size=width), min_size=1)))
def test_rows_come_back_from_the_bodies_that_are_made_of_them(rows: list[list[Any]]):
    for kind, explainer in (
        (CSV, Explainer(most_records=2)),
        (LINES, Explainer(features_attribute="f", content_template='{"f": $features}', most_bytes=100)),
    ):
        made = list(records.bodies(rows, kind, explainer))
        assert sum(number for _, number in made) == len(rows)
        found = [row for body, _ in made for row in records.features_of(body, kind, explainer)]
        assert found == [[_read(each) if kind == CSV else each for each in row] for row in rows]


def _read(value: Any) -> Any:
    """A text that is a number is one in CSV."""
    if isinstance(value, str) and value.lstrip("+-").isdigit() and value.lstrip("+-")[0] == "0" != value.lstrip("+-"):
        return value
    for kind in (int, float):
        try:
            return kind(value) if isinstance(value, str) else value
        except ValueError:
            pass
    return value


@pytest.mark.parametrize("body", [b"", b"\xff", b"1,2\n3\n", b'"a'])
def test_a_request_that_cannot_be_read(body: bytes):
    if body == b'"a':
        assert records.features_of(body, CSV, Explainer()) == [["a"]]
        return
    with pytest.raises(BadInput):
        records.features_of(body, CSV, Explainer())


def test_values_are_shapley_values():
    """Against the definition, for a model that is not linear, with two rows as the baseline."""
    row, baseline = [2.0, 3.0, 1.0], [[0.0, 1.0, 0.0], [1.0, 0.0, 2.0]]

    def model(rows: list[list[float]]) -> list[float]:
        return [a * b + c * c - a for a, b, c in rows]

    def ask_all(asked: Any) -> list[tuple[bytes, str]]:
        answers = []
        for body, _ in asked:
            found = model([[float(each) for each in line.split(",")] for line in body.decode().splitlines()])
            answers.append(("\n".join(map(str, found)).encode(), CSV))
        return answers

    (found,) = shap.attributions([row], baseline, CSV, Explainer(), ask_all)
    values = [each["attributions"][0]["attribution"][0] for each in found]

    def worth(own: tuple[int, ...]) -> float:
        mixed = [[row[n] if n in own else usual[n] for n in range(3)] for usual in baseline]
        return sum(model(mixed)) / len(mixed)

    for place in range(3):
        others = [n for n in range(3) if n != place]
        wanted = sum(
            math.factorial(len(own)) * math.factorial(2 - len(own)) / 6 * (worth((*own, place)) - worth(own))
            for size in range(3)
            for own in itertools.combinations(others, size)
        )
        assert values[place] == pytest.approx(wanted)


def test_a_killed_explainer_is_brought_back(start: Start, connect: Connect, tmp_path: Path):
    folder = tmp_path / "model/code"
    folder.mkdir(parents=True)
    (folder / "inference.py").write_text(SCRIPT)
    instance = start(container("model", str(folder.parent)), explainer={"ShapConfig": SHAP}).ready()
    router = connect(instance)
    asked = {"accept": CSV, "request_id": "r", "deadline_ms": 30_000}
    head, body = router.ask(b"3,1\n", **asked)
    assert (head["status"], head["content_type"]) == (200, "application/json")
    (record,) = json.loads(body)["explanations"]["kernel_shap"]
    assert [each["attributions"][0]["attribution"] for each in record] == [[pytest.approx(6)], [pytest.approx(-1)]]
    model, explainer = children_of(instance)

    def answered() -> bool:
        """What a router would send again may be lost."""
        head, _ = router.ask(b"1,1\n", **asked)
        assert head["status"] == 200 or head["kind"] == "lost", head
        return bool(head["status"] == 200)

    for process in (explainer, model):
        os.kill(process, signal.SIGKILL)
        until(lambda process=process: not is_alive(process))
        until(answered)
    assert instance.end() == 0
    assert not any(map(is_alive, children_of(instance) if is_alive(instance.process.pid) else []))


def test_models_by_name_are_explained(start: Start, connect: Connect, tmp_path: Path):
    for name, factor in (("a", "2"), ("b", "5")):
        folder = tmp_path / f"models-{name}/code"
        folder.mkdir(parents=True)
        (folder / "inference.py").write_text(SCRIPT.replace("2 *", f"{factor} *"))
    instance = start(many(), explainer={"ShapConfig": SHAP}).ready()
    instance.supply = lambda name: tmp_path / f"models-{name}"
    router = connect(instance)
    for name, value in (("a", 6), ("b", 15)):
        head, body = router.ask(b"3,1\n", accept=CSV, request_id="r", deadline_ms=60_000, target_model=name)
        assert head["status"] == 200, head
        (record,) = json.loads(body)["explanations"]["kernel_shap"]
        assert record[0]["attributions"][0]["attribution"] == [pytest.approx(value)]


def test_an_explainer_that_cannot_start_ends_the_instance(start: Start, tmp_path: Path):
    folder = tmp_path / "model/code"
    folder.mkdir(parents=True)
    (folder / "inference.py").write_text(SCRIPT)
    baseline = {"ShapBaselineConfig": {"ShapBaseline": "1,2\n3\n"}}
    instance = start(container("model", str(folder.parent)), explainer={"ShapConfig": baseline})
    assert instance.state()["state"] == "failed"
    assert "The SHAP baseline cannot be used. The records have different numbers" in instance.state()["reason"]
