"""What kind of value a text is, and of what type a column of such values is. PURE.

Source: the data types of awslabs/deequ, the engine of SageMaker's own analyzer. Beyond Deequ a number may be written
with an exponent, "nan" is a missing value, and "inf" and "infinity" are numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

FRACTIONAL, INTEGRAL, STRING, UNKNOWN = "Fractional", "Integral", "String", "Unknown"
NUMERIC = (FRACTIONAL, INTEGRAL)

INTEGER_PATTERN = r"^[+-]?\d+$"
BOOLEANS = ("true", "false", "True", "False", "TRUE", "FALSE")


@dataclass
class Kinds:
    """How many values of each kind; what is missing is counted by nobody: it is the rest of the rows."""

    fractional: int = 0
    integral: int = 0
    boolean: int = 0
    text: int = 0

    @property
    def present(self) -> int:
        return self.fractional + self.integral + self.boolean + self.text

    @property
    def numeric(self) -> int:
        return self.fractional + self.integral

    def add(self, other: Kinds) -> None:
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))

    def inferred(self) -> str:
        if not self.present:
            return UNKNOWN
        if self.text or self.boolean:
            return STRING
        return FRACTIONAL if self.fractional else INTEGRAL

    def share_of(self, expected: str) -> float:
        """The share of present values that a column of that type may hold; 1 where nothing is known.

        An integer is a valid value of a fractional column. A column of strings may hold numbers among them, so it is
        judged whole: a column of nothing but numbers is none.
        """
        if not self.present or expected not in (FRACTIONAL, INTEGRAL, STRING):
            return 1.0
        if expected == STRING:
            return 1.0 if self.text or self.boolean else 0.0
        return (self.integral if expected == INTEGRAL else self.numeric) / self.present
