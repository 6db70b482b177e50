"""The model quality job: reads predictions with their labels, and suggests a baseline or judges by one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from kedge.monitoring import nothing
from kedge.monitoring.container import Container, JobFailed
from kedge.monitoring.data_quality.feature_metrics import dimensions
from kedge.monitoring.program import outcome
from kedge.monitoring.quality import files, problem
from kedge.monitoring.quality.problem import Measured, Rows, Unfit
from kedge.monitoring.reading import merged_records
from kedge.monitoring.reading import source as sources
from kedge.monitoring.reading.captured import OUTPUTS, Odd
from kedge.monitoring.reading.fetching import Fetcher
from kedge.monitoring.reading.pieces import Notes, Unreadable
from kedge.monitoring.reading.scripts import ScriptFailed, postprocess

STATISTICS, CONSTRAINTS, VIOLATIONS = "statistics.json", "constraints.json", "constraint_violations.json"
ENDPOINT_NAMESPACE = "aws/sagemaker/Endpoints/model-metrics"
BATCH_NAMESPACE = "aws/sagemaker/ModelMonitoring/model-metrics"
STRICT = "kedge_strict_aws"
"""Enabled: no check of ours beside AWS's."""
_SEED = 20111


@dataclass
class Columns:
    actual: list[Any] = field(default_factory=list)
    said: list[Any] = field(default_factory=list)
    score: list[Any] = field(default_factory=list)


def run(container: Container) -> str:
    """What the job says at its end. Raises JobFailed, whose text is the reason."""
    try:
        return _run(container)
    except (Unfit, Unreadable, ScriptFailed) as error:
        raise JobFailed(str(error)) from None


