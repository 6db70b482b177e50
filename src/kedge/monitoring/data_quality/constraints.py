"""constraints.json, version 0.0: suggested from a profile, and read with what overrides it. PURE.

Keys and defaults are those of the files that SageMaker's analyzer writes. A constraint of a column may override any key
of monitoring_config, spelled monitoring_config_overrides or monitoringConfigOverrides, in the feature itself or within
its num_constraints or string_constraints. Ours beside AWS's keys, and only read: kedge_strict_aws, kedge_drift with
material_size and false_alert_probability, and kedge_unreadable_share.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kedge.monitoring.data_quality.statistics_file import BadFile
from kedge.monitoring.profiles import kinds
from kedge.monitoring.profiles.tally import text_of

if TYPE_CHECKING:
    from kedge.monitoring.profiles.column import Column
    from kedge.monitoring.profiles.profile import Profile

MOST_OF_DOMAIN = 100
MOST_DISTINCT_SHARE = 0.1
"""AWS does not publish from how many different strings on it suggests no domain."""
SIMPLE, ROBUST, L_INFINITY, CHI_SQUARED = "Simple", "Robust", "LInfinity", "ChiSquared"
_METHODS = {"simple": SIMPLE, "linf_simple": SIMPLE, "robust": ROBUST, "linf_robust": ROBUST}
_CATEGORICAL_METHODS = {"linfinity": L_INFINITY, "chisquared": CHI_SQUARED}
OVERRIDES = ("monitoring_config_overrides", "monitoringConfigOverrides")
_DISTRIBUTION = "distribution_constraints"
STRICT, OURS, UNREADABLE = "kedge_strict_aws", "kedge_drift", "kedge_unreadable_share"


def suggested(profile: Profile, categorical_drift_method: str = L_INFINITY) -> dict[str, Any]:
    """categorical_drift_method: as the job's environment names it. Raises BadFile for another one."""
    return {
        "version": 0.0,
        "features": [_suggested(name, column, profile.rows) for name, column in profile.columns.items()],
        "monitoring_config": {
            "evaluate_constraints": "Enabled",
            "emit_metrics": "Enabled",
            "datatype_check_threshold": 1.0,
            "domain_content_threshold": 1.0,
            _DISTRIBUTION: {
                "perform_comparison": "Enabled",
                "comparison_threshold": 0.1,
                "comparison_method": ROBUST,
                "categorical_comparison_threshold": 0.1,
                "categorical_drift_method": _known(
                    categorical_drift_method, _CATEGORICAL_METHODS, "categorical drift method"
                ),
            },
        },
    }


def _suggested(name: str, column: Column, rows: int) -> dict[str, Any]:
    kind = column.kinds.inferred()
    found: dict[str, Any] = {
        "name": name,
        "inferred_type": kind,
        "completeness": column.present / rows if rows else 0.0,
    }
    if kind in kinds.NUMERIC:
        found["num_constraints"] = {"is_non_negative": column.moments.low >= 0}
    tally = column.tally
    few = min(MOST_OF_DOMAIN, MOST_DISTINCT_SHARE * column.present)
    if kind == kinds.STRING and tally.exact and len(tally.counts) <= few:
        found["string_constraints"] = {"domains": [text_of(key) for key, _ in tally.top(MOST_OF_DOMAIN)]}
    return found


@dataclass(frozen=True)
class Settings:
    """monitoring_config as it holds for one column, or for the data set."""

    evaluate: bool = True
    emit_metrics: bool = True
    datatype_threshold: float = 1.0
    domain_threshold: float = 1.0
    compare: bool = True
    threshold: float = 0.1
    method: str = ROBUST
    categorical_threshold: float = 0.1
    categorical_method: str = L_INFINITY
    strict_aws: bool = False
    """Whether AWS's rule alone says what has drifted."""
    material: float = 0.25
    """Size of a change that matters, in standard deviations of the baseline; error: of a month. Of the data set."""
    error: float = 0.01
    most_unreadable: float = 0.01
    """Share of records that may be left out because nothing can read them. Of the data set."""

    def asks_for_a_distance(self, *, numeric: bool) -> bool:
        """Whether somebody chose what the distance is compared with: then that is the rule."""
        usual = Settings()
        if numeric:
            return (self.method, self.threshold) != (usual.method, usual.threshold)
        chosen = (self.method, self.categorical_threshold, self.categorical_method)
        return chosen != (usual.method, usual.categorical_threshold, usual.categorical_method)


@dataclass(frozen=True)
class Constraint:
    name: str
    inferred_type: str
    settings: Settings
    completeness: float | None = None
    non_negative: bool = False
    domain: frozenset[str] | None = None


