"""An unmodified boto3 puts datapoints and gets a picture of them, and a band of what is normal."""

from __future__ import annotations

import io
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from botocore.exceptions import ClientError

from tests.wire.speaking import PROTOCOLS, speaking

RED, BLUE = (0xE0, 0x10, 0x20), (0x20, 0x30, 0xF0)
HOST = [{"Name": "Host", "Value": "a"}]


@pytest.fixture
def cloudwatch(kedge) -> Any:
    return kedge.client("cloudwatch")


@pytest.fixture
def now() -> datetime:
    return datetime.now(UTC).replace(second=0, microsecond=0)


def put(cloudwatch: Any, name: str, values: list[float], until: datetime, step_s: int = 60) -> None:
    """One value each period, the last one just before `until`."""
    first = until - timedelta(seconds=step_s * len(values))
    data = [
        {"MetricName": name, "Dimensions": HOST, "Timestamp": first + timedelta(seconds=step_s * n), "Value": value}
        for n, value in enumerate(values)
    ]
    for place in range(0, len(data), 500):
        cloudwatch.put_metric_data(Namespace="N", MetricData=data[place : place + 500])


def picture(cloudwatch: Any, **widget: Any) -> np.ndarray:
    answer = cloudwatch.get_metric_widget_image(MetricWidget=json.dumps(widget))
    found = matplotlib.image.imread(io.BytesIO(answer["MetricWidgetImage"]))
    return (found[:, :, :3] * 255).round().astype(int)


def pixels(image: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return np.argwhere(np.abs(image - colour).max(axis=2) <= 40)


def test_a_picture_shows_what_was_put(cloudwatch, now):
    put(cloudwatch, "Low", [10] * 60, now)
    put(cloudwatch, "High", [90] * 60, now)
    rows = [
        ["N", "Low", "Host", "a", {"color": "#e01020", "id": "m1"}],
        [".", "High", ".", ".", {"color": "#2030f0"}],
    ]
    image = picture(cloudwatch, metrics=rows, start="-PT1H", width=500, height=300, legend={"position": "hidden"})
    assert image.shape == (300, 500, 3)
    assert pixels(image, BLUE)[:, 0].max() < pixels(image, RED)[:, 0].min()
    assert np.ptp(pixels(image, RED)[:, 1]) > 350
    twice = [*rows[:1], [{"expression": "m1 * 5", "color": "#2030f0"}]]
    image = picture(cloudwatch, metrics=twice, start="-PT1H", width=500, height=300, legend={"position": "hidden"})
    assert pixels(image, BLUE)[:, 0].max() < pixels(image, RED)[:, 0].min()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_dashboards_detectors_and_pictures_in_each_protocol(kedge, protocol):
    keys = kedge.session.get_credentials()
    client = speaking(
        protocol, "cloudwatch", endpoint_url=kedge.api_url, region_name=kedge.region,
        aws_access_key_id=keys.access_key, aws_secret_access_key=keys.secret_key,
    )  # fmt: skip
    body = '{"widgets": [], "more": "ü"}'
    messages = client.put_dashboard(DashboardName="d", DashboardBody=body)["DashboardValidationMessages"]
    assert [message["Message"] for message in messages] == ['Should NOT have the additional property "more"']
    assert client.get_dashboard(DashboardName="d")["DashboardBody"] == body
    assert client.list_dashboards()["DashboardEntries"][0]["LastModified"].tzinfo is not None
    with pytest.raises(ClientError) as refused:
        client.put_dashboard(DashboardName="d", DashboardBody="{}")
    assert refused.value.response["Error"]["Code"] in ("InvalidParameterInput", "DashboardInvalidInputError")
    client.delete_dashboards(DashboardNames=["d"])
    ranges = [{"StartTime": datetime(2026, 1, 1, tzinfo=UTC), "EndTime": datetime(2026, 1, 2, tzinfo=UTC)}]
    detector = {"Namespace": "N", "MetricName": "M", "Stat": "Sum", "Dimensions": HOST}
    client.put_anomaly_detector(SingleMetricAnomalyDetector=detector, Configuration={"ExcludedTimeRanges": ranges})
    (found,) = client.describe_anomaly_detectors()["AnomalyDetectors"]
    assert found["Configuration"]["ExcludedTimeRanges"] == ranges
    client.delete_anomaly_detector(SingleMetricAnomalyDetector=detector)
    made = client.get_metric_widget_image(MetricWidget='{"metrics": [["N", "M"]], "width": 90, "height": 60}')
    assert made["MetricWidgetImage"].startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"MetricWidget": "{"}, "MetricWidget is no JSON"),
        ({"MetricWidget": '{"metrics": [["N", "M"]], "width": 5000}'}, "/width: Should be <= 2000"),
        ({"MetricWidget": '{"metrics": [["N", "M"]]}', "OutputFormat": "image/png"}, "it has to be png"),
        ({"MetricWidget": '{"metrics": [[{"expression": "SUMM(m1)"}]]}'}, "is no function of metric math"),
        ({"MetricWidget": '{"annotations": {"alarms": ["x"]}}'}, "is not an ARN"),
    ],
)
def test_what_is_refused(cloudwatch, request_, says):
    with pytest.raises(ClientError) as refused:
        cloudwatch.get_metric_widget_image(**request_)
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert says in refused.value.response["Error"]["Message"]


def test_detectors_are_trained_and_give_bands(cloudwatch, now):
    put(cloudwatch, "Daily", [50 + n % 3 for n in range(4 * 288)], now, step_s=300)
    metric = {"Namespace": "N", "MetricName": "Daily", "Dimensions": HOST}
    query = {"Id": "m1", "MetricStat": {"Metric": metric, "Period": 300, "Stat": "Average"}}
    twice = {"Id": "e1", "Expression": "m1 * 2"}
    cloudwatch.put_anomaly_detector(**metric, Stat="Average")
    cloudwatch.put_anomaly_detector(
        MetricMathAnomalyDetector={"MetricDataQueries": [{**query, "ReturnData": False}, twice]}
    )
    both, until = ["SINGLE_METRIC", "METRIC_MATH"], time.monotonic() + 30
    while True:
        found = cloudwatch.describe_anomaly_detectors(AnomalyDetectorTypes=both)["AnomalyDetectors"]
        if [each["StateValue"] for each in found] == ["TRAINED", "TRAINED"]:
            break
        assert time.monotonic() < until, found
        time.sleep(0.1)
    bands = [
        {"Id": "ad1", "Expression": "ANOMALY_DETECTION_BAND(m1, 3)"},
        {"Id": "ad2", "Expression": "ANOMALY_DETECTION_BAND(e1)"},
    ]
    answer = cloudwatch.get_metric_data(
        MetricDataQueries=[query, twice, *bands], StartTime=now - timedelta(hours=3), EndTime=now
    )
    values = [result["Values"] for result in answer["MetricDataResults"]]
    assert [result["Id"] for result in answer["MetricDataResults"]] == ["m1", "e1", "ad1", "ad1", "ad2", "ad2"]
    assert all(len(each) >= 36 for each in values)
    assert all(51.5 < high < 58 for high in values[2])
    assert all(44 < low < 50.5 for low in values[3])
    assert all(103 < high < 116 for high in values[4])
    band = {"expression": "ANOMALY_DETECTION_BAND(m1)", "color": "#2030f0"}
    rows = [["N", "Daily", "Host", "a", {"id": "m1"}], [band]]
    assert len(pixels(picture(cloudwatch, metrics=rows), (0xBB, 0xBF, 0xFA))) > 2000
