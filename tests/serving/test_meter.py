from __future__ import annotations

import math

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.metrics.sketch import Sketch
from kedge.serving.meter import (
    MOST_CONTAINERS,
    Concurrent,
    FrameRefused,
    Meter,
    Place,
    Told,
    VariantPlace,
    decode,
    samples_of,
)

PLACE = Place("123456789012", "us-east-1", "an-endpoint", "AllTraffic", "i-1")


def test_a_second_is_told_whole():
    meter = Meter("boot")
    meter.invocation(PLACE, 200, 1, 100.0, 10.0)
    meter.invocation(PLACE, 200, 2, 300.0, 30.0)
    for code in ("ThrottlingException", "ServiceUnavailable", "ThrottlingException"):
        meter.refusal(PLACE._replace(instance=""), code)
    frame = decode(meter.roll(1_700_000_000))
    assert (frame.boot, frame.sequence, frame.second) == ("boot", 1, 1_700_000_000)
    served, refused = sorted(frame.cells, key=lambda cell: not cell.invocations)
    assert (served.place, served.invocations, served.per_instance, served.refused) == (PLACE, 2, 1.5, {})
    assert served.model_latency_us.weighted() == [(100.0, 1), (300.0, 1)]
    assert served.overhead_latency_us.total == 40.0
    assert (refused.place.instance, refused.invocations) == ("", 0)
    assert refused.refused == {"ThrottlingException": 2, "ServiceUnavailable": 1}
    assert frame.concurrent == (Concurrent(PLACE.of_variant, 0, 0),)
    assert meter.is_empty
    assert decode(meter.roll(1_700_000_001)).sequence == 2


@pytest.mark.parametrize(
    ("status", "errors"),
    # 4xx, 5xx, model errors: hosting metrics of AWS/SageMaker
    [(200, (0, 0, 0)), (299, (0, 0, 0)), (400, (1, 0, 1)), (500, (0, 1, 1)), (302, (0, 0, 1)), (0, (0, 0, 1))],
)
def test_what_counts_as_an_error(status: int, errors: tuple[int, int, int]):
    meter = Meter("boot")
    meter.invocation(PLACE, status, 1, 1.0, 1.0)
    [cell] = decode(meter.roll(0)).cells
    assert (cell.errors_4xx, cell.errors_5xx, cell.model_errors) == errors
    assert cell.invocations == cell.model_latency_us.count == 1


def test_what_is_being_done_is_told_also_where_nothing_was_done():
    meter = Meter("boot")
    meter.invocation(PLACE, 200, 1, 1.0, 1.0)
    other = PLACE._replace(variant="other").of_variant
    frame = decode(meter.roll(1, [Concurrent(other, 7, 2)]))
    assert set(frame.concurrent) == {Concurrent(PLACE.of_variant, 0, 0), Concurrent(other, 7, 2)}


def test_a_frame_of_the_release_before_is_read():
    place = list(PLACE[:5])
    cells = [[place, [2, 0, 1, 1, 3, 2.0], [], []]]
    frame = decode(orjson.dumps([1, "boot", 4, 1_700_000_000, cells]))
    assert (frame.sequence, frame.concurrent) == (4, ())
    [cell] = frame.cells
    assert (cell.place, cell.invocations, cell.refused) == (PLACE, 2, {"": 3})


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([200, 404, 500, 0])), max_size=50))
def test_nothing_is_counted_twice_or_lost(calls: list[tuple[str, int]]):
    meter = Meter("boot")
    for variant, status in calls:
        meter.invocation(PLACE._replace(variant=variant), status, 1, 1.0, 1.0)
    cells = {cell.place.variant: cell for cell in decode(meter.roll(0)).cells}
    for variant in "ab":
        mine = [status for which, status in calls if which == variant]
        assert (cells[variant].invocations if mine else 0) == len(mine)
        assert (cells[variant].model_errors if mine else 0) == sum(status != 200 for status in mine)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'[9,"boot",1,0,[]]', b'[1,"boot",0,0,[]]', b'[1,"boot",1,0,[[]]]'])
def test_what_is_no_frame_is_refused(data: bytes):
    with pytest.raises(FrameRefused):
        decode(data)


def test_what_only_some_requests_have_is_measured_by_name_and_container():
    meter = Meter("boot")
    assert meter.is_empty
    meter.measure(PLACE, "", "FirstChunkLatency", 10.0)
    meter.measure(PLACE, "", "FirstChunkLatency", 30.0)
    meter.measure(PLACE, "first", "ContainerLatency", 5.0)
    assert not meter.is_empty
    latency, container = decode(meter.roll(7)).measured
    assert latency[:3] == (PLACE, "", "FirstChunkLatency")
    assert latency.values.weighted() == [(10.0, 1.0), (30.0, 1.0)]
    assert container[:3] == (PLACE, "first", "ContainerLatency")
    assert meter.is_empty


def test_what_is_told_of_a_column_names_it():
    place, values = VariantPlace("1", "r", "e", "v"), Sketch.of([0.5])
    told = (Told(place, "DriftEffect", "None", values), Told(place, "DriftEffect", "None", values, "age"))
    found = decode(Meter("boot").roll(7, (), (), told)).told
    assert [(each.name, each.unit, each.feature) for each in found] == [
        ("DriftEffect", "None", ""), ("DriftEffect", "None", "age"),
    ]  # fmt: skip


@pytest.mark.parametrize("form", [1, 2])
def test_a_frame_of_an_earlier_release(form: int):
    told = orjson.loads(Meter("boot").roll(7))
    earlier = [form, *told[1 : 5 if form == 1 else 7]]
    assert decode(orjson.dumps(earlier)).measured == ()


def test_an_instance_tells_no_more_than_it_can():
    seen: set[str] = set()
    good = [["", "ModelCacheHit", 1], ["c", "ContainerLatency", 2.5]]
    bad = [
        None, 7, [], ["", "ModelCacheHit"], ["", "ContainerLatency", 1], ["c", "ModelCacheHit", 1],
        ["", "Invocations", 1], ["c", "Invocations", 1], ["", [], 1], [[], "ContainerLatency", 1],
        ["", "ModelCacheHit", -1], ["", "ModelCacheHit", "1"], ["", "ModelCacheHit", math.inf],
        ["x" * 64, "ContainerLatency", 1],
    ]  # fmt: skip
    assert list(samples_of([*bad, *good], seen)) == [("", "ModelCacheHit", 1.0), ("c", "ContainerLatency", 2.5)]
    many = [[f"c{number}", "ContainerLatency", 1] for number in range(100)]
    assert len(list(samples_of(many, seen))) == MOST_CONTAINERS - 1
    assert len(list(samples_of([["c", "ContainerLatency", 1]], seen))) == 1
    for told in (None, "x", {}, 1):
        assert list(samples_of(told, seen)) == []
