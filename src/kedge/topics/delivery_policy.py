"""How often and when a message is tried again. PURE.

A policy has four phases, one after another: retries without delay, with the smallest delay, with a delay that grows
from the smallest to the largest, with the largest. Without a policy there are 3 retries, 20 seconds apart. AWS names
the four functions by which the delay grows and draws them, without formulas; `_GROWTH` is how we read them.

Source: "Amazon SNS message delivery retries" in the SNS developer guide, and what GetTopicAttributes answers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

RETRY: Mapping[str, Any] = {
    "minDelayTarget": 20,
    "maxDelayTarget": 20,
    "numRetries": 3,
    "numMaxDelayRetries": 0,
    "numNoDelayRetries": 0,
    "numMinDelayRetries": 0,
    "backoffFunction": "linear",
}
CONTENT_TYPE = "text/plain; charset=UTF-8"
MOST_RETRIES = 100
LONGEST_S = 3600
"""Of one delay, and of all of them together."""

_GROWTH: Mapping[str, Callable[[int, int], float]] = {
    "linear": lambda i, n: i / n,
    "arithmetic": lambda i, n: i * (i + 1) / (n * (n + 1)),
    "geometric": lambda i, n: (2**i - 1) / (2**n - 1),
    "exponential": lambda i, n: (4**i - 1) / (4**n - 1),
}
"""(step, last step) -> how far the delay has come from the smallest, 0, to the largest, 1."""

_TOPIC_MEMBERS = {
    "defaultHealthyRetryPolicy", "disableSubscriptionOverrides", "defaultThrottlePolicy", "defaultRequestPolicy",
    "defaultSicklyRetryPolicy",
}  # fmt: skip
_SUBSCRIPTION_MEMBERS = {"healthyRetryPolicy", "throttlePolicy", "requestPolicy", "sicklyRetryPolicy", "guaranteed"}
_UNUSED = {"defaultSicklyRetryPolicy", "sicklyRetryPolicy", "guaranteed"}
"""What AWS shows, always as null or false, and clients send back."""
_PLAIN_TYPES = frozenset({"text/plain", "application/json"})
_RAW_TYPES = _PLAIN_TYPES | {
    "application/atom+xml", "application/octet-stream", "application/soap+xml", "application/x-www-form-urlencoded",
    "application/xhtml+xml", "application/xml", "text/css", "text/csv", "text/html", "text/xml",
}  # fmt: skip


class PolicyRefused(ValueError):
    """The message says which member and why."""


@dataclass(frozen=True)
class DeliveryPolicy:
    """What counts for one subscription."""

    retry: Mapping[str, Any]
    content_type: str = CONTENT_TYPE
    receives_per_s: float | None = None

    def delay_s(self, retries: int, draw: float) -> float | None:
        """Seconds until the next try after `retries` of them have failed; None: give up.

        draw: 0 to 1, by which the delay is shortened or lengthened by up to a tenth, as AWS jitters it.
        """
        delays = _delays(self.retry)
        return None if retries >= len(delays) else delays[retries] * (0.9 + 0.2 * draw)


def checked_topic(text: str) -> dict[str, Any]:
    """A topic's policy. Raises PolicyRefused."""
    http = _object(_parsed(text).get("http", {}), "http")
    _only(http, _TOPIC_MEMBERS, "http")
    _check_unused(http)
    if not isinstance(http.get("disableSubscriptionOverrides", False), bool):
        raise PolicyRefused("http.disableSubscriptionOverrides must be true or false")
    for member in ("defaultHealthyRetryPolicy", "defaultThrottlePolicy", "defaultRequestPolicy"):
        if http.get(member) is not None:
            _CHECKS[member.removeprefix("default").lower()](_object(http[member], f"http.{member}"), _PLAIN_TYPES)
    return http


def checked_subscription(text: str, *, raw: bool) -> dict[str, Any]:
    """A subscription's policy. raw: it gets messages without their envelope. Raises PolicyRefused."""
    given = _parsed(text)
    _only(given, _SUBSCRIPTION_MEMBERS, "DeliveryPolicy")
    _check_unused(given)
    for member in _SUBSCRIPTION_MEMBERS - _UNUSED:
        if given.get(member) is not None:
            _CHECKS[member.lower()](_object(given[member], member), _RAW_TYPES if raw else _PLAIN_TYPES)
    return given


def effective(topic: str | None, subscription: str | None = None) -> DeliveryPolicy:
    """Of what was checked when it was set."""
    http = json.loads(topic)["http"] if topic else {}
    own = json.loads(subscription) if subscription and not http.get("disableSubscriptionOverrides") else {}
    retry = own.get("healthyRetryPolicy") or http.get("defaultHealthyRetryPolicy") or {}
    request = own.get("requestPolicy") or http.get("defaultRequestPolicy") or {}
    throttle = own.get("throttlePolicy") or http.get("defaultThrottlePolicy") or {}
    return DeliveryPolicy(
        {**RETRY, **retry}, request.get("headerContentType", CONTENT_TYPE), throttle.get("maxReceivesPerSecond")
    )


