"""What the routers say of data capture, for `kedge status`."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_WITHIN_S = 2.0
_KEY = ("account", "region", "endpoint", "variant")
_COUNTS = ("taken", "dropped", "withheld")


class _Local(http.client.HTTPConnection):
    """To a Unix socket, where a router says more than on its port."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_WITHIN_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_WITHIN_S)
        self.sock.connect(str(self._path))


def ask(sockets: Iterable[Path]) -> list[dict[str, Any]]:
    """Each variant of which something is captured, with the counts of all routers that answer."""
    answers = []
    for path in sockets:
        connection = _Local(path)
        try:
            connection.request("GET", "/kedge/health")
            answers.append(json.loads(connection.getresponse().read())["capture"]["variants"])
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
            continue  # it is just starting or ending, or of another release
        finally:
            connection.close()
    return merged(answers)


def merged(answers: Iterable[Iterable[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Counts added up, and a problem that any of them has."""
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for each in (variant for answer in answers for variant in answer):
        key = tuple(str(each[name]) for name in _KEY)
        one = found.setdefault(key, {**dict(zip(_KEY, key, strict=True)), **dict.fromkeys(_COUNTS, 0), "problem": ""})
        for count in _COUNTS:
            one[count] += int(each[count])
        one["problem"] = one["problem"] or str(each["problem"])
    return [found[key] for key in sorted(found)]
