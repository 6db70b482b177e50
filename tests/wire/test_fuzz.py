"""Every operation that is here, with requests drawn from its shapes, against a real server.

Right, almost right and wrong requests, and bodies with bytes changed: none may end in a 5xx, a hang, a traceback or an
answer that botocore cannot read. FUZZ_EXAMPLES=1000 draws that many for each operation, at random; the few of the
normal run are the same each time.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import runpy
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import botocore.parsers
import pytest
from botocore.awsrequest import HeadersDict
from botocore.model import OperationModel
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from kedge.identity.records import EXECUTION_ROLE
from kedge.wire.http import Request
from kedge.wire.models import Models, metadata_of

from .live import ANSWER_S, Answer, Live, live_server
from .shaped import CannotBeWritten, parameters, written

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
SUPPORTED = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "supported_operations.py"))["supported"]()
MODELS = Models(SUPPORTED)
VERBS = ("Create", "Put", "Add", "Upload", "Attach", "Tag", "Update", "Get", "Describe", "Head", "List")


def turn(operation: tuple[str, str]) -> tuple[int, str, str]:
    """What makes things goes first, what removes them last."""
    service, name = operation
    verb = next((number for number, verb in enumerate(VERBS) if name.startswith(verb)), len(VERBS))
    removes = name.startswith(("Delete", "Detach", "Abort", "Schedule", "Disable", "Untag", "Remove"))
    return len(VERBS) + 1 if removes else verb, service, name


OPERATIONS = sorted(((service, name) for service in SUPPORTED for name in SUPPORTED[service]), key=turn)
PROFILE = settings(
    max_examples=EXAMPLES or max(3, 500 // len(OPERATIONS)),
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    phases=(Phase.generate,),  # a server has a memory: a smaller request after the one that failed proves nothing
    suppress_health_check=list(HealthCheck),
)
UNAVAILABLE = {501: "what is not there is said to be so", 503: "a slow down"}


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with live_server() as server:
        furnish(server)
        yield server


def furnish(server: Live) -> None:
    """Something of each kind, under the names that requests draw."""
    s3, sagemaker, role = server.client("s3"), server.client("sagemaker"), EXECUTION_ROLE
    s3.create_bucket(Bucket="fuzz-bucket")
    s3.put_object(Bucket="fuzz-bucket", Key="k", Body=b"no archive")
    container = {"Image": "kedge/sklearn", "ModelDataUrl": "s3://fuzz-bucket/k"}
    sagemaker.create_model(
        ModelName="fuzz-a",
        ExecutionRoleArn=f"arn:aws:iam::{server.account}:role/{role}",
        PrimaryContainer=container,
    )
    variant = {
        "VariantName": "AllTraffic",
        "ModelName": "fuzz-a",
        "InitialInstanceCount": 1,
        "InstanceType": "ml.t3.medium",
    }
    sagemaker.create_endpoint_config(EndpointConfigName="fuzz-a", ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName="fuzz-a", EndpointConfigName="fuzz-a")


class Connection:
    """One connection that is kept, opened again when the server has closed it."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._open: dict[str, http.client.HTTPConnection] = {}

    def ask(self, service: str, request: Request) -> Answer:
        port = "inference" if service == "sagemaker-runtime" else "api"
        signing_name = MODELS.services[service].signing_name
        path = request.path + (f"?{request.query}" if request.query else "")
        headers = self._live.signed(signing_name, request.method, path, dict(request.headers), request.body, port)
        for again in (True, False):
            kept = port in self._open
            connection = self._open.setdefault(
                port, http.client.HTTPConnection(urlsplit(self._live.urls[port]).netloc, timeout=ANSWER_S)
            )
            try:
                connection.request(request.method, path, request.body, headers)
                answer = connection.getresponse()
                named = {name.lower(): value for name, value in answer.getheaders()}
                return Answer(answer.status, named, answer.read())
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.close(port)
                if not (again and kept and isinstance(error, ConnectionError)):
                    raise
        raise AssertionError("unreachable")

    def close(self, port: str) -> None:
        if (connection := self._open.pop(port, None)) is not None:
            connection.close()

    def close_all(self) -> None:
        for port in list(self._open):
            self.close(port)


@pytest.fixture(scope="module")
def connection(live: Live) -> Iterator[Connection]:
    with contextlib.closing(socket.socket()):
        found = Connection(live)
        yield found
        found.close_all()


def operation_of(service: str, name: str) -> OperationModel:
    operation = MODELS.services[service].operation_model(name)
    assert operation is not None
    return operation


def answered_well(live: Live, mark: int, operation: OperationModel, answer: Answer) -> None:
    """mark: of the log, before the request."""
    assert answer.status < 500 or answer.status in UNAVAILABLE, f"{answer}\n{live.failures_since(mark)}"
    metadata = metadata_of(operation.service_model)
    protocol = "json" if "json" in metadata["protocols"] else metadata["protocols"][0]
    if operation.has_streaming_output and answer.status < 300:
        return
    parser = botocore.parsers.create_parser(protocol)
    parsed = parser.parse(
        {
            "status_code": answer.status,
            "headers": HeadersDict(answer.headers),
            "body": answer.body,
            "context": {"operation_name": operation.name},
        },
        operation.output_shape,
    )
    if answer.status >= 301:
        assert parsed["Error"]["Code"], answer


@pytest.mark.parametrize(("service", "name"), OPERATIONS)
def test_parameters(live: Live, connection: Connection, service: str, name: str) -> None:
    operation, mark = operation_of(service, name), live.mark()

    @PROFILE
    @given(parameters(operation.input_shape))
    def run(values: object) -> None:
        try:
            request = written(operation, values)
        except CannotBeWritten:
            assume(False)
        answered_well(live, mark, operation, connection.ask(service, request))

    run()
    assert not live.failures_since(mark)
    live.is_well()


@pytest.mark.parametrize("service", sorted(SUPPORTED))
def test_bodies_with_bytes_changed(live: Live, connection: Connection, service: str) -> None:
    mark = live.mark()
    with_body = [operation_of(service, name) for name in sorted(SUPPORTED[service])]

    @settings(PROFILE, max_examples=EXAMPLES or 25)
    @given(st.data())
    def run(data: st.DataObject) -> None:
        operation = data.draw(st.sampled_from(with_body))
        try:
            request = written(operation, data.draw(parameters(operation.input_shape)))
        except CannotBeWritten:
            assume(False)
        changed = data.draw(mutated(request.body))
        request = Request(request.method, request.path, request.query, request.headers, changed)
        answered_well(live, mark, operation, connection.ask(service, request))

    run()
    assert not live.failures_since(mark)
    live.is_well()


@st.composite
def mutated(draw: st.DrawFn, body: bytes) -> bytes:
    """The body with a few bytes lost, added, changed or said twice."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(body)))
        end = min(len(body), start + draw(st.integers(0, 12)))
        middle = draw(st.sampled_from([b"", body[start:end] * 2, b"\x00", b"\xff\xfe", b'"', b"{", b"[", b"&", b"<!"]))
        body = body[:start] + (middle or draw(st.binary(max_size=6))) + body[end:]
    return body
