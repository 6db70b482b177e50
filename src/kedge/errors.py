"""Every error that a caller can be answered with.

A class says its code and HTTP status; only the gateway and the router turn one into bytes. AWS's older protocols name
some errors differently: `elsewhere` maps a protocol ("query", "s3") to the code and status used there.
Source of the codes: AWS's common errors pages and the services' botocore models.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class ServiceError(Exception):
    """An answer other than success. `members` are further modelled fields, such as OriginalStatusCode."""

    code: ClassVar[str] = "InternalFailure"
    status: ClassVar[int] = 500
    elsewhere: ClassVar[Mapping[str, tuple[str, int]]] = {}
    headers: Mapping[str, str] = {}
    """HTTP headers that S3 sends with the error, such as the ETag of a 304."""

    def __init__(self, message: str, **members: Any) -> None:
        super().__init__(message)
        self.message = message
        self.members = members

    def named_for(self, protocol: str) -> tuple[str, int]:
        """(code, HTTP status) in this protocol: "json", "rest-json", "query", "rest-xml" or "s3"."""
        return self.elsewhere.get(protocol, (self.code, self.status))


class InternalFailure(ServiceError):
    elsewhere = {"s3": ("InternalError", 500)}


class ValidationFailed(ServiceError):
    """A value that the service refuses; the message names it."""

    code, status = "ValidationException", 400
    elsewhere = {
        "query": ("ValidationError", 400),
        "rest-json": ("ValidationError", 400),  # the SageMaker runtimes' name for it
        "s3": ("InvalidArgument", 400),
    }


class InvalidParameter(ValidationFailed):
    """What CloudWatch Logs calls it."""

    code, status = "InvalidParameterException", 400


class DocumentRefused(ValidationFailed):
    """The same of a value inside the document that a request's body is; S3 names that otherwise."""

    elsewhere = {**ValidationFailed.elsewhere, "s3": ("MalformedXML", 400)}


class DocumentMissing(ValidationFailed):
    elsewhere = {**ValidationFailed.elsewhere, "s3": ("MissingRequestBodyError", 400)}


class StorageClassRefused(ValidationFailed):
    elsewhere = {**ValidationFailed.elsewhere, "s3": ("InvalidStorageClass", 400)}


class ResourceLimitExceeded(ServiceError):
    code, status = "ResourceLimitExceeded", 400


class ResourceNotFound(ServiceError):
    code, status = "ResourceNotFound", 400


class ResourceInUse(ServiceError):
    code, status = "ResourceInUse", 400


class ConcurrentChange(ServiceError):
    """Two writers changed one resource at once and this one came second."""

    code, status = "ConflictException", 409
    elsewhere = {"s3": ("OperationAborted", 409)}


class UnknownOperation(ServiceError):
    code, status = "UnknownOperationException", 400
    elsewhere = {"query": ("InvalidAction", 400), "s3": ("NotImplemented", 501), "rest-xml": ("NotImplemented", 501)}


class NoSuchMethod(UnknownOperation):
    """S3 has no operation for this method on this kind of address."""

    elsewhere = {**UnknownOperation.elsewhere, "s3": ("MethodNotAllowed", 405)}


class SerializationFailed(ServiceError):
    """The body is not what the protocol says it is."""

    code, status = "SerializationException", 400
    elsewhere = {"query": ("MalformedQueryString", 400), "s3": ("MalformedXML", 400)}


class Throttled(ServiceError):
    code, status = "ThrottlingException", 400
    elsewhere = {"query": ("Throttling", 400), "s3": ("SlowDown", 503)}


class ServiceUnavailable(ServiceError):
    code, status = "ServiceUnavailable", 503


class RequestTooLarge(ServiceError):
    code, status = "RequestEntityTooLargeException", 413
    elsewhere = {"s3": ("EntityTooLarge", 400)}


class IncompleteBody(ServiceError):
    """A body that is shorter or longer than it was said to be, or framed wrongly."""

    code, status = "IncompleteBody", 400


