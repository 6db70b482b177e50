"""What the servers are asked to do: 10,000 different requests of each work, and what the right answers are.

echo     the JSON body comes back, about 200 bytes: parse and write, no model
gbdt1    HistGradientBoostingClassifier, 100 trees, 20 features: the probability of one row
gbdt100  the same for 100 rows: CSV where the server takes it, else JSON
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

COUNT = 10_000
FEATURES = 20
ROWS = {"echo": 1, "gbdt1": 1, "gbdt100": 100}
"""Rows in one request of each work."""
TOLERANCE = 1e-6

JSON, CSV = "application/json", "text/csv"


@cache
def rows() -> Any:
    """Shape (COUNT, FEATURES), float64; five decimals, as measurements have them."""
    return np.round(np.random.default_rng(11).normal(size=(COUNT, FEATURES)) * 2, 5)


@cache
def model() -> Any:
    """The fitted model: always the same one."""
    from sklearn.datasets import make_classification
    from sklearn.ensemble import HistGradientBoostingClassifier

    x, y = make_classification(n_samples=10_000, n_features=FEATURES, n_informative=10, random_state=7)
    with threadpool_limits(1):
        return HistGradientBoostingClassifier(max_iter=100, early_stopping=False, random_state=7).fit(x, y)


@cache
def _expected() -> Any:
    """P(class 1) of each row, shape (COUNT,)."""
    with threadpool_limits(1):
        return model().predict_proba(rows())[:, 1]


@cache
def _texts() -> list[str]:
    """Each row's numbers, separated by ", "."""
    return [", ".join(map(repr, row)) for row in rows().tolist()]


def _rows_of(work: str, number: int) -> list[int]:
    return [(number + offset) % COUNT for offset in range(ROWS[work])]


def _nested(texts: list[str]) -> str:
    return "[" + ", ".join(f"[{text}]" for text in texts) + "]"


def _tensor(texts: list[str], data: str, tensor: str = "", request: str = "") -> str:
    """Version 2 of the protocol that KServe, Triton and MLServer share; tensor, request: what else they say."""
    return (
        f'{{"inputs": [{{"name": "x", "shape": [{len(texts)}, {FEATURES}], "datatype": "FP64", '
        f'{tensor}"data": {data}}}]{request}}}'
    )


FORMATS: dict[str, tuple[str, Callable[[list[str]], str]]] = {
    "instances": (JSON, lambda texts: f'{{"instances": {_nested(texts)}}}'),
    "inputs": (JSON, lambda texts: f'{{"inputs": {_nested(texts)}}}'),
    "csv": (CSV, lambda texts: "".join(text.replace(", ", ",") + "\n" for text in texts)),
    "tensor": (JSON, lambda texts: _tensor(texts, _nested(texts))),
    "mlserver": (
        JSON,
        lambda texts: _tensor(
            texts,
            f"[{', '.join(texts)}]",
            tensor='"parameters": {"content_type": "np"}, ',
            request=', "outputs": [{"name": "predict_proba"}]',
        ),
    ),
}
"""How a server wants its rows: the content type, and the body from the rows' texts."""


def bodies(work: str, form: str) -> Iterator[bytes]:
    """COUNT bodies, each with other rows."""
    texts, write = _texts(), FORMATS[form][1]
    for number in range(COUNT):
        yield write([texts[row] for row in _rows_of(work, number)]).encode()


def right(work: str, number: int, answer: bytes) -> bool:
    """Whether this is an answer to request `number` of a work, whatever the server wraps it in."""
    try:
        found = list(_numbers(json.loads(answer)))
    except ValueError:
        return False
    wanted = _rows_of(work, number)
    if work == "echo":
        sent = rows()[wanted[0]].tolist()
        return any(found[at : at + FEATURES] == sent for at in range(len(found) - FEATURES + 1))
    # Servers answer with the probability of class 1, or of both classes; some put a tensor's shape before it.
    probabilities = _expected()[wanted]
    both = np.column_stack((1 - probabilities, probabilities)).ravel()
    return any(
        len(found) >= len(want) and np.allclose(found[-len(want) :], want, rtol=0, atol=TOLERANCE)
        for want in (probabilities, both)
    )


def _numbers(value: object) -> Iterator[float]:
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _numbers(each)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield float(value)
