"""Every other server. A new row is one entry in PEERS; where it needs code, that is one file in peers/."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.serving.rows import Route


@dataclass(frozen=True)
class Peer:
    name: str
    command: tuple[str, ...]
    """{python} and {bin} are the environment's, {port} the port to listen on. It runs in the checkout's root, which is
    on PYTHONPATH, with PORT, BENCH_FOLDER (a folder to write to) and BENCH_MODEL (echo or gbdt; all, if it has all)."""
    routes: Mapping[str, Route]
    """Of each work that it does."""
    packages: tuple[str, ...] = ()
    """What pip installs, newest versions."""
    venv: str = ""
    """Environments of one name are one; none is the name of this peer."""
    behind: bool = True
    """Kedge's own packages stand behind those of the environment: the same numpy and scikit-learn. Not for a server
    that pins others."""
    one_model: bool = False
    """Serves one model at a time."""
    environment: Mapping[str, str] = field(default_factory=dict)
    start_s: float = 60.0
    quick: bool = False
    """Takes part when no row is named: installs in seconds."""
    checked: bool = True
    """False: it answers the same to everything."""
    programs: tuple[str, ...] = ()
    """Of the machine."""
    python: str = ""
    """The interpreter to make the environment with; empty: the one that runs the benchmark."""

    @property
    def environment_name(self) -> str:
        return self.venv or self.name


def _routes(echo: str, one: str, hundred: str, csv: bool = True) -> dict[str, Route]:
    return {
        "echo": Route(echo, "instances"),
        "gbdt1": Route(one, "instances"),
        "gbdt100": Route(hundred, "csv" if csv else "instances"),
    }


_GRANIAN = (
    *("{bin}/granian", "--interface", "rsgi", "--host", "127.0.0.1", "--port", "{port}", "--workers", "1"),
    *("--loop", "uvloop", "--no-access-log", "benchmarks.serving.peers.granian_app:app"),
)

PEERS = (
    Peer(
        "nginx",
        ("{python}", "-m", "benchmarks.serving.peers.nginx"),
        {"echo": Route("/", "instances")},
        quick=True,
        checked=False,
        programs=("nginx",),
    ),
    Peer(
        "granian",
        _GRANIAN,
        _routes("/echo", "/gbdt", "/gbdt-csv"),
        packages=("granian", "uvloop", "orjson"),
        quick=True,
    ),
    Peer(
        "granian, batched",
        _GRANIAN,
        {"gbdt1": Route("/gbdt-batched", "instances")},
        packages=("granian", "uvloop", "orjson"),
        venv="granian",
        quick=True,
    ),
    Peer(
        "fastapi",
        (
            *("{bin}/python", "-m", "uvicorn", "--host", "127.0.0.1", "--port", "{port}", "--loop", "uvloop"),
            *("--http", "httptools", "--no-access-log", "--log-level", "warning"),
            "benchmarks.serving.peers.fastapi_app:app",
        ),
        _routes("/echo", "/gbdt", "/gbdt-csv"),
        packages=("fastapi", "uvicorn", "uvloop", "httptools"),
        quick=True,
    ),
)
