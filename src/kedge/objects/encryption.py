"""Server-side encryption: what a request asks for, and what an answer says of a body. PURE.

Every body is encrypted; a request and the bucket's default choose under which key:

    AES256     the server's own key (SSE-S3), where nothing else is asked for
    aws:kms    a key of KMS (SSE-KMS)
    SSE-C      a key that the client sends with each request, and that is never kept

Source: "Protecting data with server-side encryption" in the S3 user guide; error texts are S3's.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kedge.errors import AccessDenied
from kedge.objects.errors import InvalidArgument, InvalidRequest, MalformedXML, NotImplementedHere
from kedge.objects.records import CUSTOMER, KMS, OWN, Encryption

DUAL_LAYER = "aws:kms:dsse"
WRITE_MEMBERS = frozenset({"ServerSideEncryption", "SSEKMSKeyId", "SSEKMSEncryptionContext", "BucketKeyEnabled"})
CUSTOMER_MEMBERS = frozenset({"SSECustomerAlgorithm", "SSECustomerKey", "SSECustomerKeyMD5"})
SOURCE_MEMBERS = frozenset("CopySource" + name for name in CUSTOMER_MEMBERS)
_HEADER = "x-amz-server-side-encryption"


@dataclass(frozen=True, repr=False)
class CustomerKey:
    key: bytes
    md5: str
    """Of the key, in base64, as it was sent."""


@dataclass(frozen=True, repr=False)
class Wanted:
    """What a new body is to be encrypted under."""

    algorithm: str = ""
    """"" where nothing was asked for: then OWN."""
    kms_key: str = ""
    """Id, alias or ARN as it was given; "" is the key that AWS manages for S3."""
    context: Mapping[str, str] = field(default_factory=dict)
    bucket_key: bool = False
    customer: CustomerKey | None = None


@dataclass(frozen=True)
class Default:
    """A bucket's default encryption."""

    algorithm: str = ""
    """"" where nobody chose one: then OWN."""
    kms_key: str = ""
    bucket_key: bool = False
    blocked: tuple[str, ...] = ()
    """Kinds of encryption that a write may not ask for: SSE-C, or nothing."""


def wanted(request: Mapping[str, Any], default: Default) -> Wanted:
    """Raises InvalidArgument, NotImplementedHere, AccessDenied."""
    algorithm, customer = request.get("ServerSideEncryption"), customer_key(request)
    kms_key, context = request.get("SSEKMSKeyId"), request.get("SSEKMSEncryptionContext")
    if customer is not None:
        if algorithm is not None or kms_key is not None:
            raise InvalidArgument(
                "Server Side Encryption with Customer provided key is incompatible with the encryption method "
                "specified",
                ArgumentName=_HEADER,
                ArgumentValue=algorithm or "",
            )
        if CUSTOMER in default.blocked:
            raise AccessDenied("Access Denied: the bucket's encryption configuration blocks SSE-C.")
        return Wanted(CUSTOMER, customer=customer)
    if algorithm is None:
        _only_with_kms(kms_key, context)
        bucket_key = request.get("BucketKeyEnabled", default.bucket_key) and default.algorithm == KMS
        return Wanted(default.algorithm, default.kms_key, bucket_key=bool(bucket_key))
    _check_algorithm(algorithm)
    if algorithm != KMS:
        _only_with_kms(kms_key, context)
        return Wanted(OWN)
    bucket_key = request.get("BucketKeyEnabled", default.bucket_key and default.algorithm == KMS)
    return Wanted(KMS, kms_key or "", _context(context), bool(bucket_key))


