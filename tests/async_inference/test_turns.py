"""Which instance is next, and when an invocation is given up."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.async_inference import config, metrics, notices
from kedge.async_inference.records import Completed, Failed, Item, Times
from kedge.async_inference.turns import Place, Verdict, after_loss, next_place
from kedge.errors import ValidationFailed
from kedge.serving.meter import VariantPlace

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ITEM = Item("id", "1", "r", "e", "uid", "", body=b"\xff", content_type="a/b", included_in=frozenset({"X"}))
PLACES = st.builds(
    Place,
    variant=st.sampled_from("ab"),
    weight=st.sampled_from([0.0, 1.0, 3.0]),
    instance=st.text("0123456789", min_size=1, max_size=3),
    socket=st.just(""),
    room=st.integers(0, 2),
    busy=st.integers(0, 5),
)


@given(st.lists(PLACES), st.floats(0, 1, exclude_max=True))
def test_only_what_has_room_and_weight_is_next(places: list[Place], draw: float) -> None:
    found = next_place(places, draw)
    fit = [each for each in places if each.room and each.weight]
    assert (found is None) == (not fit)
    if found is not None:
        assert found in fit
        assert found.busy == min(each.busy for each in fit if each.variant == found.variant)


def test_variants_are_drawn_by_weight() -> None:
    places = [Place("a", 3.0, "1", "", 1), Place("a", 3.0, "2", "", 1), Place("b", 1.0, "3", "", 1)]
    drawn = Counter(found.variant for n in range(100) if (found := next_place(places, n / 100)))
    assert drawn == {"a": 75, "b": 25}


def test_a_deployment_divides_a_variant() -> None:
    places = [Place("a", 3.0, "1", "", 1, 0, "old"), Place("a", 1.0, "2", "", 1, 0, "new")]
    drawn = Counter(found.instance for n in range(100) if (found := next_place(places, n / 100)))
    assert drawn == {"1": 75, "2": 25}


def test_the_third_loss_is_the_last() -> None:
    assert [after_loss(n) for n in (1, 2, 3)] == [Verdict.AGAIN, Verdict.AGAIN, Verdict.GIVE_UP]


def test_an_item_is_what_it_was_after_it_was_stored() -> None:
    assert Item.of(json.loads(json.dumps(ITEM.document()))) == ITEM
    output = config.Output("s3://b/out/", "s3://b/bad")
    assert ITEM.bound_for(output, "/x/", "").output == "s3://b/out/x/id.out"
    assert ITEM.bound_for(output, "", "f.json").output == "s3://b/out/f.json"
    assert ITEM.bound_for(output, "x", "f.json").failure == "s3://b/bad/id-error.out"
    assert ITEM.bound_for(replace(output, failure_path=""), "", "").failure == ""


@pytest.mark.parametrize(
    ("output", "says"),
    [
        ({}, "has no S3OutputPath"),
        ({"S3OutputPath": "https://b/x"}, 'S3OutputPath is "https://b/x"'),
        ({"S3OutputPath": "s3://b", "S3FailurePath": "b"}, 'S3FailurePath is "b"'),
        (
            {"S3OutputPath": "s3://b", "NotificationConfig": {"IncludeInferenceResponseIn": [notices.SUCCESS]}},
            "there is no SuccessTopic",
        ),
    ],
)
def test_a_config_that_leads_nowhere_is_refused(output: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationFailed, match=says):
        config.check({"OutputConfig": output})


def test_a_response_is_told_where_it_is_wanted_and_short() -> None:
    item = replace(ITEM, included_in=frozenset({notices.SUCCESS}))
    times = Times(NOW - timedelta(seconds=3))

    def body(item: Item, outcome: Completed | Failed) -> object:
        return json.loads(notices.message(item, outcome, times, NOW)).get("responseBody")

    assert body(item, Completed("a/b", b"\xff")) == {"content": "/w==", "encoding": "BASE64"}
    assert body(item, Completed("a/b", None)) is None
    assert body(item, Completed("a/b", b"a" * (notices.LARGEST_RESPONSE_BYTES + 1))) is None
    assert body(ITEM, Completed("a/b", b"a")) is None
    assert body(item, Failed("why", response=b"a")) is None
    assert body(replace(item, included_in=frozenset({notices.ERROR})), Failed("why", response=b"a")) is not None


def test_each_invocation_has_a_sample_of_each_count() -> None:
    place, times = VariantPlace("1", "r", "e", "v"), Times(NOW - timedelta(seconds=3), NOW - timedelta(seconds=2), NOW)

    def values(outcome: Completed | Failed, *, told: bool = True) -> dict[str, float]:
        data = metrics.of_invocation(place, outcome, times, NOW, told=told)
        return {each.metric.name: each.summary.total for each in data}

    good = values(Completed("", None))
    assert {name: good[name] for name in metrics.COUNTED} == dict.fromkeys(metrics.COUNTED, 0.0) | {
        "InvocationsProcesssed": 1.0
    }
    assert (good["TimeInBacklog"], good["TotalProcessingTime"]) == (1000.0, 3000.0)
    late = values(Failed("", "ExpiredRequests"), told=False)
    assert (late["ExpiredRequests"], late["InvocationFailures"], late["NotificationFailures"]) == (1.0, 0.0, 1.0)
