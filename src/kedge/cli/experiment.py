"""`kedge experiment`: which variant of an endpoint is better, and how sure that is."""

from __future__ import annotations

import json
import math
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from kedge.cli import charts, outcomes
from kedge.cli.deploy import describe, wait_until_settled
from kedge.cli.durations import seconds
from kedge.cli.failures import Failed
from kedge.cli.feedback import read, tally
from kedge.cli.lifecycle import data_option, json_option
from kedge.cli.outcomes import Analysis, Outcome, Reader, Window
from kedge.cli.server import Server, find
from kedge.cli.tables import table
from kedge.endpoints.steering import PATH
from kedge.experiments import shares
from kedge.experiments.shares import Share
from kedge.experiments.verdict import Verdict, verdict, winner

_SPLIT_ALPHA = 0.001
"""How rarely an even split is said to be uneven."""


@dataclass(frozen=True)
class Question:
    """What was asked, with the amounts in the outcome's unit."""

    outcome: Outcome
    feedback: Path | None
    """File of it, where that is the outcome."""
    control: str | None
    since: str | None
    alpha: float
    indifference: float
    least_samples: int


@dataclass(frozen=True)
class Finding:
    endpoint: str
    control: str
    question: Question
    window: Window
    weights: Mapping[str, float]
    analysis: Analysis
    verdicts: Mapping[str, Verdict]
    winner: str | None
    warnings: tuple[str, ...]

    @property
    def is_decided(self) -> bool:
        return "not yet" not in self.verdicts.values()


@click.command(short_help="Which variant is better?")
@click.argument("name")
@click.option("--outcome", metavar="WHAT",
              help="[errors] errors, 4xx, 5xx, latency, latency:p99, slower:250 (ms), NAMESPACE/METRIC, "
              "share:NAMESPACE/METRIC (values from 0 to 1).")  # fmt: skip
@click.option("--feedback", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
              help='Instead of --outcome: lines such as {"inferenceId": "order-7", "value": 1}.')  # fmt: skip
@click.option("--control", help="Variant that the others are compared with; the endpoint's first when not given.")
@click.option("--better", type=click.Choice(["lower", "higher"]), help="Of an own metric; higher when not given.")
@click.option("--min-effect", default="0", metavar="AMOUNT", show_default=True,
              help="A difference of up to so much is none: 0.5% of the requests, 5ms, or a number.")  # fmt: skip
@click.option("--min-samples", type=click.IntRange(1), default=100, show_default=True, help="Of each variant.")
@click.option("--confidence", type=click.FloatRange(0.5, 0.999), default=0.95, show_default=True)
@click.option(
    "--since", metavar="TIME", help="2026-11-28T20:00 (UTC), or 3h for three hours ago. [the endpoint's last change]"
)
@click.option(
    "--by-minute", is_flag=True, help="A minute, not a request, is one observation: for what comes in bursts."
)
@click.option("--watch", is_flag=True, help="Look again, every --every seconds, until it is decided.")
@click.option("--every", type=click.FloatRange(0.5, 3600), default=60.0, show_default=True, metavar="SECONDS")
@click.option("--promote", is_flag=True, help="Give all traffic to the winner, if there is one.")
@data_option
@json_option
def experiment(
    name: str,
    outcome: str | None,
    feedback: Path | None,
    control: str | None,
    better: str | None,
    min_effect: str,
    min_samples: int,
    confidence: float,
    since: str | None,
    by_minute: bool,
    watch: bool,
    every: float,
    promote: bool,
    data: Path | None,
    as_json: bool,
) -> None:
    """Compare the variants of the endpoint NAME by their metrics: winner, no difference, or not yet.

    Look as often as you like: the answer is wrong with the probability that --confidence leaves, over all looks.
    """
    if feedback is not None and outcome is not None:
        raise click.UsageError("Give --outcome or --feedback, not both.")
    if feedback is not None:
        parsed = outcomes.feedback(by_minute=by_minute, better=better)
    else:
        parsed = outcomes.parse(outcome or "errors", by_minute=by_minute, better=better)
    question = Question(parsed, feedback, control, since, 1 - confidence, _amount(min_effect, parsed), min_samples)
    server = find(data)
    sagemaker = server.client("sagemaker")
    began_s = time.time()
    while True:
        finding = look(server, name, question, began_s)
        if not as_json:
            click.echo("\n".join(_picture(finding)))
        if finding.is_decided or not watch:
            break
        time.sleep(every)
        if not as_json:
            click.echo()
    promoted = promote and finding.winner is not None
    if promoted:
        give_traffic(sagemaker, finding)
    if as_json:
        click.echo(json.dumps({**_as_json(finding), "promoted": promoted}, indent=2))
    elif promoted:
        click.echo(f"All traffic goes to {finding.winner} now.")
    elif promote:
        print("Nothing was changed: there is no winner.", file=sys.stderr)


