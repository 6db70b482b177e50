"""Finds the model package that a text names, for the registry and for those who deploy packages."""

from __future__ import annotations

from kedge.errors import ValidationFailed
from kedge.registry.records import PACKAGE, Package, package_arn
from kedge.store.store import Resource, Scope, Store, Transaction


def found_package(store: Store | Transaction, scope: Scope, text: str) -> tuple[Package, Resource]:
    """text: a name, "group/7" or the ARN of either. The package is named as it was when it was made.

    Raises ValidationFailed.
    """
    package = Package.of(text)
    own_arn = package_arn(scope.region, scope.account, package)
    resource = store.get(scope, PACKAGE, package.key)
    is_arn = text.startswith("arn:")
    if resource is None or (is_arn and text.lower() != own_arn):
        raise ValidationFailed(f"ModelPackage {text if is_arn else own_arn} does not exist.")
    return package_of(resource), resource


def package_of(resource: Resource) -> Package:
    _, slash, number = resource.name.partition("/")
    return Package(resource.document["Name"], int(number) if slash else None)
