"""May this caller invoke this endpoint, or inference component? Decided in the router, from the table alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TypeVar

from kedge import errors
from kedge.identity.context import context_of, is_lasting
from kedge.identity.keys import unknown_key
from kedge.identity.patterns import Values
from kedge.identity.policy import Decision, Identity, Resource, evaluate
from kedge.identity.principals import INVOKE, STREAM, Directory
from kedge.identity.records import Caller

K = TypeVar("K")
V = TypeVar("V")

REMEMBERED = 4096
"""Decisions, and callers."""
_HEADERS = {
    "sagemaker:targetmodel": "x-amzn-sagemaker-target-model",
    "sagemaker:targetcontainerhostname": "x-amzn-sagemaker-target-container-hostname",
}


class Permission:
    """Decides by one table's policies. A decision that nothing in the request can change is remembered."""

    def __init__(self, directory: Directory, tags: Mapping[str, Mapping[str, str]]) -> None:
        """tags: of endpoints and inference components, by ARN."""
        self.directory = directory
        self.tags = tags
        self._callers: dict[str, tuple[Identity, bool]] = {}
        self._decisions: dict[tuple[str, str, bool], Decision] = {}

    def check(
        self,
        caller: Caller,
        resource_arn: str,
        headers: Mapping[str, str],
        now: datetime,
        origin: Callable[[], tuple[str, bool]],
        *,
        stream: bool = False,
    ) -> None:
        """Raises AccessDenied, or UnknownAccessKey when the user or role is gone.

        origin: (address, whether over TLS) of the sender; asked only where nothing is remembered.
        stream: for InvokeEndpointWithResponseStream, which AWS lets whoever may invoke; denying it by name holds too.
        """
        place = (caller.access_key_id, resource_arn, stream)
        decision = self._decisions.get(place)
        action = INVOKE
        if decision is None:
            identity, lasting = self._identity(caller)
            source_ip, secure = origin()
            caller = caller.sent(source_ip, headers, secure=secure)
            decision = self._decide(identity, caller, INVOKE, resource_arn, headers, now)
            if decision.allowed and stream:
                streaming = self._decide(identity, caller, STREAM, resource_arn, headers, now)
                if streaming.explicit:
                    decision, action = streaming, STREAM
            if lasting:
                _keep(self._decisions, place, decision)
        if not decision.allowed:
            raise errors.AccessDenied(
                f"User: {caller.arn} is not authorized to perform: {action} on resource: {resource_arn} "
                f"{decision.reason(action)}"
            )

    def _identity(self, caller: Caller) -> tuple[Identity, bool]:
        """Who asks, and whether what is decided for one request holds for the next."""
        found = self._callers.get(caller.access_key_id)
        if found is None:
            if not self.directory.knows(caller):
                raise unknown_key()
            identity = self.directory.identity(caller)
            found = identity, all(map(is_lasting, identity.keys(INVOKE, STREAM)))
            _keep(self._callers, caller.access_key_id, found)
        return found

    def _decide(
        self,
        identity: Identity,
        caller: Caller,
        action: str,
        resource_arn: str,
        headers: Mapping[str, str],
        now: datetime,
    ) -> Decision:
        context: dict[str, Values] = {}
        resource = Resource(resource_arn, resource_arn.split(":")[4])

        def lookup(key: str) -> Values | None:
            if not context:
                context.update(context_of(caller, self.directory, now, headers.get("user-agent", "")))
            _, marked, tag = key.partition(":resourcetag/")
            if marked:
                tags = {name.lower(): value for name, value in self.tags.get(resource_arn, {}).items()}
                return (tags[tag],) if tag in tags else None
            if key == "aws:resourceaccount":
                return (resource.account,)
            header = _HEADERS.get(key)
            if header is not None:
                return (headers[header],) if header in headers else None
            return context.get(key)

        return evaluate(identity, action, resource, lookup)


def _keep(remembered: dict[K, V], key: K, value: V) -> None:
    if len(remembered) >= REMEMBERED:
        del remembered[next(iter(remembered))]
    remembered[key] = value
