"""What a collector is to Kedge: an HTTP server on loopback that reads OTLP with the published messages."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Collector:
    url: str = ""
    answers: list[Answer] = field(default_factory=list)
    """To the next requests; then 200."""
    hold: threading.Event = field(default_factory=threading.Event)
    """While it is clear, requests wait for their answer."""
    arrived: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """(path, headers in lower case) of each request."""
    taken: list[ExportMetricsServiceRequest] = field(default_factory=list)
    """Those that were answered by 200."""

    def metrics(self) -> dict[str, Any]:
        """Of the last one, by name."""
        if not self.taken:
            return {}
        [resource] = self.taken[-1].resource_metrics
        [scope] = resource.scope_metrics
        return {metric.name: metric for metric in scope.metrics}

    def resource(self) -> dict[str, str]:
        return attributes(self.taken[-1].resource_metrics[0].resource)

    def points(self, name: str) -> list[Any]:
        metric = self.metrics().get(name)
        return [] if metric is None else list(getattr(metric, metric.WhichOneof("data")).data_points)

    def invocations(self, endpoint: str) -> int:
        points = self.points("kedge_endpoint_invocations")
        return sum(each.as_int for each in points if attributes(each)["endpoint_name"] == endpoint)


def attributes(of: Any) -> dict[str, str]:
    return {each.key: each.value.string_value for each in of.attributes}


@contextmanager
def collecting(context: ssl.SSLContext | None = None) -> Iterator[Collector]:
    collector = Collector()
    collector.hold.set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            collector.arrived.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            collector.hold.wait(60)
            status, headers, answer = collector.answers.pop(0) if collector.answers else (200, {}, b"")
            if status == 200:
                collector.taken.append(ExportMetricsServiceRequest.FromString(body))
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(answer))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer)

        def log_request(self, *_: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    collector.url = f"{'https' if context else 'http'}://127.0.0.1:{server.server_address[1]}"
    try:
        yield collector
    finally:
        collector.hold.set()
        server.shutdown()
        thread.join(10)
        server.server_close()
