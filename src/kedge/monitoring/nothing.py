"""Why a job had nothing to look at. PURE."""

from __future__ import annotations

NO_DATA = "Job inputs had no data"
"""AWS's reason; a monitor's alert does not count a window of which it is said."""


def reason(what: str, left_out: int, why: str) -> str:
    """what: that there is none of, and where; why: records were left out, if any were. Those an alert counts."""
    return f"None of {left_out} records could be used: {why}." if left_out else f"{NO_DATA}: {what}."
