"""What decides, besides a caller's own policies, who may do something with a bucket or an object."""

from __future__ import annotations

from collections.abc import Mapping

from kedge.call import Call
from kedge.errors import ServiceError
from kedge.identity.records import BucketFacts
from kedge.objects import bucket_policy, configuration
from kedge.objects.configuration import ENFORCED

_BUCKET_READ = frozenset({"s3:ListBucket", "s3:ListBucketVersions", "s3:ListBucketMultipartUploads"})
_OBJECT_READ = frozenset({"s3:GetObject", "s3:GetObjectVersion"})
_OF_BUCKET: Mapping[str, frozenset[str]] = {
    "public-read": _BUCKET_READ,
    "public-read-write": _BUCKET_READ | {"s3:PutObject", "s3:DeleteObject"},
}
_OF_OBJECT: Mapping[str, frozenset[str]] = {"public-read": _OBJECT_READ, "public-read-write": _OBJECT_READ}


def facts(call: Call, name: str, key: str | None, version: str | None = None) -> BucketFacts:
    """Of the bucket, and of the key in it, or one version of that, where one is asked for. Blocks.

    Raises NoSuchBucket.
    """
    bucket = call.objects.bucket(name)
    document = configuration.read(call.store, bucket)
    policy = document.get("Policy", "")
    restricted = bool(policy) and configuration.blocks(document, "RestrictPublicBuckets")
    restricted = restricted and bucket_policy.is_public(bucket_policy.check(policy, bucket.name))
    return BucketFacts(bucket.account, policy, restricted, _public_actions(call, bucket.name, key, version, document))


def _public_actions(
    call: Call, bucket: str, key: str | None, version: str | None, document: Mapping[str, object]
) -> frozenset[str]:
    if document.get("ObjectOwnership", ENFORCED) == ENFORCED or configuration.blocks(
        dict(document), "IgnorePublicAcls"
    ):
        return frozenset()
    actions = _OF_BUCKET.get(str(document.get("Acl", "")), frozenset())
    if key is not None:
        acl = _acl(call, bucket, key, version)
        actions |= _OF_OBJECT.get(_as_public(acl, signed=not call.caller.is_anonymous), frozenset())
    return actions


def _acl(call: Call, bucket: str, key: str, version: str | None) -> str:
    """Empty where there is no such object."""
    try:
        return call.objects.version(bucket, key, version).attributes.acl
    except ServiceError:
        return ""


def _as_public(acl: str, *, signed: bool) -> str:
    """authenticated-read opens an object to whoever has signed, of whatever account."""
    return "public-read" if acl == "authenticated-read" and signed else acl
