"""The bias part of a Clarify job: which rows are which, then every facet of every stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kedge.monitoring.bias import columns, files
from kedge.monitoring.bias.analysis import Data, FacetResult, measures, of_facet
from kedge.monitoring.bias.columns import Mask, Part
from kedge.monitoring.bias.formulas import Numbers
from kedge.monitoring.clarify.config import Config
from kedge.monitoring.clarify.data import DataSet, numbers
from kedge.monitoring.clarify.predicting import Model
from kedge.monitoring.container import JobFailed
from kedge.monitoring.quality.problem import label as text_of

_SEED = 20217
_BINARY = {"0", "1"}


class Measured:
    """Results by stage, and what a label's value has to be to count as positive."""

    def __init__(self, label: str, positive: str, stages: dict[str, Sequence[FacetResult]]) -> None:
        self.label = label
        self.positive = positive
        self.stages = stages

    def results(self) -> list[FacetResult]:
        return [each for stage in self.stages.values() for each in stage]

    def analysis(self) -> dict[str, Any]:
        return files.analysis(self.label, self.positive, self.stages)


def measured(data: DataSet, config: Config, said: Mask | None, threshold: Sequence[Any]) -> Measured:
    """said: the positive predictions. threshold: the label's values, or threshold. Raises JobFailed and BadColumn."""
    random = np.random.default_rng(_SEED)
    name = data.label or "label"
    actual = columns.positive(name, _whole(data, name), threshold) if data.label else None
    if actual is not None and not actual.rows.any() and said is None:
        raise JobFailed(f"No row has a positive label: {name} is never {actual.told}.")
    groups = data.column(config.group_variable, "group_variable") if config.group_variable is not None else None
    stages: dict[str, Sequence[FacetResult]] = {}
    for stage, named in config.stages.items():
        found: list[FacetResult] = []
        for facet_name, values in config.facets:
            facet = data.name(facet_name, "facet")
            held = Data(name, actual, said, groups, _features(data, facet))
            for part in columns.parts(facet, _whole(data, facet), values):
                found.append(of_facet(facet, part, held, measures(stage, named), random))
        stages[stage] = found
    return Measured(name, actual.told if actual else ",".join(map(str, threshold)), stages)


def check(data: DataSet, config: Config) -> None:
    """Raises JobFailed for a facet or label that is not there, or has gaps, before a model is asked about the rows."""
    for name in (*(facet for facet, _ in config.facets), *((data.label,) if data.label else ())):
        _whole(data, data.name(name, "facet"))


def positives(data: DataSet, config: Config) -> list[Any]:
    """What counts as a positive label: as configured, or 1 of labels that are 0 and 1. Raises JobFailed."""
    if config.label_values:
        return list(config.label_values)
    texts = {text_of(each) for each in data.columns[data.label]} if data.label else {"0", "1"}
    if texts <= {"0", "1"}:
        return [1]
    raise JobFailed(
        f"label_values_or_threshold of analysis_config.json is not set, and the labels are not 0 and 1 but "
        f"{', '.join(sorted(texts)[:5])}."
    )


def predictions(
    data: DataSet, config: Config, threshold: Sequence[Any], model: Model | None, cut: float
) -> Mask | None:
    """Which rows the model accepts: by what the data hold, else by asking it. None: neither is there.

    cut: a probability above it predicts the label 1.
    """
    if data.said is not None:
        return _accepted(data.said, data, threshold, cut)
    if data.score is not None:
        return _scored(data.score, data, threshold, cut, "the data")
    if model is None:
        return None
    assert config.predictor is not None
    rows = data.matrix(features(data, config))
    if config.predictor.probability is not None:
        found = model.values(rows, config.predictor.probability)
        if isinstance(found[0], list) and len(found[0]) > 1:
            return _accepted(_likeliest(found, config.predictor.label_headers), data, threshold, cut)
        scores = [each[0] if isinstance(each, list) else each for each in found]
        return _scored(scores, data, threshold, cut, "the model")
    found = model.values(rows, config.predictor.label)
    return _accepted([each[0] if isinstance(each, list) else each for each in found], data, threshold, cut)


def features(data: DataSet, config: Config) -> list[str]:
    """Columns that the model is given, in order."""
    left_out = {data.label}
    for each in (config.predicted_label, *config.excluded):
        if each is not None:
            left_out.add(data.name(each, "excluded_columns"))
    return [name for name in data.columns if name not in left_out]


def _accepted(said: list[Any], data: DataSet, threshold: Sequence[Any], cut: float) -> Mask:
    """Predictions are read as the labels are; where labels are classes, numbers from 0 to 1 are probabilities of 1.

    Nothing has to name these: of a model that answers one number AWS's own notebooks give the threshold alone.
    """
    found = numbers(said)
    between = None if found is None else (found > 0) & (found < 1)
    if found is None or between is None or not between.any() or not _are_classes(data, threshold):
        return columns.positive("the predicted label", said, threshold).rows
    outside = (found < 0) | (found > 1)
    if outside.any():
        raise JobFailed(
            f"Predictions such as {said[int(between.argmax())]!r} and {said[int(outside.argmax())]!r} are neither "
            "labels nor probabilities; name where these are by ProbabilityAttribute, or by predictor.probability."
        )
    return _scored(said, data, threshold, cut, "the model")


def _are_classes(data: DataSet, threshold: Sequence[Any]) -> bool:
    """Whether labels are classes; where there are none, what counts as positive says it."""
    if not data.label:
        return {text_of(each) for each in threshold} <= _BINARY
    return not columns.is_continuous(data.columns[data.label], threshold)


def _scored(scores: list[Any], data: DataSet, threshold: Sequence[Any], cut: float, whose: str) -> Mask:
    """The rows whose predicted label, 1 above the cut and else 0, is a positive one; of other labels those above it."""
    found = numbers([each[-1] if isinstance(each, list) and each else each for each in scores])
    if found is None:
        raise JobFailed(f"The probabilities of {whose} are no numbers, such as {scores[0]!r}.")
    above = np.asarray(found > cut)
    chosen = {text_of(each) for each in threshold}
    if not chosen <= _BINARY or not _are_classes(data, threshold):
        return above
    return np.where(above, "1" in chosen, "0" in chosen)


def _likeliest(found: list[Any], headers: Sequence[str]) -> list[Any]:
    places = [int(np.argmax([float(value) for value in each])) for each in found]
    return [headers[place] if place < len(headers) else place for place in places]


def _features(data: DataSet, facet: str) -> Numbers | None:
    """The numeric columns that have no value missing, without facet and label."""
    found = [numbers(held) for name, held in data.columns.items() if name not in (facet, data.label)]
    whole = [each for each in found if each is not None and np.isfinite(each).all()]
    return np.column_stack(whole) if whole else None


def _whole(data: DataSet, name: str) -> list[Any]:
    """Raises JobFailed for a column with gaps: a row without a facet or a label is of no side."""
    held = data.columns[name]
    missing = sum(each is None or each == "" for each in held)
    if missing:
        raise JobFailed(f"{missing} of {len(held)} rows have no {name}; facets and labels must not be missing.")
    typed = numbers(held)
    if typed is None:
        return held
    return [int(each) for each in typed.tolist()] if (typed == np.floor(typed)).all() else typed.tolist()


__all__ = ["Measured", "Part", "features", "measured", "positives", "predictions"]
