"""What the rows of a picture are called that have no label. PURE.

A row alone with its metric's name is called by that. Of several that share it each is called by what tells it from the
others, too: values of dimensions, statistic, region, namespace. AWS does not say how it names them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kedge.metrics.rows import Row


def names(rows: Sequence[Row], stat: str) -> list[str]:
    """Of each row; "" of one that has a label, or is an expression. stat: of rows that do not say theirs."""
    shown = [row for row in rows if _is_unnamed(row) and row.options.get("visible", True)]
    return [_name(row, [each for each in shown if each.name == row.name], stat) for row in rows]


def _is_unnamed(row: Row) -> bool:
    return not row.expression and "label" not in row.options


def _name(row: Row, alike: Sequence[Row], stat: str) -> str:
    """alike: all with the same metric name, the row among them."""
    return " ".join([row.name, *_differences(row, alike, stat)]) if _is_unnamed(row) else ""


def _differences(row: Row, alike: Sequence[Row], stat: str) -> Iterator[str]:
    for name, value in row.dimensions:
        if any(dict(each.dimensions).get(name) != value for each in alike):
            yield value
    for option, default in (("stat", stat), ("region", "")):
        own = row.options.get(option, default)
        if any(each.options.get(option, default) != own for each in alike):
            yield own
    if any(each.namespace != row.namespace for each in alike):
        yield row.namespace
