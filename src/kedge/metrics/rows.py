"""Rows of the `metrics` array of a widget: ["Namespace", "Name", "Dim", "value", {options}] and expressions. PURE.

"." repeats the cell above, "..." all cells above that the row does not write itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kedge.metrics import documents, statistics
from kedge.metrics.documents import Members, Problem
from kedge.metrics.math import MathRefused, parse

MOST_ROWS = 500
_ID = re.compile(r"[a-z][a-zA-Z0-9_]{0,254}")
_COLOUR = re.compile(r"#[0-9A-Fa-f]{3}([0-9A-Fa-f]{3})?")


@dataclass(frozen=True)
class Row:
    """A metric, or an expression where `expression` is not empty."""

    namespace: str = ""
    name: str = ""
    dimensions: tuple[tuple[str, str], ...] = ()
    expression: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


def statistic_problem(text: str) -> str:
    try:
        statistics.parse(text)
    except ValueError as error:
        return str(error)
    return ""


def colour_problem(text: str) -> str:
    return "" if _COLOUR.fullmatch(text) else "Should be a colour such as #1f77b4"


def period(value: Any, path: str) -> Iterator[Problem]:
    yield from documents.integer(1)(value, path)
    if isinstance(value, int) and value > 0 and value not in (1, 5, 10, 20, 30) and value % 60:
        yield Problem(path, "Should be 1, 5, 10, 20, 30 or a multiple of 60")


def _id_problem(text: str) -> str:
    return "" if _ID.fullmatch(text) else "Should begin with a lower-case letter, with letters, digits and _ behind it"


OPTIONS = Members(
    {
        "accountId": documents.text(),
        "color": documents.text(check=colour_problem),
        "expression": documents.text(),
        "id": documents.text(check=_id_problem),
        "label": documents.text(),
        "period": period,
        "region": documents.text(),
        "stat": documents.text(check=statistic_problem),
        "visible": documents.flag,
        "yAxis": documents.text("left", "right"),
    }
)


def read(rows: Any, path: str = "/metrics") -> tuple[list[Row], list[Problem]]:
    """The rows with all repetitions written out, and what is wrong with those that are left out of it."""
    if not isinstance(rows, list):
        return [], [Problem(path, "Should be array")]
    found: list[Row] = []
    problems = [Problem(path, f"Should NOT have more than {MOST_ROWS} items")] if len(rows) > MOST_ROWS else []
    above: list[str] = []
    for place, row in enumerate(rows):
        here = f"{path}/{place}"
        wrong = list(_problems(row, above, here))
        problems += wrong
        if any(problem.is_error for problem in wrong):
            continue
        options = row[-1] if isinstance(row[-1], dict) else {}
        cells = [cell for cell in row if isinstance(cell, str)]
        if cells:
            above = _expanded(cells, above) or []
            pairs = tuple(sorted(zip(above[2::2], above[3::2], strict=True)))
            found.append(Row(above[0], above[1], pairs, options=options))
        else:
            found.append(Row(expression=options["expression"], options=options))
    problems += _repeated_ids(found, path)
    return found, problems


def _problems(row: Any, above: Sequence[str], path: str) -> Iterator[Problem]:
    if not isinstance(row, list):
        yield Problem(path, "Should be array")
        return
    if not row:
        yield Problem(path, "Should NOT have fewer than 1 items")
        return
    cells, options = (row[:-1], row[-1]) if isinstance(row[-1], dict) else (row, {})
    yield from OPTIONS(options, f"{path}/{len(cells)}")
    for place, cell in enumerate(cells):
        if not isinstance(cell, str):
            yield Problem(f"{path}/{place}", "Should be string")
            return
    if not cells:
        yield from _expression_problems(options, path)
        return
    if "expression" in options:
        yield Problem(path, "Should be a metric or an expression, not both")
    full = _expanded(cells, above)
    if full is None:
        yield Problem(path, '"." and "..." repeat cells of the row above, which does not have them')
    elif len(full) < 2:
        yield Problem(path, "Should NOT have fewer than 2 items: a namespace and the name of a metric")
    elif len(full) % 2:
        yield Problem(path, f'The dimension "{full[-1]}" has no value')


def _expression_problems(options: Mapping[str, Any], path: str) -> Iterator[Problem]:
    expression = options.get("expression")
    if expression is None:
        yield Problem(path, 'Should be a metric, or an expression: [{"expression": ...}]')
    elif isinstance(expression, str) and not expression.lstrip().upper().startswith("SELECT"):
        try:
            parse(expression)
        except MathRefused as refused:
            yield Problem(f"{path}/0/expression", str(refused), is_error=False)


def _expanded(cells: Sequence[str], above: Sequence[str]) -> list[str] | None:
    """None where what is to be repeated is not there."""
    if "..." in cells:
        place = cells.index("...")
        behind = cells[place + 1 :]
        kept = len(above) - len(behind)
        if kept < place or "..." in behind:
            return None
        cells = [*cells[:place], *above[place:kept], *behind]
    if any(cell == "." and place >= len(above) for place, cell in enumerate(cells)):
        return None
    return [above[place] if cell == "." else cell for place, cell in enumerate(cells)]


def _repeated_ids(rows: Sequence[Row], path: str) -> Iterator[Problem]:
    seen: set[str] = set()
    for row in rows:
        name = row.options.get("id")
        if name in seen:
            yield Problem(path, f'The id "{name}" is given to more than one row')
        if name is not None:
            seen.add(name)
