"""Ids of sessions say which instance holds them, and cannot be made up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.serving.sessions import MAX_CHARS, Session, header_of, holder_of, opened, read, sealed

KEY, ARN = b"\1" * 32, "arn:aws:sagemaker:us-east-1:111122223333:endpoint/e"
ids = st.from_regex(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,40}", fullmatch=True)
sessions = st.builds(Session, ids, st.text(max_size=20).map(holder_of), st.integers(0, 16**9 - 1))


@given(sessions)
def test_an_id_is_read_as_it_was_sealed(session: Session):
    text = sealed(session, KEY, ARN)
    assert read(text, KEY, ARN) == session
    assert read(text, b"\2" * 32, ARN) is None
    assert read(text, KEY, f"{ARN}2") is None


@given(sessions, st.data())
def test_a_changed_one_is_none(session: Session, data: st.DataObject):
    text = sealed(session, KEY, ARN)
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from("0123456789abcdefXYZ-"))
    changed = text[:at] + other + text[at + 1 :]
    assert changed == text or read(changed, KEY, ARN) is None


@given(st.text(max_size=300))
def test_any_text_is_read_or_none(text: str):
    assert read(text, KEY, ARN) is None


def test_what_the_model_says_is_passed_on():
    session = opened("abc-1; Expires=2030-01-02T03:04:05Z", "i-1")
    assert session == Session("abc-1", holder_of("i-1"), 1_893_553_445)
    header = header_of(session, KEY, ARN)
    text, _, end = header.partition("; ")
    assert (read(text, KEY, ARN), end) == (session, "Expires=2030-01-02T03:04:05Z")


@pytest.mark.parametrize(
    "said",
    [
        "",
        "abc",
        "abc; Expires=never",
        "-a; Expires=2030-01-02T03:04:05Z",
        "a; Expires=2030-13-02T03:04:05Z",
        "a\r\nb: c",
    ],
)
def test_what_is_no_session(said: str):
    with pytest.raises(ValueError, match=r"new session|time data|unconverted|does not match"):
        opened(said, "i-1")


def test_a_long_id_leaves_no_room():
    assert len(header_of(Session("a" * 150, holder_of("i"), 1), KEY, ARN)) <= MAX_CHARS
    with pytest.raises(ValueError, match="at most 180"):
        header_of(Session("a" * 200, holder_of("i"), 1), KEY, ARN)
