"""From a task's spec to a running instance: forked where that is possible, a fresh process elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kedge import core
from kedge.compute import commands, gpus, jobs, orders, output
from kedge.compute.base import Job, TaskSpec
from kedge.compute.cgroup import Groups
from kedge.compute.children import Children
from kedge.compute.commands import Command, CommandsRefused
from kedge.compute.compiled_name import compiled_file
from kedge.compute.environments import Environment, EnvironmentFailed, Environments, Needs
from kedge.compute.fork_client import CannotFork, ForkFailed, ForkServer
from kedge.compute.instance import Entry, Request
from kedge.compute.keeper import URI
from kedge.compute.keeper_client import Keeper, NoSandbox, Sandbox
from kedge.compute.linux import Capabilities
from kedge.compute.orders import Addresses, Bounds, Plan, Share
from kedge.compute.process_id import ProcessId
from kedge.compute.records import MODELS, OUTPUT, STATE, TEMPORARY, WORK
from kedge.compute.sandbox import Confinement
from kedge.compute.sidecars import NoContainer, Sidecar, Sidecars
from kedge.home import Home

HOME_MARK = "KEDGE_HOME_ID"
"""Every process of a data directory carries this variable; what carries it and stands in no record is ended."""
TASK_MARK = "KEDGE_TASK_ID"
IMAGE = "KEDGE_IMAGE"
"""Of a container's environment: the image that its model names. kedge.serving.runtimes reads it too."""
COMPILE = "KEDGE_COMPILE"
"""Of a model's environment: whether it is compiled. kedge.serving.compiled reads it."""
_FORK_TRIES = 3
_KEPT_VARIABLES = ("PATH", "LANG", "LANGUAGE", "TZ", "LD_LIBRARY_PATH", "VIRTUAL_ENV", core.VARIABLE)
_KEPT_PREFIXES = ("LC_", "PYTHON")
_ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "BLIS", "NUMEXPR", "VECLIB_MAXIMUM")}
_PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Read by OpenMP when it is loaded, which a fork server does for all of its instances."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Launched:
    process: ProcessId | None
    """None when it ended at once."""
    exit_status: int | None
    """Of one that ended at once, where the kernel told."""
    reports: int
    """Descriptor of the status pipe, to be closed by the caller."""
    gate: ProcessId | None = None
    """The first process of its sandbox."""
    lines: list[socket.socket] = field(default_factory=list)
    """What is to end with this process does so when these are closed; the caller's too."""
    sidecars: tuple[ProcessId, ...] = ()
    """The processes beside its containers."""


class LaunchFailed(Exception):
    """The machine could not start a process; the message says why."""


def home_id(home: Home) -> str:
    return home.run.name


def clean_environment(source: Mapping[str, str], home: Home) -> dict[str, str]:
    """What a process without any key needs from the operator's environment: where programs and modules are, and
    which core to run."""
    kept = {name: value for name, value in source.items() if name in _KEPT_VARIABLES or name.startswith(_KEPT_PREFIXES)}
    return {**kept, **_ONE_THREAD, **_PASSIVE, HOME_MARK: home_id(home)}


def instance_environment(source: Mapping[str, str], home: Home, task_id: str) -> dict[str, str]:
    """What an instance sees before the worker adds the model's own variables and the standard ones."""
    return {**clean_environment(source, home), **_own_environment(home, task_id)}


def worker_fields(home: Home, spec: TaskSpec, servers: Mapping[int, Mapping[str, Any]] | None = None) -> dict[str, Any]:
    """The fields of kedge.serving.worker.WorkerSpec. The model's own variables win, except over the marks.

    servers: further fields of those containers, by place, in which an own server answers.
    """
    folder = home.tasks / spec.id
    own = _own_environment(home, spec.id)
    compiled = compiled_file(home, spec)
    marks = {name: own[name] for name in (HOME_MARK, TASK_MARK)}
    return {
        "id": spec.id,
        "runtime": spec.runtime,
        "artifact_dir": str(home.artifacts / spec.artifact_sha256) if spec.artifact_sha256 else "",
        "environment": {**own, **spec.environment, **marks},
        "socket": str(home.instance_socket(spec.id)),
        "cores": spec.cores,
        "work_dir": str(folder / WORK),
        "state_file": str(folder / STATE),
        "labels": dict(spec.labels),
        **({"compiled": str(compiled)} if compiled else {}),
        **(_containers(home, spec, servers or {}) if spec.containers else {}),
    }


