"""One asynchronous invocation as it waits: all that is needed to carry it out, whatever becomes of the config. PURE."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from typing import Any

from kedge.async_inference.config import Output
from kedge.objects import address

QUEUE = "async-invocation"
"""Kind of the store's queues; each endpoint has one, named by its uid."""
MOST_WAITING = 100_000
"""In one endpoint's queue."""
DEFAULT_TTL_S = 21_600
DEFAULT_TIMEOUT_S = 900
MARK = "kedge-invocation"
"""Metadata of an output: which invocation has written it, so that none is carried out again whose output is there."""


@dataclass(frozen=True)
class Item:
    inference_id: str
    account: str
    region: str
    endpoint: str
    uid: str
    """Of the endpoint."""
    output: str
    """Address of the object that a good answer becomes."""
    failure: str = ""
    """The same of a failure; "" where it leaves none."""
    input: str = ""
    """Address of the request's body; "" where it came along."""
    body: bytes = b""
    content_type: str = ""
    accept: str = ""
    custom_attributes: str = ""
    timeout_s: float = DEFAULT_TIMEOUT_S
    kms_key: str = ""
    success_topic: str = ""
    error_topic: str = ""
    included_in: frozenset[str] = frozenset()

    def document(self) -> dict[str, Any]:
        shown = asdict(self)
        return {**shown, "body": base64.b64encode(self.body).decode(), "included_in": sorted(self.included_in)}

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Item:
        """Of this release or an earlier one."""
        names = {each.name for each in fields(cls)}
        given = {name: value for name, value in document.items() if name in names}
        body = base64.b64decode(document["body"])
        return cls(**{**given, "body": body, "included_in": frozenset(document["included_in"])})

    def bound_for(self, output: Output, extension: str, filename: str) -> Item:
        """With where its results go. extension: below the output path; filename: "" is made of the id."""
        failure = address.below(output.failure_path, f"{self.inference_id}-error.out") if output.failure_path else ""
        return replace(
            self,
            output=address.below(output.path, extension, filename or f"{self.inference_id}.out"),
            failure=failure,
            kms_key=output.kms_key,
            success_topic=output.success_topic,
            error_topic=output.error_topic,
            included_in=output.included_in,
        )


@dataclass(frozen=True)
class Completed:
    content_type: str
    response: bytes | None
    """None for one that is too long to be told of."""


@dataclass(frozen=True)
class Failed:
    reason: str
    kind: str = "InvocationFailures"
    """The metric that counts it besides: RequestDownloadFailures, ResponseUploadFailures, ExpiredRequests."""
    response: bytes | None = None
    """What the model said, if it said something."""
    content_type: str = ""


Outcome = Completed | Failed


@dataclass(frozen=True)
class Times:
    """Of one invocation."""

    received_at: datetime
    begun_at: datetime | None = None
    """When it was sent to an instance for the last time."""
    ended_at: datetime | None = None
    download_us: float = 0.0
    upload_us: float = 0.0
    model_us: float = 0.0
