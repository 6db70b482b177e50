"""The object store's own errors, with S3's codes and statuses.

Source: the list of error codes in the S3 API reference; messages are ours where S3's say little.
"""

from __future__ import annotations

from kedge.errors import ServiceError


class NoSuchBucket(ServiceError):
    code, status = "NoSuchBucket", 404

    def __init__(self, bucket: str) -> None:
        super().__init__(f'The specified bucket does not exist: "{bucket}".', BucketName=bucket)


class NoSuchKey(ServiceError):
    code, status = "NoSuchKey", 404

    def __init__(self, key: str) -> None:
        super().__init__("The specified key does not exist.", Key=key)


class NoSuchUpload(ServiceError):
    code, status = "NoSuchUpload", 404

    def __init__(self, upload: str) -> None:
        super().__init__(
            "The specified multipart upload does not exist. It may have been completed or aborted.", UploadId=upload
        )


class BucketAlreadyExists(ServiceError):
    code, status = "BucketAlreadyExists", 409


class BucketAlreadyOwnedByYou(ServiceError):
    code, status = "BucketAlreadyOwnedByYou", 409


class BucketNotEmpty(ServiceError):
    code, status = "BucketNotEmpty", 409


class InvalidBucketName(ServiceError):
    code, status = "InvalidBucketName", 400


class InvalidLocationConstraint(ServiceError):
    code, status = "InvalidLocationConstraint", 400


class IllegalLocationConstraint(ServiceError):
    code, status = "IllegalLocationConstraintException", 400


class InvalidArgument(ServiceError):
    """Members ArgumentName and ArgumentValue say which."""

    code, status = "InvalidArgument", 400


class InvalidRequest(ServiceError):
    code, status = "InvalidRequest", 400


class MalformedXML(ServiceError):
    code, status = "MalformedXML", 400


class KeyTooLong(ServiceError):
    code, status = "KeyTooLongError", 400


class MetadataTooLarge(ServiceError):
    code, status = "MetadataTooLarge", 400


class EntityTooLarge(ServiceError):
    code, status = "EntityTooLarge", 400


class EntityTooSmall(ServiceError):
    code, status = "EntityTooSmall", 400


class InvalidPart(ServiceError):
    code, status = "InvalidPart", 400


class InvalidPartOrder(ServiceError):
    code, status = "InvalidPartOrder", 400


class InvalidPartNumber(ServiceError):
    code, status = "InvalidPartNumber", 416


class InvalidRange(ServiceError):
    """Members RangeRequested and ActualObjectSize."""

    code, status = "InvalidRange", 416


class PreconditionFailed(ServiceError):
    """Member Condition names the header."""

    code, status = "PreconditionFailed", 412

    def __init__(self, condition: str) -> None:
        super().__init__("At least one of the pre-conditions you specified did not hold.", Condition=condition)


class NotModified(ServiceError):
    """An answer without a body."""

    code, status = "NotModified", 304


class NoSuchTagSet(ServiceError):
    code, status = "NoSuchTagSet", 404


class NotImplementedHere(ServiceError):
    """A header that asks for what the object store does not do: refused, never ignored."""

    code, status = "NotImplemented", 501


class StorageFull(ServiceError):
    """The disk has no room. Clients take 503 as a reason to try again later."""

    code, status = "ServiceUnavailable", 503
