"""An unmodified boto3 keeps anomaly detectors."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

METRIC = {"Namespace": "N", "MetricName": "M", "Dimensions": [{"Name": "Host", "Value": "a"}], "Stat": "p99"}
QUERIES = [
    {
        "Id": "m1", "ReturnData": False,
        "MetricStat": {"Metric": {"Namespace": "N", "MetricName": "M"}, "Period": 60, "Stat": "Sum"},
    },
    {"Id": "e1", "Expression": "m1 / PERIOD(m1)"},
]  # fmt: skip


@pytest.fixture
def cloudwatch(kedge) -> Any:
    return kedge.client("cloudwatch")


def refused(call: Any, /, **request: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**request)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def test_a_detector_of_a_metric(kedge, cloudwatch):
    ranges = [{"StartTime": datetime(2026, 1, 1, tzinfo=UTC), "EndTime": datetime(2026, 1, 2, tzinfo=UTC)}]
    configuration = {"ExcludedTimeRanges": ranges, "MetricTimezone": "Europe/Berlin"}
    made = cloudwatch.put_anomaly_detector(SingleMetricAnomalyDetector=METRIC, Configuration=configuration)
    (found,) = cloudwatch.describe_anomaly_detectors()["AnomalyDetectors"]
    assert found["AnomalyDetectorId"] == made["AnomalyDetectorId"]
    assert {name: found[name] for name in METRIC} == METRIC
    assert found["SingleMetricAnomalyDetector"] == {**METRIC, "AccountId": kedge.account}
    assert found["Configuration"] == configuration
    assert found["StateValue"] in ("PENDING_TRAINING", "TRAINED_INSUFFICIENT_DATA")
    again = cloudwatch.put_anomaly_detector(**METRIC, MetricCharacteristics={"PeriodicSpikes": True})
    assert again == {**made, "ResponseMetadata": again["ResponseMetadata"]}
    (found,) = cloudwatch.describe_anomaly_detectors()["AnomalyDetectors"]
    assert found["MetricCharacteristics"] == {"PeriodicSpikes": True}
    assert found["Configuration"] == {"ExcludedTimeRanges": []}
    cloudwatch.delete_anomaly_detector(**METRIC)
    assert cloudwatch.describe_anomaly_detectors()["AnomalyDetectors"] == []
    assert refused(cloudwatch.delete_anomaly_detector, **METRIC)[0] == "ResourceNotFoundException"


def test_a_detector_of_an_expression(cloudwatch):
    made = cloudwatch.put_anomaly_detector(MetricMathAnomalyDetector={"MetricDataQueries": QUERIES})
    assert cloudwatch.describe_anomaly_detectors()["AnomalyDetectors"] == []
    (found,) = cloudwatch.describe_anomaly_detectors(AnomalyDetectorTypes=["METRIC_MATH"])["AnomalyDetectors"]
    assert [query["Id"] for query in found["MetricMathAnomalyDetector"]["MetricDataQueries"]] == ["e1", "m1"]
    cloudwatch.delete_anomaly_detector(AnomalyDetectorId=made["AnomalyDetectorId"])
    assert cloudwatch.describe_anomaly_detectors(AnomalyDetectorTypes=["METRIC_MATH"])["AnomalyDetectors"] == []


def test_they_are_found_by_what_they_watch_and_paged(cloudwatch):
    for name in ("A", "B", "C"):
        cloudwatch.put_anomaly_detector(Namespace="N", MetricName=name, Stat="Sum")
    cloudwatch.put_anomaly_detector(**METRIC)

    def names(**filters: Any) -> list[str]:
        pages = cloudwatch.get_paginator("describe_anomaly_detectors").paginate(**filters)
        return sorted(each["MetricName"] for page in pages for each in page["AnomalyDetectors"])

    assert names() == names(PaginationConfig={"PageSize": 1}) == ["A", "B", "C", "M"]
    assert names(Namespace="N", MetricName="B") == ["B"]
    assert names(Dimensions=METRIC["Dimensions"]) == ["M"]
    assert names(Namespace="O") == []
    ids = [each["AnomalyDetectorId"] for each in cloudwatch.describe_anomaly_detectors()["AnomalyDetectors"][:2]]
    assert len(cloudwatch.describe_anomaly_detectors(AnomalyDetectorIds=ids)["AnomalyDetectors"]) == 2
    code, _ = refused(cloudwatch.describe_anomaly_detectors, AnomalyDetectorIds=ids, Namespace="N")
    assert code == "InvalidParameterCombination"
    assert refused(cloudwatch.describe_anomaly_detectors, NextToken="x")[0] == "InvalidNextToken"
    assert refused(cloudwatch.describe_anomaly_detectors, MaxResults=101)[0] == "InvalidParameterValue"


@pytest.mark.parametrize(
    ("request_", "code", "says"),
    [
        ({}, "MissingParameter", "Namespace is required"),
        ({"Namespace": "N", "MetricName": "M"}, "MissingParameter", "Stat is required"),
        ({**METRIC, "SingleMetricAnomalyDetector": METRIC}, "InvalidParameterCombination", "exclude one another"),
        ({"SingleMetricAnomalyDetector": {**METRIC, "AccountId": "1"}}, "InvalidParameterValue", "AccountId is 1"),
        ({**METRIC, "Configuration": {"MetricTimezone": "Moon"}}, "InvalidParameterValue", "tz database"),
        ({"MetricMathAnomalyDetector": {"MetricDataQueries": QUERIES[:1]}}, "InvalidParameterValue", "Exactly one"),
        ({**METRIC, "Stat": "o5"}, "InvalidParameterValue", "o5"),
    ],
)
def test_what_is_refused(cloudwatch, request_, code, says):
    found = refused(cloudwatch.put_anomaly_detector, **request_)
    assert found[0] == code
    assert says in found[1]
