"""Brings the models that multi-model instances ask for into their folders, and takes away what they let go.

    TASK/models/NAME/        a model that TaskStatus.wants names, unpacked; appears whole
    TASK/models/NAME/model/  the same where the container's own server is to load it
    TASK/models/NAME.error   why there is none: {"missing": BOOL, "message": TEXT}

What an instance wants is a level, not a message: it is compared with what lies there, so that a control process that
was killed in between goes on where it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
import shutil
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from kedge.compute.base import MODEL, TaskState, TaskStatus
from kedge.compute.records import MODELS
from kedge.endpoints.deployment import UID
from kedge.endpoints.records import KIND, Container, Endpoint, Variant
from kedge.errors import ServiceError
from kedge.home import Home
from kedge.models.artifact import ArtifactError, Fetching, NotThere, link_tree, location
from kedge.models.records import Source
from kedge.store.records import Scope
from kedge.store.store import Store

DOWNLOADS = 4
"""Models that are fetched at once; others wait their turn."""
DOWNLOAD_TIMEOUT_S = 3600.0
MAX_REMEMBERED = 10_000
RETRY_S = 1.0
ERROR = ".error"
_TEMPORARY = ".tmp-"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Due:
    fetch: tuple[str, ...]
    remove: tuple[str, ...]


def due(wants: Collection[str], there: Collection[str]) -> Due:
    """What is to be done with a folder. there: the names in it. PURE."""
    kept = {name for want in wants for name in (want, f"{want}{ERROR}")}
    missing = [want for want in wants if want not in there and f"{want}{ERROR}" not in there]
    return Due(tuple(missing), tuple(sorted(name for name in there if name not in kept)))


class Supply:
    def __init__(self, store: Store, home: Home, fetching: Callable[[str], Fetching]) -> None:
        """fetching: for the models of an account."""
        self._store, self._home, self._fetching = store, home, fetching
        self._threads = ThreadPoolExecutor(DOWNLOADS, thread_name_prefix="models")
        self._heard: dict[str, TaskStatus] = {}
        self._levelling: dict[str, asyncio.Task[None]] = {}
        self._fetches: dict[tuple[str, str], asyncio.Task[None]] = {}
        """By (task, name of the folder)."""
        self._filling: set[str] = set()
        """Temporary names that are in use; others were left by a crash."""
        self._open = asyncio.Event()
        self._open.set()
        self._known: dict[tuple[str, tuple[Source, ...], tuple[str, ...]], str] = {}
        """What was fetched before, so that unchanged objects are not read again: (account, sources, ETags) -> hash."""

    def heard(self, status: TaskStatus) -> None:
        """A task's newest status."""
        if status.state is TaskState.STOPPED:
            self._heard.pop(status.id, None)
            return
        before = self._heard.get(status.id)
        if not status.wants and (before is None or not before.wants):
            return
        self._heard[status.id] = status
        if status.id not in self._levelling:
            self._levelling[status.id] = asyncio.create_task(self._level(status.id), name=f"models of {status.id}")

    @contextlib.contextmanager
    def at_rest(self) -> Iterator[bool]:
        """Whether nothing is being fetched; if so, nothing will be as long as the block lasts."""
        if self._fetches:
            yield False
            return
        self._open.clear()
        try:
            yield True
        finally:
            self._open.set()

    async def settle(self) -> None:
        """Wait for what is under way."""
        while tasks := [*self._levelling.values(), *self._fetches.values()]:
            await asyncio.gather(*tasks)

    async def close(self) -> None:
        tasks = [*self._levelling.values(), *self._fetches.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(self._threads.shutdown, wait=True, cancel_futures=True)

    async def _level(self, task_id: str) -> None:
        """Until the folder is as the last status wants it, or what is missing is being fetched."""
        done: TaskStatus | None = None
        try:
            while (status := self._heard.get(task_id)) is not None and status is not done:
                folder = self._folder(task_id)
                there = await asyncio.to_thread(_names, folder)
                step = due(status.wants, there)
                for name in step.fetch:
                    if (task_id, name) not in self._fetches:
                        self._begin(status, name, status.wants[name])
                gone = [name for name in step.remove if name not in self._filling]
                await asyncio.to_thread(_remove, [folder / name for name in gone])
                done = status
        finally:
            del self._levelling[task_id]

    def _begin(self, status: TaskStatus, name: str, model: str) -> None:
        key = (status.id, name)
        fetch = asyncio.create_task(self._fetch(status, name, model), name=f"model {model[:64]} of {status.id}")
        self._fetches[key] = fetch
        fetch.add_done_callback(lambda _: self._fetches.pop(key))

    async def _fetch(self, status: TaskStatus, name: str, model: str) -> None:
        await self._open.wait()
        while (now := self._heard.get(status.id)) is not None and name in now.wants:
            try:
                await asyncio.get_running_loop().run_in_executor(self._threads, self._bring, status, name, model)
            except (ServiceError, OSError) as error:
                log.warning("model %s of %s: %s; next try in %g s", model[:64], status.id, error, RETRY_S)
                await asyncio.sleep(RETRY_S)
            else:
                return

    def _bring(self, status: TaskStatus, name: str, model: str) -> None:
        """Blocks. Raises ServiceError or OSError where another try may help."""
        folder = self._folder(status.id)
        if not folder.is_dir():
            return  # the task has gone
        temporary = folder / f"{_TEMPORARY}{secrets.token_hex(8)}"
        self._filling.add(temporary.name)
        try:
            try:
                found = self._found(status, name)
                if found is None:
                    return
                variant, container = found
                source = self._artifact(status.labels["account"], variant, container, model)
                if container.is_own_server:
                    temporary.mkdir(mode=0o755)
                link_tree(source, temporary / MODEL if container.is_own_server else temporary)
            except ArtifactError as error:
                log.warning("model %s of %s: %s", model[:64], status.id, error)
                said = {"missing": isinstance(error, NotThere), "message": str(error)}
                temporary.write_text(json.dumps(said))
                temporary.rename(folder / f"{name}{ERROR}")
            else:
                temporary.rename(folder / name)
        finally:
            self._filling.discard(temporary.name)
            _remove([temporary])

    def _found(self, status: TaskStatus, name: str) -> tuple[Variant, Container] | None:
        """Whose model it is, from the endpoint's record; None when the record does not know the task any more."""
        labels = status.labels
        resource = self._store.get(Scope(labels["account"], labels["region"]), KIND, labels["endpoint"].lower())
        if resource is None or resource.document["uid"] != labels[UID]:
            return None
        fleet = Endpoint.of(resource.document).fleet(int(labels["fleet"]))
        variant = fleet.variant(labels["variant"]) if fleet else None
        place = name.partition("-")[0]
        if variant is None or not place.isdecimal() or int(place) >= len(variant.containers):
            return None
        container = variant.containers[int(place)]
        return (variant, container) if container.models else None

    def _artifact(self, account: str, variant: Variant, container: Container, model: str) -> Path:
        """The unpacked model in the cache. Raises ArtifactError."""
        uri = f"{container.models}{model}"
        sources = (Source(uri), *container.of_each_model)
        fetching = self._fetching(account)
        try:
            etags = fetching.etags(sources[:1])
        except NotThere:
            bucket, path = location(uri)
            raise NotThere(
                f"Failed to download model data(bucket: {bucket}, key: {path}). Please ensure that there is an object "
                "located at the URL and that the role passed to CreateModel has permissions to download the model."
            ) from None
        key = (account, sources, etags + fetching.etags(sources[1:]))
        if known := self._known.get(key):
            path_known = self._home.artifacts / known
            if path_known.is_dir():
                return path_known
        fetched = fetching.fetch(sources, variant.download_timeout_s or DOWNLOAD_TIMEOUT_S)
        while len(self._known) >= MAX_REMEMBERED:
            with contextlib.suppress(KeyError, StopIteration):
                del self._known[next(iter(self._known))]
        self._known[key] = fetched.sha256
        return fetched.path

    def _folder(self, task_id: str) -> Path:
        return self._home.tasks / task_id / MODELS


def _names(folder: Path) -> list[str]:
    with contextlib.suppress(FileNotFoundError):
        return [entry.name for entry in folder.iterdir()]
    return []


def _remove(paths: Collection[Path]) -> None:
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()
