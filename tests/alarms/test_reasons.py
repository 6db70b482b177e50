"""StateReason and StateReasonData as CloudWatch has been seen to write them."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from kedge.alarms import reasons
from kedge.alarms.evaluate import Datapoint, State, Watch
from kedge.alarms.reasons import Source, number, reason, reason_data

AT = datetime(2019, 10, 2, 16, 59, tzinfo=UTC)
START = int(AT.timestamp())


def points(*values: float | None, **options: float) -> list[Datapoint]:
    first = START - 60 * (len(values) - 1)
    return [Datapoint(first + 60 * place, value, **options) for place, value in enumerate(values)]


def test_one_of_one_with_its_count():
    watch = Watch("GreaterThanThreshold", 50.0, 1, 1)
    assert reason(watch, points(None, 99.5), State.ALARM, with_count=True) == (
        "Threshold Crossed: 1 out of the last 1 datapoints [99.5 (02/10/19 16:59:00)] was greater than the threshold "
        "(50.0) (minimum 1 datapoint for OK -> ALARM transition)."
    )


def test_without_datapoints_to_alarm():
    watch = Watch("GreaterThanThreshold", 21.0, 1, 1)
    assert reason(watch, points(21.5), State.ALARM, with_count=False) == (
        "Threshold Crossed: 1 datapoint [21.5 (02/10/19 16:59:00)] was greater than the threshold (21.0)."
    )
    assert reason(watch, points(1.0), State.OK, with_count=False) == (
        "Threshold Crossed: 1 datapoint [1.0 (02/10/19 16:59:00)] was not greater than the threshold (21.0)."
    )


def test_the_newest_is_named_first_and_the_way_back_has_its_own_count():
    watch = Watch("LessThanOrEqualToThreshold", 2.0, 3, 2)
    assert reason(watch, points(9.0, 1.0, 8.0, 2.0), State.ALARM, with_count=True) == (
        "Threshold Crossed: 2 out of the last 3 datapoints [2.0 (02/10/19 16:59:00), 1.0 (02/10/19 16:57:00)] were "
        "less than or equal to the threshold (2.0) (minimum 2 datapoints for OK -> ALARM transition)."
    )
    assert reason(watch, points(9.0, 9.0, 8.0, 2.0), State.OK, with_count=True).endswith(
        "were not less than or equal to the threshold (2.0) (minimum 2 datapoints for ALARM -> OK transition)."
    )


def test_of_many_only_the_most_recent_are_named():
    watch = Watch("GreaterThanThreshold", 0.0, 9, 9)
    text = reason(watch, points(*[1.0] * 9), State.ALARM, with_count=True)
    assert text.startswith(
        "Threshold Crossed: 9 out of the last 9 datapoints were greater than the threshold (0.0). The most recent "
        "datapoints which crossed the threshold: [1.0 (02/10/19 16:59:00), "
    )
    assert text.endswith("] (minimum 9 datapoints for OK -> ALARM transition).")
    assert text.count("(02/10/19") == 5


@pytest.mark.parametrize(
    ("missing", "values", "n", "want"),
    [
        ("breaching", (), 2, ("no datapoints were received for 2 periods and 2 missing datapoints were treated as "
         "[Breaching].")),
        ("notBreaching", (), 1, ("no datapoints were received for 1 period and 1 missing datapoint was treated as "
         "[NonBreaching].")),
        ("breaching", (1.0,), 3, ("1 datapoint was received for 3 periods and 2 missing datapoints were treated as "
         "[Breaching].")),
    ],
)  # fmt: skip
def test_missing_data_that_is_treated(missing, values, n, want):
    watch = Watch("GreaterThanThreshold", 0.0, n, 1, missing)
    state = State.ALARM if missing == "breaching" else State.OK
    assert reason(watch, points(*values), state, with_count=True) == f"Threshold Crossed: {want}"


def test_no_data_at_all():
    watch = Watch("GreaterThanThreshold", 0.0, 5, 5)
    assert reason(watch, [], State.INSUFFICIENT_DATA, with_count=True) == (
        "Insufficient Data: 5 datapoints were unknown."
    )


def test_a_band():
    watch = Watch("LessThanLowerOrGreaterThanUpperThreshold", None, 1, 1)
    found = points(5.0, lower=1.0, upper=2.0)
    assert reason(watch, found, State.ALARM, with_count=True) == (
        "Thresholds Crossed: 1 out of the last 1 datapoints [5.0 (02/10/19 16:59:00)] was less than the lower "
        "thresholds [1.0] or greater than the upper thresholds [2.0] (minimum 1 datapoint for OK -> ALARM transition)."
    )
    data = json.loads(reason_data(watch, found, Source(60), AT))
    assert (data["recentLowerThresholds"], data["recentUpperThresholds"]) == ([1.0], [2.0])
    assert "threshold" not in data
    assert "statistic" not in data


def test_the_data_of_a_reason():
    watch = Watch("GreaterThanThreshold", 0.0, 2, 1)
    found = [Datapoint(START - 60, 3.0, 7.0), Datapoint(START)]
    assert reason_data(watch, found, Source(60, "Sum", "Count"), datetime(2019, 10, 2, 17, 4, 40, 985000, UTC)) == (
        '{"version":"1.0","queryDate":"2019-10-02T17:04:40.985+0000","startDate":"2019-10-02T16:58:00.000+0000",'
        '"unit":"Count","statistic":"Sum","period":60,"recentDatapoints":[3.0],"threshold":0.0,"evaluatedDatapoints":'
        '[{"timestamp":"2019-10-02T16:59:00.000+0000"},'
        '{"timestamp":"2019-10-02T16:58:00.000+0000","sampleCount":7.0,"value":3.0}]}'
    )
    nothing = json.loads(reason_data(watch, points(None, None), Source(60, "Sum"), AT))
    assert "startDate" not in nothing
    assert nothing["recentDatapoints"] == []


def test_reason_and_data_stay_within_what_the_api_allows():
    watch = Watch("GreaterThanThreshold", 0.0, 1440, 1440)
    found = points(*[1.2345678901234567] * 1440)
    assert len(reason(watch, found, State.ALARM, with_count=True)) <= 1023
    text = reason_data(watch, found, Source(60, "Sum"), AT)
    assert len(text) <= 4000
    assert json.loads(text)["recentDatapoints"]
    many = [(f"arn:aws:cloudwatch:us-east-1:111122223333:alarm:{'n' * 255}", "ALARM", AT)] * 100
    assert len(reasons.composite_data(many)) <= 4000
    assert json.loads(reasons.composite_data(many))["triggeringAlarms"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(50.0, "50.0"), (0.0, "0.0"), (-1.5, "-1.5"), (1e10, "1.0E10"), (1.5e-7, "1.5E-7"), (12345678.0, "1.2345678E7"),
     (0.001, "0.001"), (0.0005, "5.0E-4"), (9999999.0, "9999999.0"), (1e100, "1.0E100"),
     (0.0001234, "1.234E-4"), (-1234567890.25, "-1.23456789025E9")],
)  # fmt: skip
def test_numbers_are_written_as_java_writes_them(value, text):
    assert number(value) == text


def test_the_reasons_of_composites():
    at = datetime(2022, 7, 22, 15, 57, 45, tzinfo=UTC)
    assert reasons.composite_reason("arn:x", "ALARM", at) == (
        "arn:x transitioned to ALARM at Friday 22 July, 2022 15:57:45 UTC"
    )
    assert reasons.first_composite_reason("arn:x", "OK") == "arn:x was created and its alarm rule evaluates to OK"
    assert json.loads(reasons.composite_data([("arn:x", "ALARM", at)])) == {
        "triggeringAlarms": [{"arn": "arn:x", "state": {"value": "ALARM", "timestamp": "2022-07-22T15:57:45.000+0000"}}]
    }
