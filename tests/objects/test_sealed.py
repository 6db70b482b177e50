"""The format of encrypted bodies: whatever is done to a file is found, and any range opens by itself."""

from __future__ import annotations

import os
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.objects import sealed
from kedge.objects.sealed import HEADER_BYTES, SEGMENT_BYTES, Damaged, Reader, Writer

KEY = bytes(range(32))
DATA = os.urandom(4 * SEGMENT_BYTES + 100)
EDGES = [0, 1, SEGMENT_BYTES - 1, SEGMENT_BYTES, SEGMENT_BYTES + 1, 2 * SEGMENT_BYTES, 3 * SEGMENT_BYTES + 7]
STORED = SEGMENT_BYTES + 16


def seal_whole(key: bytes, data: bytes) -> bytes:
    writer = Writer(key)
    return b"".join([writer.header, *writer.update(data), writer.final()])


def open_whole(key: bytes, stored: bytes, size: int) -> bytes:
    reader = Reader(key, stored[:HEADER_BYTES], size)
    start, length = reader.place(0, max(1, size))
    return reader.open(stored[start : start + length], 0, size)


sizes = st.sampled_from(EDGES) | st.integers(0, len(DATA))


@pytest.mark.parametrize("size", EDGES)
def test_a_body_comes_back_and_its_file_has_the_size_that_is_foretold(size):
    stored = seal_whole(KEY, DATA[:size])
    assert len(stored) == sealed.stored_size(size)
    assert open_whole(KEY, stored, size) == DATA[:size]
    assert DATA[:16] not in stored or size < 16


@given(size=sizes, cuts=st.lists(st.integers(0, len(DATA)), max_size=6))
def test_how_the_body_arrives_does_not_matter(size, cuts):
    writer = Writer(KEY)
    places = sorted({0, size, *(cut for cut in cuts if cut < size)})
    out = [writer.header]
    for start, end in pairwise(places):
        out += writer.update(DATA[start:end])
    stored = b"".join([*out, writer.final()])
    assert len(stored) == sealed.stored_size(size)
    assert open_whole(KEY, stored, size) == DATA[:size]


@given(size=sizes.filter(bool), data=st.data())
def test_any_range_opens_by_itself(size, data):
    offset = data.draw(st.integers(0, size - 1))
    count = data.draw(st.integers(1, size - offset))
    stored = seal_whole(KEY, DATA[:size])
    reader = Reader(KEY, stored[:HEADER_BYTES], size)
    start, length = reader.place(offset, count)
    assert length <= count + 2 * STORED
    assert reader.open(stored[start : start + length], offset, count) == DATA[offset : offset + count]


@given(offset=st.integers(0, 1 << 40), count=st.integers(1, 1 << 21))
def test_reads_that_go_on_begin_with_a_segment(offset, count):
    taken = sealed.until_boundary(offset, count)
    assert 0 < taken <= count
    assert (offset + taken) % SEGMENT_BYTES == 0 or taken == count


@given(size=sizes, data=st.data())
def test_one_changed_bit_is_found(size, data):
    stored = bytearray(seal_whole(KEY, DATA[:size]))
    stored[data.draw(st.integers(0, len(stored) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(Damaged):
        open_whole(KEY, bytes(stored), size)


@given(size=sizes, data=st.data())
def test_a_file_that_is_cut_is_found(size, data):
    """Also where a segment ends, which is why the last one is marked."""
    stored = seal_whole(KEY, DATA[:size])
    ends = [HEADER_BYTES + n * STORED for n in range(sealed.count_of(size))]
    cut = data.draw(st.integers(0, len(stored) - 1) | st.sampled_from(ends))
    for supposed in (size, max(0, size - len(stored) + cut), (ends.index(cut) if cut in ends else 0) * SEGMENT_BYTES):
        with pytest.raises(Damaged):
            open_whole(KEY, stored[:cut], supposed)


def test_segments_do_not_change_places_or_files():
    stored = seal_whole(KEY, DATA)
    first, second = (stored[HEADER_BYTES + n * STORED : HEADER_BYTES + (n + 1) * STORED] for n in (0, 1))
    head, rest = stored[:HEADER_BYTES], stored[HEADER_BYTES + 2 * STORED :]
    other = seal_whole(KEY, DATA)
    for wrong in (head + second + first + rest, other[: HEADER_BYTES + STORED] + second + rest, head + second + rest):
        with pytest.raises(Damaged):
            open_whole(KEY, wrong, len(DATA))


def test_another_key_opens_nothing():
    with pytest.raises(Damaged, match="segment 0"):
        open_whole(bytes(32), seal_whole(KEY, b"x"), 1)


def test_a_size_that_is_wrong_is_found():
    """The index says how long a body is; a file that ends with a whole segment must not pass for a longer one."""
    stored = seal_whole(KEY, DATA[: 2 * SEGMENT_BYTES])
    for size in (SEGMENT_BYTES, 2 * SEGMENT_BYTES - 1, 2 * SEGMENT_BYTES + 1, 3 * SEGMENT_BYTES):
        reader = Reader(KEY, stored[:HEADER_BYTES], size)
        start, length = reader.place(0, size)
        with pytest.raises(Damaged):
            reader.open(stored[start : start + length], 0, size)


def test_the_digest_differs_for_equal_bodies_and_two_files():
    first, second = Writer(KEY), Writer(KEY)
    for writer in (first, second):
        writer.update(b"same")
        writer.final()
    assert first.digest != second.digest


@given(size=sizes, step=st.integers(5000, 3 * SEGMENT_BYTES))
def test_the_buffer_that_the_body_came_in_may_be_used_again(size, step):
    writer, buffer = Writer(KEY), bytearray(step)
    out = [writer.header]
    for start in range(0, size, step):
        piece = DATA[start : min(size, start + step)]
        buffer[: len(piece)] = piece
        out += writer.update(memoryview(buffer)[: len(piece)])
        buffer[:] = bytes(step)
    assert open_whole(KEY, b"".join([*out, writer.final()]), size) == DATA[:size]
