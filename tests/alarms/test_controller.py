"""The controller on a real store: on time, once, and the same after a restart at any instant."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kedge.alarms.reasons import stamp
from kedge.alarms.records import HISTORY, Alarm
from kedge.alarms.transition import told
from kedge.clock import HandClock
from kedge.errors import ServiceUnavailable
from kedge.events.records import Outcome
from kedge.metrics import detector_controller, detectors
from kedge.metrics.detectors import DETECTOR
from kedge.store.records import Author, Resource
from kedge.store.store import LeaseLost, Store
from tests.alarms.conftest import POLICY, SCOPE, TOPIC, World


def test_a_breach_is_seen_within_two_seconds_of_the_end_of_its_period(world: World) -> None:
    world.put(AlarmActions=[TOPIC], DatapointsToAlarm=1)
    world.look()
    world.clock.advance(9.9)  # the last instant of the period that ends at 12:00:10
    world.measure(9.0)
    world.passes(0.1)
    assert world.state() == "INSUFFICIENT_DATA"
    world.passes(2.0)
    assert world.state() == "ALARM"
    alarm = Alarm.of(world.get().document)
    assert alarm.reason == (
        "Threshold Crossed: 1 out of the last 1 datapoints [9.0 (01/01/26 12:00:00)] was greater than the threshold "
        "(5.0) (minimum 1 datapoint for OK -> ALARM transition)."
    )
    data = json.loads(alarm.reason_data)
    assert (data["statistic"], data["period"], data["recentDatapoints"]) == ("Sum", 10, [9.0])
    (action,) = world.actions()
    assert (action.target_arn, action.subject) == (TOPIC, 'ALARM: "a" in US East (N. Virginia)')
    assert action.source_arn == "arn:aws:cloudwatch:us-east-1:111122223333:alarm:a"
    body = json.loads(action.message)
    assert (body["OldStateValue"], body["NewStateValue"], body["NewStateReason"]) == (
        "INSUFFICIENT_DATA", "ALARM", alarm.reason,
    )  # fmt: skip
    assert body["StateChangeTime"] == stamp(action.at)
    assert body["Region"] == "US East (N. Virginia)"
    assert body["Trigger"] == {
        "MetricName": "m", "Namespace": "app", "StatisticType": "Statistic", "Statistic": "SUM", "Unit": None,
        "Dimensions": [], "Period": 10, "EvaluationPeriods": 1, "DatapointsToAlarm": 1,
        "ComparisonOperator": "GreaterThanThreshold", "Threshold": 5.0, "TreatMissingData": "",
        "EvaluateLowSampleCountPercentile": "",
    }  # fmt: skip
    (event,) = world.events()
    assert (event.source, event.detail_type) == ("aws.cloudwatch", "CloudWatch Alarm State Change")
    assert event.detail["state"]["value"] == "ALARM"
    assert json.loads(event.detail["state"]["reasonData"]) == data
    assert event.detail["previousState"].keys() == {"value", "reason", "timestamp"}
    (metric,) = event.detail["configuration"]["metrics"]
    assert metric["metricStat"] == {
        "metric": {"namespace": "app", "name": "m", "dimensions": {}}, "period": 10, "stat": "Sum"
    }  # fmt: skip
    assert metric["returnData"] is True
    (line,) = world.store.notes(SCOPE, HISTORY, "a")
    assert line.after is not None
    assert line.after["summary"] == "Alarm updated from INSUFFICIENT_DATA to ALARM"


def test_nothing_is_written_while_nothing_changes(world: World) -> None:
    world.put(TreatMissingData="notBreaching")
    world.passes(15)
    before = world.get()
    assert before.status == "OK"
    world.passes(120)
    assert world.get() == before


def test_short_periods_are_read_every_ten_seconds_and_others_every_minute(world: World) -> None:
    world.put("short", Period=30)
    world.put("long", Period=300)
    world.look()
    world.passes(70)
    world.reader.count = 0
    world.passes(600, step=0.5)
    assert world.reader.count == 60 + 10


def test_windows_slide_by_the_minute(world: World) -> None:
    """Two values that no five minutes of the clock hold together."""
    world.put(Period=300, Threshold=1.5)
    world.clock.advance(270)
    world.measure(1.0)
    world.clock.advance(120)
    world.measure(1.0)
    world.passes(62)
    assert world.state() == "ALARM"


def test_a_state_that_was_set_by_hand_lasts_until_the_next_evaluation(world: World) -> None:
    world.put(TreatMissingData="notBreaching", AlarmActions=[TOPIC], OKActions=[TOPIC + "2"])
    world.passes(15)
    world.set("a", "ALARM")
    assert world.state() == "ALARM"
    world.look()
    assert world.state() == "ALARM"
    world.passes(10)
    assert world.state() == "OK"
    assert [each.target_arn[-1] for each in world.actions()] == ["2", "d", "2"]


def test_without_actions_enabled_history_and_event_are_written_all_the_same(world: World) -> None:
    world.put(AlarmActions=[TOPIC], ActionsEnabled=False, TreatMissingData="breaching")
    world.passes(12)
    assert world.state() == "ALARM"
    assert world.actions() == []
    assert len(world.events()) == 1
    assert len(world.store.notes(SCOPE, HISTORY, "a")) == 1


def test_scaling_policies_are_told_once_a_minute_while_the_state_lasts(world: World) -> None:
    world.put(AlarmActions=[TOPIC, POLICY], TreatMissingData="breaching")
    world.passes(12)
    world.passes(180, step=0.5)
    targets = [each.target_arn for each in world.actions()]
    assert (targets.count(TOPIC), targets.count(POLICY)) == (1, 4)
    world.start()
    world.look()
    assert len(world.actions()) == 5


def test_a_change_of_what_is_watched_is_evaluated_at_once(world: World) -> None:
    world.measure(9.0, ago_s=5.0)
    world.put(MetricName="none")
    world.passes(2)
    assert world.state() == "INSUFFICIENT_DATA"
    world.put(MetricName="m")
    world.look()
    assert world.state() == "ALARM"


def test_metric_math(world: World) -> None:
    stat = {"Metric": {"Namespace": "app", "MetricName": "m"}, "Period": 60, "Stat": "Sum"}
    world.put(
        Metrics=[
            {"Id": "m1", "MetricStat": stat, "ReturnData": False},
            {"Id": "m2", "MetricStat": {**stat, "Metric": {**stat["Metric"], "MetricName": "n"}}, "ReturnData": False},
            {"Id": "e1", "Expression": "100 * m1 / m2", "ReturnData": True},
        ],
        AlarmActions=[TOPIC],
    )  # fmt: skip
    world.measure(1.0)
    world.measure(10.0, "n")
    world.passes(62)
    assert world.state() == "ALARM"
    data = json.loads(Alarm.of(world.get().document).reason_data)
    assert (data["recentDatapoints"], data["period"]) == ([10.0], 60)
    assert "statistic" not in data
    body = json.loads(world.actions()[0].message)
    assert [each["Id"] for each in body["Trigger"]["Metrics"]] == ["m1", "m2", "e1"]


@pytest.mark.parametrize("of_math", [False, True])
def test_a_day_by_the_clock_has_the_hours_that_it_has(world: World, *, of_math: bool) -> None:
    """The one on which summer time ends has 25: what comes in the last of them belongs to it."""
    stat = {"Metric": {"Namespace": "app", "MetricName": "m"}, "Period": 86_400, "Stat": "Sum"}
    metrics = [{"Id": "m1", "MetricStat": stat, "ReturnData": False}, {"Id": "e1", "Expression": "m1 * 1"}]
    begin = datetime(2026, 10, 25, tzinfo=ZoneInfo("Europe/Berlin")).astimezone(UTC)
    world.clock.advance((begin - world.clock.now()).total_seconds())
    watched = {"Metrics": metrics} if of_math else {"Period": 86_400}
    world.put(EvaluationWindow={"WallClockWindow": {"Timezone": "Europe/Berlin"}}, **watched)
    world.measure(4.0)
    world.clock.advance(24 * 3600 + 1800)
    while world.metrics.keep_house():  # seconds are kept for three hours
        pass
    world.measure(4.0)
    world.look()
    assert world.state() == "INSUFFICIENT_DATA", "the day is not over yet"
    world.clock.advance(1800 + 2)
    world.look()
    assert world.state() == "ALARM"
    data = json.loads(Alarm.of(world.get().document).reason_data)
    assert (data["startDate"], data["recentDatapoints"]) == ("2026-10-24T22:00:00.000+0000", [8.0])


def test_an_alarm_that_cannot_be_computed_says_so_once_and_keeps_its_state(world: World) -> None:
    stat = {"Metric": {"Namespace": "app", "MetricName": "m"}, "Period": 10, "Stat": "Sum"}
    world.put(
        Metrics=[
            {"Id": "m1", "MetricStat": stat, "ReturnData": False},
            {"Id": "e1", "Expression": "[m1, m1]"},
        ],
    )  # fmt: skip
    world.passes(2)
    first = world.get()
    assert (first.status, Alarm.of(first.document).evaluation) == ("INSUFFICIENT_DATA", "EVALUATION_ERROR")
    world.passes(30)
    assert world.get() == first
    assert world.events() == []


def test_an_alarm_that_can_be_computed_again_in_the_same_state_says_why_as_before(world: World) -> None:
    stat = {"Metric": {"Namespace": "app", "MetricName": "m"}, "Period": 10, "Stat": "Sum"}
    world.put(
        Metrics=[
            {"Id": "m1", "MetricStat": stat, "ReturnData": False},
            {"Id": "e1", "Expression": "REMOVE_EMPTY([m1])"},
        ],
    )  # fmt: skip
    world.look()
    world.measure(9.0)
    world.passes(12)
    alarm = world.get()
    assert alarm.status == "ALARM"
    world.passes(60)
    assert (world.state(), Alarm.of(world.get().document).evaluation) == ("ALARM", "EVALUATION_ERROR")
    world.measure(9.0)
    world.passes(12)
    assert (world.state(), Alarm.of(world.get().document).evaluation) == ("ALARM", "")
    assert Alarm.of(world.get().document).reason == Alarm.of(alarm.document).reason
    assert len(world.events()) == 1


async def learned(store: Store, at: datetime) -> None:
    """A detector of the sums of m, which has seen 60 to 62 all the time."""
    watches = detectors.of_metric({"Namespace": "app", "MetricName": "m", "Dimensions": [], "Stat": "Sum"})
    with store.transaction(Author("test", "", at)) as tx:
        tx.insert(SCOPE, DETECTOR, detectors.id_of(watches), detectors.document(watches, {}, {}), detectors.PENDING)

    def seen(_detector: Resource, period_s: int, _start_s: int, end_s: int) -> list[tuple[int, float]]:
        return [(each, period_s + each // period_s % 3) for each in range(end_s - 86_400, end_s, period_s)]

    await detector_controller.step(store, seen, HandClock(at))


def test_an_alarm_on_an_anomaly_band(world: World) -> None:
    stat = {"Metric": {"Namespace": "app", "MetricName": "m"}, "Period": 60, "Stat": "Sum"}
    band = {
        "Metrics": [{"Id": "m1", "MetricStat": stat}, {"Id": "ad", "Expression": "ANOMALY_DETECTION_BAND(m1, 3)"}],
        "ThresholdMetricId": "ad",
        "ComparisonOperator": "LessThanLowerOrGreaterThanUpperThreshold",
        "DatapointsToAlarm": 1,
    }
    world.put(**band)
    world.measure(61.0)
    world.passes(62)
    assert world.state() == "INSUFFICIENT_DATA", "nothing is known of the metric yet"
    asyncio.run(learned(world.store, world.clock.now()))
    world.measure(61.0)
    world.passes(60)
    assert world.state() == "OK"
    world.measure(900.0)
    world.passes(60)
    assert world.state() == "ALARM"
    alarm = Alarm.of(world.get().document)
    assert alarm.reason.startswith("Thresholds Crossed: 1 out of the last 1 datapoints [900.0 (")
    data = json.loads(alarm.reason_data)
    assert data["recentLowerThresholds"][0] < 61.0 < data["recentUpperThresholds"][0] < 900.0


def test_one_alarm_that_fails_holds_up_no_other(world: World) -> None:
    world.put("broken", MetricName="broken")
    world.put("sound", TreatMissingData="breaching")
    world.reader.unreadable.add("broken")
    world.passes(12)
    assert world.state("sound") == "ALARM"
    assert world.state("broken") == "INSUFFICIENT_DATA"


def test_warm_up(world: World) -> None:
    world.put("waits", WarmUpConfiguration={"WarmUpPeriodDurationInMinutes": 1,
              "OnlyStartEvaluatingAfterWarmUpPeriodEnds": True}, TreatMissingData="breaching")  # fmt: skip
    world.put("early", WarmUpConfiguration={"WarmUpPeriodDurationInMinutes": 1})
    world.measure(9.0)
    world.passes(12)
    assert (world.state("waits"), world.state("early")) == ("INSUFFICIENT_DATA", "ALARM")
    world.passes(50)
    assert world.state("waits") == "ALARM"


def test_who_has_lost_the_lease_changes_nothing(world: World) -> None:
    world.put(TreatMissingData="breaching")
    stale, old = world.held, world.controller
    world.start()
    with pytest.raises(LeaseLost):
        old.look(stale)
    assert world.state() == "INSUFFICIENT_DATA"
    world.look()
    assert world.state() == "ALARM"


def test_an_outcome_comes_into_the_history(world: World) -> None:
    world.put(AlarmActions=[TOPIC], TreatMissingData="breaching")
    world.passes(12)
    (action,) = world.actions()
    for outcome in (Outcome(True), Outcome(False, "no such topic")):
        with world.store.transaction(world.author()) as tx:
            told(tx, action, outcome)
    found = [each.after for each in world.store.notes(SCOPE, HISTORY, "a", limit=2) if each.after is not None]
    assert [each["summary"] for each in found] == [
        f"Failed to execute action {TOPIC}",
        f"Successfully executed action {TOPIC}",
    ]
    assert json.loads(found[0]["data"])["error"] == "no such topic"


# Composite alarms


def test_a_composite_follows_its_children_at_once(world: World) -> None:
    world.put("a", TreatMissingData="notBreaching")
    world.put("b", MetricName="n", TreatMissingData="notBreaching")
    world.composite("both", "ALARM(a) AND ALARM(b)", AlarmActions=[TOPIC])
    world.composite("above", "ALARM(both) OR FALSE", AlarmActions=[TOPIC])
    world.passes(2)
    assert (world.state("both"), world.state("above")) == ("OK", "OK")
    own = "arn:aws:cloudwatch:us-east-1:111122223333:alarm:both"
    first = Alarm.of(world.get("both").document)
    assert first.reason == f"{own} was created and its alarm rule evaluates to OK"
    assert len(json.loads(first.reason_data)["triggeringAlarms"]) == 2
    world.set("a", "ALARM")
    world.measure(9.0, "n")
    world.look()
    assert world.state("both") == "OK"
    world.set("b", "ALARM")
    world.look()
    assert (world.state("both"), world.state("above")) == ("ALARM", "ALARM")
    alarm = Alarm.of(world.get("both").document)
    assert alarm.reason == (
        f"{own.replace('both', 'b')} transitioned to ALARM at Thursday 01 January, 2026 12:00:02 UTC"
    )
    (cause,) = json.loads(alarm.reason_data)["triggeringAlarms"]
    assert cause["arn"].endswith(":b")
    assert sorted(world.subjects()) == [f'ALARM: "{name}" in US East (N. Virginia)' for name in ("above", "both")]
    body = json.loads(world.actions()[0].message)
    assert body["AlarmRule"] == "ALARM(a) AND ALARM(b)"
    assert body["TriggeringChildren"] == [
        {"Arn": cause["arn"], "State": {"Value": "ALARM", "Timestamp": cause["state"]["timestamp"]}}
    ]


def test_a_composite_keeps_a_state_set_by_hand_until_a_child_changes(world: World) -> None:
    world.put("a", TreatMissingData="notBreaching")
    world.composite("c", "ALARM(a)")
    world.passes(2)
    world.set("c", "ALARM")
    world.passes(40)
    world.start()
    world.passes(2)
    assert world.state("c") == "ALARM"
    world.set("a", "INSUFFICIENT_DATA")
    world.look()
    assert world.state("c") == "OK"


def test_alarms_on_a_cycle_stand_still_and_others_go_on(world: World) -> None:
    world.put("a", TreatMissingData="breaching")
    world.composite("x", "FALSE")
    world.composite("y", "ALARM(x) OR ALARM(a)")
    world.composite("z", "ALARM(y) OR ALARM(a)")
    world.composite("x", "ALARM(y) OR ALARM(a)")
    world.passes(12)
    assert (world.state("x"), world.state("y"), world.state("z")) == ("INSUFFICIENT_DATA", "INSUFFICIENT_DATA", "ALARM")
    world.composite("x", "FALSE")
    world.look()
    assert (world.state("x"), world.state("y"), world.state("z")) == ("OK", "ALARM", "ALARM")


def suppressed(world: World) -> None:
    world.put("a", TreatMissingData="ignore")
    world.put("s", TreatMissingData="ignore")
    world.composite(
        "c", "ALARM(a)", AlarmActions=[TOPIC], OKActions=[TOPIC],
        ActionsSuppressor="s", ActionsSuppressorWaitPeriod=20, ActionsSuppressorExtensionPeriod=30,
    )  # fmt: skip
    world.set("a", "OK")
    world.set("s", "OK")
    world.passes(25)
    assert world.subjects() == ['OK: "c" in US East (N. Virginia)']


def test_actions_wait_for_the_suppressor_and_then_run(world: World) -> None:
    suppressed(world)
    world.set("a", "ALARM")
    world.passes(1)
    assert world.state("c") == "ALARM"
    assert Alarm.of(world.get("c").document).suppression.by == "WaitPeriod"
    world.passes(15)
    world.start()  # the wait goes on in the next process
    world.passes(3)
    assert len(world.actions()) == 1
    world.passes(3)
    assert world.subjects()[1:] == ['ALARM: "c" in US East (N. Virginia)']
    assert json.loads(world.actions()[1].message)["OldStateValue"] == "OK"
    assert Alarm.of(world.get("c").document).suppression.by == ""


def test_actions_are_held_back_and_run_after_the_extension(world: World) -> None:
    suppressed(world)
    world.set("s", "ALARM")
    world.passes(1)
    world.set("a", "ALARM")
    world.passes(100, step=1.0)
    assert len(world.actions()) == 1
    assert Alarm.of(world.get("c").document).suppression.by == "Alarm"
    detail = world.events()[-1].detail
    assert (detail["alarmName"], detail["state"]["actionsSuppressedBy"]) == ("c", "Alarm")
    world.set("s", "OK")
    world.passes(28)
    assert Alarm.of(world.get("c").document).suppression.by == "ExtensionPeriod"
    assert len(world.actions()) == 1
    world.passes(4)
    assert len(world.actions()) == 2


# Restarts and order

SAMPLES = st.lists(st.tuples(st.integers(0, 19).map(lambda each: 3 * each), st.sampled_from([1.0, 9.0])), max_size=10)


def story(path, samples, restarts, treatment) -> tuple[list[str], list[tuple[str, str]]]:
    """A minute and a half of an alarm of 2 of 3 and a composite on it; states as they follow, and actions."""
    world = World(path)
    try:
        world.put(EvaluationPeriods=3, DatapointsToAlarm=2, TreatMissingData=treatment, AlarmActions=[TOPIC],
                  OKActions=[TOPIC], Statistic="Maximum")  # fmt: skip
        world.composite("c", "ALARM(a)", AlarmActions=[TOPIC], OKActions=[TOPIC])
        waiting = sorted(samples, key=lambda each: each[0])
        states = []
        for second in range(0, 90, 3):
            while waiting and waiting[0][0] <= second:
                world.measure(waiting.pop(0)[1])
            if second in restarts:
                world.start()
            world.look()
            states.append(f"{world.state()} {world.state('c')}")
            world.clock.advance(3.0)
        return states, [(each.subject, each.at.isoformat()) for each in world.actions()]
    finally:
        world.close()


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    samples=SAMPLES,
    restarts=st.sets(st.integers(0, 29).map(lambda each: 3 * each), max_size=4),
    treatment=st.sampled_from(["missing", "ignore", "breaching", "notBreaching"]),
)
def test_a_restart_at_any_instant_changes_nothing(tmp_path_factory, samples, restarts, treatment) -> None:
    folder = tmp_path_factory.mktemp("story")
    plain = story(folder / "plain.db", samples, set(), treatment)
    assert story(folder / "restarted.db", samples, restarts, treatment) == plain


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(samples=SAMPLES, data=st.data())
def test_the_order_of_arrival_does_not_matter(tmp_path_factory, samples, data) -> None:
    """Values of the same evaluation range, whichever comes first."""
    folder = tmp_path_factory.mktemp("order")
    outcomes = set()
    for number, order in enumerate((samples, data.draw(st.permutations(samples)))):
        world = World(folder / f"{number}.db")
        world.put(EvaluationPeriods=3, DatapointsToAlarm=2, Statistic="Average")
        for second, value in order:
            world.measure(value, ago_s=-second)
        world.clock.advance(62)
        world.look()
        outcomes.add((world.state(), Alarm.of(world.get().document).reason))
        world.close()
    assert len(outcomes) == 1


def test_a_transition_is_written_whole_or_not_at_all_and_then_tried_again(world: World, tmp_path: Path) -> None:
    world.put(TreatMissingData="breaching", AlarmActions=[TOPIC])
    world.clock.advance(12)
    with contextlib.closing(sqlite3.connect(tmp_path / "kedge.db")) as other:
        other.execute("CREATE TRIGGER full BEFORE INSERT ON payload BEGIN SELECT RAISE(ABORT, 'disk full'); END")
        other.commit()
        with pytest.raises(ServiceUnavailable):
            world.look()
        assert (world.state(), world.actions(), world.events()) == ("INSUFFICIENT_DATA", [], [])
        assert world.store.notes(SCOPE, HISTORY, "a") == []
        other.execute("DROP TRIGGER full")
        other.commit()
    world.look()
    assert (world.state(), len(world.actions())) == ("ALARM", 1)
