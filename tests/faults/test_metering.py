"""What is counted, while those who count it are killed: what clients were answered is their ledger."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from .clients import Clients, role_pids, send
from .conftest import Server, until
from .hosted import GOOD, running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("metering")) as started:
        yield started


def data(server: Server, namespace: str, name: str, statistic: str, period_s: int = 60) -> dict[datetime, float]:
    now = datetime.now(UTC)
    dimensions = [{"Name": "EndpointName", "Value": GOOD}, {"Name": "VariantName", "Value": "v"}]
    metric = {"Namespace": namespace, "MetricName": name, "Dimensions": dimensions}
    query = {"Id": "m", "MetricStat": {"Metric": metric, "Period": period_s, "Stat": statistic}}
    [found] = server.client("cloudwatch").get_metric_data(
        MetricDataQueries=[query], StartTime=now - timedelta(minutes=20), EndTime=now + timedelta(minutes=1)
    )["MetricDataResults"]
    return dict(zip(found["Timestamps"], found["Values"], strict=True))


def counted(server: Server) -> int:
    return int(sum(data(server, "AWS/SageMaker", "Invocations", "Sum").values()))


def settled(server: Server) -> int:
    """When nothing is sent any more, and what was kept has come."""
    seen: list[int] = []

    def same() -> bool:
        time.sleep(0.5)
        seen.append(counted(server))
        return len(seen) > 4 and len(set(seen[-4:])) == 1

    until(same, 60, "the end of counting")
    return seen[-1]


def back(server: Server, role: str, before: set[int]) -> None:
    until(lambda: set(role_pids(server, role).values()) - before, 30, f"a new {role}")


def test_kills_of_control_lose_nothing(server: Server):
    before = settled(server)
    with Clients(server, GOOD, 8, adds=10) as clients:
        for _ in range(4):
            pids = set(role_pids(server, "control").values())
            for pid in pids:
                send(pid)
            back(server, "control", pids)
            time.sleep(1.0)
    assert clients.errors == []
    assert clients.answers > 500
    assert settled(server) - before == clients.answers
    assert sum(data(server, "AWS/SageMaker", "ModelLatency", "SampleCount").values()) >= clients.answers


def test_while_control_is_away_nothing_is_lost_but_a_killed_routers_last_second(server: Server):
    before = settled(server)
    (control,) = role_pids(server, "control").values()
    (router,) = role_pids(server, "router").values()
    os.kill(control, signal.SIGSTOP)
    try:
        with Clients(server, GOOD, 8, adds=10) as clients:
            time.sleep(1.7)
            kill = send(router)
    finally:
        with contextlib.suppress(ProcessLookupError):  # the supervisor may have taken it for dead
            os.kill(control, signal.SIGKILL)
    back(server, "control", {control})
    back(server, "router", {router})
    lost = before + clients.answers - settled(server)
    last = sum(kill.began_s - 1.2 <= at_s <= kill.over_s for at_s in clients.good_at_s)
    print(f"{lost} of {clients.answers} are lost; {last} were answered in the last second")
    # A request that was counted and whose answer the client did not get any more is more, not less.
    assert -8 <= lost <= last < clients.answers


@pytest.mark.parametrize("who", ["router", "everybody"])
def test_a_kill_loses_a_second_at_most(server: Server, who: str):
    before = settled(server)
    with Clients(server, GOOD, 8, adds=10) as clients:
        time.sleep(2.5)
        if who == "router":
            (router,) = role_pids(server, "router").values()
            began_s = send(router).began_s
            back(server, "router", {router})
        else:
            began_s = time.monotonic()
            server.kill_everything()
        over_s = time.monotonic()
    if who == "everybody":
        server.up()
    lost = before + clients.answers - settled(server)
    last = sum(began_s - 1.2 <= at_s <= over_s for at_s in clients.good_at_s)
    print(f"{who}: {lost} of {clients.answers} are lost; {last} were answered in the last second")
    assert -8 <= lost <= last < clients.answers


def test_what_instances_use_is_told(server: Server):
    def found() -> dict[str, float]:
        names = ("CPUUtilization", "MemoryUtilization", "DiskUtilization")
        told = {name: data(server, "/aws/sagemaker/Endpoints", name, "Maximum") for name in names}
        return {name: max(points.values()) for name, points in told.items() if points}

    with Clients(server, GOOD, 4, adds=10):
        until(lambda: len(found()) == 3 and found()["CPUUtilization"] > 1, 60, "what instances use")
    assert 0 < found()["MemoryUtilization"] < 100
    assert 0 < found()["DiskUtilization"] <= 100
