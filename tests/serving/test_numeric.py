"""The quick way reads and writes what the slow way does: a content type spelled otherwise takes the slow one."""

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kedge.serving.runtimes import numeric, payload
from kedge.serving.runtimes.base import BadInput

SLOWLY = "; quick=no"
COLUMNS = ("x", "y")
TOKENS = [
    *(
        "1",
        "0",
        "-0",
        "-0.0",
        "-0e5",
        "-0 ",
        "1e-0",
        "2.5",
        "-1e-7",
        "1E5",
        "1e+5",
        "1e999",
        "-1e999",
        "4.9e-324",
        "1e-400",
    ),
    *("9007199254740993", "18446744073709551615", "18446744073709551616", "-9223372036854775809", "1" * 310, "0.1" * 1),
    *("123456789012345678901234567890", "0.30000000000000004", "2.2250738585072011e-308", "179769313486231580793e289"),
    *(
        "",
        " ",
        "\t",
        " 1",
        "1 ",
        "1 2",
        "+1",
        ".5",
        "1.",
        "01",
        "1_0",
        "nan",
        "NaN",
        "inf",
        "Infinity",
        "-",
        "e",
        "0x1",
    ),
    *(
        "true",
        "false",
        "null",
        '"1"',
        '"',
        "'",
        "[",
        "]",
        "[1]",
        "{",
        "}",
        "{}",
        "a",
        "é",
        "\x00",
        "\x0c",
        "\u2028",
        "\ufeff",
    ),
]
separators = st.sampled_from([",", "\n", "\r\n", "\r", "\n\n", ", ", "\t", ";"])
soup = st.lists(st.tuples(st.sampled_from(TOKENS), separators), max_size=12).map(
    lambda pairs: "".join(token + separator for token, separator in pairs)
)
rectangles = st.integers(1, 4).flatmap(
    lambda width: st.lists(
        st.lists(st.sampled_from(TOKENS[:27]), min_size=width, max_size=width), min_size=1, max_size=4
    )
)
numbers = st.floats() | st.integers() | st.booleans() | st.none() | st.integers(-(2**70), 2**70)
tables = st.integers(0, 4).flatmap(lambda n: st.lists(st.lists(numbers, min_size=n, max_size=n), max_size=4))
objects = st.lists(st.fixed_dictionaries({"x": numbers, "y": numbers}, optional={"z": numbers}), max_size=3)
values = st.recursive(numbers | st.text(max_size=3), lambda inner: st.lists(inner, max_size=4), max_leaves=12)
bodies = st.one_of(tables, objects, values, st.fixed_dictionaries({"instances": tables | objects | values}))


def read(body: bytes, content_type: str) -> Any:
    """dtype, shape and every bit; or what is wrong."""
    try:
        array = payload.decode(body, content_type, COLUMNS)
    except BadInput as error:
        return error.message
    return array.dtype, array.shape, array.tobytes() if array.dtype.kind == "f" else repr(array.tolist())


def same(body: bytes, content_type: str) -> None:
    quick, slow = read(body, content_type), read(body, content_type + SLOWLY)
    if quick != slow:
        # Which NaN it is does not matter.
        assert isinstance(quick, tuple)
        assert isinstance(slow, tuple)
        assert quick[:2] == slow[:2]
        np.testing.assert_array_equal(np.frombuffer(quick[2]), np.frombuffer(slow[2]))
        assert np.array_equal(np.signbit(np.frombuffer(quick[2])), np.signbit(np.frombuffer(slow[2])))


@settings(max_examples=400)
@given(soup)
@example("1,\r2")
@example("1,-0\n-0,1")
@example(" \n")
def test_any_csv_is_read_alike(text: str):
    same(text.encode(), "text/csv")


@settings(max_examples=300)
@given(rectangles, st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_tables_of_csv_are_read_alike(table: list[list[str]], line_end: str, ended: bool):
    same((line_end.join(",".join(row) for row in table) + line_end * ended).encode(), "text/csv")


@settings(max_examples=300)
@given(bodies)
def test_any_json_is_read_alike(value: object):
    same(json.dumps(value).encode(), "application/json")
    lines = value if isinstance(value, list) else [value]
    same("\n".join(map(json.dumps, lines)).encode(), "application/jsonlines")


@settings(max_examples=300)
@given(st.lists(st.sampled_from(TOKENS[:27]) | st.sampled_from(TOKENS), min_size=1, max_size=4), st.integers(1, 2))
@example(["1], [2"], 1)
@example(['{"x": 1, "y": 2, "x": 3}'], 1)
@example(["[" * 2000 + "]" * 2000], 1)
@example(['"\\ud800"'], 1)
def test_json_of_odd_parts_is_read_alike(tokens: list[str], rows: int):
    row = "[" + ", ".join(tokens) + "]"
    same(("[" + ",".join([row] * rows) + "]").encode(), "application/json")


@given(st.binary(max_size=40), st.sampled_from(["text/csv", "application/json", "application/jsonlines", ""]))
def test_any_bytes_are_read_alike(body: bytes, content_type: str):
    if content_type or not body:
        same(body, content_type or "application/json")


@given(tables | st.lists(numbers, max_size=5), st.sampled_from(["f8", "f4", "f2", "i8", "u8", "?"]))
def test_predictions_are_written_alike(values: list[Any], dtype: str):
    try:
        with np.errstate(all="ignore"):
            prediction = np.array(values, dtype=float).astype(dtype)
    except OverflowError:
        return
    written = payload.encode(prediction, "application/json")
    assert json.dumps(json.loads(written)) == json.dumps(prediction.tolist())
    slowly = payload.encode(prediction.view(Plain), "text/csv").decode().split("\n")
    for quick, slow in zip(payload.encode(prediction, "text/csv").decode().split("\n"), slowly, strict=True):
        assert list(map(number, quick.split(","))) == list(map(number, slow.split(",")))


class Plain(np.ndarray):
    """No array of numpy's own class: what is not known is written the slow way."""


def number(field: str) -> object:
    return str(float(field)) if field not in ("", "True", "False") else field


def test_the_quick_way_is_taken():
    table = np.random.default_rng(0).normal(size=(100, 20))
    text = "\n".join(",".join(map(repr, row)) for row in table.tolist())
    assert np.array_equal(numeric.from_csv(text.encode(), None), table)
    assert np.isnan(numeric.from_csv(b"1,,\r\n,3,\r\n", None)).sum() == 4
    assert np.array_equal(numeric.from_json(json.dumps(table.tolist()).encode(), None), table)
    assert numeric.from_json(b'{"instances": [{"y": 1, "x": null}]}', COLUMNS).tolist()[0][1] == 1
    assert numeric.to_json(table) is not None
    assert numeric.to_csv(table[0]) is not None


def test_what_was_read_may_be_written_over():
    for array in (numeric.from_csv(b"1,2", None), numeric.from_json(b"[[1, null]]", None)):
        array[0, 0] = math.pi


@pytest.mark.parametrize("method", [numeric.to_json, numeric.to_csv])
def test_what_json_has_no_number_for_is_left(method: Any):
    assert method(np.array([1.0, math.nan])) is None
    assert method(np.array([1.0, -math.inf])) is None
    assert method(np.array([True])) is None
    assert method(np.array(["1"])) is None
