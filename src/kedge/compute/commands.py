"""The operator's map from images to commands: what runs in place of a container where an image is not run itself.

{"IMAGE PATTERN": "COMMAND", "IMAGE PATTERN": {"command": ["WORD", ...], "readable": ["/FOLDER", ...]}}
"""

from __future__ import annotations

import fnmatch
import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LEAST_PARTS = 3
"""`/`, a folder, another: nothing shorter is shown to an instance for a command's sake."""


class CommandsRefused(ValueError):
    """The map cannot be used; the message is a sentence that names it and says what is wrong."""


@dataclass(frozen=True)
class Command:
    words: tuple[str, ...]
    readable: tuple[str, ...] = ()
    """Folders that the instance is shown for it, each at its own path."""


def read(path: str) -> dict[str, Command]:
    """The file that the setting `images` names, by pattern. Read anew each time. Raises CommandsRefused."""
    if not path:
        return {}
    try:
        table = json.loads(Path(path).expanduser().read_bytes())
    except (OSError, ValueError) as error:
        raise CommandsRefused(f"KEDGE_IMAGES is {path}, which cannot be read as JSON: {error}.") from error
    if not isinstance(table, dict):
        raise CommandsRefused(f'KEDGE_IMAGES is {path}; it has to hold {{"IMAGE PATTERN": "COMMAND"}}.')
    return {pattern: _command(path, pattern, value) for pattern, value in table.items()}


def find(table: Mapping[str, Command], image: str) -> Command | None:
    """The first whose pattern fits the image's URI, or its NAME:TAG alone. PURE."""
    names = (image, image.rpartition("/")[2])
    return next(
        (found for pattern, found in table.items() if any(fnmatch.fnmatchcase(n, pattern) for n in names)), None
    )


def _command(path: str, pattern: str, value: Any) -> Command:
    given = value if isinstance(value, dict) else {"command": value}
    words, folders = given.get("command"), given.get("readable", [])
    if isinstance(words, str):
        try:
            words = shlex.split(words)
        except ValueError as error:
            raise CommandsRefused(f'KEDGE_IMAGES is {path}; the command of "{pattern}" has {error}.') from error
    if not _are_texts(words) or not words or not _are_texts(folders) or given.keys() - {"command", "readable"}:
        raise CommandsRefused(
            f'KEDGE_IMAGES is {path}; "{pattern}" has to name a command, as a text or a list of words, or '
            '{"command": ..., "readable": [FOLDER, ...]}.'
        )
    for folder in folders:
        if not os.path.isabs(folder):
            raise CommandsRefused(
                f'KEDGE_IMAGES is {path}; "{pattern}" has the folder {folder}, which is no whole path.'
            )
    return Command(tuple(words), (*folders, *_around(words[0])))


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _around(program: str) -> tuple[str, ...]:
    """The folder in which an absolute program lies; of a `bin` what that is the bin of."""
    if not os.path.isabs(program):
        return ()
    folder = Path(os.path.normpath(program)).parent
    if folder.name == "bin" and len(folder.parent.parts) >= _LEAST_PARTS:
        folder = folder.parent
    return (str(folder),) if len(folder.parts) >= _LEAST_PARTS else ()
