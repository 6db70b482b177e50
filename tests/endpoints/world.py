"""A small world for endpoint tests: a real store, real objects, an engine in memory and routers that always answer."""

from __future__ import annotations

import asyncio
import io
import tarfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kedge.call import Call
from kedge.clock import HandClock
from kedge.compute import instance_types
from kedge.compute.base import Capacity, TaskSpec, TaskState, TaskStatus
from kedge.config import Settings
from kedge.endpoints.controller import Controller
from kedge.endpoints.fleets import Kinds
from kedge.endpoints.operations import Machine, operations
from kedge.home import Home, RootKey
from kedge.identity.records import AccessKey, Caller
from kedge.loop import Signal
from kedge.models import operations as models
from kedge.objects.files import Objects
from kedge.serving.runtimes import images
from kedge.serving.table import RoutingTable
from kedge.store.lease import Lease
from kedge.store.store import Store
from kedge.tags import operations as tags
from tests.objects.putting import put_bytes

ACCOUNT, REGION = "111122223333", "us-east-1"
START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
GIB = 1024**3


class MemoryEngine:
    """An engine whose instances do what the test says: they stay STARTING until it moves them."""

    def __init__(self, capacity: Capacity) -> None:
        self.specs: dict[str, TaskSpec] = {}
        self.tasks: dict[str, TaskStatus] = {}
        self.starts: list[str] = []
        self.lingering = False
        """Whether stopped instances stay STOPPING until `end`."""
        self._capacity = capacity

    async def start(self, spec: TaskSpec) -> None:
        if spec.id in self.tasks:
            return
        self.starts.append(spec.id)
        self.specs[spec.id] = spec
        self.tasks[spec.id] = TaskStatus(
            spec.id, TaskState.STARTING, spec.digest(), f"/run/{spec.id}", labels=dict(spec.labels)
        )

    async def stop(self, task_id: str, *, at_once: bool = False) -> None:
        if self.lingering and not at_once and task_id in self.tasks:
            self.put(task_id, TaskState.STOPPING)
        else:
            self.tasks.pop(task_id, None)

    async def observe(self) -> Sequence[TaskStatus]:
        return list(self.tasks.values())

    async def changes(self) -> AsyncIterator[TaskStatus]:
        while True:
            await asyncio.Event().wait()
            yield next(iter(self.tasks.values()))

    async def log_tail(self, task_id: str, lines: int = 20) -> str:
        return ""

    def capacity(self) -> Capacity:
        return self._capacity

    def put(self, task_id: str, state: TaskState, reason: str = "") -> None:
        self.tasks[task_id] = replace(self.tasks[task_id], state=state, reason=reason)

    def put_all(self, before: TaskState, after: TaskState, reason: str = "") -> None:
        for task in list(self.tasks.values()):
            if task.state is before:
                self.put(task.id, after, reason)

    def end(self) -> None:
        for task in list(self.tasks.values()):
            if task.state is TaskState.STOPPING:
                del self.tasks[task.id]


class Routers:
    """The routers' side of a push: the tables that arrived."""

    def __init__(self) -> None:
        self.tables: list[RoutingTable] = []
        self.routers = 1

    async def publish(self, table: RoutingTable, /) -> None:
        if self.routers:
            self.tables.append(table)

    @property
    def table(self) -> RoutingTable:
        return self.tables[-1]


