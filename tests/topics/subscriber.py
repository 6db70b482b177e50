"""A real subscriber: an HTTP server on loopback that keeps what it is sent."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.request import urlopen

import pytest
from botocore.exceptions import ClientError

from tests.faults.conftest import until


@dataclass
class Received:
    path: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.body)


@dataclass
class Subscriber:
    answer: Callable[[Received], int] = lambda _received: 200
    """The status of each answer; it may take its time."""
    context: ssl.SSLContext | None = None
    port: int = 0
    received: list[Received] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    """Of each answer."""

    def __enter__(self) -> Subscriber:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                received = Received(self.path, headers, body)
                outer.received.append(received)
                self.send_response(outer.answer(received))
                for name, value in outer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Tests say enough."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        if self.context is not None:
            self._server.socket = self.context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"{'http' if self.context is None else 'https'}://127.0.0.1:{self.port}/hook"

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Messages of a type, as they came."""
        return [each.json for each in list(self.received) if each.headers["x-amz-sns-message-type"] == kind]

    def notified(self, count: int, timeout_s: float = 15.0) -> list[dict[str, Any]]:
        until(lambda: len(self.of("Notification")) >= count, timeout_s, f"{count} notifications")
        return self.of("Notification")

    def confirm(self) -> str:
        """Visit the newest SubscribeURL that was sent; what the server answers."""
        until(lambda: self.of("SubscriptionConfirmation"), what="a confirmation message")
        with urlopen(self.of("SubscriptionConfirmation")[-1]["SubscribeURL"], timeout=10) as answer:
            return answer.read().decode()


def refused(call: Any, /, **request: Any) -> tuple[str, str]:
    """(code, message) of the answer."""
    with pytest.raises(ClientError) as caught:
        call(**request)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def subscribed(sns: Any, topic: str, subscriber: Subscriber, **attributes: str) -> str:
    """The ARN of a confirmed subscription."""
    found = sns.subscribe(
        TopicArn=topic, Protocol="http", Endpoint=subscriber.url, Attributes=attributes, ReturnSubscriptionArn=True
    )["SubscriptionArn"]
    subscriber.confirm()
    return found
