"""Keys: make, describe, enable, rotate and delete them; their tags and policies."""

from __future__ import annotations

from datetime import timedelta

from kedge.call import Call
from kedge.errors import ValidationFailed
from kedge.kms import policies, records
from kedge.kms.errors import InvalidState, LimitExceeded, NotFound, Unsupported
from kedge.kms.keystore import KeyStore, check_not_pending, check_usable
from kedge.kms.requests import (
    Handler,
    Request,
    Result,
    author,
    changing,
    following,
    key_named,
    merged_tags,
    page,
    refuse,
    resources,
    update,
)

WINDOW_DAYS = (7, 30)
MOST_ROTATIONS_ON_DEMAND = 25


def create_key(keys: KeyStore, call: Call, request: Request) -> Result:
    spec = request.get("KeySpec") or request.get("CustomerMasterKeySpec") or records.SPEC
    if request.get("CustomerMasterKeySpec", spec) != spec:
        raise ValidationFailed("KeySpec and CustomerMasterKeySpec differ; give KeySpec alone.")
    if spec != records.SPEC:
        raise Unsupported(
            f"KeySpec {spec} is not offered: keys here are symmetric, KeySpec {records.SPEC}. "
            "There are no asymmetric and no HMAC keys."
        )
    usage = request.get("KeyUsage", records.USAGE)
    if usage != records.USAGE:
        raise ValidationFailed(f"KeyUsage {usage} is not compatible with KeySpec {spec}: it has to be {records.USAGE}.")
    origin = request.get("Origin", "AWS_KMS")
    if origin != "AWS_KMS":
        raise Unsupported(f"Origin {origin} is not offered: key material is always made here, Origin AWS_KMS.")
    refuse(
        request,
        MultiRegion="keys are not replicated between regions here.",
        CustomKeyStoreId="there are no custom key stores here.",
        XksKeyId="there are no external key stores here.",
    )
    document = records.new_key(
        call.now,
        description=request.get("Description", ""),
        policy=_policy(call, request["Policy"]) if "Policy" in request else policies.default(call.caller.account),
        tags=merged_tags([], request.get("Tags") or []),
    )
    with call.store.transaction(author(call)) as tx:
        key = keys.create(tx, call.scope, document)
    return {"KeyMetadata": records.metadata(key)}


def describe_key(keys: KeyStore, call: Call, request: Request) -> Result:
    return {"KeyMetadata": records.metadata(key_named(keys, call, request["KeyId"], by_alias=True))}


def list_keys(keys: KeyStore, call: Call, request: Request) -> Result:
    owners = set(request.get("ResourceOwners") or ["SELF"])
    if owners != {"SELF"}:
        raise Unsupported("ResourceOwners: only the caller's own keys can be listed, SELF.")
    found = resources(call, records.KEY, request)
    return {
        "Keys": [{"KeyId": key.name, "KeyArn": records.key_arn(key)} for key in found.items],
        **following(found.next),
    }


def update_key_description(keys: KeyStore, call: Call, request: Request) -> Result:
    with changing(keys, call, request) as (tx, key):
        check_not_pending(key)
        update(tx, key, Description=request["Description"])
    return {}


def enable_key(keys: KeyStore, call: Call, request: Request) -> Result:
    with changing(keys, call, request) as (tx, key):
        check_not_pending(key)
        if key.status != records.ENABLED:
            update(tx, key, records.ENABLED)
    return {}


def disable_key(keys: KeyStore, call: Call, request: Request) -> Result:
    with changing(keys, call, request) as (tx, key):
        check_not_pending(key)
        if key.status != records.DISABLED:
            update(tx, key, records.DISABLED)
    return {}


def schedule_key_deletion(keys: KeyStore, call: Call, request: Request) -> Result:
    days = request.get("PendingWindowInDays", WINDOW_DAYS[1])
    if not WINDOW_DAYS[0] <= days <= WINDOW_DAYS[1]:
        raise ValidationFailed(f"PendingWindowInDays is {days}; it has to be {WINDOW_DAYS[0]} to {WINDOW_DAYS[1]}.")
    at = call.now + timedelta(days=days)
    with changing(keys, call, request) as (tx, key):
        check_not_pending(key)
        update(tx, key, records.PENDING_DELETION, DeletionDate=at.timestamp())
    return {
        "KeyId": records.key_arn(key),
        "DeletionDate": at,
        "KeyState": records.PENDING_DELETION,
        "PendingWindowInDays": days,
    }


def cancel_key_deletion(keys: KeyStore, call: Call, request: Request) -> Result:
    """The key comes back disabled, as in AWS: whoever wants it in use again says so."""
    with changing(keys, call, request) as (tx, key):
        if key.status != records.PENDING_DELETION:
            raise InvalidState(f"{records.key_arn(key)} is not pending deletion.")
        update(tx, key, records.DISABLED, DeletionDate=None)
    return {"KeyId": records.key_arn(key)}


# Rotation


def enable_key_rotation(keys: KeyStore, call: Call, request: Request) -> Result:
    with changing(keys, call, request) as (tx, key):
        check_usable(key)
        days, before = request.get("RotationPeriodInDays"), key.document["RotationPeriodInDays"]
        start = key.document["RotationStart"] if before is not None else call.now.timestamp()
        update(tx, key, RotationPeriodInDays=days or before or records.ROTATION_DAYS, RotationStart=start)
    return {}


