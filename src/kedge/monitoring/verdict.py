"""Data drift or concept drift? What it is when inputs, quality or both have moved, and what to do about it. PURE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from kedge.monitoring.drift import Finding

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


def verdict(inputs: Sequence[Finding], quality: Sequence[Finding] | None) -> Verdict:
    """inputs: of one window, each column. quality: the same of columns that say how good answers were, such as whether
    each was right or how far off it was; None or empty while there are no labels."""
    moved = [each for each in inputs if each.alerts]
    worse = [each for each in quality or () if each.alerts]
    if not quality:
        kind: Kind = "data drift, quality unknown" if moved else "unknown"
    elif moved:
        kind = "both" if worse else "data drift"
    else:
        kind = "concept drift" if worse else "none"
    said = [
        f"inputs: {_said(moved, len(inputs))}",
        f"quality: {_said(worse, len(quality)) if quality else 'no labels'}",
    ]
    return Verdict(kind, "; ".join(said), ADVICE[kind])


def _said(moved: Sequence[Finding], count: int) -> str:
    if not moved:
        return f"none of {count} moved"
    ordered = sorted(moved, key=lambda each: each.p)
    named = ", ".join(f"{each.column} {each.effect:+.2f} ({each.low:+.2f} to {each.high:+.2f})" for each in ordered)
    return f"{len(moved)} of {count} moved: {named}"
