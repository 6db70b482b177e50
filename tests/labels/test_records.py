"""Labels as they are told, and the files that they become."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.errors import ValidationFailed
from kedge.labels.records import LONGEST_ID, MOST_LABELS, Label, file_of, read
from kedge.store.records import Entry

AT = datetime(2026, 3, 1, 13, 59, 58, 123456, UTC)


def body(**fields: Any) -> bytes:
    return json.dumps({"EndpointName": "wine", **fields}).encode()


@pytest.mark.parametrize(
    ("value", "data", "encoding"),
    [
        ("1", "1", "CSV"),
        (1, "1", "CSV"),
        (0.25, "0.25", "CSV"),
        (True, "true", "CSV"),
        ("red, or blue", '"red, or blue"', "CSV"),
        ({"label": 1}, '{"label": 1}', "JSON"),
        ([1, 2], "[1, 2]", "JSON"),
    ],
)
def test_a_label_alone(value: Any, data: str, encoding: str):
    assert read(body(InferenceId="order-7", Label=value)) == ("wine", [Label("order-7", data, encoding)])


def test_many_at_once():
    name, labels = read(body(Labels=[{"InferenceId": str(n), "Label": n} for n in range(MOST_LABELS)]))
    assert (name, len(labels), labels[7]) == ("wine", MOST_LABELS, Label("7", "7", "CSV"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (b"", "The body has to be"),
        (b"[]", "The body has to be"),
        (b'{"EndpointName": 7}', "The body has to be"),
        (b"[" * 100_000, "The body has to be"),
        (body(), "one of both"),
        (body(InferenceId="a", Label=1, Labels=[]), "one of both"),
        (body(InferenceId="a", Label=1, Lable=2), "Lable, which means nothing"),
        (body(InferenceId="a"), 'the body has to have "InferenceId" and "Label"'),
        (body(InferenceId="a", Label=None), 'the body has to have "InferenceId" and "Label"'),
        (body(InferenceId="", Label=1), "1 to 64 ASCII"),
        (body(InferenceId="é", Label=1), "1 to 64 ASCII"),
        (body(InferenceId="a" * (LONGEST_ID + 1), Label=1), "1 to 64 ASCII"),
        (body(InferenceId=["a"], Label=1), "1 to 64 ASCII"),
        (body(Labels=[]), "1 to 1000 labels; it is 0 of them"),
        (body(Labels=[{}] * (MOST_LABELS + 1)), "1001 of them"),
        (body(Labels={"a": 1}), "an array of 1 to 1000"),
        (body(Labels=[{"InferenceId": "a", "Label": 1}, 7]), r"Labels\[1\] has to have"),
        (body(InferenceId="a", Label="x" * 100_000), "longer than 65,536 bytes"),
        (body(Labels=[{"InferenceId": "a", "Label": "x" * 50_000}] * 6), "at most 262,144 are taken"),
    ],
)
def test_what_is_refused(given: bytes, said: str):
    with pytest.raises(ValidationFailed, match=said):
        read(given)


def entry(number: int, at: datetime, *labels: Label) -> Entry:
    # As the store gives it back: what is put goes through JSON.
    document = json.loads(json.dumps({"EndpointName": "wine", "Labels": labels}))
    return Entry(number, "q", f"id-{number}", document, at, 0, at)


def test_a_file_holds_one_hour():
    entries = [
        entry(1, AT, Label("a", "1", "CSV"), Label("b", '{"label": 0}', "JSON")),
        entry(2, AT + timedelta(seconds=1), Label("c", "0", "CSV")),
        entry(3, AT + timedelta(seconds=2), Label("d", "1", "CSV")),
    ]
    file = file_of(entries)
    assert file.key == "2026/03/01/13/59-58-123-id-1.jsonl"
    assert [each.number for each in file.entries] == [1, 2]
    assert [json.loads(line) for line in file.body.splitlines()] == [
        {
            "groundTruthData": {"data": data, "encoding": encoding},
            "eventMetadata": {"eventId": id_},
            "eventVersion": "0",
        }
        for id_, data, encoding in [("a", "1", "CSV"), ("b", '{"label": 0}', "JSON"), ("c", "0", "CSV")]
    ]
    assert file_of(entries[2:]).key == "2026/03/01/14/00-00-123-id-3.jsonl"


@given(
    st.recursive(
        st.text() | st.integers() | st.booleans(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_each_label_is_one_line(value: Any):
    _, labels = read(body(InferenceId="a", Label=value))
    (line,) = file_of([entry(1, AT, *labels)]).body.split(b"\n")[:-1]
    data = json.loads(line)["groundTruthData"]
    if data["encoding"] == "JSON":
        assert json.loads(data["data"]) == value
