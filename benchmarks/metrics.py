"""The bars of the metric store: what a value costs the server, how soon it is read, what a series takes on the disk.

    scripts/bench metrics [--quick] [--folder DIR]

Puts come from clients that keep their connections and send requests signed and encoded before the clock runs, so that
what is measured is the server; what counts is the CPU time of the control process, background work included, in
values for each second of it. Every put is answered after its commit. Prints one line a bar: what, the figure seen, the
bar. The figures are of a shared machine unless nothing else runs.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from kedge.clock import SystemClock
from kedge.metrics.series import Datum, Summary, metric
from kedge.metrics.store import MetricStore

CLIENTS = 4
TARGET = "GraniteServiceVersion20100801.PutMetricData"


@dataclass
class Server:
    ready: dict[str, Any]
    pid: int

    def client(self) -> Any:
        return boto3.client(
            "cloudwatch", endpoint_url=self.ready["api_url"], region_name=self.ready["region"],
            aws_access_key_id=self.ready["access_key_id"], aws_secret_access_key=self.ready["secret_access_key"],
        )  # fmt: skip

    def signed(self, request: dict[str, Any]) -> tuple[dict[str, str], bytes]:
        """What boto3 sends for PutMetricData."""
        body = json.dumps(request).encode()
        headers = {"content-type": "application/x-amz-json-1.0", "x-amz-target": TARGET, "x-amzn-query-mode": "true"}
        asked = AWSRequest("POST", self.ready["api_url"], data=body, headers=headers)
        credentials = Credentials(self.ready["access_key_id"], self.ready["secret_access_key"])
        SigV4Auth(credentials, "monitoring", self.ready["region"]).add_auth(asked)
        return dict(asked.headers.items()), body

    def cpu_s(self) -> float:
        """Of the control process, all its threads."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def server(folder: Path) -> Iterator[Server]:
    command = [*(sys.executable, "-m", "kedge", "up", "--json"), *("--data", str(folder / "data"))]
    process = subprocess.Popen([*command, "--api-port", "0", "--inference-port", "0"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        ready = json.loads(process.stdout.readline())
        with contextlib.closing(http.client.HTTPConnection(urlsplit(ready["api_url"]).netloc)) as connection:
            connection.request("GET", "/kedge/health")
            pid = json.loads(connection.getresponse().read())["pid"]
        yield Server(ready, pid)
    finally:
        down = [*(sys.executable, "-m", "kedge", "down"), *("--data", str(folder / "data"))]
        subprocess.run(down, check=False, stdout=subprocess.DEVNULL)
        process.wait(60)
        process.stdout.close()


def say(what: str, seen: float, unit: str, bar: str) -> None:
    print(f"{what:72} {seen:10.1f} {unit:14} bar {bar}", flush=True)


def datum(number: int, **values: Any) -> dict[str, Any]:
    dimensions = [{"Name": "Host", "Value": f"host-{number % 50}"}, {"Name": "Disk", "Value": f"disk-{number // 50}"}]
    about = {"MetricName": "Latency", "Dimensions": dimensions, "Unit": "Milliseconds", "Timestamp": time.time()}
    return {**about, **values}


def puts(to: Server, requests: list[dict[str, Any]], values: int) -> tuple[float, float, float]:
    """(values for each CPU second of the server, values a second, milliseconds of the median put)."""
    made = [to.signed(request) for request in requests]
    parts = [made[client::CLIENTS] for client in range(CLIENTS)]
    took: list[float] = []

    def send(mine: list[tuple[dict[str, str], bytes]]) -> None:
        connection = http.client.HTTPConnection(urlsplit(to.ready["api_url"]).netloc)
        for headers, body in mine:
            began = time.perf_counter()
            connection.request("POST", "/", body, headers)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 200:
                raise RuntimeError(f"{answer.status} {text!r}")
            took.append(time.perf_counter() - began)
        connection.close()

    cpu_s, began = to.cpu_s(), time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(send, parts))
    passed_s = time.perf_counter() - began
    cpu_s = to.cpu_s() - cpu_s
    return values / cpu_s, values / passed_s, 1000 * statistics.median(took)


def puts_of_many_series(to: Server, calls: int) -> None:
    draw = random.Random(1)
    requests = [
        {
            "Namespace": "Bench",
            "MetricData": [datum(20 * (call % 50) + n, Value=draw.random() * 100) for n in range(20)],
        }
        for call in range(calls)
    ]
    report("20 datums a call, of 1,000 series", puts(to, requests, 20 * calls), 10_000)


def puts_of_many_values(to: Server, calls: int) -> None:
    draw = random.Random(2)
    requests = [
        {
            "Namespace": "Bench",
            "MetricData": [datum(call % 1000, Values=[round(draw.random() * 100, 3) for _ in range(20)])],
        }
        for call in range(calls)
    ]
    report("1 datum of 20 values a call, of 1,000 series", puts(to, requests, 20 * calls), 20_000)


def report(what: str, seen: tuple[float, float, float], bar: int) -> None:
    say(f"put, {what}", seen[0], "values/CPU-s", f">= {bar:,}")
    say(f"put, {what}, {CLIENTS} clients", seen[1], "values/s", "-")
    say(f"put, {what}, median", seen[2], "ms", "-")


def fill(path: Path, scope: tuple[str, str], series: int, days: int, known: int) -> tuple[float, float]:
    """A store with that much in it. (bytes for each series and day, datapoints for each CPU second of the last day).

    All days but the last are written by SQL, in the order of time as they would have come, and as if only the last day
    were to be rolled up: what is read below is minutes.
    """
    clock, draw = SystemClock(), random.Random(3)
    now_s = int(clock.now().timestamp()) // 300 * 300

    def datum_of(number: int, at_s: int) -> Datum:
        dimensions = [("Host", f"host-{number % 50}"), ("Disk", f"disk-{number // 50}")]
        of = metric(*scope, "Bench", "Latency", dimensions)
        return Datum(of, "Milliseconds", at_s, 60, Summary.one(draw.random() * 100))

    def house_is_kept() -> None:
        while store.keep_house():
            pass

    store = MetricStore(path, clock, durable=False)
    store.put([datum_of(number, now_s - 86400) for number in range(series)])
    store.close()
    begin, last_day = (now_s - days * 86400) // 300, (now_s - 86400) // 300
    file = sqlite3.connect(path, isolation_level=None)
    file.execute("PRAGMA synchronous = OFF")
    for chunk in range(begin, last_day):
        file.execute(
            "INSERT INTO point_60 SELECT ?, series.id, slot, (random() & 1048575) / 10485.75 FROM series, "
            "(SELECT 0 AS slot UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4) ORDER BY series.id, slot",
            (chunk,),
        )
    for tier in range(3):
        file.execute("REPLACE INTO mark VALUES (?, ?, 0)", (tier, (now_s - 86400) // (60, 300, 3600)[tier]))
    file.close()
    store = MetricStore(path, clock, durable=False)
    cpu_s = time.process_time()
    for minute in range(1, 1440):
        store.put([datum_of(number, now_s - 86400 + 60 * minute) for number in range(series)])
        if minute % 60 == 0:
            house_is_kept()
    house_is_kept()
    rate = series * 1439 / (time.process_time() - cpu_s)
    store.close()
    size = path.stat().st_size / series / days
    store = MetricStore(path, clock, durable=False)
    for some in range(series, known, 1000):
        store.put([datum_of(number, now_s) for number in range(some, some + 1000)])
    house_is_kept()
    store.close()
    return size, rate


def reads(to: Server, series: int, rounds: int) -> None:
    client, draw = to.client(), random.Random(4)
    for what, hours, period_s, stat, bar in (
        ("3 h at 60 s, Average", 3, 60, "Average", "<= 30"),
        ("3 h at 60 s, p99", 3, 60, "p99", "-"),
        ("20 h at 300 s, Average", 20, 300, "Average", "-"),
        ("14 days at 60 s, Average", 336, 60, "Average", "-"),
    ):
        took, cpu_s = [], to.cpu_s()
        for _ in range(rounds):
            number = draw.randrange(series)
            dimensions = [
                {"Name": "Host", "Value": f"host-{number % 50}"}, {"Name": "Disk", "Value": f"disk-{number // 50}"}
            ]  # fmt: skip
            named = {"Namespace": "Bench", "MetricName": "Latency", "Dimensions": dimensions}
            query = {"Id": "m", "MetricStat": {"Metric": named, "Period": period_s, "Stat": stat}}
            end_s = time.time()
            began = time.perf_counter()
            found = client.get_metric_data(MetricDataQueries=[query], StartTime=end_s - hours * 3600, EndTime=end_s)
            took.append(1000 * (time.perf_counter() - began))
            values = len(found["MetricDataResults"][0]["Values"])
            assert values >= 0.9 * hours * 3600 / period_s, values
        say(f"GetMetricData by boto3, one metric, {what}, median", statistics.median(took), "ms", bar)
        say(f"GetMetricData by boto3, one metric, {what}, slowest", max(took), "ms", "-")
        cpu_ms = 1000 * (to.cpu_s() - cpu_s) / rounds
        say(f"GetMetricData by boto3, one metric, {what}, the server's CPU", cpu_ms, "ms", "-")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="less of everything: for a look, not for a claim")
    parser.add_argument("--only", choices=("puts", "reads"), help="one half of it")
    parser.add_argument("--folder", type=Path, help="where the data goes; the disk to measure")
    options = parser.parse_args()
    calls, series, days, known = (2_000, 100, 15, 10_000) if options.quick else (10_000, 1_000, 15, 100_000)
    with tempfile.TemporaryDirectory(prefix="kedge-bench-", dir=options.folder) as name:
        folder = Path(name)
        if options.only != "reads":
            with server(folder) as to:
                puts_of_many_series(to, calls // 10)  # warm
                puts_of_many_series(to, calls)
                puts_of_many_values(to, calls)
        if options.only != "puts":
            with server(folder) as to:
                account, region = to.ready["account"], to.ready["region"]
            path = folder / "data" / "metrics.db"
            path.unlink()
            size, rate = fill(path, (account, region), series, days, known)
            say(f"disk, {series:,} series, {days} days, one value a minute", size / 1000, "KB/series-day", "<= 100")
            say("datapoints put into the store without HTTP, roll-up included", rate, "/CPU-s", "-")
            with server(folder) as to:
                reads(to, series, 100)


if __name__ == "__main__":
    main()
