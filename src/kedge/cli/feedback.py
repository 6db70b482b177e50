"""What became of requests, told later by inference id, for `kedge experiment`; data capture knows their variants."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from kedge.cli.failures import Failed
from kedge.cli.outcomes import Window
from kedge.experiments.shares import Share


class Told(NamedTuple):
    value: float
    """From 0 to 1."""
    variant: str
    """Empty where it has to be looked up."""


class Tallied(NamedTuple):
    shares: Mapping[str, Share]
    """By variant."""
    unknown: int
    """Lines of no captured request, or of an id that several variants have answered to."""


def read(path: Path) -> dict[str, Told]:
    """By inference id; of several lines of one id the last counts. Raises Failed, and names the line."""
    found = {}
    for number, line in enumerate(path.read_text("utf-8", errors="replace").splitlines(), 1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
            id_, value, variant = fields["inferenceId"], float(fields["value"]), fields.get("variant") or ""
            if not (isinstance(id_, str) and isinstance(variant, str) and 0 <= value <= 1):
                raise ValueError
        except (ValueError, KeyError, TypeError, AttributeError):
            raise Failed(
                f'Line {number} of {path} is not like {{"inferenceId": "order-7", "value": 1}}, with a value from 0 to '
                '1 and perhaps a "variant".'
            ) from None
        found[id_] = Told(value, variant)
    return found


def tally(s3: Any, endpoint: Mapping[str, Any], told: Mapping[str, Told], window: Window) -> Tallied:
    """endpoint: as DescribeEndpoint says. Raises Failed where a variant is to be looked up and nothing is captured."""
    variants = [each["VariantName"] for each in endpoint["ProductionVariants"]]
    answered = {id_: {each.variant} for id_, each in told.items() if each.variant}
    wanted = told.keys() - answered.keys()
    if wanted:
        capture = endpoint.get("DataCaptureConfig")
        if capture is None:
            raise Failed(
                f"{len(wanted)} lines name no variant, and {endpoint['EndpointName']} captures no data where it could "
                'be looked up: write "variant" into each line, or capture data.'
            )
        for variant in variants:
            for id_ in _captured(s3, capture["DestinationS3Uri"], endpoint["EndpointName"], variant, window.start_s):
                if id_ in wanted:
                    answered.setdefault(id_, set()).add(variant)
    values: dict[str, list[float]] = {each: [] for each in variants}
    known = 0
    for id_, by in answered.items():
        if len(by) == 1 and (variant := next(iter(by))) in values:
            values[variant].append(told[id_].value)
            known += 1
    shares = {variant: Share(float(len(each)), math.fsum(each)) for variant, each in values.items()}
    return Tallied(shares, len(told) - known)


def _captured(s3: Any, uri: str, endpoint: str, variant: str, since_s: float) -> Iterator[str]:
    """Inference ids of the requests since then that were captured."""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    folder = "/".join([*([prefix.rstrip("/")] if prefix else []), endpoint, variant, ""])
    first_hour = f"{folder}{datetime.fromtimestamp(since_s, UTC):%Y/%m/%d/%H}"
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=folder, StartAfter=first_hour):
        for each in page.get("Contents", []):
            for line in s3.get_object(Bucket=bucket, Key=each["Key"])["Body"].iter_lines():
                about = json.loads(line)["eventMetadata"]
                if "inferenceId" in about and datetime.fromisoformat(about["inferenceTime"]).timestamp() >= since_s:
                    yield about["inferenceId"]
