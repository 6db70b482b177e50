"""The part of JSONPath that DataProcessing knows: `$`, children by dot or bracket, indices, slices. PURE.

    $.features          $['id','SageMakerOutput']          $[0,5]          $[1:]          $[-1]          $.rows[0].x

What picks several members, elements or a slice ends a path. Source: "Associate Prediction Results with Input Records"
in the SageMaker developer guide; anything else of JSONPath is refused by name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

_CHILD = re.compile(r"\.([A-Za-z_][A-Za-z0-9_-]*)")
_NAMES = re.compile(r"\[\s*('(?:[^'\\]|\\.)*'(?:\s*,\s*'(?:[^'\\]|\\.)*')*)\s*\]")
_NAME = re.compile(r"'((?:[^'\\]|\\.)*)'")
_INDICES = re.compile(r"\[\s*(-?\d+(?:\s*,\s*-?\d+)*)\s*\]")
_SLICE = re.compile(r"\[\s*(-?\d*)\s*:\s*(-?\d*)\s*\]")


class BadPath(ValueError):
    """It is no path, or one of a kind that is not known here."""


class NotFound(ValueError):
    """A record has nothing where the path leads."""


@dataclass(frozen=True)
class Names:
    names: tuple[str, ...]


@dataclass(frozen=True)
class Indices:
    indices: tuple[int, ...]


@dataclass(frozen=True)
class Slice:
    start: int | None
    end: int | None


Step = Names | Indices | Slice


@dataclass(frozen=True)
class Path:
    text: str
    steps: tuple[Step, ...]

    def of(self, value: Any) -> Any:
        """What it picks: several names give an object, several indices and a slice an array. Raises NotFound."""
        for step in self.steps:
            value = self._picked(step, value)
        return value

    def _picked(self, step: Step, value: Any) -> Any:
        try:
            if isinstance(step, Names):
                if not isinstance(value, dict):
                    raise NotFound(f"{self.text} looks for {step.names[0]!r} in what is no object")
                if len(step.names) == 1:
                    return value[step.names[0]]
                return {name: value[name] for name in step.names}
            if not isinstance(value, list):
                raise NotFound(f"{self.text} looks for an element of what is no array")
            if isinstance(step, Slice):
                return value[step.start : step.end]
            if len(step.indices) == 1:
                return value[step.indices[0]]
            return [value[index] for index in step.indices]
        except KeyError as error:
            raise NotFound(f"{self.text} finds no {error}") from None
        except IndexError:
            raise NotFound(f"{self.text} leads beyond the {len(value)} elements that there are") from None


def parse(text: str) -> Path:
    """Raises BadPath."""
    if not text.startswith("$"):
        raise BadPath("it has to begin with $")
    steps: list[Step] = []
    at = 1
    while at < len(text):
        if steps and _is_last(steps[-1]):
            raise BadPath("nothing may follow what picks several members or elements")
        step, at = _step(text, at)
        steps.append(step)
    return Path(text, tuple(steps))


def _step(text: str, at: int) -> tuple[Step, int]:
    if found := _CHILD.match(text, at):
        return Names((found[1],)), found.end()
    if found := _NAMES.match(text, at):
        return Names(tuple(re.sub(r"\\(.)", r"\1", name) for name in _NAME.findall(found[1]))), found.end()
    if found := _INDICES.match(text, at):
        return Indices(tuple(int(index) for index in found[1].split(","))), found.end()
    if found := _SLICE.match(text, at):
        start, end = (int(each) if each else None for each in found.groups())
        return Slice(start, end), found.end()
    for mark, what in (
        ("..", "deep scans"),
        (".*", "wildcards"),
        ("[*", "wildcards"),
        ("[?", "filters"),
        ("[(", "scripts"),
    ):
        if text.startswith(mark, at):
            raise BadPath(f"{what} ({mark}) are not known here")
    raise BadPath(f"\"{text[at:][:20]}\" is none of .name, ['name'], [0], [0,1] and [0:1]")


def _is_last(step: Step) -> bool:
    if isinstance(step, Slice):
        return True
    return len(step.names if isinstance(step, Names) else step.indices) > 1
