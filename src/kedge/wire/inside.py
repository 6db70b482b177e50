"""Operations that the server calls by itself: the same parameters are taken as from outside, by the same checks."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from botocore.validate import ParamValidator

from kedge.errors import ValidationFailed
from kedge.identity.records import Caller
from kedge.wire.constraints import check
from kedge.wire.gateway import Operation
from kedge.wire.models import Models

AGENT = "kedge"


class Inside:
    def __init__(
        self, models: Models, operations: Mapping[str, Operation], new_call: Callable[[Caller, str, str], Any]
    ) -> None:
        """operations: by "service.Operation"; those that are called so are plain functions."""
        self._models, self._operations, self._new_call = models, operations, new_call

    def __call__(self, service: str, operation: str, caller: Caller, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Its answer. Blocks. Raises what it raises to anybody, and the refusal of a request of another shape."""
        parameters, model = dict(request), self._models.services[service].operation_model(operation)
        # What comes from outside has the types of its members from being decoded; this may be anybody's JSON.
        assert model.input_shape is not None, "what is called so is given something"
        wrong = ParamValidator().validate(parameters, model.input_shape)
        if wrong.has_errors():
            raise ValidationFailed(f"{operation}: {'; '.join(wrong.generate_report().splitlines())}.")
        check(model, parameters)
        answer: Mapping[str, Any] = self._operations[f"{service}.{operation}"](
            self._new_call(caller, str(uuid.uuid4()), AGENT), parameters
        )
        return answer
