"""The protocols that boto3 does not choose by itself, and event streams, over HTTP against a gateway."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError, EventStreamError

from kedge.errors import ResourceNotFound, ServiceError
from kedge.wire.gateway import Gateway
from kedge.wire.models import Models

from .speaking import PROTOCOLS as NAMES
from .speaking import speaking
from .test_gateway import KEY, Call, authenticate, serving

WHEN = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)


class SessionTimeout(ServiceError):
    code, status = "SessionTimeoutException", 400


@dataclass
class Service:
    """Toy operations, and what they saw."""

    port: int = 0
    seen: list[dict[str, Any]] = field(default_factory=list)
    closed: threading.Event = field(default_factory=threading.Event)

    def put(self, call: Call, request: dict[str, Any]) -> dict[str, Any]:
        self.seen.append(request)
        return {}

    def get(self, call: Call, request: dict[str, Any]) -> dict[str, Any]:
        return {"Label": request["MetricName"], "Datapoints": [{"Timestamp": WHEN, "Average": 1.5}]}

    def dashboard(self, call: Call, request: dict[str, Any]) -> dict[str, Any]:
        raise ResourceNotFound(f"Dashboard {request['DashboardName']} does not exist.")

    def tail(self, call: Call, request: dict[str, Any]) -> dict[str, Any]:
        return {"responseStream": self.lines(request["logGroupIdentifiers"])}

    async def lines(self, groups: list[str]) -> AsyncIterator[dict[str, Any]]:
        try:
            yield {"sessionStart": {"requestId": "r", "sessionId": "s", "logGroupIdentifiers": groups}}
            yield {"sessionUpdate": {"sessionResults": [{"message": "a line", "timestamp": 1}]}}
            if groups == ["endless"]:
                await asyncio.sleep(3600)
            raise SessionTimeout("Three hours are over.")
        finally:
            self.closed.set()

    async def select(self, call: Call, request: dict[str, Any]) -> dict[str, Any]:
        async def found() -> AsyncIterator[dict[str, Any]]:
            yield {"Records": {"Payload": b"1,2\n"}}
            yield {"Stats": {"Details": {"BytesScanned": 4}}}
            yield {"End": {}}

        return {"Payload": found()}

    def client(self, service: str, **config: Any) -> Any:
        return boto3.client(service, **self.address, config=Config(retries={"total_max_attempts": 1}, **config))

    @property
    def address(self) -> dict[str, str]:
        return {
            "endpoint_url": f"http://127.0.0.1:{self.port}",
            "region_name": "eu-west-1",
            "aws_access_key_id": KEY.access_key_id,
            "aws_secret_access_key": KEY.secret,
        }

    def speaking(self, protocol: str, service: str = "cloudwatch") -> Any:
        """A client that was given no choice of protocol."""
        return speaking(protocol, service, **self.address)


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    service = Service()
    operations = {
        "cloudwatch.PutMetricData": service.put,
        "cloudwatch.GetMetricStatistics": service.get,
        "cloudwatch.GetDashboard": service.dashboard,
        "logs.StartLiveTail": service.tail,
        "s3.SelectObjectContent": service.select,
    }
    gateway = Gateway(Models(["cloudwatch", "logs", "s3", "sts"]), operations, authenticate, Call, strict=True)
    with serving(gateway) as port:
        service.port = port
        yield service


PROTOCOLS = pytest.mark.parametrize("protocol", NAMES)


@PROTOCOLS
def test_one_service_in_each_of_its_protocols(service: Service, protocol: str) -> None:
    client = service.speaking(protocol)
    client.put_metric_data(Namespace="n", MetricData=[{"MetricName": "m", "Value": 2.5, "Counts": [1.0]}])
    assert service.seen.pop() == {
        "Namespace": "n",
        "MetricData": [{"MetricName": "m", "Value": 2.5, "Counts": [1.0]}],
    }
    answer = client.get_metric_statistics(Namespace="n", MetricName="m", StartTime=1, EndTime=2, Period=60)
    assert answer["Label"] == "m"
    assert answer["Datapoints"] == [{"Timestamp": WHEN, "Average": 1.5}]


@PROTOCOLS
def test_an_error_is_the_same_in_each_protocol(service: Service, protocol: str) -> None:
    client = service.speaking(protocol)
    with pytest.raises(client.exceptions.ClientError) as missing:
        client.get_dashboard(DashboardName="d")
    assert missing.value.response["Error"]["Code"] == "ResourceNotFound"
    assert missing.value.response["Error"]["Message"] == "Dashboard d does not exist."
    with pytest.raises(ClientError) as wrong:
        client.put_metric_data(Namespace="n" * 256, MetricData=[])
    assert "Member must have length less than or equal to 255" in wrong.value.response["Error"]["Message"]
    with pytest.raises(ClientError) as unknown:
        client.list_dashboards()
    assert "cloudwatch.ListDashboards is not implemented here" in unknown.value.response["Error"]["Message"]


@PROTOCOLS
def test_large_bodies_come_compressed(service: Service, protocol: str) -> None:
    data = [{"MetricName": f"metric-{number}", "Value": 1.0} for number in range(500)]
    service.speaking(protocol).put_metric_data(Namespace="n", MetricData=data)
    assert service.seen.pop()["MetricData"] == data


def test_events_of_a_json_service(service: Service) -> None:
    answer = service.client("logs", inject_host_prefix=False).start_live_tail(logGroupIdentifiers=["g"])
    events = iter(answer["responseStream"])
    assert next(events)["sessionStart"]["logGroupIdentifiers"] == ["g"]
    assert next(events)["sessionUpdate"]["sessionResults"] == [{"message": "a line", "timestamp": 1}]
    with pytest.raises(EventStreamError, match="Three hours are over") as ended:
        next(events)
    answer["responseStream"].close()
    assert ended.value.response["Error"]["Code"] == "SessionTimeoutException"


def test_events_of_s3(service: Service) -> None:
    answer = service.client("s3").select_object_content(
        Bucket="bucket",
        Key="k",
        Expression="select *",
        ExpressionType="SQL",
        InputSerialization={"CSV": {}},
        OutputSerialization={"CSV": {}},
    )
    with contextlib.closing(answer["Payload"]) as events:
        assert list(events) == [
            {"Records": {"Payload": b"1,2\n"}},
            {"Stats": {"Details": {"BytesScanned": 4}}},
            {"End": {}},
        ]


def test_a_client_that_leaves_between_two_events_ends_the_stream(service: Service) -> None:
    answer = service.client("logs", inject_host_prefix=False).start_live_tail(logGroupIdentifiers=["endless"])
    events = iter(answer["responseStream"])
    assert "sessionStart" in next(events)
    service.closed.clear()
    answer["responseStream"].close()
    assert service.closed.wait(10)


@pytest.mark.parametrize("host", ["stream-localhost:1", "streaming-logs.eu-west-1.localhost", "stream-127.0.0.1"])
def test_a_prefix_of_the_host_changes_nothing(service: Service, host: str) -> None:
    status, body = signed(
        service,
        "logs",
        {"host": host, "x-amz-target": "Logs_20140328.StartLiveTail", "content-type": "application/x-amz-json-1.1"},
        b'{"logGroupIdentifiers": ["g"]}',
    )
    assert status == 200
    assert b"sessionStart" in body


@pytest.mark.parametrize(
    ("encoding", "text"), [("br", b'Content-Encoding is \\"br\\"; gzip is taken.'), ("gzip, gzip", b"gzip is taken")]
)
def test_an_unknown_encoding(service: Service, encoding: str, text: bytes) -> None:
    headers = {
        "host": "127.0.0.1",
        "x-amz-target": "Logs_20140328.StartLiveTail",
        "content-type": "application/x-amz-json-1.1",
        "content-encoding": encoding,
    }
    status, body = signed(service, "logs", headers, b"xxx")
    assert (status, b"SerializationException" in body) == (400, True)
    assert text in body


def signed(service: Service, signing_name: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
    request = AWSRequest("POST", f"http://{headers['host']}/", headers=headers, data=body)
    SigV4Auth(Credentials(KEY.access_key_id, KEY.secret), signing_name, "eu-west-1").add_auth(request)
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)
    try:
        connection.request("POST", "/", body, dict(request.headers.items()))
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
