"""Our own file beside AWS's: for each column what AWS's files have no key for. PURE."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from kedge.monitoring.data_quality.violations import Judgement

if TYPE_CHECKING:
    from kedge.monitoring.profiles.profile import Profile
    from kedge.monitoring.reading.pieces import Notes


def report(profile: Profile, judgement: Judgement, notes: Notes) -> dict[str, Any]:
    return {
        "version": 1,
        "rows": profile.rows,
        "left_out": {"records": notes.left_out, "reasons": notes.reasons},
        "features": [_feature(name, profile, judgement) for name in profile.columns],
    }


def _feature(name: str, profile: Profile, judgement: Judgement) -> dict[str, Any]:
    column = profile.columns[name]
    distinct, exact = column.distinct
    found: dict[str, Any] = {
        "name": name,
        "kinds": {**asdict(column.kinds), "missing": profile.missing(name)},
        "infinite": column.endless,
        "distinct": {"count": distinct, "exact": exact},
    }
    drift = judgement.drifts.get(name)
    if drift is not None:
        found["drift"] = {
            "value": drift.value,
            "threshold": drift.threshold,
            "method": drift.method,
            "is_p_value": drift.is_p_value,
            "before_chance": drift.plain,
        }
    return found
