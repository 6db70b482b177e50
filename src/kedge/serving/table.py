"""The routing table: all that a router needs to answer a signed request by itself. PURE.

Control builds it, pushes it whole with a version that only grows, and the router keeps the last accepted one on disk
(it holds secrets: mode 0600). A table that is half-written, malformed or older than the accepted one is refused whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from kedge.identity.principals import Directory, Principal
from kedge.serving.capture.records import Capture

FORMAT = 1
BY_CONFIG, BY_INSTANCE = "EndpointConfigName", "InstanceId"
"""Dimensions of metrics that only some endpoints have."""


@dataclass(frozen=True)
class Instance:
    id: str
    socket: str
    """Unix socket path of its worker."""
    config: str = ""
    """The endpoint config that it was started for."""


@dataclass(frozen=True)
class Variant:
    name: str
    weight: float
    """Share of the traffic: weight / sum of the endpoint's weights. 0 means only on request (TargetVariant)."""
    instances: tuple[Instance, ...]
    routing: str = "RANDOM"
    """RANDOM, LEAST_OUTSTANDING_REQUESTS or PREFIX_AWARE."""
    hostnames: tuple[str, ...] = ()
    """Its containers, where a request has to name one of them (TargetContainerHostname)."""
    many_models: tuple[str, ...] = ()
    """Those of its containers for which a request has to name a model (TargetModel)."""
    new: tuple[Instance, ...] = ()
    """Its instances in the fleet that takes over from `instances`, while both serve."""
    new_share: float = 0.0
    """The part of its requests that `new` gets: 0 to 1."""
    most_concurrent: int = 0
    """Requests of a serverless variant that are taken on at a time; 0 for any other variant."""
    provisioned: int = 0
    """How many of them its warm instances are for."""
    prefix_bytes: int = 0
    """PREFIX_AWARE: requests whose bodies begin with the same so many bytes go to the same instance; 0 for others."""
    prefix_threshold: int = 0
    """Unanswered requests of an instance from which they go to another."""
    explains: bool = False
    """Each of its instances has an explainer."""

    @property
    def every_instance(self) -> tuple[Instance, ...]:
        return (*self.instances, *self.new)


def key_of(endpoint: str, component: str) -> str:
    """By which a component is found. No name has a slash."""
    return f"{endpoint}/{component}"


@dataclass(frozen=True)
class Endpoint:
    account: str
    region: str
    name: str
    """In its own case: InvokeEndpoint needs the exact one."""
    arn: str
    variants: tuple[Variant, ...]
    timeout_s: float = 60.0
    """For an answer, or its first part."""
    body_limit_bytes: int = 26_214_400
    retries: bool = True
    capture: Capture | None = None
    """What of its invocations is captured."""
    metrics_by: tuple[str, ...] = ()
    """By what its metrics are told, too: BY_CONFIG, BY_INSTANCE."""
    asynchronous: bool = False
    """It takes InvokeEndpointAsync, and nothing else."""
    shadow: Variant | None = None
    """Gets copies of what the others are asked. Its weight is the part of the requests that is copied: 0 to 1."""
    stream_timeout_s: float = 480.0
    """For all parts of an answer; timeout_s counts where it is longer."""
    component: str = ""
    """The inference component whose copies these are, on the instances of endpoint `name`; "" for an endpoint."""
    by_component: bool = False
    """Its instances run inference components: a request names one of them."""

    @property
    def key(self) -> str:
        return key_of(self.name, self.component) if self.component else self.name

    @property
    def with_shadow(self) -> tuple[Variant, ...]:
        """Every variant that has instances."""
        return self.variants if self.shadow is None else (*self.variants, self.shadow)


@dataclass(frozen=True)
class Key:
    access_key_id: str
    secret: str
    account: str
    arn: str
    user_id: str


