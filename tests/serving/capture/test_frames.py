from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.serving.capture import frames
from kedge.serving.capture.frames import Announced, BadFrame, Decoder, Forget
from kedge.serving.capture.records import Capture, Source, Taken

SOURCE = Source("1", "r", "e", "v", Capture(100, "b", "p", input=True, output=True))
TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)
TAKEN = st.builds(
    Taken, st.floats(0, 4e9), TEXT, TEXT, TEXT, TEXT, TEXT, st.binary(max_size=99), st.binary(max_size=99)
)


def encoded(number: int, taken: Taken) -> bytes:
    head = frames.record_head(
        number, taken.at_s, taken.event_id, taken.inference_id, taken.attributes, taken.input_type, taken.output_type,
        len(taken.input), len(taken.output),
    )  # fmt: skip
    return head + taken.input + taken.output


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), TAKEN), max_size=5), st.integers(1, 50))
def test_frames_come_back_however_they_are_cut(records, size):
    whole = frames.announce(7, SOURCE) + b"".join(encoded(*each) for each in records) + frames.forget()
    decoder = Decoder()
    found = [frame for at in range(0, len(whole), size) for frame in decoder.feed(whole[at : at + size])]
    assert found[0] == Announced(7, SOURCE)
    assert found[1:-1] == records
    assert isinstance(found[-1], Forget)


@given(st.binary(max_size=200))
def test_what_is_no_frame_is_refused_or_waited_for(data):
    with contextlib.suppress(BadFrame):
        list(Decoder().feed(data))


@pytest.mark.parametrize(
    "data",
    [
        b"\0\0\0\0",
        b"\1\0\0\0\x09",
        b"\xff\xff\xff\xff",
        frames.announce(1, SOURCE).replace(b"{", b"[", 1),
        b"\5\0\0\0\2\1\0\0\0",
    ],
)
def test_nonsense_is_refused(data):
    with pytest.raises(BadFrame):
        list(Decoder().feed(data))


def test_a_record_whose_lengths_lie_is_refused():
    whole = bytearray(encoded(1, Taken(0.0, "e", "", "", "", "", b"in", b"out")))
    whole[17] += 1  # the length of the event id
    with pytest.raises(BadFrame, match="add up"):
        list(Decoder().feed(bytes(whole)))
