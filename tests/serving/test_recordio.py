"""Bodies written here by hand: the format is SageMaker's, whose writer is not to be had."""

import contextlib
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.serving.runtimes import recordio
from kedge.serving.runtimes.base import BadInput, TooLarge


def varint(value: int) -> bytes:
    out = b""
    while True:
        out += bytes([value & 0x7F | (0x80 if value > 0x7F else 0)])
        value >>= 7
        if not value:
            return out


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def record(values: bytes, keys: list[int] | None = None, *, kind: int = 2, name: bytes = b"values") -> bytes:
    tensor = field(1, values) + (field(2, b"".join(map(varint, keys))) if keys else b"") + field(3, varint(3))
    label = field(2, field(1, b"values") + field(2, field(2, field(1, struct.pack("<f", 1)))))
    return label + field(1, field(1, name) + field(2, field(kind, tensor)))


def framed(*records: bytes) -> bytes:
    return b"".join(struct.pack("<II", 0xCED7230A, len(r)) + r + b"\0" * (-len(r) % 4) for r in records)


def floats(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def test_dense_and_sparse_rows():
    body = framed(
        record(floats(1, 2, 3)),
        record(floats(5, 6), [0, 2]),
        record(struct.pack("<3d", 7, 8, 9), kind=3),
        record(b"".join(varint(v & (1 << 64) - 1) for v in (1, -2, 3)), kind=7),
    )
    want = [[1, 2, 3], [5, np.nan, 6], [7, 8, 9], [1, -2, 3]]
    assert np.array_equal(recordio.rows(body, 3), np.array(want, np.float32), equal_nan=True)
    assert recordio.rows(body, 5).shape == (4, 5)
    assert recordio.rows(body, 0).shape == (4, 3)


def test_values_that_are_not_packed():
    tensor = b"".join(varint(1 << 3 | 5) + floats(v) for v in (1.5, 2.5))
    body = framed(field(1, field(1, b"values") + field(2, field(2, tensor))))
    assert recordio.rows(body, 0).tolist() == [[1.5, 2.5]]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "no records"),
        (b"abc", "cut off"),
        (b"x" * 20, "no whole RecordIO frame"),
        (struct.pack("<II", 0xCED7230A, 1 << 29), "no whole RecordIO frame"),
        (struct.pack("<II", 0xCED7230A, 99), "cut off"),
        (framed(b"\xff"), "Record 1 is no protobuf"),
        (framed(record(floats(1), name=b"other")), 'no feature "values"'),
        (framed(record(floats(1, 2), [0])), "1 keys and 2 values"),
        (framed(record(b"abc")), "Record 1 is no protobuf"),
        (framed(record(floats(1), [9])), "has the column 9; the model takes 3"),
        (framed(field(1, field(1, b"values") + field(2, field(9, b"x")))), "no tensor of numbers"),
    ],
)
def test_a_body_that_cannot_be_read(body: bytes, says: str):
    with pytest.raises(BadInput, match=says):
        recordio.rows(body, 3)


def test_a_few_bytes_do_not_claim_much_memory():
    with pytest.raises(TooLarge):
        recordio.rows(framed(record(floats(1), [1 << 40])), 0)


@given(st.binary(max_size=200), st.booleans())
def test_nothing_but_a_refusal_comes_of_noise(noise: bytes, inside: bool):
    with contextlib.suppress(BadInput, TooLarge):
        recordio.rows(framed(noise) if inside else noise, 4)
