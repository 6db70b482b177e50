"""The worker's half of a connection, and its queue, without any socket."""

import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.serving import frames
from kedge.serving.frames import PART_BYTES, PARTS_WINDOW_BYTES, WINDOW_BYTES, Frame, FrameError, Kind
from kedge.serving.runtimes.base import Answer, BadInput, Invocation
from kedge.serving.streams import MAX_BODY_BYTES, MAX_PARTIAL, Arrived, Cancelled, Credited, Failure, Peer
from kedge.serving.work import MAX_BATCH_BYTES, MAX_BYTES, MAX_REQUESTS, Job, Work

HELLO = frames.with_head(Kind.HELLO, 0, {"version": 1})


def greeted(room: int = sys.maxsize) -> Peer:
    peer = Peer({"instance": "i-1"}, lambda: room)
    assert peer.receive(HELLO) == []
    [hello] = sent(peer)
    assert hello.head()[0] == {"version": 1, "instance": "i-1"}
    return peer


def sent(peer: Peer) -> list[Frame]:
    return frames.Decoder().feed(peer.outgoing())


def request(stream: int, body: bytes = b"x", **head: object) -> bytes:
    return b"".join(frames.message(Kind.REQUEST, stream, head, body))


def test_a_request_and_its_answer():
    peer = greeted()
    [arrived] = peer.receive(request(7, b"1,2", content_type="text/csv", request_id="r", deadline_ms=50))
    assert arrived == Arrived(7, Invocation(b"1,2", "text/csv", request_id="r"), 50)
    assert not peer.quiet
    peer.answer(7, Answer(b"[1]", "application/json", "c=1"))
    [answer] = sent(peer)
    assert (answer.kind, answer.stream, answer.flags) == (Kind.RESPONSE, 7, frames.LAST)
    assert answer.head() == ({"status": 200, "content_type": "application/json", "custom_attributes": "c=1"}, b"[1]")
    assert peer.quiet
    peer.answer(7, Answer(b"again", "a/b"))
    assert peer.quiet


def test_an_error_says_whose_fault_it_is_and_is_cut():
    peer = greeted()
    peer.receive(request(1))
    peer.answer(1, BadInput("x" * 5000))
    [error] = sent(peer)
    assert error.kind is Kind.ERROR
    assert error.head()[0] == {"status": 400, "message": "x" * 2048, "kind": "input"}


@pytest.mark.parametrize(
    "data",
    [
        request(1),  # before any hello
        frames.with_head(Kind.HELLO, 0, {"version": 2}),
        frames.with_head(Kind.HELLO, 0, {}),
        b"GET / HTTP/1.1\r\n\r\n",
        HELLO + HELLO,
        HELLO + request(0),
        HELLO + request(1) + request(1),
        HELLO + request(1, content_type=5),
        HELLO + request(1, deadline_ms="soon"),
        HELLO + request(1, deadline_ms=True),
        HELLO + request(1, timeout_ms="long"),
        HELLO + frames.frame(Kind.REQUEST, 1, b"\xff\xff\xff\xff"),
        HELLO + frames.with_head(Kind.RESPONSE, 1, {}),
        HELLO + frames.with_head(Kind.ERROR, 1, {}),
    ],
)
def test_who_does_not_speak_the_protocol_is_refused(data: bytes):
    with pytest.raises(FrameError):
        Peer({}, lambda: MAX_BYTES).receive(data)


def test_a_ping_is_answered_and_an_answer_to_one_is_not():
    peer = greeted()
    peer.receive(frames.frame(Kind.PING, 0, b"abc") + frames.frame(Kind.PING, 0, b"abc", frames.ACK))
    assert sent(peer) == [Frame(Kind.PING, 0, frames.ACK, b"abc")]


