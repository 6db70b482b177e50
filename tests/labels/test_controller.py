"""What is told becomes files, also when the process is killed on the way; with a clock that is moved by hand."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from kedge.errors import ValidationFailed
from kedge.labels.controller import PERIOD_S, Filing
from kedge.labels.records import default_bucket
from kedge.labels.taking import take
from kedge.store.lease import Lease
from tests.endpoints.test_deployments import SCOPE
from tests.endpoints.world import World, variant

BUCKET = default_bucket(SCOPE)


async def prepared(world: World) -> Filing:
    world.make_model()
    world.make_config("c", variant())
    world.do("CreateEndpoint", EndpointName="Wine", EndpointConfigName="c")
    lease = Lease(world.store, "control", "node", world.clock, ttl_s=1e6)
    await asyncio.to_thread(lease.hold)
    return Filing(world.store, world.objects, world.clock, lease)


def tell(world: World, name: str = "wine", **labels: Any) -> dict[str, Any]:
    many = [{"InferenceId": id_, "Label": value} for id_, value in labels.items()]
    return take(world.call(), json.dumps({"EndpointName": name, "Labels": many}).encode())


def filed(world: World) -> dict[str, list[tuple[str, str]]]:
    """(inference id, label) of each file."""
    found = {}
    for key in world.objects.list_keys(BUCKET):
        with world.objects.open(BUCKET, key) as stream:
            lines = [json.loads(line) for line in stream]
        found[key] = [(each["eventMetadata"]["eventId"], each["groundTruthData"]["data"]) for each in lines]
    return found


async def test_labels_of_a_while_are_one_file(world: World):
    filing = await prepared(world)
    uri = f"s3://{BUCKET}/kedge/labels/Wine"
    assert tell(world, a=1, b="no") == {"EndpointName": "Wine", "Labels": 2, "S3Uri": uri}
    tell(world, "WINE", a=0)
    assert await filing.step() == PERIOD_S
    ((key, labels),) = filed(world).items()
    assert key.startswith(f"kedge/labels/Wine/{world.clock.now():%Y/%m/%d/%H}/")
    assert labels == [("a", "1"), ("b", "no"), ("a", "0")]
    await filing.step()
    assert len(filed(world)) == 1, "nothing is filed twice"


async def test_what_was_filed_and_not_forgotten_is_filed_in_the_same_place(world: World):
    filing = await prepared(world)
    tell(world, a=1)
    successor = Lease(world.store, "control", "node", world.clock, ttl_s=1e6)
    assert await asyncio.to_thread(successor.hold)  # as after a kill: what is guarded by the old token is not done
    await filing.step()
    assert list(filed(world).values()) == [[("a", "1")]]
    tell(world, b=2)
    await Filing(world.store, world.objects, world.clock, successor).step()
    assert list(filed(world).values()) == [[("a", "1"), ("b", "2")]]


async def test_an_endpoint_that_is_not_there(world: World):
    await prepared(world)
    with pytest.raises(ValidationFailed, match=r'Could not find endpoint "arn:aws:sagemaker:.*:endpoint/beer"'):
        tell(world, "beer", a=1)


async def test_labels_outlive_their_endpoint(world: World):
    filing = await prepared(world)
    tell(world, a=1)
    world.do("DeleteEndpoint", EndpointName="Wine")
    await filing.step()
    assert list(filed(world).values()) == [[("a", "1")]]
