"""A data set of Clarify as columns: a file with its labels, or a window of captured and merged records."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kedge.monitoring import nothing
from kedge.monitoring.clarify.config import CSV, LINES, PARQUET, Config
from kedge.monitoring.container import JobFailed
from kedge.monitoring.reading import files, merged_records, source
from kedge.monitoring.reading.captured import INPUT, OUTPUTS, Odd, parsed
from kedge.monitoring.reading.fetching import Fetcher
from kedge.monitoring.reading.pieces import Notes


@dataclass
class DataSet:
    """columns: of one length, in order. label: the name of the labels' column; None: there are none.

    said, score: of the model's answers, where the data hold them.
    """

    columns: dict[str, list[Any]]
    label: str | None = None
    said: list[Any] | None = None
    score: list[Any] | None = None
    notes: Notes = field(default_factory=Notes)

    @property
    def rows(self) -> int:
        return len(next(iter(self.columns.values()), []))

    def column(self, name: str | int, what: str) -> list[Any]:
        return self.columns[self.name(name, what)]

    def name(self, name: str | int, what: str) -> str:
        """name: or a position among the columns. Raises JobFailed."""
        if isinstance(name, str) and name in self.columns:
            return name
        names = list(self.columns)
        if isinstance(name, int) and 0 <= name < len(names):
            return names[name]
        raise JobFailed(f"{what} is {name!r}; the columns are {', '.join(names[:20])}.")

    def matrix(self, names: Sequence[str]) -> npt.NDArray[Any]:
        """shape (rows, names): float64 where all columns are numbers, else objects."""
        found = [numbers(self.columns[name]) for name in names]
        if all(each is not None for each in found):
            return np.column_stack([each for each in found if each is not None]).astype(float)
        mixed = np.empty((self.rows, len(names)), dtype=object)
        for place, (name, column) in enumerate(zip(names, found, strict=True)):
            mixed[:, place] = self.columns[name] if column is None else column.tolist()
        return mixed


def numbers(column: Sequence[Any]) -> npt.NDArray[np.float64] | None:
    """With NaN for what is missing; None: of texts."""
    try:
        return np.array([np.nan if each is None or each == "" else float(each) for each in column])
    except (TypeError, ValueError):
        return None


def of_files(path: Path, config: Config, *, header: bool = False) -> DataSet:
    """header: files of CSV are known to have one, whatever it says; else their first line tells.

    Raises JobFailed and Unreadable.
    """
    notes = Notes()
    by_path = config.dataset_type == LINES and config.features
    columns = _lines(path, config, notes) if by_path else _table(path, config, notes, header=header)
    data = DataSet(columns, notes=notes)
    if not data.rows:
        raise JobFailed(nothing.reason(f"no row was found below {path}", notes.left_out, notes.told()))
    if config.label is not None:
        data.label = data.name(config.label, "label")
    if config.predicted_label is not None:
        data.said = data.column(config.predicted_label, "predicted_label")
    return data


def _table(path: Path, config: Config, notes: Notes, *, header: bool) -> dict[str, list[Any]]:
    names: Sequence[str] | None = config.headers or None
    form = {CSV: source.CSV, LINES: source.JSON, PARQUET: source.PARQUET}[config.dataset_type]
    given = header
    if form == source.CSV:
        first = _first(path)
        header = header or _has_header(first, config.headers)
        if not header and not names:
            names = [f"column_{place}" for place in range(len(first))]
    columns: dict[str, list[Any]] = {}
    rows = 0
    with Fetcher() as fetch:
        for piece in source.pieces(source.Source(path, source.Format(form, header=header), names), notes, fetch):
            for name in [each for each in piece.columns if each not in columns]:
                columns[name] = [None] * rows
            for name, held in columns.items():
                values = piece.columns.get(name)
                held.extend([None] * piece.rows if values is None else values.series.to_list())
            rows += piece.rows
    if rows and names and form == source.CSV and len(columns) != len(names):
        raise JobFailed(
            f"The data set has {len(columns)} columns, and headers of analysis_config.json has {len(names)}."
        )
    if given and names and len(columns) == len(names) and not set(columns) <= set(names):
        return dict(zip(names, columns.values(), strict=True))  # called otherwise than in the configuration
    order = [name for name in names or () if name in columns]
    return {name: columns[name] for name in (*order, *(each for each in columns if each not in order))}


def _first(path: Path) -> list[str]:
    """The fields of the first line."""
    file = next(iter(files.files(path)), None)
    if file is None:
        return []
    with files.opened(file) as stream:
        line = stream.readline().decode(errors="replace").removeprefix("\ufeff").strip()
    return [each.strip() for each in next(csv.reader([line]), [])]


def _has_header(first: list[str], headers: Sequence[str]) -> bool:
    """A line that is just the configured headers; where none are configured, one that has a text in it."""
    return first == list(headers) if headers else numbers(first) is None


def _lines(path: Path, config: Config, notes: Notes) -> dict[str, list[Any]]:
    """JSON Lines, with features and label by JMESPath; headers are the features', with the label's or not."""
    rows: list[list[Any]] = []
    labels: list[Any] = []
    assert config.features is not None
    for file in files.files(path):
        with files.opened(file) as stream:
            for line in stream:
                if not line.strip():
                    continue
                try:
                    held = parsed(line)
                    features = merged_records.search(config.features, held)
                    label = merged_records.search(str(config.label), held) if config.label is not None else None
                except Odd as odd:
                    notes.leave_out(str(odd))
                    continue
                if isinstance(features, list):
                    rows.append(features)
                    labels.append(label)
                else:
                    notes.leave_out(f"a line has no list at {config.features!r}")
    label_name = str(config.label) if config.label is not None else None
    names = feature_names(config.headers, label_name, len(rows[0]) if rows else 0)
    columns = _columns(rows, names, notes, labels)
    if label_name is not None:
        columns[label_name] = labels
    return columns


def feature_names(headers: Sequence[str], label: str | None, width: int) -> list[str]:
    """Of rows without the label. Raises JobFailed where the headers are too few or too many."""
    if not headers:
        return [f"column_{place}" for place in range(width)]
    bare = [name for name in headers if name != label]
    for names in (bare, list(headers)):
        if len(names) == width:
            return names
    raise JobFailed(f"Records have {width} features, and headers of analysis_config.json names {len(bare)}.")


def _columns(rows: list[list[Any]], names: Sequence[str], notes: Notes, *beside: list[Any]) -> dict[str, list[Any]]:
    """Rows of another width are left out, with what stands beside them."""
    kept = [place for place, row in enumerate(rows) if len(row) == len(names)]
    if len(kept) < len(rows):
        notes.leave_out(f"a record has another number of features than {len(names)}", len(rows) - len(kept))
        for each in beside:
            each[:] = [each[place] for place in kept]
    return {name: [rows[row][place] for row in kept] for place, name in enumerate(names)}


def _features(record: dict[str, Any], attribute: str | None, answers: Sequence[str | None]) -> list[Any]:
    """Rows of the request; of a batch transform, of its outputs without the answers, which JoinSource puts behind the
    inputs. Raises Odd."""
    if OUTPUTS[1] not in record["captureData"]:
        return merged_records.rows(merged_records.side(record, (INPUT,)), attribute)
    side = record["captureData"][OUTPUTS[1]]
    document = merged_records.parsed(side)
    found: list[Any]
    if isinstance(document, merged_records.Table):
        found = [_without(row, answers) for row in document]
    elif attribute or not isinstance(document, dict):
        return merged_records.rows(side, attribute)
    else:
        found = [{name: value for name, value in document.items() if name not in answers}]
    if not all(found):
        raise Odd("an output has no features: the transform has to join its inputs (DataProcessing.JoinSource Input)")
    return found


def _without(row: Sequence[str], answers: Sequence[str | None]) -> list[str]:
    """answers: where they are, as positions."""
    places = {int(each) for each in answers if each is not None and each.isdigit()}
    return [value for place, value in enumerate(row) if place not in places]


def of_records(path: Path, config: Config, environment: Mapping[str, str], *, merged: bool) -> DataSet:
    """A window of a monitor: features of the requests, answers, and the labels of merged records. Raises JobFailed."""
    notes = Notes()
    label = str(config.label) if config.label is not None else None
    features = environment.get("features_attribute") or config.features
    said_at, score_at = environment.get("inference_attribute") or None, environment.get("probability_attribute") or None
    rows: list[Any] = []
    labels: list[Any] = []
    said: list[Any] = []
    score: list[Any] = []
    window = environment.get("start_time", ""), environment.get("end_time", "")
    for record in merged_records.records(path, notes, *window):
        try:
            found = _features(record, features, (said_at, score_at))
            truths, answers, scores = [None] * len(found), [None] * len(found), [None] * len(found)
            if merged:
                truth = record.get("groundTruthData")
                if truth is None:
                    raise Odd("a record has no groundTruthData; it was not merged")
                at = environment.get("ground_truth_attribute") or None
                at = "0" if at is None and isinstance(truth, dict) and truth.get("encoding", "CSV") == "CSV" else at
                truths = merged_records.values(truth, at, "the label")
                answer = merged_records.side(record, OUTPUTS)
                if score_at:
                    scores = merged_records.values(answer, score_at, "the probability")
                if said_at or not score_at:
                    answers = merged_records.values(answer, said_at, "the prediction")
            if {len(truths), len(answers), len(scores)} != {len(found)}:
                raise Odd("the numbers of rows, labels and predictions of a record differ")
        except Odd as odd:
            notes.leave_out(str(odd))
            continue
        rows += found
        labels += truths
        said += answers
        score += scores
    if not rows:
        raise JobFailed(nothing.reason(f"no record was found below {path}", notes.left_out, notes.told()))
    if isinstance(rows[0], dict):
        names = list(rows[0])
        rows = [[row.get(name) for name in names] if isinstance(row, dict) else [] for row in rows]
    else:
        names = feature_names(config.headers, label, len(rows[0]))
    columns = _columns(rows, names, notes, labels, said, score)
    data = DataSet(columns, notes=notes)
    if merged:
        data.label = label or "label"
        columns[data.label] = labels
        data.said = None if said and said[0] is None else said
        data.score = score if score_at else None
    return data
