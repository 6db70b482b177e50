"""What data capture costs the router, and whether it keeps up: `python -m benchmarks.capture [--quick]`.

A server of its own, unsigned, with one gradient-boosted model behind two endpoints: one captures every request, the
other one none.

1. CPU of the router per request, 64 connections, in pairs of runs that take turns; also that of the capture process.
2. 2,000 requests/s for 60 s on the captured endpoint: how many records were dropped, and how many came to S3.

Prints one line a bar: what, the figure seen, the bar. The load comes from a process of its own, which never retries.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import pickle
import statistics
import subprocess
import sys
import tarfile
import time
from collections import deque
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import boto3
import uvloop
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import GradientBoostingClassifier

ROWS, LABELS = load_breast_cancer(return_X_y=True)
CONNECTIONS = 64
RATE_PER_S = 2000
PLAIN, CAPTURED = "plain", "captured"


class Server:
    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "kedge", "up", "--json", "--ephemeral", "--insecure-no-auth", "--api-port", "0",
             "--inference-port", "0", "--until-stdin-closes"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stdout is not None
        self.ready: dict[str, Any] = json.loads(self._process.stdout.readline())
        self.bucket = f"sagemaker-{self.ready['region']}-{self.ready['account']}"
        self.s3, self.sagemaker = self._client("s3"), self._client("sagemaker")

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)

    def _client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.ready["api_url"],
            region_name=self.ready["region"],
            aws_access_key_id=self.ready["access_key_id"],
            aws_secret_access_key=self.ready["secret_access_key"],
        )

    def endpoints(self) -> None:
        out, data = io.BytesIO(), pickle.dumps(GradientBoostingClassifier(random_state=0).fit(ROWS, LABELS))
        with tarfile.open(fileobj=out, mode="w:gz") as tar:
            member = tarfile.TarInfo("model.pkl")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        self.s3.put_object(Bucket=self.bucket, Key="model.tar.gz", Body=out.getvalue())
        container = {"Image": "kedge/sklearn", "ModelDataUrl": f"s3://{self.bucket}/model.tar.gz"}
        self.sagemaker.create_model(ModelName="gbdt", PrimaryContainer=container)
        variant = {"VariantName": "v", "ModelName": "gbdt", "InitialInstanceCount": 1, "InstanceType": "ml.t3.medium"}
        capture = {
            "InitialSamplingPercentage": 100,
            "DestinationS3Uri": f"s3://{self.bucket}/captured",
            "CaptureOptions": [{"CaptureMode": "InputAndOutput"}],
            "CaptureContentTypeHeader": {"JsonContentTypes": ["application/json"]},
        }
        for name, more in ((PLAIN, {}), (CAPTURED, {"DataCaptureConfig": capture})):
            self.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant], **more)
            self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
            self.sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name, WaiterConfig={"Delay": 1})

    def load(self, endpoint: str, count: int, rate_per_s: float = 0.0) -> dict[str, Any]:
        """rate_per_s: 0 is as fast as the answers come."""
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.capture", "--load", self.ready["inference_url"], endpoint, str(count),
             str(rate_per_s)],
            check=True, capture_output=True, timeout=300,
        )  # fmt: skip
        found: dict[str, Any] = json.loads(done.stdout)
        assert found["errors"] == 0, found
        return found

    def pid(self, role: str) -> int:
        done = subprocess.run(
            [sys.executable, "-m", "kedge", "status", "--json", "--data", self.ready["data_dir"]],
            check=True, capture_output=True,
        )  # fmt: skip
        return next(each["pid"] for each in json.loads(done.stdout)["roles"] if each["role"] == role)

    def counts(self) -> dict[str, Any]:
        with urlopen(f"{self.ready['inference_url']}/kedge/health") as answer:
            found: dict[str, Any] = json.load(answer)["capture"]
        return found

    def records_on_s3(self) -> int:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix="captured/")
        keys = [each["Key"] for page in pages for each in page.get("Contents", [])]
        return sum(self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read().count(b"\n") for key in keys)


def cpu_us(pid: int) -> float:
    """On a core, all threads. Finer than the ticks of /proc/PID/stat."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1000


