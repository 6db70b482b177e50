"""`kedge drift`: whether an endpoint's data has moved away from its baseline, by the minute; and which drift it is."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kedge.cli.deploy import describe
from kedge.cli.durations import seconds
from kedge.cli.failures import Failed
from kedge.cli.lifecycle import data_option, json_option
from kedge.cli.monitor import picture_of, violations_of
from kedge.cli.server import Server, find
from kedge.cli.tables import table
from kedge.objects import address

if TYPE_CHECKING:
    from kedge.monitoring.drift.judging import Finding
    from kedge.monitoring.drift.verdict import Evidence, Verdict
    from kedge.monitoring.live.minutes import Minutes

CAPTURED_WITHIN_S = 12
"""A record is in its file ten seconds after it came; a window that ended before has all of its own."""
LARGEST_BASELINE_BYTES = 256 << 20
MOST_WINDOWS = 1_000
_EVERY_S = 5.0
_CLEAR = "\x1b[H\x1b[2J\x1b[3J"
_MARKS = {"none": ".", "material": "o", "large": "O", "very large": "#"}
_LEGEND = ". no alert   o material   O large   # very large"
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
    windows: list[list[Finding]]
    """Complete ones, oldest first; of each column."""
    verdict: Verdict


@click.command(short_help="Has the data moved? By the minute.")
@click.argument("name")
@click.option("--watch", is_flag=True, help="A new picture every five seconds.")
@click.option("--last", default="60m", show_default=True, metavar="TIME", help="How far back: 15m, 3h, 7d.")
@click.option("--window", default="1m", show_default=True, metavar="TIME", help="What is judged at a time: 1m, 1h.")
@click.option("--baseline", metavar="S3URI", help="A statistics.json; else the data quality monitor's.")
@click.option("--captured", metavar="S3URI", help="Where captured records are; else as the endpoint says.")
@data_option
@json_option
def drift(
    name: str, watch: bool, last: str, window: str, baseline: str | None, captured: str | None, data: Path | None,
    as_json: bool
) -> None:  # fmt: skip
    """Compare what the endpoint NAME was asked just now with its baseline, and say which kind of drift it is.

    Columns are judged as docs/drift.md says; quality is what the endpoint's model quality monitors found last.
    """
    length_s, last_s = seconds(window), seconds(last)
    if length_s % 60 or not length_s <= last_s <= MOST_WINDOWS * length_s:
        raise click.UsageError(f"--window takes whole minutes, and --last one to {MOST_WINDOWS:,} of them.")
    server = find(data)
    captured = (captured or _captured(server, name)).rstrip("/")
    baseline = baseline or _baseline(server, name)
    follower = _Follower(server, f"{captured}/{name}", _minutes(server, baseline))
    while True:
        # The part of the budget that a window gets is for one look at it, so one that goes on is not looked at.
        end_s = int((time.time() - CAPTURED_WITHIN_S) // length_s) * length_s
        begin_s = end_s - last_s // length_s * length_s
        follower.read(begin_s)
        picture = _seen(follower.minutes, begin_s, end_s, length_s, name, baseline, _quality(server, name))
        if as_json:
            click.echo(json.dumps(_as_json(picture), indent=None if watch else 2))
        else:
            click.echo(f"{_CLEAR if watch and sys.stdout.isatty() else ''}" + "\n".join(_drawn(picture)))
        if not watch:
            return
        time.sleep(_EVERY_S)


class _Follower:
    """Reads captured files, each once."""

    def __init__(self, server: Server, prefix: str, minutes: Minutes) -> None:
        self._s3 = server.client("s3")
        self._bucket, self._prefix = _parsed(prefix)
        self.minutes = minutes
        self._seen: set[str] = set()

    def read(self, begin_s: int) -> None:
        """What was captured since begin_s and is not known yet."""
        self.minutes.forget(begin_s // 60)
        kept = set()
        for key in self._keys(begin_s):
            kept.add(key)
            if key not in self._seen:
                body = self._s3.get_object(Bucket=self._bucket, Key=key)["Body"].read()
                self.minutes.add(body.splitlines(), key.rpartition("/")[2])
        self._seen = kept

    def _keys(self, begin_s: int) -> Iterator[str]:
        variants = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=f"{self._prefix}/", Delimiter="/"
        )
        for variant in [each["Prefix"] for page in variants for each in page.get("CommonPrefixes", ())]:
            for hour in range(begin_s // 3600, int(time.time()) // 3600 + 1):
                prefix = f"{variant}{datetime.fromtimestamp(hour * 3600, UTC):%Y/%m/%d/%H}/"
                for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix):
                    yield from (each["Key"] for each in page.get("Contents", ()))


def _captured(server: Server, name: str) -> str:
    endpoint = describe(server.client("sagemaker"), name)
    if endpoint is None:
        raise Failed(f'There is no endpoint "{name}"; `kedge status` lists those that there are.')
    capture = endpoint.get("DataCaptureConfig")
    if capture is None:
        raise Failed(f'Nothing of endpoint "{name}" is captured; its endpoint config needs a DataCaptureConfig.')
    found: str = capture["DestinationS3Uri"]
    return found


def _monitors(server: Server, name: str, kind: str) -> list[str]:
    sagemaker = server.client("sagemaker")
    pages = sagemaker.get_paginator("list_monitoring_schedules").paginate(
        EndpointName=name, MonitoringTypeEquals=kind, SortBy="CreationTime", SortOrder="Descending"
    )
    return [each["MonitoringScheduleName"] for page in pages for each in page["MonitoringScheduleSummaries"]]


def _baseline(server: Server, name: str) -> str:
    """Of the newest data quality monitor that has one."""
    sagemaker = server.client("sagemaker")
    for schedule in _monitors(server, name, "DataQuality"):
        config = sagemaker.describe_monitoring_schedule(MonitoringScheduleName=schedule)["MonitoringScheduleConfig"]
        own = config.get("MonitoringJobDefinition", {}).get("BaselineConfig", {})
        if named := config.get("MonitoringJobDefinitionName"):
            job = sagemaker.describe_data_quality_job_definition(JobDefinitionName=named)
            own = job.get("DataQualityBaselineConfig", {})
        if found := own.get("StatisticsResource", {}).get("S3Uri"):
            return str(found)
    raise Failed(
        f'Endpoint "{name}" has no data quality monitor with baseline statistics: give --baseline the s3:// address of'
        " a statistics.json; a data quality job suggests one (docs/data-quality.md)."
    )


def _minutes(server: Server, uri: str) -> Minutes:
    try:
        from kedge.monitoring.data_quality.statistics_file import BadFile, read
        from kedge.monitoring.live import known
        from kedge.monitoring.live.minutes import Minutes
    except ModuleNotFoundError as error:
        raise Failed(f'{error.name} is not installed; pip install "kedge[monitor]" brings it.') from None
    s3 = server.client("s3")
    bucket, key = _parsed(uri)
    try:
        held = s3.get_object(Bucket=bucket, Key=key)
        if held["ContentLength"] > LARGEST_BASELINE_BYTES:
            raise Failed(f"The baseline {uri} is larger than {LARGEST_BASELINE_BYTES >> 20} MiB.")
        columns, _ = known.columns(read(json.loads(held["Body"].read())))
    except (s3.exceptions.NoSuchKey, s3.exceptions.NoSuchBucket):
        raise Failed(f"There is no baseline at {uri}.") from None
    except (BadFile, ValueError) as error:
        raise Failed(f"The baseline {uri} cannot be read: {error}") from None
    if not columns:
        raise Failed(f"The baseline {uri} has no column with values; a data quality job suggests one that has.")
    return Minutes(columns)


def _parsed(uri: str) -> tuple[str, str]:
    try:
        return address.parse(uri)
    except ValueError as error:
        raise click.UsageError(f'"{uri}" is no address: {error}.') from None


def _quality(server: Server, name: str) -> Evidence | None:
    """What the model quality monitors found in their last executions that ended; None while there is none."""
    from kedge.monitoring.drift import verdict

    found: list[Any] | None = None
    for schedule in _monitors(server, name, "ModelQuality"):
        executions = picture_of(server.client("sagemaker"), schedule)["executions"]
        ended = [each for each in executions if each["status"] in _OVER]
        if ended:
            found = (found or []) + violations_of(server, ended[-1])
    return None if found is None else verdict.of_violations(found)


def _seen(
    minutes: Minutes, begin_s: int, end_s: int, length_s: int, name: str, baseline: str, quality: Evidence | None
) -> _Picture:
    from kedge.monitoring.drift import judging, verdict

    count = (end_s - begin_s) // length_s
    starts_s = [float(begin_s + place * length_s) for place in range(count)]
    windows = minutes.windows(begin_s // 60, count, length_s // 60)
    found = judging.findings(minutes.columns, windows, starts_s, judging.Settings(window_s=float(length_s)))
    rows = next(iter(windows.values())).sum()
    decided = verdict.decided(verdict.of_findings(found[-1]), quality)
    return _Picture(name, baseline, float(end_s), length_s, float(rows), minutes.notes.left_out, found, decided)


def _drawn(picture: _Picture) -> list[str]:
    window = f"{picture.length_s // 60}m"
    at = datetime.fromtimestamp(picture.at_s, UTC)
    windows = f"{len(picture.windows)} windows of {window} until {at:%Y-%m-%d %H:%M} UTC"
    lines = [f"{picture.endpoint}  {windows}, {picture.rows:,.0f} rows; beside {picture.baseline}"]
    if picture.left_out:
        lines.append(f"{picture.left_out:,} records could not be read and are left out.")
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
            (now.column, f"{now.effect:+.2f}", f"{now.low:+.2f} to {now.high:+.2f}", now.severity,
             _lasted(before, picture.length_s), f"{now.q:.2g}", now.aspect, f"{now.rows:,.0f}", marks)
        )  # fmt: skip
    head = ["COLUMN", "EFFECT", "INTERVAL", "SEVERITY", "FOR", "Q", "ASPECT", "ROWS", "WINDOWS"]
    lines += table(head, rows).splitlines()
    if len(order) > _SHOWN:
        lines.append(f"and {len(order) - _SHOWN} columns more, which are surer to be still.")
    return [*lines, "", _LEGEND]


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
        "verdict": picture.verdict._asdict(),
        "columns": [
            {
                **{key: value for key, value in each._asdict().items() if key != "window"},
                "lasting_windows": _lasting([of[place] for of in picture.windows]),
            }
            for place, each in enumerate(picture.windows[-1])
        ],
    }
