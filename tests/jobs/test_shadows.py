"""What a Clarify job has made goes with it, and nothing else does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kedge.jobs import shadows
from kedge.monitoring.clarify.shadow_name import TAG, name
from kedge.store.records import Author, Scope
from tests.endpoints import world as worlds
from tests.endpoints.world import ACCOUNT, REGION, World, variant

JOB = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:processing-job/analysis"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = worlds.make(tmp_path / "data")
    made.make_model()
    yield made
    made.close()


def make(world: World, called: str, *tags: dict[str, str]) -> None:
    world.do("CreateEndpointConfig", EndpointConfigName=called, ProductionVariants=[variant()], Tags=list(tags))
    world.do("CreateEndpoint", EndpointName=called, EndpointConfigName=called, Tags=list(tags))


def remove(world: World) -> None:
    with world.store.transaction(Author("test", "", world.clock.now())) as tx:
        shadows.remove(tx, Scope(ACCOUNT, REGION), JOB)


def test_what_the_job_has_made_goes_and_nothing_else(world: World):
    own, other = {"Key": TAG, "Value": JOB}, {"Key": TAG, "Value": f"{JOB}-2"}
    make(world, name("mine", JOB), own)
    make(world, name("named-alike", JOB))
    make(world, name("of-another", JOB), other)
    make(world, "tagged-alike", own)
    for _ in range(2):
        remove(world)
        going = {each["EndpointName"]: each["EndpointStatus"] for each in world.do("ListEndpoints")["Endpoints"]}
        assert [each for each, status in going.items() if status == "Deleting"] == [name("mine", JOB).lower()]
        configs = [each["EndpointConfigName"] for each in world.do("ListEndpointConfigs")["EndpointConfigs"]]
        assert name("mine", JOB) not in configs
        assert len(configs) == 3
