"""What is stored of an endpoint: its fleets, and which of them serves. PURE.

A fleet is the variants of one endpoint config as they were when it was put to work: config and models are copied into
it, so that deleting or re-creating either later changes nothing that runs. `live` serves. `pending` is being started
to take its place. A variant of the live fleet that is being scaled has a desired count that is not its current one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from typing import Any

KIND = "endpoint"
CONFIG_KIND = "endpoint-config"
MAX_REASON_CHARS = 1024


class Status(StrEnum):
    """The states that an endpoint of this release can be in. Source: botocore's EndpointStatus."""

    CREATING = "Creating"
    IN_SERVICE = "InService"
    UPDATING = "Updating"
    FAILED = "Failed"
    DELETING = "Deleting"

    @property
    def in_transition(self) -> bool:
        return self in (Status.CREATING, Status.UPDATING, Status.DELETING)

    @property
    def upper_snake(self) -> str:
        """How EventBridge events spell it."""
        return "IN_SERVICE" if self is Status.IN_SERVICE else self.value.upper()


@dataclass(frozen=True)
class Variant:
    name: str
    model: str
    image: str
    runtime: str
    """A name of kedge.serving.runtimes; "" where the fleet's problem says that there is none."""
    model_data_url: str
    environment: Mapping[str, str]
    instance_type: str
    cores: float
    memory_bytes: int
    gpus: int
    desired_count: int
    desired_weight: float
    current_count: int = 0
    """How many instances requests are sent to."""
    current_weight: float = 0.0
    routing: str = "RANDOM"
    start_timeout_s: float | None = None
    download_timeout_s: float | None = None
    artifact_sha256: str = ""
    """Names the unpacked model data once it was fetched."""
    echo: Mapping[str, Any] = field(default_factory=dict)
    """Members of the config's variant that DescribeEndpoint repeats."""


@dataclass(frozen=True)
class Fleet:
    number: int
    """1 for an endpoint's first fleet; never used twice in an endpoint."""
    config: str
    created_at_s: float
    """Seconds since 1970."""
    variants: tuple[Variant, ...]
    problem: str = ""
    """Why this fleet can never serve, known without starting it."""
    echo: Mapping[str, Any] = field(default_factory=dict)
    """Members of the config that DescribeEndpoint repeats."""

    def variant(self, name: str) -> Variant | None:
        return next((each for each in self.variants if each.name == name), None)

    @property
    def settled(self) -> bool:
        """Whether every variant has as many instances as it should, with the weight that it should have."""
        return all((v.current_count, v.current_weight) == (v.desired_count, v.desired_weight) for v in self.variants)

    def promoted(self) -> Fleet:
        """With what is desired as what is current."""
        variants = (replace(v, current_count=v.desired_count, current_weight=v.desired_weight) for v in self.variants)
        return replace(self, variants=tuple(variants))


@dataclass(frozen=True)
class Member:
    """One instance that a fleet should have."""

    id: str
    fleet: int
    variant: Variant
    ordinal: int

    @property
    def is_new(self) -> bool:
        """No request is sent to it yet."""
        return self.ordinal >= self.variant.current_count


@dataclass(frozen=True)
class Endpoint:
    name: str
    """In the case in which it was created."""
    uid: str
    """Tells it from another endpoint that had the same name before."""
    config: str
    """Name of the endpoint config that Describe shows: the serving one, or while there is none the first."""
    fleets: int = 1
    """How many fleets it has had."""
    live: Fleet | None = None
    pending: Fleet | None = None
    failure_reason: str = ""
    deployment: Mapping[str, Any] | None = None
    """The last DeploymentConfig that was given."""

    def document(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Endpoint:
        return cls(**{**document, "live": _fleet(document["live"]), "pending": _fleet(document["pending"])})

    def members(self) -> Iterator[Member]:
        """Every instance that is wanted, of the fleet that serves and of the one to come."""
        for fleet in (self.live, self.pending):
            for variant in fleet.variants if fleet else ():
                for ordinal in range(variant.desired_count):
                    assert fleet is not None
                    yield Member(
                        instance_id(self.uid, fleet.number, variant.name, ordinal), fleet.number, variant, ordinal
                    )

    def fleet(self, number: int) -> Fleet | None:
        return next((f for f in (self.live, self.pending) if f is not None and f.number == number), None)

    def promoted(self) -> Endpoint:
        """The pending fleet serves; without one, the live fleet serves with the size that it should have."""
        fleet = self.pending or self.live
        assert fleet is not None, "nothing to promote"
        return replace(self, live=fleet.promoted(), pending=None, config=fleet.config)

    def failed(self, reason: str) -> Endpoint:
        return replace(self, failure_reason=shortened(reason))

    def rolled_back(self, reason: str) -> Endpoint:
        """The live fleet goes on with the size that it had; the weights that were asked for are kept."""
        assert self.live is not None, "nothing to go back to"
        variants = tuple(
            replace(v, desired_count=v.current_count, current_weight=v.desired_weight) for v in self.live.variants
        )
        live = replace(self.live, variants=variants)
        return replace(self, live=live, pending=None, failure_reason=shortened(reason))

    def prepared(self, number: int, artifacts: Mapping[str, str]) -> Endpoint:
        """With the hash of each variant's model data. artifacts: variant name -> SHA-256."""

        def with_hashes(fleet: Fleet | None) -> Fleet | None:
            if fleet is None or fleet.number != number:
                return fleet
            return replace(
                fleet,
                variants=tuple(
                    replace(v, artifact_sha256=artifacts.get(v.name, v.artifact_sha256)) for v in fleet.variants
                ),
            )

        return replace(self, live=with_hashes(self.live), pending=with_hashes(self.pending))

    def with_problem(self, number: int, problem: str) -> Endpoint:
        """The pending fleet cannot serve. Any other fleet is left as it is."""
        if self.pending is None or self.pending.number != number:
            return self
        return replace(self, pending=replace(self.pending, problem=problem))


def instance_id(uid: str, fleet: int, variant: str, ordinal: int) -> str:
    """The same for the same instance whenever it is asked, so that starting it twice starts it once."""
    return "i-" + hashlib.sha256(f"{uid}/{fleet}/{variant}/{ordinal}".encode()).hexdigest()[:17]


def shortened(reason: str) -> str:
    """At most as long as a FailureReason may be: the start says what happened, the end is the end of the log."""
    if len(reason) <= MAX_REASON_CHARS:
        return reason
    head = MAX_REASON_CHARS // 2
    return reason[:head] + " ... " + reason[-(MAX_REASON_CHARS - head - 5) :]


def _fleet(document: Mapping[str, Any] | None) -> Fleet | None:
    if document is None:
        return None
    known = {f.name for f in fields(Variant)}
    variants = tuple(Variant(**{k: v for k, v in each.items() if k in known}) for each in document["variants"])
    return Fleet(**{**document, "variants": variants})
