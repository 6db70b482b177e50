from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.metrics import rows
from kedge.metrics.dashboards import problems

METRIC = {"metrics": [["AWS/SageMaker", "Invocations", "EndpointName", "e"]], "region": "us-east-1"}


def metric(**properties: Any) -> dict[str, Any]:
    return {"type": "metric", "properties": {**METRIC, **properties}}


def said(*widgets: Any, **body: Any) -> list[tuple[str, str, bool]]:
    return [tuple(problem) for problem in problems(json.dumps({"widgets": list(widgets), **body}))]


FULL = metric(
    view="timeSeries",
    stacked=True,
    title="Traffic",
    stat="p99",
    period=300,
    liveData=False,
    setPeriodToTimeRange=True,
    timezone="+0130",
    legend={"position": "right"},
    yAxis={"left": {"min": 0, "max": 100.5, "label": "ms", "showUnits": False}, "right": {"min": 0}},
    annotations={
        "horizontal": [
            {"value": 5, "label": "limit", "color": "#d62728", "fill": "above", "visible": True, "yAxis": "right"},
            [{"value": 1, "label": "from"}, {"value": 2}],
        ],
        "vertical": [{"value": "2026-01-31T12:00:00.000Z", "label": "deployed", "fill": "before"}],
        "alarms": ["arn:aws:cloudwatch:us-east-1:111122223333:alarm:a"],
    },
    metrics=[
        ["N", "A", "D", "v", {"id": "m1", "stat": "Sum", "period": 60, "yAxis": "right", "color": "#fff"}],
        ["...", "w", {"label": "${LABEL}", "visible": False}],
        [".", "B", ".", "."],
        [{"expression": "m1 * 2", "id": "e1", "label": "twice"}],
        [{"expression": "SELECT AVG(A) FROM N"}],
    ],
)
OTHERS = [
    {"type": "text", "x": 0, "y": 12, "width": 24, "height": 2, "properties": {"markdown": "# Hello"}},
    {"type": "log", "properties": {"query": "SOURCE 'x' | fields @message", "region": "us-east-1", "view": "table"}},
    {"type": "alarm", "properties": {"alarms": ["arn:..."], "states": ["ALARM"], "sortBy": "timestamp"}},
    {"type": "custom", "properties": {"endpoint": "arn:aws:lambda:...", "updateOn": {"refresh": True}}},
    {"type": "explorer", "properties": {"metrics": [], "labels": []}},
    {"type": "metric", "properties": {"annotations": {"alarms": ["arn:..."]}, "region": "us-east-1"}},
    metric(view="gauge", yAxis={"left": {"min": 0, "max": 1}}),
]


def test_what_is_right_is_not_talked_about():
    variable = {"type": "pattern", "pattern": "x", "inputType": "input", "id": "v", "visible": True}
    assert said(FULL, *OTHERS, start="-PT6H", end="PT0H", periodOverride="inherit", variables=[variable]) == []
    assert said() == []


@pytest.mark.parametrize(
    ("body", "path", "message"),
    [
        ("", "", "The field DashboardBody must be a valid JSON object"),
        ("{", "", "The field DashboardBody must be a valid JSON object"),
        ('{"widgets": [], "x": NaN}', "", "NaN is no JSON number"),
        ("[" * 100_000, "", "nested too deep"),
        ("[]", "", "Should be object"),
        ("{}", "", 'Should have required property "widgets"'),
        ('{"widgets": {}}', "/widgets", "Should be array"),
        (json.dumps({"widgets": [{}] * 501}), "/widgets", "Should NOT have more than 500 items"),
        ('{"widgets": [], "start": "yesterday"}', "/start", "Should be a time such as"),
        ('{"widgets": [], "end": "PT0H"}', "/end", 'Should have required property "start"'),
        ('{"widgets": [], "periodOverride": 5}', "/periodOverride", "Should be string"),
        ('{"widgets": [], "variables": [{}]}', "/variables/0", 'Should have required property "id"'),
    ],
)
def test_bodies_that_are_refused(body, path, message):
    assert any(p.is_error and p.path == path and message in p.message for p in problems(body)), problems(body)


