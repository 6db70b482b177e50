"""Metrics are put while processes are killed: what was acknowledged is there, once."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from .conftest import Server, until

CLIENTS = 3
SERIES = 5
"""Datums of one call."""
FIRST = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(days=13)


class Puts:
    """A client that gives each call a minute and a number of its own, and writes down what was acknowledged."""

    def __init__(self, server: Server, name: str, ledger: Path) -> None:
        self._server, self._name, self._ledger = server, name, ledger
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
                    for series in range(SERIES)
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


def kills(server: Server) -> Iterator[Any]:
    for _ in range(4):
        time.sleep(1.0)
        before = server.kill("control")
        until(lambda before=before: set(server.pids("control")) - set(before), what="a new control process")
        yield "control"
    time.sleep(1.0)
    server.kill_everything()
    server.up()
    yield "everything"
    time.sleep(1.0)


def test_every_acknowledged_datapoint_is_there_once(server: Server, tmp_path: Path):
    clients = [Puts(server, f"client-{n}", tmp_path / f"ledger-{n}") for n in range(CLIENTS)]
    for client in clients:
        client.__enter__()
    try:
        killed = list(kills(server))
    finally:
        for client in clients:
            client.__exit__()
    assert len(killed) == 5
    until(lambda: server.client("cloudwatch").list_metrics(), what="control's answer")
    for client in clients:
        acknowledged = client.acknowledged()
        assert len(acknowledged) > 50
        assert client.failures > 0
        for series in range(SERIES):
            kept = client.kept(series)
            assert acknowledged <= kept.keys()
            assert {number: (1.0, float(number)) for number in kept} == kept
            assert len(kept) <= client.calls