def _containers(home: Home, spec: TaskSpec, servers: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "memory_bytes": spec.memory_bytes,
        "containers": [
            {
                "name": each.name,
                "runtime": each.runtime,
                "artifact_dir": str(home.artifacts / each.artifact_sha256) if each.artifact_sha256 else "",
                "environment": dict(each.environment),
                "many_models": each.many_models,
                "keeps_models": each.keeps_models,
                **servers.get(at, {}),
            }
            for at, each in enumerate(spec.containers)
        ],
        "direct": spec.direct,
        **({"explainer": dict(spec.explainer)} if spec.explainer else {}),
        "models_dir": str(home.tasks / spec.id / MODELS) if spec.many_models else "",
    }


def _commanded(job: Job, command: Command | None) -> Job:
    """With the operator's words in the place of its image's. Raises LaunchFailed."""
    if command is None:
        raise LaunchFailed("KEDGE_IMAGES maps the job's image to no command any more")
    return replace(job, entrypoint=command.words)


def _needs(home: Home, spec: TaskSpec) -> Needs:
    """A pipeline's containers share one environment, with what each of them asks for."""
    folders = [home.artifacts / each / "code" for each in sorted(spec.artifacts)]
    if spec.job is not None and not spec.images:
        folders.append(jobs.ml_folder(home, spec.job) / jobs.CODE)
    runtimes = {spec.artifact_sha256: spec.runtime, **{each.artifact_sha256: each.runtime for each in spec.containers}}
    for sha256, runtime in sorted(runtimes.items()):
        if runtime == "mlflow" and sha256:
            # Its requirements lie beside MLmodel, in the root or in the one folder.
            found = [*(home.artifacts / sha256).glob("MLmodel"), *(home.artifacts / sha256).glob("*/MLmodel")]
            folders += [path.parent for path in found[:1]]
    variables = [spec.environment, *(each.environment for each in spec.containers)]
    images = [each[IMAGE] for each in variables if IMAGE in each]
    return Needs(images[0] if images else "", tuple(folders), spec.network_isolation)


def _own_environment(home: Home, task_id: str) -> dict[str, str]:
    work = str(home.tasks / task_id / WORK)
    return {"HOME": work, "TMPDIR": work, HOME_MARK: home_id(home), TASK_MARK: task_id}


@dataclass(frozen=True)
class Machine:
    """What this machine offers for instances, and what the operator wants of it."""

    capabilities: Capabilities
    groups: Groups | None
    network: str = orders.API_ONLY
    """One of orders.NETWORKS."""
    compile: str = ""
    """Whether models are compiled whose own environment does not say."""


