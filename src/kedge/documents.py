"""Resources that are descriptions: stored as they were given, shown again, never changed. Models, endpoint configs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kedge import arn, listing
from kedge.call import Call
from kedge.errors import ValidationFailed
from kedge.store.store import AlreadyExists, Author, Resource, Transaction
from kedge.tags.attach import attach, detach


def _nothing(call: Call, tx: Transaction, document: Mapping[str, Any]) -> None:
    return None


@dataclass(frozen=True)
class Kind:
    """One kind of them. Create, Describe, List and Delete of it are named alike but for `member`."""

    name: str
    """In the store and in ARNs."""
    said: str
    """In messages."""
    member: str
    """"Model": the requests have ModelName, the answers ModelArn, a list is Models."""
    checked: Callable[[Mapping[str, Any]], dict[str, Any]]
    """The document of a request. Raises ValidationFailed."""
    check_within: Callable[[Call, Transaction, Mapping[str, Any]], object] = _nothing
    """What of a document can only be checked with the store. Raises ValidationFailed."""
    shown: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict
    """What Describe says of a document."""

    def create(self, call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
        document = self.checked(request)
        name = request[f"{self.member}Name"]
        own_arn = self.arn(call, name)
        try:
            with call.store.transaction(Author(call.caller.arn, call.request_id, call.now)) as tx:
                tx.insert(call.scope, self.name, name.lower(), document)
                self.check_within(call, tx, document)
                attach(tx, call.scope, own_arn, request.get("Tags", []))
        except AlreadyExists:
            raise ValidationFailed(f'Cannot create already existing {self.said} "{own_arn}".') from None
        return {f"{self.member}Arn": own_arn}

    def describe(self, call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
        name = request[f"{self.member}Name"]
        found = call.store.get(call.scope, self.name, name.lower())
        if found is None:
            raise self.missing(call, name)
        return {
            **self.shown(found.document),
            f"{self.member}Arn": self.arn(call, found.name),
            "CreationTime": found.created_at,
        }

    def list(self, call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
        found, following = listing.resources(call, self.name, request)
        return {f"{self.member}s": [self._summary(call, each) for each in found], **following}

    def delete(self, call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
        """Who uses it goes on: what runs holds a copy of what it said."""
        name = request[f"{self.member}Name"]
        with call.store.transaction(Author(call.caller.arn, call.request_id, call.now)) as tx:
            tx.delete(self.found(call, tx, name))
            detach(tx, call.scope, self.arn(call, name))
        return {}

    def found(self, call: Call, tx: Transaction, name: str) -> Resource:
        """Raises ValidationFailed."""
        resource = tx.get(call.scope, self.name, name.lower())
        if resource is None:
            raise self.missing(call, name)
        return resource

    def arn(self, call: Call, name: str) -> str:
        return arn.sagemaker(call.scope.region, call.scope.account, self.name, name)

    def missing(self, call: Call, name: str) -> ValidationFailed:
        return ValidationFailed(f'Could not find {self.said} "{self.arn(call, name)}".')

    def operations(self) -> dict[str, Callable[[Call, Any], dict[str, Any]]]:
        return {
            f"sagemaker.Create{self.member}": self.create,
            f"sagemaker.Describe{self.member}": self.describe,
            f"sagemaker.List{self.member}s": self.list,
            f"sagemaker.Delete{self.member}": self.delete,
        }

    def _summary(self, call: Call, resource: Resource) -> dict[str, Any]:
        name = resource.document[f"{self.member}Name"]
        return {
            f"{self.member}Name": name,
            f"{self.member}Arn": self.arn(call, name),
            "CreationTime": resource.created_at,
        }
