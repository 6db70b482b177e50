"""An unmodified boto3 keeps alarms."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, WaiterError

TOPIC = "arn:aws:sns:us-east-1:000000000000:told"
# Nothing is measured here, so the server leaves these alarms in the state that they are in.
ONE: dict[str, Any] = {
    "AlarmName": "slow",
    "Namespace": "app",
    "MetricName": "latency",
    "Dimensions": [{"Name": "Stage", "Value": "prod"}],
    "Statistic": "Average",
    "Period": 60,
    "EvaluationPeriods": 3,
    "Threshold": 5.5,
    "ComparisonOperator": "GreaterThanThreshold",
    "TreatMissingData": "ignore",
}
STAT = {"Metric": {"Namespace": "app", "MetricName": "latency"}, "Period": 60, "Stat": "p99"}
MATH: dict[str, Any] = {
    "AlarmName": "errors",
    "EvaluationPeriods": 1,
    "Threshold": 0.1,
    "ComparisonOperator": "GreaterThanThreshold",
    "TreatMissingData": "ignore",
    "Metrics": [
        {"Id": "m1", "MetricStat": STAT, "ReturnData": False},
        {"Id": "m2", "MetricStat": {**STAT, "Stat": "Sum"}, "ReturnData": False},
        {"Id": "e1", "Expression": "m1 / m2", "Label": "ratio", "ReturnData": True},
    ],
}
BAND: dict[str, Any] = {
    "AlarmName": "odd",
    "EvaluationPeriods": 1,
    "ComparisonOperator": "GreaterThanUpperThreshold",
    "ThresholdMetricId": "ad1",
    "Metrics": [
        {"Id": "m1", "MetricStat": STAT},
        {"Id": "ad1", "Expression": "ANOMALY_DETECTION_BAND(m1, 2)"},
    ],
}


@pytest.fixture
def cloudwatch(kedge) -> Any:
    return kedge.client("cloudwatch")


def without(request: dict[str, Any], *members: str, **changed: Any) -> dict[str, Any]:
    return {name: value for name, value in {**request, **changed}.items() if name not in members}


def refused(call: Any, /, **request: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**request)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def names(answer: dict[str, Any]) -> list[str]:
    return [each["AlarmName"] for key in ("MetricAlarms", "CompositeAlarms") for each in answer[key]]


def test_a_new_alarm_describes_itself(cloudwatch, kedge):
    cloudwatch.put_metric_alarm(**ONE, Unit="Seconds", AlarmActions=[TOPIC])
    (alarm,) = cloudwatch.describe_alarms()["MetricAlarms"]
    assert alarm["AlarmArn"] == f"arn:aws:cloudwatch:{kedge.region}:{kedge.account}:alarm:slow"
    for member, value in {**ONE, "Unit": "Seconds", "AlarmActions": [TOPIC]}.items():
        assert alarm[member] == value
    assert (alarm["StateValue"], alarm["StateReason"]) == ("INSUFFICIENT_DATA", "Unchecked: Initial alarm creation")
    assert (alarm["ActionsEnabled"], alarm["OKActions"], alarm["InsufficientDataActions"]) == (True, [], [])
    assert alarm["StateUpdatedTimestamp"] == alarm["AlarmConfigurationUpdatedTimestamp"]
    assert "DatapointsToAlarm" not in alarm


def test_an_update_replaces_everything_and_keeps_the_state(cloudwatch):
    cloudwatch.put_metric_alarm(**ONE, AlarmDescription="first", Tags=[{"Key": "team", "Value": "ml"}])
    cloudwatch.set_alarm_state(AlarmName="slow", StateValue="OK", StateReason="because")
    cloudwatch.put_metric_alarm(**{**MATH, "AlarmName": "slow"}, Tags=[{"Key": "team", "Value": "other"}])
    (alarm,) = cloudwatch.describe_alarms(AlarmNames=["slow"])["MetricAlarms"]
    assert (alarm["StateValue"], alarm["StateReason"]) == ("OK", "because")
    assert alarm["Metrics"] == MATH["Metrics"]
    assert not {"AlarmDescription", "MetricName", "Period", "Dimensions"} & alarm.keys()
    assert cloudwatch.list_tags_for_resource(ResourceARN=alarm["AlarmArn"])["Tags"] == [{"Key": "team", "Value": "ml"}]


@pytest.mark.parametrize(
    ("request_", "code", "said"),
    [
        (without(ONE, "Period"), "ValidationError", "Period is required"),
        (without(ONE, "Namespace"), "ValidationError", "Namespace is required"),
        (without(ONE, "MetricName"), "ValidationError", "One of MetricName and Metrics"),
        (without(ONE, "Threshold"), "ValidationError", "Threshold is required"),
        (without(ONE, "Statistic"), "ValidationError", "Exactly one of Statistic and ExtendedStatistic"),
        (without(ONE, ExtendedStatistic="p9"), "ValidationError", "Exactly one of Statistic and ExtendedStatistic"),
        (without(ONE, "EvaluationPeriods"), "ValidationError", "Value null at 'evaluationPeriods'"),
        (without(ONE, "ComparisonOperator"), "ValidationError", "Value null at 'comparisonOperator'"),
        (without(ONE, Period=45), "ValidationError", "Period is 45"),
        (without(ONE, Period=5), "ValidationError", "Period is 5"),
        (without(ONE, DatapointsToAlarm=4), "ValidationError", "DatapointsToAlarm is 4"),
        (without(ONE, EvaluationPeriods=1441), "ValidationError", "more than a day (EvaluationPeriods * Period"),
        (without(ONE, Period=3600, EvaluationPeriods=169), "ValidationError", "<= 604800"),
        (
            without(ONE, TreatMissingData="never"),
            "ValidationError",
            ("The value never is not supported for TreatMissingData parameter. Supported values are [breaching, "
            "notBreaching, ignore, missing]."),
        ),
        (
            without(ONE, "Statistic", ExtendedStatistic="p101"),
            "ValidationError",
            "The value p101 for parameter ExtendedStatistic is not supported.",
        ),
        (without(ONE, "Statistic", ExtendedStatistic="Sum"), "ValidationError", "The value Sum for parameter"),
        (without(ONE, "Statistic", ExtendedStatistic="TM(5%:90%)"), "ValidationError", "from 10 to 90"),
        (
            without(ONE, EvaluateLowSampleCountPercentile="no"),
            "ValidationError",
            (
                "Option no is not supported. Supported options for parameter EvaluateLowSampleCountPercentile are "
                "evaluate and ignore."
            ),
        ),
        (without(ONE, AlarmActions=["x"]), "ValidationError", "Invalid arn syntax: x"),
        (without(ONE, OKActions=["arn:aws:ssm:us-east-1:0:opsitem:1"]), "ValidationError", "ALARM state only"),
        (without(ONE, AlarmName="a\nb"), "ValidationError", "control characters"),
        (without(ONE, Dimensions=ONE["Dimensions"] * 2), "ValidationError", "given more than once"),
        (without(ONE, ThresholdMetricId="m1"), "ValidationError", "compares with Threshold"),
        (without(ONE, ComparisonOperator="LessThanLowerThreshold"), "ValidationError", "compares with a band"),
        (without(ONE, Metrics=MATH["Metrics"]), "InvalidParameterCombination", "together with Metrics"),
        (
            without(ONE, EvaluationCriteria={"PromQLCriteria": {"Query": "up"}}),
            "ValidationError",
            "PromQL queries are not supported by Kedge",
        ),
        (
            without(ONE, ActionConfiguration={"AlarmTagsPropagation": {"Enabled": True}}),
            "ValidationError",
            "not supported by Kedge",
        ),
        (
            without(ONE, EvaluationWindow={"WallClockWindow": {"Timezone": "Mars/Base"}}),
            "ValidationError",
            "Timezone Mars/Base is not known",
        ),
        (without(ONE, AlarmName="new", Tags=[{"Key": "aws:x", "Value": ""}]), "InvalidParameterValue", "reserved"),
        (without(MATH, Metrics=[]), "ValidationError", "must not be empty"),
        (without(MATH, Metrics=MATH["Metrics"][:2]), "ValidationError", "ReturnData is true for 0"),
        (without(MATH, Metrics=[MATH["Metrics"][0]] * 2), "ValidationError", "more than one"),
        (
            without(MATH, Metrics=[{"Id": f"m{n}", "MetricStat": STAT, "ReturnData": n == 0} for n in range(11)]),
            "ValidationError",
            "at most 10",
        ),
        (
            without(MATH, Metrics=[*MATH["Metrics"][:2], {"Id": "e1", "Expression": "m1 / m3"}]),
            "ValidationError",
            '"m3" in the expression "m1 / m3" is the id of no query',
        ),
        (
            without(MATH, Metrics=[*MATH["Metrics"][:2], {"Id": "e1", "Expression": "m1 +"}]),
            "ValidationError",
            "Error in expression 'e1'",
        ),
        (
            without(MATH, Metrics=[{"Id": "e1", "Expression": "SEARCH('x', 'Sum', 60)", "Period": 60}]),
            "ValidationError",
            "SEARCH is not supported on Metric Alarms",
        ),
        (
            without(MATH, Metrics=[{"Id": "q1", "Expression": 'SELECT AVG(x) FROM "y"', "Period": 60}]),
            "ValidationError",
            "Metrics Insights queries are not supported",
        ),
        (
            without(MATH, Metrics=[*MATH["Metrics"], {"Id": "m3", "MetricStat": {**STAT, "Period": 300},
                                                      "ReturnData": False}]),
            "ValidationError",
            "the same period",
        ),
        (
            without(MATH, Metrics=[*MATH["Metrics"][:2], {"Id": "e1", "Expression": "METRICS() * 2"}]),
            "ValidationError",
            "An alarm watches one time series; the expression returns 2.",
        ),
        (
            without(MATH, Metrics=[*MATH["Metrics"][:2], {"Id": "e1", "Expression": "AVG(m1) - 1"}]),
            "ValidationError",
            "The result of the expression is a Scalar",
        ),
        (
            without(BAND, Metrics=[BAND["Metrics"][0], {"Id": "ad1", "Expression": "ANOMALY_DETECTION_BAND(m1, 0)"}]),
            "ValidationError",
            "a number of standard deviations above 0, not 0",
        ),
        (
            without(BAND, Metrics=[BAND["Metrics"][0], {"Id": "ad1", "Expression": "AVG(ANOMALY_DETECTION_BAND(m1))"}]),
            "ValidationError",
            "A band is two time series; the expression returns 1.",
        ),
        (without(MATH, Metrics=[{"Id": "M1", "MetricStat": STAT}]), "ValidationError", "begin with|small letter"),
        (
            without(MATH, AlarmActions=["arn:aws:automate:us-east-1:ec2:stop"]),
            "ValidationError",
            "cannot act on EC2 instances",
        ),
        (without(BAND, "ThresholdMetricId"), "ValidationError", "ThresholdMetricId has to name"),
        (without(BAND, Threshold=1.0), "ValidationError", "cannot be given together"),
        (without(BAND, ThresholdMetricId="m1"), "ValidationError", "is not the id of an ANOMALY_DETECTION_BAND"),
        (
            without(BAND, AlarmActions=["arn:aws:autoscaling:us-east-1:0:scalingPolicy:1:policyName/p"]),
            "ValidationError",
            "no Auto Scaling actions",
        ),
    ],
)  # fmt: skip
def test_what_is_refused(kedge_server, request_, code, said):
    import re

    got, message = refused(kedge_server.client("cloudwatch").put_metric_alarm, **request_)
    assert got == code
    assert said in message or re.search(said, message), message


def test_what_only_one_alarm_kind_has_is_kept(cloudwatch):
    cloudwatch.put_metric_alarm(**BAND)
    cloudwatch.put_metric_alarm(**MATH)
    window = {"WallClockWindow": {"Timezone": "Europe/Berlin"}}
    cloudwatch.put_metric_alarm(**without(ONE, "Statistic", ExtendedStatistic="TM(10%:90%)", EvaluationWindow=window))
    found = {each["AlarmName"]: each for each in cloudwatch.describe_alarms()["MetricAlarms"]}
    assert found["odd"]["ThresholdMetricId"] == "ad1"
    assert found["errors"]["Metrics"] == MATH["Metrics"]
    assert found["slow"]["EvaluationWindow"] == window


def test_an_alarm_on_a_band_makes_its_detector_once(cloudwatch):
    def watched() -> list[str]:
        return [each["SingleMetricAnomalyDetector"]["Stat"] for each in
                cloudwatch.describe_anomaly_detectors()["AnomalyDetectors"]]  # fmt: skip

    of_no_query = [BAND["Metrics"][0], {"Id": "ad1", "Expression": "ANOMALY_DETECTION_BAND(m1 * 2)"}]
    code, message = refused(cloudwatch.put_metric_alarm, **without(BAND, Metrics=of_no_query))
    assert (code, "the id of an expression" in message) == ("InvalidParameterValue", True)
    assert (names(cloudwatch.describe_alarms()), watched()) == ([], [])
    cloudwatch.put_metric_alarm(**BAND)
    cloudwatch.put_metric_alarm(**{**BAND, "AlarmName": "odd too"})
    assert watched() == ["p99"]
    other = [{"Id": "m1", "MetricStat": {**STAT, "Stat": "Sum"}}, BAND["Metrics"][1]]
    cloudwatch.put_metric_alarm(**{**BAND, "Metrics": other})
    assert sorted(watched()) == ["Sum", "p99"]
    cloudwatch.delete_alarms(AlarmNames=["odd", "odd too"])
    assert sorted(watched()) == ["Sum", "p99"]


def test_lists_are_filtered_and_paged(cloudwatch):
    for number in range(7):
        cloudwatch.put_metric_alarm(**{**ONE, "AlarmName": f"m{number}"}, AlarmActions=[TOPIC] if number < 2 else [])
    cloudwatch.put_metric_alarm(**{**ONE, "AlarmName": "M0"})
    cloudwatch.put_composite_alarm(AlarmName="m-all", AlarmRule="ALARM(m0) OR ALARM(m1)", OKActions=[TOPIC])
    cloudwatch.set_alarm_state(AlarmName="m3", StateValue="ALARM", StateReason="x")

    def listed(**request: Any) -> list[str]:
        return names(cloudwatch.describe_alarms(**request))

    both = ["MetricAlarm", "CompositeAlarm"]
    metrics = ["M0", *(f"m{number}" for number in range(7))]
    assert listed() == metrics
    assert listed(AlarmTypes=["CompositeAlarm"]) == ["m-all"]
    assert listed(AlarmNames=["m5", "none", "m1"]) == ["m5", "m1"]
    assert listed(AlarmNamePrefix="m") == metrics[1:]
    assert listed(StateValue="ALARM") == ["m3"]
    assert listed(ActionPrefix=TOPIC[:20], AlarmTypes=both) == ["m0", "m1", "m-all"]
    pages = [names(page) for page in cloudwatch.get_paginator("describe_alarms").paginate(
        AlarmTypes=both, PaginationConfig={"PageSize": 3})]  # fmt: skip
    assert [name for page in pages for name in page] == [*metrics, "m-all"]
    assert [len(page) for page in pages] == [3, 3, 3]
    pages = [names(page) for page in cloudwatch.get_paginator("describe_alarms").paginate(
        ActionPrefix=TOPIC, PaginationConfig={"PageSize": 1})]  # fmt: skip
    assert [name for page in pages for name in page] == ["m0", "m1"]
    token = cloudwatch.describe_alarms(MaxRecords=2)["NextToken"]
    assert refused(cloudwatch.describe_alarms, MaxRecords=2, NextToken=token, StateValue="OK")[0] == "InvalidNextToken"
    assert refused(cloudwatch.describe_alarms, NextToken="x")[0] == "InvalidNextToken"
    assert refused(cloudwatch.describe_alarms, AlarmNames=["a"], AlarmNamePrefix="b")[0] == "ValidationError"


def test_parents_and_children(cloudwatch):
    for name in ("a", "b"):
        cloudwatch.put_metric_alarm(**{**ONE, "AlarmName": name})
    arn = cloudwatch.describe_alarms(AlarmNames=["b"])["MetricAlarms"][0]["AlarmArn"]
    cloudwatch.put_composite_alarm(AlarmName="c", AlarmRule=f'ALARM(a) AND NOT OK("{arn}")')
    cloudwatch.put_composite_alarm(AlarmName="d", AlarmRule="AT_LEAST(1, ALARM, (a, c))")
    children = cloudwatch.describe_alarms(ChildrenOfAlarmName="d")
    assert names(children) == ["a", "c"]
    assert children["MetricAlarms"][0].keys() == {"AlarmName", "AlarmArn", "StateValue", "StateUpdatedTimestamp"}
    assert names(cloudwatch.describe_alarms(ParentsOfAlarmName="a")) == ["c", "d"]
    assert names(cloudwatch.describe_alarms(ParentsOfAlarmName="b")) == ["c"]
    assert refused(cloudwatch.describe_alarms, ParentsOfAlarmName="b", StateValue="OK")[0] == "ValidationError"
    code, message = refused(cloudwatch.delete_alarms, AlarmNames=["a"])
    assert code == "ValidationError"
    assert "Cannot delete a as there are composite alarm(s) depending on it: c, d" in message
    assert refused(cloudwatch.delete_alarms, AlarmNames=["c", "d"])[1].startswith("AlarmNames has 2 composite alarms")
    assert "depending on it: d" in refused(cloudwatch.delete_alarms, AlarmNames=["c"])[1]
    cloudwatch.delete_alarms(AlarmNames=["d", "unknown"])
    cloudwatch.delete_alarms(AlarmNames=["b", "c"])
    assert names(cloudwatch.describe_alarms(AlarmTypes=["MetricAlarm", "CompositeAlarm"])) == ["a"]


def test_a_cycle_can_be_made_and_is_left_by_changing_a_rule(cloudwatch):
    cloudwatch.put_composite_alarm(AlarmName="a", AlarmRule="FALSE")
    cloudwatch.put_composite_alarm(AlarmName="b", AlarmRule="ALARM(a)")
    cloudwatch.put_composite_alarm(AlarmName="a", AlarmRule="ALARM(b)")
    for name in ("a", "b"):
        assert refused(cloudwatch.delete_alarms, AlarmNames=[name])[0] == "ValidationError"
    cloudwatch.put_composite_alarm(AlarmName="a", AlarmRule="FALSE")
    cloudwatch.delete_alarms(AlarmNames=["b"])
    cloudwatch.put_composite_alarm(AlarmName="a", AlarmRule="NOT ALARM(a)")
    assert refused(cloudwatch.delete_alarms, AlarmNames=["a"])[0] == "ValidationError"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"AlarmRule": "ALARM(none)"}, "as alarms [none] in the alarm rule do not exist"),
        ({"AlarmRule": "ALARM(whole)"}, "as alarms [whole] in the alarm rule do not exist"),
        ({"AlarmRule": "ALARM("}, "Invalid alarm rule: it ends where"),
        ({"AlarmRule": "ALARM(arn:aws:cloudwatch:eu-west-3:000000000000:alarm:x)"}, "not an alarm of this account"),
        ({"ActionsSuppressor": "none"}, "ActionsSuppressorWaitPeriod has to be given together with ActionsSuppressor"),
        (
            {"ActionsSuppressor": "none", "ActionsSuppressorWaitPeriod": 1, "ActionsSuppressorExtensionPeriod": 1},
            "there is no alarm named none",
        ),
        (
            {"ActionsSuppressor": "whole", "ActionsSuppressorWaitPeriod": 1, "ActionsSuppressorExtensionPeriod": 1},
            "cannot suppress its own actions",
        ),
        (
            {"ActionsSuppressor": "x", "ActionsSuppressorWaitPeriod": -1, "ActionsSuppressorExtensionPeriod": 1},
            "ActionsSuppressorWaitPeriod is -1",
        ),
        ({"AlarmActions": ["arn:aws:autoscaling:us-east-1:0:scalingPolicy:1:policyName/p"]}, "no Auto Scaling actions"),
    ],
)
def test_composite_alarms_that_are_refused(cloudwatch, changed, said):
    code, message = refused(cloudwatch.put_composite_alarm, **{"AlarmName": "whole", "AlarmRule": "TRUE", **changed})
    assert code == "ValidationError"
    assert said in message


def test_alarms_of_both_kinds_share_their_names(cloudwatch):
    cloudwatch.put_metric_alarm(**ONE)
    assert "metric alarm named slow already" in refused(
        cloudwatch.put_composite_alarm, AlarmName="slow", AlarmRule="TRUE"
    )[1]  # fmt: skip
    cloudwatch.put_composite_alarm(AlarmName="whole", AlarmRule="ALARM(slow)")
    assert "composite alarm named whole already" in refused(
        cloudwatch.put_metric_alarm, **{**ONE, "AlarmName": "whole"}
    )[1]  # fmt: skip


def test_history_tells_it_all_and_outlives_the_alarm(cloudwatch):
    cloudwatch.put_metric_alarm(**ONE)
    cloudwatch.set_alarm_state(AlarmName="slow", StateValue="ALARM", StateReason="why", StateReasonData='{"a": 1}')
    cloudwatch.set_alarm_state(AlarmName="slow", StateValue="ALARM", StateReason="again")
    cloudwatch.disable_alarm_actions(AlarmNames=["slow", "unknown"])
    cloudwatch.delete_alarms(AlarmNames=["slow"])
    items = cloudwatch.describe_alarm_history(AlarmName="slow")["AlarmHistoryItems"]
    assert [(each["HistoryItemType"], each["HistorySummary"]) for each in items] == [
        ("ConfigurationUpdate", 'Alarm "slow" deleted'),
        ("ConfigurationUpdate", 'Alarm "slow" updated'),
        ("StateUpdate", "Alarm updated from INSUFFICIENT_DATA to ALARM"),
        ("ConfigurationUpdate", 'Alarm "slow" created'),
    ]
    data = json.loads(items[2]["HistoryData"])
    assert data["version"] == "1.0"
    assert data["oldState"] == {
        "stateValue": "INSUFFICIENT_DATA",
        "stateReason": "Unchecked: Initial alarm creation",
    }
    assert data["newState"] == {"stateValue": "ALARM", "stateReason": "why", "stateReasonData": {"a": 1}}
    read = cloudwatch.get_paginator("describe_alarm_history").paginate(
        HistoryItemType="ConfigurationUpdate", ScanBy="TimestampAscending", PaginationConfig={"PageSize": 2}
    )
    pages = [[each["HistorySummary"] for each in page["AlarmHistoryItems"]] for page in read]
    assert pages == [['Alarm "slow" created', 'Alarm "slow" updated'], ['Alarm "slow" deleted']]
    now = datetime.now(UTC)
    assert not cloudwatch.describe_alarm_history(EndDate=now - timedelta(hours=1))["AlarmHistoryItems"]
    assert len(cloudwatch.describe_alarm_history(StartDate=now - timedelta(hours=1))["AlarmHistoryItems"]) == 4
    assert not cloudwatch.describe_alarm_history(AlarmTypes=["CompositeAlarm"])["AlarmHistoryItems"]


def test_history_that_would_be_too_long_stays_json(cloudwatch):
    many = [{"Id": f"x{n}", "Expression": "m1 * " + "1" * 300, "ReturnData": False} for n in range(12)]
    cloudwatch.put_metric_alarm(**{**MATH, "Metrics": [*MATH["Metrics"], *many]})
    long = json.dumps({"a": "x" * 3900})
    cloudwatch.set_alarm_state(AlarmName="errors", StateValue="OK", StateReason="r" * 1000, StateReasonData=long)
    states, created = cloudwatch.describe_alarm_history(AlarmName="errors")["AlarmHistoryItems"]
    assert json.loads(created["HistoryData"])["createdAlarm"] == {"AlarmName": "errors"}
    assert json.loads(states["HistoryData"])["newState"] == {"stateValue": "OK", "stateReason": "r" * 1000}


def test_a_state_can_be_set(cloudwatch):
    cloudwatch.put_metric_alarm(**ONE)
    assert refused(cloudwatch.set_alarm_state, AlarmName="x", StateValue="OK", StateReason="")[0] == "ResourceNotFound"
    for data in ("{", "NaN", "[1e999]", "[" * 101 + "]" * 101, "[" * 2000 + "]" * 2000):
        request = {"AlarmName": "slow", "StateValue": "OK", "StateReason": "", "StateReasonData": data}
        assert refused(cloudwatch.set_alarm_state, **request)[0] == "InvalidFormat"
    deep = "[" * 100 + "]" * 100
    cloudwatch.set_alarm_state(AlarmName="slow", StateValue="ALARM", StateReason="x", StateReasonData=deep)
    (item,) = cloudwatch.describe_alarm_history(HistoryItemType="StateUpdate")["AlarmHistoryItems"]
    assert json.loads(item["HistoryData"])["newState"]["stateReasonData"] == json.loads(deep)
    code, message = refused(cloudwatch.set_alarm_state, AlarmName="slow", StateValue="INVALID", StateReason="x")
    assert code == "ValidationError"
    assert message == (
        "1 validation error detected: Value 'INVALID' at 'stateValue' failed to satisfy constraint: Member must "
        "satisfy enum value set: [INSUFFICIENT_DATA, ALARM, OK]"
    )


def test_actions_are_switched(cloudwatch):
    for name in ("a", "b"):
        cloudwatch.put_metric_alarm(**{**ONE, "AlarmName": name})
    cloudwatch.disable_alarm_actions(AlarmNames=["a", "b"])
    cloudwatch.enable_alarm_actions(AlarmNames=["b"])
    found = {each["AlarmName"]: each["ActionsEnabled"] for each in cloudwatch.describe_alarms()["MetricAlarms"]}
    assert found == {"a": False, "b": True}


def test_alarms_of_a_metric(cloudwatch):
    cloudwatch.put_metric_alarm(**ONE)
    cloudwatch.put_metric_alarm(**without(ONE, "Statistic", AlarmName="p", ExtendedStatistic="p99", Period=10))
    cloudwatch.put_metric_alarm(**MATH)
    asked = {"Namespace": "app", "MetricName": "latency", "Dimensions": ONE["Dimensions"]}

    def found(**more: Any) -> list[str]:
        return [
            each["AlarmName"] for each in cloudwatch.describe_alarms_for_metric(**{**asked, **more})["MetricAlarms"]
        ]

    assert found() == ["p", "slow"]
    assert found(Statistic="Average") == ["slow"]
    assert found(ExtendedStatistic="p99", Period=10) == ["p"]
    assert found(Dimensions=[]) == []


def test_tags(cloudwatch, kedge):
    cloudwatch.put_metric_alarm(**ONE, Tags=[{"Key": "a", "Value": "1"}])
    arn = cloudwatch.describe_alarms()["MetricAlarms"][0]["AlarmArn"]
    cloudwatch.tag_resource(ResourceARN=arn, Tags=[{"Key": "b", "Value": "2"}])
    cloudwatch.untag_resource(ResourceARN=arn, TagKeys=["a", "none"])
    assert cloudwatch.list_tags_for_resource(ResourceARN=arn)["Tags"] == [{"Key": "b", "Value": "2"}]
    for wrong in (arn + "x", arn.replace(kedge.account, "999999999999"), arn.replace("cloudwatch", "sns")):
        assert refused(cloudwatch.list_tags_for_resource, ResourceARN=wrong)[0] == "ResourceNotFoundException"
    assert refused(cloudwatch.list_tags_for_resource, ResourceARN="x")[0] == "InvalidParameterValue"
    cloudwatch.delete_alarms(AlarmNames=["slow"])
    cloudwatch.put_metric_alarm(**ONE)
    assert cloudwatch.list_tags_for_resource(ResourceARN=arn)["Tags"] == []


def test_nothing_contributes(cloudwatch):
    cloudwatch.put_metric_alarm(**ONE)
    assert cloudwatch.describe_alarm_contributors(AlarmName="slow")["AlarmContributors"] == []
    assert refused(cloudwatch.describe_alarm_contributors, AlarmName="x")[0] == "ResourceNotFoundException"


def test_what_is_not_there_says_its_name(cloudwatch):
    _, message = refused(cloudwatch.get_alarm_mute_rule, AlarmMuteRuleName="x")
    assert "cloudwatch.GetAlarmMuteRule is not implemented here" in message


def test_waiters(cloudwatch):
    once = {"Delay": 1, "MaxAttempts": 1}
    with pytest.raises(WaiterError):
        cloudwatch.get_waiter("alarm_exists").wait(AlarmNames=["slow"], WaiterConfig=once)
    cloudwatch.put_metric_alarm(**ONE)
    cloudwatch.put_composite_alarm(AlarmName="whole", AlarmRule="ALARM(slow)")
    cloudwatch.get_waiter("alarm_exists").wait(AlarmNames=["slow"], WaiterConfig=once)
    cloudwatch.get_waiter("composite_alarm_exists").wait(
        AlarmNames=["whole"], AlarmTypes=["CompositeAlarm"], WaiterConfig=once
    )


def test_a_policy_may_be_about_some_alarms(kedge):
    iam = kedge.client("iam")
    iam.create_user(UserName="watcher")
    statement = {
        "Effect": "Allow",
        "Action": ["cloudwatch:PutMetricAlarm", "cloudwatch:DescribeAlarms", "cloudwatch:PutCompositeAlarm"],
        "Resource": f"arn:aws:cloudwatch:*:{kedge.account}:alarm:team-*",
    }
    policy = {"Version": "2012-10-17", "Statement": statement}
    iam.put_user_policy(UserName="watcher", PolicyName="p", PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName="watcher")["AccessKey"]
    theirs = boto3.Session(key["AccessKeyId"], key["SecretAccessKey"], region_name=kedge.region).client(
        "cloudwatch", endpoint_url=kedge.api_url
    )
    theirs.put_metric_alarm(**{**ONE, "AlarmName": "team-1"})
    assert names(theirs.describe_alarms(AlarmNames=["team-1"])) == ["team-1"]
    for call, request in (
        (theirs.put_metric_alarm, ONE),
        (theirs.put_metric_alarm, {**ONE, "AlarmName": "team-2", "Tags": [{"Key": "a", "Value": "b"}]}),
        (theirs.describe_alarms, {}),
        (theirs.put_composite_alarm, {"AlarmName": "team-3", "AlarmRule": "TRUE"}),
    ):
        assert refused(call, **request)[0] in ("AccessDenied", "AccessDeniedException")
