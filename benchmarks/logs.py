"""The bars of the log store: events taken in, an hour of ten million filtered, disk, and what following output costs.

    python -m benchmarks.logs [--quick] [--folder DIR]

First the store by itself, in this process: 24 hours of events of 20 streams in puts of 1,000, joined meanwhile as the
control process joins them. Then a server, driven over HTTP by requests that botocore has signed before the clock runs.
CPU is of the process that does the work. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from kedge.clock import SystemClock
from kedge.compute.base import TaskSpec
from kedge.compute.records import OUTPUT, TaskRecord, write_task
from kedge.config import Settings
from kedge.home import open_home
from kedge.logs.event_operations import MOST_EVENTS, PAGE_BYTES, SCANNED_BYTES
from kedge.logs.follower import PERIOD_S, Follower
from kedge.logs.pattern import parse
from kedge.logs.reading import Answer, Bounds, Question
from kedge.logs.store import LogStore
from kedge.store.store import Store

GROUP, STREAMS, BATCH = 1, 20, 1000
HOUR_MS = 3_600_000
BEGIN_MS = 20_000 * 24 * HOUR_MS
RARE = 100_000
"""One event of so many has the word that is looked for."""
PAGE = Bounds(MOST_EVENTS, PAGE_BYTES, SCANNED_BYTES)
WORDS = ["request", "served", "latency", "model", "batch", "worker", "predict", "shape", "ok", "cache", "loaded", "row"]


def batches(count: int) -> Iterator[tuple[str, list[int], list[str]]]:
    draw = random.Random(1)
    texts = [f"{' '.join(draw.choices(WORDS, k=12))} id={draw.getrandbits(64):016x}" for _ in range(5000)]
    for first in range(0, count, BATCH):
        numbers = range(first, min(first + BATCH, count))
        at_ms = [BEGIN_MS + number * 24 * HOUR_MS // count for number in numbers]
        messages = [
            f"{number} ERROR needle"
            if number % RARE == 77
            else f"2026-11-28 INFO {number} {texts[number * 7919 % 5000]}"
            for number in numbers
        ]
        yield f"stream-{first // BATCH % STREAMS}", at_ms, messages


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def say(what: str, seen: str, bar: str = "") -> None:
    print(f"{what:58} {seen:34} {bar}", flush=True)


def fill(store: LogStore, count: int) -> None:
    putting, joining = [0.0, 0.0], [0.0, 0.0]

    def timed(into: list[float], work: Callable[[], object]) -> None:
        wall, cpu = time.perf_counter(), cpu_s()
        work()
        into[0] += time.perf_counter() - wall
        into[1] += cpu_s() - cpu

    for number, (stream, at_ms, messages) in enumerate(batches(count)):
        timed(putting, lambda: store.put(GROUP, stream, at_ms, messages, at_ms[-1], create=True))  # noqa: B023
        if number % 200 == 199:
            timed(joining, lambda: all(iter(store.join, False)))
            timed(joining, store.flush)
    say("put, events per second of the clock / of CPU", f"{count / putting[0]:,.0f} / {count / putting[1]:,.0f}")
    whole = [put + join for put, join in zip(putting, joining, strict=True)]
    say("put and joined", f"{count / whole[0]:,.0f} / {count / whole[1]:,.0f}", ">= 50,000 a second")


def every(store: LogStore, question: Question) -> int:
    """How many events, over as many pages as FilterLogEvents would need."""
    found = 0
    while True:
        answer: Answer = store.read(question, PAGE)
        found += len(answer.events)
        if answer.rest is None:
            return found
        question = Question(**{**vars(question), "after": answer.rest})


def ask(what: str, question: Callable[[], object], bar: str = "") -> None:
    wall_ms, cpu_ms = [], []
    for _ in range(5):
        began, used = time.perf_counter(), cpu_s()
        found = question()
        wall_ms.append((time.perf_counter() - began) * 1000)
        cpu_ms.append((cpu_s() - used) * 1000)
    say(what, f"{sorted(wall_ms)[2]:.0f} ms, CPU {sorted(cpu_ms)[2]:.0f} ms, {found} events", bar)


def of_store(folder: Path, count: int) -> None:
    path = folder / "logs.db"
    store = LogStore(path)
    fill(store, count)
    hour = {"start_ms": BEGIN_MS + 10 * HOUR_MS, "end_ms": BEGIN_MS + 11 * HOUR_MS}
    one, two = parse("needle"), parse("ERROR needle")
    ask("one hour filtered, a rare word", lambda: every(store, Question(GROUP, **hour, pattern=one)), "<= 1 s")
    ask("one hour filtered, two words", lambda: every(store, Question(GROUP, **hour, pattern=two)), "<= 1 s")
    ask("all of it filtered, a rare word", lambda: every(store, Question(GROUP, pattern=one)))
    ask("one page of all streams, 10,000 events", lambda: len(store.read(Question(GROUP, **hour), PAGE).events))
    stream = store.stream(GROUP, "stream-3")
    assert stream is not None
    newest = Question(GROUP, [stream.id], newest_first=True)
    ask("the newest 1,000 of a stream", lambda: len(store.read(newest, Bounds(1000, PAGE_BYTES, 2**62)).events))
    store.close()
    say("disk", f"{path.stat().st_size / count:.0f} bytes an event")
    say("memory, at most", f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB")


def of_following(folder: Path, endpoints: int) -> None:
    home = open_home(Settings(data_dir=folder / "follow"))
    store, logs = Store(home.database), LogStore(home.log_store)
    labels = {"account": home.account, "region": home.region, "endpoint": "e", "variant": "v"}
    for number in range(endpoints):
        (home.tasks / f"i-{number}").mkdir()
        write_task(home, TaskRecord(TaskSpec(f"i-{number}", "base", "", "", labels=labels), "", ""))
        (home.tasks / f"i-{number}" / OUTPUT).write_text("loaded\n")
    follower = Follower(logs, store, home, SystemClock())
    follower.step()
    steps, began = 2000, cpu_s()
    for _ in range(steps):
        follower.step()
    step_s = (cpu_s() - began) / steps
    say(f"following {endpoints} idle instances", f"{step_s * 1e6:.0f} us, {step_s / PERIOD_S:.3%} of a core", "<= 1 %")
    logs.close()
    store.close()


class Server:
    def __init__(self, ready: dict[str, Any]) -> None:
        self._url, self._region = ready["api_url"].rstrip("/"), ready["region"]
        self._credentials = Credentials(ready["access_key_id"], ready["secret_access_key"])
        self.connection = http.client.HTTPConnection(urlsplit(self._url).netloc, timeout=60)

    def signed(self, operation: str, fields: dict[str, Any]) -> tuple[bytes, dict[str, str]]:
        body = json.dumps(fields).encode()
        headers = {"X-Amz-Target": f"Logs_20140328.{operation}", "Content-Type": "application/x-amz-json-1.1"}
        request = AWSRequest("POST", f"{self._url}/", headers=headers, data=body)
        SigV4Auth(self._credentials, "logs", self._region).add_auth(request)
        return body, dict(request.headers.items())

    def send(self, body: bytes, headers: dict[str, str]) -> dict[str, Any]:
        self.connection.request("POST", "/", body=body, headers=headers)
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{answer.status} {text[:300]!r}")
        return dict(json.loads(text or b"{}"))

    def control_cpu_s(self) -> float:
        self.connection.request("GET", "/kedge/health")
        pid = json.loads(self.connection.getresponse().read())["pid"]
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100


def of_server(folder: Path, calls: int) -> None:
    command = [*(sys.executable, "-m", "kedge", "up", "--json"), *("--data", str(folder / "data"))]
    process = subprocess.Popen([*command, "--api-port", "0", "--inference-port", "0"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        server = Server(json.loads(process.stdout.readline()))
        server.send(*server.signed("CreateLogGroup", {"logGroupName": "g"}))
        server.send(*server.signed("CreateLogStream", {"logGroupName": "g", "logStreamName": "s"}))
        now_ms = int(datetime.now(UTC).timestamp() * 1000)
        where = {"logGroupName": "g", "logStreamName": "s"}
        requests = []
        for _, _, messages in batches(calls * BATCH):
            events = [{"timestamp": now_ms, "message": message} for message in messages]
            requests.append(server.signed("PutLogEvents", {**where, "logEvents": events}))
        wall, cpu = time.perf_counter(), server.control_cpu_s()
        for request in requests:
            server.send(*request)
        wall, cpu = time.perf_counter() - wall, server.control_cpu_s() - cpu
        events = calls * BATCH
        say(
            "PutLogEvents, 1,000 a call, one client: wall / CPU",
            f"{events / wall:,.0f} / {events / cpu:,.0f}",
            ">= 50,000 a second",
        )
    finally:
        subprocess.run([*(sys.executable, "-m", "kedge", "down"), *("--data", str(folder / "data"))], check=True)
        process.wait()
        process.stdout.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="a tenth of the events")
    parser.add_argument("--folder", type=Path, help="where the data lies; a temporary folder by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        of_store(folder, 1_000_000 if options.quick else 10_000_000)
        of_following(folder, 20)
        of_server(folder, 50 if options.quick else 300)


if __name__ == "__main__":
    main()
