"""A real server of one's own, spoken to byte by byte."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from kedge.cli.spawned import Spawned

ANSWER_S = 15.0
"""An answer that takes longer is a hang."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """AWS's code of an error, in whatever protocol."""
        if "x-amzn-errortype" in self.headers:
            return self.headers["x-amzn-errortype"]
        text = self.body.decode(errors="replace")
        if "<Code>" in text:
            return text.partition("<Code>")[2].partition("</Code>")[0]
        return str(json.loads(text)["__type"]) if text.startswith("{") else ""


class _AsToldAuth(S3SigV4Auth):
    """Signs what the header x-amz-content-sha256 says of the body."""

    def _modify_request_before_signing(self, request: AWSRequest) -> None:
        self._told = request.headers.get("X-Amz-Content-SHA256")
        super()._modify_request_before_signing(request)

    def payload(self, request: AWSRequest) -> str:
        return self._told or super().payload(request)


class Live:
    def __init__(self, ready: dict[str, Any]) -> None:
        self.region: str = ready["region"]
        self.account: str = ready["account"]
        self.bucket = f"sagemaker-{self.region}-{self.account}"
        self.urls = {"api": ready["api_url"], "inference": ready["inference_url"]}
        self._log = Path(ready["data_dir"]) / "log"
        self._credentials = Credentials(ready["access_key_id"], ready["secret_access_key"])

    def client(self, service: str, **config: Any) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.urls["inference" if service == "sagemaker-runtime" else "api"],
            region_name=self.region,
            aws_access_key_id=self._credentials.access_key,
            aws_secret_access_key=self._credentials.secret_key,
            config=Config(retries={"total_max_attempts": 1}, read_timeout=ANSWER_S, **config),
        )

    def signed(
        self, service: str, method: str, path: str, headers: dict[str, str], body: bytes, port: str = "api"
    ) -> dict[str, str]:
        """Headers with which a body is accepted as that of the root key."""
        request = AWSRequest(method, self.urls[port] + path, headers=headers, data=body)
        signer = _AsToldAuth if service == "s3" else SigV4Auth
        signer(self._credentials, service, self.region).add_auth(request)
        return {name: str(value) for name, value in request.headers.items()}

    def ask(
        self, service: str, method: str, path: str, headers: dict[str, str], body: bytes, port: str = "api"
    ) -> Answer:
        """One signed request. Raises TimeoutError when no answer comes."""
        connection = http.client.HTTPConnection(urlsplit(self.urls[port]).netloc, timeout=ANSWER_S)
        with contextlib.closing(connection):
            connection.request(method, path, body, self.signed(service, method, path, headers, body, port))
            answer = connection.getresponse()
            named = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, named, answer.read())

    @contextlib.contextmanager
    def connected(self, port: str = "api") -> Iterator[socket.socket]:
        parts = urlsplit(self.urls[port])
        with socket.create_connection((parts.hostname, parts.port), timeout=ANSWER_S) as connection:
            yield connection

    def raw(self, data: bytes, port: str = "api", *, half_close: bool = True) -> bytes:
        """All that is answered to these bytes until the server closes. Raises TimeoutError when it does not."""
        with self.connected(port) as connection:
            with contextlib.suppress(ConnectionError):
                connection.sendall(data)
            if half_close:
                # A connection that was reset meanwhile has no half to close: the kernel says so by a plain OSError.
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_WR)
            received = b""
            with contextlib.suppress(ConnectionError):
                while piece := connection.recv(65536):
                    received += piece
            return received

    def is_well(self) -> None:
        """Both ports answer, promptly."""
        for port, url in self.urls.items():
            connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=ANSWER_S)
            with contextlib.closing(connection):
                connection.request("GET", "/kedge/health")
                assert connection.getresponse().status == 200, port

    def log(self) -> str:
        return "".join(path.read_text(errors="replace") for path in sorted(self._log.glob("*.log")))

    def mark(self) -> int:
        return len(self.log())

    def failures_since(self, mark: int) -> str:
        """What the log has from `mark` on when there is a traceback in it, else nothing."""
        said = self.log()[mark:]
        return said[-6000:] if "Traceback" in said or " ERROR " in said else ""


@contextlib.contextmanager
def live_server() -> Iterator[Live]:
    spawned = Spawned()
    try:
        yield Live(spawned.ready())
    finally:
        spawned.stop()