def look(server: Server, name: str, question: Question, began_s: float) -> Finding:
    """What is known now. began_s: when the command began; a time such as 3h is counted back from there."""
    endpoint = describe(server.client("sagemaker"), name)
    if endpoint is None:
        raise Failed(f'There is no endpoint "{name}"; `kedge status` lists those that there are.')
    weights = {each["VariantName"]: float(each["CurrentWeight"]) for each in endpoint.get("ProductionVariants", [])}
    if len(weights) < 2:
        raise Failed(f"{name} has one variant; there is nothing to compare it with. Add one: kedge deploy --variant.")
    control = question.control or next(iter(weights))
    if control not in weights:
        raise click.UsageError(f'"{control}" is no variant of {name}; it has {", ".join(weights)}.')
    now_s = time.time()
    if question.since is None:
        since_s = float(server.ask("GET", PATH, {"EndpointName": name})["TrafficSince"])
    else:
        since_s = _time(question.since, began_s)
    window = outcomes.window(since_s, now_s)
    reader = Reader(server.client("cloudwatch"), endpoint["EndpointName"], list(weights), window)
    warnings = []
    if question.feedback is None:
        analysis = outcomes.analyse(reader, question.outcome, control, weights, question.alpha)
    else:
        told = tally(server.client("s3"), endpoint, read(question.feedback), window)
        alpha = question.alpha / (len(weights) - 1)
        analysis = outcomes.by_shares(told.shares, question.outcome, control, weights, alpha)
        if told.unknown:
            warnings.append(f"{told.unknown} lines belong to no request of a variant that was captured since then.")
    few = {each for each, count in analysis.samples.items() if count < question.least_samples}
    verdicts: dict[str, Verdict] = {
        each.variant: "not yet"
        if few & {control, each.variant}
        else verdict(
            each.interval,
            lower_is_better=question.outcome.lower_is_better,
            indifference=question.indifference,
        )
        for each in analysis.compared
    }
    best = winner(control, verdicts, analysis.estimates, lower_is_better=question.outcome.lower_is_better)
    warnings += [f"{each} has fewer than {question.least_samples} samples." for each in weights if each in few]
    warnings += _uneven(reader, weights)
    return Finding(name, control, question, window, weights, analysis, verdicts, best, tuple(warnings))


def _uneven(reader: Reader, weights: Mapping[str, float]) -> list[str]:
    """Requests that a client sent to a variant of its choice were not divided by chance, and may be others."""
    (counts,) = reader.whole([("AWS/SageMaker", "Invocations", "Sum")])
    total, all_weights = sum(counts.values()), sum(weights.values())
    for variant, weight in weights.items():
        drawn = Share(total, counts.get(variant, 0.0))
        if total and all_weights and shares.departs(drawn, weight / all_weights, _SPLIT_ALPHA):
            got = f"{variant} got {drawn.estimate:.2%} of the requests, but {weight / all_weights:.2%} by its weight"
            why = (
                "they were not all divided by the weights of now, so the variants may differ by more than their models"
            )
            return [f"{got}: {why}."]
    return []


def give_traffic(sagemaker: Any, finding: Finding) -> None:
    """All of it to the winner, and wait until it is so."""
    total = sum(finding.weights.values()) or 1.0
    desired = [
        {"VariantName": each, "DesiredWeight": total if each == finding.winner else 0.0} for each in finding.weights
    ]
    sagemaker.update_endpoint_weights_and_capacities(EndpointName=finding.endpoint, DesiredWeightsAndCapacities=desired)
    wait_until_settled(sagemaker, finding.endpoint, lambda _text: None)