class Launcher:
    """One for each supervisor.

    module: what an instance runs. fork_server: None where forking is not possible. images: the setting of that name.
    """

    def __init__(
        self,
        home: Home,
        children: Children,
        module: str,
        keeper: Keeper,
        fork_server: ForkServer | None,
        machine: Machine,
        environments: Environments,
        sidecars: Sidecars,
        *,
        images: str = "",
        tied: bool,
    ) -> None:
        self._home = home
        self._children = children
        self._module = module
        self._keeper = keeper
        self._fork_server = fork_server
        self._machine = machine
        self._environments = environments
        self._sidecars = sidecars
        self._images = images
        self._tied = tied
        self._addresses: asyncio.Future[Addresses] = asyncio.get_running_loop().create_future()
        self.beginning: set[ProcessId] = environments.working
        """Gates whose instance is being started, and what installs for one; they stand in no record yet."""

    def serve_at(self, addresses: Addresses) -> None:
        """Where the server is; nothing is launched before this is known."""
        self._addresses.set_result(addresses)

    async def launch(self, spec: TaskSpec, given: Sequence[int] = (), module: str = "") -> Launched:
        """given: indices of its GPUs. module: what it runs, if not what instances do.

        Raises LaunchFailed. Cancelling it leaves a process that no record claims; the caller has those ended."""
        addresses = await asyncio.shield(self._addresses)
        groups: list[str] = []
        with contextlib.ExitStack() as stack:
            try:
                self._prepare(spec)
                if self._machine.groups is not None:
                    groups = self._machine.groups.make(spec.id, spec.memory_bytes, orders.MAX_PROCESSES)
                read_end, write_end = os.pipe()
                stack.callback(os.close, write_end)
                reading = stack.enter_context(contextlib.ExitStack())
                reading.callback(os.close, read_end)
                log_file = output.open_for_append(self._home.tasks / spec.id / OUTPUT)
                stack.callback(os.close, log_file)
                log_path = self._home.tasks / spec.id / OUTPUT
                environment = await self._environments.prepare(_needs(self._home, spec), log_path)
                of_job = spec.job is not None and not spec.images and not spec.job.module
                mapped = commands.read(self._images) if spec.own_servers or of_job else {}
                found = {at: commands.find(mapped, each.environment.get(IMAGE, "")) for at, each in spec.own_servers}
                own = commands.find(mapped, spec.environment.get(IMAGE, "")) if of_job else None
                shown = [folder for command in (*found.values(), own) if command for folder in command.readable]
                if spec.job is not None and of_job and not spec.job.entrypoint:
                    spec = replace(spec, job=_commanded(spec.job, own))
                plan = orders.plan(
                    self._home,
                    spec,
                    self._bounds(groups),
                    addresses,
                    self._machine.network,
                    self._share(given),
                    tied=self._tied,
                    readable=[*(environment.readable if environment else ()), *shown],
                    free_ports=_free_ports(len(found)),
                )
                if plan.problem:
                    raise LaunchFailed(plan.problem)
                sandbox = await self._keeper.make(plan.order)
                stack.callback(sandbox.close_namespaces)
                closing = stack.enter_context(contextlib.ExitStack())
                closing.callback(sandbox.close)
                if sandbox.gate is not None:
                    self.beginning.add(sandbox.gate)
                    stack.callback(self.beginning.discard, sandbox.gate)
                servers: dict[int, dict[str, Any]] = {
                    at: {"command": command.words if command else (), "port": port}
                    for (at, command), port in zip(found.items(), plan.ports, strict=True)
                }
                beside: list[Sidecar] = []
                closing.callback(_close, beside)
                for at, _ in spec.images:
                    beside.append(await self._sidecars.start(spec, at, given, addresses, log_file))
                    self.beginning.add(beside[-1].process)
                    stack.callback(self.beginning.discard, beside[-1].process)
                    servers[at] = {"door": str(Path(plan.socket).with_name(self._sidecars.door(spec, at)))}
                request = self._request(spec, plan, sandbox, environment, servers)
                if module:
                    request = replace(request, module=module)
                pid = await self._start(request, environment, sandbox, groups, write_end, log_file)
            except (OSError, ForkFailed, NoSandbox, NoContainer, EnvironmentFailed, CommandsRefused) as error:
                raise LaunchFailed(str(error).removesuffix(".")) from error
            process = self._children.claim(pid)
            lines = []
            if process is not None:
                sandbox.tell(process)
                for each in beside:
                    each.tell(process, keep=self._tied)
                if self._tied:
                    lines = [line for line in (sandbox.line, *(each.line for each in beside)) if line is not None]
                    closing.pop_all()
            os.set_blocking(read_end, False)
            reading.pop_all()
            status = None if process else self._children.exit_status(pid)
            return Launched(process, status, read_end, sandbox.gate, lines, tuple(each.process for each in beside))

    def out_of_memory(self, task_id: str) -> bool:
        return self._machine.groups is not None and self._machine.groups.killed(task_id)

    def end_rest(self, task_id: str) -> None:
        """Kill what an instance that has ended left behind, where that can be known."""
        if self._machine.groups is not None:
            self._machine.groups.kill(task_id)

    def clean(self, spec: TaskSpec) -> None:
        """What lies outside the task's folder, and what was private to the process that has ended."""
        task_id = spec.id
        self._sidecars.remove(spec)
        if self._machine.groups is not None:
            self._machine.groups.remove(task_id)
        folder = self._home.tasks / task_id
        for private in (self._home.instance_socket(task_id).parent, folder / WORK, folder / TEMPORARY):
            shutil.rmtree(private, ignore_errors=True)

    def _prepare(self, spec: TaskSpec) -> None:
        folder = self._home.tasks / spec.id
        if self._machine.groups is not None:
            self._machine.groups.remove(spec.id)  # a new group: its count of ends for lack of memory begins at none
        for place in orders.places(self._home, spec):
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / STATE).unlink(missing_ok=True)
        # What the process before this one had asked for, none of which the new one knows.
        shutil.rmtree(folder / MODELS, ignore_errors=True)
        if spec.many_models:
            (folder / MODELS).mkdir(mode=0o700, exist_ok=True)
        self._home.instance_socket(spec.id).unlink(missing_ok=True)
        if (compiled := compiled_file(self._home, spec)) is not None:
            compiled.parent.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _share(self, given: Sequence[int]) -> Share:
        """What the sandbox shows of these GPUs."""
        known = gpus.found() if given else []
        return Share(gpus.visible(given, known), gpus.devices(given, known), gpus.system_paths(given))

    def _bounds(self, groups: Sequence[str]) -> Bounds:
        found = self._machine.groups
        layers = self._machine.capabilities.as_dict()
        # Without it nobody could be told when the instance ends.
        layers["pid_namespace"] = layers["pid_namespace"] and layers["pidfd"]
        return Bounds(
            layers,
            os.getuid(),
            groups,
            counts_processes=found is not None and "pids" in found.folders,
        )

    def _request(
        self,
        spec: TaskSpec,
        plan: Plan,
        sandbox: Sandbox,
        environment: Environment | None,
        servers: Mapping[int, Mapping[str, Any]],
    ) -> Request:
        worker = worker_fields(self._home, spec, servers)
        worker["socket"] = plan.socket
        server = {COMPILE: self._machine.compile} if self._machine.compile else {}
        own = worker["environment"]
        worker["environment"] = {**server, **plan.environment, **sandbox.environment, **own, **plan.marks}
        if spec.job is not None:
            door = servers[0]["door"] if spec.images else ""
            viewed = plan.order.view is not None
            worker = jobs.worker_fields(self._home, spec, spec.job, worker["environment"], door=door, viewed=viewed)
            worker["socket"] = plan.socket
        return Request(
            module=self._module if spec.job is None else jobs.MODULE,
            worker=worker,
            environment={
                **instance_environment(os.environ, self._home, spec.id),
                **(environment.variables if environment else {}),
            },
            work_dir=str(self._home.tasks / spec.id / WORK),
            confinement=asdict(_with_port_of_credentials(plan.confinement, sandbox)),
        )

    async def _start(
        self,
        request: Request,
        environment: Environment | None,
        sandbox: Sandbox,
        groups: Sequence[str],
        status: int,
        log_file: int,
    ) -> int:
        entered = [name for name, _ in sandbox.namespaces]
        alone = self._tied and "pid" not in entered
        entry = Entry(entered, groups, os.getpid() if alone else 0)
        descriptors = [descriptor for _, descriptor in sandbox.namespaces]
        with _file_of(request.as_dict()) as request_file:
            for attempt in range(_FORK_TRIES):
                if self._fork_server is None or environment is not None:
                    break
                try:
                    return await self._fork_server.fork(entry, [status, log_file, request_file, *descriptors])
                except CannotFork:
                    self._fork_server = None
                except ForkFailed as error:
                    if attempt == _FORK_TRIES - 1:
                        raise
                    log.warning("fork of %s failed, trying again: %s", request.worker["id"], error)
            # An environment's packages run nothing before the sandbox is there: -S, and `instance` turns site on.
            python = [environment.python, "-P", "-S"] if environment else [sys.executable, "-P"]
            return self._fresh(python, request, entry, descriptors, request_file, status, log_file)

    def _fresh(
        self,
        python: Sequence[str],
        request: Request,
        entry: Entry,
        descriptors: Sequence[int],
        request_file: int,
        status: int,
        log_file: int,
    ) -> int:
        command = [
            *(*python, "-m", "kedge.compute.instance", "--entry", json.dumps(entry.as_dict())),
            *("--request-fd", str(request_file), "--status-fd", str(status)),
            *(word for each in descriptors for word in ("--namespace-fd", str(each))),
        ]
        lent = [request_file, status, *descriptors]
        return self._children.spawn(command, request.environment, output=log_file, descriptors=lent).pid


def _with_port_of_credentials(confinement: Confinement, sandbox: Sandbox) -> Confinement:
    port = urlsplit(sandbox.environment.get(URI, "")).port
    if confinement.connect_to is None or port is None:
        return confinement
    return replace(confinement, connect_to=[*confinement.connect_to, port])


@contextlib.contextmanager
def _file_of(fields: Mapping[str, Any]) -> Iterator[int]:
    """A descriptor of a file without a name that holds them as JSON; in memory, where the system can."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("request", os.MFD_CLOEXEC)
    else:
        descriptor, name = tempfile.mkstemp()
        os.unlink(name)
    try:
        os.write(descriptor, json.dumps(fields).encode())
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)


def _close(sidecars: Sequence[Sidecar]) -> None:
    for each in sidecars:
        each.close()


def _free_ports(count: int) -> list[int]:
    """Of this machine; somebody else may take one before it is used, which the instance then says."""
    socks = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [sock.getsockname()[1] for sock in socks]
    for sock in socks:
        sock.close()
    return ports
