"""Data drift or concept drift?"""

from __future__ import annotations

import pytest

from kedge.monitoring.drift.judging import Finding
from kedge.monitoring.drift.verdict import in_this_window, verdict


def found(column: str, alerts: bool) -> Finding:
    return Finding(0, column, "shift", 1, 1000.0, 0.4, 0.2, 0.6, 1e-9, 1e-8, alerts, "material" if alerts else "none")


@pytest.mark.parametrize(
    ("inputs", "quality", "kind"),
    [
        (False, False, "none"),
        (True, False, "data drift"),
        (False, True, "concept drift"),
        (True, True, "both"),
        (True, None, "data drift, quality unknown"),
        (False, None, "unknown"),
    ],
)
def test_what_kind_of_drift_it_is(inputs: bool, quality: bool | None, kind: str) -> None:
    labels = None if quality is None else [found("right", quality)]
    said = verdict([found("age", inputs), found("plan", False)], labels)
    assert said.kind == kind
    assert ("age +0.40" in said.evidence) == inputs
    assert said.advice


def test_drift_that_is_over_does_not_count_for_this_window() -> None:
    """Alerts are of several windows together, too; one in which this window has no part is of those before."""
    violations = [
        {"feature_name": name, "constraint_check_type": "baseline_drift_check"}
        for name in ("past", "now", "alone", "new")
    ] + [{"feature_name": "past", "constraint_check_type": "data_type_check"}]
    features = [
        {"name": name, "windows": windows, "distance": {"low": low}}
        for name, windows, low in (("past", 4, 0.0), ("now", 4, 0.1), ("alone", 1, 0.0))
    ]
    kept = in_this_window(violations, {"features": features})
    assert kept == violations[1:]
    assert in_this_window(violations, {}) == violations
