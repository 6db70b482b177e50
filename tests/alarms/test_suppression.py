"""The timelines of the user guide, looked at every instant and late."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kedge.alarms.suppression import NONE, Suppression, Suppressor, changed, dropped, passed, reason

DATA = json.loads((Path(__file__).parent / "data" / "composite_suppression.json").read_text())


def play(timeline: dict, looks: list[float]) -> list[tuple[float, str]]:
    """When which state's actions run, if what runs by time is looked at then. Changes are seen when they happen."""
    wait, extension = DATA["wait"], DATA["extension"]
    changes = dict(timeline["composite"])
    suppressor, since, state, held, ran = "OK", -1.0, "OK", NONE, []
    switches = dict(timeline["suppressor"])
    for at in sorted({*looks, *changes, *switches}):
        if at in switches:
            suppressor, since = switches[at], at
        seen = Suppressor(suppressor == "ALARM", since, wait, extension)
        held, runs = passed(held, seen, at)
        if runs:
            ran.append((at, state))
        if at in changes:
            state = changes[at]
            held, runs = changed(seen, at)
            if runs:
                ran.append((at, state))
    return ran


@pytest.mark.parametrize("timeline", DATA["timelines"], ids=lambda each: str(each["id"]))
def test_the_timelines_of_the_user_guide(timeline):
    assert len(DATA["timelines"]) == 6
    every_half = [step / 2 for step in range(60)]
    assert play(timeline, every_half) == [tuple(each) for each in timeline["actions"]]


@pytest.mark.parametrize("timeline", DATA["timelines"], ids=lambda each: str(each["id"]))
def test_a_late_look_runs_the_same_actions_late(timeline):
    assert play(timeline, [29.5]) == [(29.5, state) for _, state in timeline["actions"]]


def test_a_suppressor_that_comes_after_the_wait_is_too_late():
    held = Suppression("WaitPeriod", 4.0, owed=True)
    assert passed(held, Suppressor(True, 3.0, 2, 3), 9.0) == (Suppression("Alarm", None, True), False)
    assert passed(held, Suppressor(True, 5.0, 2, 3), 9.0) == (Suppression("Alarm"), True)


def test_without_a_wait_actions_run_at_once():
    assert changed(Suppressor(False, 0.0, 0, 3), 7.0) == (NONE, True)


def test_actions_that_have_run_do_not_run_again_after_an_extension():
    held, runs = passed(NONE, Suppressor(True, 5.0, 2, 3), 5.0)
    assert (held.by, runs) == ("Alarm", False)
    held, runs = passed(held, Suppressor(False, 8.0, 2, 3), 8.0)
    assert (held.by, held.until_s, runs) == ("ExtensionPeriod", 11.0, False)
    assert passed(held, Suppressor(False, 8.0, 2, 3), 11.0) == (NONE, False)


def test_without_its_suppressor_what_was_held_back_runs():
    assert dropped(Suppression("Alarm", None, True)) == (NONE, True)
    assert dropped(NONE) == (NONE, False)


def test_each_kind_of_suppression_has_its_reason():
    texts = {reason(Suppression(by), "deploying") for by in ("Alarm", "WaitPeriod", "ExtensionPeriod")}
    assert len(texts) == 3
    assert all("deploying" in text for text in texts)
    assert reason(NONE, "deploying") == ""
