"""The 21 measures of bias: against values of smclarify 0.5, the documented examples, and by their properties."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kedge.monitoring.bias import analysis, columns, files, formulas
from kedge.monitoring.bias.formulas import NAMES, POST_TRAINING, PRE_TRAINING, Counts

STAGES = {"pre_training": PRE_TRAINING, "post_training": POST_TRAINING}
ORACLE = json.loads((Path(__file__).parent / "data/smclarify.json").read_text())
"""Made by smclarify 0.5 with pandas 2.3 of the same rows; a measure that it does not compute is not in it."""
ROWS = {0: 80, 2: 60, 4: 90}
CHOSEN: dict[str, tuple[str, list]] = {
    "sex": ("sex", ["f"]),
    "sex2": ("sex", ["f", "o"]),
    "sexall": ("sex", []),
    "age": ("age", [40]),
}


def random():
    return np.random.default_rng(1)


def people(seed: int) -> dict[str, np.ndarray]:
    rng, rows = np.random.default_rng(seed), ROWS[seed]
    held = {
        "x1": np.round(rng.normal(0, 1, rows), 3),
        "x2": np.round(rng.random(rows), 3),
        "sex": rng.choice(["f", "m", "o"], rows, p=[0.4, 0.5, 0.1]),
        "age": np.round(rng.normal(40, 12, rows), 2),
        "group": rng.choice(["a", "b", "c"], rows),
    }
    held["y"] = (rng.random(rows) < 0.3 + 0.3 * (held["sex"] == "m")).astype(int)
    held["said"] = np.where(rng.random(rows) < 0.25, 1 - held["y"], held["y"])
    if seed == 4:
        held["said"] = np.where(held["sex"] == "f", 0, held["said"])
    return held


@pytest.mark.parametrize(
    "case", ORACLE, ids=lambda each: f"{each['seed']}-{each['facet']}-{each['part']}-{each['stage']}"
)
def test_every_measure_is_smclarifys(case):
    held = people(case["seed"])
    facet, chosen = CHOSEN[case["facet"]]
    features = np.column_stack([held["x1"], held["x2"], held["age"]])
    data = analysis.Data(
        "y",
        columns.positive("y", held["y"].tolist(), [1]),
        columns.positive("said", held["said"].tolist(), [1]).rows,
        held["group"].tolist(),
        features,
    )
    (part,) = [each for each in columns.parts(facet, held[facet].tolist(), chosen) if each.told == case["part"]]
    wanted = analysis.measures(STAGES[case["stage"]], None)
    found = {
        each.measure.name: each.value for each in analysis.of_facet(facet, part, data, wanted, random(), 0).results
    }
    assert set(found) - set(case["values"]) <= {"FT"}
    for name, value in case["values"].items():
        assert found[name] == pytest.approx(float(value), abs=1e-9), name


def counts(a: list[list[int]], d: list[list[int]]) -> Counts:
    """Of each side [[TN, FP], [FN, TP]]."""
    return Counts(np.array([a, d], dtype=float)[..., None])


@pytest.mark.parametrize(
    ("name", "a", "d", "want"),
    [
        ("DAR", [[0, 35], [0, 35]], [[0, 60], [0, 40]], 35 / 70 - 40 / 100),
        ("DRR", [[80, 0], [20, 0]], [[40, 0], [10, 0]], 0.0),
        ("TE", [[0, 6], [8, 0]], [[0, 2], [5, 0]], 5 / 2 - 8 / 6),
        ("DI", [[40, 60], [0, 0]], [[50, 50], [0, 0]], 0.5 / 0.6),
        ("DCR", [[60, 0], [0, 10]], [[20, 0], [10, 0]], 20 / 30 - 60 / 60),
    ],
)
def test_the_documented_examples(name, a, d, want):
    assert formulas.value(NAMES[name], counts(a, d)) == pytest.approx(want)


def test_disparity_of_one_group_is_the_documented_one():
    """46 % of the rejected and 32 % of the accepted applicants are of the facet."""
    labels = np.array([[[54.0], [68.0]], [[46.0], [32.0]]])
    table = Counts(np.stack([labels, np.zeros_like(labels)], axis=2))
    assert formulas.value(NAMES["CDDL"], table) == pytest.approx(0.14)


CELLS = st.lists(st.integers(0, 30), min_size=8, max_size=8)


@given(CELLS)
@settings(max_examples=200)
def test_measures_keep_to_their_ranges_and_are_fair_to_equal_groups(cells):
    table = np.array(cells, dtype=float).reshape(2, 2, 2, 1)
    for measure in formulas.MEASURES:
        if measure.compute is None:
            continue
        try:
            value = formulas.value(measure, Counts(table))
        except formulas.Undefined:
            continue
        if measure.name in ("CI", "DPL", "DPPL", "SD", "RD", "DAR", "DRR", "AD", "CDDL", "CDDPL"):
            assert -1 <= value <= 1
        if measure.name in ("KL", "JS", "LP", "TVD", "KS", "DI", "GE"):
            assert value >= -1e-12 or measure.name == "KL"
        same = Counts(np.stack([table[1], table[1]]))
        if measure.name not in ("GE", "CDDL", "CDDPL", "DI"):
            assert formulas.value(measure, same) == pytest.approx(0)


def test_an_interval_covers_what_is_true_about_95_times_in_100():
    rng = np.random.default_rng(3)
    inside = 0
    for _ in range(200):
        facet = rng.random(500) < 0.4
        said = rng.random(500) < np.where(facet, 0.4, 0.6)
        data = analysis.Data("y", None, said)
        part = columns.Part("f", facet)
        (found,) = analysis.of_facet("sex", part, data, [NAMES["DPPL"]], rng).results
        assert found.interval is not None
        inside += found.interval[0] <= 0.2 <= found.interval[1]
    assert 180 <= inside <= 199


def test_what_a_measure_lacks_is_its_error():
    facet = columns.Part("f", np.array([True, False, True]))
    bare = analysis.Data("y", columns.Part("1", np.array([True, True, True])), None)
    wanted = [*analysis.measures(PRE_TRAINING, None), *analysis.measures(POST_TRAINING, ["DPPL", "FT"])]
    found = {each.measure.name: each for each in analysis.of_facet("sex", facet, bare, wanted, random()).results}
    assert found["CDDL"].error == "Group variable is empty or not provided"
    assert found["DPPL"].error == "There are no predicted labels."
    assert found["CI"].value == pytest.approx(-1 / 3)
    alone = columns.Part("f", np.array([True, True, True]))
    (result,) = analysis.of_facet("sex", alone, bare, [NAMES["CI"]], random()).results
    assert (result.value, result.error) == (None, "Negative facet set is empty.")


def document(values: dict[str, float | str | None], told: str = "f") -> dict:
    metrics = [{"name": name, "description": name, "value": value} for name, value in values.items()]
    return {
        "version": "1.0",
        "post_training_bias_metrics": {"facets": {"sex": [{"value_or_threshold": told, "metrics": metrics}]}},
    }


def live(values: dict[str, tuple[float, float | None]], told: str = "f") -> list[analysis.FacetResult]:
    results = [analysis.Result(NAMES[name], value, spread) for name, (value, spread) in values.items()]
    return [analysis.FacetResult("sex", told, results)]


@pytest.mark.parametrize(
    ("name", "bound", "value", "spread", "by_points", "by_interval"),
    [
        ("DCR", 0.028, -0.077, 0.02, True, True),
        ("DCR", 0.028, -0.077, 0.05, True, False),
        ("DPPL", 0.1, -0.1, 0.001, False, False),
        ("DI", 0.8, 1.2, 0.001, False, False),
        ("DI", 0.8, 0.5, 0.05, True, True),
        ("DI", 1.25, 0.79, 0.001, True, True),
        ("TE", 1.0, math.inf, None, True, True),
        ("TE", math.inf, -5.0, 0.1, False, False),
    ],
)
def test_a_violation_is_farther_from_fair_and_more_than_chance(name, bound, value, spread, by_points, by_interval):
    baseline = files.read(document({name: bound}))
    results = live({name: (value, spread)})
    assert bool(list(files.violations(results, baseline, strict=True))) == by_points
    found = list(files.violations(results, baseline))
    assert bool(found) == by_interval
    if found:
        assert found[0].constraint_check_type == "bias_drift_check"
        assert found[0].description == f"Metric value {value} doesn't meet the baseline constraint requirement {bound}"


def window(rows: int, rng: np.random.Generator, *, unfair: float = 0.0) -> list[analysis.FacetResult]:
    facet, actual = rng.random(rows) < 0.4, rng.random(rows) < 0.5
    said = np.where(rng.random(rows) < 0.2, ~actual, actual) & ~(facet & (rng.random(rows) < unfair))
    data = analysis.Data("y", columns.Part("1", actual), said, rng.integers(0, 3, rows).tolist())
    wanted = [each for each in formulas.MEASURES if each.compute]
    return [analysis.of_facet("sex", columns.Part("f", facet), data, wanted, rng)]


def test_windows_that_did_not_change_are_rarely_violations_and_those_that_did_are():
    rng = np.random.default_rng(8)
    alarms = {0.0: 0, 0.3: 0}
    for unfair in alarms:
        for _ in range(100):
            baseline = files.read(files.analysis("y", "1", {POST_TRAINING: window(2000, rng)}))
            alarms[unfair] += bool(list(files.violations(window(1000, rng, unfair=unfair), baseline)))
    assert alarms[0.0] <= 8
    assert alarms[0.3] >= 98


def test_a_threshold_is_the_same_facet_whatever_the_largest_value_is():
    baseline = files.read(document({"DPPL": 0.1}, "(40, 71]"))
    assert list(files.violations(live({"DPPL": (0.5, 0.01)}, "(40.0, 86.5]"), baseline))
    assert not list(files.violations(live({"DPPL": (0.5, 0.01)}, "(50.0, 86.5]"), baseline))


@pytest.mark.parametrize(
    ("held", "told"),
    [
        ({}, "give an analysis.json"),
        ([], "give an analysis.json"),
        ({"pre_training_bias_metrics": {"facets": {"a": [{}]}}}, "cannot be read"),
        (document({"DPPL": "much"}), "cannot be read"),
    ],
)
def test_a_baseline_that_cannot_be_read_says_why(held, told):
    with pytest.raises(ValueError, match=told):
        files.read(held)


def test_infinite_values_are_texts_in_the_file_and_bounded_in_cloudwatch():
    results = live({"TE": (math.inf, None), "DPPL": (0.1, 0.01)})
    held = files.analysis("y", "1", {POST_TRAINING: results})["post_training_bias_metrics"]
    metrics = held["facets"]["sex"][0]["metrics"]
    assert metrics[0] == {"name": "TE", "description": "Treatment Equality (TE)", "value": "Infinity"}
    assert metrics[1]["confidence_interval"] == pytest.approx([0.0804, 0.1196])
    series = list(files.series("y", "1", {POST_TRAINING: results}))
    assert [(each["MetricName"], each["Value"]) for each in series] == [
        ("bias_metric_TE", 2.348543e108),
        ("bias_metric_DPPL", 0.1),
    ]


@pytest.mark.parametrize(
    ("values", "chosen", "told"),
    [
        (["a", "b", "a"], [], ["a", "b"]),
        ([1, 2, 1, 1], [], ["1", "2"]),
        ([0.1, 0.5, 0.9], [0.4], ["(0.4, 0.9]"]),
        (list(range(100)), [40], ["(40, 99]"]),
        ([0, 1] * 50, [1], ["1"]),
        ([0, 1] * 3, ["1"], ["1"]),
        (["0", "1"] * 3, [1.0], ["1.0"]),
    ],
)
def test_facets_are_values_or_thresholds(values, chosen, told):
    assert [part.told for part in columns.parts("age", values, chosen)] == told


def test_facets_that_nobody_can_mean_are_refused():
    with pytest.raises(columns.BadColumn, match="give a threshold"):
        columns.parts("age", [0.1, 0.2], [])
    with pytest.raises(columns.BadColumn, match="101 different values"):
        columns.parts("name", [f"n{each}" for each in range(101)], [])
