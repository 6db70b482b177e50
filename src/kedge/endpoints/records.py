"""What is stored of an endpoint: its fleets, and which of them serves. PURE.

A fleet is the variants of one endpoint config as they were when it was put to work: config and models are copied into
it, so that deleting or re-creating either later changes nothing that runs. `live` serves. `pending` is being started
to take its place, and `shift` says how much of the traffic it has by now. A variant of the live fleet that is being
scaled has a desired count that is not its current one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, TypeVar

from kedge.models.records import Source
from kedge.serving.runtimes import images

KIND = "endpoint"
COMPONENT = "inference-component"
CONFIG_KIND = "endpoint-config"
MAX_REASON_CHARS = 1024


class Status(StrEnum):
    """The states that an endpoint of this release can be in. Source: botocore's EndpointStatus."""

    CREATING = "Creating"
    IN_SERVICE = "InService"
    UPDATING = "Updating"
    ROLLING_BACK = "RollingBack"
    """A change of weights or capacities has failed, and what it began is taken back."""
    FAILED = "Failed"
    DELETING = "Deleting"
    UPDATE_ROLLBACK_FAILED = "UpdateRollbackFailed"

    @property
    def in_transition(self) -> bool:
        return self in (Status.CREATING, Status.UPDATING, Status.ROLLING_BACK, Status.DELETING)

    @property
    def upper_snake(self) -> str:
        """How EventBridge events spell it."""
        return re.sub("(?<=[a-z])(?=[A-Z])", "_", self.value).upper()