def _run(container: Container) -> str:
    environment = container.environment
    kind = problem.problem_of(environment.get("problem_type", ""))
    given = container.path("baseline_constraints")
    baseline = files.read(document(given), kind) if given else None
    tolerance = baseline.errors.tolerance if baseline and baseline.errors else None
    rows = _rows(container)
    measured = problem.measured(kind, rows, np.random.default_rng(_SEED), tolerance)
    container.write(STATISTICS, files.statistics(measured, container.now("milliseconds")))
    container.write(CONSTRAINTS, files.constraints(measured))
    found: list[files.Violation] = []
    if baseline:
        for name in files.unknown(measured, baseline):
            container.say(f"The baseline has a constraint of {name}, which these data do not give.")
        found = list(files.violations(measured, baseline, strict=environment.get(STRICT) == "Enabled"))
        container.write(VIOLATIONS, {"violations": [each._asdict() for each in found]})
    if environment.get("publish_cloudwatch_metrics") == "Enabled":
        at = environment.get("metric_time") or environment.get("start_time") or container.now()
        lines = series(measured, baseline, environment, at)
        container.write_metrics(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    script = container.path("post_analytics_processor_script")
    if script:
        postprocess(script)
    return outcome(len(found))


def series(
    measured: Measured, baseline: files.Baseline | None, environment: Mapping[str, str], at: str
) -> Iterator[dict[str, Any]]:
    """A line for each metric, as a job hands them over. error_rate and error_class_drift are ours."""
    values = dict(measured.scalars) | {"error_rate": measured.errors.rate}
    change = files.compared(measured, baseline) if baseline else None
    if change:
        values["error_class_drift"] = change.mix
    for name, value in values.items():
        if np.isfinite(value):
            yield {"MetricName": name, **common(environment, at, ENDPOINT_NAMESPACE, BATCH_NAMESPACE), "Value": value}


def common(environment: Mapping[str, str], at: str, of_endpoint: str, of_batch: str) -> dict[str, Any]:
    """What every metric of a monitor has: its namespace, time, unit and the dimensions of endpoint and schedule."""
    return {
        "Namespace": of_endpoint if environment.get("sagemaker_endpoint_name") else of_batch,
        "Timestamp": at,
        "Dimensions": dimensions(environment),
        "Unit": "None",
    }


def document(path: Path) -> Any:
    """JSON of a file, or of the only one of a folder. Raises Unreadable."""
    if path.is_dir():
        found = sorted(path.rglob("*.json"))
        path = next(
            (each for each in found if each.name in (CONSTRAINTS, "analysis.json")), found[0] if found else path
        )
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise Unreadable(f"{path.name} cannot be read as JSON: {error}") from None


def _rows(container: Container) -> Rows:
    environment = container.environment
    named = {
        "said": environment.get("inference_attribute") or None,
        "score": environment.get("probability_attribute") or None,
        "actual": environment.get("ground_truth_attribute") or None,
    }
    notes = Notes()
    form = sources.format_of(environment.get("dataset_format") or "{}")
    path = container.needed("dataset_source")
    script = container.path("record_preprocessor_script")
    window = environment.get("start_time", ""), environment.get("end_time", "")
    if form.name in (sources.MERGED, sources.CAPTURED) and not script:
        columns = _merged(merged_records.records(path, notes, *window), named, _sides(form.sides), notes)
    else:
        columns = _table(sources.Source(path, form, None, script, *window), named, notes)
    rows = len(columns.actual)
    container.say(f"Read {rows} rows with a label; left out {notes.left_out}.")
    for reason, times in notes.reasons.items():
        container.say(f"Left out {times}: {reason}")
    if not rows:
        raise JobFailed(nothing.reason(f"{path} holds no prediction with its label", notes.left_out, notes.told()))
    return Rows(columns.actual, columns.said or None, columns.score or None, _threshold(environment))


def _sides(given: tuple[str, ...]) -> tuple[str, ...]:
    """Predictions are in answers, whatever else was captured."""
    return tuple(each for each in given if each in OUTPUTS) or OUTPUTS


def _merged(
    records: Iterator[dict[str, Any]], named: Mapping[str, str | None], sides: tuple[str, ...], notes: Notes
) -> Columns:
    columns = Columns()
    for record in records:
        try:
            truth = record.get("groundTruthData")
            if truth is None:
                raise Odd("a record has no groundTruthData; it was not merged")
            answer = merged_records.side(record, (*sides, *OUTPUTS))
            found = {"actual": merged_records.values(truth, _of_truth(truth, named["actual"]), "the label")}
            if named["said"] or not named["score"]:
                found["said"] = merged_records.values(answer, named["said"], "the prediction")
            if named["score"]:
                found["score"] = [
                    _last(each) for each in merged_records.values(answer, named["score"], "the probability")
                ]
            _add(columns, found)
        except Odd as odd:
            notes.leave_out(str(odd))
    return columns


def _of_truth(truth: Any, attribute: str | None) -> str | None:
    """The attribute names the label's key in JSON; a label of CSV is its first field."""
    if isinstance(truth, dict) and truth.get("encoding", "CSV") == "CSV":
        return attribute if attribute and attribute.isdigit() else "0"
    return attribute


def _table(source: sources.Source, named: Mapping[str, str | None], notes: Notes) -> Columns:
    if not named["actual"]:
        raise JobFailed("The variable ground_truth_attribute is not set; it names the column of the labels.")
    if not named["said"] and not named["score"]:
        raise JobFailed(
            "Neither inference_attribute nor probability_attribute is set; one has to name the predictions."
        )
    columns = Columns()
    with Fetcher() as fetch:
        for piece in sources.pieces(source, notes, fetch):
            found: dict[str, list[Any]] = {}
            for what, attribute in named.items():
                if attribute:
                    name = _column(attribute, list(piece.columns))
                    found[what] = piece.columns[name].series.to_list()
            _add(columns, found, notes)
    return columns


def _column(attribute: str, names: list[str]) -> str:
    if attribute in names:
        return attribute
    if attribute.isdigit() and int(attribute) < len(names):
        return names[int(attribute)]
    raise JobFailed(f"There is no column {attribute!r}; the columns are {', '.join(names[:20])}.")


def _add(columns: Columns, found: dict[str, list[Any]], notes: Notes | None = None) -> None:
    """Rows of which a value is missing are left out. Raises Odd where the numbers of rows differ."""
    if len({len(each) for each in found.values()}) > 1:
        told = ", ".join(f"{len(each)} of {what}" for what, each in found.items())
        raise Odd(f"the numbers of values of a record differ: {told}")
    for row in zip(*found.values(), strict=True):
        if any(value is None or value == "" for value in row):
            if notes is None:
                raise Odd("a value is missing")
            notes.leave_out("a value is missing")
            continue
        for what, value in zip(found, row, strict=True):
            getattr(columns, what).append(value)


def _last(value: Any) -> Any:
    """Of a probability for each of two classes, that of the positive one."""
    return value[-1] if isinstance(value, list) and value else value


def _threshold(environment: Mapping[str, str]) -> float | None:
    text = environment.get("probability_threshold_attribute")
    try:
        return float(text) if text else None
    except ValueError:
        raise JobFailed(f"probability_threshold_attribute is {text!r}; it has to be a number.") from None
