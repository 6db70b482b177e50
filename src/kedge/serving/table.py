"""The routing table: all that a router needs to answer a signed request by itself. PURE.

Control builds it, pushes it whole with a version that only grows, and the router keeps the last accepted one on disk
(it holds secrets: mode 0600). A table that is half-written, malformed or older than the accepted one is refused whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

FORMAT = 1


@dataclass(frozen=True)
class Instance:
    id: str
    socket: str
    """Unix socket path of its worker."""


@dataclass(frozen=True)
class Variant:
    name: str
    weight: float
    """Share of the traffic: weight / sum of the endpoint's weights. 0 means only on request (TargetVariant)."""
    instances: tuple[Instance, ...]
    routing: str = "RANDOM"
    """RANDOM or LEAST_OUTSTANDING_REQUESTS."""


@dataclass(frozen=True)
class Endpoint:
    account: str
    region: str
    name: str
    """In its own case: InvokeEndpoint needs the exact one."""
    arn: str
    variants: tuple[Variant, ...]
    timeout_s: float = 60.0
    body_limit_bytes: int = 26_214_400
    retries: bool = True


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
    _index: dict[tuple[str, str, str], Endpoint] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._index.update({(e.account, e.region, e.name): e for e in self.endpoints})

    def find(self, account: str, region: str, name: str) -> Endpoint | None:
        return self._index.get((account, region, name))


class TableRefused(ValueError):
    """The bytes are no routing table that this release can serve."""


def encode(table: RoutingTable) -> bytes:
    fields = asdict(table)
    del fields["_index"]
    return json.dumps({"format": FORMAT, **fields}, separators=(",", ":")).encode()


def decode(data: bytes) -> RoutingTable:
    """Raises TableRefused, and then nothing of it is to be used."""
    try:
        fields = json.loads(data)
        if fields.pop("format") != FORMAT:
            raise TableRefused("a format of another release")
        return RoutingTable(
            endpoints=tuple(_endpoint(each) for each in fields.pop("endpoints")),
            keys=tuple(Key(**each) for each in fields.pop("keys")),
            **fields,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TableRefused(str(error)) from error


def _endpoint(fields: Mapping[str, Any]) -> Endpoint:
    variants = tuple(
        Variant(**{**each, "instances": tuple(Instance(**i) for i in each["instances"])}) for each in fields["variants"]
    )
    if any(not v.weight >= 0 for v in variants):
        raise TableRefused(f"endpoint {fields['name']}: a weight below 0")
    return Endpoint(**{**fields, "variants": variants})
