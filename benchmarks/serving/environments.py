"""The environments of the other servers: one venv each in the cache folder, made when it is first needed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from benchmarks.serving.registry import Peer

_STAMP = "kedge-bench"


class CannotInstall(Exception):
    """The message is a sentence for the user."""


def make(peer: Peer, cache: Path) -> Path:
    """The environment's folder; that of this process when it needs nothing. Raises CannotInstall."""
    if not peer.packages:
        return Path(sys.prefix)
    folder = cache.absolute() / peer.environment_name
    stamp, want = folder / _STAMP, "\n".join((peer.python, str(peer.behind), *peer.packages))
    if stamp.exists() and stamp.read_text() == want:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    print(f"Installing {', '.join(peer.packages)} into {folder} ...", file=sys.stderr, flush=True)
    _run(peer, [peer.python or sys.executable, "-m", "venv", "--without-pip", str(folder)])
    python = str(folder / "bin" / "python")
    if peer.behind:
        # Behind its own packages stand those of this environment: what is there is not installed twice.
        own = subprocess.run(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip
        site = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
        (Path(own) / "zz-base.pth").write_text(site)
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", "install", "--quiet"]
    _run(peer, [*pip, *peer.packages])
    stamp.write_text(want)
    return folder


def versions(folder: Path, packages: tuple[str, ...]) -> dict[str, str]:
    """What is installed of them there."""
    code = "import importlib.metadata as m, sys; [print(n, m.version(n)) for n in sys.argv[1:]]"
    names = [name for package in packages if (name := _bare(package))]
    done = subprocess.run(
        [str(folder / "bin" / "python"), "-c", code, *names], capture_output=True, text=True, check=False
    )
    return dict(line.split() for line in done.stdout.splitlines())


def _bare(package: str) -> str:
    for mark in "[<>=!~;":
        package = package.partition(mark)[0]
    return package.strip()


def _run(peer: Peer, command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-3:]
        raise CannotInstall(f"{peer.name} cannot be installed: {' '.join(last)}")
