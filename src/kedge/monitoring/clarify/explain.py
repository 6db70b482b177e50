"""The explaining part of a Clarify job: attributions of rows and of the data set, and partial dependence."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kedge.monitoring.attribution import baselines, summary
from kedge.monitoring.attribution.kernel_shap import Explanation, Predict, asked, explained
from kedge.monitoring.clarify.config import BadConfig, Pdp, Shap

CHECK = "feature_attribution_drift_check"
_MOST_VALUES = 30


@dataclass(frozen=True)
class Attributions:
    """overall: shape (features, outputs)."""

    names: Sequence[str]
    outputs: Sequence[str]
    baseline: npt.NDArray[Any]
    explanation: Explanation
    overall: npt.NDArray[np.float64]

    def analysis(self) -> dict[str, Any]:
        held = {
            output: {
                "global_shap_values": dict(zip(self.names, self.overall[:, place].tolist(), strict=True)),
                "expected_value": float(self.explanation.expected[place]),
            }
            for place, output in enumerate(self.outputs)
        }
        return {"kernel_shap": held}


def attributed(
    rows: npt.NDArray[Any], names: Sequence[str], predict: Predict, shap: Shap, headers: Sequence[str], given: Any
) -> Attributions:
    """rows: (n, features). headers: of the model's outputs. given: the configured baseline as rows, or None."""
    baseline = baselines.clustered(rows, shap.num_clusters, shap.seed) if given is None else _given(given, rows, names)
    random = np.random.default_rng(shap.seed)
    found = explained(rows, baseline, predict, random, shap.num_samples, use_logit=shap.use_logit)
    outputs = found.expected.shape[0]
    called = list(headers) if len(headers) == outputs else [f"label{place}" for place in range(outputs)]
    return Attributions(names, called, baseline, found, summary.of_rows(found.values, shap.agg_method))


def _given(given: Any, rows: npt.NDArray[Any], names: Sequence[str]) -> npt.NDArray[Any]:
    lists = given if given and isinstance(given[0], list) else [given]
    plain = [[each.get(name) for name in names] if isinstance(each, dict) else each for each in lists]
    if any(not isinstance(row, list) or len(row) != len(names) for row in plain):
        raise BadConfig(f"methods.shap.baseline has to have rows of {len(names)} features: {', '.join(names[:20])}.")
    try:
        return np.array(plain, dtype=rows.dtype)
    except (TypeError, ValueError):
        return np.array(plain, dtype=object)


def local_values(found: Attributions) -> bytes:
    """explanations_shap/out.csv: a row for each of the data set, a column for each feature and output."""
    heads = [f"{name}_{output}" for output in found.outputs for name in found.names]
    values = found.explanation.values.transpose(0, 2, 1).reshape(len(found.explanation.values), -1)
    return table(heads, values.tolist())


def table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([heads, *rows])
    return text.getvalue().encode()


def violations(found: Attributions, baseline: Any, threshold: float = summary.THRESHOLD) -> Iterator[dict[str, Any]]:
    """baseline: an analysis.json. Raises ValueError where it is of other features or outputs."""
    held = ((baseline.get("explanations") if isinstance(baseline, dict) else None) or {}).get("kernel_shap")
    if not isinstance(held, dict):
        raise ValueError(
            "The baseline constraints have no explanations.kernel_shap; give the analysis.json of a baseline."
        )
    for output, live in found.analysis()["kernel_shap"].items():
        if output not in held:
            raise ValueError(f"The baseline explains {', '.join(held)}, and not {output}; is it of another model?")
        try:
            before = {str(name): float(value) for name, value in held[output]["global_shap_values"].items()}
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"The baseline constraints cannot be read: {error!r}") from None
        score = summary.drift_score(before, live["global_shap_values"])
        if score < threshold:
            yield {
                "label": output,
                "metric_name": "shap",
                "constraint_check_type": CHECK,
                "description": f"Feature attribution drift {score} exceeds threshold {threshold}",
            }


def series(found: Attributions) -> Iterator[dict[str, Any]]:
    """Metrics for CloudWatch, with the dimensions that explanations have beside those of their schedule."""
    for output, held in found.analysis()["kernel_shap"].items():
        values = [(f"feature_{name}", value, "GlobalShapValues") for name, value in held["global_shap_values"].items()]
        for name, value, kind in [*values, ("ExpectedValue", held["expected_value"], "ExpectedValue")]:
            dimensions = {"ExplainabilityMethod": "KernelShap", "Label": output, "ValueType": kind}
            yield {
                "MetricName": name,
                "Value": value,
                "Dimensions": [{"Name": key, "Value": each} for key, each in dimensions.items()],
            }


def dependence(
    rows: npt.NDArray[Any], names: Sequence[str], predict: Predict, pdp: Pdp, ranking: Sequence[str]
) -> list[dict[str, Any]]:
    """Mean predictions with one feature set to each of some values. ranking: features, the most important first.

    Source: Friedman, "Greedy function approximation: a gradient boosting machine" (2001), section 8.2.
    """
    wanted = pdp.features or list(ranking)[: pdp.top_k_features]
    found = []
    for each in wanted:
        name = names[each] if isinstance(each, int) and each < len(names) else str(each)
        if name not in names:
            raise BadConfig(f"methods.pdp.features has {name!r}; the features are {', '.join(names[:20])}.")
        place = list(names).index(name)
        values, kind, shares = _grid(rows[:, place], pdp.grid_resolution)
        means = []
        for value in values:
            moved = rows.copy()
            moved[:, place] = value
            means.append(asked(predict, moved).mean(axis=0))
        found.append(
            {
                "feature_name": name,
                "data_type": kind,
                "feature_values": values,
                "model_predictions": np.array(means).T.tolist(),
                "data_distribution": shares,
            }
        )
    return found


def _grid(column: npt.NDArray[Any], points: int) -> tuple[list[Any], str, list[float]]:
    """(values, kind, share of the rows that is at each value or nearest to it)."""
    numbers = baselines.numeric(column)
    if numbers is None:
        counted = Counter(column.tolist()).most_common(_MOST_VALUES)
        return [value for value, _ in counted], "categorical", [count / len(column) for _, count in counted]
    values = np.linspace(numbers.min(), numbers.max(), max(points, 2)) if np.ptp(numbers) else numbers[:1]
    nearest = np.abs(numbers[:, None] - values[None, :]).argmin(axis=1)
    return values.tolist(), "numerical", (np.bincount(nearest, minlength=len(values)) / len(numbers)).tolist()
