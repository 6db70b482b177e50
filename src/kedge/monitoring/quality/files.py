"""statistics.json, constraints.json and the violations of a model quality monitor, version 0.0. PURE.

Keys are AWS's; ours stand beside them: error_rate and error_classes in the statistics, error_constraints, and
baseline_value and standard_error of a metric, in the constraints, error_rate_check and error_mix_check among the
violations. Sources: the documented files.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from scipy.stats import norm

from kedge.monitoring.quality.errors import Change, Errors, Limits, change
from kedge.monitoring.quality.metrics import CONSTANT
from kedge.monitoring.quality.problem import BLOCKS, Measured, Unfit

LESS, GREATER = "LessThanThreshold", "GreaterThanThreshold"
_FAILS = {
    LESS: lambda value, threshold: value < threshold,
    GREATER: lambda value, threshold: value > threshold,
    "LessThanOrEqualToThreshold": lambda value, threshold: value <= threshold,
    "GreaterThanOrEqualToThreshold": lambda value, threshold: value >= threshold,
}
_SMALL_IS_GOOD = {"mae", "mse", "rmse", "false_positive_rate", "false_negative_rate"}
ERRORS = "error_constraints"
SIGNIFICANCE = 0.05
"""How likely a window is to violate any suggested constraint though nothing changed."""


class Bound(NamedTuple):
    """standard_error: of a threshold that is the baseline's own value; 0 of one that somebody set."""

    threshold: float
    operator: str
    standard_error: float = 0.0
    is_suggested: bool = False


class Violation(NamedTuple):
    metric_name: str
    constraint_check_type: str
    description: str


class Baseline(NamedTuple):
    bounds: dict[str, Bound]
    errors: Errors | None
    """None: the file was written by AWS, or the key was taken out."""
    limits: Limits


def statistics(measured: Measured, at: str) -> dict[str, Any]:
    """at: when it was evaluated."""
    block: dict[str, Any] = dict(measured.extra)
    for name, value in measured.scalars.items():
        block[name] = {"value": _number(value), "standard_deviation": _number(measured.deviations.get(name, math.nan))}
    found = measured.errors
    block["error_rate"] = {"value": found.rate, "count": found.count}
    if found.tolerance is not None:
        block["error_rate"]["tolerance"] = found.tolerance
    block["error_classes"] = {
        name: {"count": found.classes[name], "share": share} for name, share in found.shares().items()
    }
    return {
        "version": 0.0,
        "dataset": {"item_count": measured.rows, "evaluation_time": at},
        f"{BLOCKS[measured.problem]}_metrics": block,
    }


def constraints(measured: Measured) -> dict[str, Any]:
    """Suggested: each metric as good as it was."""
    bounds = {
        name: {
            "threshold": value,
            "comparison_operator": GREATER if name in _SMALL_IS_GOOD else LESS,
            "baseline_value": value,
            "standard_error": measured.standard_errors[name],
        }
        for name, value in measured.scalars.items()
        if not name.endswith(CONSTANT) and math.isfinite(value) and math.isfinite(measured.standard_errors[name])
    }
    found, limits = measured.errors, Limits()
    held: dict[str, Any] = {"rows": found.rows, "classes": dict(found.classes), **limits.__dict__}
    if found.tolerance is not None:
        held["tolerance"] = found.tolerance
    return {"version": 0.0, f"{BLOCKS[measured.problem]}_constraints": bounds, ERRORS: held}


def read(document: Any, problem: str) -> Baseline:
    """Raises Unfit with what is wrong."""
    key = f"{BLOCKS[problem]}_constraints"
    held = document.get(key) if isinstance(document, dict) else None
    if not isinstance(held, dict):
        raise Unfit(f'The baseline constraints have no object "{key}"; are they of another kind of problem?')
    bounds = {name: _bound(name, each) for name, each in held.items()}
    ours = document.get(ERRORS)
    if ours is None:
        return Baseline(bounds, None, Limits())
    try:
        limits = Limits(**{name: float(ours.get(name, usual)) for name, usual in Limits().__dict__.items()})
        tolerance = ours.get("tolerance")
        classes = {str(name): int(count) for name, count in ours["classes"].items()}
        found = Errors(int(ours["rows"]), classes, None if tolerance is None else float(tolerance))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Unfit(f'"{ERRORS}" of the baseline constraints cannot be read: {error!r}') from None
    return Baseline(bounds, found, limits)


