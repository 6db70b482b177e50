"""What is configured for a bucket: put, get and delete of each sub-resource, and the tags of an object."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from kedge.call import Call
from kedge.errors import AccessDenied
from kedge.identity.named import missing
from kedge.objects import bucket_policy, configuration, cors, lifecycle, notifications, tags, telling
from kedge.objects.access import Operation, bucket_of, cause_of, key_of, version_members, version_of
from kedge.objects.acl import PUBLIC
from kedge.objects.bucket_operations import checked_ownership
from kedge.objects.configuration import BLOCKS, ENFORCED
from kedge.objects.errors import (
    InvalidBucketAcl,
    InvalidRequest,
    MalformedPolicy,
    MalformedXML,
    NoConfiguration,
    NotImplementedHere,
)
from kedge.objects.records import Attributes, Bucket, ObjectInfo
from kedge.store.store import Author, Document, Scope

NO_POLICY = ("NoSuchBucketPolicy", "The bucket policy does not exist")


async def put_bucket_policy(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    text = request["Policy"]

    def put() -> None:
        bucket = bucket_of(call, request)
        statements = bucket_policy.check(text, bucket.name)
        if (name := missing(call.store, bucket.account, statements)) is not None:
            raise MalformedPolicy(f"Invalid principal in policy: {name}")
        blocked = configuration.blocks(configuration.read(call.store, bucket), "BlockPublicPolicy")
        if blocked and bucket_policy.is_public(statements):
            raise AccessDenied(
                f"User: {call.caller.arn} is not authorized to perform: s3:PutBucketPolicy on resource: "
                f'"arn:aws:s3:::{bucket.name}" because public policies are blocked by the BlockPublicPolicy block '
                "public access setting."
            )
        configuration.change(call, bucket, Policy=text)

    await call.objects.run(put)
    return {}


async def get_bucket_policy(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    return {"Policy": await _configured(call, request, "Policy", *NO_POLICY)}


async def get_bucket_policy_status(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    text = await _configured(call, request, "Policy", *NO_POLICY)
    try:
        public = bucket_policy.is_public(bucket_policy.check(text, request["Bucket"]))
    except MalformedPolicy:
        public = True  # kept by a release that took more: nobody is to rely on it
    return {"PolicyStatus": {"IsPublic": public}}


async def put_bucket_cors(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    rules = request["CORSConfiguration"].get("CORSRules") or []
    cors.check(rules)
    return await _change(call, request, Cors=rules)


async def get_bucket_cors(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    code = "NoSuchCORSConfiguration"
    return {"CORSRules": await _configured(call, request, "Cors", code, "The CORS configuration does not exist")}


async def put_bucket_lifecycle_configuration(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    rules = lifecycle.check((request.get("LifecycleConfiguration") or {}).get("Rules") or [])
    wanted = request.get("TransitionDefaultMinimumObjectSize")
    if wanted not in (None, "all_storage_classes_128K", "varies_by_storage_class"):
        raise InvalidRequest(f'x-amz-transition-default-minimum-object-size is "{wanted}", which it cannot be.')
    await _change(call, request, Lifecycle=lifecycle.as_kept(rules))
    return {"TransitionDefaultMinimumObjectSize": wanted or "all_storage_classes_128K"}


async def get_bucket_lifecycle_configuration(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    kept = await _configured(
        call, request, "Lifecycle", "NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist"
    )
    return {
        "Rules": lifecycle.as_shown(kept),
        "TransitionDefaultMinimumObjectSize": "all_storage_classes_128K",
    }


async def put_bucket_tagging(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    found = tags.of_document(request["Tagging"], tags.MOST_OF_BUCKET)
    return await _change(call, request, Tags=found or ...)


async def get_bucket_tagging(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    return tags.shown(await _configured(call, request, "Tags", "NoSuchTagSet", "The TagSet does not exist"))


async def put_public_access_block(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    asked = request["PublicAccessBlockConfiguration"]
    return await _change(call, request, PublicAccessBlock={name: bool(asked.get(name)) for name in BLOCKS})


async def get_public_access_block(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    document = await _document(call, request)
    if document.get("PublicAccessBlock", ...) is None:
        raise NoConfiguration(
            "NoSuchPublicAccessBlockConfiguration",
            "The public access block configuration was not found",
            request["Bucket"],
        )
    return {"PublicAccessBlockConfiguration": {name: configuration.blocks(document, name) for name in BLOCKS}}


async def delete_public_access_block(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    return await _change(call, request, PublicAccessBlock=None)


async def put_bucket_ownership_controls(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    rules = request["OwnershipControls"].get("Rules") or []
    if len(rules) != 1:
        raise MalformedXML(f"OwnershipControls has one rule; this one has {len(rules)}.")
    wanted = checked_ownership(rules[0].get("ObjectOwnership", ""))

    def put() -> None:
        bucket = bucket_of(call, request)
        acl = configuration.read(call.store, bucket).get("Acl")
        if wanted == ENFORCED and acl in (*PUBLIC, "log-delivery-write"):
            raise InvalidBucketAcl("Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting")
        configuration.change(call, bucket, ObjectOwnership=wanted)

    await call.objects.run(put)
    return {}


async def get_bucket_ownership_controls(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    ownership = (await _document(call, request)).get("ObjectOwnership", ENFORCED)
    if ownership is None:
        raise NoConfiguration(
            "OwnershipControlsNotFoundError", "The bucket ownership controls were not found", request["Bucket"]
        )
    return {"OwnershipControls": {"Rules": [{"ObjectOwnership": ownership}]}}


async def delete_bucket_ownership_controls(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    return await _change(call, request, ObjectOwnership=None)


async def put_bucket_notification_configuration(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    asked = request["NotificationConfiguration"]
    notifications.check(asked)
    kept: dict[str, Any] = {}
    for member in notifications.TARGETS:
        if asked.get(member):
            kept[member] = [{"Id": f"{member}-{n}", **rule} for n, rule in enumerate(asked[member], 1)]
    if asked.get(notifications.EVENTBRIDGE) is not None:
        kept[notifications.EVENTBRIDGE] = {}
    text = json.dumps(kept) if kept else ""

    def put() -> None:
        bucket = bucket_of(call, request)
        call.objects.set_notifications(bucket, text)
        if (chosen := notifications.topics(kept)) and not request.get("SkipDestinationValidation"):
            _test(call, bucket, chosen)

    await call.objects.run(put)
    return {}


def _test(call: Call, bucket: Bucket, topics: list[str]) -> None:
    """Whether they get it is not waited for: a topic may be made later, and its policy changed."""
    message = notifications.test_event(bucket.name, call.now, call.request_id)
    owner = Scope(bucket.account, bucket.region)
    with call.store.transaction(Author("s3.amazonaws.com", call.request_id, call.now)) as tx:
        for topic in topics:
            telling.tell(tx, topic, message, bucket.name, owner, call.now, f"{call.request_id}:{topic}")


async def get_bucket_notification_configuration(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    bucket = await call.objects.run(bucket_of, call, request)
    found: dict[str, Any] = json.loads(bucket.notifications) if bucket.notifications else {}
    return found


async def get_object_tagging(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    key, version = key_of(request), version_of(request)

    def find() -> tuple[Bucket, ObjectInfo]:
        bucket = bucket_of(call, request)
        return bucket, call.objects.version(bucket, key, version)

    bucket, info = await call.objects.run(find)
    return {**tags.shown(info.attributes.tags), **version_members(bucket, info)}


async def put_object_tagging(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    found = tags.of_document(request["Tagging"], tags.MOST_OF_OBJECT)
    return await _tag(call, request, found, "ObjectTagging:Put", "PutObjectTagging")


async def delete_object_tagging(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    return await _tag(call, request, {}, "ObjectTagging:Delete", "DeleteObjectTagging")


async def _tag(
    call: Call, request: Mapping[str, Any], chosen: Mapping[str, str], event: str, name: str
) -> dict[str, Any]:
    key, version, cause = key_of(request), version_of(request), cause_of(call, name)

    def change(info: ObjectInfo) -> Attributes:
        return replace(info.attributes, tags=chosen)

    def apply() -> tuple[Bucket, ObjectInfo]:
        bucket = bucket_of(call, request)
        return bucket, call.objects.change_attributes(bucket, key, version, change, event, cause)

    bucket, info = await call.objects.run(apply)
    return version_members(bucket, info)


def deleting(member: str) -> Operation:
    """The operation that deletes a configuration; without one it does nothing, as on S3."""

    async def delete(call: Call, request: dict[str, Any]) -> dict[str, Any]:
        return await _change(call, request, **{member: ...})

    return delete


def absent(code: str, message: str) -> Operation:
    """The answer for a bucket without a configuration that no bucket here can have."""

    async def get(call: Call, request: dict[str, Any]) -> dict[str, Any]:
        bucket = await call.objects.run(bucket_of, call, request)
        raise NoConfiguration(code, message, bucket.name)

    return get


def always(result: Callable[[], dict[str, Any]]) -> Operation:
    """An answer that is the same for every bucket."""

    async def get(call: Call, request: dict[str, Any]) -> dict[str, Any]:
        await call.objects.run(bucket_of, call, request)
        return result()

    return get


def refused(what: str) -> Operation:
    """The operation for what is not done here, whatever the request says."""

    async def refuse(call: Call, request: dict[str, Any]) -> dict[str, Any]:
        await call.objects.run(bucket_of, call, request)
        raise NotImplementedHere(f"{what} is not implemented here.", Header=what)

    return refuse


async def put_bucket_request_payment(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    payer = request["RequestPaymentConfiguration"].get("Payer")
    if payer != "BucketOwner":
        raise NotImplementedHere(f'Payer is "{payer}"; nobody pays here, so it stays BucketOwner.', Header="Payer")
    await call.objects.run(bucket_of, call, request)
    return {}


async def put_bucket_logging(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    if request["BucketLoggingStatus"].get("LoggingEnabled"):
        raise NotImplementedHere("Server access logging is not implemented here.", Header="LoggingEnabled")
    await call.objects.run(bucket_of, call, request)
    return {}


async def no_object_lock(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    key, version = key_of(request), version_of(request)
    await call.objects.run(lambda: call.objects.version(bucket_of(call, request), key, version))
    raise InvalidRequest("Bucket is missing Object Lock Configuration")


async def _configured(call: Call, request: Mapping[str, Any], member: str, code: str, message: str) -> Any:
    """Raises NoConfiguration."""
    document = await _document(call, request)
    if member not in document:
        raise NoConfiguration(code, message, request["Bucket"])
    return document[member]


async def _document(call: Call, request: Mapping[str, Any]) -> Document:
    return await call.objects.run(lambda: configuration.read(call.store, bucket_of(call, request)))


async def _change(call: Call, request: Mapping[str, Any], **members: Any) -> dict[str, Any]:
    await call.objects.run(lambda: configuration.change(call, bucket_of(call, request), **members))
    return {}
