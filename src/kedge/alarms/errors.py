"""CloudWatch's errors of alarms alone; kedge.metrics.errors has the others. Source: its botocore model."""

from __future__ import annotations

from kedge.errors import ServiceError


class AlarmNotFound(ServiceError):
    code, status = "ResourceNotFound", 404


class LimitExceeded(ServiceError):
    code, status = "LimitExceededFault", 400
    elsewhere = {"query": ("LimitExceeded", 400)}


class InvalidFormat(ServiceError):
    code, status = "InvalidFormatFault", 400
    elsewhere = {"query": ("InvalidFormat", 400)}
