"""CloudWatch's own errors, of metrics and of alarms. Source: its botocore model, which also says how the query protocol
names them."""

from __future__ import annotations

from kedge.errors import ServiceError


class DashboardInvalid(ServiceError):
    """Members: dashboardValidationMessages."""

    code, status = "DashboardInvalidInputError", 400


class DashboardMissing(ServiceError):
    code, status = "DashboardNotFoundError", 404


class InvalidParameterValue(ServiceError):
    code, status = "InvalidParameterValueException", 400
    elsewhere = {"query": ("InvalidParameterValue", 400)}


class InvalidParameterCombination(ServiceError):
    code, status = "InvalidParameterCombinationException", 400
    elsewhere = {"query": ("InvalidParameterCombination", 400)}


class MissingParameter(ServiceError):
    code, status = "MissingRequiredParameterException", 400
    elsewhere = {"query": ("MissingParameter", 400)}


class ResourceNotFound(ServiceError):
    code, status = "ResourceNotFoundException", 404


class LimitExceeded(ServiceError):
    code, status = "LimitExceededException", 400


class InvalidNextToken(ServiceError):
    code, status = "InvalidNextToken", 400


class AlarmNotFound(ServiceError):
    code, status = "ResourceNotFound", 404


class AlarmLimitExceeded(ServiceError):
    code, status = "LimitExceededFault", 400
    elsewhere = {"query": ("LimitExceeded", 400)}


class InvalidFormat(ServiceError):
    code, status = "InvalidFormatFault", 400
    elsewhere = {"query": ("InvalidFormat", 400)}
