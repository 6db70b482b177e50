"""Who calls, and with which key. PURE."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

EXECUTION_ROLE = "kedge-execution-role"
"""Name of the role that is there from the start."""


@dataclass(frozen=True)
class AccessKey:
    """A key that can sign. A temporary one carries the session token it was handed out with and its end."""

    access_key_id: str
    secret: str
    account: str
    arn: str
    """Principal: arn:aws:iam::ACCOUNT:root, or arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION."""
    user_id: str
    """What GetCallerIdentity answers as UserId."""
    expires_at: datetime | None = None


@dataclass(frozen=True)
class Caller:
    """The verified sender of a request. The region is that of the credential scope."""

    account: str
    region: str
    arn: str
    user_id: str
    access_key_id: str

    @property
    def is_root(self) -> bool:
        return self.arn.endswith(":root")
