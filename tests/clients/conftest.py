"""Programs that nobody here wrote, each in an environment of its own, against a server process over http and https.

scripts/test-clients makes the environments and names their folder in KEDGE_CLIENTS; without it nothing here is
collected. A client gets what `kedge env` prints and nothing else of ours. A program in programs/ is what a user could
have written: it holds its own assertions and ends with status 0 when all of them held.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from kedge.compute import namespaces
from tests.clients import loopback, models
from tests.faults.conftest import Server

CLIENTS = Path(os.environ["KEDGE_CLIENTS"]).absolute() if os.environ.get("KEDGE_CLIENTS") else None
HERE = Path(__file__).parent
SCHEMES = os.environ.get("KEDGE_CLIENT_SCHEME", "http https").split()
LIMIT_S = 600.0
"""For a program that hangs: others run beside it, on machines of two cores."""

collect_ignore_glob = [] if CLIENTS else ["test_*.py"]


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Machine:
    """A user's machine: an empty home, the variables of `kedge env`, and a guard at the way out."""

    server: Server
    exported: dict[str, str]
    home: Path

    @property
    def scheme(self) -> str:
        return "https" if "AWS_CA_BUNDLE" in self.exported else "http"

    def environment(self, client: str | None) -> dict[str, str]:
        assert CLIENTS is not None
        own = [str(CLIENTS / client / "bin")] if client else []
        return {
            "PATH": ":".join([*own, "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]),
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(HERE / "guard"),
            "KEDGE_TEST_GUARD": str(self.guard),
            **self.exported,
        }

    @property
    def guard(self) -> Path:
        return self.home / "refused"

    def run(
        self, client: str | None, command: Sequence[str | Path], code: int = 0, extra: dict[str, str] | None = None
    ) -> Done:
        """Runs to the end; fails the test when the exit status is another one or something tried to leave."""
        outside = unroutable()
        done = subprocess.run(
            [str(part) for part in command],
            cwd=self.home, env={**self.environment(client), **(extra or {})},
            capture_output=True, timeout=LIMIT_S, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        if done.returncode != code:
            pytest.fail(f"exit status {done.returncode}\n{out[-4000:]}\n{err[-8000:]}", pytrace=False)
        assert not self.guard.exists(), f"tried to leave the machine:\n{self.guard.read_text()}"
        assert unroutable() == outside, "a packet was to leave the machine"
        return Done(done.returncode, out, err)

    def program(self, client: str, name: str, *arguments: str | Path) -> Done:
        """programs/NAME.py in the environment of `client`."""
        return self.run(client, ["python", HERE / "programs" / f"{name}.py", *arguments])


def unroutable() -> int | None:
    """Packets and connections that the kernel refused to this network namespace for want of a way out.

    None where there is a way out, or where that cannot be told.
    scripts/test-clients runs everything in a namespace that has the loopback interface only, where one can be made.
    """
    try:
        interfaces = {line.split(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines()[2:]}
        if interfaces != {"lo"}:
            return None
        lines = [line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Ip:")]
        six = dict(line.split() for line in Path("/proc/net/snmp6").read_text().splitlines())
    except OSError:
        return None
    return int(dict(zip(*lines, strict=True))["OutNoRoutes"]) + int(six.get("Ip6OutNoRoutes", 0))


def alone() -> None:
    """A namespace of its own for each process of tests: they count what was to leave, and may run side by side."""
    if "PYTEST_XDIST_WORKER" in os.environ and unroutable() is not None:
        namespaces.unshare(["net"])
        loopback.up()


if CLIENTS:
    alone()


def clients(prefix: str = "") -> list[str]:
    """The environments that there are, as parameters of a test. One whose file is there has to be there too."""
    named = sorted(path.stem for path in (HERE.parent.parent / "requirements" / "clients").glob(f"{prefix}*.txt"))
    return [name for name in named if name != "uv"]


def program_or_skip(name: str) -> str:
    found = shutil.which(name)
    if not found:
        pytest.skip(f"{name} is not on this machine")
    return found


@pytest.fixture(scope="session", params=SCHEMES)
def machine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    home = tmp_path_factory.mktemp(request.param)
    server = Server(home / "data", flags=("--tls",) if request.param == "https" else ()).up()
    try:
        printed = subprocess.run(
            [sys.executable, "-m", "kedge", "env", "--json", "--data", str(server.data)],
            env={"PATH": os.environ["PATH"]}, capture_output=True, check=True, timeout=30,
        )  # fmt: skip
        (home / "user").mkdir()
        yield Machine(server, json.loads(printed.stdout), home / "user")
    finally:
        server.down()


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that tests.clients.models fills."""
    folder = tmp_path_factory.mktemp("artifacts")
    models.write(folder)
    return folder
