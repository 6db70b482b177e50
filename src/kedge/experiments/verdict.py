"""Winner, no difference, or not yet: what follows from an interval. PURE."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from kedge.experiments.interval import Interval

Verdict = Literal["better", "worse", "no difference", "not yet"]


def verdict(interval: Interval, *, lower_is_better: bool, indifference: float = 0.0) -> Verdict:
    """Of the other variant, beside the control.

    indifference: a difference of up to so much, in either direction, is none. An interval inside of that says so; one
    that leaves out 0 says which is better. With an indifference of 0 there is always a difference, only not yet seen.
    """
    if -indifference < interval.low and interval.high < indifference:
        return "no difference"
    if interval.high < 0:
        return "better" if lower_is_better else "worse"
    if interval.low > 0:
        return "worse" if lower_is_better else "better"
    return "not yet"


def winner(
    control: str, verdicts: Mapping[str, Verdict], estimates: Mapping[str, float], *, lower_is_better: bool
) -> str | None:
    """The variant that should have the traffic; None while a pair is undecided, or where nothing is worth a change.

    Others than the control are compared with it alone. Of several that are better the one with the best estimate wins;
    it beat the control, and not the others. The control wins when it beat all of them.
    """
    if not verdicts or "not yet" in verdicts.values():
        return None
    better = [name for name, each in verdicts.items() if each == "better"]
    if better:
        return min(better, key=lambda name: estimates[name] if lower_is_better else -estimates[name])
    return control if set(verdicts.values()) == {"worse"} else None
