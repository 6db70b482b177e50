"""May this caller do this? Asked before every operation of the API port, which is why none goes into the gateway bare.

What an operation needs is said by actions.py, what follows from the policies by policy.py. Here is what the two have to
be told: the resource's owner and policy, its tags, and the time. Root is not asked, but for assuming a role.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kedge import arn, errors
from kedge.identity.actions import Asked, Need, Unguarded, bucket_arn, copied_from, needs, object_deletion
from kedge.identity.context import context_of
from kedge.identity.entities import KINDS
from kedge.identity.known import Known, Snapshot
from kedge.identity.patterns import Values
from kedge.identity.policy import BrokenPolicy, Decision, Identity, Policy, Resource, evaluate, parsed
from kedge.identity.principals import tags_of
from kedge.identity.records import BucketFacts
from kedge.kms import records as kms_records
from kedge.store.records import Scope
from kedge.tags import attach
from kedge.topics import records as topic_records
from kedge.topics.errors import InvalidParameter, NotAuthorized

if TYPE_CHECKING:
    from kedge.call import Call
    from kedge.store.records import Resource as Stored

Request = dict[str, Any]
Operation = Callable[[Any, Request], Any]

_ASKED_OF_ROOT = frozenset({"sts.AssumeRole"})
_ROLE_ACTIONS = frozenset({"sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"})
_DENY_ALL = parsed('{"Statement": {"Effect": "Deny", "NotPrincipal": {"AWS": []}, "Action": "*", "Resource": "*"}}')
"""Stands for a resource policy that cannot be read."""
_DENIED_BY_NAME = "The operation {} is not opened to anybody but root."


FindBucket = Callable[["Call", str, str | None, str | None], BucketFacts]
"""(call, bucket, key, version) -> facts. Blocks. Raises NoSuchBucket."""


class Authorization:
    def __init__(self, known: Known, find_bucket: FindBucket) -> None:
        self._known = known
        self._find_bucket = find_bucket

    def guarded(self, operations: Mapping[str, Operation]) -> dict[str, Operation]:
        """The same operations, each of them refusing callers who may not: errors.AccessDenied."""
        return {key: self._guarded(key, operation) for key, operation in operations.items()}

    def _guarded(self, key: str, operation: Operation) -> Operation:
        asks_root = key in _ASKED_OF_ROOT
        if not inspect.iscoroutinefunction(operation):

            def plain(call: Call, request: Request) -> Any:
                if asks_root or not call.caller.is_root:
                    call = self.check(key, call, request)
                return operation(call, request)

            return plain
        if key == "s3.DeleteObjects":
            return self._deletes(key, operation)
        is_s3 = key.startswith("s3.")

        async def coroutine(call: Call, request: Request) -> Any:
            if call.caller.is_root:
                return await operation(call, request)
            if is_s3 or not self._known.is_fresh:
                allowed = await asyncio.to_thread(self.check, key, call, request)
            else:
                allowed = self.check(key, call, request)
            try:
                return await operation(allowed, request)
            except errors.ServiceError as error:
                if is_s3 and error.code == "NoSuchKey":
                    await asyncio.to_thread(self._may_know_what_is_missing, call, request)
                raise

        return coroutine

    def _deletes(self, key: str, operation: Callable[[Any, Request], Awaitable[Any]]) -> Operation:
        """Each object is asked for by itself: what may not be deleted is told among the others' results."""

        async def delete(call: Call, request: Request) -> Any:
            if call.caller.is_root:
                return await operation(call, request)
            listed = request["Delete"].get("Objects") or []
            deleting, allowed, refused = await asyncio.to_thread(self._sorted, call, request["Bucket"], listed)
            if listed and not allowed:
                return {"Errors": refused}
            kept = {**request, "Delete": {**request["Delete"], "Objects": allowed}}
            result = await operation(deleting, kept)
            return {**result, "Errors": [*result.get("Errors", ()), *refused]} if refused else result

        return delete

    def _sorted(self, call: Call, bucket: str, listed: list[Any]) -> tuple[Call, list[Any], list[dict[str, Any]]]:
        """(the call, what may be deleted, what is to be told of the rest). Raises NoSuchBucket."""
        asking = self._asking(call)
        allowed, refused = [], []
        for each in listed:
            need = object_deletion(bucket, each)
            decision = asking.decide(need)
            if decision.allowed:
                allowed.append(each)
                continue
            named = {name: each[name] for name in ("Key", "VersionId") if name in each}
            refused.append({**named, "Code": "AccessDenied", "Message": message(call, need, decision)})
        if not listed:
            asking.require(Need("s3:DeleteObject", f"{bucket_arn(bucket)}/"))
        return asking.call_in(bucket), allowed, refused

    def check(self, key: str, call: Call, request: Request) -> Call:
        """The call, if the caller may make it. Blocks. Raises AccessDenied, NoSuchBucket."""
        asking = self._asking(call)
        asked = Asked(call.caller, request, asking.iam_arn)
        try:
            found = needs(key, asked)
        except Unguarded:
            raise errors.AccessDenied(_DENIED_BY_NAME.format(key)) from None
        for need in found:
            asking.require(need)
        opens = key.startswith("s3.") and "Bucket" in request and key != "s3.CreateBucket"
        return asking.call_in(request["Bucket"]) if opens else call

    def require(self, call: Call, action: str, resource: str, context: Mapping[str, Values]) -> None:
        """Call.require: for an operation that finds out only while it works what it needs. Blocks."""
        if not call.caller.is_root:
            self._asking(call).require(Need(action, resource, context))

    def _may_know_what_is_missing(self, call: Call, request: Request) -> None:
        """S3 tells that a key is not there only to those who may list the bucket."""
        bucket = copied_from(request)[0].partition("/")[0] if "CopySource" in request else request["Bucket"]
        self._asking(call).require(Need("s3:ListBucket", bucket_arn(bucket)))

    def _asking(self, call: Call) -> _Asking:
        return _Asking(call, self._known.current(), self._find_bucket)


