"""Metrics Insights, SQL over metrics. PURE.

    SELECT AVG(m) FROM SCHEMA("ns", dim) WHERE dim != 'x' GROUP BY dim ORDER BY MAX() DESC LIMIT 5

SCHEMA asks for metrics with exactly these dimensions, a bare namespace for all of that name. The values of all series
of a group are taken together, so AVG is the average of values and not of averages. Where AWS says nothing: a metric
without a dimension passes `!=` and not `=`; groups are labelled with their values, one space between; groups that
ORDER BY finds equal, and all of them without it, come in the order of their labels.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from kedge.metrics.math.values import MathRefused, Series, finite
from kedge.metrics.series import Metric, Summary
from kedge.metrics.syntax_error import where

if TYPE_CHECKING:
    from lark import Lark, Token

MOST_SERIES = 500
MOST_SCANNED = 10_000
"""Metrics that one query looks at."""
OTHER = "Other"
"""How a dimension is called that a metric of a group does not have."""
_EXPECTED = (
    "expected SELECT function(metric) FROM namespace or SCHEMA(namespace, dimension, ...), then WHERE, GROUP BY, "
    "ORDER BY and LIMIT as wanted; names with other characters in double quotes, values in single ones."
)
_QUERY = re.compile(r"\s*SELECT\b", re.IGNORECASE)


@dataclass(frozen=True)
class Condition:
    dimension: str
    is_equal: bool
    value: str

    def holds(self, dimensions: Mapping[str, str]) -> bool:
        return (dimensions.get(self.dimension) == self.value) is self.is_equal


@dataclass(frozen=True)
class Query:
    function: str
    metric_name: str
    namespace: str
    dimensions: frozenset[str] | None = None
    """None: whichever a metric has."""
    conditions: tuple[Condition, ...] = ()
    groups: tuple[str, ...] = ()
    order_by: str = ""
    is_descending: bool = False
    limit: int = MOST_SERIES

    def matches(self, metric: Metric) -> bool:
        if (metric.namespace, metric.name) != (self.namespace, self.metric_name):
            return False
        dimensions = dict(metric.dimensions)
        if self.dimensions is not None and dimensions.keys() != self.dimensions:
            return False
        return all(condition.holds(dimensions) for condition in self.conditions)


def is_query(expression: str) -> bool:
    return _QUERY.match(expression) is not None


@lru_cache(512)
def parse(text: str) -> Query:
    """Raises MathRefused."""
    from lark import UnexpectedInput
    from lark.exceptions import VisitError

    try:
        found: Query = _parser().parse(text)  # type: ignore[assignment]  # it is built by Builder
    except UnexpectedInput as error:
        raise MathRefused(f"Syntax error in the query {where(text, error)}: {_EXPECTED}") from None
    except VisitError as error:
        raise error.orig_exc from None
    return found


def evaluate(query: Query, found: Iterable[tuple[Metric, Mapping[int, Summary]]], period_s: int) -> list[Series]:
    """One series for each group. found: metrics that match, with what is known of each period, by its start."""
    groups: dict[tuple[str, ...], dict[int, Summary]] = {}
    for metric, periods in found:
        dimensions = dict(metric.dimensions)
        group = groups.setdefault(tuple(dimensions.get(name, OTHER) for name in query.groups), {})
        for at, summary in periods.items():
            if at in group:
                group[at].merge(summary)
            else:
                group[at] = Summary(summary.count, summary.total, summary.smallest, summary.largest)
    value = _OF_SUMMARY[query.function]
    made = [
        Series(" ".join(label), period_s, finite((at, value(group[at])) for at in sorted(group)), derived=True)
        for label, group in sorted(groups.items())
    ]
    if query.order_by:
        sort_key = _OF_POINTS[query.order_by]
        empty = [series for series in made if not series.points]
        filled = [series for series in made if series.points]
        filled.sort(key=lambda series: sort_key(list(series.points.values())), reverse=query.is_descending)
        made = filled + empty
    return made[: query.limit]


_OF_SUMMARY: dict[str, Callable[[Summary], float]] = {
    "AVG": lambda summary: summary.total / summary.count,
    "COUNT": lambda summary: summary.count,
    "MAX": lambda summary: summary.largest,
    "MIN": lambda summary: summary.smallest,
    "SUM": lambda summary: summary.total,
}
_OF_POINTS: dict[str, Callable[[Sequence[float]], float]] = {
    "AVG": lambda values: math.fsum(values) / len(values),
    "COUNT": len,
    "MAX": max,
    "MIN": min,
    "SUM": math.fsum,
}


@lru_cache(1)
def _parser() -> Lark:
    from lark import Lark, Token, Transformer

    class Builder(Transformer[Token, Query]):
        def start(self, found: list[Any]) -> Query:
            function, metric_name, (namespace, dimensions), conditions, groups, sorting, limit = found
            order_by, is_descending = sorting or ("", False)
            return Query(
                str(function).upper(), metric_name, namespace, dimensions, conditions or (), groups or (),
                order_by, is_descending, limit or MOST_SERIES,
            )  # fmt: skip

        def namespace(self, found: list[str]) -> tuple[str, None]:
            return found[0], None

        def schema(self, found: list[str]) -> tuple[str, frozenset[str] | None]:
            return found[0], frozenset(found[1:])

        def where(self, found: list[Condition]) -> tuple[Condition, ...]:
            return tuple(found)

        def condition(self, found: list[str]) -> Condition:
            name, operator, value = found
            return Condition(name, operator == "=", _unquoted(value))

        def groups(self, found: list[str]) -> tuple[str, ...]:
            return tuple(found)

        def sorting(self, found: list[Token | None]) -> tuple[str, bool]:
            function, direction = found
            return str(function).upper(), direction is not None and direction.upper() == "DESC"

        def limit(self, found: list[Token]) -> int:
            if not 1 <= int(found[0]) <= MOST_SERIES:
                raise MathRefused(f"LIMIT {found[0]} has to be 1 to {MOST_SERIES}.")
            return int(found[0])

        def name(self, found: list[Token]) -> str:
            return _unquoted(found[0]) if found[0].startswith('"') else str(found[0])

    return Lark.open_from_package(
        __package__ or "", "insights.lark", parser="lalr", transformer=Builder(), maybe_placeholders=True
    )


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1])
