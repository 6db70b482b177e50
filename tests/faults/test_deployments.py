"""What clients see while an endpoint is updated in each way, with models that are well, and with one that is not."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from .clients import ask
from .conftest import Server, until
from .deploying import Killer, at_rest, blue_green, config, create, guarded, phase, policies, size, update
from .pacing import Paced

RATE_PER_S = 100.0
KINDS = sorted(policies())
NUMBERS = count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Server(Path(tmp_path_factory.mktemp("deployments")) / "data").up()
    try:
        yield started
    finally:
        started.down()


@pytest.fixture
def endpoint(server: Server) -> Iterator[str]:
    """In service with the config of its name; NAME-new is there to update it to."""
    name = f"e{next(NUMBERS)}"
    config(server, name)
    config(server, f"{name}-new")
    create(server, name, name)
    yield name
    server.client("sagemaker").delete_endpoint(EndpointName=name)


def instances(server: Server, endpoint: str) -> list[dict[str, Any]]:
    return [each for each in server.status()["instances"] if each["labels"]["endpoint"] == endpoint]


def answered(load: Paced) -> list[bytes]:
    """The bodies, in the order in which the requests were due."""
    return [each.body for each in sorted(load.answers, key=lambda each: each.due_s)]


@pytest.mark.parametrize("kind", KINDS)
def test_no_request_fails_in_any_kind_of_deployment(server: Server, endpoint: str, kind: str):
    old, new = endpoint.encode(), f"{endpoint}-new".encode()
    with Paced(server, endpoint, RATE_PER_S) as load:
        update(server, endpoint, f"{endpoint}-new", policies()[kind])
        found = at_rest(server, endpoint)
        over_s = time.monotonic()
        time.sleep(0.3)
    assert load.failures == []
    assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", f"{endpoint}-new")
    assert "FailureReason" not in found
    assert set(answered(load)) == {old, new}
    assert {each.body for each in load.answers if each.due_s > over_s} == {new}
    until(lambda: len(instances(server, endpoint)) == 2, what="the end of the old instances")


def test_a_canary_gets_its_share_and_nothing_more(server: Server, endpoint: str):
    policy = blue_green("CANARY", 3, 0, CanarySize=size(10))
    bakes: list[float] = []

    def watch(found: dict[str, Any]) -> None:
        if phase(found).startswith("Baking") and "canary" in phase(found):
            bakes.append(time.monotonic())

    with Paced(server, endpoint, RATE_PER_S) as load:
        update(server, endpoint, f"{endpoint}-new", policy)
        at_rest(server, endpoint, watch)
    # Requests that were late near its end may have met the next step.
    within = Counter(each.body for each in load.answers if bakes[0] < each.due_s < bakes[-1] - 0.5)
    assert within[f"{endpoint}-new".encode()] == pytest.approx(within.total() / 10, abs=2)
    assert load.failures == []


def test_an_alarm_takes_a_bad_canary_back_and_only_its_share_failed(server: Server, endpoint: str):
    bad = f"bad-{endpoint}"
    config(server, bad)
    policy = guarded(server, endpoint, bad, blue_green("CANARY", 120, 0, CanarySize=size(10)))
    with Paced(server, endpoint, RATE_PER_S) as load:
        update(server, endpoint, bad, policy)
        found = at_rest(server, endpoint)
        back_s = time.monotonic()
        time.sleep(0.5)
    assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", endpoint)
    assert f'The alarm "{bad} fails" is in state ALARM' in found["FailureReason"]
    assert load.failures
    assert {each.status for each in load.failures} == {424}
    assert all(b"I am the bad one" in each.body for each in load.failures)
    first_s = min(each.due_s for each in load.failures)
    assert max(each.due_s for each in load.failures) < back_s
    # A tenth of the requests reaches the canary, which fails a fifth of them.
    met = [each for each in load.answers if first_s <= each.due_s < back_s]
    assert len(load.failures) <= 0.03 * len(met) + 5
    assert {each.body for each in load.answers if each.due_s > back_s} == {endpoint.encode()}


@pytest.mark.parametrize("kind", ["canary", "rolling"])
def test_a_control_process_that_is_killed_in_every_phase_changes_nothing(server: Server, endpoint: str, kind: str):
    killer = Killer(server)
    with Paced(server, endpoint, RATE_PER_S) as load:
        update(server, endpoint, f"{endpoint}-new", policies()[kind])
        found = at_rest(server, endpoint, killer.saw)
    assert load.failures == []
    assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", f"{endpoint}-new")
    seen = {now.partition(":")[0] for now in killer.phases}
    assert "Baking" in seen
    assert len(seen) > 1, "how soon another one is over is the machine's choice"


def test_what_is_in_flight_is_answered(server: Server, endpoint: str):
    with ThreadPoolExecutor() as threads:
        slow = [threads.submit(ask, server, endpoint, b"3000") for _ in range(4)]
        time.sleep(0.3)
        update(server, endpoint, f"{endpoint}-new", {})
        at_rest(server, endpoint)
        assert ask(server, endpoint, b"1")[2] == f"{endpoint}-new".encode()
        assert not any(each.done() for each in slow), "the deployment waited for requests"
        answers = [(each.result()[0], each.result()[2]) for each in slow]
    # What an old instance had not begun with, it gave back.
    assert (200, endpoint.encode()) in answers
    assert set(answers) <= {(200, endpoint.encode()), (200, f"{endpoint}-new".encode())}


def test_a_rollback_survives_a_kill(server: Server, endpoint: str):
    bad = f"bad-{endpoint}"
    config(server, bad)
    policy = guarded(server, endpoint, bad, blue_green("ALL_AT_ONCE", 0, 120))
    with Paced(server, endpoint, RATE_PER_S) as load:
        update(server, endpoint, bad, policy)
        until(lambda: "Baking" in phase(server.client("sagemaker").describe_endpoint(EndpointName=endpoint)))
        server.client("cloudwatch").set_alarm_state(AlarmName=f"{bad} fails", StateValue="ALARM", StateReason="a test")
        server.kill("control")
        found = at_rest(server, endpoint)
        back_s = time.monotonic()
        time.sleep(0.3)
    assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", endpoint)
    assert {each.body for each in load.answers if each.due_s > back_s} == {endpoint.encode()}
    assert {each.status for each in load.failures} <= {424}


def test_deleting_in_the_middle_leaves_nothing(server: Server, endpoint: str):
    sagemaker = server.client("sagemaker")
    update(server, endpoint, f"{endpoint}-new", blue_green("CANARY", 120, 0, CanarySize=size(10)))
    until(lambda: "Baking" in phase(sagemaker.describe_endpoint(EndpointName=endpoint)), what="the bake")
    sagemaker.delete_endpoint(EndpointName=endpoint)
    sagemaker.get_waiter("endpoint_deleted").wait(EndpointName=endpoint)
    until(lambda: not instances(server, endpoint), what="the end of both fleets")
    create(server, endpoint, endpoint)
