"""Which label belongs to which captured record. PURE.

A record's id is the inferenceId that its caller sent, else its eventId; a label names that id as its own eventId.
Source: SageMaker's documented files of ground truth, and of its merge jobs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from kedge.monitoring.merging import outputs

MOST_NAMED = 5
_ENCODINGS = ("CSV", "JSON", "BASE64")


@dataclass
class Found:
    """What a merge saw. named: the first few ids of labels that belong to no record."""

    records: int = 0
    merged: int = 0
    labels: int = 0
    replaced: int = 0
    """Labels that a later one of the same id took the place of."""
    unknown: int = 0
    named: list[str] = field(default_factory=list)
    odd: dict[str, int] = field(default_factory=dict)
    """Why a line was left out, to how often."""

    def leave_out(self, reason: str) -> None:
        self.odd[reason] = self.odd.get(reason, 0) + 1

    def told(self) -> list[str]:
        """Lines for a log."""
        lines = [
            (
                f"{self.merged} of {self.records} captured records have a label; {self.labels} labels were read, "
                f"{self.replaced} of them replaced by later ones of the same id."
            )
        ]
        if self.unknown:
            more = ", ..." if self.unknown > len(self.named) else ""
            lines.append(f"{self.unknown} labels belong to no captured record: {', '.join(self.named)}{more}")
        lines += [f"Left out {times} lines: {reason}" for reason, times in self.odd.items()]
        return lines


def labels(lines: Iterable[bytes], found: Found, held: dict[str, Any]) -> None:
    """Adds the labels of one file to `held`, id to groundTruthData. Files come in the order in which they arrived."""
    for record in _objects(lines, found, "a label"):
        meta, truth = record.get("eventMetadata"), record.get("groundTruthData")
        name = meta.get("eventId") if isinstance(meta, dict) else None
        if not isinstance(name, str) or not name:
            found.leave_out("a label has no eventMetadata.eventId")
        elif not isinstance(truth, dict) or not isinstance(truth.get("data"), str):
            found.leave_out("a label has no text in groundTruthData.data")
        elif truth.get("encoding", "CSV") not in _ENCODINGS:
            found.leave_out(f"a label's encoding is {truth['encoding']!r}; it has to be one of {', '.join(_ENCODINGS)}")
        else:
            found.labels += 1
            found.replaced += name in held
            held[name] = truth


def merged(lines: Iterable[bytes], held: dict[str, Any], used: set[str], found: Found) -> Iterator[bytes]:
    """Captured records that have a label, each with it, as lines of JSON. used: gets the ids that were met."""
    return with_labels(_objects(lines, found, "a captured record"), held, used, found)


def with_labels(
    records: Iterable[dict[str, Any] | None], held: dict[str, Any], used: set[str], found: Found
) -> Iterator[bytes]:
    """As `merged`. records: None for a line of an output that has no id."""
    for record in records:
        if record is None:
            found.leave_out(outputs.WITHOUT_ID)
            continue
        name = identity(record)
        if name is None or not isinstance(record.get("captureData"), dict):
            found.leave_out("a captured record has no id, or no captureData")
            continue
        found.records += 1
        truth = held.get(name)
        if truth is not None:
            used.add(name)
            found.merged += 1
            yield orjson.dumps({**record, "groundTruthData": truth}, option=orjson.OPT_APPEND_NEWLINE)


def count_unknown(held: dict[str, Any], used: set[str], found: Found) -> None:
    strangers = [name for name in held if name not in used]
    found.unknown, found.named = len(strangers), strangers[:MOST_NAMED]


def identity(record: dict[str, Any]) -> str | None:
    meta = record.get("eventMetadata")
    if not isinstance(meta, dict):
        return None
    name = meta.get("inferenceId") or meta.get("eventId")
    return name if isinstance(name, str) else None


def _objects(lines: Iterable[bytes], found: Found, what: str) -> Iterator[dict[str, Any]]:
    for line in lines:
        if not line.strip():
            continue
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:
            record = None
        if isinstance(record, dict):
            yield record
        else:
            found.leave_out(f"{what} is no JSON object in UTF-8")
