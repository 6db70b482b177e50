"""Metrics are put while processes are killed: what was acknowledged is there, once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .conftest import Server, until
from .ledgers import Puts

CLIENTS = 3


def kills(server: Server, clients: list[Puts]) -> Iterator[Any]:
    """Between two of them each client is heard a few times, however slow the machine is."""

    def heard() -> None:
        before = [len(client.acknowledged()) for client in clients]
        until(
            lambda: all(len(c.acknowledged()) > b + 10 for c, b in zip(clients, before, strict=True)),
            60, what="further calls that are acknowledged",
        )  # fmt: skip

    for _ in range(4):
        heard()
        before = server.kill("control")
        until(lambda before=before: set(server.pids("control")) - set(before), what="a new control process")
        yield "control"
    heard()
    server.kill_everything()
    server.up()
    yield "everything"
    heard()


def test_every_acknowledged_datapoint_is_there_once(server: Server, tmp_path: Path):
    clients = [Puts(server, f"client-{n}", tmp_path / f"ledger-{n}") for n in range(CLIENTS)]
    for client in clients:
        client.__enter__()
    try:
        killed = list(kills(server, clients))
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
