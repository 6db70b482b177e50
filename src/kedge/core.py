"""Which core runs: the modules of a request's path as Python, or as the C that `scripts/build-core` made of them.

There is one source. What was built lies in a folder of its own, and is found before the source only while it fits: made
of these very sources, for this Python. Otherwise everything runs as Python, and `kedge doctor` says why.
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
MODULES = (
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
)
"""What a request passes in router and worker."""
GROUP = "kedge.serving.core"
"""All of them are one library, so that they call one another as C does."""
SOURCE = Path(__file__).parent
BUILT = SOURCE / "_core"
STAMP = BUILT / "stamp.json"


class Core(NamedTuple):
    compiled: bool
    why: str
    """What keeps the compiled one from being used; empty when it is."""

    @property
    def name(self) -> str:
        return "compiled" if self.compiled else "python"


def source_of(module: str) -> Path:
    return SOURCE.joinpath(*module.split(".")).with_suffix(".py")


def stamp() -> dict[str, str]:
    """What a build has to be made of and for, to be used here."""
    digest = hashlib.sha256()
    for module in MODULES:
        digest.update(source_of(module).read_bytes())
    return {"sources": digest.hexdigest(), "python": f"{sys.implementation.cache_tag} {EXTENSION_SUFFIXES[0]}"}


@lru_cache(1)
def found() -> Core:
    """Decided once in the life of a process, before the first of the modules is imported.

    Raises RuntimeError when KEDGE_CORE asks for what is not there.
    """
    chosen = os.environ.get(VARIABLE, "")
    if chosen == "python":
        return Core(False, f"{VARIABLE} is python")
    core = look(STAMP)
    if chosen == "compiled" and not core.compiled:
        raise RuntimeError(f"{VARIABLE} is compiled, but the compiled core is {core.why}.")
    return core


def look(file: Path) -> Core:
    """Whether what `file` is the stamp of may be used here."""
    try:
        built = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return Core(False, "not built; scripts/build-core builds it")
    if built != stamp():
        return Core(False, "built of other sources, or for another Python; scripts/build-core builds it anew")
    return Core(True, "")


def search_path(package: str, path: Iterable[str]) -> list[str]:
    """Where the modules of kedge.`package` are searched. path: its own folder."""
    return [str(BUILT / package), *path] if found().compiled else list(path)
