"""What a model's requirements file may ask for. PURE.

pip runs outside the sandbox, since it needs the network. So a file that comes with a model may name packages by name
and wheels of its own archive, which are unpacked and not run. What would fetch from other places, or run code of a
package while it is built, is refused unless the operator trusts the models (KEDGE_TRUST_REQUIREMENTS).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterator

MAX_BYTES = 256 * 1024
_NAMED_FILE = re.compile(r"(?:-r|-c|--requirement|--constraint)(?:\s+|=|(?<=-[rc]))(\S+)")
_HARMLESS = ("--hash", "--pre", "--prefer-binary", "--only-binary", "--require-hashes")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\s*(?:\[[^\]]*\])?\s*(?=[<>=!~;(\s]|$)")


def lines(text: str) -> Iterator[str]:
    """Each requirement or option, without comments, continued lines put together."""
    for line in re.sub(r"\\\r?\n", " ", text).splitlines():
        line = re.sub(r"(^|\s)#.*$", "", line).strip()
        if line:
            yield line


def named_files(text: str) -> list[str]:
    """The further files, relative to this one, that the lines name: requirements, constraints."""
    return [found[1] for line in lines(text) if (found := _NAMED_FILE.match(line))]


def own_wheels(text: str) -> list[str]:
    """The wheels of the archive that the lines name."""
    return [line.split(";")[0].strip() for line in lines(text) if _is_own_wheel(line)]


def problem(text: str, *, trusted: bool) -> str:
    """Why pip is not given this file: a clause about its first line that is not allowed; "" when there is none."""
    for line in lines(text):
        shown = line if len(line) <= 120 else line[:117] + "..."
        if found := _NAMED_FILE.match(line):
            if not _inside(found[1]):
                return f'"{shown}" names a file outside of the archive'
        elif trusted or _is_own_wheel(line):
            continue
        elif line.startswith("-"):
            if not line.startswith(_HARMLESS):
                return f'"{shown}" is an option that only an operator may give'
        elif "://" in line or "@" in line.partition(";")[0] or not _NAME.match(line):
            return f'"{shown}" is no package of the index by its name'
    return ""


def satisfied(text: str, packages: Collection[str]) -> bool | None:
    """Whether everything is there, as far as names alone tell; None when versions, markers or options decide.

    packages: NAME==VERSION of what is there, names as their metadata writes them.
    """
    there = {_normal(package.partition("==")[0]) for package in packages}
    plain = True
    for line in lines(text):
        found = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", line)
        if ";" in line or not found or not _NAME.match(line):
            plain = False
        elif _normal(found[0]) not in there:
            return False
        elif found[0] != line:
            plain = False
    return True if plain else None


def _normal(name: str) -> str:
    """As two spellings of one package's name are alike. Source: PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _is_own_wheel(line: str) -> bool:
    path = line.partition(";")[0].strip()
    return path.endswith(".whl") and "://" not in path and "@" not in path and _inside(path)


def _inside(path: str) -> bool:
    """Whether a path stays in the folder that it is relative to."""
    normal = posixpath.normpath(path)
    return "://" not in path and not posixpath.isabs(normal) and normal.partition("/")[0] not in ("..", "~", "")
