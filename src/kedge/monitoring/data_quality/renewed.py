"""Constraints that take the place of older ones, of the same columns: for a model that was trained again. PURE.

What somebody chose stays: monitoring_config, and its overrides for single columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kedge.monitoring.data_quality.constraints import OVERRIDES
from kedge.monitoring.data_quality.statistics_file import BadFile

_KINDS = ("num_constraints", "string_constraints")
_CONFIG = "monitoring_config"


def names(before: Mapping[str, Any]) -> list[str]:
    """The columns of a constraints.json, in order. Raises BadFile."""
    try:
        return [str(each["name"]) for each in before["features"]]
    except (KeyError, TypeError) as error:
        raise BadFile(f"The constraints before have no features that can be read: {error!r}") from None


def renewed(suggested: Mapping[str, Any], before: Mapping[str, Any], *, of_labels: bool) -> dict[str, Any]:
    """suggested: of the new rows. of_labels: labels stand in the place of answers, in the first column.

    Raises BadFile where the rows are of other columns, or labels are of another type than what that column held.
    """
    held = dict(zip(names(before), before["features"], strict=True))
    found = {each["name"]: each for each in suggested["features"]}
    if held.keys() != found.keys():
        raise BadFile(f"The rows have the columns {_told(found)}; the baseline before has {_told(held)}.")
    first = next(iter(held), "")
    if of_labels and held[first].get("inferred_type") != found[first]["inferred_type"]:
        raise BadFile(
            f"Labels are {found[first]['inferred_type']}, and {first} of the baseline before is "
            f"{held[first].get('inferred_type')}: it was not made of labels."
        )
    features = [_with_overrides(each, held[each["name"]]) for each in suggested["features"]]
    return {**suggested, "features": features, _CONFIG: before.get(_CONFIG, suggested[_CONFIG])}


def _with_overrides(feature: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    kept = {**feature, **{key: before[key] for key in OVERRIDES if key in before}}
    for kind in _KINDS:
        inner = before.get(kind)
        chosen = {key: inner[key] for key in OVERRIDES if key in inner} if isinstance(inner, dict) else {}
        if chosen:
            kept[kind] = {**kept.get(kind, {}), **chosen}
    return kept


def _told(columns: Mapping[str, Any]) -> str:
    few = ", ".join(list(columns)[:10])
    return few if len(columns) <= 10 else f"{few}, ... ({len(columns)})"