def test_a_large_body_is_credited_and_put_together():
    peer = greeted()
    body = bytes(range(256)) * (3 * WINDOW_BYTES // 256) + b"end"
    events, credited = [], 0
    for part in frames.message(Kind.REQUEST, 1, {}, body):
        events += peer.receive(part)
        credited += sum(frame.credit() for frame in sent(peer))
    assert [event.request.body for event in events] == [body]
    assert peer.partial_bytes == 0
    assert credited > len(body) - WINDOW_BYTES


def test_an_end_without_a_body_ends_the_body():
    peer = greeted()
    peer.receive(frames.with_head(Kind.REQUEST, 1, {}, b"ab"))
    [arrived] = peer.receive(frames.frame(Kind.END, 1))
    assert arrived.request.body == b"ab"


def test_large_answers_wait_for_credit_and_let_small_ones_pass():
    peer = greeted()
    body = b"x" * (2 * WINDOW_BYTES)
    peer.receive(request(1) + request(2) + request(3))
    peer.answer(1, Answer(body, "a/b"))
    peer.answer(2, Answer(body, "a/b"))
    first = sent(peer)
    assert {frame.stream for frame in first} == {1, 2}, "they take turns"
    peer.answer(3, Answer(b"small", "a/b"))
    assert sent(peer)[0].stream == 3
    decoder, got = frames.Decoder(), {1: 0, 2: 0}
    for frame in first:
        got[frame.stream] += len(frame.head()[1] if frame.kind is Kind.RESPONSE else frame.payload)
    while data := peer.outgoing():
        for frame in decoder.feed(data):
            got[frame.stream] += len(frame.payload)
    assert max(got.values()) <= WINDOW_BYTES
    peer.receive(frames.frame(Kind.CANCEL, 2) + frames.credit(1, WINDOW_BYTES))
    rest = b""
    while data := peer.outgoing():
        rest += data
    assert {frame.stream for frame in frames.Decoder().feed(rest)} == {1}
    assert peer.quiet


def test_a_cancelled_request_is_forgotten():
    peer = greeted()
    assert peer.receive(request(1) + frames.frame(Kind.CANCEL, 1))[1] == Cancelled(1)
    peer.answer(1, Answer(b"", "a/b"))
    peer.receive(frames.with_head(Kind.REQUEST, 2, {}, b"half") + frames.frame(Kind.CANCEL, 2))
    assert peer.quiet
    assert peer.partial_bytes == 0
    assert peer.receive(frames.frame(Kind.CHUNK, 2, b"late", frames.LAST) + frames.frame(Kind.CANCEL, 9)) == []


def test_what_does_not_fit_is_refused_at_once():
    peer = greeted(room=10)
    peer.receive(request(1, b"x" * 11))
    peer.receive(frames.with_head(Kind.REQUEST, 2, {}, b"x" * 5) + frames.frame(Kind.CHUNK, 2, b"x" * 11))
    assert [frame.head()[0]["kind"] for frame in sent(peer)] == ["busy", "busy"]
    peer = greeted()
    for stream in range(1, MAX_PARTIAL + 2):
        peer.receive(frames.with_head(Kind.REQUEST, stream, {}, b"x"))
    [error] = sent(peer)
    assert (error.stream, error.head()[0]["status"]) == (MAX_PARTIAL + 1, 503)


def test_a_body_has_a_largest_size():
    peer = greeted()
    chunk = frames.frame(Kind.CHUNK, 1, b"x" * PART_BYTES)
    peer.receive(frames.with_head(Kind.REQUEST, 1, {}))
    for _ in range(MAX_BODY_BYTES // PART_BYTES + 1):
        peer.receive(chunk)
    assert sent(peer)[-1].head()[0]["status"] == 413
    assert peer.quiet


def test_the_largest_size_is_what_the_hello_says():
    peer = Peer({"max_body_bytes": 8}, lambda: MAX_BYTES)
    peer.receive(frames.with_head(Kind.HELLO, 0, {"version": frames.VERSION}))
    sent(peer)
    for stream, size in ((1, 8), (2, 9)):
        peer.receive(frames.with_head(Kind.REQUEST, stream, {}))
        peer.receive(frames.frame(Kind.CHUNK, stream, b"x" * size, frames.LAST))
    [error] = sent(peer)
    assert (error.stream, error.head()[0]["status"]) == (2, 413)


def test_a_worker_that_stops_takes_nothing_new():
    peer = greeted()
    peer.receive(frames.with_head(Kind.REQUEST, 1, {}, b"a"))
    peer.closing = True
    [arrived] = peer.receive(request(2) + frames.frame(Kind.CHUNK, 1, b"b", frames.LAST))
    assert arrived.request.body == b"ab"
    assert [(f.stream, f.head()[0]["kind"]) for f in sent(peer)] == [(2, "busy")]


@given(st.binary(max_size=64), st.integers(1, 7))
def test_no_bytes_break_a_connection_otherwise(data: bytes, step: int):
    peer = greeted()
    try:
        for start in range(0, len(data), step):
            peer.receive(data[start : start + step])
    except FrameError:
        return
    peer.outgoing()


sizes = st.lists(st.sampled_from([0, 1, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES, WINDOW_BYTES + 5]), max_size=5)


@given(sizes, st.randoms(use_true_random=False))
def test_every_answer_arrives_whole(lengths: list[int], random):
    peer, decoder = greeted(), frames.Decoder()
    bodies = {stream: bytes([stream]) * length for stream, length in enumerate(lengths, 1)}
    for stream in bodies:
        peer.receive(request(stream))
    for stream in random.sample(sorted(bodies), len(bodies)):
        peer.answer(stream, Answer(bodies[stream], "a/b"))
    got = dict.fromkeys(bodies, b"")
    while not peer.quiet:
        for frame in decoder.feed(peer.outgoing(random.choice([1, PART_BYTES, 10 * PART_BYTES]))):
            part = frame.head()[1] if frame.kind is Kind.RESPONSE else frame.payload
            got[frame.stream] += part
            peer.receive(frames.credit(frame.stream, len(part)))
    assert got == bodies


def job(stream: int, size: int = 1) -> Job[str]:
    return Job("router", stream, Invocation(bytes(size)), None)


def test_what_waits_is_taken_as_one_batch_oldest_first():
    work: Work[str] = Work()
    assert work.add([job(1), job(2), job(3)]) == []
    work.cancel("router", 2)
    work.cancel("router", 9)
    assert [each.stream for each in work.take(10) or []] == [1, 3]
    assert not work.drained()
    assert work.done([job(1), job(3)])
    assert work.drained()
    work.close()
    assert work.take(1) is None


def test_a_batch_and_the_queue_are_bounded():
    work: Work[str] = Work()
    refused = work.add([job(stream) for stream in range(MAX_REQUESTS + 2)])
    assert [each.stream for each in refused] == [MAX_REQUESTS, MAX_REQUESTS + 1]
    assert len(work.take(5) or []) == 5
    assert len(work.take(2000) or []) == MAX_REQUESTS - 5
    work = Work()
    large = MAX_BATCH_BYTES // 2 + 1
    assert [each.stream for each in work.add([job(stream, large) for stream in range(8)])] == [7]
    assert work.room_bytes < large
    first = work.take(10) or []
    assert len(first) == 1
    work.done(first)
    assert work.room_bytes > large


def test_taking_waits_for_work():
    work: Work[str] = Work()
    taken: list[object] = []
    thread = threading.Thread(target=lambda: taken.append(work.take(1)))
    thread.start()
    work.add([job(1)])
    thread.join(10)
    assert taken == [[job(1)]]


HEAD = frames.response_head(200, "text/plain", "")


@pytest.mark.parametrize(("head", "window_bytes"), [({"answer": "parts"}, PARTS_WINDOW_BYTES), ({}, WINDOW_BYTES)])
def test_an_answer_in_parts_goes_as_far_as_there_is_credit(head: dict[str, str], window_bytes: int):
    peer = greeted()
    [arrived] = peer.receive(request(7, **head))
    assert isinstance(arrived, Arrived)
    assert arrived.in_parts == bool(head)
    peer.receive(request(8))
    part = b"x" * PART_BYTES
    for _ in range(window_bytes // PART_BYTES):
        assert peer.part(7, HEAD, part)
    assert not peer.part(7, HEAD, part)
    assert not peer.part(7, HEAD, b"x")
    peer.answer(8, Answer(b"[1]", "application/json"))
    first, *others, small = sent(peer)
    assert (first.kind, first.flags, first.head()) == (
        Kind.RESPONSE,
        0,
        ({"status": 200, "content_type": "text/plain"}, part),
    )
    assert {(each.kind, each.stream, each.flags) for each in others} == {(Kind.CHUNK, 7, 0)}
    assert small.stream == 8
    assert peer.receive(frames.credit(7, 5)) == [Credited(7)]
    assert not peer.part(7, HEAD, b"123456")
    assert peer.part(7, HEAD, b"12345")
    peer.end(7)
    assert [(each.kind, each.payload) for each in sent(peer)] == [(Kind.CHUNK, b"12345"), (Kind.END, b"")]
    assert peer.quiet
    assert not peer.awaits(7)
    peer.end(7)
    assert peer.receive(frames.credit(7, 5)) == []
    assert peer.quiet


def test_an_answer_in_parts_that_breaks_off_or_is_not_wanted_any_more():
    peer = greeted()
    peer.receive(request(1) + request(2))
    assert peer.part(1, HEAD, b"a")
    assert peer.part(2, HEAD, b"a")
    peer.answer(1, BadInput("no"))
    assert [each.kind for each in sent(peer)] == [Kind.RESPONSE, Kind.RESPONSE, Kind.ERROR]
    assert peer.receive(frames.frame(Kind.CANCEL, 2)) == [Cancelled(2)]
    assert not peer.awaits(2)
    assert peer.quiet


@pytest.mark.parametrize("size", [1, PART_BYTES + 1])
def test_what_was_measured_goes_with_an_answer(size: int):
    peer = greeted()
    peer.receive(request(1) + request(2))
    told = [("a", "ContainerLatency", 2.5)]
    peer.answer(1, Answer(b"x" * size, "text/plain"), told)
    peer.answer(2, Failure(500, "no", "model", "a"), told)
    answers = {each.stream: each for each in sent(peer) if each.kind in (Kind.RESPONSE, Kind.ERROR)}
    assert answers[1].flags & frames.VARIES
    for each in answers.values():
        assert each.head()[0]["told"] == [["a", "ContainerLatency", 2.5]]
