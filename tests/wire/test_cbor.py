"""CBOR: every width and length that a client may write, and what no body may do."""

from __future__ import annotations

import contextlib
import copy
import math
import struct
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.parsers import RpcV2CBORParser
from hypothesis import given, settings
from hypothesis import strategies as st

from kedge.errors import SerializationFailed, UnknownOperation
from kedge.wire.cbor import MAX_ITEMS, EpochTime, cbor_bytes, parse_cbor
from kedge.wire.constraints import check
from kedge.wire.gateway import CODECS
from kedge.wire.http import Request
from kedge.wire.models import Models

MODELS = Models(["cloudwatch"])
PUT = "/service/GraniteServiceVersion20100801/operation/PutMetricData"


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ("00", 0),
        ("17", 23),
        ("1818", 24),
        ("1903e8", 1000),
        ("1a000f4240", 1_000_000),
        ("1bffffffffffffffff", 2**64 - 1),
        ("3bffffffffffffffff", -(2**64)),
        ("20", -1),
        ("c249010000000000000000", 2**64),
        ("c349010000000000000000", -(2**64) - 1),
        ("f90000", 0.0),
        ("f93c00", 1.0),
        ("f97bff", 65504.0),
        ("f90001", 5.960464477539063e-8),
        ("f9c400", -4.0),
        ("fa47c35000", 100000.0),
        ("fb3ff199999999999a", 1.1),
        ("f97c00", math.inf),
        ("faff800000", -math.inf),
        ("f4", False),
        ("f5", True),
        ("f6", None),
        ("f7", None),
        ("c11a514b67b0", 1363896240),
        ("c1fb41d452d9ec200000", 1363896240.5),
        ("d82076687474703a2f2f7777772e6578616d706c652e636f6d", "http://www.example.com"),
        ("40", b""),
        ("4401020304", b"\1\2\3\4"),
        ("62c3bc", "ü"),
        ("5f42010243030405ff", b"\1\2\3\4\5"),
        ("7f657374726561646d696e67ff", "streaming"),
        ("80", []),
        ("9fff", []),
        ("9f018202039f0405ffff", [1, [2, 3], [4, 5]]),
        ("bf61610161629f0203ffff", {"a": 1, "b": [2, 3]}),
        ("a26161016162820203", {"a": 1, "b": [2, 3]}),
        ("b8016161f6", {"a": None}),
    ],
)
def test_examples_of_the_standard(data: str, value: Any) -> None:
    got = parse_cbor(bytes.fromhex(data))
    assert got == value
    assert type(got) is type(value)


def test_not_a_number() -> None:
    assert all(math.isnan(parse_cbor(bytes.fromhex(text))) for text in ("f97e00", "fa7fc00000", "fb7ff8000000000000"))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_what_is_written_is_read_by_us_and_by_botocore(value: Any) -> None:
    data = cbor_bytes(value)
    assert parse_cbor(data) == value
    parser = RpcV2CBORParser()
    assert parser.parse_data_item(parser.get_peekable_stream_from_bytes(data)) == without_nulls(value)


