"""What the object store knows of a bucket, an object, an upload and a part. PURE."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

CHECKSUMS = ("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256")
"""The algorithms whose checksums are kept. In a request or an answer, the member is "Checksum" + the name."""

NULL_VERSION = "null"
"""Version of what is put while versioning is not enabled. A key has at most one of these."""

STANDARD = "STANDARD"

OWN, KMS, CUSTOMER = "AES256", "aws:kms", "SSE-C"
"""Ways of encryption: under the server's own key, a key of KMS, a key that the client sends."""


@dataclass(frozen=True)
class Bucket:
    id: int
    """Never used twice, so that a bucket made anew under an old name is another one."""
    name: str
    account: str
    region: str
    created: datetime
    versioning: str = ""
    """"Enabled", "Suspended", or "" where it was never switched on."""
    notifications: str = ""
    """The notification configuration as JSON, in the shape of the API; "" without one."""
    encryption: str = ""
    """The default encryption, as kedge.objects.encryption.to_json writes it; "" where nobody chose one."""


BucketRef = Bucket | str
"""A name, or a bucket found before: then it has to be the same one still, or it is NoSuchBucket."""


@dataclass(frozen=True)
class Piece:
    """One file of a body. An object of a multipart upload has one for each part, in order."""

    file: str
    size: int
    number: int = 1
    """Of the part."""
    checksums: Mapping[str, str] = field(default_factory=dict)
    """The part's own, for an object of a multipart upload."""


@dataclass(frozen=True)
class Attributes:
    """What a client says about a body besides the body."""

    headers: Mapping[str, str] = field(default_factory=dict)
    """By member name: ContentType, CacheControl, ... as they were sent; Expires in its HTTP form."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """x-amz-meta-*, without that prefix."""
    storage_class: str = STANDARD
    """Only a label: every class is stored in the same way."""
    acl: str = ""
    """A canned ACL; "" is private."""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Encryption:
    """How a body is encrypted, kept with the object. Its data key opens under the key named here only."""

    algorithm: str
    """OWN, KMS or CUSTOMER."""
    sealed_key: str
    """The data key, sealed, in base64."""
    key_arn: str = ""
    """Of the KMS key."""
    context: Mapping[str, str] = field(default_factory=dict)
    """Encryption context that the client gave for KMS."""
    bucket_key: bool = False
    """Shown again, and then the encryption context names the bucket instead of the object. KMS only."""

    @property
    def md5_is_etag(self) -> bool:
        """Only then the ETag is the MD5 of the body; under other keys it says nothing about the body."""
        return self.algorithm == OWN


@dataclass(frozen=True)
class ObjectInfo:
    """One version of an object."""

    bucket: str
    key: str
    size: int
    etag: str
    """Without quotes: MD5 of the body in hex, or for a multipart upload MD5 of the parts' MD5s, "-", count of parts."""
    modified: datetime
    attributes: Attributes
    checksums: Mapping[str, str]
    """Name of the algorithm -> base64; of type COMPOSITE with "-" and the number of parts behind it."""
    checksum_type: str
    """FULL_OBJECT or COMPOSITE; "" without checksums."""
    pieces: tuple[Piece, ...]
    upload: str = ""
    """Id of the multipart upload that made it."""
    version: str = NULL_VERSION
    sequence: int = 0
    """Grows with each version of a key, also after all of them were deleted: microseconds since 1970, or one more."""
    marker: bool = False
    """A delete marker: a version without a body, behind which the key is not there."""
    encryption: Encryption | None = None
    """How the body lies on the disk; None: as it is."""


@dataclass(frozen=True)
class ListedObject:
    """A row of a listing."""

    key: str
    size: int
    etag: str
    modified: datetime
    algorithms: tuple[str, ...]
    checksum_type: str
    storage_class: str = STANDARD


@dataclass(frozen=True)
class ListedVersion(ListedObject):
    version: str = NULL_VERSION
    sequence: int = 0
    marker: bool = False
    latest: bool = True
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Upload:
    """A multipart upload under way."""

    id: str
    """Ids sort by the time at which the uploads began."""
    bucket: str
    key: str
    started: datetime
    attributes: Attributes
    checksum_algorithm: str = ""
    checksum_type: str = ""
    encryption: Encryption | None = None
    """Of all its parts."""


@dataclass(frozen=True)
class Part:
    number: int
    size: int
    etag: str
    modified: datetime
    checksums: Mapping[str, str]
    file: str


Check = Callable[[ObjectInfo | None], None]
"""Given the object that is there now; raises what the client is to be answered when that may not be replaced."""


@dataclass(frozen=True)
class Cause:
    """The request behind a change, for the event that tells of it."""

    name: str
    """Of the operation: PutObject, POST Object, CopyObject, CompleteMultipartUpload, DeleteObject, ..."""
    account: str = ""
    principal: str = ""
    request_id: str = ""
    source_ip: str = ""


BY_PLATFORM = Cause("")
"""A change that no request asked for."""


@dataclass(frozen=True)
class Deleted:
    """What a delete did to a key."""

    key: str
    version: str = ""
    """The version that is gone, or that of the new delete marker; "" without versions."""
    marker: bool = False
    """Whether that version is a delete marker."""
    created: bool = False
    """Whether a delete marker was put."""


@dataclass(frozen=True)
class Event:
    """Something that happened, on its way to a topic or to the outbox of the resource store."""

    number: int
    id: str
    at: datetime
    account: str
    region: str
    source: str
    detail_type: str
    detail: Mapping[str, Any]
