"""PutAnomalyDetector, DescribeAnomalyDetectors, DeleteAnomalyDetector."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from kedge.call import Call
from kedge.errors import ValidationFailed
from kedge.listing import opened, sealed
from kedge.metrics import detectors, statistics
from kedge.metrics.detectors import DETECTOR, MODEL, PENDING, DetectorRefused
from kedge.metrics.errors import (
    InvalidNextToken,
    InvalidParameterCombination,
    InvalidParameterValue,
    LimitExceeded,
    MissingParameter,
    ResourceNotFound,
)
from kedge.store.records import Author, Document, Resource

Request = Mapping[str, Any]

MOST_DETECTORS = 1000
"""Of an account in a region: each is trained again every hour."""
MOST_RESULTS = 100
_METRIC = ("Namespace", "MetricName", "Dimensions", "Stat")
_REQUIRED = ("Namespace", "MetricName", "Stat")
_SINGLE, _MATH = "SingleMetricAnomalyDetector", "MetricMathAnomalyDetector"


def put_anomaly_detector(call: Call, request: Request) -> dict[str, Any]:
    watches = _watched(call, request)
    try:
        document = detectors.document(
            watches, request.get("Configuration") or {}, request.get("MetricCharacteristics") or {}
        )
    except DetectorRefused as refused:
        raise InvalidParameterValue(str(refused)) from None
    name = detectors.id_of(watches)
    with call.store.transaction(Author(call.caller.arn, call.request_id, call.now)) as tx:
        found = tx.get(call.scope, DETECTOR, name)
        if found is not None:
            tx.update(found, document, PENDING)
        else:
            if len(tx.list(call.scope, DETECTOR).items) >= MOST_DETECTORS:
                raise LimitExceeded(f"There are {MOST_DETECTORS} anomaly detectors; delete one to make another.")
            tx.insert(call.scope, DETECTOR, name, document, PENDING)
    return {"AnomalyDetectorId": name}


def delete_anomaly_detector(call: Call, request: Request) -> dict[str, Any]:
    name = request.get("AnomalyDetectorId")
    if name is not None and any(member in request for member in (*_METRIC, _SINGLE, _MATH)):
        raise InvalidParameterCombination("AnomalyDetectorId stands alone: it says which detector is meant.")
    name = name or detectors.id_of(_watched(call, request))
    with call.store.transaction(Author(call.caller.arn, call.request_id, call.now)) as tx:
        found, model = tx.get(call.scope, DETECTOR, name), tx.get(call.scope, MODEL, name)
        if found is None:
            raise ResourceNotFound("There is no anomaly detector that watches this.")
        tx.delete(found)
        if model is not None:
            tx.delete(model)
    return {}


def describe_anomaly_detectors(call: Call, request: Request) -> dict[str, Any]:
    limit = request.get("MaxResults", MOST_RESULTS)
    if limit > MOST_RESULTS:
        raise InvalidParameterValue(f"MaxResults is {limit}; it can be {MOST_RESULTS} at most.")
    asked = {name: value for name, value in request.items() if name not in ("MaxResults", "NextToken")}
    if "AnomalyDetectorIds" in asked and len(asked) > 1:
        raise InvalidParameterCombination("AnomalyDetectorIds stands alone: it cannot be combined with other filters.")
    question = hashlib.sha256(json.dumps([*call.scope.__dict__.values(), asked], sort_keys=True).encode()).hexdigest()
    try:
        after = opened(request["NextToken"], question) if request.get("NextToken") else ""
    except ValidationFailed as error:
        raise InvalidNextToken(error.message) from None
    matching = [each for each in call.store.list(call.scope, DETECTOR).items if each.name > after]
    matching = [each for each in matching if _is_asked_for(each, asked)]
    page = matching[:limit]
    more = {"NextToken": sealed(page[-1].name, question)} if len(matching) > limit else {}
    return {"AnomalyDetectors": [detectors.shown(each) for each in page], **more}


def _is_asked_for(detector: Resource, asked: Request) -> bool:
    if "AnomalyDetectorIds" in asked:
        return detector.name in asked["AnomalyDetectorIds"]
    watches = detector.document["Watches"]
    if detectors.type_of(watches) not in (asked.get("AnomalyDetectorTypes") or [detectors.SINGLE]):
        return False
    single = watches.get("Single")
    if single is None:  # the other filters speak of metrics
        return not any(name in asked for name in ("Namespace", "MetricName", "Dimensions"))
    if any(name in asked and asked[name] != single[name] for name in ("Namespace", "MetricName")):
        return False
    dimensions = sorted((each["Name"], each["Value"]) for each in asked.get("Dimensions") or ())
    return not dimensions or dimensions == [(each["Name"], each["Value"]) for each in single["Dimensions"]]


def _watched(call: Call, request: Request) -> Document:
    """What the request is about, in either of its three forms."""
    forms = [form for form in (_SINGLE, _MATH) if form in request]
    plain = any(name in request for name in _METRIC)
    if len(forms) + plain > 1:
        raise InvalidParameterCombination(
            f"{_SINGLE}, {_MATH} and the members {', '.join(_METRIC)} exclude one another; give one of them."
        )
    try:
        if _MATH in request:
            return detectors.of_math(request[_MATH].get("MetricDataQueries") or [])
        given = request.get(_SINGLE, request)
        for name in _REQUIRED:
            if name not in given:
                raise MissingParameter(f"The parameter {name} is required.")
        account = given.get("AccountId", call.caller.account)
        if account != call.caller.account:
            raise InvalidParameterValue(f"AccountId is {account}: metrics of other accounts are not shared here.")
        statistics.parse(given["Stat"])
        return detectors.of_metric(given)
    except (DetectorRefused, statistics.StatisticUnknown) as refused:
        raise InvalidParameterValue(str(refused)) from None


OPERATIONS: Mapping[str, Callable[[Call, Any], dict[str, Any]]] = {
    "cloudwatch.DeleteAnomalyDetector": delete_anomaly_detector,
    "cloudwatch.DescribeAnomalyDetectors": describe_anomaly_detectors,
    "cloudwatch.PutAnomalyDetector": put_anomaly_detector,
}
