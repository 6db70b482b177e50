"""Shares that a baseline measured: a window misses them by chance without a violation, and by more with one."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import hypergeom

from kedge.monitoring.data_quality import chance, constraints, statistics_file, violations
from kedge.monitoring.profiles.profile import Profile


@given(st.integers(1, 3000), st.integers(1, 3000), st.floats(0, 1), st.floats(0, 1), st.sampled_from([0.1, 1e-3, 1e-8]))
def test_what_exceeds_has_a_p_value_of_at_most_the_level(rows, rows_before, share, earlier, level):
    seen, before = round(share * rows), max(1, round(earlier * rows_before))
    exact = hypergeom.sf(seen - 1, rows + rows_before, seen + before, rows)
    if chance.exceeds(seen, rows, before, rows_before, level):
        assert exact <= level * (1 + 1e-9)
    elif seen / rows > before / rows_before:
        assert exact > level**3 / 1e3  # the bound is not so far above it that nothing is ever seen


@pytest.mark.parametrize(
    ("seen", "rows", "want"),
    [(20, 1_000, False), (40, 1_000, False), (60, 1_000, True), (2_200, 100_000, False), (2_800, 100_000, True)],
)
def test_two_percent_of_twenty_thousand(seen, rows, want):
    assert chance.exceeds(seen, rows, 400, 20_000) is want


RNG = np.random.default_rng(4)
RARE = [*[f"city {n}" for n in range(40)], *[f"village {n}" for n in range(600)]]
SHARES = np.array([0.02497] * 40 + [2e-6] * 600)


def profile(rows: int, missing: float = 0.02, extra: str = "", extra_share: float = 0.0) -> Profile:
    made = Profile()
    made.rows = rows
    present = RNG.random(rows) >= missing
    made.column("age").add(pl.Series(RNG.normal(40, 10, rows)).zip_with(pl.Series(present), pl.Series([None] * rows)))
    cities = RNG.choice(RARE, rows, p=SHARES / SHARES.sum())
    made.column("city").add(pl.Series(np.where(RNG.random(rows) < extra_share, extra, cities)))
    return made


def found(current: Profile, baseline: Profile, ours: dict[str, str] | None, **feature: Any) -> list[str]:
    document = constraints.suggested(baseline)
    document["features"][0] |= feature
    known = statistics_file.read(statistics_file.statistics(baseline))
    judged = violations.judged(current, constraints.read(document), known, ours)
    return [each.constraint_check_type for each in judged.violations if each.constraint_check_type != violations.DRIFT]


def test_windows_like_the_baseline_violate_nothing_and_aws_alone_would_alert_in_most():
    baseline = profile(20_000)
    assert constraints.suggested(baseline)["features"][1]["string_constraints"]["domains"]
    windows = [profile(rows) for rows in (200, 1_000, 20_000, 100_000) for _ in range(10)]
    assert [found(window, baseline, {}) for window in windows] == [[]] * 40
    strict = [found(window, baseline, None) for window in windows]
    assert sum(bool(each) for each in strict) > 15


def test_more_than_chance_is_a_violation_and_what_somebody_asks_for_is_no_sample():
    baseline = profile(20_000)
    assert found(profile(1_000, missing=0.1), baseline, {}) == [violations.COMPLETENESS]
    assert found(profile(1_000, extra="Atlantis", extra_share=0.05), baseline, {}) == [violations.CATEGORICAL]
    assert found(profile(1_000), baseline, {}, completeness=0.999) == [violations.COMPLETENESS]
    whole = profile(20_000, missing=0.0)
    assert found(profile(20_000, missing=1e-3), whole, {}) == [violations.COMPLETENESS]
