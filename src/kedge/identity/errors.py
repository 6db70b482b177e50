"""IAM's and STS's own errors. Source of codes and statuses: their botocore models."""

from __future__ import annotations

from kedge.errors import ServiceError


class NoSuchEntity(ServiceError):
    code, status = "NoSuchEntity", 404


class EntityAlreadyExists(ServiceError):
    code, status = "EntityAlreadyExists", 409


class DeleteConflict(ServiceError):
    code, status = "DeleteConflict", 409


class LimitExceeded(ServiceError):
    code, status = "LimitExceeded", 409


class InvalidInput(ServiceError):
    code, status = "InvalidInput", 400


class MalformedPolicyDocument(ServiceError):
    code, status = "MalformedPolicyDocument", 400


class PackedPolicyTooLarge(ServiceError):
    """Session policies and tags are more than a session token can hold."""

    code, status = "PackedPolicyTooLarge", 400
