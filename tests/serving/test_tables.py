"""The reader of tables in C: every number is float()'s to the last bit; what is no plain table is left alone.

That it and the other ways to read a body agree is what test_numeric is about.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kedge import core

if not core.found(core.NATIVE).compiled:
    pytest.skip(f"the reader is {core.found(core.NATIVE).why}", allow_module_level=True)

from kedge.serving.runtimes import tables

digits = st.text("0123456789", min_size=1, max_size=25)
whole = st.integers(0, 10**25).map(str)
written = st.builds("{}{}{}{}".format, st.sampled_from(["", "-"]), whole, st.just("") | digits.map(".{}".format),
                    st.just("") | st.integers(-340, 320).map("e{}".format))  # fmt: skip
halfway = st.floats(min_value=1e-25, max_value=1e25).map(
    lambda low: f"{(Decimal(low) + Decimal(math.nextafter(low, math.inf))) / 2:e}"
)
"""In the middle of two doubles, where Decimal has the digits for it; else next to it."""


def read(found: tables.Table | None) -> Any:
    assert found is not None
    numbers, rows = found
    array = np.frombuffer(numbers)
    return array.reshape(rows, -1) if rows else array


@settings(max_examples=1000, deadline=None)
@given(st.lists(written | halfway | st.floats(allow_nan=False, allow_infinity=False).map(repr), min_size=1, max_size=8))
@example(
    ["9007199254740993", "9007199254740992.999999999999", "1e22", "1e23", "8.5e-27", "12345678", "1234567812345678"]
)
@example(
    ["5e-324", "2.4703282292062327e-324", "1.7976931348623157e308", "0.00012345678901234567", "0.0", "0e9", "-0.0"]
)
@example(["0.1234567890123456789", "18446744073709551615", "18446744073709551616", "184467440737095516150"])
@example(["0." + "0" * 400 + "1", "1" + "0" * 400 + "e-400", "0.5" + "0" * 900])
def test_numbers_are_those_of_float(texts: list[str]):
    want = np.array([float(text) for text in texts])
    assert read(tables.from_csv(",".join(texts).encode())).tobytes() == want.tobytes()
    if not any(text in ("-0",) or (math.isinf(float(text)) and text.strip("-").isdecimal()) for text in texts):
        assert read(tables.from_json(f"[[{','.join(texts)}]]".encode())).tobytes() == want.tobytes()


def test_what_lies_beside_the_middle_of_two_doubles_is_rounded_once():
    """Of two thousand numbers of so many digits one does, as far as 64 bits can tell."""
    random = np.random.default_rng(0)
    whole, places = random.integers(10**16, 2**63, 100_000), random.integers(0, 28, 100_000)
    texts = [f"{number}e-{power}" for number, power in zip(whole.tolist(), places.tolist(), strict=True)]
    assert read(tables.from_csv(",".join(texts).encode())).tolist() == [list(map(float, texts))]


@pytest.mark.parametrize(
    ("body", "want"),
    [
        (b"1,2\n3,4\n", [[1, 2], [3, 4]]),
        (b"1,2\r\n3,4", [[1, 2], [3, 4]]),
        (b"\n\n1\n\r\n2\n\n", [[1], [2]]),
        (b"-0,\t7 \n, ", [[-0.0, 7], [math.nan, math.nan]]),
        (b" \n", [[math.nan]]),
    ],
)
def test_lines_of_csv(body: bytes, want: list[list[float]]):
    np.testing.assert_array_equal(read(tables.from_csv(body)), want)


@pytest.mark.parametrize(
    ("body", "want"),
    [
        (b"[[1, 2], [3, 4]]", [[1, 2], [3, 4]]),
        (b' { "instances" : [ [ 1e3 , null ] ] } \n', [[1000, math.nan]]),
        (b"[1,\t2.5]", [1, 2.5]),
        (b'{"instances": [-0, -0.0]}', [0.0, -0.0]),
    ],
)
def test_lists_of_json(body: bytes, want: list[Any]):
    found = read(tables.from_json(body))
    np.testing.assert_array_equal(found, want)
    assert np.array_equal(np.signbit(found), np.signbit(want))


@pytest.mark.parametrize(
    ("body", "want"),
    [
        (b"[1, 2]\n[3, null]\n", [[1, 2], [3, math.nan]]),
        (b"\n [1]\r\n\n \t\n[-0.0] ", [[1], [-0.0]]),
    ],
)
def test_lines_of_json(body: bytes, want: list[list[float]]):
    np.testing.assert_array_equal(read(tables.from_json_lines(body)), want)


@pytest.mark.parametrize("body", [b"", b"\n", b"[1,\n2]", b"[1] [2]", b"[1][2]", b"[1]\n[2, 3]", b"[[1]]", b"[]",
                                  b"1\n2", b"[1]\n2", b'{"features": [1]}', b"[1]\n[", b"[1]\x0b\n[2]"])  # fmt: skip
def test_what_are_no_plain_lines_of_json_is_left(body: bytes):
    assert tables.from_json_lines(body) is None


@pytest.mark.parametrize("row", ["+1", ".5", "1.", "01", "-", "e", "1e", "1e+", "0x1", "1_0", "nan", "1 2", "é",
                                 "1\x00", "\x0b1", '"1"', "true", "[", "1;2"])  # fmt: skip
def test_what_is_no_plain_number_is_left(row: str):
    assert tables.from_csv(row.encode()) is None
    assert tables.from_csv(f"1\n{row}".encode()) is None
    assert tables.from_json(f"[[{row}]]".encode()) is None
    assert tables.from_json(f"[{row}]".encode()) is None


@pytest.mark.parametrize("body", [
    b"", b" ", b"[", b"[]", b"[[]]", b"[[1], []]", b"[[1], [2, 3]]", b"[[1], 2]", b"[1, [2]]", b"[1]]", b"[1] 2",
    b"[1,]", b"[,1]", b"[[1] [2]]", b'{"instances": [1]', b'{"instances": [1], "x": 1}', b'{"instance": [1]}',
    b'{"instances"}', b"{}", b"1", b"nul", b"[nul", b"[-0, " + b"9" * 400 + b"]", b"\xef\xbb\xbf[1]",
])  # fmt: skip
def test_what_is_no_plain_json_table_is_left(body: bytes):
    assert tables.from_json(body) is None


@pytest.mark.parametrize("body", [b"", b"\n\r\n", b"1,2\n3", b"1\n2,3", b"1\r", b"1\r2", b'"1,2"'])
def test_what_is_no_plain_csv_table_is_left(body: bytes):
    assert tables.from_csv(body) is None


@settings(max_examples=2000)
@given(
    st.text('0123456789-+.eE,\n\r \t[]{}:"instancesnull', max_size=60)
    | st.binary(max_size=40).map(lambda b: b.decode("latin-1"))
)
def test_any_bytes_are_read_or_left(text: str):
    for reader in (tables.from_csv, tables.from_json, tables.from_json_lines):
        found = reader(text.encode())
        assert found is None or (len(found[0]) > 0 and len(found[0]) % (8 * max(found[1], 1)) == 0)


def test_only_bytes_are_read():
    assert tables.from_csv(bytearray(b"1")) is None  # type: ignore[arg-type]
    assert tables.from_json(memoryview(b"[1]")) is None  # type: ignore[arg-type]
