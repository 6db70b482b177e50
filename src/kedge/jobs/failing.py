"""How a job fails. PURE."""

from __future__ import annotations


class JobFailed(Exception):
    """The job cannot go on; the message is its FailureReason."""
