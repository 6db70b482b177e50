"""The Python environments of models: what `code/requirements.txt` names, installed once and kept.

An environment is a venv in DATA/environments/DIGEST, behind whose own packages stand those of the Python it is made
with: what is there already is not installed again, and an older version that a model pins goes before it. The digest is
of the requirements, the version of Python and the packages behind. Two instances that need the same one wait for one
another on a file lock. An environment counts once its file `complete` is there; one that was left half made is made
anew. It is built in its final place, since the programs in a venv hold its path.

pip runs as the supervisor's child, before there is a sandbox: it needs the network. It gets none of Kedge's variables
and no keys. `requirements.problem` says what a model's file may ask of it; only wheels are installed, which runs none
of their code. A Python of such an environment is started without its `site` module (-S), so that a .pth file of a
package runs in the sandbox too; `kedge.compute.instance` turns it on there.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import fnmatch
import hashlib
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kedge
from kedge.compute import output, requirements
from kedge.compute.children import Children
from kedge.compute.process_id import ProcessId
from kedge.config import Settings
from kedge.home import Home, write_whole

FOLDER = "environments"
COMPLETE = "complete"
INSTALL_WITHIN_S = 1800.0
"""A longer one is ended, if the instance's own time to start is longer still."""
_LOCKED_LOOK_S = 0.1
_MAX_FILES = 32
_SAID_LINES = 6
"""Of pip's last ones, in the reason of a failure."""
_LEAST_PYTHON = (3, 11)
_PASSED_ON = (
    *("PATH", "HOME", "LANG", "TZ", "TMPDIR", "NETRC", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy"),
    *(f"PIP_{name}" for name in ("INDEX_URL", "EXTRA_INDEX_URL", "NO_INDEX", "FIND_LINKS", "TRUSTED_HOST", "CERT")),
    *(f"PIP_{name}" for name in ("CLIENT_CERT", "PROXY", "TIMEOUT", "DEFAULT_TIMEOUT", "RETRIES", "CONFIG_FILE")),
    *(f"PIP_{name}" for name in ("CACHE_DIR", "NO_CACHE_DIR", "CONSTRAINT", "KEYRING_PROVIDER")),
)
_PROBE = """
import json, sys, importlib.metadata as metadata, importlib.util
names = {(d.metadata["Name"] or "").lower() + "==" + d.version for d in metadata.distributions()}
paths = [p for p in sys.path if p.rstrip("/").endswith(("site-packages", "dist-packages"))]
print(json.dumps({"version": list(sys.version_info[:3]), "packages": sorted(names), "paths": paths,
    "prefixes": [sys.prefix, sys.base_prefix], "pip": importlib.util.find_spec("pip") is not None}))
"""


class EnvironmentFailed(Exception):
    """The environment cannot be had; the message is a sentence that says why."""


class _PipFailed(Exception):
    pass


@dataclass(frozen=True)
class Environment:
    """A Python in which an instance runs."""

    python: str
    variables: Mapping[str, str]
    """What it needs to find Kedge's own modules."""
    readable: tuple[str, ...]
    """The folders that it reads, which a sandbox has to show."""


@dataclass(frozen=True)
class Needs:
    """What a model asks of the Python that it runs in."""

    image: str
    folders: tuple[Path, ...]
    """Those in which a requirements.txt may lie; of a pipeline those of all its containers."""
    isolated: bool = False
    """EnableNetworkIsolation: nothing may be fetched."""


@dataclass(frozen=True)
class _Base:
    """A Python that environments are made with."""

    python: str
    version: tuple[int, ...]
    packages: tuple[str, ...]
    paths: tuple[str, ...]
    prefixes: tuple[str, ...]
    pip: bool


def read_table(path: str) -> dict[str, str]:
    """The file that the setting `environments` names: image pattern to the path of a Python or a requirements file.

    Relative paths are relative to the file. Raises EnvironmentFailed.
    """
    if not path:
        return {}
    file = Path(path).expanduser()
    try:
        table = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise EnvironmentFailed(f"KEDGE_ENVIRONMENTS is {path}, which cannot be read as JSON: {error}.") from error
    if not isinstance(table, dict) or not all(isinstance(value, str) and value for value in table.values()):
        raise EnvironmentFailed(f'KEDGE_ENVIRONMENTS is {path}; it has to hold {{"IMAGE PATTERN": "PATH"}}.')
    return {pattern: str(file.parent.absolute() / Path(value).expanduser()) for pattern, value in table.items()}


def mapped(table: Mapping[str, str], image: str) -> str:
    """The first entry whose pattern fits the image's URI, or its NAME:TAG alone; "" when none does. PURE."""
    names = (image, image.rpartition("/")[2])
    return next((path for pattern, path in table.items() if any(fnmatch.fnmatchcase(n, pattern) for n in names)), "")


class Environments:
    """One for each supervisor."""

    def __init__(self, home: Home, children: Children, settings: Settings, mark: Mapping[str, str]) -> None:
        """mark: the variable by which a later supervisor finds a pip that was left over."""
        self._folder = home.path / FOLDER
        self._children = children
        self._settings = settings
        self._mark = mark
        self.working: set[ProcessId] = set()
        """What runs here now, which no record claims."""
        self._bases: dict[str, _Base] = {}
        self._satisfied: set[str] = set()

    async def prepare(self, needs: Needs, log: Path) -> Environment | None:
        """The environment that a model needs, installed when it is not there; None when Kedge's own will do.

        log: the file to which pip's output is added. Raises EnvironmentFailed, or OSError. Cancelling it ends pip.
        """
        # Read each time: it may be changed while the server runs.
        entry = mapped(read_table(self._settings.environments), needs.image)
        files = [Path(entry)] if entry.endswith(".txt") else []
        python = sys.executable if not entry or files else entry
        for folder in needs.folders:
            file = folder / "requirements.txt"
            if file.is_file() and any(requirements.lines(self._checked(file, folder))):
                files.append(file)
        if not files:
            return None if not entry else self._environment(await self._base(python), python, ())
        base = await self._base(python)
        texts = [_bounded(file) for file in files]
        digest = _digest(base, texts, files)
        venv = self._folder / digest
        if not (venv / COMPLETE).exists():
            if digest in self._satisfied or await self._are_satisfied(base, files, texts):
                self._satisfied.add(digest)
                return None if python == sys.executable else self._environment(base, python, ())
            self._check_allowed(needs, bool(entry) and len(files) == 1)
            await self._install(base, venv, files, log)
        return self._environment(base, str(venv / "bin" / "python"), (str(venv),))

    def _checked(self, file: Path, folder: Path) -> str:
        """The text of a model's file, all that it names included. Raises EnvironmentFailed."""
        root, seen, waiting, texts = folder.resolve(), set[Path](), [file.resolve()], []
        while waiting:
            path = waiting.pop()
            if path in seen:
                continue
            seen.add(path)
            if not path.is_relative_to(root) or not path.is_file():
                raise EnvironmentFailed(f"{file.name} names {path.name}, which is no file of the archive.")
            if len(seen) > _MAX_FILES:
                raise EnvironmentFailed(f"{file.name} names more than {_MAX_FILES} further files.")
            text = _bounded(path)
            if problem := requirements.problem(text, trusted=self._settings.trust_requirements):
                raise EnvironmentFailed(
                    f"{path.name} is not installed: {problem}. Name packages of the index by name, or wheels of the "
                    "archive; an operator who trusts the models sets KEDGE_TRUST_REQUIREMENTS=true."
                )
            waiting += [(path.parent / name).resolve() for name in requirements.named_files(text)]
            for wheel in requirements.own_wheels(text):
                if not (path.parent / wheel).resolve().is_relative_to(root):
                    raise EnvironmentFailed(f"{path.name} names {wheel}, which is no file of the archive.")
            texts.append(text)
        return "\n".join(texts)

    def _check_allowed(self, needs: Needs, of_operator: bool) -> None:
        """Raises EnvironmentFailed."""
        if not self._settings.allow_installs:
            raise EnvironmentFailed(
                "The model's requirements.txt asks for what is not installed beside Kedge, and KEDGE_ALLOW_INSTALLS is "
                "false. Install it there, or map the image to an environment in KEDGE_ENVIRONMENTS."
            )
        if needs.isolated and not of_operator:
            raise EnvironmentFailed(
                "The model's requirements.txt asks for what is not installed beside Kedge, and EnableNetworkIsolation "
                "is true: nothing is fetched for this model. Install it there, or turn the isolation off."
            )

    async def _are_satisfied(self, base: _Base, files: Sequence[Path], texts: Sequence[str]) -> bool:
        """Whether everything is there in the versions that are asked for. Asks pip where names alone do not tell."""
        by_name = [requirements.satisfied(text, base.packages) for text in texts]
        if False in by_name or not base.pip:
            return False
        if None not in by_name:
            return True
        with tempfile.TemporaryFile() as answer:
            status = await self._run(
                [base.python, *_PIP, "--dry-run", "--no-index", "--no-deps", *_named(files)],
                answer.fileno(),
                files[-1].parent,
                also={"PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": ""},
            )
            answer.seek(0)
            return status == 0 and b"Would install" not in answer.read()

    async def _install(self, base: _Base, venv: Path, files: Sequence[Path], log: Path) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        lock = output.open_for_append(self._folder / f"{venv.name}.lock")
        try:
            async with asyncio.timeout(INSTALL_WITHIN_S):
                await _locked(lock)
                if (venv / COMPLETE).exists():
                    return
                await asyncio.to_thread(_remove, venv)
                await self._make(base, venv, files, lock, log)
        except TimeoutError as error:
            raise EnvironmentFailed(f"requirements.txt was not installed within {INSTALL_WITHIN_S:g} s.") from error
        finally:
            os.close(lock)

    async def _make(self, base: _Base, venv: Path, files: Sequence[Path], lock: int, log: Path) -> None:
        """The lock goes to the children, so that it holds for as long as one of them works, whoever is killed."""
        log_file = output.open_for_append(log)
        try:
            await self._fill(base, venv, files, lock, log_file)
        except _PipFailed as error:
            only = "" if self._settings.trust_requirements else "; only wheels are installed"
            said = output.tail(log, _SAID_LINES)
            raise EnvironmentFailed(f"requirements.txt could not be installed ({error}{only}):\n{said}") from error
        finally:
            os.close(log_file)

    async def _fill(self, base: _Base, venv: Path, files: Sequence[Path], lock: int, log_file: int) -> None:
        without = ["--without-pip"] if base.pip else []
        made = await self._run([base.python, "-I", "-m", "venv", *without, str(venv)], log_file, self._folder, lock)
        if made != 0:
            raise EnvironmentFailed(f"{base.python} cannot make a virtual environment (exit status {made}).")
        python = venv / "bin" / "python"
        for packages in (venv / "lib").glob("python*/site-packages"):
            added = "".join(f"import site; site.addsitedir({path!r})\n" for path in base.paths)
            (packages / "zz-kedge-base.pth").write_text(added)
        wheels = [] if self._settings.trust_requirements else ["--only-binary", ":all:"]
        command = [str(python), *_PIP, "--progress-bar", "off", *wheels, *_named(files)]
        status = await self._run(command, log_file, files[-1].parent, lock)
        if status != 0:
            raise _PipFailed(f"pip ended with {status}")
        described = {"python": list(base.version), "requirements": [str(file) for file in files]}
        write_whole(venv / COMPLETE, json.dumps(described).encode())

    async def _base(self, python: str) -> _Base:
        if python in self._bases:
            return self._bases[python]
        with tempfile.TemporaryFile() as answer:
            status = await self._run([python, "-I", "-c", _PROBE], answer.fileno(), Path("/"))
            answer.seek(0)
            said = answer.read()
        try:
            fields = json.loads(said)
        except ValueError:
            raise EnvironmentFailed(f"{python} is no Python that can be started (exit status {status}).") from None
        base = _Base(
            python=python,
            version=tuple(fields["version"]),
            packages=tuple(name for name in fields["packages"] if not name.startswith("kedge==")),
            paths=tuple(fields["paths"]),
            prefixes=tuple(fields["prefixes"]),
            pip=fields["pip"],
        )
        if base.version < _LEAST_PYTHON:
            version, least = ".".join(map(str, base.version)), ".".join(map(str, _LEAST_PYTHON))
            raise EnvironmentFailed(f"{python} is Python {version}; an instance needs {least} or newer.")
        self._bases[python] = base
        return base

    def _environment(self, base: _Base, python: str, folders: tuple[str, ...]) -> Environment:
        link = self._modules()
        package = Path(kedge.__file__).parent
        readable = (*folders, *base.paths, *base.prefixes, str(link), str(package))
        return Environment(python, {"PYTHONPATH": str(link)}, tuple(dict.fromkeys(readable)))

    def _modules(self) -> Path:
        """A folder that holds the package kedge and nothing else, for a Python that has it not."""
        folder = self._folder / ".kedge"
        package = Path(kedge.__file__).parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        link = folder / "kedge"
        if not link.is_symlink() or link.readlink() != package:
            temporary = folder / f".{os.getpid()}"
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink()
            temporary.symlink_to(package)
            temporary.replace(link)
        return folder

    async def _run(
        self, command: Sequence[str], log_file: int, folder: Path, *lent: int, also: Mapping[str, str] | None = None
    ) -> int:
        """The exit status. Cancelling it ends the program and all that it started."""
        passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        own = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
        environment = {**passed, **self._mark, **own, **(also or {})}
        try:
            process = self._children.spawn(
                ["/bin/sh", "-c", 'cd "$0" && exec "$@"', str(folder), *command],
                environment,
                output=log_file,
                descriptors=lent,
            )
        except OSError as error:
            raise EnvironmentFailed(f"{command[0]} cannot be started: {error}.") from error
        self.working.add(process)
        ended = asyncio.ensure_future(self._children.ended(process))
        ended.add_done_callback(lambda _: self.working.discard(process))
        try:
            status = await asyncio.shield(ended)
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            await asyncio.wait({ended})
            raise
        return -1 if status is None else status


# -I: no module of the archive takes pip's place, since pip runs in the folder to which its paths are relative.
_PIP = ("-I", "-m", "pip", "install")


def _named(files: Sequence[Path]) -> list[str]:
    return [part for file in files for part in ("-r", str(file))]


def _bounded(file: Path) -> str:
    try:
        size = file.stat().st_size
        if size > requirements.MAX_BYTES:
            raise EnvironmentFailed(f"{file.name} has {size} bytes; at most {requirements.MAX_BYTES} are allowed.")
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise EnvironmentFailed(f"{file.name} cannot be read: {error}.") from error


def _digest(base: _Base, texts: Sequence[str], files: Sequence[Path]) -> str:
    """Of the content, Python and the packages behind. Where a file names others, of the folder that it lies in too."""
    others = [
        str(file.resolve())
        for file, text in zip(files, texts, strict=True)
        if requirements.named_files(text) or requirements.own_wheels(text)
    ]
    said: list[Any] = [base.python, base.version, base.packages, list(texts), others]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:32]


def _remove(venv: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(venv)


async def _locked(lock: int) -> None:
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            await asyncio.sleep(_LOCKED_LOOK_S)
        else:
            return
