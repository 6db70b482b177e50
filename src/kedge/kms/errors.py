"""KMS's own errors. Source: its botocore model; S3 names those of a key that it needs with "KMS." before them."""

from __future__ import annotations

from kedge.errors import ServiceError


class NotFound(ServiceError):
    code, status = "NotFoundException", 400
    elsewhere = {"s3": ("KMS.NotFoundException", 400)}


class Disabled(ServiceError):
    code, status = "DisabledException", 400
    elsewhere = {"s3": ("KMS.DisabledException", 400)}


class InvalidState(ServiceError):
    code, status = "KMSInvalidStateException", 400
    elsewhere = {"s3": ("KMS.KMSInvalidStateException", 400)}


class InvalidCiphertext(ServiceError):
    code, status = "InvalidCiphertextException", 400
    elsewhere = {"s3": ("KMS.InvalidCiphertextException", 400)}


class KeyUnavailable(ServiceError):
    """The key's own material cannot be opened."""

    code, status = "KeyUnavailableException", 500
    elsewhere = {"s3": ("KMS.KeyUnavailableException", 500)}


class IncorrectKey(ServiceError):
    code, status = "IncorrectKeyException", 400


class InvalidKeyUsage(ServiceError):
    code, status = "InvalidKeyUsageException", 400


class InvalidArn(ServiceError):
    code, status = "InvalidArnException", 400
    elsewhere = {"s3": ("KMS.InvalidArnException", 400)}


class InvalidMarker(ServiceError):
    code, status = "InvalidMarkerException", 400


class InvalidAliasName(ServiceError):
    code, status = "InvalidAliasNameException", 400


class InvalidGrantToken(ServiceError):
    code, status = "InvalidGrantTokenException", 400


class InvalidGrantId(ServiceError):
    code, status = "InvalidGrantIdException", 400


class NotAuthorized(ServiceError):
    """The name belongs to AWS's own keys."""

    code, status = "NotAuthorizedException", 400


class AlreadyThere(ServiceError):
    code, status = "AlreadyExistsException", 400


class LimitExceeded(ServiceError):
    code, status = "LimitExceededException", 400


class Conflict(ServiceError):
    code, status = "ConflictException", 400


class TagRefused(ServiceError):
    code, status = "TagException", 400


class MalformedPolicy(ServiceError):
    code, status = "MalformedPolicyDocumentException", 400


class Unsupported(ServiceError):
    """Something of KMS that is not done here; the message names it."""

    code, status = "UnsupportedOperationException", 400


class DryRun(ServiceError):
    """The request would have succeeded."""

    code, status = "DryRunOperationException", 412
