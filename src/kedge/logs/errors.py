"""The errors of CloudWatch Logs. Source: its botocore model; texts as its clients see them."""

from __future__ import annotations

from kedge.errors import ServiceError


class NotFound(ServiceError):
    code, status = "ResourceNotFoundException", 400


class AlreadyThere(ServiceError):
    code, status = "ResourceAlreadyExistsException", 400


class TooManyTags(ServiceError):
    code, status = "TooManyTagsException", 400


def no_group() -> NotFound:
    return NotFound("The specified log group does not exist.")


def no_stream() -> NotFound:
    return NotFound("The specified log stream does not exist.")
