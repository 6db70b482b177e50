"""The bars of the object store: small puts, a page of a listing, and large bodies beside `dd` on the same disk.

    python benchmarks/objects.py [--quick] [--large-only] [--folder DIR]

Starts a server whose data lies under DIR (a temporary folder by default) with every fsync, and drives it over HTTP with
requests that boto3 has signed before the clock runs, so that what is measured is the server and not the client; what
boto3's own transfers and `aws s3 cp` reach, with all that they cost, stands beside it. `dd`
writes and reads beside it, in the same folder and the same run, one after the other: bytes of chance, as
encrypted ones are, for the disks of many virtual machines do not write zeros at all. Prints one line a bar: what, the
figure seen, the bar. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import http.client
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

MIB = 1024 * 1024
SMALL_BYTES = 1000
CLIENTS = 8
PART_MIB, PARTS_AT_ONCE = 32, 4


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
        self.pid: int = ready["pid"]
        self.keys = {
            "aws_access_key_id": ready["access_key_id"],
            "aws_secret_access_key": ready["secret_access_key"],
        }
        self._credentials = Credentials(*self.keys.values())

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


def put_in_parts(to: Server, size_mib: int) -> float:
    """As put_large, in parts of PART_MIB over PARTS_AT_ONCE connections, completed."""
    block = os.urandom(MIB)
    with closing(http.client.HTTPConnection(to.host)) as connection:
        begun = to.send(connection, "POST", "parts?uploads=", to.signed("POST", "parts?uploads=")).read().decode()
        upload = begun.partition("<UploadId>")[2].partition("<")[0]

    def put(number: int) -> str:
        path = f"parts?partNumber={number}&uploadId={upload}"
        headers = to.signed("PUT", path) | {"content-length": str(PART_MIB * MIB)}
        with closing(http.client.HTTPConnection(to.host, blocksize=256 * 1024)) as connection:
            answer = to.send(connection, "PUT", path, headers, (block for _ in range(PART_MIB)))
            answer.read()
            return f"<Part><PartNumber>{number}</PartNumber><ETag>{answer.headers['etag']}</ETag></Part>"

    began = time.perf_counter()
    with ThreadPoolExecutor(PARTS_AT_ONCE) as clients:
        parts = "".join(clients.map(put, range(1, size_mib // PART_MIB + 1)))
    path, body = f"parts?uploadId={upload}", f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
    with closing(http.client.HTTPConnection(to.host)) as connection:
        to.send(connection, "POST", path, to.signed("POST", path), body).read()
    return size_mib / (time.perf_counter() - began)


def get_in_ranges(to: Server, size_mib: int) -> float:
    """As get_large, in ranges of PART_MIB over PARTS_AT_ONCE connections."""

    def get(number: int) -> int:
        start = number * PART_MIB * MIB
        headers = to.signed("GET", "large") | {"range": f"bytes={start}-{start + PART_MIB * MIB - 1}"}
        with closing(http.client.HTTPConnection(to.host)) as connection:
            answer, buffer, seen = to.send(connection, "GET", "large", headers), bytearray(MIB), 0
            while count := answer.readinto(buffer):
                seen += count
            return seen

    began = time.perf_counter()
    with ThreadPoolExecutor(PARTS_AT_ONCE) as clients:
        seen = sum(clients.map(get, range(size_mib // PART_MIB)))
    assert seen == size_mib * MIB, seen
    return size_mib / (time.perf_counter() - began)


def transfers(to: Server, source: Path, folder: Path) -> dict[str, Callable[[], object]]:
    """What people use, by name: boto3's transfers, and the AWS CLI where it is installed."""
    s3 = boto3.client("s3", endpoint_url=to.url, region_name=to.region, **to.keys)
    found: dict[str, Callable[[], object]] = {
        "boto3 upload_file": lambda: s3.upload_file(str(source), to.bucket, "boto3"),
        "boto3 download_file": lambda: s3.download_file(to.bucket, "boto3", str(folder / "down")),
    }
    if program := shutil.which("aws"):
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        environment = {
            **os.environ,
            **dict(zip(names, to.keys.values(), strict=True)),
            "AWS_ENDPOINT_URL": to.url,
            "AWS_REGION": to.region,
        }

        def copy(*words: str) -> Callable[[], object]:
            command = [program, "s3", "cp", "--only-show-errors", *words]
            return lambda: subprocess.run(command, env=environment, check=True)

        url = f"s3://{to.bucket}/cli"
        found |= {"aws s3 cp up": copy(str(source), url), "aws s3 cp down": copy(url, str(folder / "down"))}
    return found


