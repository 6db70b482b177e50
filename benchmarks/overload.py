"""What an endpoint does with three times the load that it can answer.

    scripts/bench overload [--service-ms 5] [--instances 1] [--times 3] [--seconds 15] [--batch] [--unsigned]

An open loop: requests come at a constant rate, whatever becomes of those before, from a process of its own over raw
connections that never retry. Each instance answers in a fixed time (with --batch, a whole batch in it). First the best
goodput is sought in a closed loop of 64 connections, which must not be refused anything, and the unloaded latency at a
third of it; then comes the overload.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.clients import Connection, percentile, signed
from tests.faults.conftest import Server, archive
from tests.faults.hosted import create, settled

SCRIPT = """
import os, time
SERVICE_S = float(os.environ["SERVICE_S"])
KEDGE_JOINABLE = os.environ["JOINS"] == "yes"
def model_fn(model_dir):
    return None
if KEDGE_JOINABLE:
    def predict_fn(rows, model):
        time.sleep(SERVICE_S)
        return rows
else:
    def transform_fn(model, body, content_type, accept):
        time.sleep(SERVICE_S)
        return body, "application/json"
"""
REQUESTS = 2048
CONNECTIONS = 64
WARM_S = 1.0
"""What is asked in the first of it is not counted."""


@dataclass
class Seen:
    began_s: float
    good: list[tuple[float, float]] = field(default_factory=list)
    """(when it was due, from sending to answer)"""
    refusals: Counter[str] = field(default_factory=Counter)
    refused_in_s: list[float] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)
    """How much later than due each request was sent: the generator's own fault."""

    def note(self, due_s: float, sent_s: float, status: int, headers: dict[str, str]) -> None:
        now_s = time.monotonic()
        self.late_s.append(sent_s - due_s)
        if status == 200:
            self.good.append((due_s, now_s - sent_s))
        else:
            self.refusals[f"{status} {headers.get('x-amzn-errortype', '')}"] += 1
            self.refused_in_s.append(now_s - sent_s)


async def open_loop(server: Server, requests: list[bytes], rate_per_s: float, seconds: float) -> Seen:
    """As many connections as it takes for no request to wait for one."""
    seen, idle, asking = Seen(time.monotonic()), [], set()

    async def one(due_s: float, request: bytes) -> None:
        connection = idle.pop() if idle else await Connection.open(server)
        sent_s = time.monotonic()
        status, headers, _ = await connection.ask(request)
        seen.note(due_s, sent_s, status, headers)
        idle.append(connection)

    for number in range(int(rate_per_s * seconds)):
        due_s = seen.began_s + number / rate_per_s
        if (early_s := due_s - time.monotonic()) > 0:
            await asyncio.sleep(early_s)
        task = asyncio.create_task(one(due_s, requests[number % len(requests)]))
        asking.add(task)
        task.add_done_callback(asking.discard)
    await asyncio.gather(*asking)
    for connection in idle:
        connection.close()
    return seen


async def closed_loop(server: Server, requests: list[bytes], connections: int, seconds: float) -> Seen:
    seen = Seen(time.monotonic())

    async def one(turn: int) -> None:
        connection = await Connection.open(server)
        while (sent_s := time.monotonic()) < seen.began_s + seconds:
            status, headers, _ = await connection.ask(requests[turn % len(requests)])
            seen.note(sent_s, sent_s, status, headers)
            turn += connections
        connection.close()

    await asyncio.gather(*(one(number) for number in range(connections)))
    return seen


def generate(server: Server, endpoint: str, load: Callable[..., Any], args: tuple[Any, ...], out: Any) -> None:
    requests = [signed(server, endpoint, b"[%d]" % number) for number in range(REQUESTS)]
    out.put(asyncio.run(load(server, requests, *args)))


def apart(server: Server, endpoint: str, load: Callable[..., Any], *args: Any) -> Seen:
    """In a process of its own."""
    context = multiprocessing.get_context("spawn")
    out = context.Queue()
    stripped = Server(server.data, ready=server.ready)
    child = context.Process(target=generate, args=(stripped, endpoint, load, args, out))
    child.start()
    seen: Seen = out.get(timeout=300)
    child.join()
    return seen


def goodput(seen: Seen, seconds: float) -> float:
    return sum(due_s >= seen.began_s + WARM_S for due_s, _ in seen.good) / (seconds - WARM_S)


def say(what: str, seen: Seen, seconds: float) -> tuple[float, float]:
    """Prints a line; (goodput, p99 of good answers in s)."""
    took = [took_s for due_s, took_s in seen.good if due_s >= seen.began_s + WARM_S]
    per_s, p50, p99 = goodput(seen, seconds), percentile(took, 0.5), percentile(took, 0.99)
    refused = ", ".join(f"{count} x {status}" for status, count in seen.refusals.most_common()) or "none"
    print(
        f"{what:44} {per_s:8.1f}/s good  p50 {p50 * 1000:7.2f} ms  p99 {p99 * 1000:7.2f} ms  refused: {refused}"
        f"  (generator late p99 {percentile(seen.late_s, 0.99) * 1000:.1f} ms)",
        flush=True,
    )
    return per_s, p99


def measure(server: Server, endpoint: str, options: argparse.Namespace) -> None:
    seconds = options.seconds
    closed = apart(server, endpoint, closed_loop, CONNECTIONS * options.instances, seconds)
    best, _ = say(f"closed loop, {CONNECTIONS * options.instances} connections", closed, seconds)
    unloaded = apart(server, endpoint, open_loop, best / 3, seconds)
    _, usual_p99 = say(f"open loop at a third, {best / 3:.0f}/s", unloaded, seconds)
    over = apart(server, endpoint, open_loop, options.times * best, seconds)
    per_s, p99 = say(f"open loop at {options.times:g} times, {options.times * best:.0f}/s", over, seconds)
    print(f"goodput {per_s / best:6.1%} of the best (bar 90 %)")
    print(f"p99 of what was answered {p99 / usual_p99:.2f} times the unloaded p99 (bar 2)")
    print(f"refused in p99 {percentile(over.refused_in_s or [0.0], 0.99) * 1000:.2f} ms")
    print(f"closed loop: {sum(closed.refusals.values())} refused (bar 0)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--service-ms", type=float, default=5.0)
    parser.add_argument("--instances", type=int, default=1)
    parser.add_argument("--times", type=float, default=3.0)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--batch", action="store_true", help="a model that answers many requests in one call")
    parser.add_argument("--unsigned", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kedge-bench-") as folder:
        server = Server(Path(folder) / "data", ("--insecure-no-auth",) if options.unsigned else ()).up()
        try:
            model = archive({"code/inference.py": SCRIPT.encode()})
            environment = {"SERVICE_S": str(options.service_ms / 1000), "JOINS": "yes" if options.batch else "no"}
            create(server, "fixed", model, environment, "ml.t3.medium", options.instances)
            found = settled(server, "fixed")
            if found["EndpointStatus"] != "InService":
                raise SystemExit(json.dumps(found, default=str))
            measure(server, "fixed", options)
        finally:
            server.down()


if __name__ == "__main__":
    main()
