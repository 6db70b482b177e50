"""How the copy of a model that a job asks is called, and marked as the job's. PURE."""

from __future__ import annotations

import hashlib

TAG = "kedge:processing-job"
"""Of the endpoint and its configuration; the value is the job's ARN."""
_KEPT_OF_A_PREFIX = 40


def suffix(job_arn: str) -> str:
    """The same whenever the job asks: a job that is begun once more finds the copy that it made before."""
    return hashlib.sha256(job_arn.encode()).hexdigest()[:16]


def name(prefix: str, job_arn: str) -> str:
    return f"{(prefix or 'clarify')[:_KEPT_OF_A_PREFIX]}-{suffix(job_arn)}"
