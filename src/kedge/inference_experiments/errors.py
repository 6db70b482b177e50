"""What the operations of inference experiments answer besides SageMaker's common errors."""

from __future__ import annotations

from kedge.errors import ServiceError


class ResourceInUse(ServiceError):
    code, status = "ResourceInUse", 400


class Conflict(ServiceError):
    """The experiment is in a state in which this cannot be asked."""

    code, status = "ConflictException", 400