def customer_key(request: Mapping[str, Any], prefix: str = "") -> CustomerKey | None:
    """The key that a client sent; prefix "CopySource" for that of a copy's source. Raises InvalidArgument."""
    algorithm, key, md5 = (request.get(f"{prefix}SSECustomer{name}") for name in ("Algorithm", "Key", "KeyMD5"))
    if algorithm is None and key is None and md5 is None:
        return None
    header = f"{'x-amz-copy-source' if prefix else 'x-amz'}-server-side-encryption-customer"
    if algorithm != "AES256":
        raise InvalidArgument(
            "Requests specifying Server Side Encryption with Customer provided keys must provide a valid encryption "
            "algorithm: AES256.",
            ArgumentName=f"{header}-algorithm",
            ArgumentValue=algorithm or "",
        )
    for value, name, what in ((key, "key", "an appropriate secret key"), (md5, "key-MD5", "the MD5 of the secret key")):
        if not value:
            raise InvalidArgument(
                f"Requests specifying Server Side Encryption with Customer provided keys must provide {what}.",
                ArgumentName=f"{header}-{name}",
                ArgumentValue="",
            )
    raw = _decoded(str(key))
    if raw is None or len(raw) != 32:
        raise InvalidArgument("The secret key was invalid for the specified algorithm.", ArgumentName=f"{header}-key")
    digest = hashlib.md5(raw, usedforsecurity=False).digest()
    if not hmac.compare_digest(_decoded(str(md5)) or b"", digest):
        raise InvalidArgument(
            "The calculated MD5 hash of the key did not match the hash that was provided.",
            ArgumentName=f"{header}-key-MD5",
            ArgumentValue=md5,
        )
    return CustomerKey(raw, base64.b64encode(digest).decode())


def check_reading(encryption: Encryption | None, customer: CustomerKey | None) -> None:
    """Whether a request brings a key if and only if the body needs one. Raises InvalidRequest."""
    by_customer = encryption is not None and encryption.algorithm == CUSTOMER
    if by_customer and customer is None:
        raise InvalidRequest(
            "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to "
            "retrieve the object."
        )
    if customer is not None and not by_customer:
        raise InvalidRequest("The encryption parameters are not applicable to this object.")


def check_part(encryption: Encryption | None, customer: CustomerKey | None) -> None:
    """Like `check_reading`, for a part of an upload. Raises InvalidRequest."""
    by_customer = encryption is not None and encryption.algorithm == CUSTOMER
    if by_customer and customer is None:
        raise InvalidRequest(
            "The multipart upload initiate requested encryption. Subsequent part requests must include the appropriate "
            "encryption parameters."
        )
    if customer is not None and not by_customer:
        raise InvalidRequest(
            "The multipart upload initiate did not request encryption. Please resend the request without sending "
            "encryption parameters."
        )


def members(encryption: Encryption | None, customer: CustomerKey | None = None) -> dict[str, Any]:
    """What an answer says of a body."""
    if encryption is None:
        return {}
    if encryption.algorithm == CUSTOMER:
        return {"SSECustomerAlgorithm": "AES256"} | ({"SSECustomerKeyMD5": customer.md5} if customer else {})
    found: dict[str, Any] = {"ServerSideEncryption": encryption.algorithm}
    if encryption.algorithm == KMS:
        found["SSEKMSKeyId"] = encryption.key_arn
        if encryption.bucket_key:
            found["BucketKeyEnabled"] = True
    return found


def written(encryption: Encryption | None, wanted: Wanted) -> dict[str, Any]:
    """Of a body that is new: the encryption context too."""
    found = members(encryption, wanted.customer)
    if wanted.context:
        found["SSEKMSEncryptionContext"] = base64.b64encode(json.dumps(dict(wanted.context)).encode()).decode()
    return found


def completed(encryption: Encryption | None) -> dict[str, Any]:
    """Of CompleteMultipartUpload, which has no word for a key of the client."""
    return {} if encryption is None or encryption.algorithm == CUSTOMER else members(encryption)


def packed(encryption: Encryption | None) -> list[Any] | None:
    """As JSON keeps it."""
    if encryption is None:
        return None
    e = encryption
    return [e.algorithm, e.sealed_key, e.key_arn, dict(e.context), e.bucket_key]


