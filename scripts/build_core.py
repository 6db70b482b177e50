"""Builds what kedge.core names into src/kedge/_core: what is written in C first, then, by mypyc, the modules."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kedge import core

ROOT = Path(__file__).parent.parent
_C = ("-std=c11", "-O3", "-Wall", "-Wextra", "-fno-strict-aliasing", "-fPIC")


def compiler() -> str:
    """Of C. Ends the process when there is none."""
    for name in (*shlex.split(str(sysconfig.get_config_var("CC") or ""))[:1], "cc", "gcc", "clang"):
        if shutil.which(name) is not None:
            return name
    sys.exit("No C compiler is here; install one (Debian and Ubuntu: apt-get install gcc). Kedge runs without.")


def build_native(folder: Path) -> Path:
    """By the compiler alone, for neither mypyc nor setuptools is there in a plain installation."""
    headers = sysconfig.get_path("include")
    if not Path(headers, "Python.h").exists():
        sys.exit(f"Python's headers are not in {headers} (Debian and Ubuntu: apt-get install python3-dev).")
    # Python says how it links a module on this system; by which program is decided here.
    linking = shlex.split(str(sysconfig.get_config_var("LDSHARED")))[1:]
    commands = []
    for module, source in zip(core.NATIVE.modules, core.NATIVE.sources, strict=True):
        target = folder.joinpath(*module.split(".")).with_suffix(str(sysconfig.get_config_var("EXT_SUFFIX")))
        target.parent.mkdir(parents=True, exist_ok=True)
        commands.append([compiler(), *_C, f"-I{headers}", str(source), *linking, "-o", str(target)])
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        ended = list(pool.map(lambda command: subprocess.run(command, check=False).returncode, commands))
    if any(ended):
        sys.exit("What is written in C cannot be compiled here; the compiler's words stand above.")
    return folder


def build_modules(folder: Path) -> Path:
    from mypyc.build import mypycify  # brings setuptools with it, so it comes first
    from setuptools import Distribution
    from setuptools.command.build_ext import build_ext

    sources = [str(source.relative_to(ROOT)) for source in core.MODULES.sources]
    options = ["--config-file", "pyproject.toml"]
    made = mypycify([*options, *sources], group_name=core.GROUP, target_dir=str(folder / "c"), debug_level="0")
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
    compiler()
    for part, build in ((core.NATIVE, build_native), (core.MODULES, build_modules))[: 1 if options.native else 2]:
        began_s = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="kedge-core-") as name:
            made = build(Path(name))
            shutil.rmtree(part.folder, ignore_errors=True)
            shutil.copytree(made, part.folder)
        part.stamp_file.write_text(json.dumps(part.stamp()))
        what = ", ".join(part.modules) if part is core.NATIVE else f"{len(part.modules)} modules"
        print(f"Built in {time.monotonic() - began_s:.0f} s: {what}.", flush=True)
    print("`kedge doctor` says what is used.")


if __name__ == "__main__":
    main()