@dataclass(frozen=True)
class Container:
    """A copy of what a model says of one of its containers (kedge.models.records), and what became of it."""

    name: str
    image: str
    runtime: str
    """A name of kedge.serving.runtimes; "" where the fleet's problem says that there is none."""
    sources: tuple[Source, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    models: str = ""
    keeps_models: bool = True
    artifact_sha256: str = ""
    """Names the folder of its model data once that was fetched. Stays empty where nothing has to be."""

    @property
    def is_own_server(self) -> bool:
        return self.runtime in images.OWN_SERVERS

    @property
    def needs(self) -> tuple[Source, ...]:
        """What has to be fetched before it starts. An own server of many models is made of what is not theirs."""
        return self.sources if not self.models or self.is_own_server else ()

    @property
    def of_each_model(self) -> tuple[Source, ...]:
        """What belongs to each of many models besides its own data."""
        return () if self.is_own_server else self.sources

    @property
    def is_prepared(self) -> bool:
        return bool(self.artifact_sha256) or (bool(self.models) and not self.needs)


@dataclass(frozen=True)
class Variant:
    name: str
    model: str
    containers: tuple[Container, ...]
    """None where the fleet's problem says why."""
    instance_type: str
    cores: float
    memory_bytes: int
    gpus: int
    desired_count: int
    desired_weight: float
    current_count: int = 0
    """How many instances requests are sent to."""
    current_weight: float = 0.0
    limit_count: int | None = None
    """The most instances that it may have now, where a deployment goes in batches."""
    routing: str = "RANDOM"
    start_timeout_s: float | None = None
    download_timeout_s: float | None = None
    direct: bool = False
    """A request names the one container that it is for."""
    execution_role: str = ""
    network_isolation: bool = False
    echo: Mapping[str, Any] = field(default_factory=dict)
    """Members of the config's variant that DescribeEndpoint repeats."""
    moves: Mapping[str, int] = field(default_factory=dict)
    """By the ordinals of its instances: how often each one moved to another zone."""
    serverless: Mapping[str, int] = field(default_factory=dict)
    """The ServerlessConfig that is wanted; none where it has instances of a type."""
    current_serverless: Mapping[str, int] = field(default_factory=dict)
    is_room: bool = False
    """Its instances run no model of their own: they are room for the copies of inference components."""
    reserved_bytes: int | None = None
    """Of a copy: the memory that is kept for it on its instance, where that is less than memory_bytes, its limit."""
    scheduling: Mapping[str, Any] = field(default_factory=dict)
    """Of a component's copies: its SchedulingConfig."""
    explainer: Mapping[str, Any] = field(default_factory=dict)
    """The config's ClarifyExplainerConfig; none where nothing is explained."""

    @property
    def wanted_count(self) -> int:
        """How many instances there should be at this moment."""
        return self.desired_count if self.limit_count is None else min(self.limit_count, self.desired_count)

    @property
    def artifacts(self) -> frozenset[str]:
        """Hashes of all its model data, as far as it was fetched."""
        return frozenset(each.artifact_sha256 for each in self.containers if each.artifact_sha256)

    @property
    def is_prepared(self) -> bool:
        return all(each.is_prepared for each in self.containers)


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
    capture: Mapping[str, Any] | None = None
    """The config's DataCaptureConfig."""
    capture_rules: Mapping[str, str] = field(default_factory=dict)
    """Tags of the config that say what must not be captured."""
    trial: Mapping[str, str] = field(default_factory=dict)
    """Tags of the config that say how it is tried before it takes over from another; none where it is not."""
    shadow: str = ""
    """Name of the one of its variants that gets copies of requests and answers nobody; "" for none."""

    @property
    def production(self) -> tuple[Variant, ...]:
        """The variants that answer."""
        return tuple(each for each in self.variants if each.name != self.shadow)

    @property
    def shadows(self) -> tuple[Variant, ...]:
        return tuple(each for each in self.variants if self.shadow and each.name == self.shadow)

    def variant(self, name: str) -> Variant | None:
        return next((each for each in self.variants if each.name == name), None)

    @property
    def settled(self) -> bool:
        """Whether every variant has what it should: instances, weight, and concurrency."""
        return all(
            (v.current_count, v.current_weight, v.current_serverless)
            == (v.wanted_count, v.desired_weight, v.serverless)
            for v in self.variants
        )

    def promoted(self) -> Fleet:
        """With what is desired as what is current."""
        return self.each(_promoted)

    def each(self, change: Callable[[Variant], Variant]) -> Fleet:
        return replace(self, variants=tuple(change(variant) for variant in self.variants))


@dataclass(frozen=True)
class Shift:
    """A deployment that moves traffic from the live fleet to the pending one. Times are seconds since 1970."""

    policy: Mapping[str, Any]
    """The DeploymentConfig that it follows."""
    began_at_s: float
    steps: tuple[float, ...] = ()
    """When each step was taken that gave the pending fleet more of the traffic."""
    baking_since_s: float | None = None
    """When the last router went by the last step; None until then."""
    retired: tuple[float, ...] = ()
    """When instances of the live fleet were taken away: after each batch, or once at the end."""
    accepted: bool = False
    """All of the live fleet is taken away: there is no way back."""
    back: str = ""
    """Why the live fleet's lost instances are being brought back."""
    hurried: bool = False
    """Somebody asked to go on to the end: what is left is not baked."""
    recalled: str = ""
    """Why somebody asked to go back, as a sentence."""
    trying_since_s: float | None = None
    """When the trial of the pending fleet began; None before, and where there is none."""
    trial: Mapping[str, Any] | None = None
    """The trial's report (kedge.endpoints.trial), once it is over."""


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
class Host:
    """The variant on whose instances the copies of an inference component run."""

    endpoint: str
    """Its name, in its own case."""
    uid: str
    """Of that endpoint."""
    variant: str


@dataclass(frozen=True)
class Endpoint:
    """An endpoint, or an inference component: that is an endpoint whose instances, its copies, run on a host's."""

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
    beside: Fleet | None = None
    """What is left of a fleet beside the live one after a roll-back that failed. It serves until the next update."""
    shift: Shift | None = None
    """None where the pending fleet takes over all at once, without a wait."""
    failure_reason: str = ""
    deployment: Mapping[str, Any] | None = None
    """The last DeploymentConfig that was given."""
    divided_at_s: float = 0.0
    """Since when its traffic is divided as it is now among these variants and models, in seconds since 1970; 0 where
    that is not known. A change of capacity does not move it."""
    host: Host | None = None
    """Of an inference component; its fleets have one variant each, which is named as the host's."""

    def document(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Endpoint:
        """Of this release or an earlier one. Of a later one, what this one does not know is left out."""
        given = _known(Endpoint, document)
        named = {name: _fleet(document.get(name)) for name in ("live", "pending", "beside")}
        host = document.get("host")
        named_host = None if host is None else Host(**_known(Host, host))
        return cls(**{**given, **named, "shift": _shift(document.get("shift")), "host": named_host})

    @property
    def present(self) -> tuple[Fleet, ...]:
        """The fleets of which instances may run."""
        return tuple(fleet for fleet in (self.live, self.beside, self.pending) if fleet is not None)

    def members(self) -> Iterator[Member]:
        """Every instance that is wanted at this moment, of the fleets that serve and of the one to come."""
        for fleet in self.present:
            for variant in fleet.variants:
                for ordinal in range(0 if variant.is_room else variant.wanted_count):
                    yield Member(member_id(self.uid, fleet.number, variant, ordinal), fleet.number, variant, ordinal)

    def fleet(self, number: int) -> Fleet | None:
        return next((fleet for fleet in self.present if fleet.number == number), None)

    def promoted(self, now_s: float = 0.0) -> Endpoint:
        """The pending fleet serves; without one, the live fleet serves with the size that it should have."""
        fleet = self.pending or self.live
        assert fleet is not None, "nothing to promote"
        is_new = fleet is self.pending or any(v.current_weight != v.desired_weight for v in fleet.variants)
        promoted = replace(self, live=fleet.promoted(), pending=None, beside=None, shift=None, config=fleet.config)
        return replace(promoted, divided_at_s=now_s) if is_new else promoted

    def failed(self, reason: str) -> Endpoint:
        return replace(self, failure_reason=shortened(reason))

    def rolled_back(self, reason: str) -> Endpoint:
        """The live fleet goes on with the size that it had; the weights that were asked for are kept."""
        assert self.live is not None, "nothing to go back to"
        live = self.live.each(_as_it_was)
        return replace(self, live=live, pending=None, shift=None, failure_reason=shortened(reason))

    def prepared(self, number: int, artifacts: Mapping[tuple[str, str], str]) -> Endpoint:
        """With the hash of each container's model data. artifacts: (variant, container) -> SHA-256."""

        def with_hashes(fleet: Fleet | None) -> Fleet | None:
            if fleet is None or fleet.number != number:
                return fleet
            return fleet.each(lambda variant: _with_artifacts(variant, artifacts))

        return replace(
            self,
            live=with_hashes(self.live),
            pending=with_hashes(self.pending),
            beside=with_hashes(self.beside),
        )

    def with_problem(self, number: int, problem: str) -> Endpoint:
        """The pending fleet cannot serve, nor can a live one that is being brought back. Any other is left as it is."""
        if self.pending is not None and self.pending.number == number:
            return replace(self, pending=replace(self.pending, problem=problem))
        if self.shift is not None and self.shift.back and self.live is not None and self.live.number == number:
            return replace(self, live=replace(self.live, problem=problem))
        return self


def instance_id(uid: str, fleet: int, variant: str, ordinal: int, moves: int = 0) -> str:
    """The same for the same instance whenever it is asked, so that starting it twice starts it once."""
    text = f"{uid}/{fleet}/{variant}/{ordinal}" + (f"/{moves}" if moves else "")
    return "i-" + hashlib.sha256(text.encode()).hexdigest()[:17]


def member_id(uid: str, fleet: int, variant: Variant, ordinal: int, more_moves: int = 0) -> str:
    """more_moves: 1 for the instance that is to take its place in another zone."""
    return instance_id(uid, fleet, variant.name, ordinal, variant.moves.get(str(ordinal), 0) + more_moves)


def _promoted(variant: Variant) -> Variant:
    return replace(
        variant,
        current_count=variant.desired_count,
        current_weight=variant.desired_weight,
        current_serverless=variant.serverless,
        limit_count=None,
    )


def _as_it_was(variant: Variant) -> Variant:
    """Without what was begun. Of a fleet that lost instances to a roll-back that failed, it still lacks them."""
    weighted = replace(variant, current_weight=variant.desired_weight, serverless=variant.current_serverless)
    if variant.limit_count is None:
        return replace(weighted, desired_count=variant.current_count)
    return replace(
        weighted, limit_count=None if variant.current_count >= variant.desired_count else variant.current_count
    )


def shortened(reason: str) -> str:
    """At most as long as a FailureReason may be: the start says what happened, the end is the end of the log."""
    if len(reason) <= MAX_REASON_CHARS:
        return reason
    head = MAX_REASON_CHARS // 2
    return reason[:head] + " ... " + reason[-(MAX_REASON_CHARS - head - 5) :]


Record = TypeVar("Record", Endpoint, Fleet, Variant, Container, Shift, Host)


def _known(kind: type[Record], document: Mapping[str, Any]) -> dict[str, Any]:
    """The members of a stored document that `kind` has; a later release may have written more."""
    names = {each.name for each in fields(kind)}
    return {name: value for name, value in document.items() if name in names}


def _fleet(document: Mapping[str, Any] | None) -> Fleet | None:
    if document is None:
        return None
    return Fleet(**{**_known(Fleet, document), "variants": tuple(_variant(each) for each in document["variants"])})


def _shift(document: Mapping[str, Any] | None) -> Shift | None:
    if document is None:
        return None
    times = {name: tuple(document[name]) for name in ("steps", "retired")}
    return Shift(**{**_known(Shift, document), **times})


def _variant(document: Mapping[str, Any]) -> Variant:
    given = document["containers"] if "containers" in document else _one_container(document)
    return Variant(**{**_known(Variant, document), "containers": tuple(_container(each) for each in given)})


def variant_of(document: Mapping[str, Any]) -> Variant:
    """One that is stored elsewhere than in an endpoint."""
    return _variant(document)


def _container(document: Mapping[str, Any]) -> Container:
    sources = tuple(Source.of(each) for each in document.get("sources", ()))
    return Container(**{**_known(Container, document), "sources": sources})


def _one_container(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """As release 0.1 wrote it: a variant had one container with one archive at most, described by its own members."""
    url = document["model_data_url"]
    source = {"uri": url, "form": "archive", "folder": ""}
    shared = ("image", "runtime", "environment", "artifact_sha256")
    copied = {name: document[name] for name in shared if name in document}
    return [{"name": "primary", "sources": [source] if url else [], **copied}]


def _with_artifacts(variant: Variant, artifacts: Mapping[tuple[str, str], str]) -> Variant:
    return replace(
        variant,
        containers=tuple(
            replace(each, artifact_sha256=artifacts.get((variant.name, each.name), each.artifact_sha256))
            for each in variant.containers
        ),
    )
