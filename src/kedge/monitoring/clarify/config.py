"""analysis_config.json of SageMaker Clarify, read and checked. PURE.

Source: the documented configuration. What is not there is refused by name: images, texts, time series, predictions of a
data set of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kedge.monitoring.attribution.baselines import MOST_CLUSTERS
from kedge.monitoring.attribution.summary import AGGREGATES
from kedge.monitoring.bias.formulas import MEASURES, NAMES, POST_TRAINING, PRE_TRAINING

BIAS = {"pre_training_bias": PRE_TRAINING, "post_training_bias": POST_TRAINING}
CSV, LINES, PARQUET = "text/csv", "application/jsonlines", "application/x-parquet"
_METHODS = (*BIAS, "shap", "pdp", "report")
_ABSENT = ("predicted_label_dataset_uri", "facet_dataset_uri", "time_series_data_config")


class BadConfig(ValueError):
    """The message says which key is wrong and what would be right."""


@dataclass(frozen=True)
class Predictor:
    """label, probability: where they are in an answer, a position or JMESPath."""

    model_name: str = ""
    endpoint_name: str = ""
    endpoint_name_prefix: str = ""
    instance_type: str = "ml.m5.large"
    initial_instance_count: int = 1
    content_type: str = CSV
    accept_type: str = ""
    content_template: str = ""
    record_template: str = ""
    label: str | None = None
    probability: str | None = None
    label_headers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shap:
    baseline: Any = None
    """Rows, or an s3:// URI; None: clusters of the data."""
    num_clusters: int | None = None
    num_samples: int | None = None
    agg_method: str = "mean_abs"
    use_logit: bool = False
    save_local_shap_values: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Pdp:
    """features: names or positions; empty: the strongest ones."""

    features: tuple[str | int, ...] = ()
    grid_resolution: int = 15
    top_k_features: int = 10


@dataclass(frozen=True)
class Config:
    """label and names of facets may be positions among the headers. stages: of bias, to the measures wanted of each."""

    headers: tuple[str, ...] = ()
    label: str | int | None = None
    predicted_label: str | int | None = None
    features: str | None = None
    dataset_type: str = CSV
    dataset_uri: str = ""
    excluded: tuple[str | int, ...] = ()
    probability_threshold: float = 0.5
    label_values: tuple[Any, ...] = ()
    facets: tuple[tuple[str | int, tuple[Any, ...]], ...] = ()
    group_variable: str | int | None = None
    stages: Mapping[str, Sequence[str] | None] = field(default_factory=dict)
    shap: Shap | None = None
    pdp: Pdp | None = None
    title: str = "Analysis report"
    predictor: Predictor | None = None


def read(held: Any) -> Config:
    """Raises BadConfig."""
    if not isinstance(held, dict):
        raise BadConfig("analysis_config.json holds no object.")
    for key in _ABSENT:
        if held.get(key):
            raise BadConfig(f"{key} of analysis_config.json is not supported; leave it out.")
    methods = _object(held.get("methods"), "methods")
    strange = [name for name in methods if name not in _METHODS]
    if strange:
        raise BadConfig(f"methods has {strange[0]!r}; the methods are {', '.join(_METHODS)}.")
    predictor = held.get("predictor")
    report = _object(methods.get("report"), "methods.report")
    return Config(
        headers=_texts(held.get("headers"), "headers"),
        label=held.get("label"),
        predicted_label=held.get("predicted_label"),
        features=held.get("features"),
        dataset_type=_dataset_type(held.get("dataset_type", CSV)),
        dataset_uri=str(held.get("dataset_uri") or ""),
        excluded=(*_listed(held.get("excluded_columns")), *_listed(held.get("joinsource_name_or_index"))),
        probability_threshold=_number(held.get("probability_threshold", 0.5), "probability_threshold"),
        label_values=tuple(_listed(held.get("label_values_or_threshold"))),
        facets=tuple(_facet(each) for each in _listed(held.get("facet"))),
        group_variable=held.get("group_variable"),
        stages=_stages(held, methods),
        shap=_shap(_object(methods["shap"], "methods.shap")) if "shap" in methods else None,
        pdp=_pdp(_object(methods["pdp"], "methods.pdp")) if "pdp" in methods else None,
        title=str(report.get("title") or "Analysis report"),
        predictor=None if predictor is None else _predictor(_object(predictor, "predictor")),
    )