def _amount(text: str, outcome: Outcome) -> float:
    """In the outcome's unit. A share may be written as 0.005 or 0.5%. Raises UsageError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(%|ms)?", text)
    if found is None or found[2] not in (None, outcome.unit):
        fitting = {"%": '"0.5%" or "0.005"', "ms": '"5ms" or "5"'}.get(outcome.unit, 'a number such as "0.5"')
        raise click.UsageError(f'--min-effect is "{text}"; for {outcome.text} it is {fitting}.')
    return float(found[1]) * (100 if outcome.unit == "%" and found[2] is None else 1)


def _time(text: str, now_s: float) -> float:
    """Seconds since 1970 of a time, or of so long before now. Raises UsageError."""
    if re.fullmatch(r"\d+[smhd]", text):
        return math.floor((now_s - seconds(text)) / 60) * 60.0
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError(f'--since is "{text}"; write 2026-11-28T20:00, in UTC, or 15m, 3h, 7d.') from None
    at_s = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    if at_s > now_s:
        raise click.UsageError(f'--since is "{text}"; that is not over yet.')
    return at_s


def _picture(finding: Finding) -> list[str]:
    outcome, analysis = finding.question.outcome, finding.analysis
    better = "lower" if outcome.lower_is_better else "higher"
    since = datetime.fromtimestamp(finding.window.start_s, UTC)
    head = f"{finding.endpoint}: {outcome.text} ({better} is better), since {since:%Y-%m-%d %H:%M} UTC"
    compared = {each.variant: each.interval for each in analysis.compared}
    rows = []
    for variant in (finding.control, *compared):
        shown = [variant, f"{analysis.samples[variant]:,.0f}", _number(analysis.estimates[variant], outcome.unit)]
        if variant == finding.control:
            rows.append([*shown, "", "", "control"])
            continue
        interval = compared[variant]
        ends = f"{_signed(interval.low)} to {_signed(interval.high)}" if math.isfinite(interval.estimate) else ""
        rows.append([*shown, _signed(interval.estimate), ends, finding.verdicts[variant]])
    confidence = f"{100 * (1 - finding.question.alpha):g}% INTERVAL"
    lines = [head, "", table(["VARIANT", "SAMPLES", "OUTCOME", "DIFFERENCE", confidence, "VERDICT"], rows)]
    lines += [f"Note: {each}" for each in finding.warnings]
    if finding.winner is not None:
        lines.append(f"Winner: {finding.winner}.")
    elif finding.is_decided:
        lines.append("No winner: there is no difference that counts." if _all_alike(finding) else "No winner.")
    else:
        lines.append("Not decided yet.")
    return lines


def _all_alike(finding: Finding) -> bool:
    return set(finding.verdicts.values()) == {"no difference"}


def _number(value: float, unit: str) -> str:
    return f"{charts.number(value)}{' ' if unit else ''}{unit}" if math.isfinite(value) else "-"


def _signed(value: float) -> str:
    if not math.isfinite(value):
        return "-" if math.isnan(value) else "anything"
    return f"{'+' if value > 0 else ''}{charts.number(value)}"


def _as_json(finding: Finding) -> dict[str, Any]:
    question, window = finding.question, finding.window
    return {
        "endpoint": finding.endpoint,
        "outcome": question.outcome.text,
        "unit": question.outcome.unit,
        "better": "lower" if question.outcome.lower_is_better else "higher",
        "method": question.outcome.method,
        "confidence": round(1 - question.alpha, 6),
        "min_effect": question.indifference,
        "min_samples": question.least_samples,
        "since": datetime.fromtimestamp(window.start_s, UTC).isoformat(),
        "until": datetime.fromtimestamp(window.end_s, UTC).isoformat(),
        "control": finding.control,
        "variants": {
            each: {
                "weight": weight,
                "samples": finding.analysis.samples[each],
                "estimate": _finite(finding.analysis.estimates[each]),
            }
            for each, weight in finding.weights.items()
        },
        "compared": {
            each.variant: {
                "verdict": finding.verdicts[each.variant],
                "difference": _finite(each.interval.estimate),
                "low": _finite(each.interval.low),
                "high": _finite(each.interval.high),
            }
            for each in finding.analysis.compared
        },
        "decided": finding.is_decided,
        "winner": finding.winner,
        "warnings": list(finding.warnings),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
