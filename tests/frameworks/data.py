"""Small tables to train on, and the questions that the tests ask of a runtime."""

from __future__ import annotations

import json

import numpy as np

from kedge.serving.runtimes.base import Answer, Invocation, Outcome, Runtime

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(160, 5))
Y = (X[:, 0] + X[:, 1] > 0).astype(int)
CLASSES = Y + (X[:, 2] > 1)
TARGET = X @ [1.0, 2.0, -1.0, 0.5, 0.0]
COLUMNS = ["a", "b", "c", "d", "e"]


def csv(rows: object) -> bytes:
    return "\n".join(",".join(map(repr, row)) for row in np.asarray(rows).tolist()).encode()


def in_json(rows: object) -> bytes:
    return json.dumps(np.asarray(rows).tolist()).encode()


def outcomes(runtime: Runtime, *requests: Invocation) -> list[Outcome]:
    found: dict[int, Outcome] = {}
    for group in runtime.answer(requests):
        for index, outcome in group:
            assert index not in found, "answered twice"
            found[index] = outcome
    return [found[index] for index in range(len(requests))]


def ask(runtime: Runtime, body: bytes, content_type: str = "text/csv", accept: str = "application/json") -> Answer:
    [outcome] = outcomes(runtime, Invocation(body, content_type, accept))
    assert isinstance(outcome, Answer), outcome
    return outcome


def answered(runtime: Runtime, rows: object) -> np.ndarray:
    """The runtime's answer to these rows."""
    return np.array(json.loads(ask(runtime, in_json(rows), "application/json").body))
