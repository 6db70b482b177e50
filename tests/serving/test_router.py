from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kedge.serving import asking, frames, streams
from kedge.serving.frames import Kind
from kedge.serving.meter import Concurrent, Counted, Place, VariantPlace, decode
from kedge.serving.table import BY_CONFIG, BY_INSTANCE, Variant
from kedge.serving.worker_io import FULL
from tests.serving.peers import (
    ACCOUNT,
    REGION,
    Answer,
    Call,
    Client,
    Worker,
    endpoint,
    never,
    request,
    running,
    table,
    until,
)


@pytest.fixture
async def workers(tmp_path: Path):
    made: list[Worker] = []

    async def make(id: str, serve=Call.answer, **options) -> Worker:  # noqa: A002
        worker = await Worker(id, tmp_path / f"{id}.sock", serve, **options).start()
        made.append(worker)
        return worker

    yield make
    for worker in made:
        await worker.close()


def variant(*workers: Worker, name: str = "AllTraffic", weight: float = 1.0, **options: Any) -> Variant:
    return Variant(name, weight, tuple(worker.instance for worker in workers), **options)


async def test_an_invocation(workers):
    worker = await workers("i-1")
    async with running(table(endpoint(variant(worker)))) as served:
        answer = await served.invoke(
            b"[1, 2]",
            content_type="application/json",
            accept="text/csv",
            x_amzn_sagemaker_custom_attributes="a=b; c",
            x_amzn_sagemaker_inference_id="id-7",
        )
    assert (answer.status, answer.body) == (200, b"[1, 2]")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-amzn-invoked-production-variant"] == "AllTraffic"
    assert "x-amzn-sagemaker-custom-attributes" not in answer.headers
    head = worker.calls[0].head
    assert head.pop("request_id") == answer.headers["x-amzn-requestid"]
    assert 59_000 < head.pop("deadline_ms") <= 60_000
    assert head.pop("timeout_ms") == 60_000
    assert head == {
        "content_type": "application/json",
        "accept": "text/csv",
        "custom_attributes": "a=b; c",
        "inference_id": "id-7",
    }


@pytest.mark.parametrize(
    ("weights", "expected"), [((0.9, 0.1), (900, 100)), ((3.0, 4.0), (429, 571)), ((1.0, 0.0), (1000, 0))]
)
async def test_a_thousand_requests_are_split_exactly(workers, weights, expected):
    a, b = await workers("a"), await workers("b")
    variants = variant(a, name="A", weight=weights[0]), variant(b, name="B", weight=weights[1])
    async with running(table(endpoint(*variants))) as served, served.client() as client:
        seen = await take(client, 1000)
    assert abs(seen["A"] - expected[0]) <= 1
    assert abs(seen["B"] - expected[1]) <= 1
    assert (len(a.calls), len(b.calls)) == (seen["A"], seen["B"])


async def test_new_weights_count_from_the_next_request(workers):
    a, b = await workers("a"), await workers("b")

    def weighing(x: float, y: float, version: int):
        return table(endpoint(variant(a, name="A", weight=x), variant(b, name="B", weight=y)), version=version)

    async with running(weighing(0.5, 0.5, 1)) as served, served.client() as client:
        await take(client, 7)
        served.router.swap(weighing(0.2, 0.8, 2))
        assert await take(client, 10) == {"A": 2, "B": 8}
        # The same weights again do not start a new block.
        await take(client, 3)
        before = len(a.calls)
        served.router.swap(weighing(0.2, 0.8, 3))
        await take(client, 2)
        assert len(a.calls) - before <= 1
    assert (a.connections, b.connections) == (1, 1)


def shared(old: Worker, new: Worker, share: float, version: int = 1):
    return table(endpoint(variant(old, new=(new.instance,), new_share=share)), version=version)


@pytest.mark.parametrize(("share", "expected"), [(0.1, 100), (1 / 3, 333), (1.0, 1000), (0.0, 0)])
async def test_the_new_instances_get_exactly_their_share(workers, share, expected):
    old, new = await workers("old"), await workers("new")
    async with running(shared(old, new, share)) as served, served.client() as client:
        assert await take(client, 1000) == {"AllTraffic": 1000}
    assert abs(len(new.calls) - expected) <= 1
    assert len(old.calls) + len(new.calls) == 1000


async def test_shares_change_without_a_new_connection(workers):
    old, new = await workers("old"), await workers("new")
    async with running(shared(old, new, 0.1)) as served, served.client() as client:
        await take(client, 10)
        assert len(new.calls) == 1
        served.router.swap(shared(old, new, 0.5, 2))
        await take(client, 10)
        assert len(new.calls) == 6
        served.router.swap(shared(old, new, 1.0, 3))
        await take(client, 10)
        assert len(new.calls) == 16
        served.router.swap(table(endpoint(variant(new)), version=4))
        await take(client, 10)
        assert len(new.calls) == 26
    assert (old.connections, new.connections) == (1, 1)


async def test_where_one_fleet_has_nobody_the_other_answers(workers):
    old, new = await workers("old"), await workers("new")
    async with running(shared(old, new, 0.5)) as served, served.client() as client:
        await new.close()
        await until(lambda: served.router.fleet.ready_count == 1)
        await take(client, 20)
    assert len(old.calls) >= 20 - len(new.calls)


async def take(client, count: int) -> Counter[str]:
    seen: Counter[str] = Counter()
    for _ in range(count):
        answer = await client.send(request())
        assert answer.status == 200
        seen[answer.headers["x-amzn-invoked-production-variant"]] += 1
    return seen