def _bound(name: str, held: Any) -> Bound:
    operator = held.get("comparison_operator") if isinstance(held, dict) else None
    if operator not in _FAILS:
        raise Unfit(
            f"The constraint of {name} has the comparison_operator {operator!r}; it has to be {LESS} or {GREATER}."
        )
    try:
        threshold = float(held.get("threshold"))
        suggested = held.get("baseline_value") == held.get("threshold")
        return Bound(threshold, operator, float(held.get("standard_error") or 0) if suggested else 0.0, suggested)
    except (TypeError, ValueError):
        raise Unfit(f"The constraint of {name} has the threshold {held.get('threshold')!r}; it is no number.") from None


def compared(measured: Measured, baseline: Baseline) -> Change | None:
    return change(baseline.errors, measured.errors) if baseline.errors is not None else None


def violations(measured: Measured, baseline: Baseline, *, strict: bool = False) -> Iterator[Violation]:
    """strict: AWS's checks alone, by which a metric that is one hair worse than the baseline violates.

    Else what is compared with the baseline's own value has to be worse than chance explains, that of the window and of
    the baseline, at 5 % over all metrics (Bonferroni); a threshold that somebody set is kept to the letter.
    """
    suggested = sum(bound.is_suggested for bound in baseline.bounds.values())
    deviations = 0.0 if strict else float(norm.isf(SIGNIFICANCE / max(suggested, 1)))
    for name, bound in baseline.bounds.items():
        value = measured.scalars.get(name)
        if value is None:
            continue
        slack = 0.0
        if bound.is_suggested:
            slack = deviations * math.hypot(bound.standard_error, measured.standard_errors.get(name, 0.0))
        if _FAILS[bound.operator](value, bound.threshold + (slack if bound.operator.startswith("Greater") else -slack)):
            spread = measured.deviations.get(name, math.nan)
            yield Violation(
                name,
                bound.operator,
                f"Metric {name} with {value} +/- {spread} was {bound.operator} '{bound.threshold}'",
            )
    found = compared(measured, baseline)
    if strict or found is None or baseline.errors is None:
        return
    if found.rate_exceeds(baseline.limits):
        yield Violation(
            "error_rate",
            "error_rate_check",
            f"The share of wrong answers is {measured.errors.rate:.4g}, {baseline.errors.rate:.4g} in the baseline; "
            f"chance explains a rise like that with p = {found.rate_p:.2g}.",
        )
    if found.mix_exceeds(baseline.limits):
        yield Violation("error_class_proportion", "error_mix_check", _mix_told(baseline.errors, measured.errors, found))


def unknown(measured: Measured, baseline: Baseline) -> list[str]:
    """Constraints of metrics that this window does not have."""
    return [name for name in baseline.bounds if name not in measured.scalars]


def _mix_told(before: Errors, now: Errors, found: Change) -> str:
    was, shares = before.shares(), now.shares()
    moved = sorted({*was, *shares}, key=lambda name: -abs(shares.get(name, 0) - was.get(name, 0)))[:3]
    told = ", ".join(f"{name}: {was.get(name, 0):.3g} to {shares.get(name, 0):.3g}" for name in moved)
    still = "" if found.rate >= 0.02 else f", while the error rate went from {before.rate:.4g} to {now.rate:.4g}"
    return (
        f"{found.mix:.3g} of the errors are of other classes than in the baseline (p = {found.mix_p:.2g}){still}. "
        f"Shares of the errors: {told}."
    )


def _number(value: float) -> float | str:
    """AWS's files have the text NaN where a deviation is not known."""
    return value if math.isfinite(value) else "NaN"