class _Asking:
    """One request's questions."""

    def __init__(self, call: Call, snapshot: Snapshot, find_bucket: FindBucket) -> None:
        self._call = call
        self._snapshot = snapshot
        self._find_bucket = find_bucket
        self._buckets: dict[tuple[str, str, str], BucketFacts | errors.ServiceError] = {}
        self._identity: Identity = snapshot.identity(call.caller)
        self._context: dict[str, Values] | None = None

    def require(self, need: Need) -> None:
        """Raises AccessDenied, NoSuchBucket."""
        decision = self.decide(need)
        if not decision.allowed:
            if _is_s3(need) and need.action != "s3:CreateBucket":
                facts = self._bucket(*_bucket_and_key(need.resource))
                if isinstance(facts, errors.ServiceError):
                    raise facts
            denied = NotAuthorized if need.action.startswith("SNS:") else errors.AccessDenied
            raise denied(message(self._call, need, decision))

    def decide(self, need: Need) -> Decision:
        tags: dict[str, str] | None = None
        key: Stored | None = None
        if need.resource.startswith("arn:aws:kms:") and not need.as_named:
            key = self._key(need.resource)

        facts = self._bucket(*_bucket_and_key(need.resource), _version(need)) if _is_s3(need) else None
        resource = self._resource(need, key) if facts is None else self._s3_resource(need, facts)

        def lookup(name: str) -> Values | None:
            nonlocal tags
            if name in ("aws:resourceaccount", "s3:resourceaccount"):
                return (resource.account,)
            if name in need.context:
                return need.context[name]
            if name == "iam:permissionsboundary":
                boundary = self._snapshot.directory.boundary_of(need.resource)
                return (boundary,) if boundary else None
            _, marked, tag = name.partition(":resourcetag/")
            if not marked:
                _, marked, tag = name.partition("s3:existingobjecttag/")
            if marked:
                if tags is None:
                    tags = {k.lower(): v for k, v in self._tags(need, key).items()}
                return (tags[tag],) if tag in tags else None
            if self._context is None:
                call = self._call
                self._context = context_of(call.caller, self._snapshot.directory, call.now, call.user_agent)
            return self._context.get(name)

        decision = evaluate(self._identity, need.action, resource, lookup)
        if isinstance(facts, BucketFacts) and not decision.allowed and not decision.explicit:
            return Decision(True) if need.action in facts.public_actions else decision
        return decision

    def _s3_resource(self, need: Need, facts: BucketFacts | errors.ServiceError) -> Resource:
        """What is not there counts as the caller's own."""
        if isinstance(facts, errors.ServiceError):
            return Resource(need.resource, self._call.caller.account)
        policy = _policy(facts.policy) if facts.policy else None
        stranger = self._identity.account != facts.account
        if stranger and facts.only_own_account:
            policy = None
        return Resource(need.resource, facts.account, policy)

    def _resource(self, need: Need, key: Stored | None) -> Resource:
        own = self._call.caller.account
        if need.action in _ROLE_ACTIONS and ":federated-user/" not in need.resource:
            trust = self._snapshot.trusts.get(need.resource)
            return Resource(need.resource, _account_of(need.resource, own), _policy(trust) if trust else None, True)
        if key is not None:
            arn_of_key = kms_records.key_arn(key)
            return Resource(arn_of_key, key.scope.account, _policy(key.document["Policy"]), True)
        account = _account_of(need.resource, own)
        if need.resource.startswith("arn:aws:sns:"):
            policy = self._topic_policy(need.resource)
            return Resource(need.resource, account, _policy(policy) if policy else None)
        return Resource(need.resource, account)

    def _topic_policy(self, text: str) -> str:
        """Empty: there is no such topic."""
        try:
            scope, name, _ = topic_records.parse_arn(text, "TopicArn")
        except InvalidParameter:
            return ""
        topic = self._call.store.get(scope, topic_records.TOPIC, name)
        return "" if topic is None else topic_records.policy(topic)

    def _key(self, text: str) -> Stored | None:
        """The KMS key of this ARN, or the one behind this alias's."""
        name = kms_records.parse_name(text, Scope(self._call.caller.account, self._call.caller.region))
        if name is None:
            return None
        store, key_id = self._call.store, name.name
        if name.kind == "alias":
            alias = store.get(name.scope, kms_records.ALIAS, name.name)
            if alias is None:
                return None
            key_id = alias.document["TargetKeyId"]
        return store.get(name.scope, kms_records.KEY, key_id)

    def _tags(self, need: Need, key: Stored | None) -> Mapping[str, str]:
        resource = need.resource
        if key is not None:
            return {str(tag.get("TagKey")): str(tag.get("TagValue", "")) for tag in key.document["Tags"]}
        if resource.startswith("arn:aws:s3:::"):
            return self._object_tags(*_bucket_and_key(resource), _version(need))
        if resource.startswith("arn:aws:iam:"):
            return self._snapshot.tags.get(resource, {})
        try:
            named = arn.parse(resource)
        except ValueError:
            return {}
        return tags_of(attach.read(self._call.store, Scope(named.account, named.region), resource))

    def _object_tags(self, bucket: str, key: str, version: str) -> Mapping[str, str]:
        try:
            return dict(self._call.objects.version(bucket, key, version or None).attributes.tags) if key else {}
        except errors.ServiceError:
            return {}

    def _bucket(self, bucket: str, key: str, version: str = "") -> BucketFacts | errors.ServiceError:
        found = self._buckets.get((bucket, key, version))
        if found is None:
            try:
                found = self._find_bucket(self._call, bucket, key or None, version or None)
            except errors.ServiceError as error:
                found = error
            self._buckets[bucket, key, version] = found
        return found

    def call_in(self, bucket: str) -> Call:
        """Whoever a bucket lets in from elsewhere acts in the bucket's account. Raises NoSuchBucket."""
        found = self._bucket(bucket, "")
        if isinstance(found, errors.ServiceError):
            raise found
        caller = self._call.caller
        if found.account == caller.account:
            return self._call
        return replace(self._call, caller=replace(caller, account=found.account))

    def iam_arn(self, noun: str, name: str) -> str:
        kind = next(each for each in KINDS if each.noun == noun)
        account = self._call.caller.account
        known = self._snapshot.arns.get((account, kind.kind, name.lower()))
        return known if known is not None else f"arn:aws:iam::{account}:{kind.part}/{name}"


def message(call: Call, need: Need, decision: Decision) -> str:
    """AWS's words."""
    caller = call.caller
    if caller.is_anonymous:
        return "Access Denied"
    text = f"User: {caller.arn} is not authorized to perform: {need.action} on resource: {need.resource}"
    if need.action in _ROLE_ACTIONS and not decision.explicit:
        return text
    return f"{text} {decision.reason(need.action)}"


def _policy(text: str) -> Policy:
    try:
        return parsed(text)
    except BrokenPolicy:
        return _DENY_ALL


def _is_s3(need: Need) -> bool:
    return need.resource.startswith("arn:aws:s3:::")


def _bucket_and_key(resource: str) -> tuple[str, str]:
    bucket, _, key = resource.removeprefix("arn:aws:s3:::").partition("/")
    return bucket, key


def _version(need: Need) -> str:
    """Of an object, where the request names one."""
    return need.context.get("s3:versionid", ("",))[0]


def _account_of(resource: str, own: str) -> str:
    """Of an ARN; what names no account, and AWS's own policies, count as the caller's."""
    try:
        found = arn.parse(resource).account
    except ValueError:
        return own
    return own if found in ("", "aws") else found
