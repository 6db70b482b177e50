"""What S3 and the store hold for an execution: captured records, labels, merged records, and its baseline."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from kedge.endpoints.capture import is_enabled
from kedge.endpoints.descriptions import arn_of as endpoint_arn
from kedge.endpoints.records import KIND as ENDPOINT
from kedge.endpoints.records import Endpoint
from kedge.jobs.program_records import PROCESSING, ProgramJob
from kedge.jobs.records import Status as JobStatus
from kedge.labels.records import prefix_of as labels_of
from kedge.monitoring.nothing import NO_DATA
from kedge.monitors import plan
from kedge.monitors.kinds import DATA_QUALITY
from kedge.monitors.monitor import Monitor
from kedge.monitors.plan import Baseline, Source
from kedge.monitors.records import Execution, Past, Status, time
from kedge.monitors.windows import folder, hours, text
from kedge.objects import address
from kedge.objects.of_account import AccountObjects
from kedge.store.records import Scope
from kedge.store.store import Store

LOOKED = (Status.COMPLETED, Status.VIOLATED)


class Unready(Exception):
    """The execution has to wait for something that is not over."""


class Impossible(Exception):
    """The message is the execution's FailureReason."""

    def __init__(self, reason: str, *, has_data: bool = True) -> None:
        """has_data: False where nothing was captured, or no label has come yet."""
        super().__init__(reason)
        self.has_data = has_data


class Place(NamedTuple):
    """Where captured records lie."""

    uri: str
    endpoint: str
    """Its name, as folders have it; "" for batch transforms, which leave manifests."""


def captures(store: Store, scope: Scope, monitor: Monitor) -> Place:
    """Blocks. Raises Impossible."""
    if not monitor.endpoint:
        return Place(str(monitor.input["DataCapturedDestinationS3Uri"]), "")
    named = endpoint_arn(scope.region, scope.account, monitor.endpoint)
    resource = store.get(scope, ENDPOINT, monitor.endpoint.lower())
    if resource is None:
        raise Impossible(f'ClientError: Could not find endpoint "{named}".')
    endpoint = Endpoint.of(resource.document)
    for fleet in (endpoint.live, endpoint.pending):
        if fleet is not None and fleet.capture is not None and is_enabled(fleet.capture):
            return Place(str(fleet.capture["DestinationS3Uri"]), endpoint.name)
    raise Impossible(f'ClientError: Endpoint "{named}" captures nothing: its config has no DataCaptureConfig.')


def baseline(store: Store, scope: Scope, monitor: Monitor) -> Baseline:
    """Where the job's definition names a baselining job, that job's output fills what is not given. Blocks.

    Raises Unready, Impossible.
    """
    if not monitor.baselining_job or monitor.constraints:
        return Baseline(monitor.constraints, monitor.statistics)
    found = store.get(scope, PROCESSING, monitor.baselining_job.lower())
    if found is None:
        raise Impossible(f"ClientError: Could not find the baselining job {monitor.baselining_job}.")
    status = JobStatus(found.status)
    if status.goes_on:
        raise Unready(f"the baselining job {monitor.baselining_job} goes on")
    if status is not JobStatus.COMPLETED:
        reason = ProgramJob.of(found.document).failure_reason
        raise Impossible(
            f"ClientError: The baselining job {monitor.baselining_job} is {status.value}. {reason}".strip()
        )
    outputs = found.document["request"].get("ProcessingOutputConfig", {}).get("Outputs", ())
    if not outputs:
        raise Impossible(f"ClientError: The baselining job {monitor.baselining_job} has no output.")
    at = outputs[0]["S3Output"]["S3Uri"]
    statistics = "" if monitor.of.is_clarify else address.below(at, "statistics.json")
    return Baseline(address.below(at, monitor.of.constraints), monitor.statistics or statistics)


async def state(objects: AccountObjects, monitor: Monitor, execution: Execution, past: Past) -> str:
    """What the last execution has left whose window ended before this one begins; "" where there is nothing.

    What two windows share would count twice as evidence.
    """
    done = [each for each in past.seen if each.status in LOOKED and each.end_s <= execution.start_s]
    if not done or monitor.kind != DATA_QUALITY.type:
        return ""
    reports = plan.report_uri(monitor, execution.schedule, time(done[-1].scheduled_s), done[-1].apart)
    at = address.below(reports, plan.DRIFT_STATE)
    return at if await objects.head(at) is not None else ""


async def captured(objects: AccountObjects, monitor: Monitor, place: Place, times: Sequence[datetime]) -> list[Source]:
    """Of all variants, hour by hour; of batch transforms what they took in, or gave where labels are of that."""
    if not place.endpoint:
        return await _manifests(objects, address.below(place.uri, "output" if monitor.of.merges else "input"), times)
    variants = await objects.folders(address.below(place.uri, place.endpoint))
    return await _there(objects, place.uri, [f"{place.endpoint}/{each}" for each in variants], times)


async def merged(objects: AccountObjects, monitor: Monitor, place: Place, times: Sequence[datetime]) -> list[Source]:
    uri = plan.merged_uri(monitor)
    if not place.endpoint:
        return await _there(objects, uri, [""], times)
    variants = await objects.folders(address.below(uri, place.endpoint))
    return await _there(objects, uri, [f"{place.endpoint}/{each}" for each in variants], times)


async def labels(
    objects: AccountObjects, monitor: Monitor, scope: Scope, endpoint: str, since: datetime, now: datetime
) -> list[Source]:
    """By the hours in which they came. Raises Impossible where there is none."""
    uri = monitor.ground_truth or labels_of(scope, endpoint)
    found = await _there(objects, uri, [""], hours(since, now + timedelta(microseconds=1)))
    if not found:
        raise Impossible(
            f"{NO_DATA}: no label was found below {uri} in the folders of {text(since)[:13]} to {text(now)[:13]}.",
            has_data=False,
        )
    return found


async def marks(objects: AccountObjects, sources: Sequence[Source]) -> Mapping[str, str]:
    """By hour, as yyyy/mm/dd/hh: a text that is another one when files of it changed."""
    found: dict[str, list[str]] = {}
    for source in sources:
        bucket, _ = address.parse(source.uri)
        for key in await objects.keys(f"{source.uri}/"):
            info = await objects.head(f"s3://{bucket}/{key}")
            if info is not None:
                told = info.encryption is None or info.encryption.md5_is_etag
                each = f"{key.rpartition('/')[2]} {info.size} {info.etag if told else ''}"
                found.setdefault(source.hour, []).append(each)
    return {hour: hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:16] for hour, lines in found.items()}


async def _manifests(objects: AccountObjects, uri: str, times: Sequence[datetime]) -> list[Source]:
    """Each in a folder of its own, of the same name whenever it is looked for."""
    bucket, _ = address.parse(uri)
    found = []
    for hour in times:
        for key in await objects.keys(f"{address.below(uri, folder(hour))}/"):
            name = key.rpartition("/")[2].partition(".")[0]
            found.append(Source(f"s3://{bucket}/{key}", f"{folder(hour)}/{name}", manifest=True))
    return found


async def _there(objects: AccountObjects, uri: str, folders: Sequence[str], times: Sequence[datetime]) -> list[Source]:
    """The hours of these folders that hold anything."""
    found = []
    for each in folders:
        for hour in times:
            below = f"{each}/{folder(hour)}" if each else folder(hour)
            at = address.below(uri, below)
            if await objects.holds(f"{at}/"):
                found.append(Source(at, below))
    return found
