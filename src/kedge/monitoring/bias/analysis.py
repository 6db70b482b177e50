"""The bias of a data set by a configuration: every measure of every facet, with its interval. PURE.

The interval is a normal one by the bootstrap (Efron and Tibshirani, 1993): the value, and 1.96 deviations of 200
draws of as many rows on both sides. Rows count only by the cell of the table that they are in, so a draw is one
multinomial.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from kedge.monitoring.bias import formulas
from kedge.monitoring.bias.columns import Mask, Part, positive
from kedge.monitoring.bias.flips import flips
from kedge.monitoring.bias.formulas import Counts, Measure, Numbers, Undefined

DRAWS = 200
_DEVIATIONS = 1.96
MOST_GROUPS = 1000


@dataclass(frozen=True)
class Data:
    """Columns of one length. said: the positive predictions; None: there are none. groups: of the group variable."""

    label_name: str
    actual: Part | None
    """None: there are no labels, so that predictions alone can be measured."""
    said: Mask | None
    groups: Sequence[Any] | None = None
    features: Numbers | None = None
    """For the flip test, without facet and label: shape (rows, k)."""


class Result(NamedTuple):
    """value: None where the measure is undefined, with the reason in error."""

    measure: Measure
    value: float | None
    deviation: float | None = None
    error: str = ""

    @property
    def interval(self) -> tuple[float, float] | None:
        if self.value is None or self.deviation is None or not math.isfinite(self.value):
            return None
        return self.value - _DEVIATIONS * self.deviation, self.value + _DEVIATIONS * self.deviation


class FacetResult(NamedTuple):
    facet: str
    value_or_threshold: str
    results: list[Result]


_NEEDS_NO_LABEL = {"DPPL", "DI", "CDDPL", "FT"}


def measures(stage: str, names: Sequence[str] | None) -> list[Measure]:
    """names: None is all of the stage."""
    return [each for each in formulas.MEASURES if each.stage == stage and (names is None or each.name in names)]


def of_facet(
    facet: str, part: Part, data: Data, wanted: Sequence[Measure], random: np.random.Generator, draws: int = DRAWS
) -> FacetResult:
    """draws: 0 for no intervals."""
    groups, number = _codes(data.groups)
    label = data.actual.rows if data.actual else np.zeros(len(part.rows), dtype=bool)
    said = data.said if data.said is not None else np.zeros(len(part.rows), dtype=bool)
    cell = ((part.rows * 2 + label) * 2 + said) * number + groups
    table = np.bincount(cell, minlength=8 * number).astype(float)
    drawn = None
    if draws and table.sum():
        rows = int(table.sum())
        drawn = Counts(random.multinomial(rows, table / rows, size=draws).reshape(draws, 2, 2, 2, number).astype(float))
    counts = Counts(table.reshape(2, 2, 2, number))
    results = [_result(each, counts, drawn, part, data, random, draws) for each in wanted]
    return FacetResult(facet, part.told, results)


def _result(
    measure: Measure,
    counts: Counts,
    drawn: Counts | None,
    part: Part,
    data: Data,
    random: np.random.Generator,
    draws: int,
) -> Result:
    try:
        _check(measure, data)
        if measure.compute is None:
            assert data.features is not None
            assert data.said is not None
            found = flips(data.features, part.rows, data.said)
            return Result(measure, float(found.mean()), _of_flips(found, random, draws))
        value = formulas.value(measure, counts)
        return Result(measure, value, _spread(measure.compute(drawn)) if drawn is not None else None)
    except Undefined as undefined:
        return Result(measure, None, None, str(undefined))


def _check(measure: Measure, data: Data) -> None:
    """Raises Undefined where the data lack what the measure looks at."""
    if data.actual is None and (measure.stage == formulas.PRE_TRAINING or measure.name not in _NEEDS_NO_LABEL):
        raise Undefined("There are no labels.")
    if data.said is None and measure.stage == formulas.POST_TRAINING:
        raise Undefined("There are no predicted labels.")
    if measure.of_groups and data.groups is None:
        raise Undefined("Group variable is empty or not provided")
    if measure.compute is None and data.features is None:
        raise Undefined("FT: there are no numeric features.")


def _spread(values: Numbers) -> float | None:
    """None where draws are infinite: then the value has no normal interval."""
    finite = values[np.isfinite(values)]
    return float(finite.std(ddof=1)) if len(finite) == len(values) > 1 else None


def _of_flips(found: Any, random: np.random.Generator, draws: int) -> float | None:
    """Of rows of the facet drawn anew; the neighbours stay."""
    if not draws:
        return None
    shares = np.array([(found == each).mean() for each in (-1, 0, 1)])
    drawn = random.multinomial(len(found), shares, size=draws) @ np.array([-1.0, 0.0, 1.0]) / len(found)
    return float(drawn.std(ddof=1))


def _codes(groups: Sequence[Any] | None) -> tuple[Any, int]:
    if groups is None:
        return 0, 1
    texts = np.array([str(each) for each in groups])
    names, codes = np.unique(texts, return_inverse=True)
    if len(names) > MOST_GROUPS:
        raise ValueError(f"The group variable has {len(names)} different values; at most {MOST_GROUPS} can be groups.")
    return codes, len(names)


__all__ = ["Data", "FacetResult", "Result", "measures", "of_facet", "positive"]
