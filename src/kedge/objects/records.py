"""What the object store knows of a bucket, an object, an upload and a part. PURE."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

CHECKSUMS = ("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256")
"""The algorithms whose checksums are kept. In a request or an answer, the member is "Checksum" + the name."""


@dataclass(frozen=True)
class Bucket:
    id: int
    """Never used twice, so that a bucket made anew under an old name is another one."""
    name: str
    account: str
    region: str
    created: datetime


@dataclass(frozen=True)
class Piece:
    """One file of a body. An object of a multipart upload has one for each part, in order."""

    file: str
    size: int


@dataclass(frozen=True)
class Attributes:
    """What a client says about a body besides the body."""

    headers: Mapping[str, str] = field(default_factory=dict)
    """By member name: ContentType, CacheControl, ... as they were sent; Expires in its HTTP form."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """x-amz-meta-*, without that prefix."""


@dataclass(frozen=True)
class ObjectInfo:
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


@dataclass(frozen=True)
class ListedObject:
    """A row of a listing."""

    key: str
    size: int
    etag: str
    modified: datetime
    algorithms: tuple[str, ...]
    checksum_type: str


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


@dataclass(frozen=True)
class Part:
    number: int
    size: int
    etag: str
    modified: datetime
    checksums: Mapping[str, str]
    file: str
