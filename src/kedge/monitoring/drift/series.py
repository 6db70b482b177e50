"""A series of windows that are judged one execution at a time: the state that goes from each to the next. PURE.

A state holds the counts of the last windows, what was spent on them and what they found. It is never changed: judging
gives a new one. So an execution that is tried again begins from the same state and counts once, and one of a window
that was judged before takes that window's place. What a window may spend is the part of the month (`spending`) that no
window before it has had: overlapping windows do not spend the same hours twice.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kedge.monitoring.data_quality.statistics_file import BadFile
from kedge.monitoring.drift import judging
from kedge.monitoring.drift.baseline import HOUR_S, Column
from kedge.monitoring.drift.cells import Floats, Numeric
from kedge.monitoring.drift.evidence import RECENT
from kedge.monitoring.drift.judging import Finding, Settings

ALL = ""
"""The series of all rows; others are named by their segment's value."""
_VERSION = 1
_LARGEST_BYTES = 64 << 20

Counts = Mapping[str, Mapping[str, Floats]]
"""Of series, of columns: a row of counts."""


@dataclass(frozen=True)
class Window:
    """start_s, end_s: since 1970. spent_s: of the month. counts: by series and column. alerts, effects: likewise."""

    start_s: float
    end_s: float
    spent_s: float
    counts: Counts
    alerts: Mapping[str, list[str]] = field(default_factory=dict)
    effects: Mapping[str, Mapping[str, tuple[float, float, float]]] = field(default_factory=dict)
    """Effect and the ends of its interval."""


@dataclass(frozen=True)
class State:
    """baseline: which one the windows were counted for. windows: the last ones, oldest first."""

    baseline: str
    windows: tuple[Window, ...] = ()


@dataclass(frozen=True)
class Lasting:
    """since_s: the start of the first of the windows in a row that alerted up to this one; None: this one does not.

    windows: how many those are. recent: how many of the last ones alerted; of: how many there were."""

    since_s: float | None
    windows: int
    recent: int
    of: int


@dataclass(frozen=True)
class Judged:
    """findings: by series. lasting: by series and column. state: for the next window; None where times are unknown."""

    findings: dict[str, list[Finding]]
    lasting: dict[str, dict[str, Lasting]]
    history: tuple[Window, ...]
    spent_s: float
    state: State | None


def judged(
    known: Mapping[str, Mapping[str, Column]], counts: Counts, span: tuple[float, float] | None, before: State | None,
    material: float, error: float
) -> Judged:  # fmt: skip
    """known, counts: by series and column. span: start and end of the window; without it the window stands alone.

    before: None in the first execution, and of another baseline it is as none. error: of a month, all series together.
    """
    which = fingerprint(known)
    windows = before.windows if before and before.baseline == which else ()
    start, end = span or (0.0, HOUR_S)
    length = max(end - start, 1.0)
    again = next((each for each in windows if (each.start_s, each.end_s) == (start, end)), None)
    spent = again.spent_s if again else length - _covered(windows, start, end)
    earlier = [each for each in windows if each.end_s <= start and abs(each.end_s - each.start_s - length) < 1.0]
    earlier = earlier[-(RECENT - 1) :] if span else []
    settings = Settings(
        material=material,
        error=error * max(spent, 1e-9) / length,
        window_s=length,
        segments=len(known),
    )
    starts = np.array([*(each.start_s for each in earlier), start]) if span else None
    findings: dict[str, list[Finding]] = {}
    for series, columns in known.items():
        rows = {
            name: np.array([*(each.counts[series][name] for each in earlier), counts[series][name]]) for name in columns
        }
        found = judging.findings(columns, rows, starts, settings) if columns else []
        findings[series] = found[-1] if found else []
    now = Window(
        start, end, spent, counts,
        {series: [each.column for each in found if each.alerts] for series, found in findings.items()},
        {
            series: {each.column: (each.effect, each.low, each.high) for each in found if each.rows}
            for series, found in findings.items()
        },
    )  # fmt: skip
    history = (*(each for each in windows if each.end_s <= start), now) if span else (now,)
    kept = sorted([*(each for each in windows if each is not again), now], key=lambda each: (each.end_s, each.start_s))
    state = State(which, tuple(kept[-RECENT:])) if span else None
    lasting = {series: {name: _lasting(history, series, name) for name in columns} for series, columns in known.items()}
    return Judged(findings, lasting, history[-RECENT:], spent, state)


def _covered(windows: tuple[Window, ...], start: float, end: float) -> float:
    """Seconds of this span that others have had."""
    total, at = 0.0, start
    for each in sorted(windows, key=lambda each: each.start_s):
        low, high = max(each.start_s, at), min(each.end_s, end)
        if high > low:
            total += high - low
            at = high
    return total


def _lasting(history: tuple[Window, ...], series: str, column: str) -> Lasting:
    fired = [column in each.alerts.get(series, ()) for each in history]
    row = next((number for number, fires in enumerate(reversed(fired)) if not fires), len(fired))
    since = history[len(history) - row].start_s if row else None
    return Lasting(since, row, sum(fired), len(fired))


def fingerprint(known: Mapping[str, Mapping[str, Column]]) -> str:
    """Of what is counted: a state of other cells is of no use."""
    digest = hashlib.sha256()
    for series, columns in known.items():
        for name, column in columns.items():
            cells = column.cells
            told = cells.uppers.tobytes() if isinstance(cells, Numeric) else repr(cells.levels).encode()
            digest.update(repr((series, name)).encode() + told + column.counts.tobytes())
    return digest.hexdigest()[:32]


def written(state: State) -> dict[str, Any]:
    return {
        "version": _VERSION,
        "baseline": state.baseline,
        "windows": [
            {
                "start_s": each.start_s,
                "end_s": each.end_s,
                "spent_s": each.spent_s,
                "alerts": each.alerts,
                "effects": each.effects,
                "counts": {
                    series: {name: _packed(row) for name, row in columns.items()}
                    for series, columns in each.counts.items()
                },
            }
            for each in state.windows
        ],
    }


def read(document: Any) -> State:
    """Raises BadFile."""
    try:
        if document["version"] != _VERSION:
            raise ValueError(f"its version is {document['version']!r}, and not {_VERSION}")
        windows = [
            Window(
                float(each["start_s"]), float(each["end_s"]), float(each["spent_s"]),
                {
                    str(series): {str(name): _unpacked(row) for name, row in columns.items()}
                    for series, columns in each["counts"].items()
                },
                {str(series): list(map(str, names)) for series, names in each["alerts"].items()},
                {
                    str(series): {str(name): _three(held) for name, held in columns.items()}
                    for series, columns in each["effects"].items()
                },
            )
            for each in document["windows"]
        ]  # fmt: skip
        return State(str(document["baseline"]), tuple(windows))
    except (AttributeError, KeyError, TypeError, ValueError, binascii.Error, zlib.error) as error:
        raise BadFile(
            f"The state of drift cannot be read: {error!r}. Leave kedge_drift_state out to begin anew."
        ) from None


def _three(held: Any) -> tuple[float, float, float]:
    effect, low, high = map(float, held)
    return effect, low, high


def _packed(row: Floats) -> str:
    return base64.b64encode(zlib.compress(np.asarray(row, dtype="<f8").tobytes())).decode()


def _unpacked(text: str) -> Floats:
    held = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), _LARGEST_BYTES)
    return np.frombuffer(held, "<f8").astype(np.float64)
