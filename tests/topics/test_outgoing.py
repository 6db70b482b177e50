"""One POST to a subscriber: what may be reached, what is trusted, what an answer means."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from kedge import tls
from kedge.config import Settings
from kedge.home import open_home
from kedge.topics.addresses import parse
from kedge.topics.outgoing import Answer, Outgoing
from tests.topics.subscriber import Subscriber


@pytest.fixture
def subscriber() -> Iterator[Subscriber]:
    with Subscriber() as running:
        yield running


async def post(outgoing: Outgoing, url: str) -> Answer:
    return await outgoing.post(url, {"Content-Type": "text/plain"}, b"body")


@pytest.mark.parametrize(
    ("status", "delivered", "retryable"),
    [(200, True, False), (204, True, False), (302, False, False), (404, False, False), (429, False, True),
     (500, False, True), (503, False, True)],
)  # fmt: skip
async def test_what_an_answer_means(subscriber: Subscriber, status: int, delivered: bool, retryable: bool) -> None:
    subscriber.answer = lambda _: status
    answer = await post(Outgoing(parse("all")), subscriber.url + "?a=b")
    assert (answer.delivered, answer.retryable) == (delivered, retryable)
    (received,) = subscriber.received
    assert (received.path, received.body) == ("/hook?a=b", b"body")


async def test_credentials_of_the_url_are_sent(subscriber: Subscriber) -> None:
    assert (await post(Outgoing(parse("all")), subscriber.url.replace("//", "//me:p%40ss@"))).delivered
    (received,) = subscriber.received
    assert received.headers["authorization"] == "Basic bWU6cEBzcw=="
    assert received.headers["host"] == f"127.0.0.1:{subscriber.port}"


async def test_what_may_not_be_reached_is_not_even_by_name(subscriber: Subscriber) -> None:
    answer = await post(Outgoing(parse("public")), f"http://localhost:{subscriber.port}/")
    assert (answer.delivered, answer.retryable) == (False, True)
    assert "KEDGE_SUBSCRIBER_ADDRESSES" in answer.reason
    assert subscriber.received == []
    assert (await post(Outgoing(parse("127.0.0.0/8,::1")), f"http://localhost:{subscriber.port}/")).delivered


async def test_nobody_there_and_no_answer(subscriber: Subscriber) -> None:
    free = Subscriber()
    with free:
        pass
    answer = await post(Outgoing(parse("all")), free.url)
    assert (answer.delivered, answer.retryable) == (False, True)
    answer = await post(Outgoing(parse("all")), "http://no-such-host.invalid/")
    assert (answer.delivered, answer.retryable) == (False, True)
    subscriber.headers["Transfer-Encoding"] = "nonsense"
    assert not (await post(Outgoing(parse("all"), timeout_s=0.5), subscriber.url)).delivered


async def test_certificates_are_verified(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "home", tls=True)
    files = tls.prepare(settings, open_home(settings))
    assert files is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    with Subscriber(context=context) as subscriber:
        answer = await post(Outgoing(parse("all")), subscriber.url)
        assert (answer.delivered, answer.retryable) == (False, True)
        assert "certificate verify failed" in answer.reason
        assert subscriber.received == []
        assert (await post(Outgoing(parse("all"), str(files.authority)), subscriber.url)).delivered
