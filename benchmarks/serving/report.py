"""From measurements to what is read: medians over the rounds, ratios within each round. PURE."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.serving.kedge_rows import SIGNED

Found = Mapping[str, Any]
"""One measurement, as rounds.run records it."""
TITLES = {
    "echo": "echo: the JSON body comes back",
    "gbdt1": "gbdt, one row as JSON",
    "gbdt100": "gbdt, 100 rows, CSV where the server takes it",
}


class Results:
    """All measurements of a run."""

    def __init__(self, found: Iterable[Found]) -> None:
        self._cells: dict[tuple[str, str, int], dict[int, Found]] = defaultdict(dict)
        for each in found:
            self._cells[each["row"], each["work"], each["connections"]][each["round"]] = each

    def rows(self, work: str) -> list[str]:
        """Names, the fastest at most connections first."""
        most = max(self.connections(work))
        names = dict.fromkeys(row for row, each, _ in self._cells if each == work)
        return sorted(names, key=lambda row: -(self.median(row, work, most, "rps") or 0))

    def works(self) -> list[str]:
        return [work for work in TITLES if any(each == work for _, each, _ in self._cells)]

    def connections(self, work: str) -> list[int]:
        return sorted({connections for _, each, connections in self._cells if each == work})

    def median(self, row: str, work: str, connections: int, figure: str) -> float | None:
        values = [each[figure] for each in self._cells.get((row, work, connections), {}).values()]
        return statistics.median(values) if values else None

    def errors(self, row: str, work: str) -> int:
        return sum(
            each["errors"]
            for (name, its_work, _), rounds in self._cells.items()
            if (name, its_work) == (row, work)
            for each in rounds.values()
        )

    def ratio(self, row: str, to: str, work: str, connections: int, figure: str = "rps") -> float | None:
        """row / to, the median over rounds in which both were measured; None when there is none."""
        ours, theirs = (self._cells.get((each, work, connections), {}) for each in (row, to))
        ratios = [ours[number][figure] / theirs[number][figure] for number in ours if _is_there(theirs, number, figure)]
        return statistics.median(ratios) if ratios else None


def _is_there(rounds: Mapping[int, Found], number: int, figure: str) -> bool:
    return number in rounds and rounds[number][figure] > 0


def markdown(results: Results) -> str:
    """A table for each work."""
    return "\n".join(_table(results, work) for work in results.works())


def _table(results: Results, work: str) -> str:
    connections = results.connections(work)
    most = connections[-1]
    at = " / ".join(map(str, connections))
    head = ["server", f"requests/s at {at}", f"p50 ms at {at}", f"p99 ms at {at}", f"server CPU, µs, at {most}"]
    head += ["memory, MiB", "errors", f"{SIGNED} is, at {most}"]
    lines = [f"### {TITLES[work]}", "", _line(head), _line(["---"] * len(head))]
    for row in results.rows(work):
        figures = [
            " / ".join(_text(results.median(row, work, each, figure), form) for each in connections)
            for figure, form in (("rps", ",.0f"), ("p50_ms", ".2f"), ("p99_ms", ".2f"))
        ]
        cpu = _text(results.median(row, work, most, "cpu_us"), ",.0f")
        memory = _text(results.median(row, work, most, "pss_mib"), ",.0f")
        ratio = results.ratio(SIGNED, row, work, most)
        times = "" if ratio is None or row == SIGNED else f"{ratio:.2f} times"
        lines.append(_line([row, *figures, cpu, memory, str(results.errors(row, work)), times]))
    return "\n".join(lines) + "\n"


def _text(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
