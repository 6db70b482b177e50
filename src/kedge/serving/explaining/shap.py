"""The explanations of one request: which features of each record moved the model's answer away from the baseline's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kedge.monitoring.attribution import kernel_shap
from kedge.serving.explaining import records
from kedge.serving.explaining.config import Explainer
from kedge.serving.runtimes.base import BadInput, ModelFailure

BATCH_ROWS = 8192
VERSION = "1.0"

AskAll = Callable[[Sequence[tuple[bytes, int]]], list[tuple[bytes, str]]]
"""The model's answers (body, content type) to requests of (body, records). Blocks. Raises InvocationError."""
Rows = Sequence[Sequence[Any]]


def attributions(
    rows: Rows, baseline: Rows, kind: str, explainer: Explainer, ask_all: AskAll
) -> list[list[dict[str, Any]]]:
    """For each row its features in order, each with a value for each class. Raises InvocationError."""
    width = len(rows[0])
    if len(baseline[0]) != width:
        raise BadInput(
            f"A record has {width} features and the baseline {len(baseline[0])}: ShapBaseline has to have the features "
            "of a request."
        )
    if explainer.feature_headers and len(explainer.feature_headers) != width:
        raise BadInput(f"A record has {width} features and there are {len(explainer.feature_headers)} FeatureHeaders.")

    def predict(batch: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        asked = list(records.bodies(batch.tolist(), kind, explainer))
        found: list[list[float]] = []
        for (_, number), (body, content_type) in zip(asked, ask_all(asked), strict=True):
            answers = records.answers_of(body, content_type, number)
            found += [records.scores_of(answer, explainer) for answer in answers]
        if len({len(each) for each in found}) > 1:
            raise ModelFailure("The model answered with different numbers of scores.")
        return np.array(found, dtype=float)

    given, usual = _matrix([*rows, *baseline])[: len(rows)], _matrix([*rows, *baseline])[len(rows) :]
    found = kernel_shap.explained(
        given,
        usual,
        predict,
        np.random.default_rng(explainer.seed),
        explainer.samples,
        use_logit=explainer.use_logit,
        batch_rows=BATCH_ROWS,
    )
    return [[_feature(place, each, explainer) for place, each in enumerate(row)] for row in found.values.tolist()]


def document(
    answer: bytes,
    content_type: str,
    explained: Sequence[list[dict[str, Any]] | None],
    labels: Sequence[str],
) -> dict[str, Any]:
    """The body of the response. explained: for each record; None for one that is not explained."""
    found: dict[str, Any] = {
        "version": VERSION,
        "predictions": {"content_type": content_type, "data": answer.decode(errors="replace")},
    }
    if labels:
        found["label_headers"] = list(labels)
    found["explanations"] = {"kernel_shap": list(explained)} if any(each is not None for each in explained) else {}
    return found


def _feature(place: int, values: list[float], explainer: Explainer) -> dict[str, Any]:
    named = {"feature_header": explainer.feature_headers[place]} if explainer.feature_headers else {}
    return {**named, "attributions": [{"attribution": values}]}


def _matrix(rows: Rows) -> npt.NDArray[Any]:
    """Numbers where every field is one, else whatever they are."""
    numbers = all(isinstance(each, int | float) for row in rows for each in row)
    return np.array([list(row) for row in rows], dtype=float if numbers else object)
