"""What the models of a multi-model container are loaded into: a process for each, or the container's own server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Protocol

from kedge.serving.part import Part
from kedge.serving.places import Running, part_spec
from kedge.serving.worker_setup import ContainerSpec, WorkerSpec

LOAD_WITHIN_S = 360.0
"""As long as SageMaker goes on loading after the first request for a model has been answered."""
MULTI_MODEL = {"SAGEMAKER_MULTI_MODEL": "true"}
"""Tells SageMaker's toolkits that models come and go."""


class Wanted(NamedTuple):
    """A model whose data is there."""

    name: str
    """As requests have it."""
    folder: str
    """Its name below models_dir, which no other model has or gets."""


class Loading(Running, Protocol):
    """A model that is being loaded, or was. Its `gone` is done when it is there no more, or could not be loaded."""

    memory_bytes: int
    """What it takes, as far as it is known by itself; 0 where it is not."""

    @property
    def wants_room(self) -> bool:
        """Whether it is gone for want of memory: where others go first, another try may succeed."""


FreeOne = Callable[[], Awaitable[bool]]
"""Unloads the least recently used of the other models that are idle; returns when it is gone. False: there is none."""


class Loader(Protocol):
    frees_one: bool
    """Whether a model that finds no room is tried again whenever one other has gone, not once when all have."""

    @property
    def is_ready(self) -> bool:
        """Whether models can be loaded."""

    @property
    def own_bytes(self) -> int:
        """Memory that is taken without any model."""

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def parts(self) -> Sequence[Running]:
        """What runs besides the models."""

    def load(self, wanted: Wanted, on_ready: Callable[[], None], free_one: FreeOne) -> Loading:
        """Raises OSError."""


class Processes:
    """Each model is a process of its own, with a runtime of Kedge's."""

    frees_one = False
    """Most likely the kernel has ended it, and what else it then ends is anybody's guess: so there is one more try."""
    is_ready = True
    own_bytes = 0

    def __init__(self, spec: WorkerSpec, container: ContainerSpec) -> None:
        self._spec, self._container = spec, container

    def start(self) -> None:
        """Nothing runs before there is a model."""

    def stop(self) -> None:
        """Each process is a part of the place."""

    def parts(self) -> Sequence[Running]:
        return ()

    def load(self, wanted: Wanted, on_ready: Callable[[], None], free_one: FreeOne) -> Part:
        spec = part_spec(self._spec, self._container, wanted.folder)
        folder = str(Path(self._spec.models_dir, wanted.folder))
        spec = replace(spec, artifact_dir=folder, environment={**MULTI_MODEL, **spec.environment})
        return Part(spec, on_ready, lambda: None)
