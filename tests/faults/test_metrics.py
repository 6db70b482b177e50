"""Metrics are put while processes are killed: what was acknowledged is there, once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .conftest import Server, until
from .ledgers import Puts

CLIENTS = 3


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
        for series in range(client.series):
            kept = client.kept(series)
            assert acknowledged <= kept.keys()
            assert {number: (1.0, float(number)) for number in kept} == kept
            assert len(kept) <= client.calls
