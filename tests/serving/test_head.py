from __future__ import annotations

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.serving import head

USUAL = (
    b"POST /endpoints/wine/invocations HTTP/1.1\r\nHost: 127.0.0.1:8771\r\nAccept-Encoding: identity\r\n"
    b"Content-Type:text/csv \r\nX-Amz-Date: 20260101T000000Z\r\nContent-Length: 3\r\n\r\n1,2"
)


class Recorder:
    """What the parser makes of bytes, as `head.read` gives it."""

    def __init__(self, data: bytes) -> None:
        self.url, self.body, self.complete = b"", b"", 0
        self.pairs: list[tuple[str, str]] = []
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.pairs.append((name.decode("latin-1").lower(), value.decode("latin-1").strip(" \t")))

    def on_body(self, piece: bytes) -> None:
        self.body += piece

    def on_message_complete(self) -> None:
        self.complete += 1

    def plain(self) -> head.Plain:
        assert self.complete == 1
        assert self.parser.get_http_version() == "1.1"
        assert self.parser.should_keep_alive()
        assert len(dict(self.pairs)) == len(self.pairs)
        path, _, query = self.url.decode().partition("?")
        return self.parser.get_method().decode(), path, query, dict(self.pairs), self.body


def test_a_usual_request():
    plain = head.read(USUAL)
    assert plain is not None
    assert plain[:3] == ("POST", "/endpoints/wine/invocations", "")
    assert plain[3]["content-type"] == "text/csv"
    assert plain[4] == b"1,2"
    assert plain == Recorder(USUAL).plain()


@pytest.mark.parametrize(
    ("what", "instead"),
    [
        (b"POST /", b"PUT /"),
        (b"POST /", b"POST  /"),
        (b"POST /", b"POST http://h/"),
        (b"POST /", b"POST /#/"),
        (b"HTTP/1.1", b"HTTP/1.0"),
        (b"HTTP/1.1", b"HTTP/1.1 "),
        (b"Host:", b"Host :"),
        (b"Host:", b" Host:"),
        (b"Host:", b"Other:"),
        (b"Host: 127", b"Host: a\r\nHost: 127"),
        (b"identity", b"identity\r\n folded"),
        (b"identity", b"ident\nX: y"),
        (b"identity", b"ident\rX: y"),
        (b"identity", b"ident\0"),
        (b"identity", b"ident\tity"),
        (b"Accept-Encoding", b"Transfer-Encoding"),
        (b"Accept-Encoding: identity", b"Expect: 100-continue"),
        (b"Accept-Encoding: identity", b"Upgrade: h2c"),
        (b"Accept-Encoding: identity", b"Connection: close"),
        (b"Accept-Encoding: identity", b"no colon"),
        (b"Length: 3", b"Length: 2"),
        (b"Length: 3", b"Length: 4"),
        (b"Length: 3", b"Length: +3"),
        (b"Length: 3", b"Length: 3,3"),
        (b"Length: 3", "Length: ³".encode("latin-1")),
        (b"Length: 3", b"Length: 3\r\nContent-Length: 3"),
        (b"Length: 3", b"Length: " + b"3" * 5000),
        (b"identity", b"x" * head.LONGEST_BYTES),
        (b"identity", b"x" + b"".join(b"\r\nx-%d: y" % number for number in range(head.MOST_HEADERS))),
        (b"1,2", b"1,2" + USUAL),
        (b"\r\n\r\n", b"\r\n"),
    ],
)
def test_what_is_not_plain_is_left_to_the_parser(what: bytes, instead: bytes):
    assert what in USUAL
    assert head.read(USUAL.replace(what, instead, 1)) is None


PIECES = st.one_of(
    st.sampled_from(list(b"\r\n \t:\0?#%,03x\"'\x80\xa0\xad\xe9")).map(lambda byte: bytes([byte])),
    st.sampled_from(
        [b"\r\n", b"HTTP/1.1", b"Content-Length: 3", b"content-length:0", b"Host: a", b"Connection: keep-alive"]
    ),
    st.just(b"Transfer-Encoding: chunked"),
)


@given(st.lists(st.tuples(st.integers(0, len(USUAL)), st.integers(0, 12), PIECES), max_size=3))
def test_what_is_read_here_the_parser_reads_too(changes: list[tuple[int, int, bytes]]):
    data = USUAL
    for at, cut, piece in changes:
        data = data[:at] + piece + data[at + cut :]
    plain = head.read(data)
    if plain is not None:
        assert plain == Recorder(data).plain()