@dataclass
class World:
    store: Store
    objects: Objects
    engine: MemoryEngine
    routers: Routers
    clock: HandClock
    settings: Settings
    home: Home
    changed: Signal
    controller: Controller
    lease: Lease
    node: str = "one"
    requests: int = 0
    user_agent: str = "Boto3/1.44.5 md/Botocore#1.44.5 lang/python#3.11 m/Z,b"

    def call(self, region: str = REGION) -> Call:
        self.requests += 1
        caller = Caller(ACCOUNT, region, f"arn:aws:iam::{ACCOUNT}:root", ACCOUNT, "AKIATEST")
        return Call(
            caller,
            self.clock.now(),
            f"request-{self.requests}",
            self.user_agent,
            self.settings,
            self.store,
            self.objects,
            self.changed,
        )

    def do(self, operation: str, **request: Any) -> dict[str, Any]:
        """Calls an operation that does not wait."""
        return self.table()[f"sagemaker.{operation}"](self.call(), request)

    async def describe(self, name: str) -> dict[str, Any]:
        return await self.table()["sagemaker.DescribeEndpoint"](self.call(), {"EndpointName": name})

    def table(self) -> dict[str, Any]:
        kinds = Kinds(instance_types.find, images.choose, images.known_images())
        return {
            **operations(Machine(kinds, self.engine.capacity)),
            **models.OPERATIONS,
            **tags.OPERATIONS,
        }

    def restart_control(self) -> None:
        """What a kill of the control process leaves: the store with its lease, the engine, the routers."""
        self.lease, self.controller = _controller(self)

    def other_node(self, path: Path) -> World:
        """A second node with an engine and routers of its own, on the same store, objects and clock."""
        engine = MemoryEngine(self.engine.capacity())
        other = replace(self, node="two", home=_home(path), engine=engine, routers=Routers())
        other.restart_control()
        return other

    async def step(self, times: int = 1) -> None:
        for _ in range(times):
            await asyncio.to_thread(self.lease.hold)
            await self.controller.publisher.step()
            await self.controller.step()
            await self.controller.settle()

    async def settle(self) -> None:
        """Until there is nothing more to do without the engine or the caller."""
        for _ in range(20):
            before = self._state()
            await self.step()
            if self._state() == before:
                return
        raise AssertionError("the controller does not come to rest")

    async def bring_up(self) -> None:
        """Every instance that is wanted becomes ready."""
        await self.settle()
        self.engine.put_all(TaskState.STARTING, TaskState.READY)
        await self.settle()

    def _state(self) -> Any:
        kinds = ("endpoint", "inference-component")
        rows = [(r.name, r.version) for kind in kinds for r in self.store.list(None, kind).items]
        return rows, dict(self.engine.tasks), len(self.routers.tables)

    def put_model_data(self, key: str = "model.tar.gz", files: dict[str, bytes] | None = None) -> str:
        self.objects.create_bucket("models", ACCOUNT, REGION)
        put_bytes(self.objects, "models", key, packed(files or {"model.joblib": b"weights"}))
        return f"s3://models/{key}"

    def make_model(self, name: str = "m", uri: str | None = None, **container: Any) -> None:
        url = self.put_model_data() if uri is None else uri
        data = {"ModelDataUrl": url} if url else {}
        self.do("CreateModel", ModelName=name, PrimaryContainer={"Image": "kedge/sklearn", **data, **container})

    def make_config(self, name: str, *variants: dict[str, Any], **more: Any) -> None:
        self.do("CreateEndpointConfig", EndpointConfigName=name, ProductionVariants=list(variants), **more)

    def tasks_of(self, variant: str) -> list[TaskStatus]:
        return [task for task in self.engine.tasks.values() if task.labels["variant"] == variant]

    def route(self, name: str) -> Any:
        return self.routers.table.find(ACCOUNT, REGION, name)

    def close(self) -> None:
        self.store.close()
        self.objects.close()


def variant(name: str = "v", model: str = "m", count: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "VariantName": name,
        "ModelName": model,
        "InitialInstanceCount": count,
        "InstanceType": "ml.m5.large",
        **more,
    }


def packed(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def make(path: Path, capacity: Capacity = Capacity(64, 256 * GIB, 0)) -> World:
    clock = HandClock(START)
    home = _home(path)
    store = Store.open(home.database, durable=False)
    world = World(
        store=store,
        objects=Objects(home.objects, clock, durable=False),
        engine=MemoryEngine(capacity),
        routers=Routers(),
        clock=clock,
        settings=Settings(data_dir=path, ephemeral=True),
        home=home,
        changed=Signal(),
        controller=None,  # type: ignore[arg-type]
        lease=None,  # type: ignore[arg-type]
    )
    store.on_commit(world.changed.notify)
    world.restart_control()
    return world


def _home(path: Path) -> Home:
    run = path / "run"
    for folder in (run, path / "artifacts", path / "objects"):
        folder.mkdir(parents=True)
    return Home(path, run, ACCOUNT, REGION, RootKey("AKIATEST", "secret"), b"\1" * 32)


def _controller(world: World) -> tuple[Lease, Controller]:
    lease = Lease(world.store, "endpoints", world.node, world.clock)
    key = AccessKey("AKIATEST", "secret", ACCOUNT, f"arn:aws:iam::{ACCOUNT}:root", ACCOUNT)
    controller = Controller(
        world.store,
        world.engine,
        world.objects,
        world.routers,
        world.settings,
        world.home,
        world.clock,
        world.changed,
        lambda: [key],
        lease,
    )
    return lease, controller
