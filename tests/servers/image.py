"""An image made of this machine's own files, so that nothing is fetched: this Python and the libraries it needs."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

_LEFT_OUT = {
    "test",
    "tests",
    "site-packages",
    "idlelib",
    "tkinter",
    "ensurepip",
    "lib2to3",
    "turtledemo",
    "__pycache__",
}


def write(path: Path, programs: dict[str, bytes]) -> None:
    """A tar file of a root file system. programs: what is on its PATH, each begun by the image's Python."""
    python = os.path.realpath(sys.executable)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    library = Path(os.path.realpath(sys.base_prefix)) / "lib" / version
    files = [Path(python)]
    for folder, names, found in os.walk(library):
        names[:] = [name for name in names if name not in _LEFT_OUT and not name.startswith("config-")]
        files += [Path(folder, name) for name in found if name.endswith((".py", ".so"))]
    binaries = [str(each) for each in files if each.suffix == ".so" or str(each) == python]
    with tarfile.open(path, "w") as tar:
        for name in dict.fromkeys([*map(str, files), *(each for binary in binaries for each in _needed(binary))]):
            tar.add(os.path.realpath(name), name.lstrip("/"))
        for name, text in programs.items():
            body = f"#!{python}\n".encode() + text.partition(b"\n")[2]
            member = tarfile.TarInfo(f"usr/local/bin/{name}")
            member.size, member.mode = len(body), 0o755
            tar.addfile(member, io.BytesIO(body))
        folder_of_all = tarfile.TarInfo("tmp")
        folder_of_all.type, folder_of_all.mode = tarfile.DIRTYPE, 0o1777
        tar.addfile(folder_of_all)


def _needed(binary: str) -> list[str]:
    said = subprocess.run(["ldd", binary], capture_output=True, text=True, check=False).stdout
    return [name for name in re.findall(r"(/\S+)", said) if os.path.exists(name)]
