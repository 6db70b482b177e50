"""What a monitoring job finds around it: SageMaker's contract for containers, with its folders below any root."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import orjson

ROOT = PurePosixPath("/opt/ml")
MESSAGE, FAILURE, METRICS = "output/message", "output/failure", "output/metrics/cloudwatch"
_LONGEST_MESSAGE = 1024


class JobFailed(Exception):
    """The text is the reason that the job gives."""


class Container:
    """environment: the job's variables, whose paths begin with /opt/ml wherever that lies."""

    def __init__(self, environment: Mapping[str, str], opt_ml: Path) -> None:
        self.environment = environment
        self._opt_ml = opt_ml

    def path(self, variable: str) -> Path | None:
        """None: the variable is not set. Raises JobFailed where what it names is not there."""
        text = self.environment.get(variable)
        if not text:
            return None
        found = self._place(text)
        if not found.exists():
            raise JobFailed(f"{variable} is {text}, which is not there.")
        return found

    def needed(self, variable: str) -> Path:
        found = self.path(variable)
        if found is None:
            raise JobFailed(f"The variable {variable} is not set.")
        return found

    def output(self) -> Path:
        """The folder of what the job leaves, which is there from now on."""
        folder = self._place(self.environment.get("output_path") or f"{ROOT}/processing/output")
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def write(self, name: str, document: Any) -> None:
        self.write_bytes(name, orjson.dumps(document, option=orjson.OPT_INDENT_2))

    def write_bytes(self, name: str, content: bytes) -> None:
        """A file of the output, which appears whole. name: may lie in a folder."""
        file = self.output() / name
        file.parent.mkdir(parents=True, exist_ok=True)
        begun = file.with_name(f".{file.name}")
        begun.write_bytes(content)
        begun.replace(file)

    def write_metrics(self, lines: bytes) -> None:
        """lines: one JSON object each."""
        folder = self._opt_ml / METRICS
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "metrics.jsonl").write_bytes(lines)

    def say(self, text: str) -> None:
        """To the job's log."""
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    def end(self, message: str, *, failed: bool = False) -> None:
        """Leaves the job's last words where the service looks for them."""
        for name in (MESSAGE, FAILURE) if failed else (MESSAGE,):
            file = self._opt_ml / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(message.encode()[:_LONGEST_MESSAGE].decode(errors="ignore"))

    def now(self, timespec: str = "seconds") -> str:
        return f"{datetime.now(UTC).replace(tzinfo=None).isoformat(timespec=timespec)}Z"

    def _place(self, text: str) -> Path:
        path = PurePosixPath(text)
        return self._opt_ml / path.relative_to(ROOT) if path.is_relative_to(ROOT) else Path(text)
