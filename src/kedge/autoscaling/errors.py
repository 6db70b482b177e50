"""Application Auto Scaling's own errors. Source: its botocore model."""

from __future__ import annotations

from kedge.errors import ServiceError


class ObjectNotFound(ServiceError):
    code, status = "ObjectNotFoundException", 400


class LimitExceeded(ServiceError):
    code, status = "LimitExceededException", 400


class InvalidNextToken(ServiceError):
    code, status = "InvalidNextTokenException", 400


class ResourceNotFound(ServiceError):
    """Of the operations on tags. Members: ResourceName."""

    code, status = "ResourceNotFoundException", 400


class TooManyTags(ServiceError):
    """Members: ResourceName."""

    code, status = "TooManyTagsException", 400
