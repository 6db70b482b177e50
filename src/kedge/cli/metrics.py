"""`kedge metrics`: an endpoint's traffic, latency and errors, drawn in the terminal."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import click

from kedge.cli import charts
from kedge.cli.deploy import describe
from kedge.cli.durations import seconds
from kedge.cli.failures import Failed
from kedge.cli.lifecycle import data_option, json_option
from kedge.cli.server import find

_PERIODS_S = (1, 5, 10, 20, 30, 60, 120, 180, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400)
_FINEST_S = 3 * 3600
"""For so long values of seconds are kept."""
_LEAST_COLUMNS, _SIDES = 20, 40
_CLEAR = "\x1b[H\x1b[2J\x1b[3J"


class _Line(NamedTuple):
    key: str
    title: str
    namespace: str
    metric: str
    statistic: str
    scale: float
    """From the metric's unit to that of the picture."""
    per_second: bool
    height: int


_LINES = (
    _Line("requests_per_s", "requests/s", "AWS/SageMaker", "Invocations", "Sum", 1.0, True, 3),
    _Line("latency_ms_p50", "p50 ms", "AWS/SageMaker", "ModelLatency", "p50", 1e-3, False, 2),
    _Line("latency_ms_p99", "p99 ms", "AWS/SageMaker", "ModelLatency", "p99", 1e-3, False, 2),
    _Line("errors_4xx", "4xx", "AWS/SageMaker", "Invocation4XXErrors", "Sum", 1.0, False, 1),
    _Line("errors_5xx", "5xx", "AWS/SageMaker", "Invocation5XXErrors", "Sum", 1.0, False, 1),
    _Line("model_errors", "model errors", "AWS/SageMaker", "InvocationModelErrors", "Sum", 1.0, False, 1),
    _Line("refused", "refused", "Kedge", "RefusedInvocations", "Sum", 1.0, False, 1),
)


@dataclass(frozen=True)
class _Window:
    start_s: int
    end_s: int
    period_s: int

    @property
    def times_s(self) -> range:
        return range(self.start_s, self.end_s, self.period_s)


@click.command(short_help="Traffic, latency and errors, drawn.")
@click.argument("name")
@click.option("--last", default="60m", show_default=True, metavar="TIME", help="How far back: 90s, 15m, 3h, 7d.")
@click.option("--once/--watch", default=None, help="One picture, or a new one every --every seconds (in a terminal).")
@click.option("--every", type=click.FloatRange(0.5, 3600), default=5.0, show_default=True, metavar="SECONDS")
@data_option
@json_option
def metrics(name: str, last: str, once: bool | None, every: float, data: Path | None, as_json: bool) -> None:
    """Draw the traffic, latency and errors of the endpoint NAME, for each variant."""
    last_s = seconds(last)
    server = find(data)
    sagemaker, cloudwatch = server.client("sagemaker"), server.client("cloudwatch")
    watch = (sys.stdout.isatty() if once is None else not once) and not as_json
    while True:
        endpoint = describe(sagemaker, name)
        if endpoint is None:
            raise Failed(f'There is no endpoint "{name}"; `kedge status` lists those that there are.')
        columns = max(_LEAST_COLUMNS, shutil.get_terminal_size((100, 24)).columns - _SIDES)
        window = window_of(time.time(), last_s, columns)
        variants = [each["VariantName"] for each in endpoint.get("ProductionVariants", [])]
        values = _read(cloudwatch, endpoint["EndpointName"], variants, window)
        if as_json:
            click.echo(json.dumps(_as_json(endpoint, values, window), indent=2))
            return
        picture = "\n".join(_picture(endpoint, values, window, last))
        click.echo(f"{_CLEAR if watch and sys.stdout.isatty() else ''}{picture}")
        if not watch:
            return
        time.sleep(every)


