"""Who calls, and with which key. PURE."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

EXECUTION_ROLE = "kedge-execution-role"
"""Name of the role that is there from the start."""


@dataclass(frozen=True)
class Session:
    """What was agreed when a temporary key was handed out."""

    issued_s: float = 0.0
    """Seconds since 1970."""
    principal_id: str = ""
    """Unique id of the role or user whose policies count; an account for its root."""
    policies: tuple[str, ...] = ()
    """Session policies, as text."""
    policy_arns: tuple[str, ...] = ()
    """Session policies, by reference."""
    limited: bool = False
    """Only what the session policies allow counts, even where there are none: a federated user."""
    tags: Mapping[str, str] = field(default_factory=dict)
    transitive: tuple[str, ...] = ()
    """Keys of the tags that pass on to the next role."""
    source_identity: str = ""

    @property
    def is_narrowed(self) -> bool:
        return self.limited or bool(self.policies or self.policy_arns)


@dataclass(frozen=True)
class AccessKey:
    """A key that can sign. A temporary one carries the session token it was handed out with and its end."""

    access_key_id: str
    secret: str
    account: str
    arn: str
    """Principal: arn:aws:iam::ACCOUNT:root or :user/NAME, or arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION."""
    user_id: str
    """What GetCallerIdentity answers as UserId."""
    expires_at: datetime | None = None
    session: Session | None = None
    """None for a key that lasts."""

    def caller(self, region: str) -> Caller:
        """region: of the credential scope."""
        return Caller(self.account, region, self.arn, self.user_id, self.access_key_id, self.session)


@dataclass(frozen=True)
class Signature:
    """How a request was signed, in S3's words."""

    version: str
    """AWS or AWS4-HMAC-SHA256."""
    place: str
    """REST-HEADER, REST-QUERY-STRING or POST."""
    made_s: float | None = None
    """Seconds since 1970; None where the version does not tell."""


@dataclass(frozen=True)
class Caller:
    """The sender of a request, verified. The region is that of the credential scope."""

    account: str
    region: str
    arn: str
    """Empty for nobody: an unsigned request, which only S3 takes."""
    user_id: str
    access_key_id: str
    session: Session | None = None
    source_ip: str = ""
    """Empty where it is not known."""
    secure: bool = False
    """The request came over TLS."""
    referer: str = ""
    """The page that the request says it comes from."""
    signature: Signature | None = None
    """Of a request to the API port that was signed."""

    def sent(self, source_ip: str, headers: Mapping[str, str], *, secure: bool) -> Caller:
        """With what policies may ask about the request itself. headers: names in lower case."""
        return replace(self, source_ip=source_ip, secure=secure, referer=headers.get("referer", ""))

    @property
    def is_root(self) -> bool:
        return self.arn.endswith(":root")

    @property
    def is_anonymous(self) -> bool:
        return not self.arn


@dataclass(frozen=True)
class BucketFacts:
    """What decides about a bucket and one of its objects."""

    account: str
    policy: str = ""
    """JSON; "" without one."""
    only_own_account: bool = False
    """RestrictPublicBuckets: whatever a public policy says, callers of other accounts and nobody are kept out."""
    public_actions: frozenset[str] = frozenset()
    """What an ACL lets everybody do, such as s3:GetObject."""
