"""The data quality job: reads the data set, profiles it, and suggests a baseline or judges by one."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from kedge.monitoring import nothing
from kedge.monitoring.container import Container, JobFailed
from kedge.monitoring.data_quality import constraints as constraints_file
from kedge.monitoring.data_quality import feature_metrics, renewed, statistics_file, violations
from kedge.monitoring.data_quality.constraints import STRICT
from kedge.monitoring.data_quality.report import report
from kedge.monitoring.data_quality.statistics_file import BadFile
from kedge.monitoring.drift import learning
from kedge.monitoring.drift.kept_rows import KeptRows
from kedge.monitoring.drift.learning import INFERENCE_TIME, SEGMENTS, TIME
from kedge.monitoring.profiles.profile import Profile
from kedge.monitoring.profiles.profiling import profiled
from kedge.monitoring.program import outcome
from kedge.monitoring.reading import captured as reader
from kedge.monitoring.reading import source as sources
from kedge.monitoring.reading.fetching import Fetcher
from kedge.monitoring.reading.pieces import Notes, Piece, Unreadable
from kedge.monitoring.reading.scripts import ScriptFailed, postprocess

if TYPE_CHECKING:
    from kedge.monitoring.drift.job import Watching

STATISTICS, CONSTRAINTS, VIOLATIONS = "statistics.json", "constraints.json", "constraint_violations.json"
_TELL_TIMES = (sources.CAPTURED, sources.MERGED)
"""Formats whose records say when they were."""
REPORT = "data_quality_report.json"
"""Ours, beside AWS's: what was left out while reading, kinds of values, distances with and without chance."""
_BEFORE = "kedge_constraints_before"
"""The variable of constraints whose place the suggested ones are to take."""


def run(container: Container) -> str:
    """What the job says at its end. Raises JobFailed, whose text is the reason."""
    try:
        return _run(container)
    except (Unreadable, ScriptFailed, BadFile) as error:
        raise JobFailed(str(error)) from None


def _run(container: Container) -> str:
    environment = container.environment
    constraints, baseline, document = _baseline(container)
    strict = environment.get(STRICT) == "Enabled"
    time = str(document.get(TIME) or environment.get(TIME) or "")
    learns = not constraints and not strict
    form = sources.format_of(environment.get("dataset_format") or "{}")
    captured = learns and not time and form.name in _TELL_TIMES
    replaced = container.path(_BEFORE)
    before = _json(replaced) if replaced and not constraints else None
    kept = KeptRows(INFERENCE_TIME if captured else time) if learns else None
    notes = Notes()
    with ThreadPoolExecutor(1) as aside:
        coming = None
        if constraints and baseline and not strict and not constraints.settings.strict_aws:
            coming = aside.submit(_watching, container, document, baseline)
        beside = kept.add if kept else coming.result().beside if coming and SEGMENTS in document else None
        names = list(constraints.features) if constraints else renewed.names(before) if before else None
        profile = _profile(container, names, notes, beside, INFERENCE_TIME if captured else "")
        watching = coming.result() if coming else None
    profile.columns.pop(time, None)  # it says when a row was, and is no feature
    suggested = constraints_file.suggested(
        profile, environment.get("categorical_drift_method") or constraints_file.L_INFINITY
    )
    if before:
        suggested = renewed.renewed(suggested, before, of_labels=reader.LABEL in form.sides)
    statistics = statistics_file.statistics(profile)
    if kept:
        learning.write(statistics, profile, kept, environment.get("kedge_segment_column", ""))
    container.write(STATISTICS, statistics)
    container.write(CONSTRAINTS, suggested)
    judgement = violations.Judgement()
    if constraints:
        ours = watching.judged(profile, constraints) if watching else None
        judgement = violations.judged(profile, constraints, baseline, ours, None if strict else notes)
        container.write(VIOLATIONS, {"violations": [each._asdict() for each in judgement.violations]})
    container.write(REPORT, report(profile, judgement, notes))
    if environment.get("publish_cloudwatch_metrics") == "Enabled":
        at = environment.get("metric_time") or environment.get("start_time") or container.now()
        lines = feature_metrics.metrics(profile, judgement, constraints, environment, at)
        container.write_metrics(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    script = container.path("post_analytics_processor_script")
    if script:
        postprocess(script)
    return outcome(len(judgement.violations))


def _watching(container: Container, document: Mapping[str, Any], baseline: statistics_file.Statistics) -> Watching:
    """While rows are read: scipy, which it needs, takes as long as a small job."""
    from kedge.monitoring.drift.job import Watching

    return Watching(container, document, baseline)


def _profile(
    container: Container, names: list[str] | None, notes: Notes, beside: Callable[[Piece], None] | None, time: str
) -> Profile:
    environment = container.environment
    source = sources.Source(
        path=container.needed("dataset_source"),
        format=sources.format_of(environment.get("dataset_format") or "{}"),
        names=names,
        script=container.path("record_preprocessor_script"),
        start=environment.get("start_time", ""),
        end=environment.get("end_time", ""),
        time=time,
    )
    gc.disable()  # rows hold no cycles, and a million dicts at a time are long to look through
    try:
        with Fetcher() as fetch:
            profile = profiled(sources.pieces(source, notes, fetch), beside=beside)
    finally:
        gc.enable()
    container.say(f"Read {profile.rows} rows of {len(profile.columns)} columns; left out {notes.left_out}.")
    for reason, rows in notes.reasons.items():
        container.say(f"Left out {rows}: {reason}")
    if not profile.rows:
        within = f" from {source.start} to {source.end}" if source.start and source.end else ""
        dropped = f", or {source.script.name} has dropped them all" if source.script else ""
        raise JobFailed(nothing.reason(f"{source.path} holds no rows{within}{dropped}", notes.left_out, notes.told()))
    return profile


def _baseline(
    container: Container,
) -> tuple[constraints_file.Constraints | None, statistics_file.Statistics | None, Mapping[str, Any]]:
    """Constraints, statistics and the file of those. Without constraints the job suggests them."""
    constraints, baseline = container.path("baseline_constraints"), container.path("baseline_statistics")
    document = _json(baseline) if baseline else {}
    known = constraints_file.read(_json(constraints)) if constraints else None
    statistics = statistics_file.read(document) if baseline else None
    if known and statistics and known.features and known.features.keys().isdisjoint(statistics.features):
        raise BadFile(
            "The baseline's statistics have none of the columns that its constraints have: are they of two models? "
            f"They have {', '.join(list(statistics.features)[:5])}, and {', '.join(list(known.features)[:5])}."
        )
    return known, statistics, document


def _json(path: Path) -> Mapping[str, Any]:
    if path.is_dir():  # a job's input is a folder, of the one file
        files = sorted(path.glob("*.json"))
        path = files[0] if len(files) == 1 else path
    try:
        found: Mapping[str, Any] = orjson.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BadFile(f"The baseline {path.name} cannot be read: {error}") from None
    return found