async def test_target_variant(workers):
    a, b = await workers("a"), await workers("b")
    variants = variant(a, name="A"), variant(b, name="B", weight=0.0)
    async with running(table(endpoint(*variants))) as served:
        answer = await served.invoke(x_amzn_sagemaker_target_variant="B")
        assert answer.headers["x-amzn-invoked-production-variant"] == "B"
        answer = await served.invoke(x_amzn_sagemaker_target_variant="C")
        assert (answer.status, answer.headers["x-amzn-errortype"]) == (400, "ValidationError")
        assert answer.json()["Message"] == 'Variant "C" is not a production variant of endpoint "an-endpoint".'


async def test_no_weight_at_all(workers):
    a = await workers("a")
    async with running(table(endpoint(variant(a, weight=0.0)))) as served:
        answer = await served.invoke()
    assert (answer.status, answer.headers["x-amzn-errortype"]) == (503, "ServiceUnavailable")


@pytest.mark.parametrize(
    ("authorization", "account"),
    [
        ("", ACCOUNT),
        ("AWS4-HMAC-SHA256 Credential=AKIATESTTESTTESTTEST/20260101/us-east-1/sagemaker/aws4_request, x=y", ACCOUNT),
        ("AWS4-HMAC-SHA256 Credential=nonsense", ACCOUNT),
    ],
)
async def test_unknown_endpoint(workers, authorization, account):
    worker = await workers("i-1")
    async with running(table(endpoint(variant(worker)))) as served:
        headers = {"authorization": authorization} if authorization else {}
        answer = await served.invoke(name="other", **headers)
        assert (answer.status, answer.headers["x-amzn-errortype"]) == (400, "ValidationError")
        assert answer.json() == {"Message": f"Endpoint other of account {account} not found."}
        # Case counts, and so does the region that the request says it is for.
        assert (await served.invoke(name="An-Endpoint")).status == 400
        assert (await served.invoke(**headers)).status == (400 if "us-east-1" in authorization else 200)


@pytest.mark.parametrize(
    ("header", "value", "message"),
    [
        ("X-Amzn-SageMaker-Inference-Id", "x" * 65, "at 'inferenceId' failed to satisfy constraint: Member must have"),
        ("X-Amzn-SageMaker-Custom-Attributes", "x" * 1025, "length less than or equal to 1024"),
        ("X-Amzn-SageMaker-Custom-Attributes", "caf\xe9", "at 'customAttributes'"),
        ("Accept", "x" * 1025, "at 'accept'"),
        (
            "X-Amzn-SageMaker-Target-Model",
            "m.tar.gz",
            "is not a multi-model endpoint and does not support target model header.",
        ),
        ("X-Amzn-SageMaker-Enable-Explanations", "`true`", "no explainer"),
    ],
)
async def test_refused_parameters(workers, header, value, message):
    worker = await workers("i-1")
    async with running(table(endpoint(variant(worker)))) as served:
        answer = await served.invoke(**{header: value})
    assert (answer.status, answer.headers["x-amzn-errortype"]) == (400, "ValidationError")
    assert message in answer.json()["Message"]
    assert not worker.calls


@pytest.mark.parametrize("header", ["X-Amzn-SageMaker-Session-Id", "X-Amzn-SageMaker-Inference-Id"])
async def test_who_comes_again_is_answered_by_the_same_variant(workers, header):
    several = [await workers(f"i-{at}") for at in range(4)]
    both = (variant(*several[:2], name="a", weight=1.0), variant(*several[2:], name="b", weight=1.0))
    async with running(table(endpoint(*both))) as served:
        seen: dict[str, set[str]] = {}
        for at in range(60):
            key = f"id-{at % 12}"
            answer = await served.invoke(f"[{at % 12}]".encode(), **{header: key})
            assert answer.status == 200
            seen.setdefault(key, set()).add(answer.headers["x-amzn-invoked-production-variant"])
    assert all(len(variants) == 1 for variants in seen.values())
    assert set().union(*seen.values()) == {"a", "b"}
    if header.endswith("Session-Id"):
        asked = [Counter(call.body for call in each.calls) for each in several]
        assert all(count == 5 for each in asked for count in each.values()), "a session is at one instance"


@pytest.mark.parametrize(
    ("status", "side"), [(500, "server"), (503, "server"), (400, "client"), (415, "client"), (999, "server")]
)
async def test_model_error(workers, status, side):
    worker = await workers("i-1", lambda call: call.error(status, 'no "such" column'))
    async with running(table(endpoint(variant(worker)))) as served:
        answer = await served.invoke()
    said = status if status < 600 else 500
    assert (answer.status, answer.headers["x-amzn-errortype"]) == (424, "ModelError")
    assert answer.json() == {
        "Message": f'Received {side} error ({said}) from primary with message "no "such" column". See '
        "https://eu-central-1.console.aws.amazon.com/cloudwatch/home?region=eu-central-1#logEventViewer:group="
        f"/aws/sagemaker/Endpoints/an-endpoint in account {ACCOUNT} for more information.",
        "OriginalStatusCode": said,
        "OriginalMessage": 'no "such" column',
        "LogStreamArn": f"arn:aws:logs:eu-central-1:{ACCOUNT}:log-group:/aws/sagemaker/Endpoints/an-endpoint"
        ":log-stream:AllTraffic/i-1",
    }


async def test_a_long_model_error_is_cut(workers):
    worker = await workers("i-1", lambda call: call.error(500, "x" * 5000))
    async with running(table(endpoint(variant(worker)))) as served:
        answer = (await served.invoke()).json()
    assert len(answer["Message"]) == 2048
    assert answer["Message"].endswith("for more information.")
    assert len(answer["OriginalMessage"]) == 2048


