"""Where `kedge drift` has its minutes from: the sketches the server keeps, or captured files, and its baseline."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

import click

from kedge.cli.deploy import describe
from kedge.cli.failures import Failed
from kedge.cli.server import Server
from kedge.minutes.asking import PATH
from kedge.objects import address

if TYPE_CHECKING:
    from kedge.monitoring.drift.baseline import Column
    from kedge.monitoring.drift.known import Known
    from kedge.monitoring.live.minutes import Minutes

_MISSING = 'There is no endpoint "{}"; `kedge status` lists those that there are.'
LARGEST_BASELINE_BYTES = 256 << 20
LEAST_HOURS = 48
"""With records, to learn a season from."""
_PARTS = 3
"""The last minutes that are asked for again: records that came late are another part of theirs."""


class Source(Protocol):
    within_s: float
    """A window that ended so long ago has all of its records."""
    minutes: Minutes
    lost: set[int]
    """Minutes since 1970 of which some records are missing, and why is known."""

    def read(self, begin_s: int, end_s: int) -> None:
        """What is not known yet of that time."""


class Sketches:
    """Asks the server, for each minute once."""

    within_s = 4.0

    def __init__(self, server: Server, name: str, minutes: Minutes) -> None:
        self._server, self._name = server, name
        self.minutes = minutes
        self.lost: set[int] = set()
        self._next = 0

    def read(self, begin_s: int, end_s: int) -> None:
        from kedge.monitoring.live import sketch

        first, last = begin_s // 60, end_s // 60 - 1
        self.minutes.forget(first)
        at = max(first, self._next - _PARTS)
        self.minutes.forget_from(at)
        self.lost = {each for each in self.lost if first <= each < at}
        while at <= last:
            answer = minutes_of(self._server, self._name, at, last)
            for each in answer["Minutes"]:
                self.minutes.add_sketch(sketch.read(base64.b64decode(each["Sketch"])))
            self.lost |= set(answer["Lost"])
            at = int(answer["Through"]) + 1
        self._next = at


class Files:
    """Reads captured files, each once."""

    within_s = 12.0

    def __init__(self, server: Server, prefix: str, minutes: Minutes) -> None:
        self._s3 = server.client("s3")
        self._bucket, self._prefix = parsed(prefix)
        self.minutes = minutes
        self.lost: set[int] = set()
        self._seen: set[str] = set()

    def read(self, begin_s: int, end_s: int) -> None:
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


def minutes_of(server: Server, name: str, first: int, last: int) -> dict[str, Any]:
    return server.ask("GET", PATH, {"EndpointName": name, "First": str(first), "Last": str(last)})


def source(server: Server, name: str, captured: str | None, beside: Known, *, hourly: bool = False) -> Source:
    """captured: where files are, if somebody says so; else sketches, unless the server keeps none."""
    from kedge.monitoring.live.minutes import Minutes

    minutes = Minutes(beside.columns, beside.names, 60 if hourly else 1)
    if captured is None:
        where = _captured(server, name)
        now = int(time.time()) // 60
        if minutes_of(server, name, now, now)["Kept"]:
            return Sketches(server, name, minutes)
        captured = where
    return Files(server, f"{captured.rstrip('/')}/{name}", minutes)


def _captured(server: Server, name: str) -> str:
    endpoint = describe(server.client("sagemaker"), name)
    if endpoint is None:
        raise Failed(_MISSING.format(name))
    capture = endpoint.get("DataCaptureConfig")
    if capture is None:
        raise Failed(f'Nothing of endpoint "{name}" is captured; its endpoint config needs a DataCaptureConfig.')
    found: str = capture["DestinationS3Uri"]
    return found


def monitors(server: Server, name: str, kind: str) -> list[str]:
    sagemaker = server.client("sagemaker")
    pages = sagemaker.get_paginator("list_monitoring_schedules").paginate(
        EndpointName=name, MonitoringTypeEquals=kind, SortBy="CreationTime", SortOrder="Descending"
    )
    return [each["MonitoringScheduleName"] for page in pages for each in page["MonitoringScheduleSummaries"]]


def baseline(server: Server, name: str) -> str:
    """Of the newest data quality monitor that has one."""
    sagemaker = server.client("sagemaker")
    for schedule in monitors(server, name, "DataQuality"):
        config = sagemaker.describe_monitoring_schedule(MonitoringScheduleName=schedule)["MonitoringScheduleConfig"]
        own = config.get("MonitoringJobDefinition", {}).get("BaselineConfig", {})
        if named := config.get("MonitoringJobDefinitionName"):
            job = sagemaker.describe_data_quality_job_definition(JobDefinitionName=named)
            own = job.get("DataQualityBaselineConfig", {})
        if found := own.get("StatisticsResource", {}).get("S3Uri"):
            return str(found)
        if own.get("BaseliningJobName") and "ConstraintsResource" not in own:  # what its executions compare with, too
            made = sagemaker.describe_processing_job(ProcessingJobName=own["BaseliningJobName"])
            return f"{made['ProcessingOutputConfig']['Outputs'][0]['S3Output']['S3Uri'].rstrip('/')}/statistics.json"
    if describe(sagemaker, name) is None:
        raise Failed(_MISSING.format(name))
    raise Failed(
        f'Endpoint "{name}" has no data quality monitor with baseline statistics: give --baseline the s3:// address of'
        " a statistics.json; a data quality job suggests one (docs/data-quality.md)."
    )


def seasoned(before: Source, until_s: int, season_s: int) -> dict[str, Column]:
    """The baseline's columns with the season of the hours before `until_s`. before: of minutes by the hour."""
    import numpy as np

    from kedge.monitoring.drift.baseline import seasoned as with_season

    end_s = until_s // 3600 * 3600
    begin_s = end_s - season_s // 3600 * 3600
    before.read(begin_s, end_s)
    count = (end_s - begin_s) // 3600
    windows = before.minutes.windows(begin_s // 60, count, 60)
    starts_s = (begin_s + 3600.0 * np.arange(count)).astype(np.float64)
    columns = before.minutes.columns
    hours = max(int((rows.sum(axis=1) > 0).sum()) for rows in windows.values())
    if hours < LEAST_HOURS:
        raise Failed(
            f"There are records of {hours} hours before; {LEAST_HOURS} are the least that show how they differ."
        )
    return {name: with_season(column, windows[name], starts_s) for name, column in columns.items()}


def known_of(server: Server, uri: str) -> Known:
    """uri: of the baseline's statistics.json."""
    try:
        from kedge.monitoring.data_quality import statistics_file
        from kedge.monitoring.data_quality.statistics_file import BadFile
        from kedge.monitoring.drift import known
    except ModuleNotFoundError as error:
        raise Failed(f'{error.name} is not installed; pip install "kedge[monitor]" brings it.') from None
    s3 = server.client("s3")
    bucket, key = parsed(uri)
    try:
        held = s3.get_object(Bucket=bucket, Key=key)
        if held["ContentLength"] > LARGEST_BASELINE_BYTES:
            raise Failed(f"The baseline {uri} is larger than {LARGEST_BASELINE_BYTES >> 20} MiB.")
        document = json.loads(held["Body"].read())
        beside = known.read(document, statistics_file.read(document))
    except (s3.exceptions.NoSuchKey, s3.exceptions.NoSuchBucket):
        raise Failed(f"There is no baseline at {uri}.") from None
    except (BadFile, ValueError) as error:
        raise Failed(f"The baseline {uri} cannot be read: {error}") from None
    if not beside.columns:
        raise Failed(f"The baseline {uri} has no column with values; a data quality job suggests one that has.")
    return beside


def parsed(uri: str) -> tuple[str, str]:
    try:
        return address.parse(uri)
    except ValueError as error:
        raise click.UsageError(f'"{uri}" is no address: {error}.') from None
