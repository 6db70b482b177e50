"""Merged records as a training set: CSV without a header, the label first, as SageMaker's own algorithms read it.

Rows of JSON are flattened; their columns are those of the first record, in its order. What has other columns, or no
plain label, is left out and counted.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from kedge.monitoring.container import JobFailed
from kedge.monitoring.places import Places
from kedge.monitoring.reading import merged_records
from kedge.monitoring.reading.captured import INPUT, LABEL, Odd, sides_rows
from kedge.monitoring.reading.flattening import Row
from kedge.monitoring.reading.pieces import Notes

FILE = "labelled.csv"


def run(container: Places) -> str:
    """What the job says at its end. Raises JobFailed, whose text is the reason."""
    environment, notes = container.environment, Notes()
    start, end = environment.get("start_time", ""), environment.get("end_time", "")
    found = rows(container.needed("dataset_source"), notes, start, end)
    written = _write(container.output() / FILE, found)
    for reason, times in notes.reasons.items():
        container.say(f"Left out {times}: {reason}")
    if not written:
        raise JobFailed(f"Job inputs had no data: no labelled record can be a row. {notes.told()}".strip())
    return f"Completed: {written} rows, {notes.left_out} records left out."


def rows(source: Path, notes: Notes, start: str = "", end: str = "") -> Iterator[list[Any]]:
    """Label and features of each row of the records of the window, in their order."""
    columns: list[str | int] | None = None
    for record in merged_records.records(source, notes, start, end):
        try:
            labelled = list(_labelled(record))
        except Odd as odd:
            notes.leave_out(str(odd))
            continue
        for label, row in labelled:
            columns = columns or list(row)
            if row.keys() != set(columns):
                notes.leave_out("a row has other columns than the first one")
                continue
            yield [label, *(row[column] for column in columns)]


def _labelled(record: dict[str, Any]) -> Iterator[tuple[Any, Row]]:
    """Raises Odd."""
    features = sides_rows(merged_records.side(record, (INPUT,)))
    labels = sides_rows(record.get(LABEL), len(features))
    if len(labels) != len(features):
        raise Odd(f"a record has {len(features)} rows and {len(labels)} labels")
    for label, row in zip(labels, features, strict=True):
        if len(label) != 1:
            raise Odd(f"a label has {len(label)} values")
        yield next(iter(label.values())), row


def _write(file: Path, found: Iterator[Sequence[Any]]) -> int:
    """How many rows it has. The file appears whole."""
    begun = file.with_name(f".{file.name}")
    with begun.open("w", newline="", encoding="utf-8") as stream:
        writer, count = csv.writer(stream, lineterminator="\n"), 0
        for row in found:
            writer.writerow(row)
            count += 1
    begun.replace(file)
    return count
