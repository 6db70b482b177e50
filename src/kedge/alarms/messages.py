"""What others are told of an alarm: the body of its notification and the details of its events. PURE.

Source: recorded notifications of CloudWatch, and "Alarm events and EventBridge" in its user guide. Dimensions are a
list in notifications and a map in events.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kedge.alarms.reasons import stamp
from kedge.alarms.records import COMPOSITE, Alarm, arn_of, moment, query_id
from kedge.store.records import Resource

SOURCE = "aws.cloudwatch"
STATE_CHANGE = "CloudWatch Alarm State Change"
CONFIGURATION_CHANGE = "CloudWatch Alarm Configuration Change"
MAX_SUBJECT_CHARS = 100
"""Of an SNS message."""

_STATISTICS = {
    "Average": "AVERAGE",
    "Maximum": "MAXIMUM",
    "Minimum": "MINIMUM",
    "SampleCount": "SAMPLE_COUNT",
    "Sum": "SUM",
}


@dataclass(frozen=True)
class Said:
    """A state as it was written: value, why and when."""

    value: str
    reason: str
    reason_data: str
    at_s: float

    @classmethod
    def of(cls, resource: Resource) -> Said:
        alarm = Alarm.of(resource.document)
        return cls(resource.status, alarm.reason, alarm.reason_data, alarm.updated_at_s)

    def detail(self) -> dict[str, Any]:
        said = {"value": self.value, "reason": self.reason}
        if self.reason_data:
            said["reasonData"] = self.reason_data
        return {**said, "timestamp": stamp(moment(self.at_s))}

    def history(self) -> dict[str, Any]:
        """As HistoryData has it, where the data is no text."""
        said: dict[str, Any] = {"stateValue": self.value, "stateReason": self.reason}
        try:
            return {**said, "stateReasonData": json.loads(self.reason_data)} if self.reason_data else said
        except ValueError:  # SetAlarmState takes any text
            return {**said, "stateReasonData": self.reason_data}


def subject(resource: Resource, region: str) -> str:
    """region: by its long name, as in "US East (N. Virginia)"."""
    text = f'{resource.status}: "{resource.name}" in {region}'
    return text if len(text) <= MAX_SUBJECT_CHARS else text[: MAX_SUBJECT_CHARS - 3] + "..."


def notification(resource: Resource, before: str, region: str) -> str:
    """The message of an SNS notification, as JSON. resource: the alarm after its change; before: its state before."""
    alarm = Alarm.of(resource.document)
    config = alarm.config
    body: dict[str, Any] = {
        "AlarmName": resource.name,
        "AlarmDescription": config.get("AlarmDescription"),
        "AWSAccountId": resource.scope.account,
        "AlarmConfigurationUpdatedTimestamp": stamp(moment(alarm.configured_at_s)),
        "NewStateValue": resource.status,
        "NewStateReason": alarm.reason,
        "StateChangeTime": stamp(moment(alarm.transitioned_at_s)),
        "Region": region,
        "AlarmArn": arn_of(resource.scope, resource.name),
        "OldStateValue": before,
        "OKActions": config.get("OKActions", []),
        "AlarmActions": config.get("AlarmActions", []),
        "InsufficientDataActions": config.get("InsufficientDataActions", []),
    }
    if resource.kind == COMPOSITE:
        body |= {"AlarmRule": config["AlarmRule"], "TriggeringChildren": _triggering(alarm.reason_data)}
    else:
        body["Trigger"] = _trigger(config)
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False)


def _triggering(reason_data: str) -> list[dict[str, Any]]:
    try:
        alarms = json.loads(reason_data)["triggeringAlarms"]
        return [
            {"Arn": each["arn"], "State": {"Value": each["state"]["value"], "Timestamp": each["state"]["timestamp"]}}
            for each in alarms
        ]
    except (ValueError, LookupError, TypeError):  # a state that was set by hand says what it likes
        return []


def _trigger(config: Mapping[str, Any]) -> dict[str, Any]:
    asked = {
        "EvaluationPeriods": config["EvaluationPeriods"],
        **({"DatapointsToAlarm": config["DatapointsToAlarm"]} if "DatapointsToAlarm" in config else {}),
        "ComparisonOperator": config["ComparisonOperator"],
        **({"Threshold": config["Threshold"]} if "Threshold" in config else {}),
        **({"ThresholdMetricId": config["ThresholdMetricId"]} if "ThresholdMetricId" in config else {}),
        "TreatMissingData": config.get("TreatMissingData", ""),
        "EvaluateLowSampleCountPercentile": config.get("EvaluateLowSampleCountPercentile", ""),
    }
    if "Metrics" in config:
        return {**asked, "Metrics": [_listed(query) for query in config["Metrics"]]}
    if "ExtendedStatistic" in config:
        statistic = {"StatisticType": "ExtendedStatistic", "ExtendedStatistic": config["ExtendedStatistic"]}
    else:
        statistic = {"StatisticType": "Statistic", "Statistic": _STATISTICS[config["Statistic"]]}
    return {
        "MetricName": config["MetricName"],
        "Namespace": config["Namespace"],
        **statistic,
        "Unit": config.get("Unit"),
        "Dimensions": [{"value": each["Value"], "name": each["Name"]} for each in config.get("Dimensions", ())],
        "Period": config["Period"],
        **asked,
    }


def _listed(query: Mapping[str, Any]) -> dict[str, Any]:
    if "MetricStat" not in query:
        return dict(query)
    stat = query["MetricStat"]
    metric = stat["Metric"]
    dimensions = [{"value": each["Value"], "name": each["Name"]} for each in metric.get("Dimensions", ())]
    return {**query, "MetricStat": {**stat, "Metric": {**metric, "Dimensions": dimensions}}}


def state_change(resource: Resource, before: Said) -> dict[str, Any]:
    """The detail of the event. resource: the alarm after its change."""
    alarm = Alarm.of(resource.document)
    state = Said.of(resource).detail()
    if alarm.suppression.by:
        state |= {"actionsSuppressedBy": alarm.suppression.by}
    return {
        "alarmName": resource.name,
        "state": state,
        "previousState": before.detail(),
        "configuration": _configuration(resource),
    }


def configuration_change(operation: str, resource: Resource, previous: Resource | None = None) -> dict[str, Any]:
    """operation: create, update or delete."""
    said = Said.of(resource)
    detail = {
        "alarmName": resource.name,
        "operation": operation,
        "state": {"value": said.value, "timestamp": stamp(moment(said.at_s))},
        "configuration": _whole_configuration(resource),
    }
    return detail if previous is None else {**detail, "previousConfiguration": _whole_configuration(previous)}


def _configuration(resource: Resource) -> dict[str, Any]:
    config = Alarm.of(resource.document).config
    found = {"description": config["AlarmDescription"]} if "AlarmDescription" in config else {}
    if resource.kind == COMPOSITE:
        return {**found, **_lower(config, "AlarmRule", "ActionsSuppressor", "ActionsSuppressorWaitPeriod",
                                  "ActionsSuppressorExtensionPeriod")}  # fmt: skip
    return {**found, "metrics": _metrics(resource, config)}


def _whole_configuration(resource: Resource) -> dict[str, Any]:
    alarm = Alarm.of(resource.document)
    members = ("EvaluationPeriods", "DatapointsToAlarm", "Threshold", "ThresholdMetricId", "ComparisonOperator",
               "TreatMissingData", "EvaluateLowSampleCountPercentile", "AlarmName", "ActionsEnabled")  # fmt: skip
    return {
        **_lower(alarm.config, *members),
        **_configuration(resource),
        "timestamp": stamp(moment(alarm.configured_at_s)),
        "okActions": alarm.config.get("OKActions", []),
        "alarmActions": alarm.config.get("AlarmActions", []),
        "insufficientDataActions": alarm.config.get("InsufficientDataActions", []),
    }


def _lower(config: Mapping[str, Any], *members: str) -> dict[str, Any]:
    return {member[0].lower() + member[1:]: config[member] for member in members if member in config}


def _metrics(resource: Resource, config: Mapping[str, Any]) -> list[dict[str, Any]]:
    if "Metrics" in config:
        return [_metric(query, query["Id"]) for query in config["Metrics"]]
    stat = {
        "Metric": {name: config[name] for name in ("Namespace", "MetricName", "Dimensions") if name in config},
        "Period": config["Period"],
        "Stat": config.get("Statistic") or config["ExtendedStatistic"],
        **({"Unit": config["Unit"]} if "Unit" in config else {}),
    }
    return [_metric({"MetricStat": stat}, query_id(resource))]


def _metric(query: Mapping[str, Any], its_id: str) -> dict[str, Any]:
    said: dict[str, Any] = {"id": its_id}
    if "MetricStat" in query:
        stat = query["MetricStat"]
        metric = stat["Metric"]
        said["metricStat"] = {
            "metric": {
                **({"namespace": metric["Namespace"]} if "Namespace" in metric else {}),
                **({"name": metric["MetricName"]} if "MetricName" in metric else {}),
                "dimensions": {each["Name"]: each["Value"] for each in metric.get("Dimensions", ())},
            },
            **_lower(stat, "Period", "Stat", "Unit"),
        }
    said |= _lower(query, "Expression", "Label", "Period", "AccountId")
    return {**said, "returnData": query.get("ReturnData", True)}
