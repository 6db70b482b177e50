"""What the sandbox of a task looks like: which folders, which network, which bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from kedge.compute.base import TaskSpec
from kedge.compute.compiled_name import compiled_file
from kedge.compute.grants import Grant, grant
from kedge.compute.jobs import OPT_ML, ml_folder
from kedge.compute.keeper import Network, Order
from kedge.compute.records import MODELS, ROOT, STATE, TEMPORARY, WORK
from kedge.compute.sandbox import Confinement, namespace_names
from kedge.compute.view import DEVICES, MODEL_DIR, MODELS_DIR, SOCKETS, Base, View
from kedge.compute.view import TEMPORARY as TEMPORARY_INSIDE
from kedge.home import Home

MAX_PROCESSES = 2048
"""Processes and threads of one instance."""
SERVER_PORT = 8080
"""On which an instance's own server listens. Source: SageMaker's contract for inference containers."""
SHM_BYTES = 1024**3
"""Size of /dev/shm where an instance has no bound of its memory; else it is half of that."""
NO_NETWORK, API_ONLY, HOST_NETWORK = NETWORKS = ("none", "api", "host")
"""Values of the setting instance_network."""


@dataclass(frozen=True)
class Addresses:
    """Where the server is, for its own instances."""

    api: tuple[str, int]
    inference: tuple[str, int]
    tls: bool = False
    ca_bundle: str = ""
    """File of the own certificate authority; empty where there is none."""
    authority: str = ""
    """PEM text by which the API's certificate can be checked; empty without TLS."""


@dataclass(frozen=True)
class Bounds:
    """What the machine can bound, and by what."""

    layers: Mapping[str, bool]
    """sandbox.LAYERS, and own_proc."""
    uid: int
    groups: Sequence[str] = ()
    """Files of the task's control groups."""
    counts_processes: bool = False
    """Whether one of them bounds the number of processes."""


@dataclass(frozen=True)
class Share:
    """What the instance gets of the machine's devices."""

    environment: Mapping[str, str] = field(default_factory=dict)
    devices: Sequence[str] = ()
    readable: Sequence[str] = ()


NOTHING = Share()


@dataclass(frozen=True)
class Plan:
    order: Order
    confinement: Confinement
    environment: Mapping[str, str] = field(default_factory=dict)
    """What the instance is to know of its network."""
    marks: Mapping[str, str] = field(default_factory=dict)
    """What the model's own variables do not replace."""
    socket: str = ""
    """Where the instance listens, as it sees it."""
    ports: Sequence[int] = ()
    """On which its own servers listen, one for each."""
    problem: str = ""
    """Why it cannot be started on this machine as it has to be."""


def plan(
    home: Home,
    spec: TaskSpec,
    bounds: Bounds,
    addresses: Addresses,
    network: str,
    share: Share = NOTHING,
    *,
    tied: bool,
    readable: Sequence[str] = (),
    free_ports: Sequence[int] = (),
) -> Plan:
    """network: one of NETWORKS; a task that asks for isolation gets NO_NETWORK whatever it says. readable: what this
    task reads besides its models and what every instance does. free_ports: of this machine, one for each own server,
    for an instance that has no network of its own."""
    layers = bounds.layers
    if spec.network_isolation:
        network = NO_NETWORK
    names = [name for name in namespace_names(layers) if name != "net" or network != HOST_NETWORK]
    own = "net" in names
    ports = _ports(len(spec.own_servers), addresses) if own else list(free_ports)
    environment = {} if network == NO_NETWORK else _environment(addresses, own=own)
    hidden = (str(home.path), str(home.run))
    more = [*readable, *share.readable]
    if environment and addresses.ca_bundle:
        more.append(addresses.ca_bundle)
    within = [path for path in more if path.startswith(tuple(f"{each}/" for each in hidden))]
    read = {**_read(home, spec), **{path: path for path in within}}
    base = Base(
        hidden, tuple(path for path in more if path not in within), (*DEVICES, *share.devices), host_network=not own
    )
    written = _written(home, spec)
    outside = home.instance_socket(spec.id)
    sockets = SOCKETS if layers["mount_namespace"] else str(outside.parent)
    viewed = layers["mount_namespace"]
    first = Confinement(
        landlock=layers["landlock"],
        seccomp=layers["seccomp"],
        no_new_privileges=layers["no_new_privileges"],
        readable=["/"] if viewed else [],
        system_besides=None if viewed else hidden,
    )
    confinement = replace(
        first,
        readable=["/"] if viewed else [*read.values(), *base.readable, sockets],
        writable=[*written, "/dev/shm"] if viewed else [*written.values(), "/dev/shm"],  # noqa: S108
        sockets=[sockets],
        devices=base.devices,
        local=viewed,  # or it could connect to the server's own sockets
        internet=own or network != NO_NETWORK,
        connect_to=None if own or network == HOST_NETWORK else [addresses.api[1], addresses.inference[1], *ports],
        processes=MAX_PROCESSES if bounds.uid and layers["user_namespace"] and not bounds.counts_processes else 0,
        # It counts what is asked for, used or not: the watchdog bounds what is used.
        data_bytes=0 if bounds.groups else 2 * spec.memory_bytes,
    )
    view = View(
        root=str(home.tasks / spec.id / ROOT),
        readable=read,
        writable={**written, sockets: str(outside.parent)},
        shm_bytes=spec.memory_bytes // 2 or SHM_BYTES,
        own_proc=layers["own_proc"] and layers["pid_namespace"],
    )
    order = Order(
        namespaces=names,
        view=asdict(view) if viewed else None,
        base=asdict(base),
        groups=bounds.groups,
        network=asdict(_network(home, spec, addresses, network, own=own)),
        confinement=asdict(first),
        tied=tied,
    )
    listens = f"{sockets}/{outside.name}"
    problem = _problem(spec, layers, own=own, silent=network == NO_NETWORK)
    return Plan(order, confinement, environment, share.environment, listens, ports, problem)


