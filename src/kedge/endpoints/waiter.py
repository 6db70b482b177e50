"""Does a request come from one of botocore's waiters? PURE."""

from __future__ import annotations

MARK = "B"
"""botocore's feature id for a waiter. Source: botocore/useragent.py, WAITER."""


def is_waiter(user_agent: str) -> bool:
    """Reads the feature list of the User-Agent ("m/b,B,Z"); other parts hold free text and do not count."""
    for part in user_agent.split():
        kind, _, marks = part.partition("/")
        if kind == "m" and MARK in marks.split(","):
            return True
    return False