@pytest.mark.parametrize(
    "head",
    [
        {"content_type": "a\r\nx: y"},
        {"custom_attributes": "a\nb"},
        {"custom_attributes": "x" * 1025},
    ],
)
async def test_a_model_cannot_write_headers(workers, head):
    worker = await workers("i-1", lambda call: call.answer(**head))
    async with running(table(endpoint(variant(worker)))) as served:
        answer = await served.invoke()
    assert answer.status == 424
    assert "x" not in answer.headers


async def test_a_content_type_that_is_no_text(workers):
    worker = await workers("i-1", lambda call: call.answer(content_type=["a"]))
    async with running(table(endpoint(variant(worker)))) as served:
        assert (await served.invoke()).headers["content-type"] == "['a']"


async def test_custom_attributes_come_back(workers):
    worker = await workers("i-1", lambda call: call.answer(custom_attributes="trace=7"))
    async with running(table(endpoint(variant(worker)))) as served:
        answer = await served.invoke()
    assert answer.headers["x-amzn-sagemaker-custom-attributes"] == "trace=7"


async def test_a_model_that_answers_with_a_status(workers):
    worker = await workers("i-1", lambda call: call.answer(b"bad column", status=400))
    async with running(table(endpoint(variant(worker)))) as served:
        answer = await served.invoke()
    assert (answer.status, answer.json()["OriginalStatusCode"]) == (424, 400)
    assert answer.json()["OriginalMessage"] == "bad column"


async def test_time_out(workers):
    worker = await workers("i-1", never)
    async with running(table(endpoint(variant(worker), timeout_s=0.05))) as served:
        answer = await served.invoke()
        assert (answer.status, answer.headers["x-amzn-errortype"]) == (424, "ModelError")
        assert answer.json()["OriginalStatusCode"] == 0
        assert "Your invocation timed out while waiting for a response from container primary." in answer.body.decode()
        await until(lambda: worker.calls[0].cancelled)
        # A late answer is nobody's.
        worker.calls[0].answer(b"late")
        worker.serve = Call.answer
        assert (await served.invoke(b"[2]")).body == b"[2]"
    assert len(worker.calls) == 2


async def test_a_client_that_goes_cancels(workers):
    worker = await workers("i-1", never)
    async with running(table(endpoint(variant(worker)))) as served:
        async with served.client() as client:
            client.writer.write(request())
            await until(lambda: worker.calls)
        await until(lambda: worker.calls[0].cancelled)
        assert not served.router.front.held_bytes


# Instances that die.


async def test_a_request_is_retried_when_its_instance_dies(workers):
    worker = await workers("i-1", lambda call: call.worker.die())
    other = await workers("i-2")
    async with running(table(endpoint(variant(worker, other)))) as served, served.client() as client:
        await until(lambda: served.router.fleet.ready_count == 2)
        for _ in range(20):
            answer = await client.send(request())
            assert answer.status == 200
    assert len(worker.calls) == 1
    assert len(other.calls) == 20


async def test_a_request_waits_for_an_instance_that_starts_again(workers):
    worker = await workers("i-1", lambda call: call.worker.die())
    async with running(table(endpoint(variant(worker)))) as served, served.client() as client:
        client.writer.write(request(b"[3]"))
        await until(lambda: worker.calls)
        worker.serve = Call.answer
        await worker.start()
        answer = await client.answer()
    assert (answer.status, answer.body) == (200, b"[3]")


async def test_requests_wait_for_the_first_start(workers, tmp_path):
    worker = Worker("i-1", tmp_path / "i-1.sock")
    async with running(table(endpoint(variant(worker)))) as served:
        waiting = [asyncio.create_task(served.invoke(b"[%d]" % n)) for n in range(20)]
        await until(lambda: len(served.router.front.connections) == 20)
        await worker.start()
        answers = await asyncio.gather(*waiting)
        assert [answer.body for answer in answers] == [b"[%d]" % n for n in range(20)]
        await worker.close()


async def test_no_instance_becomes_healthy_in_time(tmp_path):
    worker = Worker("i-1", tmp_path / "i-1.sock")
    async with running(table(endpoint(variant(worker), timeout_s=0.05))) as served:
        answer = await served.invoke()
    assert (answer.status, answer.headers["x-amzn-errortype"]) == (503, "ServiceUnavailable")


async def test_requests_wait_for_a_variant_without_instances_which_is_told_at_once(workers):
    worker = await workers("i-1", Call.answer)
    async with running(table(endpoint(variant()))) as served:
        reporter = served.router.reporter
        waiting = [asyncio.create_task(served.invoke(b"[%d]" % n)) for n in range(3)]
        await until(lambda: served.router.fleet.concurrent())
        report = decode(reporter._waiting[-1].frame)
        assert [(each.place.variant, each.requests, each.instances) for each in report.concurrent] == [
            ("AllTraffic", 1, 0)
        ]
        await until(lambda: served.router.fleet.concurrent()[0].requests == 3)
        served.router.swap(table(endpoint(variant(worker)), version=2))
        assert [answer.body for answer in await asyncio.gather(*waiting)] == [b"[0]", b"[1]", b"[2]"]


async def test_a_request_waits_no_longer_than_its_time_for_a_variant_without_instances():
    async with running(table(endpoint(variant(), timeout_s=0.05))) as served:
        answer = await served.invoke()
    assert (answer.status, answer.headers["x-amzn-errortype"]) == (503, "ServiceUnavailable")


