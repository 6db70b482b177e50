"""PutMetricData."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kedge.call import Call
from kedge.metrics import data
from kedge.metrics.errors import InvalidParameterValue, MissingParameter
from kedge.metrics.store import MetricStore
from kedge.wire.http import Told


async def put_metric_data(store: MetricStore, call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Answered once it is committed. Which entity a metric belongs to is checked and not kept: nothing asks for it."""
    found = data.data_of(call.caller.account, call.caller.region, request, call.now.timestamp())
    problem = ""
    if request.get("EntityMetricData"):
        if "StrictEntityValidation" not in request:
            raise MissingParameter(
                "The parameter StrictEntityValidation is required when EntityMetricData is included."
            )
        problem = data.entity_problem(request)
        if problem and request["StrictEntityValidation"]:
            raise InvalidParameterValue(f"The parameter EntityMetricData is invalid: {problem}.")
    await store.put_with_others(found)
    return Told({}, headers={"x-amzn-failure-message": problem}) if problem else {}
