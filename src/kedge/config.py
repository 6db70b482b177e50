"""Every setting, read once at the start and frozen.

A setting named `api_port` is the environment variable KEDGE_API_PORT; a flag of `kedge up` goes before the variable.
The table in docs/settings.md is checked against this file by a test.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

CANNOT_START = 2
"""Exit status of a role that cannot start with these settings; the last line that it wrote says why."""

_KINDS = {bool: "true or false", int: "a whole number", float: "a number"}


class SettingError(ValueError):
    """A setting with a value that it cannot have; the message names both."""


_ABOVE_ZERO = (
    *("cpu_overcommit", "memory_overcommit"),
    *("body_limit_bytes", "invocation_timeout_s", "stream_timeout_s", "start_timeout_s", "capture_spool_bytes"),
    "serverless_idle_s",
)


@dataclass(frozen=True)
class Settings:
    data_dir: Path = Path("~/.kedge")
    """Everything that survives is below this folder (flag --data)."""
    host: str = "127.0.0.1"
    """Address on which both ports listen."""
    api_port: int = 8770
    """Control plane: the AWS APIs and S3. 0 takes any free port."""
    inference_port: int = 8771
    """Data plane: InvokeEndpoint. 0 takes any free port."""
    metrics_port: int = 0
    """Port of 127.0.0.1 on which /metrics is answered without a signature; 0: on the API port alone."""
    otlp_endpoint: str = ""
    """URL of an OpenTelemetry collector to which the series of /metrics are pushed, such as http://127.0.0.1:4318."""
    otlp_headers: str = ""
    """Headers of these pushes, as name=value,name=value; values are percent-encoded."""
    account_id: str = "000000000000"
    """AWS account of the root key; counts at the first start only."""
    region: str = "us-east-1"
    """Region in which the seeded bucket lies; counts at the first start only."""
    root_access_key: str = ""
    """Root access key id; made at the first start when empty."""
    root_secret_key: str = ""
    """Root secret key; made at the first start when empty."""
    master_key_file: str = ""
    """File with the master key of encryption, 64 hexadecimal digits; empty: master.key in the data directory."""
    ephemeral: bool = False
    """State in a temporary folder that goes with the process, and POST /kedge/reset."""
    auth_required: bool = True
    """False (flag --insecure-no-auth, loopback only): signatures are not checked."""
    tls: bool = False
    """HTTPS on both ports, with an own certificate authority unless tls_cert and tls_key are given."""
    tls_cert: str = ""
    """PEM file of the server's certificate chain."""
    tls_key: str = ""
    """PEM file of the certificate's private key."""
    routers: int = 1
    """Router processes that share the inference port."""
    database_url: str = ""
    """SQLAlchemy address of the resource store; empty: SQLite in the data directory."""
    s3_domain: str = "localhost"
    """BUCKET.s3_domain in the Host header is virtual-host addressing."""
    cpu_overcommit: float = 16.0
    """Instances may claim this many times the machine's cores."""
    memory_overcommit: float = 8.0
    """Instances may claim this many times the machine's memory."""
    instance_types: str = ""
    """JSON file with {"ml.type": {"cores": N, "memory_gib": N, "gpus": N}}, added to the built-in table."""
    allow_installs: bool = True
    """A model's requirements.txt is installed by pip into an environment of its own; false: what is there counts."""
    trust_requirements: bool = False
    """Requirements may name other indexes, URLs and sources to build, whose code then runs outside of the sandbox."""
    environments: str = ""
    """JSON file with {"IMAGE PATTERN": "PATH"} of a Python, or of a requirements file, that runs such images."""
    images: str = ""
    """JSON file with {"IMAGE PATTERN": "COMMAND"} of what runs as a process in the place of such images."""
    zones: str = "a"
    """Failure domains of this machine, such as a,b: one letter each. Instances of a variant are spread over them."""
    container_engine: str = "auto"
    """What runs other images: podman or docker, by name or path; auto takes the one that is there; none."""
    pull_images: bool = False
    """Images that are not on this machine are pulled from their registry; false: the endpoint says so and fails."""
    gpus: int = -1
    """GPUs of this machine that instances get, each by one at a time; -1 counts them."""
    instance_network: str = "api"
    """What instances reach: api (this server's ports), none, or host (whatever this machine reaches)."""
    compile: str = "auto"
    """Whether faster stand-ins are made of models: auto (where it gains), on, off; a model's own variable wins."""
    require_sandbox: bool = False
    """Start only where every layer of the sandbox around instances works."""
    body_limit_bytes: int = 26_214_400
    """Largest body of an invocation, in and out."""
    invocation_timeout_s: float = 60.0
    """How long a model may take for one answer, or for the first part of one that it gives in parts."""
    stream_timeout_s: float = 480.0
    """How long a model may take for all parts of an answer; an endpoint's own time-out counts where it is longer."""
    start_timeout_s: float = 240.0
    """How long an instance may take to load its model, where the variant names no time of its own."""
    serverless_idle_s: float = 300.0
    """A serverless endpoint without a request for so long gives its instances back, but for provisioned concurrency."""
    capture_spool_bytes: int = 1_073_741_824
    """What captured records may take on the disk until they are on S3; one variant gets a quarter of it."""
    capture_minutes_bytes: int = 268_435_456
    """What sketches of captured records, minute by minute, may take on the disk for two weeks; 0 keeps none."""
    public_url: str = ""
    """The API port's address in messages to subscribers, such as https://kedge.example:8770; empty: as it listens."""
    subscriber_addresses: str = "all"
    """Where messages of topics may be sent: all (but link-local), public, or networks such as 10.0.0.0/8,127.0.0.1."""
    subscriber_ca: str = ""
    """PEM file of a certificate authority that HTTPS subscribers of topics are trusted by, beside the system's."""
    history_days: int = 90
    """How long the history of resources is kept."""
    strict_results: bool = False
    """An answer that does not fit its AWS shape is an error, not trimmed to fit: for Kedge's own tests."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\d{12}", self.account_id):
            raise SettingError(f'account_id is "{self.account_id}"; an account has 12 digits')
        if not re.fullmatch(r"[a-z]{2}(-[a-z]+)+-\d", self.region):
            raise SettingError(f'region is "{self.region}"; a region looks like us-east-1')
        if self.otlp_endpoint and not _is_collector(self.otlp_endpoint):
            raise SettingError(f'otlp_endpoint is "{self.otlp_endpoint}"; it has to be like http://127.0.0.1:4318')
        header_pairs(self.otlp_headers)
        for name in ("api_port", "inference_port", "metrics_port"):
            if not 0 <= getattr(self, name) <= 65535:
                raise SettingError(f"{name} is {getattr(self, name)}; a port is 0 to 65535")
        if self.routers < 1:
            raise SettingError(f"routers is {self.routers}; at least 1 is needed")
        for name in _ABOVE_ZERO:
            if not 0 < getattr(self, name) < float("inf"):
                raise SettingError(f"{name} is {getattr(self, name)}; it has to be above 0")
        if not 1 <= self.history_days <= 36_500:
            raise SettingError(f"history_days is {self.history_days}; it has to be 1 to 36500")
        if not self.auth_required and self.host not in ("127.0.0.1", "::1", "localhost"):
            raise SettingError(f"host is {self.host}; without signatures only a loopback address may listen")
        if self.capture_minutes_bytes < 0:
            raise SettingError(f"capture_minutes_bytes is {self.capture_minutes_bytes}; it has to be 0 (none) or more")
        if self.gpus < -1:
            raise SettingError(f"gpus is {self.gpus}; it has to be a number of GPUs, or -1 to count them")
        if self.instance_network not in ("none", "api", "host"):
            raise SettingError(f'instance_network is "{self.instance_network}"; it has to be api, none or host')
        if self.compile not in ("auto", "on", "off"):
            raise SettingError(f'compile is "{self.compile}"; it has to be auto, on or off')
        letters = self.zones.split(",")
        if not all(re.fullmatch("[a-z]", each) for each in letters) or len(set(letters)) < len(letters):
            raise SettingError(f'zones is "{self.zones}"; it has to be like a,b: small letters, none of them twice')
        if not re.fullmatch(r"(https?://[!-~]*[^/?#])?", self.public_url):
            raise SettingError(f'public_url is "{self.public_url}"; it has to be like https://kedge.example:8770')
        if self.subscriber_ca and not Path(self.subscriber_ca).expanduser().is_file():
            raise SettingError(f'subscriber_ca is "{self.subscriber_ca}"; there is no such file')
        if bool(self.root_access_key) != bool(self.root_secret_key):
            raise SettingError("root_access_key and root_secret_key go together: set both or neither")
        if bool(self.tls_cert) != bool(self.tls_key):
            raise SettingError("tls_cert and tls_key go together: set both or neither")

    def as_environment(self) -> dict[str, str]:
        """The variables that give a child process these very settings; the root key is left out."""
        secret = ("root_access_key", "root_secret_key")
        return {variable(f.name): _text(getattr(self, f.name)) for f in fields(self) if f.name not in secret}


def variable(name: str) -> str:
    return "KEDGE_" + name.upper()


def read(environment: Mapping[str, str] | None = None, **flags: Any) -> Settings:
    """Settings from the environment; a flag that is not None wins. Raises SettingError."""
    source = os.environ if environment is None else environment
    chosen: dict[str, Any] = {}
    for field in fields(Settings):
        text = source.get(variable(field.name))
        if text is not None and text != "":
            chosen[field.name] = _value(field.name, type(getattr(DEFAULTS, field.name)), text)
    chosen |= {name: value for name, value in flags.items() if value is not None}
    return replace(DEFAULTS, **chosen)


def header_pairs(text: str) -> dict[str, str]:
    """Of name=value,name=value, with percent-encoded values. Raises SettingError, which does not tell the values."""
    found = {}
    for number, pair in enumerate(text.split(",") if text else [], 1):
        name, _, value = (each.strip() for each in pair.partition("="))
        decoded = unquote(value)
        if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name) or not re.fullmatch(r"[ -~]+", decoded):
            raise SettingError(
                f"otlp_headers: number {number} cannot be a header; it has to be like name=value,name=value"
            )
        found[name] = decoded
    return found


def _is_collector(url: str) -> bool:
    """Credentials are no part of it: they belong into a header."""
    try:
        parts = urlsplit(url)
        found = parts.scheme in ("http", "https") and parts.port != 0
    except ValueError:  # no port, no address
        return False
    label = "[A-Za-z0-9_-]{1,63}"
    host = rf"{label}(\.{label})*\.?|\[[0-9A-Fa-f:.]+\]"
    return (
        found and bool(re.fullmatch(rf"https?://({host})(:\d+)?(/[!-~]*)?", url)) and not parts.query + parts.fragment
    )


def _value(name: str, kind: type[Any], text: str) -> Any:
    try:
        if kind is bool:
            return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[text.lower()]
        if issubclass(kind, Path):
            return Path(text)
        return kind(text)
    except (ValueError, KeyError):
        raise SettingError(f'{variable(name)} is "{text}"; it has to be {_KINDS[kind]}') from None


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


DEFAULTS = Settings()
