"""Builds what kedge.core names into src/kedge/_core: what is written in C first, then, by mypyc, the modules."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from mypyc.build import mypycify  # brings setuptools with it, so it comes first
from setuptools import Distribution, Extension
from setuptools.command.build_ext import build_ext

from kedge import core

ROOT = Path(__file__).parent.parent
_C = ["-std=c11", "-O3", "-Wall", "-Wextra", "-fno-strict-aliasing"]


def extensions(part: core.Part, folder: Path) -> list[Extension]:
    sources = [str(source.relative_to(ROOT)) for source in part.sources]
    if part is core.NATIVE:
        return [
            Extension(f"kedge.{module}", [source], extra_compile_args=_C, depends=[__file__])
            for module, source in zip(part.modules, sources, strict=True)
        ]
    options = ["--config-file", "pyproject.toml"]
    return mypycify([*options, *sources], group_name=core.GROUP, target_dir=str(folder / "c"), debug_level="0")


def build(made: Sequence[Extension], folder: Path) -> Path:
    """The folder in which what was built lies as in the package."""
    command = build_ext(Distribution({"name": "kedge-core", "ext_modules": made}))
    command.build_lib, command.build_temp = str(folder / "lib"), str(folder / "objects")
    command.parallel = os.cpu_count()
    command.ensure_finalized()
    command.run()
    return folder / "lib" / "kedge"


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/build-core", description=__doc__)
    parser.add_argument("--native", action="store_true", help="only what is written in C, which takes seconds")
    options = parser.parse_args()
    os.chdir(ROOT)
    if shutil.which("cc") is None and shutil.which("gcc") is None and shutil.which("clang") is None:
        sys.exit("No C compiler is here; install one (Debian and Ubuntu: apt-get install gcc). Kedge runs without.")
    for part in (core.NATIVE,) if options.native else (core.NATIVE, core.MODULES):
        began_s = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="kedge-core-") as name:
            folder = Path(name)
            made = build(extensions(part, folder), folder)
            shutil.rmtree(part.folder, ignore_errors=True)
            shutil.copytree(made, part.folder)
        part.stamp_file.write_text(json.dumps(part.stamp()))
        what = ", ".join(part.modules) if part is core.NATIVE else f"{len(part.modules)} modules"
        print(f"Built in {time.monotonic() - began_s:.0f} s: {what}.", flush=True)
    print("`kedge doctor` says what is used.")


if __name__ == "__main__":
    main()
