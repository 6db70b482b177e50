"""The models of a multi-model container: each is loaded when it is first asked for, into what its loader has for it.

A model's folder is asked for by its name (`wants`) and appears in models_dir; see kedge/endpoints/supply.py. While it
is fetched and loaded, requests for it wait and all others go on. When memory is short the least recently used one that
is idle goes first.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import shutil
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from kedge.serving import frames, memory
from kedge.serving.loaders import LOAD_WITHIN_S, Loader, Loading, Wanted
from kedge.serving.memory import Loaded
from kedge.serving.meter import CACHE_HIT, DOWNLOADING, LOADING, LOADING_WAIT, UNLOADING
from kedge.serving.places import Passing, Place, Running
from kedge.serving.runtimes.base import Busy
from kedge.serving.streams import Failure
from kedge.serving.worker_setup import ContainerSpec, WorkerSpec

log = logging.getLogger(__name__)

MAX_LOADED = 256
MAX_COMING = 64
"""Models that are being fetched or loaded; requests for further ones are refused meanwhile."""
LOADS = 2
"""Models that are loaded at once; what they will take is only guessed before."""
SHARE_OF_MEMORY = 0.9
"""Of the instance's: the rest is for what requests need."""
LEAST_BYTES = 8 * 1024 * 1024
MARGIN_S = 0.25
"""So long before its time is over a request that waits for its model is told so, or a tenth of the time it has."""
_MOST_TOLD = 500
"""Samples that wait for the next answer, with which they go."""
LOOK_S = 5.0
"""How often it is looked whether what is loaded still fits."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.002, 0.05


class NotLoaded(Exception):
    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class _Wait(NamedTuple):
    timer: asyncio.TimerHandle | None
    since_s: float


class Model:
    """One model, from the first request for it until its process is gone."""

    def __init__(self, name: str, folder: str) -> None:
        self.name = name
        self.folder = folder
        self.part: Loading | None = None
        self.bytes = 0
        """A guess until it is loaded."""
        self.waiting: dict[Passing, _Wait] = {}
        self.at_it: set[Passing] = set()
        self.leaves_s = 0.0
        """When it was told to end."""

    @property
    def is_ready(self) -> bool:
        return self.part is not None and self.part.ready

    @property
    def is_idle(self) -> bool:
        return self.is_ready and not self.at_it and not self.waiting


class Models(Place):
    def __init__(
        self,
        at: int,
        spec: WorkerSpec,
        container: ContainerSpec,
        loader: Loader,
        tell: Callable[[], None],
        beside: Callable[[Place], int],
    ) -> None:
        """at: the container's place. tell: `wants` or `loaded` has changed. beside: bytes of other containers."""
        super().__init__(container.name)
        self._at, self._spec, self._container, self._loader = at, spec, container, loader
        self._tell, self._beside = tell, beside
        self._folder = Path(spec.models_dir)
        self._models: dict[str, Model] = {}
        """The least recently used first."""
        self._leaving: set[Model] = set()
        self._loads = asyncio.Semaphore(LOADS)
        self._room = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._looked_s = 0.0
        self._told: deque[frames.Told] = deque(maxlen=_MOST_TOLD)
        self._loop = asyncio.get_running_loop()

    @property
    def wants(self) -> dict[str, str]:
        return {each.folder: each.name for each in (*self._models.values(), *self._leaving)}

    @property
    def loaded(self) -> int:
        """How many models can answer."""
        return sum(each.is_ready for each in self._models.values())

    def submit(self, flow: Passing) -> None:
        model = self._models.pop(flow.target_model, None)
        if model is None:
            if sum(not each.is_ready for each in self._models.values()) >= MAX_COMING:
                flow.fail(Failure(Busy.status, f"{MAX_COMING} models are being loaded.", Busy.kind, self.name))
                return
            model = Model(flow.target_model, f"{self._at}-{secrets.token_hex(8)}")
            self._spawn(model)
        self._models[model.name] = model
        if model.is_ready:
            assert model.part is not None
            model.at_it.add(flow)
            flow.tell(CACHE_HIT, 1.0)
            flow.send_to(model.part)
        else:
            flow.tell(CACHE_HIT, 0.0)
            model.waiting[flow] = _Wait(self._timer(flow), self._loop.time())

    def forget(self, flow: Passing) -> None:
        model = self._models.get(flow.target_model)
        if model is not None and (wait := model.waiting.pop(flow, None)) is not None:
            self._stop_waiting(flow, wait)

    def left(self, flow: Passing, part: Running) -> None:
        model = self._models.get(flow.target_model)
        if model is None or model.part is not part:
            return
        model.at_it.discard(flow)
        if model.is_idle:
            if not self._container.keeps_models:
                self._unload(model)
            elif self._loop.time() - self._looked_s >= LOOK_S:
                self._trim()
        self._room.set()

    @property
    def is_ready(self) -> bool:
        return self._loader.is_ready

    def start(self) -> None:
        self._loader.start()

    def parts(self) -> list[Running]:
        held = [each.part for each in (*self._models.values(), *self._leaving) if each.part is not None]
        return [*self._loader.parts(), *held]

    def take_told(self) -> list[frames.Told]:
        """How long fetching, loading and unloading took since this was asked last."""
        told = list(self._told)
        self._told.clear()
        return told

    def _tell_time(self, name: str, since_s: float) -> None:
        self._told.append(("", name, (self._loop.time() - since_s) * 1e6))

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._loader.stop()
        for part in self.parts():
            part.stop()

    # Loading.

    def _spawn(self, model: Model) -> None:
        task = self._loop.create_task(self._load(model), name=f"load {model.name[:64]}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._loop.call_soon(self._tell)

    async def _load(self, model: Model) -> None:
        began_s = self._loop.time()
        try:
            await self._fetched(model)
            self._tell_time(DOWNLOADING, began_s)
            async with self._loads:
                while not await self._started(model, last=self._loop.time() - began_s > LOAD_WITHIN_S):
                    if self._loader.frees_one:
                        await self._find_room(model, began_s + LOAD_WITHIN_S)
                        continue
                    for each in self._idle():
                        self._unload(each)
                    await self._started(model, last=True)
                    break
        except NotLoaded as error:
            log.warning("model %s: %s", model.name, error.failure.message)
            self._drop(model, error.failure)
        except OSError as error:
            self._drop(model, Failure(500, f"Model {model.name} cannot be loaded: {error}.", "model", self.name))
        else:
            log.info("model %s is loaded after %.0f ms", model.name, (self._loop.time() - began_s) * 1000)
            self._trim()
            self._room.set()

    async def _fetched(self, model: Model) -> None:
        """Until the model's folder is there. Raises NotLoaded."""
        folder, error = self._folder / model.folder, self._folder / f"{model.folder}.error"
        pause_s = _FIRST_PAUSE_S
        while not folder.is_dir():
            if error.exists():
                said = json.loads(error.read_bytes())
                kind = "target" if said["missing"] else "model"
                raise NotLoaded(Failure(400 if said["missing"] else 500, said["message"], kind, self.name))
            await asyncio.sleep(pause_s)
            pause_s = min(_LONGEST_PAUSE_S, pause_s * 1.5)
        model.bytes = LEAST_BYTES + _size(folder)

    async def _started(self, model: Model, *, last: bool = False) -> bool:
        """Whether the model is loaded; False when it found no room or was not to be had, and another try is worth it.

        Raises NotLoaded, OSError.
        """
        await self._make_room(model)
        ready = asyncio.Event()
        began_s = self._loop.time()
        wanted = Wanted(model.name, model.folder)
        try:
            part = model.part = self._loader.load(wanted, ready.set, lambda: self._free_one(model))
        except OSError:
            if last or len(self._models) == 1:
                raise
            return False
        waiting = self._loop.create_task(ready.wait())
        either: list[asyncio.Future[Any]] = [waiting, part.gone]
        await asyncio.wait(either, timeout=LOAD_WITHIN_S, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if part.gone.done():
            model.part = None
            if part.wants_room and not last and len(self._models) > 1:
                return False
            raise NotLoaded(Failure(500, f"Model {model.name} cannot be loaded: {part.reason}", "model", self.name))
        if not ready.is_set():
            part.kill()
            await part.gone
            text = f"Model {model.name} was not loaded within {LOAD_WITHIN_S:.0f} s."
            raise NotLoaded(Failure(500, text, "model", self.name))
        part.gone.add_done_callback(lambda _: self._gone(model))
        self._tell_time(LOADING, began_s)
        self._tell()
        model.bytes = memory.bytes_of(part.pid) or part.memory_bytes or model.bytes
        flows, model.waiting = model.waiting, {}
        for flow, wait in flows.items():
            self._stop_waiting(flow, wait)
            model.at_it.add(flow)
            flow.send_to(part)
        return True

    async def _make_room(self, model: Model) -> None:
        while True:
            names = memory.to_unload(self._loaded(model), model.bytes, self._budget(), MAX_LOADED)
            if names is not None:
                break
            self._room.clear()
            await self._room.wait()
        for name in names:
            self._unload(self._models[name])
        while going := [each.part.gone for each in self._leaving if each.part is not None]:
            await asyncio.wait(going)

    def _idle(self) -> list[Model]:
        return [each for each in self._models.values() if each.is_idle]

    async def _find_room(self, model: Model, until_s: float) -> None:
        """One other model has gone, or may be idle now, or it is too late."""
        self._room.clear()
        if not await self._free_one(model):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(until_s):
                    await self._room.wait()

    async def _free_one(self, for_: Model) -> bool:
        """As loaders.FreeOne; for_: the model that the room is for."""
        gone = next((each for each in self._idle() if each is not for_), None)
        if gone is None:
            return False
        self._unload(gone)
        assert gone.part is not None
        await asyncio.wait([gone.part.gone])
        return True

    def _trim(self) -> None:
        """Unload what does not fit any more: models grow while they work."""
        self._looked_s = self._loop.time()
        for name in memory.to_unload(self._loaded(None), 0, self._budget(), MAX_LOADED + 1) or ():
            self._unload(self._models[name])

    def _loaded(self, coming: Model | None) -> list[Loaded]:
        found = []
        for each in self._models.values():
            if each is coming or each.part is None:
                continue
            if each.is_ready:
                each.bytes = memory.bytes_of(each.part.pid) or each.bytes
            found.append(Loaded(each.name, each.bytes, each.is_idle))
        return found

    def _budget(self) -> int:
        whole = self._spec.memory_bytes
        taken = self._beside(self) + self._loader.own_bytes
        return max(1, int(whole * SHARE_OF_MEMORY) - taken) if whole else 0

    # Ending.

    def _unload(self, model: Model) -> None:
        log.info("model %s is unloaded", model.name)
        model.leaves_s = self._loop.time()
        del self._models[model.name]
        self._leaving.add(model)
        assert model.part is not None
        model.part.stop()

    def _gone(self, model: Model) -> None:
        """The process of a model that was loaded has ended."""
        assert model.part is not None
        self._clear(model)
        if model in self._leaving:
            self._tell_time(UNLOADING, model.leaves_s)
        self._leaving.discard(model)
        if self._models.get(model.name) is model:
            log.warning("model %s: %s", model.name, model.part.reason)
            del self._models[model.name]
        waiting, model.waiting = model.waiting, {}
        for flow, wait in waiting.items():
            self._stop_waiting(flow, wait)
            self.submit(flow)
        self._room.set()
        self._tell()

    def _drop(self, model: Model, failure: Failure) -> None:
        """It is not to be had; the next request for it tries again."""
        if self._models.get(model.name) is model:
            del self._models[model.name]
        self._clear(model)
        waiting, model.waiting = model.waiting, {}
        for flow, wait in waiting.items():
            self._stop_waiting(flow, wait)
            flow.fail(failure)
        self._room.set()
        self._tell()

    def _clear(self, model: Model) -> None:
        shutil.rmtree(Path(self._spec.work_dir) / self._container.name / model.folder, ignore_errors=True)

    def _timer(self, flow: Passing) -> asyncio.TimerHandle | None:
        if flow.deadline_s is None:
            return None
        now_s = self._loop.time()
        margin_s = min(MARGIN_S, (flow.deadline_s - now_s) / 10)
        return self._loop.call_at(flow.deadline_s - margin_s, self._too_late, flow)

    def _stop_waiting(self, flow: Passing, wait: _Wait) -> None:
        if wait.timer is not None:
            wait.timer.cancel()
        flow.tell(LOADING_WAIT, (self._loop.time() - wait.since_s) * 1e6)

    def _too_late(self, flow: Passing) -> None:
        self.forget(flow)
        text = f"Model {flow.target_model} is not loaded yet; loading goes on. Try again."
        flow.fail(Failure(429, text, "loading", self.name))


def _size(folder: Path) -> int:
    return sum(os.lstat(Path(where, name)).st_size for where, _, names in os.walk(folder) for name in names)
