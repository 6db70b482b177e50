"""Drift within a data quality job: a window is judged, with those before it, whose state is in `kedge_drift_state`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from kedge.monitoring.container import Container, JobFailed
from kedge.monitoring.data_quality.constraints import Constraints
from kedge.monitoring.data_quality.statistics_file import BadFile, Statistics
from kedge.monitoring.drift import file, known, page, series
from kedge.monitoring.drift.segments import Segments
from kedge.monitoring.drift.series import ALL
from kedge.monitoring.profiles.profile import Profile

DRIFT, PAGE, STATE = "kedge_drift.json", "kedge_drift.html", "kedge_drift_state.json"


class Watching:
    """Of a window. document: the baseline's statistics.json, as baseline says it, too."""

    def __init__(self, container: Container, document: Mapping[str, Any], baseline: Statistics) -> None:
        self._container = container
        self._known = known.read(document, baseline)
        self._segments = Segments(self._known)
        self.beside = self._segments.add if self._known.by else None

    def judged(self, profile: Profile, constraints: Constraints) -> dict[str, str]:
        """Writes the files of drift. Of each column that was judged: what its violation says, if it alerts."""
        settings = constraints.settings
        columns = {ALL: self._known.columns, **self._known.segments}
        counts = {ALL: known.window(profile, self._known.columns), **self._segments.counts}
        span = _span(self._container.environment)
        judged = series.judged(columns, counts, span, self._state(), settings.material, settings.error)
        told = file.document(self._known, judged, span, profile.rows, settings.material, settings.error)
        self._container.write(DRIFT, told)
        self._container.write_bytes(PAGE, page.page(told, self._known, judged))
        if judged.state:
            self._container.write_bytes(STATE, orjson.dumps(series.written(judged.state)))
        return file.said(told)

    def _state(self) -> series.State | None:
        path = self._container.path("kedge_drift_state")
        if path is None:
            return None
        file = path / STATE if path.is_dir() else path
        try:
            return series.read(orjson.loads(_bytes(file)))
        except orjson.JSONDecodeError as error:
            raise BadFile(f"The state of drift is no JSON: {error}.") from None


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise JobFailed(f"kedge_drift_state names {file.name}, which cannot be read: {error}") from None


def _span(environment: Mapping[str, str]) -> tuple[float, float] | None:
    """Start and end of the window, in seconds since 1970."""
    start, end = environment.get("start_time"), environment.get("end_time")
    if not start or not end:
        return None
    found = _seconds("start_time", start), _seconds("end_time", end)
    if found[1] <= found[0]:
        raise JobFailed(f"start_time is {start} and end_time {end}, which is not after it.")
    return found


def _seconds(name: str, text: str) -> float:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise JobFailed(f"{name} is {text!r}; it has to be a time such as 2026-01-01T00:00:00Z.") from None
    return at.timestamp() if at.tzinfo else datetime.fromisoformat(f"{text}+00:00").timestamp()