class MissingLength(ServiceError):
    """A body whose length has to be known before it is read."""

    code, status = "MissingContentLength", 411


class BadDigest(ServiceError):
    """A checksum that was sent with the body is not the body's."""

    code, status = "BadDigest", 400


class InvalidDigest(ServiceError):
    """A Content-MD5 that is no MD5."""

    code, status = "InvalidDigest", 400


class InvalidChecksum(ServiceError):
    """A checksum header that cannot be one."""

    code, status = "InvalidRequest", 400


class MalformedTrailer(ServiceError):
    code, status = "MalformedTrailerError", 400


class AccessDenied(ServiceError):
    code, status = "AccessDeniedException", 400
    elsewhere = {"query": ("AccessDenied", 403), "s3": ("AccessDenied", 403)}


class ScrapeDenied(AccessDenied):
    """To who asks for /metrics: scrapers know HTTP's statuses, and none of AWS's codes."""

    status = 403


class MissingAuthentication(ServiceError):
    code, status = "MissingAuthenticationTokenException", 403
    elsewhere = {"query": ("MissingAuthenticationToken", 403), "s3": ("AccessDenied", 403)}


class IncompleteSignature(ServiceError):
    code, status = "IncompleteSignatureException", 400
    elsewhere = {"query": ("IncompleteSignature", 400), "s3": ("AuthorizationHeaderMalformed", 400)}


class SignatureMismatch(ServiceError):
    code, status = "InvalidSignatureException", 403
    elsewhere = {"query": ("SignatureDoesNotMatch", 403), "s3": ("SignatureDoesNotMatch", 403)}


class ClockSkew(ServiceError):
    code, status = "InvalidSignatureException", 403
    elsewhere = {"query": ("SignatureDoesNotMatch", 403), "s3": ("RequestTimeTooSkewed", 403)}


class MalformedQueryAuth(IncompleteSignature):
    """The authentication parameters of a presigned URL are incomplete or wrong."""

    elsewhere = {"query": ("IncompleteSignature", 400), "s3": ("AuthorizationQueryParametersError", 400)}


class UnsupportedAuth(IncompleteSignature):
    """Signed, but in a way that is not taken."""

    elsewhere = {"query": ("IncompleteSignature", 400), "s3": ("InvalidRequest", 400)}


class HeadersNotSigned(SignatureMismatch):
    """A header that the signature has to cover is not covered."""

    elsewhere = {"query": ("SignatureDoesNotMatch", 403), "s3": ("AccessDenied", 403)}


class ContentHashMismatch(SignatureMismatch):
    """The body is not the one that was signed."""

    elsewhere = {"query": ("SignatureDoesNotMatch", 403), "s3": ("XAmzContentSHA256Mismatch", 400)}


class RequestExpired(ClockSkew):
    """A presigned URL is used too late or too early."""

    elsewhere = {"query": ("SignatureDoesNotMatch", 403), "s3": ("AccessDenied", 403)}


class UnknownAccessKey(ServiceError):
    code, status = "UnrecognizedClientException", 400
    elsewhere = {"query": ("InvalidClientTokenId", 403), "s3": ("InvalidAccessKeyId", 403)}


class UnknownToken(UnknownAccessKey):
    """The session token is none that was handed out for this access key."""

    elsewhere = {**UnknownAccessKey.elsewhere, "s3": ("InvalidToken", 400)}


class ExpiredToken(ServiceError):
    code, status = "ExpiredTokenException", 400
    elsewhere = {"query": ("ExpiredToken", 403), "s3": ("ExpiredToken", 400)}


class ModelError(ServiceError):
    """The model answered with an error, or not at all. Members: OriginalStatusCode, OriginalMessage, LogStreamArn."""

    code, status = "ModelError", 424


class RuntimeValidationError(ServiceError):
    """The runtime's own name for a bad invocation: ValidationError, unlike the API's ValidationException."""

    code, status = "ValidationError", 400
