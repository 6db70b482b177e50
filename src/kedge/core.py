"""Which core runs: the modules of a request's path as Python, or as the C that `scripts/build-core` made of them.

There is one source. What was built lies in a folder of its own, and is found before the source only while it fits: made
of these very sources, for this Python. Otherwise everything runs as Python, and `kedge doctor` says why.

What is written in C is built apart, within seconds, by scripts/setup too, and has its own stamp.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable
from functools import lru_cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import NamedTuple

VARIABLE = "KEDGE_CORE"
"""`python` runs the sources, built or not; `compiled` runs nothing else than what was built."""
GROUP = "kedge.serving.core"
"""All of MODULES are one library, so that they call one another as C does."""
SOURCE = Path(__file__).parent
BUILT = SOURCE / "_core"


class Part(NamedTuple):
    """What is built together, and used while it fits."""

    folder: Path
    """In which what was built lies as in the package."""
    suffix: str
    """Of the sources."""
    modules: tuple[str, ...]

    @property
    def stamp_file(self) -> Path:
        return self.folder / "stamp.json"

    @property
    def sources(self) -> list[Path]:
        return [SOURCE.joinpath(*module.split(".")).with_suffix(self.suffix) for module in self.modules]

    def stamp(self) -> dict[str, str]:
        """What a build has to be made of and for, to be used here."""
        digest = hashlib.sha256()
        for source in self.sources:
            digest.update(source.read_bytes())
        return {"sources": digest.hexdigest(), "python": f"{sys.implementation.cache_tag} {EXTENSION_SUFFIXES[0]}"}


MODULES = Part(
    BUILT / "modules",
    ".py",
    (
        "serving.admission",
        "serving.answers",
        "serving.asking",
        "serving.choose",
        "serving.connection",
        "serving.deadlines",
        "serving.fleet",
        "serving.frames",
        "serving.head",
        "serving.inbound",
        "serving.invocation",
        "serving.meter",
        "serving.permission",
        "serving.retry",
        "serving.routing",
        "serving.streaming",
        "serving.streams",
        "serving.table",
        "serving.upstream",
        "serving.work",
        "serving.worker_io",
        "wire.canonical",
        "wire.sigv4",
    ),
)
"""What a request passes in router and worker."""
NATIVE = Part(BUILT / "native", ".c", ("serving.compiled.walker", "serving.runtimes.tables", "wire.native"))
"""Each stands for some Python, which runs without it: of kedge.serving.compiled.run, kedge.serving.runtimes.numeric,
kedge.serving.head and kedge.wire.sigv4."""


class Core(NamedTuple):
    compiled: bool
    why: str
    """What keeps the compiled one from being used; empty when it is."""

    @property
    def name(self) -> str:
        return "compiled" if self.compiled else "python"


@lru_cache
def found(part: Part = MODULES) -> Core:
    """Decided once in the life of a process, before the first of the modules is imported.

    Raises RuntimeError when KEDGE_CORE asks for what is not there.
    """
    chosen = os.environ.get(VARIABLE, "")
    if chosen == "python":
        return Core(False, f"{VARIABLE} is python")
    core = look(part)
    if chosen == "compiled" and not core.compiled:
        raise RuntimeError(f"{VARIABLE} is compiled, but the compiled core ({part.folder.name}) is {core.why}.")
    return core


def look(part: Part) -> Core:
    """Whether what was built of it may be used here."""
    try:
        built = json.loads(part.stamp_file.read_bytes())
    except (OSError, ValueError):
        return Core(False, "not built; scripts/build-core builds it")
    if built != part.stamp():
        return Core(False, "built of other sources, or for another Python; scripts/build-core builds it anew")
    return Core(True, "")


def search_path(package: str, path: Iterable[str], part: Part = MODULES) -> list[str]:
    """Where the modules of kedge.`package` are searched. path: its own folder."""
    return [str(part.folder.joinpath(*package.split("."))), *path] if found(part).compiled else list(path)
