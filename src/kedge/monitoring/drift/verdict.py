"""Data drift or concept drift? What it is when inputs, quality or both have moved, and what to do about it. PURE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from kedge.monitoring.drift.judging import Finding

Kind = Literal["none", "data drift", "concept drift", "both", "data drift, quality unknown", "unknown"]

ADVICE: dict[Kind, str] = {
    "none": "Nothing has moved: nothing is to be done.",
    "data drift": "The model bears the change so far. Look at the columns that moved, and go back to their source: is"
    " it a defect of the data, or are the customers others? Keep watching the quality.",
    "concept drift": "The same inputs now have other answers: retrain on recent labels, as older ones teach the old.",
    "both": "Look at the columns that moved first, as a defect of the data is mended at its source. If they are as they"
    " should be, retrain on recent rows and their labels.",
    "data drift, quality unknown": "Inputs have moved, and without labels nobody can say whether that does harm: get"
    " labels of recent rows before you retrain.",
    "unknown": "Inputs have not moved, but without labels nobody can say whether their answers have: get labels of"
    " recent rows.",
}


class Verdict(NamedTuple):
    kind: Kind
    evidence: str
    advice: str


class Evidence(NamedTuple):
    """moved: what has, each told in a few words. watched: how many there are; None where nobody knows."""

    moved: Sequence[str]
    watched: int | None = None


def verdict(inputs: Sequence[Finding], quality: Sequence[Finding] | None) -> Verdict:
    """inputs: of one window, each column. quality: the same of columns that say how good answers were, such as whether
    each was right or how far off it was; None or empty while there are no labels."""
    return decided(of_findings(inputs), of_findings(quality) if quality else None)


def decided(inputs: Evidence, quality: Evidence | None) -> Verdict:
    """quality: None while there are no labels."""
    if quality is None:
        kind: Kind = "data drift, quality unknown" if inputs.moved else "unknown"
    elif inputs.moved:
        kind = "both" if quality.moved else "data drift"
    else:
        kind = "concept drift" if quality.moved else "none"
    said = f"inputs: {_said(inputs)}; quality: {_said(quality) if quality is not None else 'no labels'}"
    return Verdict(kind, said, ADVICE[kind])


def of_findings(findings: Sequence[Finding]) -> Evidence:
    """What alerts, the surest first."""
    ordered = sorted((each for each in findings if each.alerts), key=lambda each: each.p)
    named = [f"{each.column} {each.effect:+.2f} ({each.low:+.2f} to {each.high:+.2f})" for each in ordered]
    return Evidence(named, len(findings))


def of_violations(violations: Sequence[Mapping[str, Any]]) -> Evidence:
    """Of a job's constraint_violations.json, data quality's or model quality's."""
    named = [
        f"{each.get('feature_name') or each.get('metric_name') or '?'} ({each.get('constraint_check_type', '?')})"
        for each in violations
    ]
    return Evidence(list(dict.fromkeys(named)))


def in_this_window(violations: Sequence[Mapping[str, Any]], drift: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Without the drift that is over: alerts of several windows together in which this one does not differ by itself.

    drift: kedge_drift.json of the same window, {} where there is none.
    """
    over = {
        each["name"]
        for each in drift.get("features", ())
        if each["windows"] > 1 and each["distance"] is not None and each["distance"]["low"] <= 0
    }
    return [
        each
        for each in violations
        if each.get("constraint_check_type") != "baseline_drift_check" or each.get("feature_name") not in over
    ]


def _said(evidence: Evidence) -> str:
    of = "" if evidence.watched is None else f" of {evidence.watched}"
    if not evidence.moved:
        return f"none{of} moved"
    return f"{len(evidence.moved)}{of} moved: {', '.join(evidence.moved)}"
