"""From what an instance is told of a container with an own server to that server, started."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from kedge.compute.batch_hints import BATCH
from kedge.compute.view import MODEL_DIR
from kedge.serving.hosts import COMMAND, PORT_VARIABLE, Beside, Program, command_of
from kedge.serving.own_server import Host, OwnServer
from kedge.serving.worker_setup import ContainerSpec, WorkerSpec, environment


def own_server(spec: WorkerSpec, container: ContainerSpec, on_ready: Callable[[], None]) -> OwnServer:
    """spec: what part_spec makes of the container. Raises OSError, and LoadError when there is no command."""
    host: Host = Beside(container.door) if container.door else _program(spec, container)
    return OwnServer(spec.id, host, spec.artifact_dir, on_ready, batch=container.environment.get(BATCH) == "true")


def _program(spec: WorkerSpec, container: ContainerSpec) -> Program:
    variables = environment(spec, os.environ)
    # `python` is the one that the instance itself runs in, with the packages that the model has asked for.
    variables["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{variables.get('PATH', os.defpath)}"
    variables[PORT_VARIABLE] = str(container.port)
    artifact = Path(spec.artifact_dir or spec.work_dir)
    Path(spec.work_dir).mkdir(mode=0o700, parents=True, exist_ok=True)
    if Path(MODEL_DIR).is_dir() and Path(MODEL_DIR).samefile(artifact):
        artifact = Path(MODEL_DIR)
    variables["SM_MODEL_DIR"] = str(artifact)
    words = command_of(container.command, variables.pop(COMMAND, ""), artifact, variables["PATH"])
    return Program(words, str(artifact), variables, container.port)