def _stages(held: Mapping[str, Any], methods: Mapping[str, Any]) -> dict[str, Sequence[str] | None]:
    """A monitor's configuration names no method of bias where it means all of both stages."""
    if held.get("facet") and not methods:
        return {PRE_TRAINING: None, POST_TRAINING: None}
    found: dict[str, Sequence[str] | None] = {}
    for key, stage in BIAS.items():
        if key not in methods:
            continue
        named = _object(methods[key], f"methods.{key}").get("methods", "all")
        if named == "all":
            found[stage] = None
            continue
        known = [each.name for each in MEASURES if each.stage == stage]
        for name in _listed(named):
            if name not in NAMES or name not in known:
                raise BadConfig(f"methods.{key} has the measure {name!r}; it has {', '.join(known)}.")
        found[stage] = _listed(named)
    if found and not held.get("facet"):
        raise BadConfig("facet of analysis_config.json is not set; bias is measured of a facet.")
    return found


def _facet(held: Any) -> tuple[str | int, tuple[Any, ...]]:
    name = held.get("name_or_index") if isinstance(held, dict) else None
    if not isinstance(name, str | int):
        raise BadConfig(f"A facet of analysis_config.json is {held!r}; it needs a name_or_index.")
    return name, tuple(_listed(held.get("value_or_threshold")))


def _shap(held: Mapping[str, Any]) -> Shap:
    for key in ("text_config", "image_config"):
        if held.get(key):
            raise BadConfig(f"methods.shap.{key} is not supported; features of tables are explained alone.")
    method = held.get("agg_method", "mean_abs")
    if method not in AGGREGATES:
        raise BadConfig(f"methods.shap.agg_method is {method!r}; it has to be one of {', '.join(AGGREGATES)}.")
    return Shap(
        baseline=held.get("baseline") or None,
        num_clusters=_whole(held.get("num_clusters"), "methods.shap.num_clusters", MOST_CLUSTERS),
        num_samples=_whole(held.get("num_samples"), "methods.shap.num_samples", 10**7),
        agg_method=method,
        use_logit=bool(held.get("use_logit")),
        save_local_shap_values=bool(held.get("save_local_shap_values")),
        seed=int(held.get("seed") or 0),
    )


def _pdp(held: Mapping[str, Any]) -> Pdp:
    usual = Pdp()
    return Pdp(
        features=tuple(_listed(held.get("features"))),
        grid_resolution=_whole(held.get("grid_resolution"), "methods.pdp.grid_resolution", 1000)
        or usual.grid_resolution,
        top_k_features=_whole(held.get("top_k_features"), "methods.pdp.top_k_features", 1000) or usual.top_k_features,
    )


def _predictor(held: Mapping[str, Any]) -> Predictor:
    kind = str(held.get("content_type") or CSV)
    if kind not in (CSV, LINES):
        raise BadConfig(f"predictor.content_type is {kind!r}; it has to be {CSV} or {LINES}.")
    template = str(held.get("content_template") or "")
    if kind == LINES and "$features" not in template and "$record" not in template:
        raise BadConfig("predictor.content_template has to be set, such as '{\"features\": $features}'.")
    return Predictor(
        model_name=str(held.get("model_name") or ""),
        endpoint_name=str(held.get("endpoint_name") or ""),
        endpoint_name_prefix=str(held.get("endpoint_name_prefix") or ""),
        instance_type=str(held.get("instance_type") or "ml.m5.large"),
        initial_instance_count=_whole(held.get("initial_instance_count"), "predictor.initial_instance_count", 100) or 1,
        content_type=kind,
        accept_type=str(held.get("accept_type") or ""),
        content_template=template,
        record_template=str(held.get("record_template") or ""),
        label=_place(held.get("label")),
        probability=_place(held.get("probability")),
        label_headers=_texts(held.get("label_headers"), "predictor.label_headers"),
    )


def _place(held: Any) -> str | None:
    return None if held is None else str(held)


def _dataset_type(held: Any) -> str:
    if held not in (CSV, LINES, PARQUET):
        raise BadConfig(f"dataset_type is {held!r}; it has to be one of {CSV}, {LINES}, {PARQUET}.")
    return str(held)


def _object(held: Any, what: str) -> Mapping[str, Any]:
    if held is None:
        return {}
    if not isinstance(held, dict):
        raise BadConfig(f"{what} of analysis_config.json is no object.")
    return held


def _listed(held: Any) -> list[Any]:
    return [] if held is None else list(held) if isinstance(held, list | tuple) else [held]


def _texts(held: Any, what: str) -> tuple[str, ...]:
    if held is not None and not isinstance(held, list):
        raise BadConfig(f"{what} of analysis_config.json is no list.")
    return tuple(map(str, held or ()))


def _number(held: Any, what: str) -> float:
    try:
        return float(held)
    except (TypeError, ValueError):
        raise BadConfig(f"{what} of analysis_config.json is {held!r}; it has to be a number.") from None


def _whole(held: Any, what: str, most: int) -> int | None:
    if held is None:
        return None
    if not isinstance(held, int) or not 1 <= held <= most:
        raise BadConfig(f"{what} is {held!r}; it has to be a whole number from 1 to {most}.")
    return held