async def test_a_request_that_kills_twice_is_never_tried_again(workers):
    def serve(call: Call) -> None:
        if call.body == b"poison":
            call.worker.die()
        else:
            call.answer()

    fleet = [await workers(f"i-{n}", serve) for n in range(4)]
    async with running(table(endpoint(variant(*fleet)))) as served:
        await until(lambda: served.router.fleet.ready_count == 4)
        answer = await served.invoke(b"poison")
        assert (answer.status, answer.headers["x-amzn-errortype"]) == (424, "ModelError")
        assert answer.json()["OriginalStatusCode"] == 0
        assert "ended twice" in answer.json()["Message"]
        assert served.router.fleet.ready_count == 2
        assert (await served.invoke(b"[1]")).status == 200
    assert sum(call.body == b"poison" for worker in fleet for call in worker.calls) == 2


async def test_a_request_is_not_sent_to_an_instance_that_dies_with_the_first(workers):
    """A zone's instances die milliseconds apart; whoever was at one of them is answered by one that lives."""
    asked: list[Call] = []
    pair = [await workers(f"i-{n}", asked.append) for n in (1, 2)]
    async with running(table(endpoint(variant(*pair)))) as served:
        await until(lambda: served.router.fleet.ready_count == 2)
        waiting = asyncio.create_task(served.invoke())
        await until(lambda: len(asked) == 1)
        first, second = asked[0].worker, next(each for each in pair if each is not asked[0].worker)
        first.die()
        await until(lambda: served.router.fleet.ready_count == 1)
        second.die()
        second.serve = Call.answer
        await second.start()
        assert (await waiting).status == 200
    assert (len(first.calls), len(second.calls)) == (1, 1)


async def test_a_suspect_that_the_model_has_not_begun_with_is_no_cause(workers):
    """It waits behind others, and its instances are killed one after another."""
    asked: list[Call] = []
    worker = await workers("i-1", asked.append, greeting={"tells_begun": True})
    async with running(table(endpoint(variant(worker)))) as served:
        waiting = asyncio.create_task(served.invoke())
        for turn in range(1, 6):
            await until(lambda: len(asked) == turn)  # noqa: B023
            worker.die()
            await worker.start()
        await until(lambda: len(asked) == 6)
        assert ["tells" in each.head for each in asked] == [False] + 5 * [True]
        worker.write(frames.frame(Kind.BEGUN, asked[-1].stream) + frames.frame(Kind.PING, 0, b"heard"))
        await until(lambda: worker.pings == [b"heard"])
        worker.die()
        assert (await waiting).status == 424
        assert len(asked) == 6


async def test_neighbours_of_a_poison_request_are_answered(workers):
    """They die with it once; then each instance gets only one suspect at a time, so they do not die with it again."""
    together = 8

    def serve(call: Call) -> None:
        worker = call.worker
        if len(worker.calls) < together and len(fleet[0].calls) <= together and worker is fleet[0]:
            return  # the first batch gathers
        if any(each.body == b"poison" for each in worker.calls):
            worker.die()
            return
        call.answer()

    fleet = [await workers("i-0", serve)]
    async with running(table(endpoint(variant(fleet[0])))) as served:
        bodies = [b"poison", *(b"[%d]" % n for n in range(together - 1))]
        tasks = [asyncio.create_task(served.invoke(body)) for body in bodies]
        await until(lambda: len(fleet[0].calls) == together)
        fleet += [await workers(f"i-{n}", serve) for n in range(1, 4)]
        served.router.swap(table(endpoint(variant(*fleet)), version=2))
        answers = await asyncio.gather(*tasks)
    assert answers[0].status == 424
    assert [answer.body for answer in answers[1:]] == bodies[1:]


async def test_retries_can_be_off(workers):
    worker, other = await workers("i-1", lambda call: call.worker.die()), await workers("i-2", never)
    async with running(table(endpoint(variant(worker), retries=False))) as served:
        answer = await served.invoke()
    assert (answer.status, answer.headers["x-amzn-errortype"]) == (424, "ModelError")
    assert "ended once" in answer.json()["Message"]
    assert not other.calls


async def test_the_retry_budget(workers):
    """Of 300 requests that all lose their instance, about the floor and a fifth are retried."""
    worker = await workers("i-1", never)
    async with running(table(endpoint(variant(worker)))) as served:
        tasks = [asyncio.create_task(served.invoke()) for _ in range(300)]
        await until(lambda: len(worker.calls) == 300)
        worker.serve = Call.answer
        worker.die()
        await worker.start()
        answers = Counter(answer.status for answer in await asyncio.gather(*tasks))
    assert set(answers) == {200, 503}
    assert 150 <= answers[200] <= 175


async def test_a_busy_instance_is_passed_over(workers):
    busy = await workers("i-1", lambda call: call.error(503, "full", "busy"))
    other = await workers("i-2")
    async with running(table(endpoint(variant(busy, other)))) as served, served.client() as client:
        await until(lambda: served.router.fleet.ready_count == 2)
        for _ in range(30):
            assert (await client.send(request())).status == 200
        await other.close()
        await until(lambda: served.router.fleet.ready_count == 1)
        answer = await client.send(request())
    assert (answer.status, answer.headers["x-amzn-errortype"]) == (400, "ThrottlingException")
    assert busy.calls


async def test_what_an_ending_instance_gives_back_counts_as_no_death(workers):
    """However many there are, with retries off: they were never run."""
    asked: list[Call] = []
    first = await workers("i-1", asked.append)
    async with running(table(endpoint(variant(first), retries=False))) as served:
        waiting = [asyncio.create_task(served.invoke(b"%d" % n)) for n in range(150)]
        await until(lambda: len(asked) == 150)
        for call in asked[1:]:
            call.error(503, "The instance is ending.", "busy", ending=True)
        await until(lambda: served.router.fleet.ready_count == 0)
        first.serve = Call.answer
        first.die()
        await first.start()
        answers = [await each for each in waiting]
    assert Counter(answer.status for answer in answers) == {200: 149, 424: 1}


