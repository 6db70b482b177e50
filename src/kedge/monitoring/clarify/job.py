"""The Clarify job: bias, attributions and partial dependence of a data set, or of a monitor's window.

What it does is in analysis_config.json.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from kedge.monitoring.bias import files as bias_files
from kedge.monitoring.bias.columns import BadColumn
from kedge.monitoring.clarify import bias, explain, report
from kedge.monitoring.clarify.config import CSV, LINES, PARQUET, BadConfig, Config, read
from kedge.monitoring.clarify.data import DataSet, of_files, of_records
from kedge.monitoring.clarify.predicting import Invoke, Model, PredictionFailed
from kedge.monitoring.clarify.shadow import reached
from kedge.monitoring.container import JobFailed
from kedge.monitoring.places import Places
from kedge.monitoring.program import outcome
from kedge.monitoring.quality.job import STRICT, VIOLATIONS, common, document
from kedge.monitoring.reading import source
from kedge.monitoring.reading.fetching import Fetcher
from kedge.monitoring.reading.pieces import Unreadable

ANALYSIS, REPORT = "analysis.json", "report.html"
LOCAL, BASELINE = "explanations_shap/out.csv", "explanations_shap/baseline.csv"
_NAMESPACES = {
    "bias": ("aws/sagemaker/Endpoints/bias-metrics", "aws/sagemaker/ModelMonitoring/bias-metrics"),
    "shap": ("aws/sagemaker/Endpoints/explainability-metrics", "aws/sagemaker/ModelMonitoring/explainability-metrics"),
}
_DATA = ("processing/input/data", "processing/input/endpoint")


@dataclass
class Found:
    """What the job writes at its end."""

    analysis: dict[str, Any] = field(default_factory=lambda: {"version": "1.0"})
    sections: list[str] = field(default_factory=list)
    violations: list[dict[str, Any]] = field(default_factory=list)
    series: list[dict[str, Any]] = field(default_factory=list)


def run(container: Places, invoke: Invoke | None = None) -> str:
    """What the job says at its end. Raises JobFailed, whose text is the reason."""
    try:
        return _run(container, invoke)
    except (BadColumn, BadConfig, PredictionFailed, Unreadable) as failed:
        raise JobFailed(str(failed)) from None


def _run(container: Places, invoke: Invoke | None) -> str:
    where = container.given("analysis_config", "processing/input/config")
    held = read(document(where / "analysis_config.json" if where.is_dir() else where))
    config = _located(held, container.environment)
    if not config.stages and config.shap is None and config.pdp is None:
        raise JobFailed("analysis_config.json asks for nothing: methods has to name bias, shap or pdp.")
    given = container.path("baseline_constraints")
    baseline = document(given) if given else None
    data = _data(container, config)
    _tell(container, data)
    found = Found()
    with _model(config, data, invoke, container) as model:
        if config.stages:
            _bias(found, container, config, data, model, baseline)
        if config.shap is not None or config.pdp is not None:
            if model is None:
                raise JobFailed("predictor of analysis_config.json is not set; explanations ask a model.")
            _explain(found, container, config, data, model, baseline)
    container.write(ANALYSIS, found.analysis)
    if baseline is not None:
        container.write(VIOLATIONS, {"version": "1.0", "violations": found.violations})
        told = [(_of(each), str(each["description"])) for each in found.violations]
        found.sections.insert(0, report.violated(told))
    facts = [f"{data.rows} rows of {len(data.columns)} columns; {data.notes.left_out} records were left out."]
    container.write_bytes(REPORT, report.page(config.title, facts, found.sections))
    if container.environment.get("publish_cloudwatch_metrics") == "Enabled":
        container.write_metrics(b"".join(orjson.dumps(line) + b"\n" for line in found.series))
    return outcome(len(found.violations))


def _data(container: Places, config: Config) -> DataSet:
    environment = container.environment
    form = source.format_of(environment["dataset_format"]) if environment.get("dataset_format") else None
    path = container.path("dataset_source")
    if path is None and config.dataset_uri.startswith("s3://"):
        with Fetcher() as fetch:
            return of_files(fetch(config.dataset_uri), config)
    path = path or container.given("dataset_source", _DATA[0] if form is None else _DATA[1])
    if form is not None and form.name in (source.CAPTURED, source.MERGED):
        return of_records(path, config, environment, merged=form.name == source.MERGED)
    if form is None:
        return of_files(path, config)
    return of_files(path, _delivered(config, form, environment), header=form.header)


def _delivered(config: Config, form: source.Format, environment: Mapping[str, str]) -> Config:
    """For inputs of batch transforms: they are as their monitor says, and have no label, as a training set has."""
    kind = {source.CSV: CSV, source.JSON: LINES, source.PARQUET: PARQUET}[form.name]
    headers = tuple(each for place, each in enumerate(config.headers) if config.label not in (each, place))
    features = environment.get("features_attribute") or config.features
    return replace(config, dataset_type=kind, features=features, headers=headers, label=None)


def _located(config: Config, environment: Mapping[str, str]) -> Config:
    """A monitor's attributes say which features are left out, and where answers are if the predictor does not."""
    named = [each.strip() for each in environment.get("exclude_features_attribute", "").split(",") if each.strip()]
    config = replace(config, excluded=(*config.excluded, *(int(each) if each.isdigit() else each for each in named)))
    at = environment.get("probability_attribute") or environment.get("inference_attribute")
    predictor = config.predictor
    if not at or predictor is None or predictor.probability is not None or predictor.label is not None:
        return config
    return replace(config, predictor=replace(predictor, probability=at))


