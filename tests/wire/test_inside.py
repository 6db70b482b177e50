"""What the server calls by itself is checked as what comes from outside."""

from __future__ import annotations

from typing import Any

import pytest

from kedge.errors import ServiceError
from kedge.identity.records import Caller
from kedge.wire.inside import Inside
from kedge.wire.models import Models

CALLER = Caller("111122223333", "us-east-1", "arn:aws:sts::111122223333:assumed-role/watch/SageMaker", "u", "")


def test_a_request_is_checked_and_carried_out_for_the_caller():
    seen: list[tuple[Any, dict[str, Any]]] = []

    def stop(call: Any, request: dict[str, Any]) -> dict[str, Any]:
        seen.append((call, request))
        return {"done": True}

    inside = Inside(
        Models(["sagemaker"]), {"sagemaker.StopTrainingJob": stop}, lambda caller, request_id, agent: (caller, agent)
    )
    assert inside("sagemaker", "StopTrainingJob", CALLER, {"TrainingJobName": "a"}) == {"done": True}
    assert seen == [((CALLER, "kedge"), {"TrainingJobName": "a"})]
    for wrong in ({}, {"TrainingJobName": 7}, {"TrainingJobName": "no spaces"}, {"TrainingJobName": "a", "More": 1}):
        with pytest.raises(ServiceError, match=r"[Tt]rainingJobName"):
            inside("sagemaker", "StopTrainingJob", CALLER, wrong)
    assert len(seen) == 1
