"""What clients were told, to be compared with what the server has when its processes were killed meanwhile."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from .clients import role_pids
from .conftest import Server, until

FIRST = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(days=13)


class Puts:
    """A client that gives each call a minute and a number of its own, and writes down what was acknowledged."""

    def __init__(self, server: Server, name: str, ledger: Path, series: int = 5) -> None:
        """series: datums of one call."""
        self._server, self._name, self._ledger, self.series = server, name, ledger, series
        ledger.touch()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._put)
        self.calls = 0
        self.failures = 0

    def __enter__(self) -> Puts:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join(60)

    def dimensions(self, series: int) -> list[dict[str, str]]:
        return [{"Name": "Client", "Value": self._name}, {"Name": "Series", "Value": str(series)}]

    def _put(self) -> None:
        client = self._server.client("cloudwatch")
        with self._ledger.open("a") as ledger:
            while not self._stopped.is_set():
                self.calls += 1
                data = [
                    {
                        "MetricName": "m", "Dimensions": self.dimensions(series), "Value": float(self.calls),
                        "Timestamp": FIRST + timedelta(minutes=self.calls),
                    }
                    for series in range(self.series)
                ]  # fmt: skip
                try:
                    client.put_metric_data(Namespace="Ledger", MetricData=data)
                except (BotoCoreError, ClientError):
                    self.failures += 1
                    self._stopped.wait(0.05)
                    continue
                ledger.write(f"{self.calls}\n")
                ledger.flush()
                os.fsync(ledger.fileno())

    def acknowledged(self) -> set[int]:
        return {int(line) for line in self._ledger.read_text().split()}

    def kept(self, series: int) -> dict[int, tuple[float, float]]:
        """Number of the call -> (SampleCount, Sum) of its minute."""
        named = {"Namespace": "Ledger", "MetricName": "m", "Dimensions": self.dimensions(series)}
        queries = [
            {"Id": stat.lower(), "MetricStat": {"Metric": named, "Period": 60, "Stat": stat}}
            for stat in ("SampleCount", "Sum")
        ]
        asked = {"MetricDataQueries": queries, "StartTime": FIRST, "EndTime": FIRST + timedelta(minutes=self.calls + 1)}
        found: dict[str, dict[datetime, float]] = {}
        for page in self._server.client("cloudwatch").get_paginator("get_metric_data").paginate(**asked):
            for result in page["MetricDataResults"]:
                points = zip(result["Timestamps"], result["Values"], strict=True)
                found.setdefault(result["Id"], {}).update(points)
        return {
            round((at - FIRST).total_seconds() / 60): (count, found["sum"][at])
            for at, count in found["samplecount"].items()
        }


def data(
    server: Server, endpoint: str, namespace: str, name: str, statistic: str, variant: str = "v"
) -> dict[datetime, float]:
    """Of the last 20 minutes, by the minute."""
    now = datetime.now(UTC)
    dimensions = [{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": variant}]
    metric = {"Namespace": namespace, "MetricName": name, "Dimensions": dimensions}
    query = {"Id": "m", "MetricStat": {"Metric": metric, "Period": 60, "Stat": statistic}}
    [found] = server.client("cloudwatch").get_metric_data(
        MetricDataQueries=[query], StartTime=now - timedelta(minutes=20), EndTime=now + timedelta(minutes=1)
    )["MetricDataResults"]
    return dict(zip(found["Timestamps"], found["Values"], strict=True))


def settled(server: Server, endpoint: str, variant: str = "v") -> int:
    """How many invocations are counted, when nothing is sent any more and what was kept has come."""
    seen: list[int] = []

    def same() -> bool:
        time.sleep(0.5)
        seen.append(int(sum(data(server, endpoint, "AWS/SageMaker", "Invocations", "Sum", variant).values())))
        return len(seen) > 4 and len(set(seen[-4:])) == 1

    until(same, 60, "the end of counting")
    return seen[-1]


def back(server: Server, role: str, before: AbstractSet[int]) -> None:
    until(lambda: set(role_pids(server, role).values()) - before, 30, f"a new {role}")