def effective_of_topic(topic: str | None) -> str:
    """EffectiveDeliveryPolicy of GetTopicAttributes."""
    policy = effective(topic)
    http: dict[str, Any] = {
        "defaultHealthyRetryPolicy": dict(policy.retry),
        "disableSubscriptionOverrides": bool(topic and json.loads(topic)["http"].get("disableSubscriptionOverrides")),
        "defaultRequestPolicy": {"headerContentType": policy.content_type},
    }
    if policy.receives_per_s is not None:
        http["defaultThrottlePolicy"] = {"maxReceivesPerSecond": policy.receives_per_s}
    return json.dumps({"http": http})


def effective_of_subscription(topic: str | None, subscription: str | None) -> str:
    policy = effective(topic, subscription)
    found: dict[str, Any] = {
        "healthyRetryPolicy": dict(policy.retry),
        "sicklyRetryPolicy": None,
        "throttlePolicy": None,
        "requestPolicy": {"headerContentType": policy.content_type},
        "guaranteed": False,
    }
    if policy.receives_per_s is not None:
        found["throttlePolicy"] = {"maxReceivesPerSecond": policy.receives_per_s}
    return json.dumps(found)


def _delays(retry: Mapping[str, Any]) -> list[float]:
    least, most = float(retry["minDelayTarget"]), float(retry["maxDelayTarget"])
    at_once, early, late = (retry[f"num{phase}DelayRetries"] for phase in ("No", "Min", "Max"))
    growing = retry["numRetries"] - at_once - early - late
    grow, last = _GROWTH[retry["backoffFunction"]], growing - 1
    backoff = [least + (most - least) * (grow(i, last) if last else 0.0) for i in range(growing)]
    return [0.0] * at_once + [least] * early + backoff + [most] * late


def _check_retry(given: dict[str, Any], _types: frozenset[str]) -> None:
    _only(given, set(RETRY), "retry policy")
    for member, value in given.items():
        if member == "backoffFunction":
            if value not in _GROWTH:
                raise PolicyRefused(f"backoffFunction must be one of {', '.join(_GROWTH)}")
            continue
        least, most = (1, LONGEST_S) if member.endswith("Target") else (0, MOST_RETRIES)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise PolicyRefused(f"{member} must be a whole number from {least} to {most}")
    whole = {**RETRY, **given}
    if whole["maxDelayTarget"] < whole["minDelayTarget"]:
        raise PolicyRefused("maxDelayTarget must not be less than minDelayTarget")
    phases = whole["numNoDelayRetries"] + whole["numMinDelayRetries"] + whole["numMaxDelayRetries"]
    if phases > whole["numRetries"]:
        raise PolicyRefused(f"numRetries must be at least the {phases} retries of the phases together")
    total_s = sum(_delays(whole))
    if total_s > LONGEST_S:
        raise PolicyRefused(f"all retries together take {total_s:.0f} seconds; at most {LONGEST_S} are allowed")


def _check_throttle(given: dict[str, Any], _types: frozenset[str]) -> None:
    _only(given, {"maxReceivesPerSecond"}, "throttle policy")
    rate = given.get("maxReceivesPerSecond")
    if rate is not None and (not isinstance(rate, int) or isinstance(rate, bool) or rate < 1):
        raise PolicyRefused("maxReceivesPerSecond must be a whole number of at least 1")


def _check_request(given: dict[str, Any], types: frozenset[str]) -> None:
    _only(given, {"headerContentType"}, "request policy")
    said = given.get("headerContentType", CONTENT_TYPE)
    kind, _, charset = said.partition(";") if isinstance(said, str) else ("", "", "")
    if kind.strip() not in types or charset.strip().lower() not in ("", "charset=utf-8"):
        raise PolicyRefused(f"headerContentType must be one of {', '.join(sorted(types))}")


_CHECKS: Mapping[str, Callable[[dict[str, Any], frozenset[str]], None]] = {
    "healthyretrypolicy": _check_retry,
    "throttlepolicy": _check_throttle,
    "requestpolicy": _check_request,
}


def _check_unused(given: Mapping[str, Any]) -> None:
    for member in sorted(_UNUSED & given.keys()):
        if given[member]:
            raise PolicyRefused(f"{member} has no meaning any more; leave it out")


def _parsed(text: str) -> dict[str, Any]:
    try:
        return _object(json.loads(text), "DeliveryPolicy")
    except (ValueError, RecursionError) as error:
        raise error if isinstance(error, PolicyRefused) else PolicyRefused("failed to parse JSON") from None


def _object(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise PolicyRefused(f"{name} must be an object")
    return value


def _only(given: Mapping[str, Any], known: set[str], name: str) -> None:
    if unknown := sorted(given.keys() - known):
        raise PolicyRefused(f'{name} has no member "{unknown[0][:64]}"')
