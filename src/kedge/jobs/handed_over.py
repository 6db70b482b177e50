"""The metrics that a job's program leaves for the platform to publish: lines of JSON, a datapoint each. PURE.

Source: "CloudWatch Metrics for Bring Your Own Containers" in the SageMaker developer guide: a line is an entry of
PutMetricData's MetricData, in files of /opt/ml/output/metrics/cloudwatch, where publish_cloudwatch_metrics is Enabled
in the job's environment. `Namespace` is ours beside its keys, and may be one of a monitor's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from kedge.metrics import data
from kedge.metrics.errors import InvalidParameterCombination, InvalidParameterValue, MissingParameter
from kedge.metrics.series import Datum
from kedge.store.records import Scope

FOLDER = "output/metrics/cloudwatch"
LONGEST_LINE_BYTES = 64 * 1024
_OF_ENDPOINTS, _OF_BATCHES = "aws/sagemaker/Endpoints/", "aws/sagemaker/ModelMonitoring/"
_DATA, _ALL = "data-metrics", ("data-metrics", "model-metrics", "bias-metrics", "explainability-metrics")
_NAMESPACES = frozenset(before + kind for before in (_OF_ENDPOINTS, _OF_BATCHES) for kind in _ALL)
_LONGEST_NAME, _LONGEST_VALUE, _MOST_DIMENSIONS = 255, 1024, 30
_SET = ("SampleCount", "Sum", "Minimum", "Maximum")


class BadLine(ValueError):
    """The message says what is wrong with it."""


def is_wanted(environment: Mapping[str, str]) -> bool:
    """environment: of the job, as its request has it."""
    return environment.get("publish_cloudwatch_metrics") == "Enabled"


def datum(line: bytes, scope: Scope, environment: Mapping[str, str], now_s: float) -> Datum:
    """Raises BadLine."""
    given = _parsed(line)
    dimensions = _dimensions(given.get("Dimensions"))
    entry: dict[str, Any] = {
        "MetricName": _text(given.get("MetricName"), "MetricName", _LONGEST_NAME),
        "Dimensions": dimensions,
        "Timestamp": _time(given.get("Timestamp")),
        "Unit": _text(given.get("Unit") or "None", "Unit", _LONGEST_NAME),
    }
    if given.get("Value") is not None:
        entry["Value"] = _number(given["Value"], "Value")
    if given.get("StatisticValues") is not None:
        entry["StatisticValues"] = _set(given["StatisticValues"])
    request = {"Namespace": _namespace(given, dimensions, environment), "MetricData": [entry]}
    try:
        (found,) = data.data_of(scope.account, scope.region, request, now_s)
    except (InvalidParameterCombination, InvalidParameterValue, MissingParameter) as error:
        raise BadLine(f"{entry['MetricName']}: {error.message}") from None
    return found


def _parsed(line: bytes) -> Mapping[str, Any]:
    if len(line) >= LONGEST_LINE_BYTES:
        raise BadLine(f"a line has more than {LONGEST_LINE_BYTES} bytes")
    try:
        given = json.loads(line)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise BadLine("a line is no JSON object in UTF-8")
    return given


def _namespace(given: Mapping[str, Any], dimensions: list[dict[str, str]], environment: Mapping[str, str]) -> str:
    """Without one of its own it is of data metrics, as SageMaker has it of own containers."""
    named = given.get("Namespace")
    if named is None:
        of_endpoint = environment.get("sagemaker_endpoint_name") or any(
            each["Name"] == "Endpoint" for each in dimensions
        )
        return (_OF_ENDPOINTS if of_endpoint else _OF_BATCHES) + _DATA
    if named not in _NAMESPACES:
        raise BadLine(f"Namespace is {named!r}; it may be left out, or be one of {', '.join(sorted(_NAMESPACES))}")
    return str(named)


def _dimensions(given: Any) -> list[dict[str, str]]:
    if given is None:
        return []
    if not isinstance(given, list) or len(given) > _MOST_DIMENSIONS:
        raise BadLine(f"Dimensions is no list of at most {_MOST_DIMENSIONS}")
    found = []
    for each in given:
        if not isinstance(each, dict):
            raise BadLine("a dimension is no object of Name and Value")
        found.append({name: _text(each.get(name), f"Dimensions.{name}", _LONGEST_VALUE) for name in ("Name", "Value")})
    return found


def _text(given: Any, member: str, longest: int) -> str:
    if not isinstance(given, str) or not 1 <= len(given) <= longest:
        raise BadLine(f"{member} is {given!r:.80}; it has to be a text of 1 to {longest} characters")
    return given


def _time(given: Any) -> datetime:
    try:
        found = datetime.fromisoformat(given)
    except (TypeError, ValueError):
        raise BadLine(f"Timestamp is {given!r:.80}; it has to be a time such as 2026-01-31T10:00:00Z") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _set(given: Any) -> dict[str, float]:
    if not isinstance(given, dict):
        raise BadLine("StatisticValues is no object")
    return {name: _number(given.get(name), f"StatisticValues.{name}") for name in _SET}


def _number(given: Any, member: str) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise BadLine(f"{member} is {given!r:.80}; it has to be a number")
    try:
        return float(given)
    except OverflowError:
        raise BadLine(f"{member} has too many digits") from None
