"""statistics.json, version 0.0: from a profile, and read again as a baseline. PURE.

Source: the files that SageMaker's analyzer writes. Its readers take the keys below; the order is theirs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kedge.monitoring.profiles import kinds
from kedge.monitoring.profiles.kll import SHRINK, SIZE, Kll, buckets
from kedge.monitoring.profiles.tally import text_of

if TYPE_CHECKING:
    from kedge.monitoring.profiles.column import Column
    from kedge.monitoring.profiles.profile import Profile

MOST_VALUES = 100
"""Of a column of strings, in its buckets; as many as the domain of a constraint may have."""


class BadFile(ValueError):
    """The message says what is wrong with a baseline's file."""


def statistics(profile: Profile) -> dict[str, Any]:
    return {
        "version": 0.0,
        "dataset": {"item_count": profile.rows},
        "features": [_feature(name, column, profile.missing(name)) for name, column in profile.columns.items()],
    }


def _feature(name: str, column: Column, missing: int) -> dict[str, Any]:
    kind = column.kinds.inferred()
    common = {"num_present": column.present, "num_missing": missing}
    if kind in kinds.NUMERIC:
        return {"name": name, "inferred_type": kind, "numerical_statistics": {"common": common, **_numbers(column)}}
    return {"name": name, "inferred_type": kind, "string_statistics": {"common": common, **_texts(column)}}


def _numbers(column: Column) -> dict[str, Any]:
    found = column.moments
    if not found.count:  # nothing but infinities
        return {}
    return {
        "mean": _finite(found.mean),
        "sum": _finite(found.total),
        "std_dev": _finite(found.deviation),
        "min": found.low,
        "max": found.high,
        "distribution": {
            "kll": {
                "buckets": [
                    {"lower_bound": lower, "upper_bound": upper, "count": count}
                    for lower, upper, count in buckets(column.sketch, found.low, found.high)
                ],
                "sketch": {
                    "parameters": {"c": SHRINK, "k": float(SIZE)},
                    "data": [level.tolist() for level in column.sketch.levels],
                },
            }
        },
    }


def _texts(column: Column) -> dict[str, Any]:
    return {
        "distinct_count": float(round(column.tally.distinct())),
        "distribution": {
            "categorical": {
                "buckets": [{"value": text_of(key), "count": count} for key, count in column.tally.top(MOST_VALUES)]
            }
        },
    }


def _finite(value: float) -> float | None:
    """JSON has no infinity: a sum that is larger than a float64 can be is null."""
    return value if math.isfinite(value) else None


@dataclass(frozen=True)
class Feature:
    """A column of a baseline. sketch, values: None where the file has none; present: how many values they stand for.

    missing: rows without a value.
    """

    name: str
    inferred_type: str
    present: int
    sketch: Kll | None = None
    values: Mapping[str, float] | None = None
    missing: int = 0


@dataclass(frozen=True)
class Statistics:
    rows: int
    features: dict[str, Feature] = field(default_factory=dict)


def read(document: Any) -> Statistics:
    """Raises BadFile."""
    if not isinstance(document, dict) or not isinstance(document.get("features"), list):
        raise BadFile('The baseline statistics have no list "features"; give the statistics.json of a baselining job.')
    features = [_read(each) for each in document["features"]]
    rows = document.get("dataset")
    return Statistics(
        int(rows.get("item_count", 0)) if isinstance(rows, dict) else 0, {each.name: each for each in features}
    )


def _read(held: Any) -> Feature:
    try:
        name, kind = str(held["name"]), str(held.get("inferred_type", kinds.UNKNOWN))
        block = held.get("numerical_statistics") or held.get("string_statistics") or {}
        common = block.get("common") or {}
        present, missing = int(common.get("num_present", 0)), int(common.get("num_missing", 0))
        spread = block.get("distribution") or {}
        data = ((spread.get("kll") or {}).get("sketch") or {}).get("data")
        counted = (spread.get("categorical") or {}).get("buckets")
        return Feature(
            name,
            kind,
            present,
            Kll.of_levels(data) if data else None,
            {str(each["value"]): float(each["count"]) for each in counted} if counted is not None else None,
            missing,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadFile(f"A feature of the baseline statistics cannot be read: {error!r}") from None