async def test_an_instance_that_is_held_up_is_asked_again_when_it_goes_on(workers):
    asked: list[Call] = []
    first = await workers("i-1", asked.append)
    async with running(table(endpoint(variant(first), retries=False))) as served:
        waiting = [asyncio.create_task(served.invoke(b"%d" % n)) for n in range(5)]
        await until(lambda: len(asked) == 5)
        for call in asked[1:]:
            call.error(503, "The instance is at a request that takes long.", "busy", held_up=True)
        await until(lambda: served.router.fleet.ready_count == 0)
        waiting.append(asyncio.create_task(served.invoke(b"5")))
        await until(lambda: len(served.router.front.connections) == 6)
        other = await workers("i-2")
        served.router.swap(table(endpoint(variant(first, other), retries=False), version=2))
        assert [(await each).status for each in waiting[1:]] == [200] * 5, "elsewhere"
        first.write(frames.with_head(Kind.HELLO, 0, {"version": frames.VERSION, "instance": "i-1"}))
        await until(lambda: served.router.fleet.ready_count == 2)
        asked[0].answer()
        assert (await waiting[0]).status == 200
    assert (first.connections, len(asked)) == (1, 5)


async def test_two_hung_instances_do_not_fail_who_waited_behind(workers):
    asked: list[Call] = []
    pair = [await workers(f"i-{n}", asked.append) for n in (1, 2)]
    async with running(table(endpoint(variant(*pair)))) as served:
        waiting = [asyncio.create_task(served.invoke(b"%d" % n)) for n in range(20)]
        await until(lambda: len(asked) == 20)
        for worker in pair:
            for call in [call for call in asked if call.worker is worker][1:]:
                call.error(503, "The instance is ending.", "busy", ending=True)
            # What is given back by the first goes to the second, which hangs too; then both are gone.
            await until(lambda: served.router.fleet.ready_count == 2 - pair.index(worker) - 1)  # noqa: B023
        for call in asked[20:]:
            call.error(503, "The instance is ending.", "busy", ending=True)
        for worker in pair:
            worker.serve = Call.answer
            worker.die()
            await worker.start()
        assert {(await each).status for each in waiting} == {200}


async def test_a_request_that_a_container_lost_is_tried_again_once(workers):
    def lose(call: Call) -> None:
        call.error(503, "Container b ended before it answered.", "lost", container="b")

    losing = await workers("i-1", lose)
    async with running(table(endpoint(variant(losing)))) as served:
        assert (await served.invoke()).status == 424
        assert len(losing.calls) == 2


@pytest.mark.parametrize(
    ("kind", "status", "code", "says"),
    [
        ("target", 400, "ValidationError", "no such model"),
        ("loading", 429, "ModelNotReadyException", "no such model"),
        ("model", 424, "ModelError", 'Received server error (500) from second with message "no such model"'),
    ],
)
async def test_what_an_instance_of_several_says(workers, kind, status, code, says):
    worker = await workers("i-1", lambda call: call.error(500, "no such model", kind, container="second"))
    async with running(table(endpoint(variant(worker, many_models=("primary",))))) as served:
        answer = await served.invoke(x_amzn_sagemaker_target_model="m.tar.gz")
    assert (answer.status, answer.headers["x-amzn-errortype"]) == (status, code)
    assert says in answer.json()["Message"]
    assert worker.calls[0].head["target_model"] == "m.tar.gz"


@pytest.mark.parametrize(
    ("options", "headers", "says"),
    [
        ({"many_models": ("primary",)}, {}, "is missing a target model header."),
        ({"many_models": ("primary",)}, {"target_model": "m" * 1025}, "less than or equal to 1024"),
        ({"many_models": ("primary",)}, {"target_model": "m", "target_container_hostname": "a"}, "direct invocation"),
        ({"hostnames": ("a", "b")}, {}, "is missing a target container hostname header"),
        ({"hostnames": ("a", "b")}, {"target_container_hostname": "c"}, "Container c does not exist"),
        ({"hostnames": ("a", "b")}, {"target_container_hostname": "a", "target_model": "m"}, "not a multi-model"),
        (
            {"hostnames": ("a", "b"), "many_models": ("b",)},
            {"target_container_hostname": "b"},
            "missing a target model",
        ),
    ],
)
async def test_targets_that_cannot_be(workers, options, headers, says):
    worker = await workers("i-1")
    async with running(table(endpoint(variant(worker, **options)))) as served:
        answer = await served.invoke(**{f"x_amzn_sagemaker_{name}": value for name, value in headers.items()})
    assert (answer.status, answer.headers["x-amzn-errortype"]) == (400, "ValidationError")
    assert says in answer.json()["Message"]
    assert worker.calls == []


async def test_a_model_is_asked_for_where_it_is_at_home(workers):
    several = [await workers(f"i-{n}") for n in range(3)]
    async with running(table(endpoint(variant(*several, many_models=("primary",))))) as served:
        await until(lambda: served.router.fleet.ready_count == 3)
        for n in range(60):
            assert (await served.invoke(x_amzn_sagemaker_target_model=f"m{n % 20}")).status == 200
    homes = {(call.head["target_model"], worker.id) for worker in several for call in worker.calls}
    assert len(homes) == 20, "each model on one instance"
    assert len({home for _, home in homes}) == 3


async def test_least_outstanding_requests(workers):
    slow, fast = await workers("i-1", never), await workers("i-2")
    one = variant(slow, fast, routing="LEAST_OUTSTANDING_REQUESTS")
    async with running(table(endpoint(one))) as served:
        await until(lambda: served.router.fleet.ready_count == 2)
        async with served.client() as first:
            while not slow.calls:
                first.writer.write(request())
                await until(lambda: slow.calls or first.reader._buffer)
                if not slow.calls:
                    await first.answer()
            async with served.client() as client:
                await take(client, 50)
    assert len(slow.calls) == 1


