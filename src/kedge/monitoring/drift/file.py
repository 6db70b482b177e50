"""kedge_drift.json: what a window's drift is of each column, in all rows and in each segment. PURE."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from kedge.monitoring.drift import effect
from kedge.monitoring.drift.baseline import Column
from kedge.monitoring.drift.cells import Floats, Numeric
from kedge.monitoring.drift.evidence import LEAST_ROWS
from kedge.monitoring.drift.judging import Finding
from kedge.monitoring.drift.known import Known
from kedge.monitoring.drift.series import ALL, Judged, Lasting
from kedge.monitoring.drift.spending import MONTH_S
from kedge.monitoring.drift.telling import was_and_is

DISCOVERIES = 0.05
"""The false discovery rate at which a change is called a discovery."""


def document(
    known: Known, judged: Judged, span: tuple[float, float] | None, rows: int, material: float, error: float
) -> dict[str, Any]:
    now = judged.history[-1]
    length = now.end_s - now.start_s
    found: dict[str, Any] = {
        "version": 1,
        "window": {"start": time_of(span[0]), "end": time_of(span[1])} if span else {},
        "rows": rows,
        "rule": {
            "material_size": material,
            "false_alert_probability_a_month": error,
            "spent_on_this_window": error * judged.spent_s / length * min(length / MONTH_S, 1.0),
            "least_rows": LEAST_ROWS,
            "false_discovery_rate": DISCOVERIES,
            "series": len(judged.findings),
        },
        "baseline_in_order": known.in_order,
        "baseline_has_times": any(column.has_times for column in known.columns.values()),
        "features": _features(known.columns, now.counts[ALL], judged, ALL),
    }
    if known.by:
        found["segments"] = {
            "column": known.by,
            "values": [
                {
                    "value": value,
                    "rows": int(max((row.sum() for row in now.counts[value].values()), default=0)),
                    "features": _features(columns, now.counts[value], judged, value),
                }
                for value, columns in known.segments.items()
            ],
        }
    return found


def _features(
    columns: Mapping[str, Column], counts: Mapping[str, Floats], judged: Judged, series: str
) -> list[dict[str, Any]]:
    return [
        _feature(columns[each.column], counts[each.column], each, judged.lasting[series][each.column])
        for each in judged.findings[series]
    ]


def _feature(column: Column, counts: Floats, finding: Finding, lasting: Lasting) -> dict[str, Any]:
    baseline, window = column.counts[:-1], counts[:-1]
    is_numeric = isinstance(column.cells, Numeric)
    measure = effect.kolmogorov if is_numeric else effect.largest_difference
    return {
        "name": finding.column,
        "judged": finding.rows >= LEAST_ROWS,
        "rows": finding.rows,
        "windows": finding.span,
        "aspect": finding.aspect,
        "was_and_is": was_and_is(column, counts, finding.aspect),
        "effect": finding.effect,
        "interval": [finding.low, finding.high],
        "p": finding.p,
        "q": finding.q,
        "discovery": finding.q <= DISCOVERIES,
        "alerts": finding.alerts,
        "severity": finding.severity,
        "since": None if lasting.since_s is None else time_of(lasting.since_s),
        "windows_in_a_row": lasting.windows,
        "alerts_of_last": [lasting.recent, lasting.of],
        "distance": {
            "method": "kolmogorov" if is_numeric else "largest difference of a share",
            **measure(baseline, window)._asdict(),
        }
        if window.sum()
        else None,
        "cramers_v": effect.cramers_v(baseline, window) if window.sum() else None,
    }


def said(told: Mapping[str, Any]) -> dict[str, str]:
    """What a violation says of each column, of kedge_drift.json; nothing where it alerts nowhere."""
    material = told["rule"]["material_size"]
    found = {each["name"]: _said(each, material) for each in told["features"]}
    segments = told.get("segments", {"column": "", "values": []})
    inside: dict[str, list[str]] = {}
    for part in segments["values"]:
        for each in part["features"]:
            if each["alerts"]:
                inside.setdefault(each["name"], []).append(f"{part['value']!r}: {_size(each)}")
    for name, parts in inside.items():
        whole = found.get(name) or "Baseline drift within segments."
        found[name] = f"{whole} Where {segments['column']} is {'; '.join(parts)}."
    return found


def _said(feature: Mapping[str, Any], material: float) -> str:
    if not feature["alerts"]:
        return ""
    windows = feature["windows"]
    over = f"{feature['rows']:,.0f} rows" + (f" of {windows} windows" if windows > 1 else "")
    lasts = f", now in {feature['windows_in_a_row']} windows in a row" if feature["windows_in_a_row"] > 1 else ""
    p = f"p = {feature['p']:.2g}" if feature["p"] > 1e-300 else "p below 1e-300"
    return (
        f"Baseline drift of {_size(feature)} in {over}{lasts}. A change is material from {material:g} standard "
        f"deviations. Severity: {feature['severity']}, {p}."
    )


def _size(feature: Mapping[str, Any]) -> str:
    low, high = feature["interval"]
    seen = f"{feature['aspect']}: {feature['was_and_is']}"
    return f"{feature['effect']:+.2f} standard deviations ({low:+.2f} to {high:+.2f}, seen in its {seen})"


def time_of(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
