"""The containers of an instance, as a request meets them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from kedge.compute import restart
from kedge.serving.asking import Streaming, Waiting
from kedge.serving.runtimes.base import LoadError
from kedge.serving.streams import Failure
from kedge.serving.worker_setup import ContainerSpec, WorkerSpec

log = logging.getLogger(__name__)


class Passing(Protocol):
    """A request that is at a container."""

    @property
    def target_model(self) -> str: ...

    @property
    def deadline_s(self) -> float | None:
        """On the loop's clock."""

    def send_to(self, part: Running) -> None: ...

    def fail(self, failure: Failure) -> None: ...

    def tell(self, name: str, value: float) -> None:
        """A sample of it, under the name of a metric."""


class Running(Protocol):
    """A process, or a server beside this one, that runs a container. Started when it is made; `gone` when it ended."""

    ready: bool
    stopping: bool
    reason: str
    told_failure: bool
    gone: asyncio.Future[None]

    @property
    def pid(self) -> int: ...

    @property
    def grace_s(self) -> float:
        """How long `stop` may take."""

    def send(
        self, waiting: Waiting, head: bytes, body: bytes, limit_bytes: int, streaming: Streaming | None = None
    ) -> int: ...

    def credit(self, stream: int, count: int) -> None: ...

    def cancel(self, stream: int) -> None: ...

    def stop(self) -> None: ...

    def kill(self) -> None: ...

    def reap(self) -> None: ...


Begin = Callable[[Callable[[], None]], Running]
"""Starts it; the argument is called once it is ready. Raises OSError, and LoadError when no other try would help."""


class Place:
    """A container as a request meets it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def submit(self, flow: Passing) -> None:
        """Send it, now or when it can be."""
        raise NotImplementedError

    def forget(self, flow: Passing) -> None:
        """It waits no more."""
        raise NotImplementedError

    @property
    def is_ready(self) -> bool:
        """Whether the instance may take requests for it."""
        raise NotImplementedError

    def start(self) -> None:
        """Begin what `is_ready` waits for."""
        raise NotImplementedError

    def left(self, flow: Passing, part: Running) -> None:
        """The part has done with it, one way or the other."""

    def parts(self) -> Sequence[Running]:
        """Its processes, those that are ending included."""
        raise NotImplementedError

    def stop(self) -> None:
        """End them all, and start none any more."""
        raise NotImplementedError


class Single(Place):
    """A container with one model: one process, which is brought back when it dies."""

    def __init__(
        self,
        name: str,
        begin: Begin,
        started: Callable[[], None],
        failed: Callable[[str, bool], None],
        *,
        again: bool = True,
    ) -> None:
        """failed: why, and whether another try would end in the same. again: False for one that the whole instance
        lives and dies with."""
        super().__init__(name)
        self._begin = begin
        self._started, self._failed = started, failed
        self._may_try_again = again
        self._waiting: dict[Passing, None] = {}
        self._ends = 0
        self._ready_s = 0.0
        self._was_ready = False
        self._loop = asyncio.get_running_loop()
        self.part: Running | None = None
        self._stopping = False

    @property
    def is_ready(self) -> bool:
        return self.part is not None and self.part.ready

    def start(self) -> None:
        if self._stopping:
            return
        try:
            self.part = self._begin(self._ready)
        except LoadError as error:
            self.part = None
            self._failed(f"Container {self.name}: {error}", True)
        except OSError as error:
            self.part = None
            self._again(f"The process could not be started: {error.strerror}.", told_failure=False)
        else:
            part = self.part
            part.gone.add_done_callback(lambda _: self._gone(part))

    def submit(self, flow: Passing) -> None:
        if self.part is not None and self.part.ready:
            flow.send_to(self.part)
        else:
            self._waiting[flow] = None

    def forget(self, flow: Passing) -> None:
        self._waiting.pop(flow, None)

    def parts(self) -> Sequence[Running]:
        return [self.part] if self.part is not None else []

    def stop(self) -> None:
        self._stopping = True
        if self.part is not None:
            self.part.stop()

    def _ready(self) -> None:
        assert self.part is not None
        self._ready_s, self._was_ready = self._loop.time(), True
        self._started()
        waiting, self._waiting = list(self._waiting), {}
        for flow in waiting:
            self.submit(flow)

    def _gone(self, part: Running) -> None:
        lived_s = self._loop.time() - self._ready_s if self._ready_s else 0.0
        self._ends = restart.failures_after(self._ends, lived_s)
        self._ready_s = 0.0
        if not self._stopping:
            self._again(part.reason, told_failure=part.told_failure)

    def _again(self, reason: str, *, told_failure: bool) -> None:
        log.warning("container %s: %s", self.name, reason)
        if not self._may_try_again:
            self._failed(f"Container {self.name}: {reason}", told_failure)
            return
        step = restart.next_step(
            ever_ready=self._was_ready, failures=self._ends, told_failure=told_failure, timed_out=False
        )
        if isinstance(step, restart.GiveUp):
            self._failed(f"Container {self.name}: {reason}", True)
        else:
            self._loop.call_later(step.after_s, self.start)


def part_spec(spec: WorkerSpec, container: ContainerSpec, below: str = "") -> WorkerSpec:
    """What the process of a container is told. Its variables go before the standard ones; its folder is its own.

    below: names the process and its folder, where the container has several.
    """
    folder = str(Path(spec.work_dir) / container.name / below)
    own = {"HOME": folder, "TMPDIR": folder}
    marks = {name: value for name, value in spec.environment.items() if name not in own}
    return replace(
        spec,
        id="/".join(each for each in (spec.id, container.name, below) if each),
        runtime=container.runtime,
        artifact_dir=container.artifact_dir,
        socket="",
        state_file="",
        work_dir=folder,
        environment={**own, **container.environment, **marks},
        containers=(),
        models_dir="",
    )
