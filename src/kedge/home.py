"""The data directory: what lies where, and what a first start puts there.

    DIR/lock                       held by the supervisor while it lives
    DIR/node.json                  account and region, chosen at the first start
    DIR/credentials.json           root key pair and the key that seals session tokens (mode 0600)
    DIR/master.key                 wraps the keys of KMS and the object store (mode 0600); the control process makes it
    DIR/run.json                   the running server: pid, addresses (the supervisor writes it)
    DIR/kedge.db                   resource store
    DIR/metrics.db                 metric store
    DIR/logs.db                    log store
    DIR/objects/                   object store
    DIR/artifacts/SHA256/          unpacked model artifacts
    DIR/compiled/SHA256/           what was compiled of an artifact's model (compute/compilations.py)
    DIR/environments/DIGEST/       what requirements.txt of models names (compute/environments.py)
    DIR/tasks/ID/                  record.json, report/state.json, output.log, work/, tmp/ of each task
    DIR/jobs/UID/ml/               what a processing or training job sees as /opt/ml
    DIR/output/                    output of tasks that ended, until it is among the log events (compute/ended.py)
    DIR/routing.json               the routing table last accepted (mode 0600)
    DIR/reports/N/                 what router N has counted and control has not taken yet (serving/kept.py), and a link
                                   to its journal in the system's shared memory (serving/journal.py)
    DIR/capture/                   what was captured and is not on S3 yet, sealed (serving/capture/spool.py)
    DIR/minutes/                   sketches of what was captured, minute by minute, sealed (minutes/files.py)
    DIR/tls/                       ca.pem, ca.key, server.pem, server.key
    DIR/topics/                    key and certificate that messages of topics are signed with (topics/signing.py)
    DIR/log/                       control.log, router-0.log, capture.log, forkserver.log, supervisor.log
    RUN/                           Unix sockets: supervisor.sock, control.sock, router-0.sock, capture.sock, queue.sock,
                                   i/ID/sock, views/

RUN is not under DIR: a socket's path has at most 107 bytes (103 on macOS), whatever the data directory's is. It is a
folder of mode 0700 below /tmp, or below KEDGE_RUN_DIR, named by a hash of DIR.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kedge.config import Settings


class HomeError(Exception):
    """The data directory cannot be used; the message says what to do."""


@dataclass(frozen=True)
class RootKey:
    access_key_id: str
    secret: str


@dataclass(frozen=True)
class Home:
    path: Path
    run: Path
    account: str
    region: str
    root_key: RootKey
    seal_key: bytes
    """32 bytes: seals session tokens."""

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def master_key(self) -> Path:
        return self.path / "master.key"

    @property
    def run_file(self) -> Path:
        return self.path / "run.json"

    @property
    def database(self) -> Path:
        return self.path / "kedge.db"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.db"

    @property
    def log_store(self) -> Path:
        return self.path / "logs.db"

    @property
    def objects(self) -> Path:
        return self.path / "objects"

    @property
    def artifacts(self) -> Path:
        return self.path / "artifacts"

    @property
    def compiled(self) -> Path:
        return self.path / "compiled"

    @property
    def tasks(self) -> Path:
        return self.path / "tasks"

    @property
    def jobs(self) -> Path:
        return self.path / "jobs"

    @property
    def outputs(self) -> Path:
        return self.path / "output"

    @property
    def routing_file(self) -> Path:
        return self.path / "routing.json"

    @property
    def reports(self) -> Path:
        return self.path / "reports"

    @property
    def capture(self) -> Path:
        return self.path / "capture"

    @property
    def minutes(self) -> Path:
        return self.path / "minutes"

    @property
    def tls(self) -> Path:
        return self.path / "tls"

    @property
    def topics(self) -> Path:
        return self.path / "topics"

    @property
    def logs(self) -> Path:
        return self.path / "log"

    @property
    def supervisor_socket(self) -> Path:
        return self.run / "supervisor.sock"

    @property
    def control_socket(self) -> Path:
        """Where control hands routing tables to routers."""
        return self.run / "control.sock"

    @property
    def report_socket(self) -> Path:
        """Where control takes what routers have counted."""
        return self.run / "report.sock"

    @property
    def capture_socket(self) -> Path:
        """Where routers hand what is captured to the capture process."""
        return self.run / "capture.sock"

    @property
    def shadow_socket(self) -> Path:
        """Where routers hand what shadows answered to the capture process, to be compared."""
        return self.run / "shadow.sock"

    @property
    def queue_socket(self) -> Path:
        """Where routers hand over asynchronous invocations (serving/handover.py)."""
        return self.run / "queue.sock"

    def router_socket(self, number: int) -> Path:
        """Plain HTTP for the control process, which passes on what reached the API port."""
        return self.run / f"router-{number}.sock"

    @property
    def views(self) -> Path:
        """An empty folder; the keeper mounts on it what instances see alike, where nobody else sees it."""
        return self.run / "views"

    def instance_socket(self, task_id: str) -> Path:
        """In a folder of its own, the only one of RUN that the instance sees."""
        return self.run / "i" / task_id / "sock"


def run_folder(data_dir: Path) -> Path:
    """Where the sockets of this data directory are."""
    digest = hashlib.sha256(str(data_dir.resolve()).encode()).hexdigest()[:12]
    base = Path(os.environ.get("KEDGE_RUN_DIR") or "/tmp")  # noqa: S108 (what is made there is checked to be ours)
    return base / f"kedge-{os.getuid()}" / digest


def open_home(settings: Settings) -> Home:
    """Make what is missing and read all of it. Raises HomeError with a sentence that says what to do."""
    path = settings.data_dir.expanduser().absolute()
    try:
        for name in ("", "objects", "artifacts", "compiled", "tasks", "jobs", "output", "log"):
            (path / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        _once(path / "node.json", lambda: {"account": settings.account_id, "region": settings.region})
        _once(
            path / "credentials.json",
            lambda: {
                "access_key_id": settings.root_access_key or "AKIA" + _base32(16),
                "secret_access_key": settings.root_secret_key or secrets.token_urlsafe(30),
                "seal_key": secrets.token_hex(32),
            },
        )
    except OSError as error:
        raise unusable(path, error) from error
    run = run_folder(path)
    for folder in (run.parent, run, run / "i", run / "views"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_private(folder)
    return read_home(path)


def read_home(path: Path) -> Home:
    """A data directory that a server has made, whether one runs there or not; changes nothing. Raises HomeError."""
    path = path.expanduser().absolute()
    try:
        node, credentials = (_read(path / name) for name in ("node.json", "credentials.json"))
    except OSError as error:
        raise unusable(path, error) from error
    run = run_folder(path)
    for folder in (run.parent, run, run / "i"):
        _check_private(folder)
    return Home(
        path=path,
        run=run,
        account=node["account"],
        region=node["region"],
        root_key=RootKey(credentials["access_key_id"], credentials["secret_access_key"]),
        seal_key=bytes.fromhex(credentials["seal_key"]),
    )


def write_whole(path: Path, data: bytes, mode: int = 0o600) -> None:
    """The file appears whole or not at all, and survives a power loss once this returns."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def sync(path: Path) -> None:
    """What was written into the file, or created in the folder, survives a power loss once this returns."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def unusable(path: Path, error: OSError) -> HomeError:
    return HomeError(f"The data directory {path} cannot be used ({error.strerror}); choose another by --data.")


def _once(path: Path, first: Callable[[], Mapping[str, str]]) -> None:
    if not path.exists():
        write_whole(path, json.dumps(first(), indent=2).encode())


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except ValueError as error:
        raise HomeError(f"{path} is damaged; restore it from a backup or start with another data directory.") from error
    if not isinstance(found, dict):
        raise HomeError(f"{path} is damaged; restore it from a backup or start with another data directory.")
    return found


def _check_private(folder: Path) -> None:
    """Others on this machine can write the temporary directory: take only a folder that is ours and closed."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise HomeError(f"{folder} is not a private folder of this user; remove it, or set KEDGE_RUN_DIR.")


def _base32(count: int) -> str:
    return "".join(secrets.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") for _ in range(count))
