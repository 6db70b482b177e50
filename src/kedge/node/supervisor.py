"""The supervisor: opens the ports, keeps every role alive, runs the tasks.

Its life is `Supervisor.run`: take up what an earlier one left, start what is missing, wait for the end, end all.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import kedge
from kedge import core, tls
from kedge.clock import SystemClock
from kedge.compute import cgroup, containers, gpus, held_pipe, output, watchdog
from kedge.compute.children import Children
from kedge.compute.compilations import Compilations
from kedge.compute.environments import Environments
from kedge.compute.fork_client import ForkServer
from kedge.compute.helper import Helper
from kedge.compute.keeper_client import Keeper
from kedge.compute.launcher import HOME_MARK, TASK_MARK, Launcher, Machine, clean_environment, home_id
from kedge.compute.linux import Capabilities
from kedge.compute.orders import Addresses
from kedge.compute.process_id import ProcessId
from kedge.compute.records import RoleRecord, RunRecord, read_run, write_run
from kedge.compute.sidecars import Sidecars
from kedge.compute.stopped import Stopped
from kedge.compute.tasks import Tasks
from kedge.compute.usage import Sampler
from kedge.config import Settings
from kedge.home import Home
from kedge.node import health, ports, strays
from kedge.node.adoption import CAPTURE, FORK_SERVER, KEEPER, LATER, Adoption
from kedge.node.programs import Programs
from kedge.node.roles import GRACE_S, Role, end
from kedge.node.server import Server

READY_WITHIN_S = 30.0
HELPERS_AFTER_S = 0.2
"""The fork server's imports take a core for more than a second. Where no instance waits control gets a head start."""
EARLY_ENDS = 3
"""A role that ended so often before the server was ready will not come up."""
_KILLED_WITHIN_S = 2.0
_CHECK_PERIOD_S = 1.0
_LOG_LINES = 20
_NOT_FOR_ROLES = (HOME_MARK, TASK_MARK, held_pipe.VARIABLE, "KEDGE_ROOT_ACCESS_KEY", "KEDGE_ROOT_SECRET_KEY")

log = logging.getLogger(__name__)


class NotReady(Exception):
    """The server does not come up; the message is for whoever started it."""


@dataclass(frozen=True)
class Ready:
    """The server answers on both ports."""

    api_url: str
    inference_url: str
    ca_bundle: str
    notes: list[str] = field(default_factory=list)
    """Sentences about what is not as it was asked for."""