def timed(size_mib: int, what: Callable[[], object]) -> float:
    began = time.perf_counter()
    what()
    return size_mib / (time.perf_counter() - began)


def cpu_s(pid: int) -> float:
    """Seconds of CPU that the process and all below it have used; those that have ended are left out."""
    ticks, parents = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            number = int(stat.parent.name)
            parents[number], ticks[number] = int(fields[1]), int(fields[11]) + int(fields[12])
    ours = {pid}
    while more := {each for each, parent in parents.items() if parent in ours} - ours:
        ours |= more
    return sum(ticks.get(each, 0) for each in ours) / os.sysconf("SC_CLK_TCK")


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
    parser.add_argument("--large-only", action="store_true", help="only the large bodies")
    parser.add_argument("--folder", type=Path, help="where the data and dd's file go; the disk to measure")
    options = parser.parse_args()
    objects, size_mib, rounds = (5_000, 256, 3) if options.quick else (100_000, 512, 5)
    with tempfile.TemporaryDirectory(prefix="kedge-bench-", dir=options.folder) as name:
        folder = Path(name)
        with server(folder) as to:
            if not options.large_only:
                small(to, objects)
            large(to, folder, size_mib, rounds)


def small(to: Server, objects: int) -> None:
    rate = small_puts(to, objects, "small")
    say(f"small puts, {objects:,} of {SMALL_BYTES} bytes, {CLIENTS} clients, fsync", rate, "put/s", ">= 200")
    say("small puts, one client after the other's answer", one_client(to), "put/s", "-")
    took = list_pages(to, objects // 1000)
    say(f"a page of 1,000 keys of {objects:,}, median", statistics.median(took), "ms", "<= 50")
    say(f"a page of 1,000 keys of {objects:,}, slowest", max(took), "ms", "<= 50")


def large(to: Server, folder: Path, size_mib: int, rounds: int) -> None:
    """Each thing once a round, one after the other, so that all see the same machine."""
    beside, source = f"of={folder / 'dd'}", by_chance(folder / "source", size_mib)
    back = f"if={folder / 'dd'}"
    ways: dict[str, Callable[[], float]] = {
        "dd conv=fsync": lambda: dd(f"if={source}", beside, "conv=fsync", size_mib=size_mib),
        "dd oflag=direct": lambda: dd(f"if={source}", beside, "oflag=direct", "conv=fsync", size_mib=size_mib),
        "put": lambda: put_large(to, size_mib),
        f"put in parts of {PART_MIB} MiB, {PARTS_AT_ONCE} at once": lambda: put_in_parts(to, size_mib),
        "dd of what is not cached": lambda: dd(back, "of=/dev/null", size_mib=size_mib),
        "get": lambda: get_large(to, size_mib),
        f"get in ranges of {PART_MIB} MiB, {PARTS_AT_ONCE} at once": lambda: get_in_ranges(to, size_mib),
    }
    for name, what in transfers(to, source, folder).items():
        ways[name] = functools.partial(timed, size_mib, what)
    seen: dict[str, list[float]] = {name: [] for name in ways}
    cpu = dict.fromkeys(ways, 0.0)
    for _ in range(rounds):
        for name, way in ways.items():
            drop_cached(folder)
            dd(f"if={source}", "of=/dev/null", size_mib=size_mib)  # so that what is written lies in memory
            before = cpu_s(to.pid)
            seen[name].append(way())
            cpu[name] += cpu_s(to.pid) - before
    medians = {name: statistics.median(each) for name, each in seen.items()}
    for name, median in medians.items():
        dds = name.startswith("dd")
        reads = "get" in name or "down" in name
        half = medians["dd of what is not cached" if reads else "dd conv=fsync"] / 2
        cost = "" if dds else f"; the server's CPU {1000 * cpu[name] / rounds / size_mib:.2f} ms a MiB"
        say(f"{name}, {size_mib} MiB", median, "MiB/s", "-" if dds else f">= {half:.0f}{cost}")


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
