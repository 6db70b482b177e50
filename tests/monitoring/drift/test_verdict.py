"""Data drift or concept drift?"""

from __future__ import annotations

import pytest

from kedge.monitoring.drift.judging import Finding
from kedge.monitoring.drift.verdict import verdict


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
