"""Metric math: expressions over series, as CloudWatch computes them. PURE: it knows nothing of the store.

`parse` looks at all that can be seen without data: syntax, names of functions, number of arguments, words. `evaluate`
finds wrong types, which depend on the types of what the ids stand for and never on their points.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter
from typing import NamedTuple

from kedge.metrics.math import operators, syntax
from kedge.metrics.math.functions import ABSENT, FUNCTIONS, Parameter, Reach, fitting
from kedge.metrics.math.syntax import Array, Call, Chain, Name, Negated, Node, Number, Text
from kedge.metrics.math.values import SCALAR, SERIES, MathRefused, Series, Value, Window

__all__ = ["Expression", "MathRefused", "Series", "Value", "Window", "evaluate", "order", "parse", "returned"]


class Expression(NamedTuple):
    text: str
    root: Node
    ids: frozenset[str]
    """What it refers to, beside what METRICS finds."""
    functions: frozenset[str]

    @property
    def is_for_alarms(self) -> bool:
        """SEARCH gives any number of series, and an alarm watches one."""
        return "SEARCH" not in self.functions


@lru_cache(2048)
def parse(text: str) -> Expression:
    """Raises MathRefused. What was parsed once is remembered: alarms come every ten seconds with the same texts."""
    root = syntax.read(text)
    ids, functions = set(), set()
    words: set[int] = set()
    for node, _ in syntax.walk(root):
        match node:
            case Call(function):
                words |= _checked(node)
                functions.add(function)
            case Name(name, at) if at not in words:
                _check_id(name, at)
                ids.add(name)
            case Text(value, at) if at not in words:
                raise MathRefused(f'The text "{value}" at character {at} stands where a number or a series has to be.')
    return Expression(text, root, frozenset(ids), frozenset(functions))


def evaluate(
    expression: Expression,
    known: Mapping[str, Value],
    window: Window,
    search: Callable[[str, str, int | None], list[Series]],
    band: Callable[[Series, float], list[Series]] | None = None,
) -> Value:
    """What the expression is over the window. Raises MathRefused.

    known: every id of the request that was read or evaluated, in the request's order. search: (query, statistic,
    period in seconds or None) to the series of SEARCH. band: (series, standard deviations) to the upper and the lower
    band of ANOMALY_DETECTION_BAND; None where that is refused.
    """
    value = _value(expression.root, Reach(known, window, search, band))
    if isinstance(value, Series):
        return value._replace(derived=True)
    return [series._replace(derived=True) for series in value] if isinstance(value, list) else value


def returned(value: Value) -> list[Series]:
    """The series of an expression whose data are asked for. Raises MathRefused for a number."""
    if isinstance(value, Series):
        return [value]
    if isinstance(value, list):
        return value
    raise MathRefused(
        "The result of the expression is a Scalar; it has to be a TimeSeries or Array[TimeSeries], for example by "
        "TIME_SERIES(...)."
    )


def order(expressions: Mapping[str, Expression], metrics: Collection[str]) -> list[str]:
    """The ids of `expressions`, each behind those that it refers to. metrics: the ids of what is read from the store.

    Raises MathRefused for an id that is none of both, and for expressions that refer to one another in a circle.
    """
    for expression in expressions.values():
        unknown = sorted(expression.ids - expressions.keys() - set(metrics))
        if unknown:
            raise MathRefused(f'"{unknown[0]}" in the expression "{expression.text}" is the id of no query.')
    graph = {name: sorted(expression.ids & expressions.keys()) for name, expression in expressions.items()}
    try:
        return list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        circle = " -> ".join(reversed(error.args[1]))
        raise MathRefused(f"Expressions refer to one another in a circle: {circle}.") from None


def _checked(call: Call) -> set[int]:
    """Raises MathRefused unless the call is one that there is; else the places of its words and texts."""
    name, arguments = call.function, call.arguments
    function = FUNCTIONS.get(name)
    if function is None:
        raise MathRefused(_no_function(name, call.at))
    least = sum(not parameter.optional for parameter in function.parameters)
    most = len(function.parameters)
    if not least <= len(arguments) <= most:
        wanted = str(most) if least == most else f"{least} to {most}"
        raise MathRefused(
            f"{name} at character {call.at} takes {wanted} argument{'' if wanted == '1' else 's'}, not "
            f"{len(arguments)}: {name}({', '.join(map(str, function.parameters))})."
        )
    found = set()
    for number, (parameter, argument) in enumerate(zip(function.parameters, arguments, strict=False), 1):
        if _is_word(parameter, argument):
            found.add(argument.at)
        elif not parameter.takes:
            raise MathRefused(f"Argument {number} of {name} at character {argument.at} has to be {parameter}.")
    return found


def _is_word(parameter: Parameter, argument: Node) -> bool:
    """Whether the argument is itself and no value."""
    if isinstance(argument, Name):
        return argument.name in parameter.words
    return isinstance(argument, Text) and parameter.text


def _no_function(name: str, at: int) -> str:
    if name in ABSENT:
        return f"The function {name} at character {at} is not supported by Kedge."
    if name.upper() in FUNCTIONS:
        return f'"{name}" at character {at} is no function; names of functions are in upper case: {name.upper()}.'
    return f'"{name}" at character {at} is no function of metric math.'


def _check_id(name: str, at: int) -> None:
    if name[0].islower():
        return
    also = "; a function needs brackets" if name in FUNCTIONS else ""
    raise MathRefused(f'"{name}" at character {at} is no id, which begins with a lower-case letter{also}.')


def _value(node: Node, reach: Reach) -> Value:
    match node:
        case Number(value):
            return value
        case Name(name):
            if name not in reach.known:
                raise MathRefused(f'"{name}" at character {node.at} is the id of no query.')
            return reach.known[name]
        case Negated(operand):
            return operators.negate(_value(operand, reach))
        case Chain(operands, symbols):
            return operators.chain(symbols, [_value(operand, reach) for operand in operands])
        case Array(elements):
            return [series for element in elements for series in _elements(element, reach)]
        case Call(function, arguments):
            return _called(function, arguments, reach)
    raise AssertionError(f"{node} is no value; parse lets none through")


def _elements(node: Node, reach: Reach) -> list[Series]:
    value = _value(node, reach)
    if isinstance(value, Series):
        return [value]
    if isinstance(value, list):
        return value
    raise MathRefused(
        f"The element at character {node.at} of an array is {SCALAR}; it has to be {SERIES}, for example by "
        "TIME_SERIES(...)."
    )


def _called(name: str, arguments: tuple[Node, ...], reach: Reach) -> Value:
    function = FUNCTIONS[name]
    given = []
    for number, (parameter, argument) in enumerate(zip(function.parameters, arguments, strict=False), 1):
        if isinstance(argument, Name | Text) and _is_word(parameter, argument):
            given.append(argument.name if isinstance(argument, Name) else argument.value)
        else:
            given.append(fitting(name, number, parameter, _value(argument, reach)))
    return function.apply(reach, *given)
