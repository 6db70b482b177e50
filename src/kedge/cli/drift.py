"""`kedge drift`: whether an endpoint's data has moved away from its baseline, by the minute; and which drift it is."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kedge.cli import drift_sources
from kedge.cli.durations import seconds
from kedge.cli.lifecycle import data_option, json_option
from kedge.cli.monitor import picture_of, violations_of
from kedge.cli.server import Server, find
from kedge.cli.tables import table

if TYPE_CHECKING:
    from kedge.cli.drift_sources import Source
    from kedge.monitoring.drift.judging import Finding
    from kedge.monitoring.drift.verdict import Evidence, Verdict

MOST_WINDOWS = 1_000
LEAST_SEASON_S = 2 * 86_400
_EVERY_S = 5.0
_CLEAR = "\x1b[H\x1b[2J\x1b[3J"
_MARKS = {"none": ".", "material": "o", "large": "O", "very large": "#"}
_LEGEND = (
    "WINDOWS  oldest first: . no alert   o material   O large   # very large",
    "EFFECT   in standard deviations of the baseline, 0.25 is material; of ROWS, the last window's or those before too",
)
_SHOWN, _STRIP = 30, 40
_OVER = ("Completed", "CompletedWithViolations")


@dataclass
class _Picture:
    endpoint: str
    baseline: str
    at_s: float
    length_s: int
    rows: float
    left_out: int
    lost: int
    """Minutes of which a kill took records."""
    windows: list[list[Finding]]
    """Complete ones, oldest first; of each column."""
    verdict: Verdict
    told: list[str]
    """What the last effect of each column is in its own terms."""


@click.command(short_help="Has the data moved? By the minute.")
@click.argument("name")
@click.option("--watch", is_flag=True, help="A new picture every five seconds.")
@click.option("--last", default="60m", show_default=True, metavar="TIME", help="How far back: 15m, 3h, 7d.")
@click.option("--window", default="1m", show_default=True, metavar="TIME", help="What is judged at a time: 1m, 1h.")
@click.option("--season", metavar="TIME", help="Learn how hours differ from so long before --last: 14d.")
@click.option("--baseline", metavar="S3URI", help="A statistics.json; else the data quality monitor's.")
@click.option("--captured", metavar="S3URI", help="Read captured files there, not the sketches that are kept.")
@data_option
@json_option
def drift(
    name: str, watch: bool, last: str, window: str, season: str | None, baseline: str | None, captured: str | None,
    data: Path | None, as_json: bool
) -> None:  # fmt: skip
    """Compare what the endpoint NAME was asked just now with its baseline, and say which kind of drift it is.

    Columns are judged as docs/drift.md says; quality is what the endpoint's model quality monitors found last.
    """
    length_s, last_s = seconds(window), seconds(last)
    if length_s % 60 or not length_s <= last_s <= MOST_WINDOWS * length_s:
        raise click.UsageError(f"--window takes whole minutes, and --last one to {MOST_WINDOWS:,} of them.")
    season_s = seconds(season) if season else 0
    if season and season_s < LEAST_SEASON_S:
        raise click.UsageError(f"--season is {season}; two days are the least that show how hours differ.")
    server = find(data)
    baseline = baseline or drift_sources.baseline(server, name)
    beside = drift_sources.known_of(server, baseline)
    source = drift_sources.source(server, name, captured, beside)

    def span() -> tuple[int, int]:
        # The part of the budget that a window gets is for one look at it, so one that goes on is not looked at.
        end_s = int((time.time() - source.within_s) // length_s) * length_s
        return end_s - last_s // length_s * length_s, end_s

    if season_s:
        before = drift_sources.source(server, name, captured, beside, hourly=True)
        source.minutes.columns = drift_sources.seasoned(before, span()[0], season_s)
    while True:
        begin_s, end_s = span()
        source.read(begin_s, end_s)
        picture = _seen(source, begin_s, end_s, length_s, name, baseline, _quality(server, name))
        if as_json:
            click.echo(json.dumps(_as_json(picture), indent=None if watch else 2))
        else:
            click.echo(f"{_CLEAR if watch and sys.stdout.isatty() else ''}" + "\n".join(_drawn(picture)))
        if not watch:
            return
        time.sleep(_EVERY_S)


def _quality(server: Server, name: str) -> Evidence | None:
    """What the model quality monitors found in their last executions that ended; None while there is none."""
    from kedge.monitoring.drift import verdict

    found: list[Any] | None = None
    for schedule in drift_sources.monitors(server, name, "ModelQuality"):
        executions = picture_of(server.client("sagemaker"), schedule)["executions"]
        ended = [each for each in executions if each["status"] in _OVER]
        if ended:
            found = (found or []) + violations_of(server, ended[-1])
    return None if found is None else verdict.of_violations(found)


def _seen(
    source: Source, begin_s: int, end_s: int, length_s: int, name: str, baseline: str, quality: Evidence | None
) -> _Picture:
    from kedge.monitoring.drift import judging, verdict
    from kedge.monitoring.drift.telling import was_and_is

    minutes, count = source.minutes, (end_s - begin_s) // length_s
    starts_s = [float(begin_s + place * length_s) for place in range(count)]
    windows = minutes.windows(begin_s // 60, count, length_s // 60)
    found = judging.findings(minutes.columns, windows, starts_s, judging.Settings(window_s=float(length_s)))
    rows = next(iter(windows.values())).sum()
    decided = verdict.decided(verdict.of_findings(found[-1]), quality)
    told = [
        was_and_is(minutes.columns[each.column], windows[each.column][-each.span :].sum(axis=0), each.aspect)
        for each in found[-1]
    ]
    missing = minutes.notes.left_out, len(source.lost)
    return _Picture(name, baseline, float(end_s), length_s, float(rows), *missing, found, decided, told)


def _drawn(picture: _Picture) -> list[str]:
    window = f"{picture.length_s // 60}m"
    at = datetime.fromtimestamp(picture.at_s, UTC)
    windows = f"{len(picture.windows)} windows of {window} until {at:%Y-%m-%d %H:%M} UTC"
    lines = [f"{picture.endpoint}  {windows}, {picture.rows:,.0f} rows; beside {picture.baseline}"]
    if picture.left_out:
        lines.append(f"{picture.left_out:,} records could not be read and are left out.")
    if picture.lost:
        lines.append(f"Records are missing of minutes in which the process that keeps them was killed: {picture.lost}.")
    last = picture.windows[-1]
    most = max(each.rows for each in last)
    if not _judged(last):
        return [*lines, "", f"Too few rows to judge: {most:,.0f} in the last windows together, 200 are needed."]
    lines += [f"{picture.verdict.kind}: {picture.verdict.evidence}", picture.verdict.advice, ""]
    order = sorted(range(len(last)), key=lambda place: (not last[place].alerts, last[place].p))
    rows = []
    for place in order[:_SHOWN]:
        now, before = last[place], [each[place] for each in picture.windows]
        marks = "".join(_MARKS[each.severity] for each in before[-_STRIP:])
        rows.append(
            (now.column, picture.told[place], f"{now.effect:+.2f}", f"{now.low:+.2f} to {now.high:+.2f}", now.severity,
             _lasted(before, picture.length_s), f"{now.q:.2g}", now.aspect, f"{now.rows:,.0f}", marks)
        )  # fmt: skip
    head = ["COLUMN", "WAS -> IS", "EFFECT", "INTERVAL", "SEVERITY", "FOR", "Q", "ASPECT", "ROWS", "WINDOWS"]
    lines += table(head, rows).splitlines()
    if len(order) > _SHOWN:
        lines.append(f"and {len(order) - _SHOWN} columns more, which are surer to be still.")
    return [*lines, "", *_LEGEND]


def _judged(findings: Sequence[Finding]) -> bool:
    from kedge.monitoring.drift.evidence import LEAST_ROWS

    return any(each.rows >= LEAST_ROWS for each in findings)


def _lasting(before: Sequence[Finding]) -> int:
    """Windows in a row that alerted until now."""
    still = [place for place, each in enumerate(reversed(before)) if not each.alerts]
    return still[0] if still else len(before)


def _lasted(before: Sequence[Finding], length_s: int) -> str:
    count = _lasting(before)
    return f"{count * length_s // 60}m" if count else "-"


def _as_json(picture: _Picture) -> dict[str, Any]:
    return {
        "endpoint": picture.endpoint,
        "baseline": picture.baseline,
        "until": datetime.fromtimestamp(picture.at_s, UTC).isoformat(),
        "window_s": picture.length_s,
        "windows": len(picture.windows),
        "rows": picture.rows,
        "left_out": picture.left_out,
        "lost_minutes": picture.lost,
        "verdict": picture.verdict._asdict(),
        "columns": [
            {
                **{key: value for key, value in each._asdict().items() if key != "window"},
                "was_and_is": picture.told[place],
                "lasting_windows": _lasting([of[place] for of in picture.windows]),
            }
            for place, each in enumerate(picture.windows[-1])
        ],
    }
