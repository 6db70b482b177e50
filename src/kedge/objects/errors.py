"""The object store's own errors, with S3's codes and statuses.

Source: the list of error codes in the S3 API reference; messages are ours where S3's say little.
"""

from __future__ import annotations

from datetime import datetime
from email.utils import format_datetime

from kedge.errors import ServiceError
from kedge.objects.records import ObjectInfo


class NoSuchBucket(ServiceError):
    code, status = "NoSuchBucket", 404

    def __init__(self, bucket: str) -> None:
        super().__init__(f'The specified bucket does not exist: "{bucket}".', BucketName=bucket)


class NoSuchKey(ServiceError):
    code, status = "NoSuchKey", 404

    def __init__(self, key: str, delete_marker: str = "") -> None:
        """delete_marker: the version of the one that hides the key, if one does."""
        super().__init__("The specified key does not exist.", Key=key)
        if delete_marker:
            self.headers = {"x-amz-delete-marker": "true", "x-amz-version-id": delete_marker}


class NoSuchVersion(ServiceError):
    code, status = "NoSuchVersion", 404

    def __init__(self, key: str, version: str) -> None:
        super().__init__("The specified version does not exist.", Key=key, VersionId=version)


class MethodNotAllowed(ServiceError):
    """A delete marker that is named by its version can only be deleted."""

    code, status = "MethodNotAllowed", 405

    def __init__(self, marker: ObjectInfo) -> None:
        super().__init__(
            "The specified method is not allowed against this resource: this version is a delete marker.",
            Method="GET",
            ResourceType="DeleteMarker",
        )
        self.headers = {
            "allow": "DELETE",
            "x-amz-delete-marker": "true",
            "x-amz-version-id": marker.version,
            "last-modified": format_datetime(marker.modified.replace(microsecond=0), usegmt=True),
        }


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
    """An answer without a body, but with what a cache has to know."""

    code, status = "NotModified", 304

    def __init__(self, message: str, etag: str = "", modified: datetime | None = None) -> None:
        super().__init__(message)
        if modified is not None:
            self.headers = {
                "etag": f'"{etag}"',
                "last-modified": format_datetime(modified.replace(microsecond=0), usegmt=True),
            }


class NoConfiguration(ServiceError):
    """A bucket without a configuration that was asked for; S3 has a code for each."""

    code, status = "NoSuchConfiguration", 404

    def __init__(self, code: str, message: str, bucket: str) -> None:
        super().__init__(message, BucketName=bucket)
        self._code = code

    def named_for(self, protocol: str) -> tuple[str, int]:
        return self._code, self.status


class InvalidTag(ServiceError):
    code, status = "InvalidTag", 400


class BadRequest(ServiceError):
    code, status = "BadRequest", 400


class InvalidStorageClass(ServiceError):
    code, status = "InvalidStorageClass", 400


class MalformedPolicy(ServiceError):
    code, status = "MalformedPolicy", 400


class MalformedAclError(ServiceError):
    code, status = "MalformedACLError", 400


class AclNotSupported(ServiceError):
    code, status = "AccessControlListNotSupported", 400


class InvalidBucketAcl(ServiceError):
    code, status = "InvalidBucketAclWithObjectOwnership", 400


class IllegalVersioning(ServiceError):
    code, status = "IllegalVersioningConfigurationException", 400


class AccessForbidden(ServiceError):
    """A request of another origin that the bucket's CORS configuration does not allow."""

    code, status = "AccessForbidden", 403


class InvalidPolicyDocument(ServiceError):
    """The policy of a form upload is none, or lacks something."""

    code, status = "InvalidPolicyDocument", 400


class MalformedForm(ServiceError):
    code, status = "MalformedPOSTRequest", 400


class NotImplementedHere(ServiceError):
    """A header that asks for what the object store does not do: refused, never ignored."""

    code, status = "NotImplemented", 501


class StorageFull(ServiceError):
    """The disk has no room. Clients take 503 as a reason to try again later."""

    code, status = "ServiceUnavailable", 503
