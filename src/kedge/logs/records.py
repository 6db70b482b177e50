"""Log groups, as the resource store keeps them, and ids of events. PURE."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from kedge import arn
from kedge.store.records import Document, Resource, Scope

KIND = "log-group"
RETENTION_DAYS = (
    1,
    3,
    5,
    7,
    14,
    30,
    60,
    90,
    120,
    150,
    180,
    365,
    400,
    545,
    731,
    1096,
    1827,
    2192,
    2557,
    2922,
    3288,
    3653,
)
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_SEQUENCES = 10**20
_ID_DIGITS = 56


@dataclass(frozen=True)
class Group:
    id: int
    """Its number in the log store: never that of another group, also not of one that had its name before."""
    scope: Scope
    name: str
    created_ms: int
    kind: str = "STANDARD"
    retention_days: int | None = None
    protected: bool = False

    @classmethod
    def of(cls, resource: Resource) -> Group:
        found = resource.document
        return cls(
            resource.id, resource.scope, resource.name, as_ms(resource.created_at), found["Class"],
            found.get("RetentionDays"), found.get("Protected", False),
        )  # fmt: skip

    @property
    def arn(self) -> str:
        return arn.log_group(self.scope.region, self.scope.account, self.name)

    def stream_arn(self, stream: str) -> str:
        return arn.log_stream(self.scope.region, self.scope.account, self.name, stream)

    def expired_ms(self, now: datetime) -> int:
        """Events before this are not there any more."""
        return 0 if self.retention_days is None else as_ms(now - timedelta(days=self.retention_days))

    def described(self, stored_bytes: int) -> dict[str, Any]:
        kept = {} if self.retention_days is None else {"retentionInDays": self.retention_days}
        return {
            "logGroupName": self.name,
            "creationTime": self.created_ms,
            **kept,
            "metricFilterCount": 0,
            "arn": f"{self.arn}:*",
            "storedBytes": stored_bytes,
            "logGroupClass": self.kind,
            "logGroupArn": self.arn,
            "deletionProtectionEnabled": self.protected,
        }


def document(kind: str = "STANDARD", *, protected: bool = False) -> Document:
    return {"Class": kind, "Protected": protected}


def as_ms(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def as_id(key: tuple[int, int]) -> str:
    """Of an event, or of a place between two. Ids are in the order of events."""
    at_ms, sequence = key
    return f"{max(0, at_ms * _SEQUENCES + sequence):0{_ID_DIGITS}d}"


def as_key(text: str) -> tuple[int, int]:
    """The opposite. Raises ValueError."""
    if len(text) != _ID_DIGITS or not (text.isascii() and text.isdecimal()):
        raise ValueError(f'"{text}" is no id')
    return divmod(int(text), _SEQUENCES)


def beside(text: str, step: int) -> str:
    """The place that many steps from an id, of which there is no event between."""
    return f"{max(0, int(text) + step):0{_ID_DIGITS}d}"