class Supervisor:
    """One in a process, built inside its loop. It lives in home, whatever settings.data_dir says."""

    def __init__(
        self, settings: Settings, home: Home, me: ProcessId, capabilities: Capabilities, programs: Programs
    ) -> None:
        self._settings = replace(settings, data_dir=home.path)
        self._home = home
        self._me = me
        self._capabilities = capabilities
        self._programs = programs
        self._ends = asyncio.Event()
        self._hurry = asyncio.Event()
        self._roles: list[Role] = []
        self._sockets: dict[str, socket.socket] = {}
        self._run: RunRecord | None = None
        self._children = Children(capabilities, tied=settings.ephemeral)
        self._groups = cgroup.find(home_id(home), may_move=True) if capabilities.control_groups else None
        self._keeper = Keeper(self._helper(KEEPER, [*programs.keeper, "--folder", str(home.views)]))
        self._fork_server = self._make_fork_server() if capabilities.fork_server else None
        self._launcher = Launcher(
            home,
            self._children,
            programs.worker,
            self._keeper,
            self._fork_server,
            Machine(capabilities, self._groups, settings.instance_network, settings.compile),
            Environments(home, self._children, settings, {HOME_MARK: home_id(home)}),
            Sidecars(
                home,
                self._children,
                {HOME_MARK: home_id(home)},
                containers.find(settings.container_engine),
                settings.instance_network,
                pull=settings.pull_images,
                tied=settings.ephemeral,
            ),
            images=settings.images,
            tied=settings.ephemeral,
        )
        self._compilations = Compilations(home, self._launcher, self._children, programs.compiler)
        self._tasks = Tasks(home, self._launcher, self._children, self._compilations, gpus.count(settings.gpus))
        self._sampler = Sampler(partial(self._tasks.usage, self._groups), home.path, SystemClock())
        self._adoption = Adoption(read_run(home.run_file))
        self._stopped = Stopped()

    async def run(self, ready: Callable[[Ready], None]) -> None:
        """Until SIGTERM, SIGINT or SIGHUP; a second one hurries the end. Calls `ready` once both ports answer.

        Raises NotReady, PortError or TlsError when it does not come to that.
        """
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                asyncio.get_running_loop().add_signal_handler(number, self._on_signal)
        server = Server(
            self._home.supervisor_socket,
            self._tasks,
            self._hello,
            self.status,
            self._sampler,
            ephemeral=self._settings.ephemeral,
        )
        try:
            found = await self._start()
            await self._until_ready(found)
            if not self._ends.is_set():
                self._begin_helpers()
                for role in self._roles:
                    role.settle()
                ready(found)
            await self._until_end()
        finally:
            if self._run is not None:
                await self._end_all()
            await server.close()
            for sock in self._sockets.values():
                sock.close()
            self._children.close()
            _remove_empty_run_folder(self._home)

    def status(self) -> dict[str, Any]:
        """What `kedge status --json` adds to what the files say."""
        me = {"role": "supervisor", "task": "supervisor", "pid": self._me.pid, "state": "running", "restarts": 0}
        return {
            "roles": [me, *(role.as_dict() for role in self._roles)],
            "instances": [asdict(each) for each in self._tasks.observe()],
            "capabilities": {
                **self._capabilities.as_dict(),
                "memory_limit": f"cgroup{self._groups.version}" if self._groups else "watchdog",
            },
            "sandbox": {"missing": self._capabilities.missing_layers(), "network": self._settings.instance_network},
            "gpus": gpus.count(self._settings.gpus),
            "zones": self._settings.zones.split(","),
            "core": core.found().name,
        }

    async def _start(self) -> Ready:
        """Everything that is to run has been started, or was found running, when this returns."""
        self._compilations.collect()
        claimed = self._tasks.read()
        await self._adoption.wait()
        reported = self._adoption.reported
        stuck = [record.process for record in self._adoption.stuck()]
        for process in stuck:
            process.signal(signal.SIGKILL)
        strange = strays.kill_unclaimed(home_id(self._home), [*claimed, *(each.process for each in reported.values())])
        await _all_ended([*stuck, *strange])
        files = tls.prepare(self._settings, self._home)
        if files is not None:
            self._settings = replace(self._settings, tls=True, tls_cert=str(files.certificate), tls_key=str(files.key))
        notes = self._open_ports()
        self._run = RunRecord(
            supervisor=self._me,
            api_url=ports.url(self._sockets["control"], tls=self._settings.tls),
            inference_url=ports.url(self._sockets["router"], tls=self._settings.tls),
            ephemeral=self._settings.ephemeral,
            auth_required=self._settings.auth_required,
            ca_bundle=str(files.authority or "") if files is not None else "",
            roles=tuple(reported.values()),
        )
        write_run(self._home.run_file, self._run)
        if self._groups is not None and not claimed:
            self._groups.clear()
        await self._begin_roles(reported)
        self._launcher.serve_at(self._addresses(files))
        self._tasks.begin()
        notes += _about_sandbox(self._capabilities)
        notes += ports.warnings(self._sockets["control"].getsockname()[0], tls=self._settings.tls)
        return Ready(self._run.api_url, self._run.inference_url, self._run.ca_bundle, notes)

    def _open_ports(self) -> list[str]:
        """Sentences about ports that stay other than they were asked for. Raises PortError."""
        notes = []
        wanted = (
            ("control", "api_port", "--api-port"),
            ("router", "inference_port", "--inference-port"),
        )
        try:
            for role, setting, flag in wanted:
                port: int = getattr(self._settings, setting)
                sock = self._adoption.socket(role)
                if sock is None:
                    sock = ports.listen(self._settings.host, port, flag)
                elif port not in (0, kept := sock.getsockname()[1]):
                    notes.append(f"What runs already keeps port {kept}; to have {port}, `kedge down` first.")
                self._sockets[role] = sock
        finally:
            self._adoption.close()
        return notes

    async def _begin_roles(self, reported: dict[str, RoleRecord]) -> None:
        """A role with other settings, or of another release, gives way to a new one on the same socket."""
        digest = self._settings_hash()
        self._roles = [self._role("control", "control", digest)]
        self._roles += [self._role("router", f"router-{n}", digest, n) for n in range(self._settings.routers)]
        self._roles.append(self._role(CAPTURE, CAPTURE, digest))
        helpers = {KEEPER: self._keeper.spawn}
        if self._fork_server is not None:
            helpers[FORK_SERVER] = self._fork_server.spawn
        for name, spawn in helpers.items():
            self._roles.append(Role(name, name, digest, spawn, self._children, self._write_run))
        kept = {task: each for task, each in reported.items() if each.settings_hash == digest}
        leaving = {task: each for task, each in reported.items() if task not in kept}
        for role in self._roles:
            if role.task in kept:
                role.begin(kept.pop(role.task).process)
            elif role.task not in leaving and (role.role not in LATER or self._tasks.observe()):
                role.begin()
        # One after the other, so that of several routers there is always one.
        for role in self._roles:
            if role.task in leaving:
                await end(leaving.pop(role.task).process, self._children, GRACE_S)
                role.begin()
        for record in [*kept.values(), *leaving.values()]:
            await end(record.process, self._children, GRACE_S)

    def _role(self, role: str, task: str, digest: str, number: int | None = None) -> Role:
        programs = {"control": self._programs.control, "router": self._programs.router, CAPTURE: self._programs.capture}
        sock = self._sockets.get(role)
        inherited = [sock.fileno()] if sock is not None else []
        command = [*programs[role]]
        if sock is not None:
            command += ["--listen", str(sock.fileno())]
        if number is not None:
            command += ["--number", str(number)]
        environment = {
            **{name: value for name, value in os.environ.items() if name not in _NOT_FOR_ROLES},
            **self._role_settings().as_environment(),
            HOME_MARK: home_id(self._home),
            TASK_MARK: task,
        }
        log_file = self._home.logs / f"{task}.log"

        def spawn() -> ProcessId:
            file = output.open_for_append(log_file)
            try:
                return self._children.spawn(command, environment, output=file, descriptors=inherited)
            finally:
                os.close(file)

        return Role(role, task, digest, spawn, self._children, self._write_run)

    def _make_fork_server(self) -> ForkServer:
        command = [*self._programs.fork_server, self._programs.worker, *self._programs.preloaded]
        return ForkServer(self._helper(FORK_SERVER, command), self._kill_strays)

    def _helper(self, name: str, command: Sequence[str]) -> Helper:
        environment = clean_environment(os.environ, self._home)
        return Helper(name, self._children, command, environment, self._home.logs / f"{name}.log")

    def _addresses(self, files: tls.TlsFiles | None) -> Addresses:
        """Where instances find the server."""
        assert self._run is not None
        api, inference = (urlsplit(each) for each in (self._run.api_url, self._run.inference_url))
        authority = (files.authority or files.certificate).read_text() if files is not None else ""
        return Addresses(
            (api.hostname or "", api.port or 0),
            (inference.hostname or "", inference.port or 0),
            files is not None,
            self._run.ca_bundle,
            authority,
        )

    def _kill_strays(self) -> None:
        roles = [role.process for role in self._roles if role.process is not None]
        claimed = [*self._tasks.processes(), *self._launcher.beginning, *roles]
        strays.kill_unclaimed(home_id(self._home), claimed)

    def _role_settings(self) -> Settings:
        """With the ports that they are, not 0."""
        api, inference = (self._sockets[role].getsockname()[1] for role in ("control", "router"))
        return replace(self._settings, api_port=api, inference_port=inference)

    def _settings_hash(self) -> str:
        same = replace(self._settings, api_port=0, inference_port=0).as_environment()
        return hashlib.sha256(json.dumps([kedge.__version__, same], sort_keys=True).encode()).hexdigest()

    def _hello(self, task: str, pid: int, descriptor: int) -> bool:
        if self._run is None:
            return self._adoption.hello(task, pid, descriptor)
        if descriptor >= 0:
            os.close(descriptor)  # the supervisor has the socket already
        return any(role.task == task and role.process and role.process.pid == pid for role in self._roles)

    def _write_run(self) -> None:
        assert self._run is not None
        records = (role.record() for role in self._roles)
        self._run = replace(self._run, roles=tuple(record for record in records if record is not None))
        try:
            write_run(self._home.run_file, self._run)
        except OSError as error:  # a full disk stops no serving; a later supervisor takes the unknown one for a stray
            log.error("%s cannot be written: %s", self._home.run_file, error)

    async def _until_ready(self, found: Ready) -> None:
        """Raises NotReady."""
        both = asyncio.gather(*(health.answering(sock, tls=self._settings.tls) for sock in self._sockets.values()))
        ends = asyncio.ensure_future(self._ends.wait())
        either: set[asyncio.Future[Any]] = {both, ends}
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            while not both.done() and not ends.done():
                refused = next((role for role in self._roles if role.refused), None)
                if refused is not None:
                    raise NotReady(output.tail(self._home.logs / f"{refused.task}.log", 1))
                early = next((r for r in self._roles if r.restarts >= EARLY_ENDS and r.role not in LATER), None)
                if early is not None:
                    raise NotReady(self._why(f"{early.task} ended {early.restarts} times", [early.task]))
                if loop.time() >= began + HELPERS_AFTER_S:
                    self._begin_helpers()
                if loop.time() > began + READY_WITHIN_S:
                    where = f"{found.api_url} and {found.inference_url}"
                    tasks = [role.task for role in self._roles if role.role not in LATER]
                    raise NotReady(self._why(f"{where} did not both answer within {READY_WITHIN_S:g} s", tasks))
                await asyncio.wait(either, timeout=0.1, return_when=asyncio.FIRST_COMPLETED)
        finally:
            both.cancel()
            ends.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await both

    def _begin_helpers(self) -> None:
        for role in self._roles:
            if role.role in LATER and not role.begun:
                role.begin()

    def _why(self, what: str, tasks: list[str]) -> str:
        logs = [self._home.logs / f"{task}.log" for task in tasks]
        said = [f"--- {path}\n{output.tail(path, _LOG_LINES)}" for path in logs]
        return "\n".join([f"Kedge does not come up: {what}. The last lines that were written:", *said])

    async def _until_end(self) -> None:
        period_s = _CHECK_PERIOD_S if self._groups is not None else watchdog.PERIOD_S
        while not self._ends.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ends.wait(), period_s)
            if self._groups is None:
                self._tasks.bound_memory()
            self._end_stopped()
            self._sampler.look()
            self._tasks.bound_output()
            for path in self._home.logs.iterdir():
                output.bound(path)

    def _end_stopped(self) -> None:
        """They are started again as whoever ends is."""
        roles = [role.process for role in self._roles if role.process is not None]
        now_s = asyncio.get_running_loop().time()
        for process in self._stopped.look([*roles, *self._tasks.processes()], now_s):
            log.error("process %d was stopped by a signal and not continued; it is killed", process.pid)
            process.signal(signal.SIGKILL)

    def _on_signal(self) -> None:
        if self._ends.is_set():
            self._hurry.set()
        self._ends.set()

    async def _end_all(self) -> None:
        """Routers first, so that what they have read is answered; what they hand on, and the instances, after them.

        Records of tasks stay.
        """
        await self._end_roles()
        await self._compilations.close()
        await self._hurried(lambda at_once: [self._tasks.halt(at_once=at_once or self._settings.ephemeral)])
        self._keeper.close()
        if self._fork_server is not None:
            self._fork_server.close()
        await _all_ended(strays.kill_unclaimed(home_id(self._home), []))
        if self._groups is not None:
            self._groups.clear()
        remove_traces(self._home)

    async def _end_roles(self) -> None:
        await self._end([role for role in self._roles if role.role != CAPTURE])
        await self._end([role for role in self._roles if role.role == CAPTURE])

    async def _end(self, roles: list[Role]) -> None:
        await self._hurried(lambda at_once: [role.end(at_once=at_once) for role in roles])

    async def _hurried(self, ending: Callable[[bool], list[Any]]) -> None:
        """Run what ends things; begin it anew, at once, when a second signal comes."""
        ended = asyncio.gather(*ending(self._hurry.is_set()))
        hurry = asyncio.ensure_future(self._hurry.wait())
        either: set[asyncio.Future[Any]] = {ended, hurry}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                await asyncio.gather(*ending(True))
            await ended
        finally:
            hurry.cancel()


def _about_sandbox(capabilities: Capabilities) -> list[str]:
    missing = ", ".join(name.replace("_", " ") for name in capabilities.missing_layers())
    if not missing:
        return []
    return [f"The sandbox around instances lacks: {missing}. `kedge doctor` says what that means."]


def remove_traces(home: Home) -> None:
    """What tells others that a server runs."""
    home.run_file.unlink(missing_ok=True)
    for path in home.run.glob("*.sock"):
        with contextlib.suppress(OSError):
            path.unlink()
    for path in (home.run / "i").glob("*"):
        shutil.rmtree(path, ignore_errors=True)
    _remove_empty_run_folder(home)


def _remove_empty_run_folder(home: Home) -> None:
    """The next `kedge up` makes it again. It stays where something that still runs has its socket."""
    for folder in (home.run / "i", home.views, home.run):
        with contextlib.suppress(OSError):
            folder.rmdir()


async def _all_ended(processes: Iterable[ProcessId]) -> None:
    """Waits for those who were killed; not for ever, since one may hang in the kernel."""
    waits = [asyncio.ensure_future(each.exited()) for each in processes]
    if waits:
        _, late = await asyncio.wait(waits, timeout=_KILLED_WITHIN_S)
        for each in late:
            each.cancel()