def disable_key_rotation(keys: KeyStore, call: Call, request: Request) -> Result:
    with changing(keys, call, request) as (tx, key):
        check_usable(key)
        update(tx, key, RotationPeriodInDays=None)
    return {}


def get_key_rotation_status(keys: KeyStore, call: Call, request: Request) -> Result:
    key = key_named(keys, call, request["KeyId"])
    at = records.next_rotation(key.document) if key.status != records.PENDING_DELETION else None
    result: Result = {"KeyId": records.key_arn(key), "KeyRotationEnabled": at is not None}
    if at is not None:
        result |= {"RotationPeriodInDays": key.document["RotationPeriodInDays"], "NextRotationDate": at}
    return result


def rotate_key_on_demand(keys: KeyStore, call: Call, request: Request) -> Result:
    with changing(keys, call, request) as (tx, key):
        check_usable(key)
        before = sum(rotation["Type"] == "ON_DEMAND" for rotation in key.document["Rotations"])
        if before >= MOST_ROTATIONS_ON_DEMAND:
            raise LimitExceeded(
                f"{records.key_arn(key)} was rotated on demand {before} times; {MOST_ROTATIONS_ON_DEMAND} are allowed."
            )
        keys.rotate(tx, key, call.now, "ON_DEMAND")
    return {"KeyId": records.key_arn(key)}


def list_key_rotations(keys: KeyStore, call: Call, request: Request) -> Result:
    key = key_named(keys, call, request["KeyId"])
    current = key.document["Version"]
    rotations = [
        {
            "KeyId": records.key_arn(key),
            "KeyMaterialId": records.material_id(key, rotation["Version"]),
            "KeyMaterialState": "CURRENT" if rotation["Version"] == current else "NON_CURRENT",
            "RotationDate": records.when(rotation["Date"]),
            "RotationType": rotation["Type"],
        }
        for rotation in key.document["Rotations"]
    ]
    if request.get("IncludeKeyMaterial") == "ALL_KEY_MATERIAL":
        first = {
            "KeyId": records.key_arn(key),
            "KeyMaterialId": records.material_id(key, 1),
            "KeyMaterialState": "CURRENT" if current == 1 else "NON_CURRENT",
        }
        rotations = [first, *rotations]
    shown, more = page(rotations, request)
    return {"Rotations": list(shown), **more}


# Policies


def get_key_policy(keys: KeyStore, call: Call, request: Request) -> Result:
    _check_policy_name(request)
    key = key_named(keys, call, request["KeyId"])
    return {"Policy": key.document["Policy"], "PolicyName": policies.NAME}


def put_key_policy(keys: KeyStore, call: Call, request: Request) -> Result:
    _check_policy_name(request)
    text = _policy(call, request["Policy"])
    with changing(keys, call, request) as (tx, key):
        update(tx, key, Policy=text)
    return {}


def list_key_policies(keys: KeyStore, call: Call, request: Request) -> Result:
    key_named(keys, call, request["KeyId"])
    names, more = page([policies.NAME], request)
    return {"PolicyNames": list(names), **more}


# Tags


def tag_resource(keys: KeyStore, call: Call, request: Request) -> Result:
    with changing(keys, call, request) as (tx, key):
        check_not_pending(key)
        update(tx, key, Tags=merged_tags(key.document["Tags"], request["Tags"]))
    return {}


def untag_resource(keys: KeyStore, call: Call, request: Request) -> Result:
    with changing(keys, call, request) as (tx, key):
        check_not_pending(key)
        update(tx, key, Tags=[tag for tag in key.document["Tags"] if tag["TagKey"] not in request["TagKeys"]])
    return {}


def list_resource_tags(keys: KeyStore, call: Call, request: Request) -> Result:
    key = key_named(keys, call, request["KeyId"])
    tags, more = page(key.document["Tags"], request)
    return {"Tags": list(tags), **more}


def _check_policy_name(request: Request) -> None:
    if request.get("PolicyName", policies.NAME) != policies.NAME:
        raise NotFound(f"No such policy exists: {request['PolicyName']}; a key's only policy is {policies.NAME}.")


def _policy(call: Call, text: str) -> str:
    return policies.checked(text, call.caller.account, call.store)


OPERATIONS: dict[str, Handler] = {
    "kms.CreateKey": create_key,
    "kms.DescribeKey": describe_key,
    "kms.ListKeys": list_keys,
    "kms.UpdateKeyDescription": update_key_description,
    "kms.EnableKey": enable_key,
    "kms.DisableKey": disable_key,
    "kms.ScheduleKeyDeletion": schedule_key_deletion,
    "kms.CancelKeyDeletion": cancel_key_deletion,
    "kms.EnableKeyRotation": enable_key_rotation,
    "kms.DisableKeyRotation": disable_key_rotation,
    "kms.GetKeyRotationStatus": get_key_rotation_status,
    "kms.RotateKeyOnDemand": rotate_key_on_demand,
    "kms.ListKeyRotations": list_key_rotations,
    "kms.GetKeyPolicy": get_key_policy,
    "kms.PutKeyPolicy": put_key_policy,
    "kms.ListKeyPolicies": list_key_policies,
    "kms.TagResource": tag_resource,
    "kms.UntagResource": untag_resource,
    "kms.ListResourceTags": list_resource_tags,
}
