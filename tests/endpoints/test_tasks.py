"""How long an instance that leaves may take over what it has read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kedge.config import Settings
from kedge.endpoints.tasks import spec
from kedge.store.records import Scope
from tests.endpoints.test_deployment import endpoint, fleet, variant

SCOPE = Scope("111122223333", "us-east-1")


@pytest.mark.parametrize(
    ("environment", "drain_s"),
    [
        ({}, 60),
        ({"SAGEMAKER_MODEL_SERVER_TIMEOUT": "900"}, 900),
        ({"SAGEMAKER_MODEL_SERVER_TIMEOUT": "5"}, 5),
        ({"SAGEMAKER_MODEL_SERVER_TIMEOUT": "900", "KEDGE_STREAM_TIMEOUT_S": "1200"}, 1200),
    ],
)
def test_an_instance_that_leaves_has_the_time_that_a_request_has(environment: dict[str, str], drain_s: float):
    one = variant(current=1)
    one = replace(one, containers=(replace(one.containers[0], environment=environment),))
    record = endpoint(fleet(1, one))
    found = spec(SCOPE, record, next(record.members()), "b", Settings())
    assert (found.drain_s, found.labels["zone"]) == (drain_s, "b")
