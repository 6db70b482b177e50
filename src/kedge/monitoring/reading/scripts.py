"""The scripts that a user hands in: what makes rows of a record, and what runs after the analysis.

`preprocess_handler(inference_record)`, or with a second parameter for a logger, gives a dict, which is one row, a list
of them, the captured record itself, or nothing, which drops it. Keys are columns, in their sorted order.
`postprocess_handler()` runs at the end. They run as part of the job, in its sandbox.
"""

from __future__ import annotations

import importlib.util
import inspect
import logging
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from kedge.monitoring.reading.captured import rows_of
from kedge.monitoring.reading.flattening import Row, flattened

log = logging.getLogger("kedge.monitoring")


class ScriptFailed(Exception):
    """The message says which script, where and why."""


def handler(path: Path, name: str) -> Callable[..., Any]:
    """The function `name` of that script. Raises ScriptFailed if there is none, or the script does not run."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ScriptFailed(f"The script {path} is not there, or is no Python file.")
    module = importlib.util.module_from_spec(spec)
    _run(path, "could not be loaded", lambda: spec.loader.exec_module(module))  # type: ignore[union-attr]
    found: Callable[..., Any] | None = getattr(module, name, None)
    if not callable(found):
        raise ScriptFailed(f"The script {path.name} has no function {name}.")
    return found


def postprocess(path: Path) -> None:
    """Raises ScriptFailed."""
    found = handler(path, "postprocess_handler")
    _run(path, "failed", found)


def rows(path: Path, records: Iterable[Any]) -> Iterator[Row]:
    """What the script makes of each. Raises ScriptFailed for the first record at which it fails."""
    found = handler(path, "preprocess_handler")
    more = (_logger(),) if len(inspect.signature(found).parameters) > 1 else ()
    for number, record in enumerate(records, 1):
        made = _run(path, f"failed at record {number}", partial(found, record, *more))
        for row in made if isinstance(made, list) else [made]:
            if isinstance(row, InferenceRecord):
                yield from _run(path, f"gave back record {number}, which has no rows", row.as_rows)
            elif isinstance(row, dict):
                if row:
                    yield {
                        str(key): each for key, each in sorted(flattened(_plain(row)).items(), key=lambda i: str(i[0]))
                    }
            elif row is not None:
                raise ScriptFailed(
                    f"preprocess_handler of {path.name} gave {type(row).__name__} for record {number}; it has to give "
                    "a dict, a list of dicts, the record itself, or nothing."
                )


def _logger() -> logging.Logger:
    """For a script: what it tells, from INFO on, is in the job's log."""
    found = logging.Logger("preprocess_handler", logging.INFO)
    to_log = logging.StreamHandler(sys.stdout)
    to_log.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    found.addHandler(to_log)
    return found


def _plain(value: Any) -> Any:
    """Numbers of numpy as Python's; what is no value of JSON as its text."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    item = getattr(value, "item", None)
    return item() if callable(item) and getattr(value, "size", 0) == 1 else str(value)


def _run(path: Path, what: str, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except (Exception, SystemExit) as error:  # a user's code may raise anything, and end nothing
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        where = f" (line {frames[-1].lineno})" if frames else ""
        log.exception("%s %s", path.name, what)
        raise ScriptFailed(f"The script {path.name} {what}: {type(error).__name__}: {error}{where}") from None


class Side:
    """Input or answer of a captured record, as a script sees it."""

    def __init__(self, held: dict[str, Any]) -> None:
        self._held = held
        self.data = held.get("data")
        self.encoding = held.get("encoding")
        self.observedContentType = held.get("observedContentType")  # the documented name
        self.observed_content_type = self.observedContentType
        self.mode = held.get("mode")

    def as_dict(self) -> dict[str, Any]:
        return self._held


class Meta:
    def __init__(self, held: dict[str, Any]) -> None:
        self._held = held
        self.event_id = held.get("eventId")
        self.event_time = held.get("inferenceTime")
        self.inference_id = held.get("inferenceId")
        self.custom_attribute = held.get("customAttributes")

    def as_dict(self) -> dict[str, Any]:
        return self._held


class Data:
    """`event_data`, as older scripts know it."""

    def __init__(self, captured: dict[str, Any]) -> None:
        for side, held in captured.items():
            setattr(self, side, Side(held if isinstance(held, dict) else {}))


class InferenceRecord:
    """What `preprocess_handler` is given of a captured record. held: the record as JSON has it."""

    def __init__(self, held: dict[str, Any]) -> None:
        self.event_dict = held
        captured = held.get("captureData") or {}
        self.endpoint_input = _side(captured.get("endpointInput"))
        self.endpoint_output = _side(captured.get("endpointOutput"))
        self.batch_transform_output = _side(captured.get("batchTransformOutput"))
        self.ground_truth = _side(held.get("groundTruthData"))
        self.event_metadata = Meta(held.get("eventMetadata") or {})
        self.event_version = held.get("eventVersion")
        self.event_data = Data(captured)

    def as_dict(self) -> dict[str, Any]:
        return self.event_dict

    def as_rows(self) -> list[Row]:
        """As without a script. Raises Odd."""
        sides = self.event_dict.get("captureData") or {}
        return rows_of(sides.get("endpointOutput", sides.get("batchTransformOutput")), sides.get("endpointInput"))

    def __repr__(self) -> str:
        return f"InferenceRecord({self.event_dict})"


def _side(held: Any) -> Side | None:
    return Side(held) if isinstance(held, dict) else None
