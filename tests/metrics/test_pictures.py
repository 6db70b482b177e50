"""Pictures are looked at pixel by pixel: something is there in its colour, and not where it was not asked for."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import matplotlib.image
import numpy as np
import pytest

from kedge.metrics import drawing, pictures
from kedge.metrics.pictures import Found, Line, PictureRefused, queries, read

NOW_S = 1_772_377_200  # 2026-03-01 15:00 UTC
RED, GREEN, BLUE = "#e01020", "#10c030", "#2030f0"


def widget(**members: Any) -> str:
    return json.dumps({"metrics": [["N", "M"]], **members})


def line(values: list[float], colour: str = "", label: str = "a", **fields: Any) -> Line:
    points = [(NOW_S - 60 * (len(values) - place), value) for place, value in enumerate(values)]
    return Line(label, points, 60, colour, **fields)


def drawn(*lines: Line, **members: Any) -> np.ndarray:
    """(height, width, 3), 0 to 255."""
    found = matplotlib.image.imread(io.BytesIO(drawing.png(read(widget(**members), NOW_S), lines)))
    return (found[:, :, :3] * 255).round().astype(int)


def at(image: np.ndarray, colour: str, within: int = 40) -> np.ndarray:
    """(rows, columns) where the colour is."""
    wanted = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
    return np.argwhere(np.abs(image - wanted).max(axis=2) <= within)


def test_a_widget_is_read_with_what_it_leaves_out():
    found = read(widget(), NOW_S)
    assert (found.start_s, found.end_s) == (NOW_S - 10_800, NOW_S)
    assert (found.width, found.height, found.period_s, found.stat) == (600, 400, 300, "Average")
    assert read(widget(start="-PT1H"), NOW_S).period_s == 60
    assert read(widget(start="-P70D"), NOW_S).period_s == 3600
    assert read(widget(start="-P20D", end="-P19DT23H30M"), NOW_S).period_s == 300
    assert read(widget(start="-P1DT2H30M", end="-PT30M"), NOW_S).start_s == NOW_S - 95_400
    assert read(widget(start="2026-03-01T12:00:00Z", end="2026-03-01T13:00:00+00:00"), NOW_S).end_s == NOW_S - 7200


def test_rows_become_queries():
    rows = [
        ["N", "M", "D", "v", {"id": "row0", "stat": "p99", "period": 60, "label": "x"}],
        ["...", "w", {"visible": False}],
        [{"expression": "SUM(METRICS())"}],
    ]
    first, second, third = queries(read(widget(metrics=rows, stat="Sum", period=120), NOW_S))
    metric = {"Namespace": "N", "MetricName": "M", "Dimensions": [{"Name": "D", "Value": "v"}]}
    assert first == {
        "Id": "row0", "Label": "x", "ReturnData": True, "MetricStat": {"Metric": metric, "Period": 60, "Stat": "p99"},
    }  # fmt: skip
    assert (second["Id"], second["ReturnData"], second["MetricStat"]["Stat"]) == ("row1", False, "Sum")
    assert second["MetricStat"]["Metric"]["Dimensions"] == [{"Name": "D", "Value": "w"}]
    assert third == {"Id": "row2", "ReturnData": True, "Expression": "SUM(METRICS())", "Period": 120}


def test_what_was_read_becomes_lines():
    rows = [
        ["N", "M", {"color": RED, "yAxis": "right"}],
        [{"expression": "SEARCH('x', 'Sum')", "color": GREEN}],
        [{"expression": "ANOMALY_DETECTION_BAND(row0)"}],
        ["N", "gone"],
    ]
    picture = read(widget(metrics=rows), NOW_S)
    one, other = Found("M", {60: 2.0, 0: 1.0, 120: 1e300}, 60), Found("b", {0: 3.0}, 60)
    upper, lower = Found("M High", {0: 9.0}, 60), Found("M Low", {0: 4.0}, 60)
    assert pictures.lines(picture, [[one], [one, other], [upper, lower], []]) == [
        Line("M", [(0, 1.0), (60, 2.0)], 60, RED, "right"),
        Line("M", [(0, 1.0), (60, 2.0)], 60, GREEN),
        Line("b", [(0, 3.0)], 60),
        Line("M (expected)", [(0, 9.0)], 60, lower=[(0, 4.0)]),
    ]


def test_lines_of_one_metric_are_called_by_what_tells_them_apart():
    rows = [
        ["N", "M", "Zone", "a", "Host", "x"],
        ["...", "y"],
        ["...", {"stat": "p99"}],
        ["...", {"label": "mine"}],
        ["N", "other", {"stat": "p99"}],
        ["N", "M", {"visible": False}],
    ]
    labels = ("M", "M (Bytes)", "M", "mine", "other")
    found = [[Found(label, {0: 1.0}, 60)] for label in labels]
    drawn = pictures.lines(read(widget(metrics=rows), NOW_S), [*found, []])
    assert [line.label for line in drawn] == ["M x Average", "M y Average (Bytes)", "M y p99", "mine", "other"]


ALARM = {
    "AlarmName": "slow", "ComparisonOperator": "GreaterThanThreshold", "Threshold": 250.0, "Namespace": "N",
    "MetricName": "M", "Dimensions": [{"Name": "D", "Value": "v"}], "ExtendedStatistic": "p99", "Period": 60,
}  # fmt: skip


def test_an_alarm_brings_its_limit_and_what_it_watches():
    asked = read(json.dumps({"annotations": {"alarms": ["arn"]}}), NOW_S)
    found = pictures.with_alarm(asked, ALARM)
    assert [(mark.value, mark.label, mark.fill) for mark in found.horizontal] == [(250, "slow > 250", "above")]
    (query,) = queries(found)
    assert (query["MetricStat"]["Stat"], query["MetricStat"]["Period"]) == ("p99", 60)
    assert query["MetricStat"]["Metric"]["Dimensions"] == ALARM["Dimensions"]
    own = pictures.with_alarm(read(widget(), NOW_S), {**ALARM, "ComparisonOperator": "LessThanThreshold"})
    assert [mark.fill for mark in own.horizontal] == ["below"]
    assert [row.name for row in own.rows] == ["M"]
    assert own.rows[0].dimensions == ()
    stat = {"Metric": {"Namespace": "N", "MetricName": "E"}, "Period": 60, "Stat": "Sum"}
    of_math = {
        "AlarmName": "rate", "ComparisonOperator": "GreaterThanUpperThreshold", "ThresholdMetricId": "ad1",
        "Metrics": [
            {"Id": "m1", "MetricStat": stat, "ReturnData": False},
            {"Id": "e1", "Expression": "m1 * 2", "Label": "twice", "Period": 300},
        ],
    }  # fmt: skip
    banded = pictures.with_alarm(asked, of_math)
    assert banded.horizontal == ()
    first, second = queries(banded)
    assert (first["Id"], first["ReturnData"], first["MetricStat"]["Stat"]) == ("m1", False, "Sum")
    assert (second["Expression"], second["Label"], second["Period"]) == ("m1 * 2", "twice", 300)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "MetricWidget is no JSON"),
        ("[]", "MetricWidget: Should be object"),
        ("{}", 'Should have "metrics"'),
        (widget(width=2001), "/width: Should be <= 2000"),
        (widget(height=0), "/height: Should be >= 1"),
        (widget(view="lines"), "/view: Should be equal to one of the allowed values: timeSeries"),
        (widget(theme="blue"), "/theme: Should be equal to one of the allowed values: light, dark"),
        (widget(start="yesterday"), "/start: Should be a time such as"),
        (widget(start="-PT1H", end="-PT2H"), "/start: Should be before the end"),
        (widget(start="-P99999999999D"), "/start: Should be a time such as"),
        (widget(start="0001-01-01T00:00:00Z"), "/start: Should be 1970 or later"),
        (widget(start="-P9999W"), "/start: Should be 1970 or later"),
        (widget(end="9999-12-31T00:00:00Z"), "/start: Should be 1970 or later, and the end in the next two years"),
        (widget(start="-P1000D"), "/start: Should be no more than 731 days"),
        (widget(yAxis={"left": {"min": 5, "max": 5}}), "/yAxis/left: Should have min below max"),
        (widget(yAxis={"left": {"max": 10**400}}), "/yAxis/left/max: Should be <= 2.34854e+108"),
        (widget(metrics=[["N"]]), "/metrics/0: Should NOT have fewer than 2 items"),
        (widget(metrics=[["N", "M"]] * 101), "/metrics: Should NOT have more than 100 items; there are 101"),
        (widget(title="x" * 110_000), "more than 102400 bytes"),
    ],
)
def test_widgets_that_are_refused(text, says):
    with pytest.raises(PictureRefused) as refused:
        read(text, NOW_S)
    assert says in str(refused.value)


def test_a_picture_is_a_png_of_the_size_that_is_asked_for():
    made = drawing.png(read(widget(width=320, height=200), NOW_S), [line([1, 2])])
    assert made.startswith(b"\x89PNG")
    assert drawn(line([1, 2]), width=320, height=200).shape == (200, 320, 3)
    assert drawn(line([1, 2]), width=1, height=1).shape == (1, 1, 3)


def test_every_line_is_there_in_its_colour_and_the_higher_one_is_above():
    image = drawn(line([10] * 60, RED), line([90] * 60, BLUE), start="-PT1H", legend={"position": "hidden"})
    low, high = at(image, RED), at(image, BLUE)
    assert len(low) > 300
    assert len(high) > 300
    assert high[:, 0].max() < low[:, 0].min()


def test_colours_come_from_the_palette_and_are_not_taken_twice():
    lines = drawing.coloured([line([1]), line([1], "#1f77b4"), line([1]), *[line([1])] * 20])
    assert [each.colour for each in lines[:3]] == ["#ff7f0e", "#1f77b4", "#2ca02c"]


def test_a_gap_is_a_gap():
    whole = line([50] * 60, RED)
    holed = Line("a", [*whole.points[:20], *whole.points[40:]], 60, RED)
    found = [at(drawn(each, start="-PT1H", legend={"position": "hidden"}), RED) for each in (whole, holed)]
    assert len({column for _, column in found[1]}) < 0.75 * len({column for _, column in found[0]})
    assert len(drawing.pieces(holed)) == 2


def test_stacked_areas_stand_upon_one_another():
    lines = line([40] * 60, RED), line([40] * 60, BLUE)
    beside = drawn(*lines, start="-PT1H", legend={"position": "hidden"})
    stacked = drawn(*lines, start="-PT1H", stacked=True, legend={"position": "hidden"})
    assert len(at(beside, RED)) == 0  # the second one covers the first
    assert at(stacked, RED)[:, 0].min() > at(stacked, BLUE)[:, 0].min()


def test_the_legend_is_where_it_is_asked_for():
    def swatches(position: str) -> np.ndarray:
        image = drawn(line([5] * 60, RED), start="-PT1H", legend={"position": position}, yAxis={"left": {"max": 10}})
        found = at(image, RED)
        rows, counts = np.unique(found[:, 0], return_counts=True)
        return found[np.isin(found[:, 0], rows[counts < 20])]  # the line itself fills whole rows

    assert swatches("bottom")[:, 0].min() > 300
    assert swatches("right")[:, 1].min() > 400
    assert len(swatches("hidden")) == 0


def test_annotations_are_drawn_and_the_axis_makes_room_for_them():
    plain = drawn(line([5] * 60, BLUE), start="-PT1H")
    assert len(at(plain, RED)) == 0
    limit = {"horizontal": [{"value": 50, "color": RED, "label": "limit", "fill": "above"}]}
    limited = drawn(line([5] * 60, BLUE), start="-PT1H", annotations=limit)
    assert at(limited, RED)[:, 0].mean() < at(limited, BLUE, 10)[:, 0].mean()
    moment = {"vertical": [{"value": "2026-03-01T14:30:00Z", "color": GREEN, "label": "deployed"}]}
    marked = at(drawn(line([5] * 60, BLUE), start="-PT1H", annotations=moment), GREEN)
    assert np.ptp(marked[:, 0]) > 200
    band = {"horizontal": [[{"value": 2, "color": RED}, {"value": 3}]]}
    assert len({row for row, _ in at(drawn(line([5] * 60, BLUE), start="-PT1H", annotations=band), RED)}) >= 2
    unseen = {"horizontal": [{"value": 50, "color": RED, "visible": False}]}
    assert (drawn(line([5] * 60, BLUE), start="-PT1H", annotations=unseen) == plain).all()


def test_a_band_is_an_area_behind_the_line():
    upper = line([80] * 60, GREEN)
    band = replace(upper, lower=[(at, 20.0) for at, _ in upper.points])
    image = drawn(band, line([50] * 60, RED), start="-PT1H", legend={"position": "hidden"})
    middle = image[:, 300]
    shaded = np.argwhere(middle[:, 1] - middle[:, 0] > 30)  # greener than the ground, which is white
    assert np.ptp(shaded) > 150
    assert shaded.min() < at(image, RED)[:, 0].mean() < shaded.max()


def test_limits_of_an_axis_are_kept():
    free, fixed = (
        at(drawn(line([5] * 60, RED), start="-PT1H", yAxis=axis, legend={"position": "hidden"}), RED)[:, 0].mean()
        for axis in ({}, {"left": {"min": 0, "max": 50}})
    )
    assert fixed > free + 100


def test_the_right_axis_has_a_scale_of_its_own():
    lines = line([1000] * 60, RED), line([1] * 60, BLUE, axis="right")
    image = drawn(
        *lines, start="-PT1H", legend={"position": "hidden"}, yAxis={"left": {"max": 2000}, "right": {"max": 2}}
    )
    assert abs(image_row(image, BLUE) - 200) < 60


def image_row(image: np.ndarray, colour: str) -> float:
    return float(at(image, colour)[:, 0].mean())


def test_themes():
    assert drawn(line([1] * 9))[0, 0].tolist() == [255, 255, 255]
    assert drawn(line([1] * 9), theme="dark")[0, 0].tolist() == [0x16, 0x1D, 0x26]


@pytest.mark.parametrize("view", ["singleValue", "bar", "pie", "gauge", "table"])
def test_the_other_views(view):
    axis = {"left": {"min": 0, "max": 10}}
    image = drawn(line([3, 4], RED), line([5, 6], BLUE), view=view, yAxis=axis, sparkline=True)
    assert len(at(image, RED)) > 40
    assert view == "gauge" or len(at(image, BLUE)) > 40
    for lines in ([], [Line("a", ()), line([-1]), line([0])], [line([1], label="x" * 300)] * 20):
        assert drawn(*lines, view=view, yAxis=axis, width=200, height=150).shape == (150, 200, 3)


def test_a_gauge_shows_how_much():
    some, most = (
        len(at(drawn(line([n], RED), view="gauge", yAxis={"left": {"min": 0, "max": 9}}), RED)) for n in (2, 8)
    )
    assert most > 3 * some > 300


@pytest.mark.parametrize("view", ["timeSeries", "singleValue", "bar", "pie", "gauge", "table"])
@pytest.mark.parametrize(("width", "height"), [(1, 1), (700, 3), (31, 31), (40, 600)])
def test_sizes_that_hold_hardly_anything(view, width, height):
    axis = {"left": {"max": -1e100}} if view == "timeSeries" else {"left": {"min": 0, "max": 9}}
    lines = [line([1, 2], label="x" * 50), line([3.0] * 5)]
    image = drawn(*lines, view=view, width=width, height=height, title="long " * 9, sparkline=True, yAxis=axis)
    assert image.shape == (height, width, 3)


def test_strange_texts_and_values_are_drawn():
    lines = [
        line([2.0**360, -(2.0**360)]),
        line([1e-300]),
        line([2.0], label="${x}^{$$ \n \u0000\u4e2d"),
        line([1], label=""),
    ]
    assert drawn(*lines, title="$\\frac{a}{b}$ \\ _ ^ %", yAxis={"left": {"label": "$x"}}).shape == (400, 600, 3)


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (1500, "1.5k"), (2e7, "20M"), (-3e9, "-3G"), (0.1 + 0.2, "0.3")])
def test_amounts_are_short(value, text):
    assert drawing.amount(value) == text


def test_without_matplotlib_it_says_what_to_install():
    program = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from kedge.metrics import drawing, pictures\n"
        'try: drawing.png(pictures.read(\'{"metrics": [["N", "M"]]}\', 1e9), [])\n'
        "except drawing.PicturesMissing as missing: print(missing)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert 'pip install "kedge[pictures]"' in done.stdout


def test_nothing_else_imports_it():
    program = "import sys, kedge.app; print('matplotlib' in sys.modules, 'lark' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.split() == ["False", "False"]