def unpacked(row: Sequence[Any] | None) -> Encryption | None:
    return None if row is None else Encryption(*row)


# A bucket's default


def parse_default(configuration: Mapping[str, Any]) -> Default:
    """Of PutBucketEncryption. Raises MalformedXML, InvalidArgument, NotImplementedHere."""
    rules = configuration.get("Rules") or []
    if len(rules) != 1:
        raise MalformedXML(f"The configuration has {len(rules)} rules; it has to have one.")
    (rule,) = rules
    chosen = rule.get("ApplyServerSideEncryptionByDefault") or {"SSEAlgorithm": OWN}
    algorithm, key = chosen["SSEAlgorithm"], chosen.get("KMSMasterKeyID") or ""
    if algorithm == DUAL_LAYER:
        _check_algorithm(algorithm)
    if algorithm not in (OWN, KMS):
        raise MalformedXML(f'SSEAlgorithm is "{algorithm}"; it has to be {OWN} or {KMS}.')
    if key and algorithm != KMS:
        raise InvalidArgument(
            "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms",
            ArgumentName="KMSMasterKeyID",
            ArgumentValue=key,
        )
    blocked = (rule.get("BlockedEncryptionTypes") or {}).get("EncryptionType") or []
    if not set(blocked) <= {"NONE", CUSTOMER} or len(set(blocked)) > 1:
        raise MalformedXML(f"BlockedEncryptionTypes is {', '.join(blocked)}; it has to be NONE or {CUSTOMER}.")
    return Default(algorithm, key, bool(rule.get("BucketKeyEnabled")), tuple(b for b in blocked if b != "NONE"))


def shown_default(default: Default) -> dict[str, Any]:
    """For GetBucketEncryption."""
    chosen = {"SSEAlgorithm": default.algorithm or OWN}
    if default.kms_key:
        chosen["KMSMasterKeyID"] = default.kms_key
    rule: dict[str, Any] = {"ApplyServerSideEncryptionByDefault": chosen, "BucketKeyEnabled": default.bucket_key}
    if default.blocked:
        rule["BlockedEncryptionTypes"] = {"EncryptionType": list(default.blocked)}
    return {"ServerSideEncryptionConfiguration": {"Rules": [rule]}}


def to_json(default: Default) -> str:
    return json.dumps(
        [default.algorithm, default.kms_key, default.bucket_key, list(default.blocked)], separators=(",", ":")
    )


def from_json(text: str) -> Default:
    """ "" is a bucket's for which nobody chose one."""
    if not text:
        return Default()
    algorithm, kms_key, bucket_key, blocked = json.loads(text)
    return Default(algorithm, kms_key, bucket_key, tuple(blocked))


def _check_algorithm(algorithm: str) -> None:
    if algorithm == DUAL_LAYER:
        raise NotImplementedHere(f"{DUAL_LAYER} is not offered: use {KMS}.", Header=_HEADER)
    if algorithm not in (OWN, KMS):
        raise InvalidArgument(
            f"The encryption method specified is not supported: it has to be {OWN} or {KMS}.",
            ArgumentName=_HEADER,
            ArgumentValue=algorithm,
        )


def _only_with_kms(kms_key: str | None, context: str | None) -> None:
    for value, name in ((kms_key, "aws-kms-key-id"), (context, "context")):
        if value is not None:
            raise InvalidArgument(
                f"Server Side Encryption with AWS KMS managed key requires HTTP header {_HEADER} : {KMS}",
                ArgumentName=f"{_HEADER}-{name}",
                ArgumentValue=value,
            )


def _context(text: str | None) -> Mapping[str, str]:
    if text is None:
        return {}
    raw = _decoded(text)
    try:
        found = json.loads(raw) if raw is not None else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise InvalidArgument(
            f"The header '{_HEADER}-context' shall be Base64-encoded UTF-8 string holding JSON which represents a "
            "string-string map",
            ArgumentName=f"{_HEADER}-context",
            ArgumentValue=text,
        )
    return found


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return None
