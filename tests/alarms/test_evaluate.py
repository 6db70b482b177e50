"""In which state an alarm should be: AWS's own tables, every comparison, and what must hold for any data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.alarms.evaluate import (
    BAND,
    THRESHOLD,
    TREATMENTS,
    Datapoint,
    State,
    Watch,
    aligned_end,
    decide,
    evaluate,
    evaluation_range,
    least_samples,
)

DATA = json.loads((Path(__file__).parent / "data" / "alarm_missing_data.json").read_text())
VOTES = {"X": True, "0": False, "-": None}


@pytest.mark.parametrize("case", DATA["cases"], ids=lambda case: case["id"])
@pytest.mark.parametrize("before", State)
def test_the_tables_of_the_user_guide(case, before):
    assert len(DATA["cases"]) == 53
    votes = [VOTES[each] for each in case["points"]]
    assert len(votes) == case["evaluation_range"] == evaluation_range(case["N"])
    got = decide(votes, case["N"], case["M"], case["treat"], before)
    if "expected_not" in case:
        assert got == before if before == case["expected_not"] else got != case["expected_not"]
    else:
        assert got == (before if case["expected"] == "RETAIN" else case["expected"])


@pytest.mark.parametrize("n", [1, 2, 3, 5, 6, 9, 60, 1440])
def test_more_periods_are_looked_at_than_decide(n):
    assert evaluation_range(n) == n + max(2, n // 3)


def points(*values: float | None, **options: float) -> list[Datapoint]:
    return [Datapoint(60 * place, value, **options) for place, value in enumerate(values)]


@pytest.mark.parametrize(
    ("comparison", "alarming"),
    [
        ("GreaterThanOrEqualToThreshold", (5.0, 6.0)),
        ("GreaterThanThreshold", (6.0,)),
        ("LessThanThreshold", (4.0,)),
        ("LessThanOrEqualToThreshold", (4.0, 5.0)),
    ],
)
def test_every_comparison_with_a_threshold(comparison, alarming):
    watch = Watch(comparison, 5.0, 1, 1)
    got = {value: evaluate(watch, points(None, None, value), State.OK) for value in (4.0, 5.0, 6.0)}
    assert {value for value, state in got.items() if state == State.ALARM} == set(alarming)


@pytest.mark.parametrize(
    ("comparison", "alarming"),
    [
        ("LessThanLowerOrGreaterThanUpperThreshold", (0.9, 2.1)),
        ("LessThanLowerThreshold", (0.9,)),
        ("GreaterThanUpperThreshold", (2.1,)),
    ],
)
def test_every_comparison_with_a_band(comparison, alarming):
    watch = Watch(comparison, None, 1, 1)
    values = (0.9, 1.0, 1.5, 2.0, 2.1)
    got = {v: evaluate(watch, points(None, None, v, lower=1.0, upper=2.0), State.OK) for v in values}
    assert {value for value, state in got.items() if state == State.ALARM} == set(alarming)
    assert evaluate(watch, points(None, None, 9.0), State.OK) == State.INSUFFICIENT_DATA, "no band, no comparison"


def test_every_operator_of_the_model_is_there():
    import botocore.session

    model = botocore.session.get_session().get_service_model("cloudwatch")
    assert {*THRESHOLD, *BAND} == set(model.shape_for("ComparisonOperator").enum)


@pytest.mark.parametrize(("percentile", "want"), DATA["low_sample_percentile"]["examples"].items())
def test_how_many_values_a_percentile_needs(percentile, want):
    assert least_samples(float(percentile[1:])) == want


def test_too_few_values_leave_the_state_as_it_is():
    watch = Watch("GreaterThanThreshold", 1.0, 2, 1, least_samples=1000.0)
    enough, few = Datapoint(0, 9.0, 1000.0), Datapoint(60, 9.0, 999.0)
    assert evaluate(watch, [few, enough, enough], State.OK) == State.ALARM, "the low one decides nothing"
    assert evaluate(watch, [enough, enough, few], State.OK) == State.OK
    assert evaluate(watch, [enough, few, enough], State.OK) == State.OK
    assert evaluate(watch, [enough, few], State.INSUFFICIENT_DATA) == State.INSUFFICIENT_DATA


@pytest.mark.parametrize(
    ("now", "period", "want"),
    [(125.0, 60, 120), (121.4, 60, 60), (121.5, 60, 120), (3599.0, 3600, 3540), (31.4, 10, 20), (31.5, 30, 30)],
)
def test_windows_slide_and_leave_the_last_values_time_to_arrive(now, period, want):
    assert aligned_end(now, period, 1.5) == want


votes_of = st.lists(st.sampled_from([True, False, None]), min_size=1, max_size=12)


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[bool | None], int, int, str, State]:
    n = draw(st.integers(1, 6))
    m = draw(st.integers(1, n))
    size = evaluation_range(n)
    votes = draw(st.lists(st.sampled_from([True, False, None]), min_size=size, max_size=size))
    return votes, n, m, draw(st.sampled_from(TREATMENTS)), draw(st.sampled_from(list(State)))


@given(situations(), st.data())
def test_a_breaching_point_more_never_turns_alarm_into_ok(situation, data):
    votes, n, m, missing, before = situation
    if decide(votes, n, m, missing, before) != State.ALARM:
        return
    gaps = [place for place, vote in enumerate(votes) if vote is None]
    if gaps:
        place = data.draw(st.sampled_from(gaps))
        filled = [True if at == place else vote for at, vote in enumerate(votes)]
        assert decide(filled, n, m, missing, before) == State.ALARM
    later = decide([*votes[1:], True], n, m, missing, State.ALARM)
    assert later == State.ALARM, "the next period breaches too"


@given(situations())
def test_looking_twice_is_looking_once(situation):
    """So a process that is restarted after it has written the state finds nothing to change."""
    votes, n, m, missing, before = situation
    once = decide(votes, n, m, missing, before)
    assert decide(votes, n, m, missing, once) == once


@given(situations())
def test_what_is_seen_decides_and_not_the_state_before_unless_nothing_follows(situation):
    votes, n, m, missing, _ = situation
    results = {before: decide(votes, n, m, missing, before) for before in State}
    assert len(set(results.values())) == 1 or all(before == after for before, after in results.items())
