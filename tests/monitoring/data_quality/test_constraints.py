"""monitoring_config: each switch, for all columns and for one."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from kedge.monitoring.data_quality import constraints, statistics_file, violations
from kedge.monitoring.profiles.profile import Profile

RNG = np.random.default_rng(8)


def profile(shift: float, rome: float, n: int = 4000) -> Profile:
    made = Profile()
    made.rows = n
    made.column("x").add(pl.Series(RNG.normal(shift, 1, n)))
    made.column("city").add(pl.Series(RNG.choice(["Rome", "Oslo"], n, p=[rome, 1 - rome])))
    return made


BASELINE = profile(0.0, 0.5)


def drifts(current: Profile, common: dict, spread: dict, overrides: dict | None = None) -> set[str]:
    document = constraints.suggested(BASELINE)
    config = document["monitoring_config"]
    config["distribution_constraints"] = {**config["distribution_constraints"], **spread}
    config.update(common)
    if overrides:
        document["features"][0]["monitoring_config_overrides"] = overrides
    baseline = statistics_file.read(statistics_file.statistics(BASELINE))
    found = violations.judged(current, constraints.read(document), baseline)
    assert {each.constraint_check_type for each in found.violations} <= {violations.DRIFT}
    return {each.feature_name for each in found.violations}


@pytest.mark.parametrize(
    ("shift", "rome", "spread", "want"),
    [
        (0.0, 0.5, {}, set()),
        (0.5, 0.7, {}, {"x", "city"}),
        (0.3, 0.5, {}, set()),  # a distance of 0.12, of which chance explains 0.04
        (0.3, 0.5, {"comparison_method": "Simple"}, {"x"}),
        (0.3, 0.5, {"comparison_method": "linf_simple"}, {"x"}),
        (0.5, 0.7, {"perform_comparison": "Disabled"}, set()),
        (0.5, 0.7, {"comparison_threshold": 0.5}, {"city"}),
        (0.5, 0.7, {"categorical_comparison_threshold": 0.5}, {"x"}),
        (0.0, 0.6, {}, set()),
        (0.0, 0.6, {"categorical_drift_method": "ChiSquared"}, {"city"}),  # the p-value is next to 0
        (0.0, 0.5, {"categorical_drift_method": "ChiSquared", "categorical_comparison_threshold": 1e-6}, set()),
        (0.0, 0.6, {"categorical_drift_method": "ChiSquared", "comparison_method": "Simple"}, {"city"}),
    ],
)
def test_methods_and_thresholds(shift, rome, spread, want):
    assert drifts(profile(shift, rome), {}, spread) == want


def test_without_a_threshold_of_their_own_strings_have_that_of_numbers():
    document = constraints.suggested(BASELINE)
    spread = document["monitoring_config"]["distribution_constraints"]
    del spread["categorical_comparison_threshold"]
    spread["comparison_threshold"] = 0.4
    assert constraints.read(document).settings.categorical_threshold == 0.4


def test_nothing_is_judged_where_it_is_switched_off_but_for_a_column_that_says_otherwise():
    moved = profile(0.5, 0.7)
    assert drifts(moved, {"evaluate_constraints": "Disabled"}, {}) == set()
    assert drifts(moved, {"evaluate_constraints": "Disabled"}, {}, {"evaluate_constraints": "Enabled"}) == {"x"}
    assert drifts(moved, {}, {}, {"distribution_constraints": {"comparison_threshold": 0.9}}) == {"city"}


def test_the_share_that_has_to_match_is_a_threshold():
    current = profile(0.0, 0.5, 1000)
    current.rows += 10
    current.column("city").add(pl.Series(["Bonn"] * 10))
    document = constraints.suggested(BASELINE)
    for threshold, number in ((1.0, 1), (0.99, 0)):
        document["monitoring_config"]["domain_content_threshold"] = threshold
        found = violations.judged(current, constraints.read(document), None).violations
        names = [(each.feature_name, each.constraint_check_type) for each in found if each.feature_name == "city"]
        assert names == [("city", "categorical_values_check")] * number


@pytest.mark.parametrize(
    ("key", "value"),
    [("comparison_method", "Guess"), ("categorical_drift_method", 7), ("comparison_threshold", "much")],
)
def test_what_a_setting_may_not_be_is_named(key, value):
    document = constraints.suggested(BASELINE)
    document["monitoring_config"]["distribution_constraints"][key] = value
    with pytest.raises(statistics_file.BadFile, match=key):
        constraints.read(document)