# Frames.


@pytest.mark.parametrize("size", [0, 1, 262_144, 262_145, 5_000_000, 12_000_000])
async def test_bodies_of_every_size(workers, size):
    worker = await workers("i-1")
    body = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    first = table(endpoint(variant(worker), body_limit_bytes=12_000_000))
    async with running(first, body_limit_bytes=12_000_000) as served:
        answer = await served.invoke(body)
        assert answer.body == body
        assert worker.calls[0].body == body
        assert not served.router.front.held_bytes
    if size > 4 * 1024 * 1024:
        assert worker.credits


async def test_small_requests_pass_large_ones(workers):
    """The worker gives no credit at first, so the large body stops after a window; small ones go on."""
    worker = await workers("i-1")
    first = table(endpoint(variant(worker), body_limit_bytes=8 << 20))
    write, held = worker.write, []
    worker.write = lambda data: held.append(data) if data[8] == 8 else write(data)  # CREDIT
    async with running(first, body_limit_bytes=8 << 20) as served:
        large = asyncio.create_task(served.invoke(b"x" * (6 << 20)))
        await until(lambda: sum(int.from_bytes(each[12:16], "little") for each in held) == (4 << 20) - (256 << 10))
        assert (await served.invoke(b"[1]")).body == b"[1]"
        assert not large.done()
        worker.write = write
        for each in held:
            write(each)
        assert len((await large).body) == 6 << 20


async def test_large_bodies_wait_until_the_instance_has_room(workers, monkeypatch):
    """Else it would refuse what it cannot hold. What waits here is not lost with an instance, and counts no death."""
    monkeypatch.setattr(asking, "MAX_LARGE_BYTES", 3 << 20)
    worker = await workers("i-1", never)
    body = b"x" * (1 << 20)
    async with running(table(endpoint(variant(worker), body_limit_bytes=8 << 20)), body_limit_bytes=8 << 20) as served:
        answers = [asyncio.create_task(served.invoke(body)) for _ in range(8)]
        await until(lambda: len(worker.calls) == 3)
        small = asyncio.create_task(served.invoke(b"[1]"))
        await until(lambda: len(worker.calls) == 4)
        assert worker.calls[3].body == b"[1]", "and small ones pass"
        worker.calls[3].answer()
        worker.calls[0].answer()
        await until(lambda: len(worker.calls) == 5)
        assert (await small).status == 200
        worker.die()
        await until(lambda: not worker._tasks)
        worker.calls.clear()
        worker.serve = Call.answer
        await worker.start()
        assert [answer.status for answer in await asyncio.gather(*answers)] == [200] * 8
        assert len(worker.calls) == 7


async def test_a_large_body_alone_always_has_room(workers, monkeypatch):
    monkeypatch.setattr(asking, "MAX_LARGE_BYTES", 1 << 20)
    worker = await workers("i-1")
    async with running(table(endpoint(variant(worker), body_limit_bytes=8 << 20)), body_limit_bytes=8 << 20) as served:
        bodies = [bytes([each]) * (2 << 20) for each in range(4)]
        assert [each.body for each in await asyncio.gather(*map(served.invoke, bodies))] == bodies


async def test_a_large_body_that_waits_and_is_cancelled_is_never_sent(workers, monkeypatch):
    monkeypatch.setattr(asking, "MAX_LARGE_BYTES", 1 << 20)
    worker = await workers("i-1", never)
    async with running(table(endpoint(variant(worker), body_limit_bytes=8 << 20)), body_limit_bytes=8 << 20) as served:
        first = asyncio.create_task(served.invoke(b"a" * (1 << 20)))
        await until(lambda: len(worker.calls) == 1)
        async with served.client() as client:
            client.writer.write(request(b"b" * (1 << 20)))
            pool = served.router.fleet.find(ACCOUNT, REGION, "an-endpoint").pool("AllTraffic")
            await until(lambda: pool.concurrent == 2)
        await until(lambda: pool.concurrent == 1)
        third = asyncio.create_task(served.invoke(b"c" * (1 << 20)))
        worker.calls[0].answer()
        await until(lambda: len(worker.calls) == 2)
        worker.calls[1].answer()
        assert [each.body[:1] for each in await asyncio.gather(first, third)] == [b"a", b"c"]


async def test_an_answer_that_is_too_large(workers):
    worker = await workers("i-1", lambda call: call.answer(b"x" * 2_000_000))
    async with running(table(endpoint(variant(worker), body_limit_bytes=1_000_000))) as served:
        answer = await served.invoke()
        assert (answer.status, answer.json()["OriginalStatusCode"]) == (424, 500)
        assert "could not load the entire response body" in answer.json()["Message"]
        worker.serve = Call.answer
        assert (await served.invoke()).status == 200


async def test_a_body_over_the_endpoints_limit(workers):
    worker = await workers("i-1")
    async with running(table(endpoint(variant(worker), body_limit_bytes=1000))) as served:
        answer = await served.invoke(b"x" * 1001)
        assert answer.status == 413
        assert "x-amzn-errortype" not in answer.headers
        assert answer.json() == {"Message": "HTTP content length exceeded 1000 bytes."}
        assert (await served.invoke(b"x" * 1000)).status == 200


@pytest.mark.parametrize("greeting", [{"instance": "another"}, {"version": 99}, {"version": "1"}])
async def test_a_worker_that_is_not_the_one(workers, greeting):
    worker = await workers("i-1", greeting=greeting)
    async with running(table(endpoint(variant(worker), timeout_s=0.1))) as served:
        answer = await served.invoke()
        assert answer.status == 503
        assert served.router.fleet.ready_count == 0
    assert not worker.calls