@dataclass(frozen=True)
class RoutingTable:
    version: int
    endpoints: tuple[Endpoint, ...] = ()
    keys: tuple[Key, ...] = ()
    seal_key: str = ""
    """Hex of the key that opens sealed session tokens (identity/keys.py)."""
    auth_required: bool = True
    default_account: str = ""
    default_region: str = ""
    """Whose endpoints an unsigned request means, when auth_required is False."""
    directory: Directory = field(default_factory=Directory)
    """Users and roles, with what their policies say of invocations."""
    tags: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Of endpoints, by ARN: policies may ask for them."""
    _index: dict[tuple[str, str, str], Endpoint] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._index.update({(e.account, e.region, e.key): e for e in self.endpoints})

    def find(self, account: str, region: str, name: str) -> Endpoint | None:
        """name: of an endpoint, or the key of an inference component."""
        return self._index.get((account, region, name))


class TableRefused(ValueError):
    """The bytes are no routing table that this release can serve."""


def encode(table: RoutingTable) -> bytes:
    members = asdict(replace(table, directory=Directory(), tags={}))
    del members["_index"]
    # Releases that know no shadows, new instances, components, serverless variants or prefixes read what has none.
    for endpoint in members["endpoints"]:
        for member in ("component", "by_component"):
            if not endpoint[member]:
                del endpoint[member]
        for variant in (*endpoint["variants"], endpoint["shadow"] or {"new": True}):
            if not variant["new"]:
                del variant["new"], variant["new_share"]
            if not variant.get("most_concurrent", True):
                del variant["most_concurrent"], variant["provisioned"]
            if not variant.get("prefix_bytes", True):
                del variant["prefix_bytes"], variant["prefix_threshold"]
            if not variant.get("explains", True):
                del variant["explains"]
        if endpoint["shadow"] is None:
            del endpoint["shadow"]
    principals = {id_: vars(each) for id_, each in table.directory.principals.items()}
    members["directory"] = {"principals": principals, "documents": dict(table.directory.documents)}
    members["tags"] = {arn: dict(tags) for arn, tags in table.tags.items()}
    return json.dumps({"format": FORMAT, **members}, separators=(",", ":")).encode()


def decode(data: bytes) -> RoutingTable:
    """Raises TableRefused, and then nothing of it is to be used."""
    try:
        given = json.loads(data)
        if given.pop("format") != FORMAT:
            raise TableRefused("a format of another release")
        return RoutingTable(
            endpoints=tuple(_endpoint(each) for each in given.pop("endpoints")),
            keys=tuple(Key(**each) for each in given.pop("keys")),
            directory=_directory(given.pop("directory", {})),
            **given,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TableRefused(str(error)) from error


def _directory(given: Mapping[str, Any]) -> Directory:
    principals = {
        id_: Principal(**{**each, "policies": tuple(each["policies"])})
        for id_, each in given.get("principals", {}).items()
    }
    return Directory(principals, given.get("documents", {}))


def _endpoint(given: Mapping[str, Any]) -> Endpoint:
    variants = tuple(_variant(each) for each in given["variants"])
    if any(not v.weight >= 0 for v in variants):
        raise TableRefused(f"endpoint {given['name']}: a weight below 0")
    if any(not 0 <= v.new_share <= 1 for v in variants):
        raise TableRefused(f"endpoint {given['name']}: a share that is not from 0 to 1")
    capture = Capture.of(given["capture"]) if given.get("capture") is not None else None
    metrics_by = tuple(given.get("metrics_by", ()))
    shadow = _variant(given["shadow"]) if given.get("shadow") is not None else None
    if shadow is not None and not 0 <= shadow.weight <= 1:
        raise TableRefused(f"endpoint {given['name']}: copies of {shadow.weight:g} of its requests")
    changed = {"variants": variants, "capture": capture, "metrics_by": metrics_by, "shadow": shadow}
    return Endpoint(**{**given, **changed})


def _variant(given: Mapping[str, Any]) -> Variant:
    """What a later release says of it besides is left out."""
    known = {each.name for each in fields(Variant)}
    named = {name: value for name, value in given.items() if name in known}
    named["instances"] = tuple(Instance(**each) for each in given["instances"])
    named["new"] = tuple(Instance(**each) for each in given.get("new", ()))
    for name in ("hostnames", "many_models"):
        named[name] = tuple(given.get(name, ()))
    return Variant(**named)
