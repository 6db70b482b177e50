"""An unmodified boto3 keeps dashboards."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

BODY = '{ "widgets": [\n {"type":"text","properties":{"markdown":"# \\u00fc ü"}} ]}\n'


@pytest.fixture
def cloudwatch(kedge) -> Any:
    return kedge.client("cloudwatch")


def test_a_body_comes_back_byte_for_byte(kedge, cloudwatch):
    assert cloudwatch.put_dashboard(DashboardName="Live-1_a", DashboardBody=BODY)["DashboardValidationMessages"] == []
    found = cloudwatch.get_dashboard(DashboardName="Live-1_a")
    assert found["DashboardBody"] == BODY
    assert found["DashboardName"] == "Live-1_a"
    assert found["DashboardArn"] == f"arn:aws:cloudwatch::{kedge.account}:dashboard/Live-1_a"
    elsewhere = kedge.client("cloudwatch", region_name="eu-west-1")
    assert elsewhere.get_dashboard(DashboardName="Live-1_a")["DashboardBody"] == BODY
    entry = elsewhere.list_dashboards()["DashboardEntries"][0]
    assert (entry["DashboardName"], entry["Size"]) == ("Live-1_a", len(BODY.encode()))
    cloudwatch.put_dashboard(DashboardName="Live-1_a", DashboardBody='{"widgets":[]}')
    assert cloudwatch.get_dashboard(DashboardName="Live-1_a")["DashboardBody"] == '{"widgets":[]}'


def test_warnings_are_said_and_the_dashboard_is_saved(cloudwatch):
    body = json.dumps({"widgets": [{"type": "metric", "properties": {"metrics": [["N", "M"]]}}]})
    messages = cloudwatch.put_dashboard(DashboardName="d", DashboardBody=body)["DashboardValidationMessages"]
    assert [message["DataPath"] for message in messages] == ["/widgets/0/properties"]
    assert cloudwatch.get_dashboard(DashboardName="d")["DashboardBody"] == body


def test_errors_are_said_with_their_paths_and_nothing_is_saved(cloudwatch):
    body = json.dumps({"widgets": [{"type": "metric", "x": 99, "properties": {"metrics": [["N"]], "region": "r"}}]})
    with pytest.raises(cloudwatch.exceptions.DashboardInvalidInputError) as refused:
        cloudwatch.put_dashboard(DashboardName="d", DashboardBody=body)
    answer = refused.value.response
    assert answer["Error"]["Code"] == "InvalidParameterInput"
    assert "The dashboard body is invalid, there are 2 validation errors" in answer["Error"]["Message"]
    paths = [message["DataPath"] for message in answer["dashboardValidationMessages"]]
    assert paths == ["/widgets/0/x", "/widgets/0/properties/metrics/0"]
    assert cloudwatch.list_dashboards()["DashboardEntries"] == []
    with pytest.raises(ClientError, match="there are 400 validation errors") as refused:
        cloudwatch.put_dashboard(DashboardName="d", DashboardBody=json.dumps({"widgets": [{}] * 200}))
    assert len(refused.value.response["dashboardValidationMessages"]) == 100


@pytest.mark.parametrize("name", ["a b", "a/b", "", "ü", "a" * 256])
def test_names_that_are_refused(cloudwatch, name):
    with pytest.raises(ClientError, match="DashboardName") as refused:
        cloudwatch.put_dashboard(DashboardName=name, DashboardBody=BODY)
    assert refused.value.response["Error"]["Code"] == "InvalidParameterInput"
    with pytest.raises(ClientError, match="DashboardName") as refused:
        cloudwatch.get_dashboard(DashboardName=name)
    assert refused.value.response["Error"]["Code"] == "InvalidParameterValue"


def test_they_are_listed_by_prefix_and_deleted_all_or_none(cloudwatch):
    for name in ("a1", "a2", "b1"):
        cloudwatch.put_dashboard(DashboardName=name, DashboardBody=BODY)
    listed = cloudwatch.get_paginator("list_dashboards").paginate(DashboardNamePrefix="a")
    assert [entry["DashboardName"] for page in listed for entry in page["DashboardEntries"]] == ["a1", "a2"]
    with pytest.raises(ClientError, match="b2 does not exist"):
        cloudwatch.delete_dashboards(DashboardNames=["a1", "b2"])
    assert len(cloudwatch.list_dashboards()["DashboardEntries"]) == 3
    cloudwatch.delete_dashboards(DashboardNames=["a1", "b1"])
    assert [entry["DashboardName"] for entry in cloudwatch.list_dashboards()["DashboardEntries"]] == ["a2"]
    with pytest.raises(ClientError, match="a1 does not exist") as missing:
        cloudwatch.get_dashboard(DashboardName="a1")
    assert missing.value.response["Error"]["Code"] == "ResourceNotFound"
    with pytest.raises(ClientError, match="1 to 100"):
        cloudwatch.delete_dashboards(DashboardNames=[])
    with pytest.raises(ClientError, match="NextToken is not one"):
        cloudwatch.list_dashboards(NextToken="x")
