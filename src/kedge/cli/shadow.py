"""`kedge shadow`: what an endpoint's shadow variant answers, beside what production does."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import click

from kedge.cli.deploy import describe
from kedge.cli.durations import seconds
from kedge.cli.failures import Failed
from kedge.cli.lifecycle import data_option, json_option
from kedge.cli.server import find
from kedge.cli.tables import table


class _Value(NamedTuple):
    key: str
    metric: str
    statistic: str
    namespace: str = "Kedge"
    scale: float = 1.0
    """From the metric's unit to that of the key."""


_OF_BOTH = (
    _Value("invocations", "Invocations", "Sum", "AWS/SageMaker"),
    _Value("errors", "InvocationModelErrors", "Sum", "AWS/SageMaker"),
    _Value("error_rate", "InvocationModelErrors", "Average", "AWS/SageMaker"),
    _Value("latency_ms_p50", "ModelLatency", "p50", "AWS/SageMaker", 1e-3),
    _Value("latency_ms_p99", "ModelLatency", "p99", "AWS/SageMaker", 1e-3),
)
_OF_SHADOW = (
    _Value("copies", "ShadowCopies", "Sum"),
    _Value("dropped_copies", "ShadowDroppedCopies", "Sum"),
    _Value("dropped_comparisons", "ShadowDroppedComparisons", "Sum"),
    _Value("compared", "ShadowMatches", "SampleCount"),
    _Value("match_rate", "ShadowMatches", "Average"),
    _Value("labels", "ShadowLabelMatches", "SampleCount"),
    _Value("label_match_rate", "ShadowLabelMatches", "Average"),
    _Value("numeric_difference_mean", "ShadowNumericDifference", "Average"),
    _Value("numeric_difference_max", "ShadowNumericDifference", "Maximum"),
    _Value("latency_difference_ms", "ShadowLatencyDifference", "Average", scale=1e-3),
    _Value("distribution_distance_max", "ShadowDistributionDistance", "Maximum"),
)


@dataclass(frozen=True)
class _Picture:
    endpoint: str
    production: str
    shadow: str
    share: float
    """Of the requests that is copied."""
    instances: tuple[int, int]
    values: Mapping[str, Mapping[str, float | None]]
    """By variant and key."""


@click.command(short_help="What the shadow variant answers.")
@click.argument("name")
@click.option("--last", default="60m", show_default=True, metavar="TIME", help="How far back: 90s, 15m, 3h, 7d.")
@data_option
@json_option
def shadow(name: str, last: str, data: Path | None, as_json: bool) -> None:
    """Compare the shadow variant of the endpoint NAME with production."""
    last_s = seconds(last)
    server = find(data)
    endpoint = describe(server.client("sagemaker"), name)
    if endpoint is None:
        raise Failed(f'There is no endpoint "{name}"; `kedge status` lists those that there are.')
    if not endpoint.get("ShadowProductionVariants"):
        raise Failed(f'Endpoint "{name}" has no shadow variant; its endpoint config needs ShadowProductionVariants.')
    picture = _read(server.client("cloudwatch"), endpoint, last_s)
    if as_json:
        click.echo(json.dumps(_as_json(picture), indent=2))
    else:
        click.echo("\n".join(_drawn(picture, last)))


def _read(cloudwatch: Any, endpoint: Mapping[str, Any], last_s: int) -> _Picture:
    production, shadow = endpoint["ProductionVariants"][0], endpoint["ShadowProductionVariants"][0]
    names = production["VariantName"], shadow["VariantName"]
    now_s = time.time()
    start_s = int((now_s - last_s) // 60) * 60
    period_s = math.ceil((now_s - start_s) / 60) * 60
    asked = [(names[0], each) for each in _OF_BOTH] + [(names[1], each) for each in (*_OF_BOTH, *_OF_SHADOW)]
    queries = [
        {
            "Id": f"q{at}",
            "MetricStat": {
                "Metric": {
                    "Namespace": value.namespace,
                    "MetricName": value.metric,
                    "Dimensions": [
                        {"Name": "EndpointName", "Value": endpoint["EndpointName"]},
                        {"Name": "VariantName", "Value": variant},
                    ],
                },
                "Period": period_s,
                "Stat": value.statistic,
            },
        }
        for at, (variant, value) in enumerate(asked)
    ]
    results = cloudwatch.get_metric_data(
        MetricDataQueries=queries,
        StartTime=datetime.fromtimestamp(start_s, UTC),
        EndTime=datetime.fromtimestamp(start_s + period_s, UTC),
    )["MetricDataResults"]
    found = {each["Id"]: each["Values"][0] for each in results if each["Values"]}
    values: dict[str, dict[str, float | None]] = {name: {} for name in names}
    for at, (variant, value) in enumerate(asked):
        seen = found.get(f"q{at}")
        values[variant][value.key] = None if seen is None else seen * value.scale
    weight = production.get("CurrentWeight", 0.0)
    share = min(1.0, shadow.get("CurrentWeight", 0.0) / weight) if weight else 0.0
    instances = production.get("CurrentInstanceCount", 0), shadow.get("CurrentInstanceCount", 0)
    return _Picture(endpoint["EndpointName"], *names, share, instances, values)


def _drawn(picture: _Picture, last: str) -> list[str]:
    rows = [
        [role, name, count, *(_number(picture.values[name][key]) for key in ("invocations", "errors")),
         *(_number(picture.values[name][key], 2) for key in ("latency_ms_p50", "latency_ms_p99"))]
        for role, name, count in (
            ("production", picture.production, picture.instances[0]), ("shadow", picture.shadow, picture.instances[1])
        )
    ]  # fmt: skip
    seen = picture.values[picture.shadow]
    lines = [
        f"{picture.endpoint}  last {last}; {picture.share:.0%} of the requests are copied",
        "",
        table(["", "variant", "instances", "requests", "errors", "p50 ms", "p99 ms"], rows),
        "",
    ]
    if not seen["compared"]:
        return [*lines, "Nothing was compared yet."]
    about = {
        "answers compared": _number(seen["compared"]),
        "same answer": _percent(seen["match_rate"]),
        "same label": f"{_percent(seen['label_match_rate'])}  of {_number(seen['labels'])} labels",
        "numbers differ by": f"{_number(seen['numeric_difference_mean'], 6)} on average, "
        f"{_number(seen['numeric_difference_max'], 6)} at most",
        "distribution distance": f"{_number(seen['distribution_distance_max'], 3)} at most "
        "(PSI; above 0.25 is a shift)",
        "slower by": f"{_number(seen['latency_difference_ms'], 2)} ms on average",
        "not copied": f"{_number(seen['dropped_copies'] or 0.0)} copies were dropped, "
        f"{_number(seen['dropped_comparisons'] or 0.0)} were not compared",
    }
    if seen["label_match_rate"] is None:
        del about["same label"]
    if seen["numeric_difference_mean"] is None:
        del about["numbers differ by"]
    return lines + [f"  {title:22} {text}" for title, text in about.items()]


def _as_json(picture: _Picture) -> dict[str, Any]:
    return {
        "endpoint": picture.endpoint,
        "copied_share": picture.share,
        "production": {"variant": picture.production, **picture.values[picture.production]},
        "shadow": {"variant": picture.shadow, **picture.values[picture.shadow]},
    }


def _number(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"
