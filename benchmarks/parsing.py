"""What it costs to read the rows of a request: 100 rows of 20 numbers of full length, as CSV and as JSON.

    scripts/bench parsing

Prints the median and the quickest of many readings, taken by turns: on a machine that others use too, the quickest says
what the reading costs.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable

import numpy as np

from kedge.serving.runtimes import payload

ROWS, COLUMNS = 100, 20
ROUNDS = 3000


def forms(table: list[list[float]]) -> dict[str, Callable[[], object]]:
    csv = "\n".join(",".join(map(repr, row)) for row in table).encode()
    rows = json.dumps(table).encode()
    instances = json.dumps({"instances": table}).encode()
    lines = "\n".join(map(json.dumps, table)).encode()
    return {
        "text/csv": lambda: payload.rows(payload.decode(csv, payload.CSV)),
        "application/json": lambda: payload.rows(payload.decode(rows, payload.JSON)),
        'application/json, "instances"': lambda: payload.rows(payload.decode(instances, payload.JSON)),
        "application/jsonlines": lambda: payload.rows(payload.decode(lines, payload.JSON_LINES)),
    }


def main() -> None:
    took: dict[str, list[float]] = {}
    readers = forms(np.random.default_rng(1).normal(size=(ROWS, COLUMNS)).tolist())
    for _ in range(ROUNDS):
        for name, read in readers.items():
            began_ns = time.perf_counter_ns()
            read()
            took.setdefault(name, []).append((time.perf_counter_ns() - began_ns) / 1000)
    for name, each in took.items():
        print(f"{name:32} median {statistics.median(each):7.1f} us   quickest {min(each):7.1f} us   bar <= 100")


if __name__ == "__main__":
    main()