@pytest.mark.parametrize(
    "nonsense", [b"GET / HTTP/1.1\r\n\r\n", b"\0" * 64, bytes([4, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0]) + b"aaaa"]
)
async def test_a_worker_that_speaks_nonsense(workers, nonsense):
    worker = await workers("i-1", lambda call: call.worker.write(nonsense))
    other = await workers("i-2")
    async with running(table(endpoint(variant(worker, other)))) as served, served.client() as client:
        await until(lambda: served.router.fleet.ready_count == 2)
        await take(client, 20)


async def test_a_router_that_an_instance_does_not_take_comes_again(workers, caplog):
    full = await workers("i-1", turned_away=3, refusal=streams.refusal(FULL))
    async with running(table(endpoint(variant(full)))) as served:
        assert (await served.invoke()).status == 200
    assert full.connections == 4
    assert caplog.messages == [f"instance i-1 is tried again until it takes this router: {FULL}"]


async def test_pings_are_answered(workers):
    worker = await workers("i-1")
    async with running(table(endpoint(variant(worker)))) as served:
        await served.invoke()
        worker.write(frames.frame(Kind.PING, 0, b"payload"))
        await until(lambda: worker.pings == [b"payload"])


# Tables.


async def test_no_table_yet():
    async with running(None) as served:
        answer = await served.invoke()
    assert (answer.status, answer.headers["x-amzn-errortype"]) == (503, "ServiceUnavailable")


async def test_tables_change_under_load(workers):
    fleet = [await workers(f"i-{n}") for n in range(4)]
    seen: Counter[int] = Counter()
    async with running(table(endpoint(variant(fleet[0])))) as served:

        async def load() -> None:
            async with served.client() as client:
                while not done:
                    seen[(await client.send(request())).status] += 1

        done = False
        loads = [asyncio.create_task(load()) for _ in range(8)]
        for version in range(2, 42):
            served.router.swap(table(endpoint(variant(fleet[version % 4], fleet[(version + 1) % 4])), version=version))
            count = seen.total()
            await until(lambda count=count: seen.total() > count + 5)
        done = True
        await asyncio.gather(*loads)
    assert set(seen) == {200}


async def test_an_instance_that_leaves_finishes_its_requests(workers):
    old, new = await workers("i-1", never), await workers("i-2")
    async with running(table(endpoint(variant(old)))) as served:
        task = asyncio.create_task(served.invoke(b"[old]"))
        await until(lambda: old.calls)
        served.router.swap(table(endpoint(variant(new)), version=2))
        assert (await served.invoke(b"[new]")).body == b"[new]"
        assert old._writers
        old.calls[0].answer()
        assert (await task).body == b"[old]"
        await until(lambda: not old._writers)
    assert len(old.calls) == 1


@pytest.mark.parametrize("left", [True, False], ids=["its variant is gone", "its endpoint is gone"])
async def test_what_is_given_back_after_its_variant_is_gone_does_not_wait_for_it(workers, left):
    old, new = await workers("i-1", never), await workers("i-2")
    async with running(table(endpoint(variant(old, name="A")))) as served:
        task = asyncio.create_task(served.invoke(b"[1]"))
        await until(lambda: old.calls)
        served.router.swap(table(*([endpoint(variant(new, name="B"))] if left else []), version=2))
        old.calls[0].error(503, "The instance is ending.", "busy", ending=True)
        answer = await asyncio.wait_for(task, 10)
    if left:
        assert answer.headers["x-amzn-invoked-production-variant"] == "B"
    else:
        assert (answer.status, "not found" in answer.json()["Message"]) == (400, True)


async def test_waiting_requests_follow_the_table(workers, tmp_path):
    absent, here = Worker("i-1", tmp_path / "absent.sock"), await workers("i-2")
    async with running(table(endpoint(variant(absent, name="A")))) as served:
        kept = asyncio.create_task(served.invoke(b"[1]"))
        aimed = asyncio.create_task(served.invoke(b"[2]", x_amzn_sagemaker_target_variant="A"))
        await until(lambda: len(served.router.front.connections) == 2)
        served.router.swap(table(endpoint(variant(here, name="B")), version=2))
        assert (await kept).headers["x-amzn-invoked-production-variant"] == "B"
        assert "is not a production variant" in (await aimed).json()["Message"]
        served.router.swap(table(endpoint(variant(absent, name="A")), version=3))
        waiting = asyncio.create_task(served.invoke())
        await until(lambda: len(served.router.front.connections) == 1)
        served.router.swap(table(version=4))
        assert "not found" in (await waiting).json()["Message"]


# Other paths.


@pytest.mark.parametrize(
    ("line", "status", "says"),
    [
        ("GET /ping", 200, ""),
        ("GET /kedge/health", 200, '"table_version": 1'),
        ("GET /", 404, "is no operation of the inference port"),
        ("GET /endpoints/an-endpoint/invocations", 404, "is no operation"),
        ("POST /endpoints/an-endpoint/invocations/", 404, "is no operation"),
        ("POST /endpoints/an-endpoint/async-invocations", 404, "is no operation"),
        ("POST /endpoints/a%2Db/invocations-response-stream", 400, "Endpoint a-b of account"),
        ("POST /endpoints/a%2Db/invocations", 400, "Endpoint a-b of account"),
        ("POST /endpoints//invocations", 400, "not found"),
    ],
)
async def test_paths(line, status, says):
    async with running(table()) as served, served.client() as client:
        answer = await client.send(f"{line} HTTP/1.1\r\nhost: here\r\ncontent-length: 0\r\n\r\n".encode())
    assert answer.status == status
    assert says in answer.body.decode()
    if status == 404:
        assert answer.headers["x-amzn-errortype"] == "UnknownOperationException"
        assert json.loads(answer.body)["Message"]
    assert "date" in answer.headers


