"""What jobs are built from, and how much of it there is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kedge.compute.base import Capacity
from kedge.endpoints.fleets import Kinds, Sizes


@dataclass(frozen=True)
class JobMachine:
    kinds: Kinds
    capacity: Callable[[], Capacity]
    has_engine: bool
    """Whether podman or docker can be asked to run an image."""

    @property
    def sizes(self) -> Sizes:
        return self.kinds.sizes