@dataclass(frozen=True)
class Constraints:
    settings: Settings
    features: dict[str, Constraint]


def read(document: Any) -> Constraints:
    """Raises BadFile with the key that is wrong."""
    if not isinstance(document, dict) or not isinstance(document.get("features"), list):
        raise BadFile(
            'The baseline constraints have no list "features"; give the constraints.json of a baselining job.'
        )
    common = _object(document.get("monitoring_config"), "monitoring_config")
    features = [_constraint(_object(each, "a feature"), common) for each in document["features"]]
    return Constraints(_settings(common), {each.name: each for each in features})


def _constraint(held: Mapping[str, Any], common: Mapping[str, Any]) -> Constraint:
    name = held.get("name")
    if not isinstance(name, str):
        raise BadFile("A feature of the baseline constraints has no name.")
    texts = _object(held.get("string_constraints"), f"string_constraints of {name}")
    numbers = _object(held.get("num_constraints"), f"num_constraints of {name}")
    overrides: dict[str, Any] = {}
    for place in (numbers, texts, held):
        for key in OVERRIDES:
            overrides = _over(overrides, _object(place.get(key), f"{key} of {name}"))
    domain = texts.get("domains")
    if not isinstance(domain, list | None):
        raise BadFile(f"domains of {name} is no list.")
    completeness = held.get("completeness")
    return Constraint(
        name,
        str(held.get("inferred_type", kinds.UNKNOWN)),
        _settings(_over(common, overrides), f" of {name}"),
        None if completeness is None else _number(completeness, f"completeness of {name}"),
        numbers.get("is_non_negative") is True,
        None if domain is None else frozenset(map(str, domain)),
    )


def _settings(held: Mapping[str, Any], whose: str = "") -> Settings:
    spread = _object(held.get(_DISTRIBUTION), _DISTRIBUTION + whose)
    ours = _object(held.get(OURS), OURS + whose)
    threshold = _number(spread.get("comparison_threshold", 0.1), "comparison_threshold" + whose)
    return Settings(
        _enabled(held, "evaluate_constraints", whose),
        _enabled(held, "emit_metrics", whose),
        _number(held.get("datatype_check_threshold", 1.0), "datatype_check_threshold" + whose),
        _number(held.get("domain_content_threshold", 1.0), "domain_content_threshold" + whose),
        _enabled(spread, "perform_comparison", whose),
        threshold,
        _known(spread.get("comparison_method", ROBUST), _METHODS, "comparison_method" + whose),
        _number(spread.get("categorical_comparison_threshold", threshold), "categorical_comparison_threshold" + whose),
        _known(
            spread.get("categorical_drift_method", L_INFINITY), _CATEGORICAL_METHODS, "categorical_drift_method" + whose
        ),
        _enabled(held, STRICT, whose, usual="Disabled"),
        _above_zero(ours.get("material_size", Settings.material), f"material_size of {OURS}{whose}"),
        _above_zero(
            ours.get("false_alert_probability", Settings.error), f"false_alert_probability of {OURS}{whose}", 1
        ),
        _number(held.get(UNREADABLE, Settings.most_unreadable), UNREADABLE + whose),
    )


def _over(common: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    found = {**common, **overrides}
    if isinstance(common.get(_DISTRIBUTION), dict) and isinstance(overrides.get(_DISTRIBUTION), dict):
        found[_DISTRIBUTION] = {**common[_DISTRIBUTION], **overrides[_DISTRIBUTION]}
    return found


def _object(held: Any, what: str) -> Mapping[str, Any]:
    if held is None:
        return {}
    if not isinstance(held, dict):
        raise BadFile(f"In the baseline constraints {what} is no object.")
    return held


def _enabled(held: Mapping[str, Any], key: str, whose: str, usual: str = "Enabled") -> bool:
    return _known(held.get(key, usual), {"enabled": "Enabled", "disabled": "Disabled"}, key + whose) == "Enabled"


def _known(value: Any, known: Mapping[str, str], what: str) -> str:
    found = known.get(str(value).lower())
    if found is None:
        raise BadFile(f"{what} is {value!r}; it has to be {' or '.join(dict.fromkeys(known.values()))}.")
    return found


def _number(value: Any, what: str) -> float:
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found):
        raise BadFile(f"{what} is {value!r}; it has to be a number.")
    return found


def _above_zero(value: Any, what: str, below: float = math.inf) -> float:
    found = _number(value, what)
    if not 0 < found < below:
        raise BadFile(f"{what} is {value!r}; it has to be above 0{'' if math.isinf(below) else f' and below {below}'}.")
    return found