async def test_what_is_served_is_counted(workers):
    def serve(call: Call) -> None:
        match call.body:
            case b"[1]":
                call.answer()
            case b"bad":
                call.error(400, "no", "input")
            case b"broken":
                call.error(500, "no")
            case b"busy":
                call.error(503, "no", "busy")
            case b"slow":
                return

    worker = await workers("i-1", serve)
    async with running(table(endpoint(variant(worker), timeout_s=0.2))) as served:
        for body in (b"[1]", b"[1]", b"bad", b"broken", b"busy", b"slow"):
            await served.invoke(body)
        await served.invoke(x_amzn_sagemaker_target_model="m.tar.gz")
        served.router.reporter.roll()
        # Maybe in two seconds.
        cells = [cell for each in served.router.reporter._waiting for cell in decode(each.frame).cells]
    place = Place(ACCOUNT, REGION, "an-endpoint", "AllTraffic", "i-1")
    at, elsewhere = ([cell for cell in cells if cell.place == each] for each in (place, place._replace(instance="")))

    def total(cells: list[Counted], *names: str) -> list[int]:
        return [sum(getattr(cell, name) for cell in cells) for name in names]

    assert total(at, "invocations", "errors_4xx", "errors_5xx", "model_errors") == [5, 1, 1, 3]
    assert max(cell.model_latency_us.largest for cell in at) >= 200_000 * 0.9, "the one that was too slow"
    assert sum(cell.overhead_latency_us.count for cell in at) == 5
    assert total(elsewhere, "invocations") == [0]
    refused = sum((Counter(cell.refused) for cell in cells), Counter())
    assert refused == {"ThrottlingException": 1, "ValidationError": 1}


async def test_what_is_being_done_is_counted_while_it_lasts(workers):
    worker = await workers("i-1", never)
    async with running(table(endpoint(variant(worker)))) as served:
        asking = [asyncio.ensure_future(served.invoke(b"[1]")) for _ in range(3)]
        await until(lambda: len(worker.calls) == 3)
        served.router.reporter.roll()
        served.router.reporter.roll()
        reports = [decode(each.frame) for each in served.router.reporter._waiting]
        assert [frame.cells for frame in reports[-2:]] == [(), ()], "nothing is done yet"
        assert [each for frame in reports[-2:] for each in frame.concurrent] == [
            Concurrent(VariantPlace(ACCOUNT, REGION, "an-endpoint", "AllTraffic"), 3, 1)
        ] * 2
        for call in worker.calls:
            call.answer()
        await asyncio.gather(*asking)
        served.router.reporter.roll()
        *_, last = (decode(each.frame) for each in served.router.reporter._waiting)
        assert [each.requests for each in last.concurrent] == [0]


async def test_the_dimensions_of_what_is_counted_are_those_of_the_table(workers):
    worker = await workers("i-1")
    instance = replace(worker.instance, config="a-config")
    place = Place(ACCOUNT, REGION, "an-endpoint", "AllTraffic", "i-1")
    only = Variant("AllTraffic", 1.0, (instance,))
    async with running(table(endpoint(only))) as served:
        await served.invoke(b"[1]")
        by_both = endpoint(only, metrics_by=(BY_CONFIG, BY_INSTANCE))
        served.router.swap(table(by_both, version=2))
        await served.invoke(b"[1]")
        served.router.reporter.roll()
        cells = [cell for each in served.router.reporter._waiting for cell in decode(each.frame).cells]
    assert worker.connections == 1, "it is still the same instance"
    assert {cell.place for cell in cells} == {place, place._replace(config="a-config", by_instance=True)}


async def test_more_than_an_instance_can_answer(workers):
    """An open stream of requests at five times the rate that the instance has."""
    due: list[Call] = []
    worker = await workers("i-1", due.append)

    async def one_at_a_time() -> None:
        while True:
            await asyncio.sleep(0.01)
            if due:
                due.pop(0).answer()

    answers: list[tuple[float, Answer]] = []
    loop = asyncio.get_running_loop()

    async def ask(client: Client) -> None:
        began_s = loop.time()
        answer = await client.send(request())
        answers.append((loop.time() - began_s, answer))

    serving = asyncio.create_task(one_at_a_time())
    async with running(table(endpoint(variant(worker)))) as served, contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(served.client()) for _ in range(300)]
        asking = []
        began_s = loop.time()
        free = list(clients)
        # A machine that is slow gives as many answers as any, in more time.
        while loop.time() < began_s + 3.0 or (len(answers) < 1000 and loop.time() < began_s + 30.0):
            await asyncio.sleep(0.002)
            if free:
                client = free.pop()
                task = asyncio.create_task(ask(client))
                task.add_done_callback(lambda _, client=client: free.append(client))
                asking.append(task)
        await asyncio.gather(*asking)
        whole_s = loop.time() - began_s
        serving.cancel()
    refused = [took_s for took_s, answer in answers if answer.status == 400]
    good = [(took_s, answer) for took_s, answer in answers if answer.status == 200]
    assert {answer.status for _, answer in answers} == {200, 400}
    assert "than it can answer; try again later." in next(a for _, a in answers if a.status == 400).json()["Message"]
    assert len(refused) > len(good) > 100
    late = sorted(took_s for took_s, _ in good[len(good) // 2 :])
    pace_s = whole_s / len(good)
    assert late[len(late) * 9 // 10] < 20 * pace_s, "the queue is short, though it could hold 96"
    assert len(worker.calls) < len(answers)
