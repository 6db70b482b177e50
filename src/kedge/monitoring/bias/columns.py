"""Which rows are of a facet, or have a positive outcome, as a configuration says it. PURE.

A column is categorical, and the configuration lists values; or it is continuous, and there is one threshold: the rows
above it. Texts, whole numbers of few different values, and any column for which several values are listed are
categorical; fractions, and whole numbers of which at least 5 % are different ones, are continuous. Source: the
documented facets of Clarify, and the rule of its open-source library.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kedge.monitoring.quality.problem import label

LEAST_DIFFERENT = 0.05
MOST_VALUES = 100
Mask = npt.NDArray[np.bool_]


class BadColumn(ValueError):
    """The message says which column, and what its values or the configuration should be."""


class Part(NamedTuple):
    """Some rows of a data set, and the text for them: values, or the interval above a threshold."""

    told: str
    rows: Mask


def parts(name: str, values: Sequence[Any], chosen: Sequence[Any]) -> list[Part]:
    """The facets of a column. chosen: values of one facet, or a threshold; empty: each value is a facet of its own."""
    if chosen:
        return [positive(name, values, chosen)]
    if is_continuous(values, chosen):
        raise BadColumn(f"The facet {name} is continuous; give a threshold as its value_or_threshold.")
    texts = [label(each) for each in values]
    found = sorted(set(texts))
    if len(found) > MOST_VALUES:
        raise BadColumn(f"The facet {name} has {len(found)} different values; list those of interest.")
    return [Part(each, np.array([text == each for text in texts])) for each in found]


def positive(name: str, values: Sequence[Any], chosen: Sequence[Any]) -> Part:
    """The rows of the chosen values, or above a threshold. Raises BadColumn."""
    if is_continuous(values, chosen):
        return _above(name, values, chosen)
    wanted = {label(each) for each in chosen}
    return Part(",".join(map(str, chosen)), np.array([label(each) in wanted for each in values]))


def is_continuous(values: Sequence[Any], chosen: Sequence[Any]) -> bool:
    if len(chosen) > 1:
        return False
    numbers = _numbers(values)
    if numbers is None or not len(numbers):
        return False
    if chosen and _numbers(chosen) is None:
        return False
    if (numbers != np.floor(numbers)).any():
        return True
    return len(np.unique(numbers)) / len(numbers) >= LEAST_DIFFERENT and len(np.unique(numbers)) > 2


def _above(name: str, values: Sequence[Any], chosen: Sequence[Any]) -> Part:
    numbers, threshold = _numbers(values), _numbers(chosen)
    assert numbers is not None
    assert threshold is not None
    if not np.isfinite(threshold[0]):
        raise BadColumn(f"The threshold of {name} is {chosen[0]!r}; it has to be a number.")
    shown = int if (numbers == np.floor(numbers)).all() and threshold[0] == int(threshold[0]) else float
    return Part(f"({shown(threshold[0])}, {shown(numbers.max())}]", numbers > threshold[0])


def _numbers(values: Sequence[Any]) -> npt.NDArray[np.float64] | None:
    if any(isinstance(each, bool | np.bool_) for each in values):
        return None
    try:
        found = np.array([float(each) for each in values])
    except (TypeError, ValueError):
        return None
    return found if np.isfinite(found).all() else None
