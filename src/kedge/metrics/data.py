"""PutMetricData's request as datapoints, and everything that it is refused for. PURE.

Where AWS's own sentence is known, it is used: "The parameters MetricData.member.1.Value and MetricData.member.1.Values
are mutually exclusive and you have specified both."
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from kedge.metrics.errors import InvalidParameterCombination, InvalidParameterValue, MissingParameter
from kedge.metrics.series import DAY_S, HOUR_S, Datum, Summary, metric

MOST_METRICS = 1000
"""In one call, those of entities counted too."""
MOST_VALUES = 150
OLDEST_S, NEWEST_S = 14 * DAY_S, 2 * HOUR_S
LARGEST = 2.0**360

_KINDS = ("Value", "Values", "StatisticValues")


def data_of(account: str, region: str, request: Mapping[str, Any], now_s: float) -> list[Datum]:
    """Raises InvalidParameterValue, InvalidParameterCombination or MissingParameter."""
    namespace = request["Namespace"]
    if not _is_plain(namespace):
        raise InvalidParameterValue("The parameter Namespace must have printable ASCII characters only.")
    groups = [("MetricData", request.get("MetricData") or [])]
    for number, each in enumerate(request.get("EntityMetricData") or (), 1):
        groups.append((f"EntityMetricData.member.{number}.MetricData", each.get("MetricData") or []))
    count = sum(len(group) for _, group in groups)
    if count == 0:
        raise MissingParameter("The parameter MetricData is required.")
    if count > MOST_METRICS:
        raise InvalidParameterValue(f"The collection MetricData must not have a size greater than {MOST_METRICS}.")
    return [
        _datum(account, region, namespace, given, f"{name}.member.{number}", now_s)
        for name, group in groups
        for number, given in enumerate(group, 1)
    ]


def _datum(account: str, region: str, namespace: str, given: Mapping[str, Any], at: str, now_s: float) -> Datum:
    dimensions = tuple([(each["Name"], each["Value"]) for each in given.get("Dimensions") or ()])
    wrong = _wrong_with(given["MetricName"], dimensions)
    if wrong:
        raise InvalidParameterValue(f"The parameter {at}.{wrong}")
    resolution_s = given.get("StorageResolution", 60)
    if resolution_s not in (1, 60):
        raise InvalidParameterValue(f"The parameter {at}.StorageResolution must be 1 or 60; it is {resolution_s}.")
    return Datum(
        metric(account, region, namespace, given["MetricName"], dimensions),
        given.get("Unit", "None"),
        _time(given.get("Timestamp"), at, now_s),
        resolution_s,
        _summary(given, at),
    )


@lru_cache(10_000)
def _wrong_with(name: str, dimensions: tuple[tuple[str, str], ...]) -> str:
    """What the same metric is asked every minute: the end of a sentence that begins with where it stands."""
    if not name.strip() or not name.isprintable():
        return "MetricName must have a character that is no blank, and no control characters."
    seen = set()
    for number, (dimension, value) in enumerate(dimensions, 1):
        for part, text in (("Name", dimension), ("Value", value)):
            if not text.strip() or not _is_plain(text):
                return (
                    f"Dimensions.member.{number}.{part} must have printable ASCII characters only, and one that is no "
                    "blank."
                )
        if dimension.startswith(":"):
            return f"Dimensions.member.{number}.Name must not start with a colon."
        if dimension in seen:
            return f"Dimensions.member.{number}.Name is {dimension}, as another dimension's of the same metric."
        seen.add(dimension)
    return ""


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _time(given: datetime | None, at: str, now_s: float) -> float:
    if given is None:
        return now_s
    at_s = given.timestamp()
    if at_s > now_s + NEWEST_S:
        raise InvalidParameterValue(
            f"The parameter {at}.Timestamp must specify a time no more than two hours in the future."
        )
    if at_s < now_s - OLDEST_S:
        raise InvalidParameterValue(
            f"The parameter {at}.Timestamp must specify a time no more than two weeks in the past."
        )
    return at_s


def _summary(given: Mapping[str, Any], at: str) -> Summary:
    value, values, of_set = given.get("Value"), given.get("Values") or None, given.get("StatisticValues")
    if (value is None) + (values is None) + (of_set is None) != 2:
        _refuse_kinds(given, at)
    if values is None and given.get("Counts"):
        raise InvalidParameterValue(f"The parameters {at}.Values and {at}.Counts must be of the same size.")
    if value is not None:
        return Summary.one(_number(value, f"{at}.Value"))
    if values is not None:
        return _of_values(values, given.get("Counts") or None, at)
    assert of_set is not None
    return _of_set(of_set, f"{at}.StatisticValues")


def _refuse_kinds(given: Mapping[str, Any], at: str) -> None:
    named = [name for name in _KINDS if given.get(name) not in (None, [])]
    if not named:
        raise MissingParameter(
            f"One of the parameters {', '.join(f'{at}.{name}' for name in _KINDS)} must be specified."
        )
    raise InvalidParameterCombination(
        f"The parameters {at}.{named[0]} and {at}.{named[1]} are mutually exclusive and you have specified both."
    )


def _of_values(values: Sequence[float], counts: Sequence[float] | None, at: str) -> Summary:
    if len(values) > MOST_VALUES:
        raise InvalidParameterValue(f"The collection {at}.Values must not have a size greater than {MOST_VALUES}.")
    if counts is not None and len(counts) != len(values):
        raise InvalidParameterValue(f"The parameters {at}.Values and {at}.Counts must be of the same size.")
    if min(values) < -LARGEST or max(values) > LARGEST:
        for number, value in enumerate(values, 1):
            _number(value, f"{at}.Values.member.{number}")
    if counts is not None:
        for number, count in enumerate(counts, 1):
            _count(count, f"{at}.Counts.member.{number}")
    return Summary.of(values, counts)


def _of_set(given: Mapping[str, float], at: str) -> Summary:
    count = _count(given["SampleCount"], f"{at}.SampleCount")
    total, smallest, largest = (_number(given[name], f"{at}.{name}") for name in ("Sum", "Minimum", "Maximum"))
    if smallest > largest:
        raise InvalidParameterValue(f"The parameter {at}.Maximum must be greater than or equal to {at}.Minimum.")
    return Summary.of_set(count, total, smallest, largest)


def _number(value: float, at: str) -> float:
    if not -LARGEST <= value <= LARGEST:  # NaN is neither
        raise InvalidParameterValue(f"The value {value:g} for parameter {at} is invalid: it must be within 2^360.")
    return value


def _count(value: float, at: str) -> float:
    if not 0 < value <= LARGEST:
        raise InvalidParameterValue(f"The value {value:g} for parameter {at} is invalid: it must be above 0.")
    return value


# Entities

MOST_ENTITIES = 2
_TYPES: Mapping[str, tuple[str, ...]] = {
    "Service": ("Name", "Environment"),
    "RemoteService": ("Name",),
    "AWS::Service": ("Name",),
    "AWS::Resource": ("ResourceType", "Identifier"),
    "Resource": ("ResourceType", "Identifier"),
}
"""Type of an entity -> the key attributes that it needs."""
_KEYS = {"Type", "ResourceType", "Identifier", "Name", "Environment"}


def entity_problem(request: Mapping[str, Any]) -> str:
    """What is wrong with the entities, by AWS's names of that: InvalidEntity, InvalidKeyAttributes, ...; "" if nothing.

    Source: StrictEntityValidation in the model, and "How to add related information to telemetry".
    """
    groups = request.get("EntityMetricData") or ()
    if len(groups) > MOST_ENTITIES:
        return "EntitySizeTooLarge"
    return next(filter(None, (_entity_problem(each.get("Entity")) for each in groups)), "")


def _entity_problem(entity: Mapping[str, Any] | None) -> str:
    if not entity:
        return "InvalidEntity"
    keys, attributes = entity.get("KeyAttributes") or {}, entity.get("Attributes") or {}
    if not 2 <= len(keys) <= 4 or not keys.keys() <= _KEYS or not all(_lengths(keys, 32)):
        return "InvalidKeyAttributes"
    if keys.get("Type") not in _TYPES:
        return "InvalidTypeValue" if "Type" in keys else "MissingRequiredFields"
    if not all(name in keys for name in _TYPES[keys["Type"]]):
        return "MissingRequiredFields"
    return "InvalidAttributes" if len(attributes) > 10 or not all(_lengths(attributes, 256)) else ""


def _lengths(pairs: Mapping[str, str], longest_name: int) -> Iterator[bool]:
    return (1 <= len(name) <= longest_name and 1 <= len(value) <= 2048 for name, value in pairs.items())
