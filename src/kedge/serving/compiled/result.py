"""What compiling a model came to, as a file: one line of JSON, then the program when there is one. PURE.

The file lies where instances only read. It names what it was made with: another scikit-learn may read the same model
file as another model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from kedge.serving.compiled import program as programs
from kedge.serving.compiled.program import Damaged, Program


@dataclass(frozen=True)
class Timing:
    """Microseconds for one call."""

    one_row: float
    rows_64: float


@dataclass(frozen=True)
class Result:
    reason: str = ""
    """Why there is no program."""
    made_with: Mapping[str, str] | None = None
    """None in one that does not depend on it."""
    engine: str = ""
    rows: int = 0
    """On which the program was held against the model."""
    difference: float = 0.0
    """The largest of two numbers."""
    original: Timing | None = None
    compiled: Timing | None = None
    most_rows: int = 0
    """In a call; with more the model itself is faster. 0: it never was."""
    program: Program | None = None

    @property
    def gain(self) -> str:
        """Why it is not worth it; "" when it is."""
        if self.original is None or self.compiled is None:
            return ""
        if self.compiled.one_row < self.original.one_row and self.compiled.rows_64 < self.original.rows_64:
            return ""
        return (
            f"it is not faster: {self.compiled.one_row:.0f} and {self.compiled.rows_64:.0f} us for 1 and 64 rows, the "
            f"model {self.original.one_row:.0f} and {self.original.rows_64:.0f}"
        )


def dump(result: Result) -> bytes:
    head = asdict(replace(result, program=None))
    del head["program"]
    body = b"" if result.program is None else programs.dump(result.program)
    return json.dumps(head).encode() + b"\n" + body


def load(data: bytes) -> Result:
    """Raises Damaged."""
    head, _, body = data.partition(b"\n")
    try:
        fields = json.loads(head)
        for name in ("original", "compiled"):
            fields[name] = None if fields[name] is None else Timing(**fields[name])
        return Result(**fields, program=programs.load(body) if body else None)
    except (ValueError, TypeError, KeyError) as error:
        raise Damaged(f"it cannot be read: {error}") from error
