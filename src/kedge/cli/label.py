"""`kedge label`: say what turned out to be right, by the id of an inference."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from kedge.cli.failures import Failed
from kedge.cli.lifecycle import data_option, json_option
from kedge.cli.server import find
from kedge.labels.records import MOST_BYTES, MOST_LABELS
from kedge.labels.taking import PATH


@click.command(short_help="Say what turned out to be right.")
@click.argument("name")
@click.argument("inference_id", required=False)
@click.argument("label", required=False)
@click.option("--file", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help='Labels as CSV lines "ID,LABEL", or as JSON Lines {"InferenceId": ..., "Label": ...}.')  # fmt: skip
@data_option
@json_option
def label(
    name: str, inference_id: str | None, label: str | None, file: Path | None, data: Path | None, as_json: bool
) -> None:
    """Tell the endpoint NAME the LABEL of the inference INFERENCE_ID: monitors of quality compare it with the answer.

    The id is what the request had as InferenceId, or the eventId of its captured record. A later label of the same id
    replaces an earlier one.
    """
    if (file is None) == (inference_id is None or label is None):
        raise click.UsageError("Give INFERENCE_ID and LABEL, or --file FILE.")
    server = find(data)
    told = 0
    if file is not None:
        for _ in _read(file):  # to its end, so that all of a file is kept or nothing
            pass
    given = [{"InferenceId": inference_id, "Label": label}] if file is None else _read(file)
    found: dict[str, Any] = {}
    for labels in _batches(given):
        found = server.ask("PUT", PATH, body={"EndpointName": name, "Labels": labels})
        told += found["Labels"]
    if not found:
        raise Failed(f"{file} has no labels.")
    if as_json:
        click.echo(json.dumps({**found, "Labels": told}, indent=2))
        return
    click.echo(
        f"{told:,} label{'' if told == 1 else 's'} of {found['EndpointName']} kept; within seconds in {found['S3Uri']}."
    )


def _batches(given: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """As many labels as one call takes, each."""
    batch: list[dict[str, Any]] = []
    size = 0
    for each in given:
        length = len(json.dumps(each))
        if batch and (len(batch) == MOST_LABELS or size + length > MOST_BYTES // 2):
            yield batch
            batch, size = [], 0
        batch.append(each)
        size += length
    if batch:
        yield batch


def _read(file: Path) -> Iterator[dict[str, Any]]:
    """Raises Failed, and names the line."""
    with file.open("rb") as stream:
        for number, encoded in enumerate(stream, 1):
            try:
                line = encoded.decode("utf-8-sig" if number == 1 else "utf-8")
                if not line.strip():
                    continue
                if line.lstrip().startswith("{"):
                    fields = json.loads(line)
                    yield {"InferenceId": fields["InferenceId"], "Label": fields["Label"]}
                else:
                    id_, value = next(csv.reader([line]))
                    yield {"InferenceId": id_, "Label": value}
            except UnicodeDecodeError:
                raise Failed(f"Line {number} of {file} is not UTF-8.") from None
            except (ValueError, KeyError, TypeError):
                raise Failed(
                    f'Line {number} of {file} is neither "ID,LABEL" nor {{"InferenceId": ID, "Label": LABEL}}.'
                ) from None
