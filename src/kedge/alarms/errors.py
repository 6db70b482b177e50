"""CloudWatch's own errors, as alarms need them. Source: its botocore model."""

from __future__ import annotations

from kedge.errors import ServiceError


class InvalidParameterCombination(ServiceError):
    code, status = "InvalidParameterCombinationException", 400
    elsewhere = {"query": ("InvalidParameterCombination", 400)}


class InvalidParameterValue(ServiceError):
    code, status = "InvalidParameterValueException", 400
    elsewhere = {"query": ("InvalidParameterValue", 400)}


class AlarmNotFound(ServiceError):
    code, status = "ResourceNotFound", 404


class ResourceNotFound(ServiceError):
    """The same where a resource is named by its ARN."""

    code, status = "ResourceNotFoundException", 404


class LimitExceeded(ServiceError):
    code, status = "LimitExceededFault", 400
    elsewhere = {"query": ("LimitExceeded", 400)}


class InvalidNextToken(ServiceError):
    code, status = "InvalidNextToken", 400


class InvalidFormat(ServiceError):
    code, status = "InvalidFormatFault", 400
    elsewhere = {"query": ("InvalidFormat", 400)}
