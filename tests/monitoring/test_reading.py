"""Captured records and nested JSON: what is read together is what is read one by one, and no value gets lost."""

from __future__ import annotations

import io
import json
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kedge.monitoring.reading import alike, captured, flattening
from kedge.monitoring.reading.pieces import Notes, Piece
from tests.monitoring.conftest import captured as record

NAMES = st.text("abcde", min_size=1, max_size=3)
PLAIN = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text('xyz,"\n\\é{[', max_size=4)
)
ANY = st.recursive(
    PLAIN, lambda inner: st.lists(inner, min_size=1, max_size=3) | st.dictionaries(NAMES, inner, min_size=1, max_size=3)
)


def read(lines: list[str], alone: bool, **window: str) -> tuple[int, dict[str, list[Any]], int]:
    """(rows, columns, records left out). alone: each record by itself."""
    notes = Notes()
    reader = captured.Reader(notes, **window)
    if alone:
        reader._add_each([f"{line}\n".encode() for line in lines], "file", 0)
        pieces: list[Piece] = []
    else:
        pieces = list(reader.read(io.BytesIO("".join(f"{line}\n" for line in lines).encode()), "file"))
    pieces += reader.rest()
    columns = {}
    for name in dict.fromkeys(name for piece in pieces for name in piece.columns):
        parts = [
            piece.columns[name].series.cast(pl.String) if name in piece.columns else pl.Series([None] * piece.rows)
            for piece in pieces
        ]
        columns[name] = [each for part in parts for each in part.to_list()]
    return sum(piece.rows for piece in pieces), columns, notes.left_out


@settings(deadline=None, max_examples=60)
@given(st.data(), st.lists(NAMES, min_size=1, max_size=4, unique=True), st.lists(NAMES, max_size=2, unique=True))
def test_records_read_together_say_what_each_says(data, names, answers):
    rows = st.fixed_dictionaries(dict.fromkeys(names, PLAIN))
    out = st.fixed_dictionaries(dict.fromkeys(answers, PLAIN))
    pairs = data.draw(st.lists(st.tuples(rows, out), min_size=1, max_size=6))
    if data.draw(st.booleans()):  # one that is unlike the others
        place = data.draw(st.integers(0, len(pairs) - 1))
        pairs[place] = (data.draw(st.dictionaries(NAMES, ANY, min_size=1, max_size=3)), pairs[place][1])
    hours = [data.draw(st.integers(0, 3)) for _ in pairs]
    lines = [
        record(json.dumps(answer), json.dumps(row), out="JSON", into="JSON", at=f"2026-01-01T0{hour}:00:00Z")
        for (row, answer), hour in zip(pairs, hours, strict=True)
    ]
    window = {"start": "2026-01-01T01:00:00Z", "end": "2026-01-01T03:00:00Z"} if data.draw(st.booleans()) else {}
    assert read(lines, alone=False, **window) == read(lines, alone=True, **window)


@pytest.mark.parametrize(
    "odd",
    [
        "no json",
        "",
        "7",
        '{"captureData": 7}',
        record("1", "1"),
        record('{"p": 1}', '{"a": [1]}', out="JSON", into="JSON"),
        record('{"p": 1}', "{", out="JSON", into="JSON"),
        record('{"p": 1}', '{"a": 1}, {"a": 2}', out="JSON", into="JSON"),
        record('{"p": 1}', '{"a": NaN}', out="JSON", into="JSON"),
        record('{"p": 1}', '{"b": 1}', out="JSON", into="JSON"),
        json.dumps({"captureData": {}, "eventVersion": "0"}),
    ],
)
def test_one_odd_line_changes_nothing_for_the_others(odd):
    plain = [record(json.dumps({"p": n}), json.dumps({"a": n / 2}), out="JSON", into="JSON") for n in range(4)]
    for lines in ([*plain, odd], [odd, *plain], [*plain[:2], odd, *plain[2:]]):
        assert read(lines, alone=False) == read(lines, alone=True)
    assert alike.taken([f"{line}\n".encode() for line in plain], captured.INPUT, captured.OUTPUTS, "", "") is not None


def rebuilt(row: dict[str | int, Any]) -> Any:
    """What was flattened, where no name holds a dot or is a number, and nothing was empty."""
    whole: dict[str, Any] = {}
    for name, value in row.items():
        *steps, last = str(name).split(".")
        inner = whole
        for step in steps:
            inner = inner.setdefault(step, {})
        inner[last] = value
    return listed(whole)


def listed(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    found = {key: listed(each) for key, each in value.items()}
    return [found[str(n)] for n in range(len(found))] if all(key.isdigit() for key in found) else found


@settings(deadline=None)
@given(st.dictionaries(NAMES, ANY, min_size=1, max_size=4))
def test_nested_json_comes_back_whole_from_its_row(value):
    row = flattening.flattened(value)
    assert rebuilt(row) == value
    assert not any(isinstance(each, dict | list) for each in row.values())


@settings(deadline=None)
@given(
    st.lists(st.dictionaries(NAMES, ANY, min_size=1, max_size=3), min_size=1, max_size=4),
    st.sampled_from(["", "instances"]),
)
def test_each_item_of_a_list_is_a_row(items, name):
    rows = flattening.rows_within({name: items} if name else items)
    assert [rebuilt(row) for row in rows] == items


@settings(deadline=None)
@given(st.dictionaries(NAMES, PLAIN, min_size=1, max_size=4), st.dictionaries(NAMES, PLAIN, min_size=1, max_size=4))
def test_neither_side_of_a_record_is_lost(answer, given_):
    row = flattening.joined(answer, given_)
    assert {name: row[name] for name in given_} == given_
    assert {name: row[flattening.answer_name(name, given_)] for name in answer} == answer
    assert len(row) == len(answer) + len(given_)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.dictionaries(NAMES, ANY, min_size=1, max_size=3), min_size=2, max_size=4))
def test_content_types_may_differ(rows):
    """The answer as lines of CSV, the input as lines of JSON."""
    held = json.loads(record("\n".join("0.5" for _ in rows), "\n".join(map(json.dumps, rows)), into="JSON"))
    held["captureData"]["endpointInput"]["observedContentType"] = "application/jsonlines"
    count, columns, left_out = read([json.dumps(held)], alone=False)
    assert (count, left_out) == (len(rows), 0)
    assert columns["_c0"] == ["0.5"] * len(rows)
    assert set(columns) == {"_c0"} | {name for row in rows for name in flattening.flattened(row)}


def test_one_row_is_expected_of_an_answer_of_one():
    lines = [record("0.5", '{"words": [["a", "b"], ["c", "d"]]}', into="JSON")]
    assert read(lines, alone=False) == (
        1, {"_c0": ["0.5"], "words.0.0": ["a"], "words.0.1": ["b"], "words.1.0": ["c"], "words.1.1": ["d"]}, 0
    )  # fmt: skip