def without_nulls(value: Any) -> Any:
    """botocore leaves a null out of a map."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60) | VALUES.map(cbor_bytes).flatmap(lambda data: st.sampled_from([data[:-1], data + b"\0"])))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(SerializationFailed):
        parse_cbor(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "cut short"),
        (b"\x18", "cut short"),
        (b"\x62a", "cut short"),
        (b"\x9b" + b"\xff" * 8, "cut short"),
        (b"\xbb" + b"\xff" * 8, "cut short"),
        (b"\x5b" + b"\xff" * 8, "cut short"),
        (b"\x9f\x01", "cut short"),
        (b"\x82\x01\xff", "break"),
        (b"\xff", "break"),
        (b"\xbf\x61a\xff", "break"),
        (b"\x1c", "says nothing about a length"),
        (b"\x1f", "indefinite length"),
        (b"\xdf\x01", "indefinite length"),
        (b"\x7f\x41a\xff", "no string of its kind"),
        (b"\x7f\x7f\x61a\xff\xff", "no string of its kind"),
        (b"\xe0", "no simple value"),
        (b"\xf8\x20", "no simple value"),
        (b"\xa1\x01\x02", "key that is no text"),
        (b"\xa2\x61a\x01\x61a\x02", 'The name "a" stands twice'),
        (b"\x61\xff", "not UTF-8"),
        (b"\xc1\x61a", "a time is no number"),
        (b"\xc1\xf5", "a time is no number"),
        (b"\xc2\x01", "big number"),
        (b"\xc2\x58\x80" + b"\xff" * 128, "big number"),
        (b"\x01\x01", "more behind its end"),
        (b"\x81" * 1000 + b"\x01", "nested more than 64 levels"),
        (b"\x9f" * 1000, "nested more than 64 levels"),
        (b"\xc0" * 1000, "nested more than 64 levels"),
        (b"\x9f" + b"\xf6" * (MAX_ITEMS + 1) + b"\xff", "data items"),
    ],
)
def test_what_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(SerializationFailed, match=message):
        parse_cbor(data)


def test_numbers_that_do_not_fit_are_our_mistake() -> None:
    with pytest.raises(OverflowError):
        cbor_bytes(2**64)
    with pytest.raises(TypeError):
        cbor_bytes(object())


def request(body: bytes, path: str = PUT, **headers: str) -> Request:
    known = {"host": "x", "smithy-protocol": "rpc-v2-cbor", "content-type": "application/cbor"}
    return Request("POST", path, "", known | {name.replace("_", "-"): value for name, value in headers.items()}, body)


def decode(asked: Request) -> dict[str, Any]:
    target = MODELS.find(asked)
    return CODECS[target.protocol].decode(target, asked)


def metric(value: bytes, timestamp: bytes = b"") -> bytes:
    datum = b"\xbf" + cbor_bytes("MetricName") + cbor_bytes("m") + cbor_bytes("Value") + value
    datum += (cbor_bytes("Timestamp") + timestamp if timestamp else b"") + b"\xff"
    return b"\xa2" + cbor_bytes("Namespace") + cbor_bytes("n") + cbor_bytes("MetricData") + b"\x9f" + datum + b"\xff"


@pytest.mark.parametrize("value", [b"\x02", b"\xf9\x40\x00", b"\xfa\x40\x00\x00\x00", b"\xfb\x40" + bytes(7)])
def test_a_number_of_any_width(value: bytes) -> None:
    assert decode(request(metric(value)))["MetricData"] == [{"MetricName": "m", "Value": 2.0}]


@pytest.mark.parametrize(
    "timestamp", [b"\xc1\xfb" + struct.pack(">d", 1767323045.123), b"\xfb" + struct.pack(">d", 1767323045.123)]
)
def test_the_fraction_of_a_second_is_kept(timestamp: bytes) -> None:
    when = datetime(2026, 1, 2, 3, 4, 5, 123000, UTC)
    assert decode(request(metric(b"\x01", timestamp)))["MetricData"][0]["Timestamp"] == when
    asked = request(b"\xa0", PUT.replace("PutMetricData", "GetMetricStatistics"))
    target = MODELS.find(asked)
    answer = CODECS[target.protocol].encode(target, {"Datapoints": [{"Timestamp": when}]}, "id")
    assert answer.headers["smithy-protocol"] == "rpc-v2-cbor"
    assert isinstance(answer.body, bytes)
    assert cbor_bytes(EpochTime(1767323045.123)) in answer.body


def test_a_number_that_is_none_is_left_to_the_checks() -> None:
    parameters = decode(request(metric(b"\xf9\x7e\x00")))
    assert math.isnan(parameters["MetricData"][0]["Value"])
    with pytest.raises(Exception, match="finite"):
        check(MODELS.services["cloudwatch"].operation_model("PutMetricData"), parameters)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (request(b"\xa0", smithy_protocol="rpc-v2-json"), "smithy-protocol"),
        (request(b"\xa0", x_amz_target="SageMaker.CreateModel"), "X-Amz-Target"),
        (request(b"\xa0", x_amzn_target="SageMaker.CreateModel"), "X-Amz-Target"),
        (request(b"\xa0", content_type="application/json"), "Content-Type"),
        (request(b"\xa0", content_type=""), "Content-Type"),
        (request(b"\x80"), "START_ARRAY can not be converted to a Structure"),
        (request(cbor_bytes({"Namespace": 1})), "NUMBER_VALUE can not be converted to a String at 'namespace'"),
        (request(cbor_bytes({"Namespace": b"n"})), "EMBEDDED_OBJECT can not be converted to a String"),
        (request(metric(b"\xf5")), "TRUE_VALUE can not be converted to a Double"),
        (request(metric(b"\xc2\x58\x40" + b"\xff" * 64)), None),
        (request(metric(b"\x01", b"\xc1\xfb\x7f\xf0" + bytes(6))), "can not be converted to a Timestamp"),
        (request(metric(b"\x01", cbor_bytes("2026-01-01T00:00:00Z"))), "STRING_VALUE can not be converted"),
    ],
)
def test_requests_that_are_refused(asked: Request, message: str | None) -> None:
    if message is None:
        assert decode(asked)["MetricData"][0]["Value"] == float(2**512)
        return
    with pytest.raises(SerializationFailed, match=message):
        decode(asked)


def test_a_server_with_an_older_model_understands_newer_clients() -> None:
    """botocore 1.34 knows CloudWatch as a query service only."""
    description = copy.deepcopy(Loader().load_service_model("cloudwatch", "service-2"))
    for name in ("protocols", "targetPrefix", "jsonVersion", "awsQueryCompatible"):
        del description["metadata"][name]
    description["metadata"]["protocol"] = "query"
    older = Models([ServiceModel(description, "cloudwatch")])
    assert older.find(request(b"\xa0")).key == "cloudwatch.PutMetricData"
    headers = {"x-amz-target": "GraniteServiceVersion20100801.PutMetricData", "x-amzn-query-mode": "true"}
    target = older.find(Request("POST", "/", "", headers, b"{}"))
    assert (target.key, target.query_mode) == ("cloudwatch.PutMetricData", True)


def test_a_prefix_of_the_path_does_not_matter() -> None:
    assert MODELS.find(request(b"\xa0", "/v1/prefix" + PUT)).key == "cloudwatch.PutMetricData"


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/service/GraniteServiceVersion20100801/operation/MakeCoffee", "cloudwatch has no operation"),
        ("/service/Nobody/operation/PutMetricData", "Nobody.PutMetricData"),
        ("/service/Nobody", "POST /service/Nobody"),
    ],
)
def test_operations_that_there_are_not(path: str, named: str) -> None:
    target = MODELS.find(request(b"\xa0", path))
    assert target.protocol == "smithy-rpc-v2-cbor"
    with pytest.raises(UnknownOperation, match=named):
        target.model()
