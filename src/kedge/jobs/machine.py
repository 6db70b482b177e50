"""What jobs are built from, and how much of it there is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kedge.compute.base import Capacity
from kedge.endpoints.fleets import Kinds, Sizes
from kedge.jobs import creating


@dataclass(frozen=True)
class JobMachine:
    kinds: Kinds
    capacity: Callable[[], Capacity]
    has_engine: bool
    """Whether podman or docker can be asked to run an image."""
    is_mapped: Callable[[str], bool] = lambda _image: False
    """Whether the operator maps an image to a command. Raises ValidationFailed where the map cannot be read."""

    def runs(self, image: str) -> str:
        """What stands for the image of a job. Raises ValidationFailed."""
        return creating.runs(image, has_engine=self.has_engine, mapped=self.is_mapped(image))

    @property
    def sizes(self) -> Sizes:
        return self.kinds.sizes