def window_of(now_s: float, last_s: int, columns: int) -> _Window:
    """The shortest periods that fit into the columns; the one that is going on is the last."""
    fitting = [each for each in _PERIODS_S if last_s <= each * columns and (each >= 60 or last_s <= _FINEST_S)]
    period_s = fitting[0] if fitting else _PERIODS_S[-1]
    end_s = int(now_s // period_s + 1) * period_s
    count = min(columns, -(-last_s // period_s))
    return _Window(end_s - count * period_s, end_s, period_s)


def _read(cloudwatch: Any, endpoint: str, variants: Sequence[str], window: _Window) -> dict[str, dict[str, list[Any]]]:
    """Of each variant, each line's values over the window's periods; None where there is none."""
    queries = [
        {
            "Id": f"v{at}_{line.key}",
            "MetricStat": {
                "Metric": {
                    "Namespace": line.namespace,
                    "MetricName": line.metric,
                    "Dimensions": [
                        {"Name": "EndpointName", "Value": endpoint},
                        {"Name": "VariantName", "Value": variant},
                    ],
                },
                "Period": window.period_s,
                "Stat": line.statistic,
            },
        }
        for at, variant in enumerate(variants)
        for line in _LINES
    ]
    found: dict[str, dict[int, float]] = {}
    for page in cloudwatch.get_paginator("get_metric_data").paginate(
        MetricDataQueries=queries,
        StartTime=datetime.fromtimestamp(window.start_s, UTC),
        EndTime=datetime.fromtimestamp(window.end_s, UTC),
    ):
        for result in page["MetricDataResults"]:
            points = found.setdefault(result["Id"], {})
            points.update(
                (int(at.timestamp()), v) for at, v in zip(result["Timestamps"], result["Values"], strict=True)
            )
    return {
        variant: {line.key: _scaled(line, found.get(f"v{at}_{line.key}", {}), window) for line in _LINES}
        for at, variant in enumerate(variants)
    }


def _scaled(line: _Line, points: Mapping[int, float], window: _Window) -> list[float | None]:
    scale = line.scale / window.period_s if line.per_second else line.scale
    return [points[at] * scale if at in points else None for at in window.times_s]


def _picture(
    endpoint: Mapping[str, Any], values: Mapping[str, Mapping[str, list[float | None]]], window: _Window, last: str
) -> list[str]:
    until = datetime.fromtimestamp(window.end_s, UTC) - timedelta(seconds=window.period_s)
    head = f"{endpoint['EndpointName']}  {endpoint['EndpointStatus']}  last {last}, a column is {window.period_s} s"
    lines = [f"{head}, until {until:%Y-%m-%d %H:%M:%S} UTC"]
    shown = {each["VariantName"]: each for each in endpoint.get("ProductionVariants", [])}
    for variant, series in values.items():
        about = shown[variant]
        counted = f"{about.get('CurrentInstanceCount', 0)} instances, weight {about.get('CurrentWeight', 0):g}"
        lines += ["", f"{variant}  ({counted})"]
        for line in _LINES:
            lines += _drawn(line, series[line.key], values)
    return lines


def _drawn(
    line: _Line, mine: Sequence[float | None], values: Mapping[str, Mapping[str, list[float | None]]]
) -> list[str]:
    """One line of the picture; all variants have the same scale, so that they can be compared."""
    largest = max((each for series in values.values() for each in series[line.key] if each), default=0.0)
    now = next((each for each in reversed(mine) if each is not None), None)
    height = line.height if largest else 1
    *above, ground = charts.columns(mine, largest, height)
    first = f"  {'':12} {'':>8}  "
    most = f"  max {charts.number(largest)}" if largest else ""
    drawn = [f"{first}{each}" for each in above]
    drawn.append(f"  {line.title:12} {charts.number(now):>8}  {ground}")
    drawn[0] += most
    return [each.rstrip() for each in drawn]


def _as_json(
    endpoint: Mapping[str, Any], values: Mapping[str, Mapping[str, list[float | None]]], window: _Window
) -> dict[str, Any]:
    return {
        "endpoint": endpoint["EndpointName"],
        "period_s": window.period_s,
        "times": [datetime.fromtimestamp(at, UTC).isoformat() for at in window.times_s],
        "variants": values,
    }
