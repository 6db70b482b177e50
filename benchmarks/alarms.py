"""What it costs to watch thousands of alarms, and how late a breach is seen.

    scripts/bench alarms [--short 500] [--long 4500] [--seconds 130] [--changing 25]

The controller runs as in the control process, on durable stores in a temporary folder, in a thread whose processor time
is counted. Another thread measures: a value a second for each alarm of 10 s, one every 10 s for each of 60 s. In each
period, --changing of the alarms of 10 s go to another state than they had. Lateness is from the end of the period to
the time that the transition carries, which is just before its commit.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kedge.alarms.controller import Controller
from kedge.alarms.records import HISTORY, METRIC, Alarm
from kedge.clock import SystemClock
from kedge.metrics.series import Datum, Metric, Summary
from kedge.metrics.store import MetricStore
from kedge.store.lease import Lease
from kedge.store.records import Author, Scope
from kedge.store.store import Store

SCOPE = Scope("111122223333", "us-east-1")
THRESHOLD = 50.0


@dataclass
class Spent:
    cpu_s: float = 0.0
    passes: int = 0
    longest_s: float = 0.0
    first_s: float = 0.0
    failures: list[str] = field(default_factory=list)


def config(name: str, period_s: int) -> dict[str, Any]:
    return {
        "AlarmName": name, "ActionsEnabled": True, "Namespace": "bench", "MetricName": name, "Dimensions": [],
        "Statistic": "Maximum", "Period": period_s, "EvaluationPeriods": 1 if period_s == 10 else 3,
        "Threshold": THRESHOLD, "ComparisonOperator": "GreaterThanThreshold", "TreatMissingData": "ignore",
        "AlarmActions": [f"arn:aws:sns:{SCOPE.region}:{SCOPE.account}:told"], "OKActions": [],
        "InsufficientDataActions": [],
    }  # fmt: skip


def put(store: Store, clock: SystemClock, names: dict[str, int]) -> None:
    now = clock.now()
    with store.transaction(Author("bench", "", now)) as tx:
        for name, period_s in names.items():
            alarm = Alarm(config(name, period_s), now.timestamp(), transitioned_at_s=now.timestamp())
            tx.insert(SCOPE, METRIC, name, alarm.document(), "OK")


def measure(metrics: MetricStore, names: dict[str, int], changing: int, until_s: float) -> None:
    """Until then. Of the alarms of 10 s a few change: those that breach in one period are others than in the next."""
    short = [name for name, period_s in names.items() if period_s == 10]
    long = [name for name, period_s in names.items() if period_s != 10]
    second = int(time.time())
    while (now_s := time.time()) < until_s:
        due = [*short, *long[second % 10 :: 10]]
        turn = second // 10
        high = {short[(turn * changing + each) % len(short)] for each in range(changing)} if short else set()
        metrics.put(
            [
                Datum(
                    Metric(SCOPE.account, SCOPE.region, "bench", name, ()),
                    "None",
                    now_s,
                    1 if names[name] == 10 else 60,
                    Summary.one(2 * THRESHOLD if name in high else 1.0),
                )
                for name in due
            ]
        )  # fmt: skip
        second += 1
        time.sleep(max(0.0, second + 0.05 - time.time()))


def watch(controller: Controller, held: tuple[str, int], until_s: float, spent: Spent) -> None:
    while time.time() < until_s:
        began_s, cpu_s = time.perf_counter(), time.thread_time()
        due_s = controller.look(held)
        took_s = time.perf_counter() - began_s
        if not spent.passes:
            spent.first_s = took_s  # reads every alarm
        else:
            spent.cpu_s += time.thread_time() - cpu_s
            spent.longest_s = max(spent.longest_s, took_s)
        spent.passes += 1
        time.sleep(due_s)


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench alarms", description=__doc__.split("\n")[0])
    parser.add_argument("--short", type=int, default=500)
    parser.add_argument("--long", type=int, default=4500)
    parser.add_argument("--seconds", type=float, default=130.0)
    parser.add_argument("--changing", type=int, default=25)
    options = parser.parse_args()
    names = {f"s{n}": 10 for n in range(options.short)} | {f"l{n}": 60 for n in range(options.long)}
    with tempfile.TemporaryDirectory(prefix="kedge-bench-") as folder:
        clock = SystemClock()
        store, metrics = Store(Path(folder) / "kedge.db"), MetricStore(Path(folder) / "metrics.db", clock)
        put(store, clock, names)
        lease = Lease(store, "alarms", "bench", clock, ttl_s=3600)
        assert lease.hold()
        assert lease.held is not None
        controller = Controller(store, metrics.read, clock, lease)
        spent, until_s = Spent(), time.time() + options.seconds
        feeding = threading.Thread(target=measure, args=(metrics, names, options.changing, until_s))
        feeding.start()
        began_s = time.monotonic()
        watch(controller, lease.held, until_s, spent)
        took_s = time.monotonic() - began_s - spent.first_s
        feeding.join()
        report(store, spent, took_s, options)
        metrics.close()
        store.close()


def report(store: Store, spent: Spent, took_s: float, options: argparse.Namespace) -> None:
    lines = store.notes(SCOPE, HISTORY, limit=1_000_000)
    late_s = sorted(line.at.timestamp() % 10 for line in lines if line.name.startswith("s"))
    print(f"{options.short} alarms of 10 s, {options.long} of 60 s, for {took_s:.0f} s")
    print(f"processor time of the controller: {100 * spent.cpu_s / took_s:.1f} % of a core")
    print(f"passes: {spent.passes}, the longest {spent.longest_s:.2f} s, the first {spent.first_s:.2f} s")
    if late_s:
        print(f"transitions: {len(lines)}, seen {late_s[len(late_s) // 2]:.2f} s (median) to {late_s[-1]:.2f} s late")


if __name__ == "__main__":
    main()
