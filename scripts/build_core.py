"""Builds the modules that kedge.core names, by mypyc, into src/kedge/_core."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from mypyc.build import mypycify  # brings setuptools with it, so it comes first
from setuptools import Distribution
from setuptools.command.build_ext import build_ext

from kedge import core

ROOT = Path(__file__).parent.parent


def build(folder: Path) -> Path:
    """The folder in which what was built lies as in the package. Ends the process when there is no C compiler."""
    sources = [str(core.source_of(module).relative_to(ROOT)) for module in core.MODULES]
    options = ["--config-file", "pyproject.toml"]
    extensions = mypycify([*options, *sources], group_name=core.GROUP, target_dir=str(folder / "c"), debug_level="0")
    command = build_ext(Distribution({"name": "kedge-core", "ext_modules": extensions}))
    command.build_lib, command.build_temp = str(folder / "lib"), str(folder / "objects")
    command.parallel = os.cpu_count()
    command.ensure_finalized()
    command.run()
    return folder / "lib" / "kedge"


def main() -> None:
    os.chdir(ROOT)
    if shutil.which("cc") is None and shutil.which("gcc") is None and shutil.which("clang") is None:
        sys.exit("No C compiler is here; install one (Debian and Ubuntu: apt-get install gcc). Kedge runs without.")
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kedge-core-") as folder:
        made = build(Path(folder))
        shutil.rmtree(core.BUILT, ignore_errors=True)
        shutil.copytree(made, core.BUILT)
    core.STAMP.write_text(json.dumps(core.stamp()))
    print(f"{len(core.MODULES)} modules are built in {time.monotonic() - began_s:.0f} s; `kedge doctor` says so.")


if __name__ == "__main__":
    main()