@pytest.mark.parametrize(
    ("widget", "path", "message"),
    [
        (5, "", "Should be object"),
        ({}, "", 'Should have required property "type"'),
        ({"type": "text"}, "", 'Should have required property "properties"'),
        ({"type": "picture", "properties": {}}, "/type", "Should be equal to one of the allowed values: metric, text"),
        ({**FULL, "x": 24}, "/x", "Should be <= 23"),
        ({**FULL, "x": 0.5}, "/x", "Should be integer"),
        ({**FULL, "y": -1}, "/y", "Should be >= 0"),
        ({**FULL, "width": 25}, "/width", "Should be <= 24"),
        ({**FULL, "height": True}, "/height", "Should be integer"),
        ({"type": "text", "properties": {}}, "/properties", 'Should have required property "markdown"'),
        ({"type": "log", "properties": {"query": "x"}}, "/properties", 'Should have required property "region"'),
        ({"type": "alarm", "properties": {"alarms": []}}, "/properties/alarms", "Should NOT have fewer than 1 items"),
        ({"type": "metric", "properties": {"region": "r"}}, "/properties", 'Should have required property "metrics"'),
        (metric(view="lines"), "/properties/view", "Should be equal to one of the allowed values: timeSeries"),
        (metric(view="gauge"), "/properties/yAxis", "A gauge should have left.min and left.max"),
        (metric(stat="Median"), "/properties/stat", "Median"),
        (metric(period=90), "/properties/period", "Should be 1, 5, 10, 20, 30 or a multiple of 60"),
        (metric(stacked="yes"), "/properties/stacked", "Should be boolean"),
        (metric(legend={"position": "top"}), "/properties/legend/position", "Should be equal to one of"),
        (metric(timezone="UTC"), "/properties/timezone", "The time zone"),
        (metric(yAxis={"left": {"min": "0"}}), "/properties/yAxis/left/min", "Should be number"),
        (
            metric(annotations={"horizontal": [{"label": "x"}]}),
            "/properties/annotations/horizontal/0",
            'Should have required property "value"',
        ),
        (
            metric(annotations={"horizontal": [[{"value": 1}]]}),
            "/properties/annotations/horizontal/0",
            "Should NOT have fewer than 2 items",
        ),
        (
            metric(annotations={"vertical": [{"value": "noon"}]}),
            "/properties/annotations/vertical/0/value",
            "Should be a time",
        ),
        (metric(metrics={}), "/properties/metrics", "Should be array"),
        (metric(metrics=[5]), "/properties/metrics/0", "Should be array"),
        (metric(metrics=[[]]), "/properties/metrics/0", "Should NOT have fewer than 1 items"),
        (metric(metrics=[["N"]]), "/properties/metrics/0", "Should NOT have fewer than 2 items"),
        (metric(metrics=[["N", "A", "D"]]), "/properties/metrics/0", 'The dimension "D" has no value'),
        (metric(metrics=[["N", "A", 5, "v"]]), "/properties/metrics/0/2", "Should be string"),
        (metric(metrics=[[".", "A"]]), "/properties/metrics/0", "repeat cells of the row above"),
        (metric(metrics=[["...", "A"]]), "/properties/metrics/0", "repeat cells of the row above"),
        (metric(metrics=[[{"label": "x"}]]), "/properties/metrics/0", "Should be a metric, or an expression"),
        (metric(metrics=[["N", "A", {"color": "red"}]]), "/properties/metrics/0/2/color", "Should be a colour"),
        (metric(metrics=[["N", "A", {"id": "M1"}]]), "/properties/metrics/0/2/id", "lower-case letter"),
        (metric(metrics=[["N", "A", {"stat": "x"}]]), "/properties/metrics/0/2/stat", "x"),
        (
            metric(metrics=[["N", "A", {"id": "m"}], ["N", "B", {"id": "m"}]]),
            "/properties/metrics",
            'The id "m" is given to more than one row',
        ),
        (metric(metrics=[["N", "A"]] * 501), "/properties/metrics", "Should NOT have more than 500 items"),
    ],
)
def test_widgets_that_are_refused(widget, path, message):
    found = said(widget)
    assert any(error and where == f"/widgets/0{path}" and message in text for where, text, error in found), found


@pytest.mark.parametrize(
    ("widget", "path", "message"),
    [
        (metric(colour="red"), "/properties", 'Should NOT have the additional property "colour"'),
        ({**FULL, "name": "x"}, "", 'Should NOT have the additional property "name"'),
        ({"type": "metric", "properties": {"metrics": []}}, "/properties", 'Should have required property "region"'),
        (metric(metrics=[[{"expression": "SUMM(m1)"}]]), "/properties/metrics/0/0/expression", '"SUMM" at character 1'),
    ],
)
def test_what_is_said_and_saved(widget, path, message):
    found = said(widget)
    assert any(where == f"/widgets/0{path}" and message in text for where, text, _ in found), found
    assert not any(error for _, _, error in found)


def test_a_dashboard_has_2500_metrics_at_most():
    full = metric(metrics=[["N", "A"]] * 500)
    assert said(*[full] * 5) == []
    assert said(*[full] * 5, metric()) == [("/widgets", "Should NOT have more than 2500 metrics; there are 2501", True)]


@pytest.mark.parametrize(
    ("row", "want"),
    [
        (["...", "z"], ["N", "A", "D", "v", "E", "z"]),
        ([".", "B", "...", "z"], ["N", "B", "D", "v", "E", "z"]),
        (["..."], ["N", "A", "D", "v", "E", "w"]),
        ([".", ".", "D", "x"], ["N", "A", "D", "x"]),
        (["M", "."], ["M", "A"]),
        (["...", ".", "z"], ["N", "A", "D", "v", "E", "z"]),
    ],
)
def test_repeated_cells(row, want):
    found, wrong = rows.read([["N", "A", "D", "v", "E", "w"], row])
    assert wrong == []
    pairs = zip(want[2::2], want[3::2], strict=True)
    assert (found[1].namespace, found[1].name, found[1].dimensions) == (want[0], want[1], tuple(sorted(pairs)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["widgets", "type", "properties", "metrics", "annotations", "yAxis", "left", "expression"])
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_document_is_answered(document):
    for body in (document, {"widgets": [document]}, {"widgets": [{"type": "metric", "properties": document}]}):
        assert all(problem.message for problem in problems(json.dumps(body)))
