"""The supervisor's end of sidecars: starts the containers of a task, each with the process beside it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import socket
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from kedge.compute import containers
from kedge.compute.base import Container, TaskSpec
from kedge.compute.children import Children
from kedge.compute.containers import Engine, Run
from kedge.compute.grants import Grant, grant
from kedge.compute.jobs import OPT_ML, ml_folder
from kedge.compute.keeper import TOKEN, URI
from kedge.compute.keeper_client import tell
from kedge.compute.lines import Lines
from kedge.compute.messages import LineError
from kedge.compute.orders import HOST_NETWORK, MAX_PROCESSES, NO_NETWORK, Addresses
from kedge.compute.process_id import ProcessId
from kedge.compute.records import MODELS
from kedge.compute.sidecar import Order
from kedge.home import Home

DOOR = "c"
"""Names the sockets of a sidecar, with the place of its container, in the folder of the instance's own."""
_PORT_OF_CREDENTIALS = 8079
_MODULE = "kedge.compute.sidecar"


class NoContainer(Exception):
    """It could not be made; the message is a sentence."""


@dataclass
class Sidecar:
    process: ProcessId
    line: socket.socket | None

    def tell(self, process: ProcessId, *, keep: bool) -> None:
        """Which process the instance is: they end together. keep: and with this supervisor, by the line."""
        if self.line is not None:
            self.line.setblocking(True)
            tell(self.line, process)
            if not keep:
                self.close()

    def close(self) -> None:
        if self.line is not None:
            self.line.close()
            self.line = None


