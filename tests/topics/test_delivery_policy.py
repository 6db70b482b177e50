"""When a message is tried again, by AWS's phases."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.topics.delivery_policy import (
    LONGEST_S,
    PolicyRefused,
    checked_subscription,
    checked_topic,
    effective,
    effective_of_subscription,
    effective_of_topic,
)


def delays(draw: float = 0.5, **retry: Any) -> list[float]:
    policy = effective(None, json.dumps({"healthyRetryPolicy": retry}))
    found: list[float] = []
    while (delay := policy.delay_s(len(found), draw)) is not None:
        found.append(round(delay, 3))
    return found


def test_without_a_policy_there_are_three_retries_twenty_seconds_apart() -> None:
    assert delays() == [20.0, 20.0, 20.0]
    assert effective(None).content_type == "text/plain; charset=UTF-8"
    assert json.loads(effective_of_topic(None)) == {
        "http": {
            "defaultHealthyRetryPolicy": {
                "minDelayTarget": 20, "maxDelayTarget": 20, "numRetries": 3, "numMaxDelayRetries": 0,
                "numNoDelayRetries": 0, "numMinDelayRetries": 0, "backoffFunction": "linear",
            },
            "disableSubscriptionOverrides": False,
            "defaultRequestPolicy": {"headerContentType": "text/plain; charset=UTF-8"},
        }
    }  # fmt: skip


@pytest.mark.parametrize(
    ("function", "growing"),
    [
        ("linear", [10.0, 16.667, 23.333, 30.0]),
        ("arithmetic", [10.0, 13.333, 20.0, 30.0]),
        ("geometric", [10.0, 12.857, 18.571, 30.0]),
        ("exponential", [10.0, 10.952, 14.762, 30.0]),
    ],
)
def test_the_phases_follow_one_another(function: str, growing: list[float]) -> None:
    found = delays(
        numRetries=9, numNoDelayRetries=1, numMinDelayRetries=2, numMaxDelayRetries=2, minDelayTarget=10,
        maxDelayTarget=30, backoffFunction=function,
    )  # fmt: skip
    assert found == [0.0, 10.0, 10.0, *growing, 30.0, 30.0]


def test_delays_are_jittered_by_a_tenth() -> None:
    assert (delays(0.0)[0], delays(1.0)[0]) == (18.0, 22.0)


def test_a_subscription_overrides_its_topic_unless_the_topic_forbids_it() -> None:
    own = json.dumps({"healthyRetryPolicy": {"numRetries": 1}, "throttlePolicy": {"maxReceivesPerSecond": 5}})
    http: dict[str, Any] = {"defaultHealthyRetryPolicy": {"numRetries": 2}}
    assert effective(json.dumps({"http": http}), own).retry["numRetries"] == 1
    assert effective(json.dumps({"http": http}), own).receives_per_s == 5
    http["disableSubscriptionOverrides"] = True
    assert effective(json.dumps({"http": http}), own).retry["numRetries"] == 2
    assert effective(json.dumps({"http": http}), own).receives_per_s is None


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        ("[]", "must be an object"),
        ("{", "failed to parse JSON"),
        ('{"x": 1}', 'has no member "x"'),
        ('{"healthyRetryPolicy": {"numRetries": 101}}', "from 0 to 100"),
        ('{"healthyRetryPolicy": {"minDelayTarget": 0}}', "from 1 to 3600"),
        ('{"healthyRetryPolicy": {"minDelayTarget": 30}}', "must not be less"),
        ('{"healthyRetryPolicy": {"numRetries": true}}', "whole number"),
        ('{"healthyRetryPolicy": {"numNoDelayRetries": 4}}', "at least the 4 retries"),
        ('{"healthyRetryPolicy": {"maxDelayTarget": 3000}}', "at most 3600"),
        ('{"healthyRetryPolicy": {"backoffFunction": "x"}}', "one of linear"),
        ('{"throttlePolicy": {"maxReceivesPerSecond": 0}}', "at least 1"),
        ('{"requestPolicy": {"headerContentType": "a/b\\r\\nX: y"}}', "must be one of"),
        ('{"requestPolicy": {"headerContentType": "text/css"}}', "must be one of"),
    ],
)
def test_policies_that_cannot_be(policy: str, told: str) -> None:
    with pytest.raises(PolicyRefused, match=told):
        checked_subscription(policy, raw=False)


def test_what_is_shown_can_be_sent_back() -> None:
    shown = effective_of_subscription(None, '{"throttlePolicy": {"maxReceivesPerSecond": 2}}')
    assert checked_subscription(shown, raw=False) == json.loads(shown)
    assert checked_topic(effective_of_topic(None)) == json.loads(effective_of_topic(None))["http"]
    with pytest.raises(PolicyRefused, match="guaranteed has no meaning"):
        checked_subscription('{"guaranteed": true}', raw=False)


def test_raw_messages_may_be_of_more_types() -> None:
    assert checked_subscription('{"requestPolicy": {"headerContentType": "text/css"}}', raw=True)
    assert checked_topic('{"http": {"defaultRequestPolicy": {"headerContentType": "application/json"}}}')


@given(
    st.fixed_dictionaries(
        {
            "numRetries": st.integers(0, 100),
            "numNoDelayRetries": st.integers(0, 20),
            "numMinDelayRetries": st.integers(0, 20),
            "numMaxDelayRetries": st.integers(0, 20),
            "minDelayTarget": st.integers(1, 200),
            "maxDelayTarget": st.integers(1, 200),
            "backoffFunction": st.sampled_from(["linear", "arithmetic", "geometric", "exponential"]),
        }
    )
)
def test_whatever_is_taken_ends_in_time(retry: dict[str, Any]) -> None:
    try:
        checked_subscription(json.dumps({"healthyRetryPolicy": retry}), raw=False)
    except PolicyRefused:
        return
    found = delays(**retry)
    assert len(found) == retry["numRetries"]
    assert sum(found) <= LONGEST_S + 0.1
    assert found == sorted(found)
