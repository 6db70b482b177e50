"""What a key is: its names, its state, and what is due. PURE.

In the resource store, by (account, region):

    kms-key       by id     the document of `new_key`; the status is the key's state
    kms-material  by id     {"1": wrapped material, ...}, kept without history, so that what is deleted is gone
    kms-alias     by name   {"TargetKeyId": id}

Times in documents are seconds since 1970.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from kedge import arn
from kedge.store.records import Document, Resource, Scope

KEY, MATERIAL, ALIAS = "kms-key", "kms-material", "kms-alias"
ENABLED, DISABLED, PENDING_DELETION = "Enabled", "Disabled", "PendingDeletion"

ALGORITHM = SPEC = "SYMMETRIC_DEFAULT"
USAGE = "ENCRYPT_DECRYPT"
ROTATION_DAYS = 365
MANAGED = ("alias/aws/s3", "alias/aws/sagemaker")
"""Aliases of the keys that AWS manages for an account, made when they are first used."""
ALIAS_NAME = re.compile(r"alias/[a-zA-Z0-9/_-]{1,250}")
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Name:
    """How a request names a key: by id or by alias, in one account and region."""

    scope: Scope
    kind: Literal["key", "alias"]
    name: str

    @property
    def arn(self) -> str:
        return arn_of(self.scope, f"key/{self.name}" if self.kind == "key" else self.name)


def parse_name(text: str, scope: Scope) -> Name | None:
    """`text` is an id, an alias/NAME or the ARN of either; None when it is none. A bare name is of `scope`."""
    if text.startswith("arn:"):
        try:
            parsed = arn.parse(text)
        except ValueError:
            return None
        if parsed.service != "kms":
            return None
        scope, text = Scope(parsed.account, parsed.region), parsed.resource
        if not text.startswith("alias/"):
            kind, _, text = text.partition("/")
            if kind != "key":
                return None
    if text.startswith("alias/"):
        return Name(scope, "alias", text)
    return Name(scope, "key", text) if _ID.fullmatch(text) else None


def arn_of(scope: Scope, resource: str) -> str:
    return str(arn.Arn("kms", scope.region, scope.account, resource))


def key_arn(key: Resource) -> str:
    return arn_of(key.scope, f"key/{key.name}")


def new_key(
    now: datetime,
    *,
    description: str = "",
    policy: str,
    tags: Sequence[Mapping[str, str]] = (),
    managed: bool = False,
) -> Document:
    return {
        "Description": description,
        "KeyManager": "AWS" if managed else "CUSTOMER",
        "CreationDate": now.timestamp(),
        "Policy": policy,
        "Tags": [dict(tag) for tag in tags],
        "Version": 1,
        "Rotations": [],
        "RotationPeriodInDays": ROTATION_DAYS if managed else None,
        "RotationStart": now.timestamp(),
        "DeletionDate": None,
        "BeforeDeletion": "",
    }


def is_managed(key: Resource) -> bool:
    return bool(key.document["KeyManager"] == "AWS")


def material_id(key: Resource, version: int) -> str:
    """64 hexadecimal digits, another for each version."""
    return hashlib.sha256(f"{key_arn(key)} {version}".encode()).hexdigest()


def metadata(key: Resource) -> dict[str, Any]:
    """The KeyMetadata of DescribeKey."""
    document = key.document
    found: dict[str, Any] = {
        "AWSAccountId": key.scope.account,
        "KeyId": key.name,
        "Arn": key_arn(key),
        "CreationDate": when(document["CreationDate"]),
        "Enabled": key.status == ENABLED,
        "Description": document["Description"],
        "KeyUsage": USAGE,
        "KeyState": key.status,
        "Origin": "AWS_KMS",
        "KeyManager": document["KeyManager"],
        "CustomerMasterKeySpec": SPEC,
        "KeySpec": SPEC,
        "EncryptionAlgorithms": [ALGORITHM],
        "MultiRegion": False,
        "CurrentKeyMaterialId": material_id(key, document["Version"]),
    }
    if document["DeletionDate"] is not None:
        found["DeletionDate"] = when(document["DeletionDate"])
    return found


def next_rotation(document: Document) -> datetime | None:
    """When the key is to rotate by itself; None when it does not."""
    if document["RotationPeriodInDays"] is None:
        return None
    return when(document["RotationStart"]) + timedelta(days=document["RotationPeriodInDays"])


def due(key: Resource, now: datetime) -> Literal["delete", "rotate", ""]:
    """What has to happen to a key by itself. One that is disabled rotates when it is enabled again."""
    if key.status == PENDING_DELETION:
        return "delete" if now >= when(key.document["DeletionDate"]) else ""
    rotation = next_rotation(key.document)
    return "rotate" if key.status == ENABLED and rotation is not None and now >= rotation else ""


def rotated(document: Document, now: datetime, kind: Literal["AUTOMATIC", "ON_DEMAND"]) -> Document:
    """The document with one version more. An automatic rotation starts the next period, one on demand does not."""
    version = document["Version"] + 1
    after = {
        **document,
        "Version": version,
        "Rotations": [*document["Rotations"], {"Version": version, "Date": now.timestamp(), "Type": kind}],
    }
    return {**after, "RotationStart": now.timestamp()} if kind == "AUTOMATIC" else after


def when(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
