"""Data keys of bodies: made, opened, and sealed anew for a copy. Every method blocks for a read of the resource store.

A data key is bound to the place of its body, arn:aws:s3:::BUCKET/KEY, so it opens for no other.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from kedge.errors import AccessDenied
from kedge.kms import aead
from kedge.kms.keystore import KeyStore
from kedge.objects.encryption import CustomerKey, Wanted
from kedge.objects.records import CUSTOMER, KMS, OWN, Bucket, Encryption
from kedge.store.records import Scope

_OWN_KMS_KEY = "alias/aws/s3"


@dataclass(frozen=True, repr=False)
class Sealing:
    """What a new body is written with."""

    encryption: Encryption
    data_key: bytes


def encryption_of(sealing: Sealing | None) -> Encryption | None:
    return None if sealing is None else sealing.encryption


class Vault:
    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys

    def new(self, wanted: Wanted, bucket: Bucket, key: str, now: datetime, data_key: bytes = b"") -> Sealing:
        """data_key: one that there is already, of a body whose bytes are shared; "" makes a new one.

        Raises kedge.kms.errors: NotFound, Disabled, InvalidState, ...
        """
        data_key = data_key or os.urandom(aead.KEY_BYTES)
        place = _place(bucket.name, key)
        if wanted.algorithm == KMS:
            arn = self._keys.usable(Scope(bucket.account, bucket.region), wanted.kms_key or _OWN_KMS_KEY, now)
            context = encryption_context(bucket.name, key, wanted.context, wanted.bucket_key)
            sealed = self._keys.seal_data_key(arn, data_key, context)
            encryption = Encryption(KMS, _text(sealed), arn, wanted.context, wanted.bucket_key)
        elif wanted.customer is not None:
            encryption = Encryption(CUSTOMER, _text(aead.seal(wanted.customer.key, data_key, place)))
        else:
            encryption = Encryption(OWN, _text(self._keys.seal_own(data_key, place)))
        return Sealing(encryption, data_key)

    def open(self, encryption: Encryption, bucket: str, key: str, customer: CustomerKey | None) -> bytes:
        """The data key of a body. customer: there if and only if it is needed (encryption.check_reading).

        Raises kedge.kms.errors, AccessDenied for another customer's key than the body's.
        """
        sealed = base64.b64decode(encryption.sealed_key)
        if encryption.algorithm == KMS:
            context = encryption_context(bucket, key, encryption.context, encryption.bucket_key)
            return self._keys.open_data_key(encryption.key_arn, sealed, context)
        if encryption.algorithm != CUSTOMER:
            return self._keys.open_own(sealed, _place(bucket, key))
        try:
            return aead.unseal(customer.key if customer is not None else b"", sealed, _place(bucket, key))
        except aead.NotOpened:
            raise AccessDenied(
                "Access Denied: the key that was sent is not the one the object was stored with."
            ) from None


def encryption_context(bucket: str, key: str, given: Mapping[str, str], bucket_key: bool) -> Mapping[str, str]:
    """As S3 gives it to KMS."""
    return {**given, "aws:s3:arn": f"arn:aws:s3:::{bucket}" if bucket_key else f"arn:aws:s3:::{bucket}/{key}"}


def _place(bucket: str, key: str) -> bytes:
    return f"arn:aws:s3:::{bucket}/{key}".encode()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