class Sidecars:
    def __init__(
        self,
        home: Home,
        children: Children,
        mark: Mapping[str, str],
        engine: Engine | None,
        network: str,
        *,
        pull: bool,
        tied: bool,
    ) -> None:
        """mark: the variable of this data directory's processes."""
        self._home, self._children, self._mark = home, children, mark
        self._engine = engine
        self._network = network
        self._pull, self._tied = pull, tied

    def door(self, spec: TaskSpec, at: int) -> str:
        """The name of its sockets; their folder is that of the instance's own."""
        return f"{DOOR}{at}"

    async def start(self, spec: TaskSpec, at: int, gpus: Sequence[int], addresses: Addresses, log_file: int) -> Sidecar:
        """Once its container runs. Raises NoContainer, OSError. When cancelled it leaves none."""
        if self._engine is None:
            raise NoContainer("There is neither podman nor docker on this machine any more to run the model's image.")
        container = spec.containers[at]
        order = self._order(self._engine, spec, at, gpus, addresses)
        ours, theirs = socket.socketpair()
        with contextlib.ExitStack() as stack:
            stack.callback(theirs.close)
            undo = stack.enter_context(contextlib.ExitStack())
            undo.callback(ours.close)
            request = stack.enter_context(tempfile.TemporaryFile("w+"))
            json.dump(order.as_dict(), request)
            request.flush()
            process = self._children.spawn(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    _MODULE,
                    "--order-fd",
                    str(request.fileno()),
                    "--socket-fd",
                    str(theirs.fileno()),
                ],
                {**containers.environment(os.environ), **_python(os.environ), **self._mark},
                output=log_file,
                descriptors=[request.fileno(), theirs.fileno()],
            )
            undo.callback(process.signal, signal.SIGKILL)
            theirs.close()
            lines = Lines(ours.dup())
            try:
                answer = await lines.read()
            except (OSError, LineError):
                answer = None
            finally:
                lines.close()
            if answer is None or "ready" not in answer:
                raise NoContainer(
                    str(answer["error"]) if answer else f"The sidecar of container {container.name} ended."
                )
            undo.pop_all()
            return Sidecar(process, ours)

    def remove(self, spec: TaskSpec) -> None:
        """Containers whose sidecar was killed before it could. Does not wait."""
        if self._engine is None or not spec.images:
            return
        names = [self._name(spec, at) for at, _ in spec.images]
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            with contextlib.suppress(OSError):
                words = self._engine.remove(*names)
                self._children.spawn(words, containers.environment(os.environ), output=null)
        finally:
            os.close(null)

    def _name(self, spec: TaskSpec, at: int) -> str:
        return f"kedge-{self._home.run.name}-{spec.id}-{at}"

    def _order(self, engine: Engine, spec: TaskSpec, at: int, gpus: Sequence[int], addresses: Addresses) -> Order:
        container = spec.containers[at]
        network = NO_NETWORK if spec.network_isolation else self._network
        given = network != NO_NETWORK and bool(spec.execution_role)
        token = secrets.token_hex(24) if given else ""
        variables = self._variables(spec, container, addresses, network, token)
        text, rest = containers.lines(variables)
        file = self._home.tasks / spec.id / f"environment-{at}"
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as opened:
            opened.write(text)
        mounts: dict[str, str] = {}
        job = spec.job
        if container.artifact_sha256:
            mounts[containers.MODEL_DIR] = str(self._home.artifacts / container.artifact_sha256)
        if container.many_models:
            mounts[containers.MODELS_DIR] = str(self._home.tasks / spec.id / MODELS)
        if network != NO_NETWORK and addresses.ca_bundle:
            mounts[containers.AUTHORITY] = addresses.ca_bundle
        run = Run(
            name=self._name(spec, at),
            image=container.environment.get("KEDGE_IMAGE", ""),
            labels={containers.HOME_LABEL: self._home.run.name, containers.TASK_LABEL: spec.id},
            host_name=container.name,
            environment_file=str(file),
            environment=rest,
            mounts=mounts,
            memory_bytes=spec.memory_bytes,
            processes=MAX_PROCESSES,
            shm_bytes=spec.memory_bytes // 2,
            gpus=gpus,
            network=containers.NETWORK_OF_ENGINE if network == HOST_NETWORK else containers.NETWORK_ONLY_LO,
            pull=self._pull,
            writable={OPT_ML: str(ml_folder(self._home, job))} if job else {},
            entrypoint=job.entrypoint if job else (),
            arguments=job.arguments if job else (containers.ARGUMENT,),
        )
        relays: dict[str, Any] = {}
        if network != NO_NETWORK:
            relays = {str(each[1]): list(each) for each in (addresses.api, addresses.inference)}
        return Order(
            engine=asdict(engine),
            name=run.name,
            create=containers.create(engine, run),
            environment_file=str(file),
            door=str(self._home.instance_socket(spec.id).with_name(self.door(spec, at))),
            relays=relays,
            memory_gib=f"{spec.memory_bytes / 2**30:g}" if spec.memory_bytes and engine.bounds else "",
            image=run.image,
            grant=grant(self._home.seal_key, Grant(spec.id, spec.execution_role)) if given else "",
            token=token,
            port_of_credentials=_PORT_OF_CREDENTIALS if given else 0,
            api=list(addresses.api),
            authority=addresses.authority,
            tied=self._tied,
        )

    def _variables(
        self, spec: TaskSpec, container: Container, addresses: Addresses, network: str, token: str
    ) -> dict[str, str]:
        """The model's own go before the standard ones, and the image's after all."""
        found = {
            "SAGEMAKER_BIND_TO_PORT": str(containers.PORT),
            "SM_MODEL_DIR": containers.MODEL_DIR,
            "SM_NUM_CPUS": str(max(1, int(spec.cores))),
            "SM_NUM_GPUS": str(spec.gpus),
            **({"SAGEMAKER_MULTI_MODEL": "true"} if container.many_models else {}),
        }
        if network != NO_NETWORK:
            scheme = "https" if addresses.tls else "http"
            found["AWS_ENDPOINT_URL"] = f"{scheme}://127.0.0.1:{addresses.api[1]}"
            found["AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME"] = f"{scheme}://127.0.0.1:{addresses.inference[1]}"
            if addresses.ca_bundle:
                found["AWS_CA_BUNDLE"] = containers.AUTHORITY
        if token:
            found[TOKEN] = token
            found[URI] = f"http://127.0.0.1:{_PORT_OF_CREDENTIALS}/credentials"
        own = {name: value for name, value in container.environment.items() if name != "KEDGE_IMAGE"}
        return {**found, **own}


def _python(source: Mapping[str, str]) -> dict[str, str]:
    names = ("LD_LIBRARY_PATH", "VIRTUAL_ENV")
    return {name: value for name, value in source.items() if name in names or name.startswith("PYTHON")}


async def settled(processes: Sequence[ProcessId], children: Children, within_s: float) -> None:
    """Waits until sidecars have ended, and removed their containers; kills those that do not."""
    waits = {asyncio.ensure_future(children.ended(each)): each for each in processes}
    if not waits:
        return
    try:
        _, late = await asyncio.wait(waits, timeout=within_s)
        for each in late:
            waits[each].signal(signal.SIGKILL)
        if late:
            await asyncio.wait(late, timeout=within_s)
    finally:
        for each in waits:
            each.cancel()
