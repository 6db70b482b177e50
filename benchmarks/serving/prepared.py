"""Requests made before the clock runs: raw HTTP/1.1, each with other rows and, where wanted, its own signature.

A file of them holds, for each, its length in eight decimal digits and its bytes: what wrk.lua reads.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path

ALGORITHM = "AWS4-HMAC-SHA256"
SERVICE = "sagemaker"


@dataclass(frozen=True)
class Signer:
    """Signs by Signature Version 4, as boto3 does for InvokeEndpoint."""

    access_key_id: str
    secret_access_key: str
    region: str

    def sign(self, host: str, content_type: str, now: datetime) -> Callable[[str, bytes], str]:
        """From path and body to the header lines that sign a POST. The path has nothing in it that needs quoting."""
        time = f"{now:%Y%m%dT%H%M%SZ}"
        scope = f"{time[:8]}/{self.region}/{SERVICE}/aws4_request"
        key = f"AWS4{self.secret_access_key}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        names = "content-type;host;x-amz-date"
        canonical = f"content-type:{content_type}\nhost:{host}\nx-amz-date:{time}\n\n{names}\n"
        begin = f"X-Amz-Date: {time}\r\nAuthorization: {ALGORITHM} Credential={self.access_key_id}/{scope}, "

        def lines(path: str, body: bytes) -> str:
            request = f"POST\n{path}\n\n{canonical}{hashlib.sha256(body).hexdigest()}"
            digest = hashlib.sha256(request.encode()).hexdigest()
            signature = hmac.digest(key, f"{ALGORITHM}\n{time}\n{scope}\n{digest}".encode(), "sha256").hex()
            return f"{begin}SignedHeaders={names}, Signature={signature}\r\n"

        return lines


def requests(
    port: int, paths: Sequence[str], content_type: str, bodies: Iterable[bytes], signer: Signer | None
) -> Iterator[bytes]:
    """Each body as a POST to 127.0.0.1, to the paths in turn; signed ones are good for as long as a server allows."""
    host = f"127.0.0.1:{port}"
    sign = None if signer is None else signer.sign(host, content_type, datetime.now(UTC))
    for path, body in zip(cycle(paths), bodies, strict=False):
        head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {content_type}\r\n"
        own = "" if sign is None else sign(path, body)
        yield f"{head}{own}Content-Length: {len(body)}\r\n\r\n".encode() + body


def write(file: Path, made: Iterable[bytes]) -> None:
    with file.open("wb") as out:
        for each in made:
            out.write(b"%08d" % len(each) + each)


def read(file: Path) -> Iterator[bytes]:
    with file.open("rb") as source:
        while size := source.read(8):
            yield source.read(int(size))
