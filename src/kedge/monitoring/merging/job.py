"""The merge job: captured records, or outputs of batch transforms, and their labels, joined.

Below output_path lie the folders that dataset_source has (ENDPOINT/VARIANT/yyyy/mm/dd/hh), each with one file. Its name
comes from its folder, so that a merge that runs again when later labels arrive replaces what it wrote before.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kedge.monitoring import nothing
from kedge.monitoring.container import JobFailed
from kedge.monitoring.merging import outputs
from kedge.monitoring.merging.labels import Found, count_unknown, labels, merged, with_labels
from kedge.monitoring.places import Places
from kedge.monitoring.reading import files, source
from kedge.monitoring.reading.fetching import Fetcher
from kedge.monitoring.reading.pieces import Unreadable

_NAMES = uuid.UUID("6f6f1d9e-50a5-4bd4-8f0c-2f7c3f7d9a11")


def run(container: Places) -> str:
    """What the job says at its end. Raises JobFailed, whose text is the reason."""
    try:
        return _run(container)
    except Unreadable as error:
        raise JobFailed(str(error)) from None


def _run(container: Places) -> str:
    captured, truth = container.needed("dataset_source"), container.needed("ground_truth_source")
    output = container.output()
    found, held, used = Found(), dict[str, Any](), set[str]()
    for path in files.files(truth):
        with files.opened(path) as stream:
            labels(stream, found, held)
    if not held:
        _tell(container, found)
        raise JobFailed(f"There is no ground truth for this window: no label was found below {truth}.{_odd(found)}")
    form = source.format_of(container.environment.get("dataset_format") or '{"sagemakerCaptureJson": {}}')
    if form.name not in (source.CAPTURED, source.CSV, source.JSON):
        raise JobFailed(
            f"dataset_format names {form.name!r}; labels are joined with sagemakerCaptureJson, csv or json."
        )
    odd = sum(found.odd.values())
    folders: dict[Path, list[Path]] = {}
    for path in files.files(captured):
        folders.setdefault(path.parent.relative_to(captured) if captured.is_dir() else Path(), []).append(path)
    for folder, paths in folders.items():
        _write(output / folder, str(folder), _merged(paths, form, held, used, found))
    count_unknown(held, used, found)
    _tell(container, found)
    if not found.records:
        reason = next(reversed(found.odd), "")
        raise JobFailed(
            nothing.reason(f"no captured record was found below {captured}", sum(found.odd.values()) - odd, reason)
        )
    if not found.merged:
        raise JobFailed(
            f"None of {found.labels} labels belongs to one of {found.records} captured records: the eventId of a label "
            f"has to be the InferenceId of its request, or else the record's eventId. The first is of {found.named[0]}."
        )
    return f"Completed: {found.told()[0]}"


def _merged(
    paths: list[Path], form: source.Format, held: dict[str, Any], used: set[str], found: Found
) -> Iterator[bytes]:
    """Of what endpoints captured; of outputs of batch transforms where dataset_format says that it is CSV or JSON."""
    with Fetcher() as fetch:
        for path in files.resolved(paths, fetch):
            with files.opened(path) as stream:
                if form.name in (source.CSV, source.JSON):
                    records = outputs.records(stream, of_csv=form.name == source.CSV, header=form.header)
                    yield from with_labels(records, held, used, found)
                else:
                    yield from merged(stream, held, used, found)


def _write(folder: Path, name: str, lines: Iterator[bytes]) -> None:
    """A file that appears whole; none where nothing was merged."""
    first = next(lines, None)
    if first is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"part-00000-{uuid.uuid5(_NAMES, name)}.c000.jsonl"
    begun = folder / f".{file.name}"
    with begun.open("wb") as stream:
        stream.write(first)
        stream.writelines(lines)
    begun.replace(file)


def _tell(container: Places, found: Found) -> None:
    for line in found.told():
        container.say(line)


def _odd(found: Found) -> str:
    return f" Lines were left out: {next(iter(found.odd))}." if found.odd else ""
