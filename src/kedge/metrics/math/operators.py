"""The operators of metric math over numbers, series and arrays. PURE.

Two series meet on the union of their times, and what one of them lacks counts as 0. A number meets a series on that
series' own times. A point whose value cannot be computed (a division by 0, a root of a negative) is dropped.
An array meets a number or a series element by element; two arrays do not meet, as on AWS.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence

from kedge.metrics.math.values import MathRefused, Series, Value, finite, type_of

Binary = Callable[[float, float], float]


def _power(base: float, exponent: float) -> float:
    return math.pow(base, exponent)


ARITHMETIC: dict[str, Binary] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "^": _power,
}
TRUTHS: dict[str, Callable[[float, float], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "AND": lambda left, right: left != 0 and right != 0,
    "OR": lambda left, right: left != 0 or right != 0,
}


def chain(symbols: Sequence[str], operands: Sequence[Value]) -> Value:
    """Operators of one precedence: "^" from the right, all others from the left."""
    if symbols[0] == "^":
        result = operands[-1]
        for symbol, operand in zip(reversed(symbols), reversed(operands[:-1]), strict=True):
            result = combine(symbol, operand, result)
        return result
    result = operands[0]
    for symbol, operand in zip(symbols, operands[1:], strict=True):
        result = combine(symbol, result, operand)
    return result


def combine(symbol: str, left: Value, right: Value) -> Value:
    """Raises MathRefused for two arrays."""
    if isinstance(left, list):
        if isinstance(right, list):
            raise MathRefused(
                f"Unsupported operand type(s) for {symbol}: '[{type_of(left)}, {type_of(right)}]'; make one of the "
                "arrays a time series, for example with SUM or FIRST."
            )
        return [_labelled(_pair(symbol, series, right), series) for series in left]
    if isinstance(right, list):
        return [_labelled(_pair(symbol, left, series), series) for series in right]
    return _pair(symbol, left, right)


def negate(value: Value) -> Value:
    return pointwise(operator.neg, value)


def pointwise(function: Callable[[float], float], value: Value) -> Value:
    """`function` may raise ArithmeticError or ValueError: that point is dropped."""

    def one(operand: float) -> float:
        try:
            return float(function(operand))
        except (ArithmeticError, ValueError):
            return math.nan

    if isinstance(value, list):
        return [_points(one, series) for series in value]
    return _points(one, value) if isinstance(value, Series) else one(value)


def _points(function: Callable[[float], float], series: Series) -> Series:
    return series.with_points(finite((at, function(value)) for at, value in series.points.items()))


def _pair(symbol: str, left: float | Series, right: float | Series) -> float | Series:
    compute = _computing(symbol)
    if isinstance(left, Series) and isinstance(right, Series):
        mine, theirs = left.points, right.points
        both = finite((at, compute(mine.get(at, 0.0), theirs.get(at, 0.0))) for at in sorted(mine.keys() | theirs))
        return Series("", min(left.period_s, right.period_s), both, derived=True)
    if isinstance(left, Series):
        assert not isinstance(right, Series)
        return _points(lambda value: compute(value, right), left)
    if isinstance(right, Series):
        return _points(lambda value: compute(left, value), right)
    return compute(left, right)


def _computing(symbol: str) -> Binary:
    arithmetic = ARITHMETIC.get(symbol)

    def compute(left: float, right: float) -> float:
        try:
            if arithmetic is not None:
                return arithmetic(left, right)
        except (ArithmeticError, ValueError):
            return math.nan
        if math.isnan(left) or math.isnan(right):
            return math.nan
        return float(TRUTHS[symbol](left, right))

    return compute


def _labelled(value: float | Series, element: Series) -> Series:
    """What was computed from an element of an array goes on as that element."""
    assert isinstance(value, Series)
    return element.with_points(value.points)._replace(period_s=value.period_s)