@contextmanager
def _model(config: Config, data: DataSet, invoke: Invoke | None, container: Places) -> Iterator[Model | None]:
    """None: the configuration names no model, or the data hold its answers and nothing else is asked of it."""
    predictor = config.predictor
    explains = config.shap is not None or config.pdp is not None
    if predictor is None or not (explains or (data.said is None and data.score is None)):
        yield None
        return
    names = bias.features(data, config)
    if invoke is not None:
        yield Model(invoke, predictor, names)
        return
    if not predictor.model_name and not predictor.endpoint_name:
        raise JobFailed("predictor of analysis_config.json has neither a model_name nor an endpoint_name.")
    job_arn = container.environment.get("PROCESSING_JOB_ARN", "")
    with reached(predictor, job_arn, container.say) as own:
        yield Model(own, predictor, names)


def _bias(found: Found, container: Places, config: Config, data: DataSet, model: Model | None, held: Any) -> None:
    environment = container.environment
    bias.check(data, config)
    threshold = bias.positives(data, config)
    said = bias.predictions(data, config, threshold, model, _cut(environment, config))
    try:
        measured = bias.measured(data, config, said, threshold)
    except ValueError as error:
        raise JobFailed(str(error)) from None
    found.analysis |= measured.analysis()
    if held is not None:
        try:
            baseline = bias_files.read(held)
        except ValueError as error:
            raise JobFailed(str(error)) from None
        strict = environment.get(STRICT) == "Enabled"
        violated = bias_files.violations(measured.results(), baseline, strict=strict)
        found.violations += [each._asdict() for each in violated]
    for stage, results in measured.stages.items():
        found.sections.append(report.bias(stage, measured.label, measured.positive, results))
    _emit(found, "bias", bias_files.series(measured.label, measured.positive, measured.stages), container)


def _explain(found: Found, container: Places, config: Config, data: DataSet, model: Model, held: Any) -> None:
    names = bias.features(data, config)
    rows = data.matrix(names)
    headers = config.predictor.label_headers if config.predictor else ()
    explanations = found.analysis.setdefault("explanations", {})
    ranking, outputs = names, list(headers)
    if config.shap is not None:
        try:
            attributed = explain.attributed(rows, names, model.numbers, config.shap, headers, _given(config, names))
            explanations |= attributed.analysis()
            if held is not None:
                found.violations += explain.violations(attributed, held)
        except ValueError as error:
            raise JobFailed(str(error)) from None
        container.write_bytes(BASELINE, explain.table(names, attributed.baseline.tolist()))
        if config.shap.save_local_shap_values:
            container.write_bytes(LOCAL, explain.local_values(attributed))
        outputs = list(attributed.outputs)
        strength = abs(attributed.overall).sum(axis=1)
        ranking = [names[place] for place in strength.argsort()[::-1]]
        for place, output in enumerate(outputs):
            expected = float(attributed.explanation.expected[place])
            values = attributed.overall[:, place].tolist()
            found.sections.append(report.attributions(output, names, values, expected))
        _emit(found, "shap", explain.series(attributed), container)
    if config.pdp is not None:
        curves = explain.dependence(rows, names, model.numbers, config.pdp, ranking)
        explanations["pdp"] = curves
        outputs = outputs or [f"label{place}" for place in range(len(curves[0]["model_predictions"]) if curves else 0)]
        found.sections.append("<h2>The mean answer by one feature</h2>")
        found.sections += [report.dependence(curve, outputs) for curve in curves]


def _given(config: Config, names: list[str]) -> Any:
    """The configured baseline as rows; None: it is to be made of the data."""
    assert config.shap is not None
    held = config.shap.baseline
    if not isinstance(held, str):
        return held
    with Fetcher() as fetch:
        rows = of_files(fetch(held), Config(headers=tuple(names), dataset_type=config.dataset_type))
    return rows.matrix(names).tolist()


def _emit(found: Found, kind: str, lines: Any, container: Places) -> None:
    environment = container.environment
    at = environment.get("metric_time") or environment.get("start_time") or container.now()
    shared = common(environment, at, *_NAMESPACES[kind])
    for line in lines:
        found.series.append(shared | line | {"Dimensions": [*shared["Dimensions"], *line["Dimensions"]]})


def _cut(environment: Mapping[str, str], config: Config) -> float:
    text = environment.get("probability_threshold_attribute")
    try:
        return float(text) if text else config.probability_threshold
    except ValueError:
        raise JobFailed(f"probability_threshold_attribute is {text!r}; it has to be a number.") from None


def _of(violation: Mapping[str, Any]) -> str:
    keys = ("facet", "facet_value", "metric_name", "label")
    return " ".join(str(violation[key]) for key in keys if key in violation)


def _tell(container: Places, data: DataSet) -> None:
    container.say(f"Read {data.rows} rows of {len(data.columns)} columns; left out {data.notes.left_out}.")
    for reason, times in data.notes.reasons.items():
        container.say(f"Left out {times}: {reason}")
