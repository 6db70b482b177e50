"""Bodies that hold several arrays, each under the name of the model's input that it is for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kedge.serving.runtimes import payload
from kedge.serving.runtimes.base import BadInput

Array = np.ndarray[Any, Any]


def decode(body: bytes, content_type: str, inputs: Sequence[str]) -> Array | dict[str, Array]:
    """One array, or an array for each input.

    A model with several inputs takes JSON, {"inputs": {NAME: ARRAY}} or {NAME: ARRAY}, or rows as objects,
    {"instances": [{NAME: VALUE}, ...]} or a list of them; or CSV, a column for each input in their order.
    Raises UnsupportedContentType and BadInput.
    """
    kind = payload.media_type(content_type) or payload.JSON
    if kind == payload.JSON and body:
        data = payload.parsed(body, content_type)
        if isinstance(data, dict) and isinstance(data.get("inputs"), dict) and "inputs" not in inputs:
            data = data["inputs"]
        if isinstance(data, dict) and isinstance(data.get("inputs"), list) and "inputs" not in inputs:
            return array(data["inputs"])
        if isinstance(data, dict) and isinstance(data.get("instances"), list) and "instances" not in inputs:
            data = data["instances"]
        if isinstance(data, dict):
            return {name: array(values) for name, values in _same(data, inputs).items()}
        if isinstance(data, list) and data and all(isinstance(row, dict) for row in data):
            rows = [_same(row, inputs) for row in data]
            return {name: array([row[name] for row in rows]) for name in inputs}
    found = payload.decode(body, content_type)
    if len(inputs) < 2:
        return found
    table = payload.rows(found)
    if table.ndim != 2 or table.shape[1] != len(inputs):
        raise BadInput(
            f"The model has {len(inputs)} inputs ({', '.join(inputs)}); send an array for each by its name, or rows "
            f"of {len(inputs)} columns."
        )
    return {name: table[:, [place]] for place, name in enumerate(inputs)}


def array(values: Any) -> Array:
    """float64 or integers when every value is a number, else objects. Raises BadInput for rows of unequal length."""
    if not isinstance(values, list):
        values = [values]
    return payload.array(values)


def _same(given: Mapping[str, Any], inputs: Sequence[str]) -> dict[str, Any]:
    """In the order of the inputs. Raises BadInput when a name is missing or strange."""
    wrong = [name for name in inputs if name not in given] + [name for name in given if name not in inputs]
    if wrong:
        raise BadInput(
            f"The model's inputs are {', '.join(inputs)}; missing, or not one of them: {', '.join(wrong[:5])}."
        )
    return {name: given[name] for name in inputs}
