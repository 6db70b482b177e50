"""How many instances a serverless variant has by what it has to do. PURE.

One invocation at a time for each, as SageMaker has it: concurrent requests are followed with a target of one
(`windows.py`). Requests that come one after another, and those that are answered quickly, share one instance. None is
left where nothing was asked for long enough; the provisioned ones always are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kedge.autoscaling import windows

_PER_INSTANCE = 1.0


@dataclass(frozen=True)
class Load:
    samples: Sequence[float | None]
    """As for windows.wanted."""
    waits: bool
    """A request waits for an instance, and there is none."""
    idle_s: float
    """For how long nothing was asked; 0 while that is not known."""
    since_out_s: float
    """Since instances were added."""


def instances(load: Load, current: int, provisioned: int, most: int, idle_after_s: float) -> int:
    """provisioned, most: of the variant's ServerlessConfig. idle_after_s: after how long nothing is left."""
    if load.waits and not current:
        return max(1, provisioned)
    if load.idle_s >= idle_after_s:
        return provisioned
    found = windows.wanted(load.samples, current, _PER_INSTANCE, load.since_out_s)
    wanted = current if found is None else found.capacity
    return max(provisioned, min(wanted, most), min(current, 1))
