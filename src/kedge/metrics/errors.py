"""CloudWatch's own errors. Source: its botocore model, which also says how the query protocol names them."""

from __future__ import annotations

from kedge.errors import ServiceError


class DashboardInvalid(ServiceError):
    """Members: dashboardValidationMessages."""

    code, status = "DashboardInvalidInputError", 400


class DashboardMissing(ServiceError):
    code, status = "DashboardNotFoundError", 404


class InvalidParameterValue(ServiceError):
    code, status = "InvalidParameterValueException", 400
