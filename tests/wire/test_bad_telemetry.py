"""What no client of CloudWatch, Logs or SNS should send: documents, expressions, numbers and encodings of twenty kinds.

Each is answered at once, as the caller's mistake; none is an internal failure, a traceback or a hang.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from .live import Answer, Live, live_server

DEEP = 20_000
NESTED = "[" * DEEP + "]" * DEEP
ENDLESS = "{" * DEEP
CLOUDWATCH = ("monitoring", "GraniteServiceVersion20100801", "1.0")
LOGS = ("logs", "Logs_20140328", "1.1")
METRIC = {"Metric": {"Namespace": "N", "MetricName": "m"}, "Period": 60, "Stat": "Sum"}
ALARM = {
    "AlarmName": "a", "MetricName": "m", "Namespace": "N", "Period": 60, "Statistic": "Sum", "EvaluationPeriods": 1,
    "Threshold": 1, "ComparisonOperator": "GreaterThanThreshold",
}  # fmt: skip


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with live_server() as server:
        logs = server.client("logs")
        logs.create_log_group(logGroupName="g")
        logs.create_log_stream(logGroupName="g", logStreamName="s")
        server.client("sns").create_topic(Name="t")
        yield server


@pytest.fixture(autouse=True)
def nothing_goes_wrong(live: Live) -> Iterator[None]:
    mark = live.mark()
    yield
    live.is_well()
    assert not live.failures_since(mark)


def asked(live: Live, api: tuple[str, str, str], operation: str, parameters: dict[str, Any]) -> Answer:
    signing_name, target, version = api
    headers = {"x-amz-target": f"{target}.{operation}", "content-type": f"application/x-amz-json-{version}"}
    return live.ask(signing_name, "POST", "/", headers, json.dumps(parameters).encode())


def refused(live: Live, api: tuple[str, str, str], operation: str, **parameters: Any) -> None:
    answer = asked(live, api, operation, parameters)
    assert 400 <= answer.status < 500, (operation, str(parameters)[:300], answer.body[:300])
    assert answer.code


def told(live: Live, action: str, **parameters: Any) -> Answer:
    body = urlencode({"Action": action, "Version": "2010-03-31", **parameters}).encode()
    return live.ask("sns", "POST", "/", {"content-type": "application/x-www-form-urlencoded"}, body)


@pytest.mark.parametrize(
    "expression",
    [
        "(" * DEEP + "1" + ")" * DEEP,
        "-" * DEEP + "1",
        "1" + "+1" * DEEP,
        "IF(" * 2000 + "1" + ",1,1)" * 2000,
        "SUM(SUM(" * 1000 + "m1" + "))" * 1000,
        "SEARCH('" + "(" * 5000 + "', 'Sum', 60)",
        "SEARCH('" + "a OR " * 3000 + "b', 'Sum')",
        "RATE(",
        "[1,2",
        "\x00",
        "é" * 10_000,
        "",
    ],
    ids=lambda text: repr(text[:20]),
)
def test_expressions(live: Live, expression: str) -> None:
    query = {"Id": "m", "Expression": expression, "Period": 60}
    refused(live, CLOUDWATCH, "GetMetricData", MetricDataQueries=[query], StartTime=0, EndTime=3600)
    alarm = {name: ALARM[name] for name in ("AlarmName", "EvaluationPeriods", "Threshold", "ComparisonOperator")}
    refused(live, CLOUDWATCH, "PutMetricAlarm", **alarm, Metrics=[{**query, "ReturnData": True}])


@pytest.mark.parametrize("statistic", ["p", "p-1", "p101", "TM(", "TM(10%:", "PR(9:1)", "tm" + "9" * 5000, "Sum\x00"])
def test_statistics(live: Live, statistic: str) -> None:
    query = {"Id": "m", "MetricStat": {**METRIC, "Stat": statistic}}
    refused(live, CLOUDWATCH, "GetMetricData", MetricDataQueries=[query], StartTime=0, EndTime=3600)


@pytest.mark.parametrize("value", ["NaN", 2**2000, True, [1], {"a": 1}, "one"], ids=lambda value: repr(value)[:20])
def test_numbers(live: Live, value: Any) -> None:
    for datum in ({"Value": value}, {"Values": [value]}, {"Values": [1], "Counts": [value]}):
        refused(live, CLOUDWATCH, "PutMetricData", Namespace="N", MetricData=[{"MetricName": "m", **datum}])
    refused(live, CLOUDWATCH, "PutMetricAlarm", **{**ALARM, "Threshold": value})
    refused(live, CLOUDWATCH, "PutMetricAlarm", **{**ALARM, "EvaluationPeriods": value})


@pytest.mark.parametrize(("start", "end"), [(-1e18, 1e18), ("x", 5), (5, 0), ("NaN", "NaN"), (0, 2**63), (None, None)])
def test_times(live: Live, start: Any, end: Any) -> None:
    query = {"Id": "m", "MetricStat": {**METRIC, "Period": 1}}
    refused(live, CLOUDWATCH, "GetMetricData", MetricDataQueries=[query], StartTime=start, EndTime=end)


@pytest.mark.parametrize("at", [-1, -1e18, 2**63, 1.5, "x", "1", None, True, [1]])
def test_times_of_logs(live: Live, at: Any) -> None:
    events = [{"timestamp": at, "message": "x"}]
    refused(live, LOGS, "PutLogEvents", logGroupName="g", logStreamName="s", logEvents=events)


@pytest.mark.parametrize("document", [NESTED, ENDLESS, "1", "null", "\x00", '{"a": 1'], ids=lambda text: repr(text[:9]))
def test_documents(live: Live, document: str) -> None:
    refused(live, CLOUDWATCH, "PutDashboard", DashboardName="d", DashboardBody=document)
    refused(live, CLOUDWATCH, "GetMetricWidgetImage", MetricWidget=document)
    topic = f"arn:aws:sns:{live.region}:{live.account}:t"
    for name in ("DeliveryPolicy", "Policy"):
        answer = told(live, "SetTopicAttributes", TopicArn=topic, AttributeName=name, AttributeValue=document)
        assert 400 <= answer.status < 500, name
    filtered = {"Attributes.entry.1.key": "FilterPolicy", "Attributes.entry.1.value": document}
    subscribing = {"TopicArn": topic, "Protocol": "http", "Endpoint": "http://127.0.0.1:9/", **filtered}
    assert 400 <= told(live, "Subscribe", **subscribing).status < 500
    assert 400 <= told(live, "Publish", TopicArn=topic, Message=document, MessageStructure="json").status < 500


@pytest.mark.parametrize("rule", ["ALARM(" * DEEP, "NOT " * DEEP, "", "ALARM(a", "AT_LEAST(-1, ALARM, (a))", "\x00"])
def test_rules(live: Live, rule: str) -> None:
    refused(live, CLOUDWATCH, "PutCompositeAlarm", AlarmName="c", AlarmRule=rule)


@pytest.mark.parametrize("pattern", ['"' * 999, '"\\', "?" * 500, "%(a+)+%", "{ $.x = 1 }", "[a, b]", "-a ?b"])
def test_patterns_of_logs(live: Live, pattern: str) -> None:
    refused(live, LOGS, "FilterLogEvents", logGroupName="g", filterPattern=pattern)


def test_tokens_and_bounds_of_logs(live: Live) -> None:
    where = {"logGroupName": "g", "logStreamName": "s"}
    for token in ("x", "f/1", "f/" + "9" * 57, "\x00", "b/" + "é" * 56):
        refused(live, LOGS, "GetLogEvents", **where, nextToken=token)
        refused(live, LOGS, "FilterLogEvents", logGroupName="g", nextToken=token)
    event = {"timestamp": 1, "message": "x"}
    refused(live, LOGS, "PutLogEvents", **where, logEvents=[event] * 10_001)
    refused(live, LOGS, "PutLogEvents", **where, logEvents=[{**event, "message": "x" * 1_048_576}])
    refused(live, LOGS, "PutLogEvents", **where, logEvents=[{**event, "message": "\ud800"}])
    refused(live, LOGS, "PutLogEvents", **where, logEvents=[])
    refused(live, LOGS, "PutRetentionPolicy", logGroupName="g", retentionInDays=2)


@pytest.mark.parametrize("url", ["http://", "https://[::1", "http://x:99999/", "file:///etc/passwd", "http://\r\nx/"])
def test_subscribers(live: Live, url: str) -> None:
    topic = f"arn:aws:sns:{live.region}:{live.account}:t"
    assert 400 <= told(live, "Subscribe", TopicArn=topic, Protocol="http", Endpoint=url).status < 500


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, b"{" * 100_000),
        ({}, b"\xff\xfe{}"),
        ({}, "{}".encode("utf-16")),
        ({}, b"a" * 20_000_000),
        ({"content-encoding": "gzip"}, b"{}"),
        ({"content-encoding": "gzip"}, gzip.compress(b"x" * 50_000_000, mtime=0)),
        ({"content-encoding": "gzip"}, gzip.compress(b"{}", mtime=0)[:-3]),
        ({"content-encoding": "br"}, b"{}"),
    ],
    ids=lambda given: repr(given)[:20],
)
def test_encodings(live: Live, headers: dict[str, str], body: bytes) -> None:
    for (signing_name, target, version), operation in ((CLOUDWATCH, "PutMetricData"), (LOGS, "PutLogEvents")):
        named = {"x-amz-target": f"{target}.{operation}", "content-type": f"application/x-amz-json-{version}"}
        answer = live.ask(signing_name, "POST", "/", {**named, **headers}, body)
        assert 400 <= answer.status < 500


@pytest.mark.parametrize("body", [b"\xbf" * 100_000, b"\x9f" * 100_000, b"\xbb\x7f" + b"\xff" * 7, b"\xc1" * 50_000])
def test_cbor(live: Live, body: bytes) -> None:
    headers = {"smithy-protocol": "rpc-v2-cbor", "content-type": "application/cbor"}
    path = "/service/GraniteServiceVersion20100801/operation/PutMetricData"
    assert 400 <= live.ask("monitoring", "POST", path, headers, body).status < 500


@pytest.mark.parametrize(
    "body",
    [b"&" + b"a=b&" * 200_000, b"&MessageAttributes.entry.99999999999.Name=a", b"&Message=%ff", b"&" + b"a." * 9999],
)
def test_forms(live: Live, body: bytes) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert 400 <= live.ask("sns", "POST", "/", headers, b"Action=Publish&Version=2010-03-31" + body).status < 500
