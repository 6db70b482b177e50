"""The quick way for requests in which nothing is wrong says nothing that the walks would not say."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kedge.errors import SerializationFailed, ServiceError
from kedge.wire import plain
from kedge.wire.aws_json import _QUICK, JSON_READER, _read_scalar, parse_json
from kedge.wire.constraints import _problems, _sound
from kedge.wire.models import Models
from kedge.wire.plain import NotPlain
from kedge.wire.shapes import read

MODELS = Models(["cloudwatch", "sagemaker", "kms", "logs"])
SHAPES = {
    name: MODELS.services[service].operation_model(name).input_shape
    for service, name in (
        ("cloudwatch", "PutMetricData"), ("cloudwatch", "GetMetricData"), ("cloudwatch", "PutMetricAlarm"),
        ("sagemaker", "CreateModel"), ("sagemaker", "CreateEndpointConfig"), ("kms", "Encrypt"),
        ("logs", "PutLogEvents"),
    )
}  # fmt: skip
RIGHT: dict[str, dict[str, Any]] = {
    "PutMetricData": {
        "Namespace": "n",
        "MetricData": [
            {
                "MetricName": "m", "Value": 1, "Timestamp": 1.5e9, "Unit": "Count", "Values": [1.5, 2], "Counts": None,
                "Dimensions": [{"Name": "ü", "Value": "v"}], "StorageResolution": 60, "Unknown": {"x": [1]},
            }
        ],
        "EntityMetricData": [{"Entity": {"KeyAttributes": {"Type": "Service", "Name": "x"}}, "MetricData": []}],
        "StrictEntityValidation": True,
    },
    "GetMetricData": {
        "MetricDataQueries": [{"Id": "m", "Expression": "1", "ReturnData": False}], "StartTime": 1, "EndTime": 2.5,
    },
    "PutMetricAlarm": {
        "AlarmName": "a", "EvaluationPeriods": 3, "ComparisonOperator": "LessThanThreshold",
        "Tags": [{"Key": "k", "Value": ""}],
    },
    "CreateModel": {
        "ModelName": "m", "PrimaryContainer": {"Image": "i", "Environment": {"A": "b"}}, "EnableNetworkIsolation": True,
    },
    "CreateEndpointConfig": {
        "EndpointConfigName": "e",
        "ProductionVariants": [{"VariantName": "v", "ModelName": "m", "InitialInstanceCount": 1}],
    },
    "PutLogEvents": {
        "logGroupName": "g", "logStreamName": "s",
        "logEvents": [{"timestamp": 1_700_000_000_000, "message": "ü"}, {"timestamp": 2, "message": "b"}],
    },
    "Encrypt": {"KeyId": "alias/a", "Plaintext": "aGVsbG8=", "EncryptionContext": {"a": "b"}},
}  # fmt: skip
JUNK = st.sampled_from(
    [
        None, True, 0, -1, 2**31, 2**63, 10**400, 1.5, 1e308, "", " ", "x", "é", "NaN", "a" * 3000, "\ud800", [], {},
        [None], {"": None}, [[1]], "1", "2026-01-01T00:00:00Z", "Infinity", 1e300, -62135596800.5, 61,
    ]
)  # fmt: skip


def places(node: Any) -> list[tuple[Any, Any]]:
    """(container, key) of everything inside."""
    keys = node.keys() if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    return [place for key in list(keys) for place in ((node, key), *places(node[key]))]


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_right_is_plain(name: str):
    shape = SHAPES[name]
    found = plain.read(shape, RIGHT[name], _QUICK, _read_scalar)
    assert found == read(shape, RIGHT[name], JSON_READER)
    assert _sound("cloudwatch", shape)(found)


@settings(max_examples=300)
@given(st.data())
def test_whatever_is_sent_both_ways_agree(data: st.DataObject):
    name = data.draw(st.sampled_from(sorted(RIGHT)))
    shape, node = SHAPES[name], json.loads(json.dumps(RIGHT[name]))
    for _ in range(data.draw(st.integers(1, 3))):
        container, key = data.draw(st.sampled_from(places(node)))
        container[key] = copy.deepcopy(data.draw(JUNK))  # it may be changed in its turn
    try:
        found = plain.read(shape, node, _QUICK, _read_scalar)
    except NotPlain:
        found = None
    try:
        want = read(shape, node, JSON_READER)
    except SerializationFailed:
        assert found is None
        return
    assert found is None or found == want
    wrong = list(_problems("cloudwatch", shape, want, ""))
    assert not (_sound("cloudwatch", shape)(want) and wrong), wrong


def test_a_body_that_is_no_object_is_refused_as_ever():
    for text in (b"[]", b"1", b'"x"', b"null"):
        with pytest.raises((NotPlain, ServiceError)):
            plain.read(SHAPES["PutMetricData"], parse_json(text), _QUICK, _read_scalar)
