"""SNS's own errors. Source: its botocore model, and the messages that the service answers with."""

from __future__ import annotations

from kedge.errors import ServiceError


class InvalidParameter(ServiceError):
    code, status = "InvalidParameter", 400

    def __init__(self, what: str) -> None:
        super().__init__(f"Invalid parameter: {what}")


class InvalidToken(ServiceError):
    """A text that cannot be a token; one that can and is none is an InvalidParameter."""

    code, status = "InvalidParameter", 400


class InvalidValue(ServiceError):
    """A message attribute that cannot be."""

    code, status = "ParameterValueInvalid", 400


class NotFound(ServiceError):
    code, status = "NotFound", 404


class ResourceNotFound(ServiceError):
    """What TagResource and its like say of a missing topic."""

    code, status = "ResourceNotFound", 404


class NotAuthorized(ServiceError):
    code, status = "AuthorizationError", 403


class TagLimitExceeded(ServiceError):
    code, status = "TagLimitExceeded", 400


class SubscriptionLimitExceeded(ServiceError):
    code, status = "SubscriptionLimitExceeded", 403


class EmptyBatch(ServiceError):
    code, status = "EmptyBatchRequest", 400


class TooManyEntries(ServiceError):
    code, status = "TooManyEntriesInBatchRequest", 400


class IdsNotDistinct(ServiceError):
    code, status = "BatchEntryIdsNotDistinct", 400


class InvalidEntryId(ServiceError):
    code, status = "InvalidBatchEntryId", 400


class BatchTooLong(ServiceError):
    code, status = "BatchRequestTooLong", 400
