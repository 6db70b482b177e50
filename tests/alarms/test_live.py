"""Alarms that the control process of a real server evaluates."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

ALARM: dict[str, Any] = {
    "Namespace": "app",
    "MetricName": "nothing reports it",
    "Statistic": "Sum",
    "Period": 10,
    "EvaluationPeriods": 2,
    "Threshold": 1.0,
    "ComparisonOperator": "GreaterThanThreshold",
}


@pytest.fixture
def cloudwatch(kedge) -> Any:
    return kedge.client("cloudwatch")


def soon(read: Callable[[], Any], want: Any, within_s: float = 10.0) -> None:
    end_s = time.monotonic() + within_s
    while (got := read()) != want:
        assert time.monotonic() < end_s, got
        time.sleep(0.1)


def states(cloudwatch: Any) -> dict[str, str]:
    found = cloudwatch.describe_alarms(AlarmTypes=["MetricAlarm", "CompositeAlarm"])
    return {each["AlarmName"]: each["StateValue"] for key in ("MetricAlarms", "CompositeAlarms") for each in found[key]}


def test_new_alarms_are_evaluated_at_once_and_composites_follow(cloudwatch):
    cloudwatch.put_metric_alarm(AlarmName="silent", TreatMissingData="breaching", **ALARM)
    cloudwatch.put_metric_alarm(AlarmName="calm", TreatMissingData="notBreaching", **ALARM)
    cloudwatch.put_composite_alarm(AlarmName="page", AlarmRule="ALARM(silent) AND OK(calm)")
    soon(lambda: states(cloudwatch), {"silent": "ALARM", "calm": "OK", "page": "ALARM"})
    (alarm,) = cloudwatch.describe_alarms(AlarmNames=["silent"])["MetricAlarms"]
    assert alarm["StateReason"] == (
        "Threshold Crossed: no datapoints were received for 2 periods and 2 missing datapoints were treated as "
        "[Breaching]."
    )
    lines = cloudwatch.describe_alarm_history(AlarmName="page", HistoryItemType="StateUpdate")["AlarmHistoryItems"]
    assert lines[0]["HistorySummary"].endswith("to ALARM")
    cloudwatch.put_composite_alarm(AlarmName="page", AlarmRule="FALSE")
    soon(lambda: states(cloudwatch)["page"], "OK")


def test_what_is_measured_turns_an_alarm_of_ten_seconds(cloudwatch):
    """The values lie a few seconds back, in periods that are over, so that nobody has to wait for one to end."""
    at = datetime.now(UTC) - timedelta(seconds=15)
    data = {"MetricName": "errors", "Timestamp": at, "Value": 7.0, "Unit": "Count", "StorageResolution": 1}
    cloudwatch.put_metric_data(Namespace="app", MetricData=[data])
    one = {**ALARM, "MetricName": "errors", "EvaluationPeriods": 1, "DatapointsToAlarm": 1}
    cloudwatch.put_metric_alarm(AlarmName="errors", Unit="Count", **one)
    stat = {"Metric": {"Namespace": "app", "MetricName": "errors"}, "Period": 10, "Stat": "Maximum"}
    cloudwatch.put_metric_alarm(
        AlarmName="math", EvaluationPeriods=1, Threshold=13.0, ComparisonOperator="GreaterThanThreshold",
        Metrics=[{"Id": "m1", "MetricStat": stat, "ReturnData": False}, {"Id": "e1", "Expression": "m1 * 2"}],
    )  # fmt: skip
    soon(lambda: states(cloudwatch), {"errors": "ALARM", "math": "ALARM"})
    (alarm,) = cloudwatch.describe_alarms(AlarmNames=["errors"])["MetricAlarms"]
    assert alarm["StateReason"].startswith("Threshold Crossed: 1 out of the last 1 datapoints [7.0 (")
    data = json.loads(alarm["StateReasonData"])
    assert (data["statistic"], data["unit"], data["period"], data["threshold"]) == ("Sum", "Count", 10, 1.0)
    assert data["recentDatapoints"] == [7.0]


def test_nothing_is_left_of_alarms_after_a_reset(kedge, cloudwatch):
    cloudwatch.put_metric_alarm(AlarmName="silent", TreatMissingData="breaching", **ALARM)
    soon(lambda: states(cloudwatch), {"silent": "ALARM"})
    kedge.reset()
    assert states(cloudwatch) == {}
    assert cloudwatch.describe_alarm_history()["AlarmHistoryItems"] == []
    cloudwatch.put_metric_alarm(AlarmName="silent", TreatMissingData="notBreaching", **ALARM)
    soon(lambda: states(cloudwatch), {"silent": "OK"})