def _ports(count: int, addresses: Addresses) -> list[int]:
    """The first where SageMaker has it, unless the API is reached by that number."""
    taken = (addresses.api[1], addresses.inference[1])
    return [port for port in range(SERVER_PORT, SERVER_PORT + count + len(taken)) if port not in taken][:count]


def _read(home: Home, spec: TaskSpec) -> dict[str, str]:
    """From the path inside to the path outside."""
    found = {str(home.artifacts / each): str(home.artifacts / each) for each in sorted(spec.artifacts)}
    # Of several containers none has the right to it more than another.
    only = spec.containers[0].artifact_sha256 if len(spec.containers) == 1 else spec.artifact_sha256
    if only:
        found[MODEL_DIR] = str(home.artifacts / only)
    if (compiled := compiled_file(home, spec)) is not None:
        found[str(compiled.parent)] = str(compiled.parent)
    if spec.many_models:
        models = str(home.tasks / spec.id / MODELS)
        found[models] = found[MODELS_DIR] = models
    return found


def _written(home: Home, spec: TaskSpec) -> dict[str, str]:
    """Alike."""
    folder = home.tasks / spec.id
    own = [str(folder / WORK), str((folder / STATE).parent)]
    job = {OPT_ML: str(ml_folder(home, spec.job))} if spec.job is not None else {}
    return {**{path: path for path in own}, TEMPORARY_INSIDE: str(folder / TEMPORARY), **job}


def _environment(addresses: Addresses, *, own: bool) -> dict[str, str]:
    scheme = "https" if addresses.tls else "http"
    found = {}
    for name, (host, port) in (
        ("AWS_ENDPOINT_URL", addresses.api),
        ("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", addresses.inference),
    ):
        shown = "127.0.0.1" if own else f"[{host}]" if ":" in host else host
        found[name] = f"{scheme}://{shown}:{port}"
    return found | ({"AWS_CA_BUNDLE": addresses.ca_bundle} if addresses.ca_bundle else {})


def _network(home: Home, spec: TaskSpec, addresses: Addresses, network: str, *, own: bool) -> Network:
    if network == NO_NETWORK:
        return Network(own=own)
    relays: dict[str, Any] = {}
    if own:
        relays = {str(address[1]): list(address) for address in (addresses.api, addresses.inference)}
    given = grant(home.seal_key, Grant(spec.id, spec.execution_role)) if spec.execution_role else ""
    return Network(own, relays, given, list(addresses.api), addresses.authority)


def _problem(spec: TaskSpec, layers: Mapping[str, bool], *, own: bool, silent: bool) -> str:
    """silent: it may reach nothing."""
    if spec.own_servers and silent and not own:
        return "its own server needs a port, and without a network namespace this machine has none that is only its own"
    if spec.images and not layers["mount_namespace"]:
        return "its image needs a mount namespace around the instance, which this machine does not have"
    if spec.job is not None and not spec.job.module and not layers["mount_namespace"]:
        return "its program looks for /opt/ml, and without a mount namespace this machine cannot show it one of its own"
    if spec.network_isolation and not own and not layers["seccomp"]:
        return "the model has EnableNetworkIsolation, and this machine has nothing to keep it from the network"
    return ""


def places(home: Home, spec: TaskSpec) -> list[Path]:
    """The folders that have to be there before a sandbox is made."""
    folder = home.tasks / spec.id
    names = [folder / WORK, (folder / STATE).parent, folder / TEMPORARY, folder / ROOT]
    return [*names, home.instance_socket(spec.id).parent]