class Connection(asyncio.Protocol):
    """One request at a time; the next one when `ask` is called."""

    def __init__(self, requests: list[bytes], answered: Any) -> None:
        self._requests, self._answered = requests, answered
        self._held = b""
        self.asked = 0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def ask(self) -> None:
        self._transport.write(self._requests[self.asked % len(self._requests)])
        self.asked += 1

    def data_received(self, data: bytes) -> None:
        self._held += data
        head, found, body = self._held.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        if len(body) >= length:
            self._held = b""
            self._answered(self, head.startswith(b"HTTP/1.1 200"))


async def generate(url: str, endpoint: str, count: int, rate_per_s: float) -> None:
    """Prints {"seconds", "errors"} once `count` requests were answered."""
    address = urlsplit(url)
    requests = []
    for row in ROWS:
        body = json.dumps([list(row)]).encode()
        head = f"POST /endpoints/{endpoint}/invocations HTTP/1.1\r\nhost: {address.netloc}\r\n"
        requests.append(f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    asked = answered = errors = 0
    idle: deque[Connection] = deque()
    """In turn: one that is never asked is closed by the server after a while."""

    def answer(connection: Connection, good: bool) -> None:
        nonlocal answered, errors
        answered += 1
        errors += not good
        if answered == count:
            done.set()
        idle.append(connection)
        if not rate_per_s:
            ask()

    def ask() -> None:
        nonlocal asked
        while idle and asked < count and (not rate_per_s or asked < (loop.time() - began) * rate_per_s):
            asked += 1
            idle.popleft().ask()

    for _ in range(CONNECTIONS):
        _, connection = await loop.create_connection(
            lambda: Connection(requests, answer), address.hostname, address.port
        )
        idle.append(connection)
    began = loop.time()
    while not done.is_set():
        ask()
        if rate_per_s:
            await asyncio.sleep(0.002)
        else:
            await done.wait()
    print(json.dumps({"seconds": loop.time() - began, "errors": errors}))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--load", nargs=4, metavar=("URL", "ENDPOINT", "COUNT", "RATE"))
    options = parser.parse_args()
    if options.load:
        url, endpoint, count, rate = options.load
        uvloop.run(generate(url, endpoint, int(count), float(rate)))
        return
    pairs, requests, seconds = (4, 2000, 10) if options.quick else (24, 4000, 60)
    server = Server()
    try:
        server.endpoints()
        router, capture = server.pid("router"), server.pid("capture")
        for endpoint in (PLAIN, CAPTURED):
            server.load(endpoint, 2000)
        differences, levels, beside = [], [], []
        for pair in range(pairs):
            spent = {}
            for endpoint in (PLAIN, CAPTURED) if pair % 2 else (CAPTURED, PLAIN):
                before, before_beside = cpu_us(router), cpu_us(capture)
                server.load(endpoint, requests)
                time.sleep(0.3)  # the capture process comes to its end too
                spent[endpoint] = (cpu_us(router) - before) / requests
                if endpoint == CAPTURED:
                    beside.append((cpu_us(capture) - before_beside) / requests)
            differences.append(spent[CAPTURED] - spent[PLAIN])
            levels.append(spent[PLAIN])
        low, _, high = statistics.quantiles(differences, n=4)
        print(
            f"router CPU a request: without {statistics.median(levels):.1f} us, capture adds "
            f"{statistics.median(differences):.1f} us (quartiles {low:.1f} to {high:.1f}, {pairs} pairs), bar 6 us"
        )
        print(f"capture process CPU a request: {statistics.median(beside):.1f} us")
        before = server.counts()
        on_s3_before = before["taken"]
        found = server.load(CAPTURED, RATE_PER_S * seconds, RATE_PER_S)
        after = server.counts()
        taken, dropped = after["taken"] - before["taken"], after["dropped"] - before["dropped"]
        rate = RATE_PER_S * seconds / found["seconds"]
        print(f"at {rate:.0f} requests/s for {found['seconds']:.0f} s: {taken} taken, {dropped} dropped, bar 0")
        time.sleep(12.0)
        print(f"records on S3: {server.records_on_s3() - on_s3_before} of {taken}")
    finally:
        server.close()


if __name__ == "__main__":
    main()
