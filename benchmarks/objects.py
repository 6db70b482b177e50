"""The bars of the object store: small puts, a page of a listing, and large bodies beside `dd` on the same disk.

    python benchmarks/objects.py [--quick] [--folder DIR]

Starts a server whose data lies under DIR (a temporary folder by default) with every fsync, and drives it over HTTP with
requests that boto3 has signed before the clock runs, so that what is measured is the server and not the client. `dd`
writes and reads beside it, in the same folder and the same run, one after the other: bytes of chance, as
encrypted ones are, for the disks of many virtual machines do not write zeros at all. Prints one line a bar: what, the
figure seen, the bar. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

MIB = 1024 * 1024
SMALL_BYTES = 1000
CLIENTS = 8


class Signer(S3SigV4Auth):
    """Signs a payload by its hash alone, or leaves it unsigned over plain HTTP too."""

    payload_sha256 = "UNSIGNED-PAYLOAD"

    def payload(self, request: AWSRequest) -> str:
        return self.payload_sha256


class Server:
    def __init__(self, ready: dict[str, Any]) -> None:
        self.url, self.region = ready["api_url"].rstrip("/"), ready["region"]
        self.host = urlsplit(self.url).netloc
        self.bucket = f"sagemaker-{ready['region']}-{ready['account']}"
        self._credentials = Credentials(ready["access_key_id"], ready["secret_access_key"])

    def signed(self, method: str, path: str, payload_sha256: str = "UNSIGNED-PAYLOAD") -> dict[str, str]:
        """The headers of a request to /bucket/PATH."""
        request = AWSRequest(method, f"{self.url}/{self.bucket}/{path}")
        signer = Signer(self._credentials, "s3", self.region)
        signer.payload_sha256 = payload_sha256
        signer.add_auth(request)
        return dict(request.headers.items())

    def send(
        self, connection: http.client.HTTPConnection, method: str, path: str, headers: dict[str, str], body: Any = None
    ) -> http.client.HTTPResponse:
        connection.request(method, f"/{self.bucket}/{path}", body=body, headers=headers)
        answer = connection.getresponse()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {answer.read(500)!r}")
        return answer


@contextmanager
def server(folder: Path) -> Iterator[Server]:
    command = [*(sys.executable, "-m", "kedge", "up", "--json"), *("--data", str(folder / "data"))]
    process = subprocess.Popen([*command, "--api-port", "0", "--inference-port", "0"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield Server(json.loads(process.stdout.readline()))
    finally:
        down = [*(sys.executable, "-m", "kedge", "down"), *("--data", str(folder / "data"))]
        subprocess.run(down, check=False, stdout=subprocess.DEVNULL)
        process.wait(60)
        process.stdout.close()


def say(what: str, seen: float, unit: str, bar: str) -> None:
    print(f"{what:66} {seen:10.1f} {unit:6} bar {bar}", flush=True)


def small_puts(to: Server, count: int, prefix: str) -> float:
    """Puts a second of `CLIENTS` connections, each put acknowledged and so on the disk."""
    body = os.urandom(SMALL_BYTES)
    digest = hashlib.sha256(body).hexdigest()
    per_client = -(-count // CLIENTS)
    heads = [
        [(path := f"{prefix}/{client}/{n:06}", to.signed("PUT", path, digest)) for n in range(per_client)]
        for client in range(CLIENTS)
    ]

    def put(mine: list[tuple[str, dict[str, str]]]) -> None:
        connection = http.client.HTTPConnection(to.host)
        for path, headers in mine:
            to.send(connection, "PUT", path, headers, body).read()
        connection.close()

    began = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(put, heads))
    return CLIENTS * per_client / (time.perf_counter() - began)


def list_pages(to: Server, pages: int) -> list[float]:
    """Milliseconds of each page of 1,000 keys, from the first to the last."""
    connection = http.client.HTTPConnection(to.host)
    took, token = [], ""
    for _ in range(pages):
        path = "?list-type=2" + (f"&continuation-token={token}" if token else "")
        headers = to.signed("GET", path)
        began = time.perf_counter()
        text = to.send(connection, "GET", path, headers).read().decode()
        took.append(1000 * (time.perf_counter() - began))
        if "<NextContinuationToken>" not in text:
            break
        token = text.partition("<NextContinuationToken>")[2].partition("<")[0]
    connection.close()
    return took


def put_large(to: Server, size_mib: int) -> float:
    """MiB a second, from the first byte sent to the acknowledgement."""
    block = os.urandom(MIB)
    connection = http.client.HTTPConnection(to.host, blocksize=256 * 1024)
    headers = to.signed("PUT", "large") | {"content-length": str(size_mib * MIB)}
    began = time.perf_counter()
    to.send(connection, "PUT", "large", headers, (block for _ in range(size_mib))).read()
    took = time.perf_counter() - began
    connection.close()
    return size_mib / took


def get_large(to: Server, size_mib: int) -> float:
    connection = http.client.HTTPConnection(to.host)
    headers = to.signed("GET", "large")
    began = time.perf_counter()
    answer, buffer, seen = to.send(connection, "GET", "large", headers), bytearray(MIB), 0
    while count := answer.readinto(buffer):
        seen += count
    took = time.perf_counter() - began
    connection.close()
    assert seen == size_mib * MIB, seen
    return size_mib / took


def dd(*arguments: str, size_mib: int) -> float:
    began = time.perf_counter()
    subprocess.run(["dd", *arguments, "bs=1M", f"count={size_mib}"], check=True, stderr=subprocess.DEVNULL)
    return size_mib / (time.perf_counter() - began)


def by_chance(file: Path, size_mib: int) -> Path:
    """A file of bytes that no disk can make smaller."""
    with file.open("wb") as out:
        for _ in range(size_mib):
            out.write(os.urandom(MIB))
    return file


def drop_cached(folder: Path) -> None:
    """Ask the kernel to forget the pages of every file below, so that reading them reads the disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer and smaller: for a look, not for a claim")
    parser.add_argument("--folder", type=Path, help="where the data and dd's file go; the disk to measure")
    options = parser.parse_args()
    objects, size_mib, rounds = (5_000, 256, 3) if options.quick else (100_000, 512, 5)
    with tempfile.TemporaryDirectory(prefix="kedge-bench-", dir=options.folder) as name:
        folder = Path(name)
        with server(folder) as to:
            rate = small_puts(to, objects, "small")
            say(f"small puts, {objects:,} of {SMALL_BYTES} bytes, {CLIENTS} clients, fsync", rate, "put/s", ">= 200")
            say("small puts, one client after the other's answer", one_client(to), "put/s", "-")
            took = list_pages(to, objects // 1000)
            say(f"a page of 1,000 keys of {objects:,}, median", statistics.median(took), "ms", "<= 50")
            say(f"a page of 1,000 keys of {objects:,}, slowest", max(took), "ms", "<= 50")
            beside, source = str(folder / "dd"), by_chance(folder / "source", size_mib)
            put, write, get, read = [], [], [], []
            for _ in range(rounds):
                dd(f"if={source}", "of=/dev/null", size_mib=size_mib)  # so that it lies in memory
                write.append(dd(f"if={source}", f"of={beside}", "conv=fsync", size_mib=size_mib))
                put.append(put_large(to, size_mib))
                drop_cached(folder)
                read.append(dd(f"if={beside}", "of=/dev/null", size_mib=size_mib))
                get.append(get_large(to, size_mib))
            half = statistics.median(write) / 2
            say(f"put of {size_mib} MiB", statistics.median(put), "MiB/s", f">= {half:.0f} (half of dd conv=fsync)")
            half = statistics.median(read) / 2
            say(f"get of {size_mib} MiB", statistics.median(get), "MiB/s", f">= {half:.0f} (half of dd, not cached)")


def one_client(to: Server) -> float:
    body = os.urandom(SMALL_BYTES)
    digest = hashlib.sha256(body).hexdigest()
    heads = [(path := f"one/{n:06}", to.signed("PUT", path, digest)) for n in range(200)]
    connection = http.client.HTTPConnection(to.host)
    began = time.perf_counter()
    for path, headers in heads:
        to.send(connection, "PUT", path, headers, body).read()
    took = time.perf_counter() - began
    connection.close()
    return len(heads) / took


if __name__ == "__main__":
    main()
