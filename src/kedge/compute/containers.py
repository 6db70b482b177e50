"""Podman and docker: whether one is there, and the words by which it is asked to run an image.

The container has no network of the engine's making (`sidecar` brings the API port into it), no right that a server does
not need, and the model's folder at /opt/ml/model, read only. `IMAGE serve` is what it runs, as in SageMaker; that of a
job runs what the job says, and may change all of /opt/ml.
"""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kedge.config import SettingError

PORT = 8080
"""On which the server in it listens. Source: SageMaker's contract for inference containers."""
MODEL_DIR, MODELS_DIR = "/opt/ml/model", "/opt/ml/models"
AUTHORITY = "/etc/kedge/ca.pem"
"""Where the server's own certificate authority lies in it."""
HOME_LABEL, TASK_LABEL = "kedge.home", "kedge.task"
ARGUMENT = "serve"
NETWORK_ONLY_LO, NETWORK_OF_ENGINE = "none", "bridge"
_ENGINES = ("podman", "docker")
_KEPT_RIGHTS = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID")
"""What a server that begins as root needs to go on as another user of its image. Each means the container's own files
and processes only."""
_OPEN_FILES = 16384
_PROCESSES_OF_USER = 32768
"""Of all containers that run as one user of this machine together; `processes` bounds each. Podman lowers its own limit
to less than 65536."""
_PASSED_ON = ("PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
_PASSED_PREFIXES = ("XDG_", "CONTAINERS_", "CONTAINER_", "DOCKER_", "REGISTRY_", "DBUS_")
_HELP = ("See '", "Run '")
"""How lines begin in which docker names its help."""
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")


@dataclass(frozen=True)
class Engine:
    program: str
    """Its whole path."""
    is_podman: bool
    options: tuple[str, ...] = ()
    """What stands before each command."""
    bounds: bool = True
    """Whether it can bound memory and processes here."""

    @property
    def name(self) -> str:
        return os.path.basename(self.program)

    def words(self, *words: str) -> list[str]:
        return [self.program, *self.options, *words]

    def remove(self, *names: str) -> list[str]:
        """The command that ends containers at once and forgets them. Podman would wait for their end at first."""
        return self.words("rm", "--force", *(("--time", "0") if self.is_podman else ()), *names)


@dataclass(frozen=True)
class Run:
    """One container."""

    name: str
    image: str
    labels: Mapping[str, str]
    host_name: str
    environment_file: str
    """Lines NAME=VALUE."""
    environment: Mapping[str, str]
    """What cannot stand in a line of that file."""
    mounts: Mapping[str, str]
    """From the path inside to the path outside; all read only."""
    writable: Mapping[str, str] = field(default_factory=dict)
    """Alike, and may be changed."""
    entrypoint: Sequence[str] = ()
    """Takes the place of the image's own, where there is one."""
    arguments: Sequence[str] = (ARGUMENT,)
    memory_bytes: int = 0
    processes: int = 0
    shm_bytes: int = 0
    gpus: Sequence[int] = ()
    network: str = NETWORK_ONLY_LO
    pull: bool = False
    is_folder: bool = False
    """`image` is a folder of this machine in an image's place; podman's alone."""


def _docker_serves() -> bool:
    """Whether its server listens where it does by default; for one elsewhere the setting has to name docker."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    own = [Path(runtime, "docker.sock")] if runtime else []
    return any(
        each.is_socket() for each in (Path("/var/run/docker.sock"), *own, Path.home() / ".docker/run/docker.sock")
    )


def find(
    setting: str,
    which: Callable[[str], str | None] = shutil.which,
    docker_serves: Callable[[], bool] | None = None,
    groups: Path = Path("/sys/fs/cgroup"),
    systemd: Path = Path("/run/systemd/system"),
) -> Engine | None:
    """setting: auto, none, or a program's name or path. Raises SettingError for a program that is not there.

    auto passes over a docker whose server is not there: the program alone is on many machines, and can run nothing.
    """
    if setting == "none":
        return None
    wanted = (
        [each for each in _ENGINES if each != "docker" or (docker_serves or _docker_serves)()]
        if setting == "auto"
        else [setting]
    )
    found = next((path for name in wanted if (path := which(name))), None)
    if found is None:
        if setting != "auto":
            raise SettingError(f'container_engine is "{setting}"; no such program is found')
        return None
    is_podman = "podman" in os.path.basename(found)
    unified = (groups / "cgroup.controllers").exists()
    options: list[str] = []
    if is_podman and not systemd.is_dir():
        # Without systemd there is nobody to make groups but the engine itself, and no journal for its events.
        options += ["--cgroup-manager", "cgroupfs", "--events-backend", "none"]
    if is_podman and not unified and which("runc"):
        options += ["--runtime", "runc"]  # crun refuses the groups of version 1 beside version 2
    return Engine(os.path.abspath(found), is_podman, tuple(options), bounds=unified or os.geteuid() == 0)


def create(engine: Engine, run: Run) -> list[str]:
    """The command that makes the container and starts nothing."""
    words = ["create", "--name", run.name, "--network", run.network, "--log-driver", "none", "--no-healthcheck"]
    words += ["--pull", "missing" if run.pull else "never"]
    words += ["--cap-drop", "all", *_each("--cap-add", _KEPT_RIGHTS)]
    words += ["--security-opt", "no-new-privileges", "--security-opt", "label=disable"]
    words += _each("--label", [f"{name}={value}" for name, value in run.labels.items()])
    words += ["--hostname", run.host_name, "--env-file", run.environment_file]
    words += _each("--env", [f"{name}={value}" for name, value in run.environment.items()])
    for inside, outside in run.mounts.items():
        words += ["--mount", f"type=bind,source={outside},destination={inside},readonly"]
    for inside, outside in run.writable.items():
        words += ["--mount", f"type=bind,source={outside},destination={inside}"]
    if engine.bounds and run.memory_bytes:
        words += ["--memory", str(run.memory_bytes), "--memory-swap", str(run.memory_bytes)]
    if engine.bounds and run.processes:
        words += ["--pids-limit", str(run.processes)]
    if run.shm_bytes:
        words += ["--shm-size", str(run.shm_bytes)]
    if engine.is_podman:
        words += ["--http-proxy=false", *_each("--ulimit", _limits())]
        words += _each("--device", [f"nvidia.com/gpu={index}" for index in run.gpus])
    elif run.gpus:
        words += ["--gpus", f'"device={",".join(map(str, run.gpus))}"']
    if run.entrypoint:
        words += ["--entrypoint", run.entrypoint[0]]
    if run.is_folder:
        words.append("--rootfs")
    return engine.words(*words, run.image, *run.entrypoint[1:], *run.arguments)


def environment(source: Mapping[str, str]) -> dict[str, str]:
    """What the engine's own program is given: where its files and registries are, and nothing of Kedge."""
    names = (*_PASSED_ON, *_PROXIES)
    return {name: value for name, value in source.items() if name in names or name.startswith(_PASSED_PREFIXES)}


def lines(variables: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """The text of an environment file, and the variables that none can hold."""
    plain = {name: value for name, value in variables.items() if _is_plain(value)}
    text = "".join(f"{name}={value}\n" for name, value in plain.items())
    return text, {name: value for name, value in variables.items() if name not in plain}


def last_words(text: str) -> str:
    """What an engine said last of why it does not do something, without a full stop. text: of its standard error."""
    said = [line.strip() for line in text.splitlines()]
    told = [line for line in said if line and not line.startswith(_HELP)]
    return told[-1][:512].removeprefix("Error: ").rstrip(".") if told else "it said nothing"


def _is_plain(value: str) -> bool:
    """Engines differ in what they make of blanks at an end and of quotes."""
    return value.isprintable() and value == value.strip() and value[:1] not in ("'", '"', "`")


def _each(option: str, values: Sequence[str]) -> list[str]:
    return [word for value in values for word in (option, value)]


def _limits() -> list[str]:
    """At most this process's own: without CAP_SYS_RESOURCE nobody is given more, and the engine asks for more."""
    found = []
    for name, kind, most in (
        ("nofile", resource.RLIMIT_NOFILE, _OPEN_FILES),
        ("nproc", resource.RLIMIT_NPROC, _PROCESSES_OF_USER),
    ):
        own = resource.getrlimit(kind)[1]
        limit = most if own == resource.RLIM_INFINITY else min(own, most)
        found.append(f"{name}={limit}:{limit}")
    return found
