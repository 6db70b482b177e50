"""What of an endpoint's invocations is captured, and where it goes. PURE."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from kedge.serving.capture.rules import Rule


@dataclass(frozen=True)
class Capture:
    percent: int
    """Of the answered requests, 0 to 100."""
    bucket: str
    prefix: str
    """Without a slash at either end; "" is the bucket itself."""
    input: bool
    output: bool
    kms_key: str = ""
    """Id, alias or ARN of the key of its objects; "" is what the bucket says."""
    csv_types: tuple[str, ...] = ()
    json_types: tuple[str, ...] = ()
    """Content types, in lower case, whose bodies are written as text. All others are written in base64."""
    rules: tuple[Rule, ...] = ()

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Capture:
        """From JSON. Raises TypeError, KeyError, ValueError."""
        rules = tuple(Rule(**{**each, "path": tuple(each["path"])}) for each in fields.get("rules", ()))
        types = {name: tuple(fields.get(name, ())) for name in ("csv_types", "json_types")}
        return cls(**{**fields, **types, "rules": rules})


@dataclass(frozen=True)
class Source:
    """One variant of an endpoint, with what is captured of it."""

    account: str
    region: str
    endpoint: str
    variant: str
    capture: Capture

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Source:
        """From JSON. Raises TypeError, KeyError, ValueError."""
        return cls(**{**fields, "capture": Capture.of(fields["capture"])})


class Taken(NamedTuple):
    """One answered invocation, as the router saw it."""

    at_s: float
    """When it was answered, in seconds since 1970."""
    event_id: str
    inference_id: str
    attributes: str
    """Custom attributes of the request. "" for what the client did not send, here and above."""
    input_type: str
    output_type: str
    input: bytes
    output: bytes
    """A side that is not captured is empty."""


def is_sampled(percent: int, draw: float) -> bool:
    """draw: evenly from 0 (included) to 1 (excluded)."""
    return draw * 100 < percent
