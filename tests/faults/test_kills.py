"""What a client sees while processes are killed: design rules proved with real kills."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from .conftest import Load, Server, adding_model, until, variant


def answer(server: Server, endpoint: str, value: int) -> int:
    body = server.client("sagemaker-runtime").invoke_endpoint(
        EndpointName=endpoint, ContentType="application/json", Body=str(value)
    )["Body"]
    return int(body.read())


def lives(pid: int) -> bool:
    """False also for a process that has ended and waits for its parent to notice."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False


def test_serving_never_stops_while_control_is_killed(server):
    server.endpoint("steady")
    with Load(server, "steady") as load:
        for _ in range(5):
            before = server.kill("control")
            until(lambda before=before: set(server.pids("control")) - set(before), what="a new control process")
            time.sleep(0.5)
    assert load.errors == []
    assert load.answers > 300
    until(lambda: server.client("sagemaker").describe_endpoint(EndpointName="steady"), what="control's answer")
    assert server.client("sagemaker").describe_endpoint(EndpointName="steady")["EndpointStatus"] == "InService"


def test_a_killed_instance_is_routed_around_and_comes_back(server):
    server.endpoint("pair", instances=2)
    with Load(server, "pair") as load:
        for _ in range(3):
            victim = server.pids("instance")[0]
            os.kill(victim, 9)
            until(lambda victim=victim: len(set(server.pids("instance")) - {victim}) == 2, what="two living instances")
            time.sleep(0.3)
    assert load.errors == []
    assert load.answers > 200


def test_a_killed_router_is_back_with_the_last_table(server):
    server.endpoint("quick")
    server.kill("control")
    server.kill("router")
    assert until(lambda: answer(server, "quick", 41) == 41, what="an answer after the router's death")
    with Load(server, "quick", rate_per_s=50) as load:
        time.sleep(1.0)
    assert load.errors == []


def test_the_supervisor_can_die_and_the_next_one_adopts(server):
    server.endpoint("kept")
    instances, routers = server.pids("instance"), server.pids("router")
    with Load(server, "kept") as load:
        server.kill("supervisor")
        server.reap()
        time.sleep(0.5)
        server.up()
        until(lambda: server.pids("instance") == instances, what="the adopted instance")
        time.sleep(0.5)
    assert load.errors == []
    assert server.pids("router") == routers
    before = server.kill("instance")
    until(lambda: set(server.pids("instance")) - set(before), what="a restart by the new supervisor")
    assert until(lambda: answer(server, "kept", 1) == 1)


def test_everything_dies_and_comes_back(server):
    server.endpoint("phoenix", start=10)
    server.client("s3").put_object(Bucket=server.bucket, Key="kept/object", Body=b"bytes")
    server.kill_everything()
    server.up()
    assert until(lambda: answer(server, "phoenix", 5) == 15, timeout_s=30, what="the old endpoint's answer")
    assert server.client("s3").get_object(Bucket=server.bucket, Key="kept/object")["Body"].read() == b"bytes"
    assert server.client("sagemaker").describe_endpoint(EndpointName="phoenix")["EndpointStatus"] == "InService"


def test_down_ends_everything_even_when_the_supervisor_is_dead(server):
    server.endpoint("gone")
    pids = [*server.pids("control"), *server.pids("router"), *server.pids("instance"), *server.pids("forkserver")]
    server.kill("supervisor")
    server.down()
    until(lambda: not [pid for pid in pids if lives(pid)], what="the end of every process")


@pytest.mark.parametrize("victim", ["control", "router", "supervisor", "everything"])
def test_what_was_acknowledged_survives(server, tmp_path, victim):
    """A client writes before, while and after something is down, and notes each name that was acknowledged."""
    ledger = tmp_path / "ledger"
    ledger.touch()
    end = threading.Event()

    def write() -> None:
        sagemaker, s3 = server.client("sagemaker"), server.client("s3")
        with ledger.open("w") as file:
            number = 0
            while not end.wait(0.01):
                number += 1
                name = f"m-{number}"
                try:
                    s3.put_object(Bucket=server.bucket, Key=name, Body=name.encode() * 100)
                    sagemaker.create_model(ModelName=name, PrimaryContainer={"Image": "kedge/sklearn"})
                except Exception:  # noqa: BLE001 (not acknowledged: nothing is promised)
                    continue
                file.write(name + "\n")
                file.flush()
                os.fsync(file.fileno())

    def acknowledged() -> list[str]:
        return ledger.read_text().splitlines()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        until(lambda: len(acknowledged()) > 5, what="some acknowledged names")
        if victim == "everything":
            server.kill_everything()
            server.up()
        elif victim == "supervisor":
            server.kill("supervisor")
            server.reap()
            server.up()
        else:
            before = server.kill(victim)
            until(lambda: set(server.pids(victim)) - set(before), what=f"a new {victim}")
        seen = len(acknowledged())
        until(lambda: len(acknowledged()) > seen + 5, what="names that are acknowledged afterwards")
        time.sleep(2.0)  # a second death, or what is undone late, would show now
    finally:
        end.set()
        writer.join(60)
    s3, sagemaker = server.client("s3"), server.client("sagemaker")
    models = {
        model["ModelName"] for page in sagemaker.get_paginator("list_models").paginate() for model in page["Models"]
    }
    assert set(acknowledged()) <= models
    for name in acknowledged():
        assert s3.get_object(Bucket=server.bucket, Key=name)["Body"].read() == name.encode() * 100


def test_a_failed_update_leaves_the_old_fleet_serving(server):
    server.endpoint("careful", start=1)
    sagemaker = server.client("sagemaker")
    broken = adding_model(0)[:40]  # a gzip header and nothing behind it
    server.client("s3").put_object(Bucket=server.bucket, Key="broken.tar.gz", Body=broken)
    sagemaker.create_model(
        ModelName="broken",
        PrimaryContainer={"Image": "kedge/sklearn", "ModelDataUrl": f"s3://{server.bucket}/broken.tar.gz"},
    )
    sagemaker.create_endpoint_config(EndpointConfigName="broken", ProductionVariants=[variant("broken")])
    with Load(server, "careful", rate_per_s=50, adds=1) as load:
        sagemaker.update_endpoint(EndpointName="careful", EndpointConfigName="broken")
        described = until(
            lambda: (d := sagemaker.describe_endpoint(EndpointName="careful"))["EndpointStatus"] == "InService" and d,
            what="the end of the update",
        )
    assert described["EndpointConfigName"] == "careful-1"
    assert "broken.tar.gz" in described["FailureReason"]
    assert load.errors == []
