"""The default drift alert over many more kinds of columns (`drift_kinds`), drawn row by row: false alerts, and power.

    scripts/bench drift_rows [--quick] [--only null|power|possible] [--kinds gamma cauchy] [--rows 1000] [--error 0.01]

The null is of one column, one of 50 that are watched, over a month of 720 hourly windows. As a column of 50 may have a
false alert in one of 5,000 months, more is learnt from `--error 1`: a hundred times as many, one in 50. Power is of the
first window, and of the first day. `--rows 0`: each window has 200 to 4,000 rows, another number each.

What is possible is the power in the first window of the best of all tests, which knows both distributions (Neyman and
Pearson's likelihood ratio), with all that a column may spend and the independent rows that window and baseline are
worth together; its tail is Lugannani and Rice's. Of columns with a season it is that of one hour, known for certain.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence

import numpy as np
from scipy import optimize, special

from benchmarks.drift_kinds import KINDS, Kind, Random
from kedge.monitoring.drift import baseline as known
from kedge.monitoring.drift import judging
from kedge.monitoring.drift.baseline import HOUR_S, Column
from kedge.monitoring.drift.cells import Floats, blocks
from kedge.monitoring.drift.evidence import MATERIAL, Bools
from kedge.monitoring.drift.spending import Budget

HOURS, BASELINE_H, A_HOUR, COLUMNS = 720, 336, 60, 50
START_H = 24 * 7 * 2900
LEAST, MOST = 200, 4_000
"""Rows of a window, where they vary."""
MANY, LEAST_NEW = 1_000_000, 20.0
"""Rows that say what shares are; rows where only one of window and baseline has any, which no test misses."""


def baseline(random: Random, kind: Kind, an_hour: int = A_HOUR) -> Column:
    hours = START_H - BASELINE_H + np.arange(BASELINE_H * an_hour) // an_hour
    rows = kind.draw(random, hours.astype(np.float64), 0.0)
    if kind.names is not None:
        return known.column(kind.names[rows.astype(np.int64)], hours * HOUR_S, "categorical")
    return known.column(rows, hours * HOUR_S)


def windows(random: Random, kind: Kind, column: Column, first_h: int, sizes: Sequence[int], by: float) -> Floats:
    place = np.repeat(np.arange(len(sizes)), sizes)
    rows = kind.draw(random, (first_h + place).astype(np.float64), by)
    values = rows if kind.names is None else list(kind.names[rows.astype(np.int64)])
    return blocks(column.cells, values, place, len(sizes))


def sizes_of(random: Random, rows: int, count: int) -> list[int]:
    if rows:
        return [rows] * count
    return [int(each) for each in np.exp(random.uniform(np.log(LEAST), np.log(MOST), count))]


def fires(column: Column, counts: Floats, first_h: int, error: float) -> Bools:
    starts_s = HOUR_S * np.arange(first_h, first_h + len(counts), dtype=np.float64)
    return judging.alerting(column, counts, COLUMNS, starts_s, judging.Settings(error=error))


def false_alerts(random: Random, kinds: Sequence[Kind], rows: int, months: int, error: float, an_hour: int) -> None:
    print("| column | rows a window | months | with a false alert | windows with one | most expected |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    total = 0
    for kind in kinds:
        wrong, windows_wrong = 0, 0
        for _ in range(months):
            column = baseline(random, kind, an_hour)
            counts = windows(random, kind, column, START_H, sizes_of(random, rows, HOURS), 0.0)
            found = fires(column, counts, START_H, error)
            wrong, windows_wrong = wrong + bool(found.any()), windows_wrong + int(found.sum())
        total += wrong
        each = f"| {months} | {wrong} | {windows_wrong} | {months * error / COLUMNS:.2g} |"
        print(f"| {kind.name} | {rows or 'varying'} {each}", flush=True)
    of = months * len(kinds)
    print(f"\n{total} of {of} months of a column have one; at most {of * error / COLUMNS:.2g} are to be expected\n")


def power(random: Random, kinds: Sequence[Kind], rows: int, series: int) -> None:
    print("| column | rows a window | first window | within a day |\n| --- | ---: | ---: | ---: |")
    for kind in kinds:
        first, day = 0, 0
        for _ in range(series):
            column = baseline(random, kind)
            start_h = START_H + int(random.integers(0, 24 * 7))
            counts = windows(random, kind, column, start_h, sizes_of(random, rows, 24), MATERIAL)
            found = fires(column, counts, start_h, judging.Settings().error)
            first, day = first + bool(found[0]), day + bool(found.any())
        print(f"| {kind.name} | {rows or 'varying'} | {first / series:.1%} | {day / series:.1%} |", flush=True)


def possible(random: Random, kinds: Sequence[Kind], rows: int) -> None:
    print("| column | rows a window | possible |\n| --- | ---: | ---: |")
    level = Budget().of_window(HOUR_S, COLUMNS)[0] / 2
    for kind in kinds:
        if not kind.independent:
            continue
        column = baseline(random, kind)
        before, after = (windows(random, kind, column, START_H, [MANY], by)[0] / MANY for by in (0.0, MATERIAL))
        held = (before > 0) & (after > 0)
        new, gone = float(after[~held].sum()), float(before[~held].sum())
        total = float(column.counts.sum())
        worth = rows * total / (rows + total)
        plain = worth * max(new, gone) > LEAST_NEW
        seen = 1.0 if plain else _best(before[held], after[held], worth, level)
        print(f"| {kind.name} | {rows} | {seen:.1%} |", flush=True)


def _best(before: Floats, after: Floats, rows: float, level: float) -> float:
    """Power of the likelihood ratio test. before, after: shares of the cells. level: one-sided.

    What has drifted is what has not, tilted by the ratio: its cumulants at t are those of the other at 1 + t.
    """
    ratios = np.log(after / before)

    def sums(tilt: float) -> tuple[float, float, float]:
        weights = before * np.exp(tilt * ratios)
        mean = float(weights @ ratios / weights.sum())
        return math.log(weights.sum()), mean, float(weights @ np.square(ratios - mean) / weights.sum())

    def above(tilt: float, by: float) -> float:
        """Probability of a mean above that at `tilt`, of rows that are tilted by `by`."""
        grown, mean, variance = sums(tilt)
        far = tilt - by
        root = math.copysign(math.sqrt(max(2 * rows * (far * mean - grown + sums(by)[0]), 1e-12)), far)
        density = math.exp(-(root**2) / 2) / math.sqrt(2 * math.pi)
        return float(special.ndtr(-root)) + density * (1 / (far * math.sqrt(rows * variance)) - 1 / root)

    tilt = optimize.brentq(lambda tilt: math.log(max(above(tilt, 0.0), 1e-300) / level), 1e-3, 20.0)
    return min(above(float(tilt), 1.0), 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench drift_rows", description=__doc__.split("\n")[0])
    parser.add_argument("--months", type=int, default=20, help="of a column of each kind")
    parser.add_argument("--series", type=int, default=200)
    parser.add_argument("--quick", action="store_true", help="a tenth of it")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rows", type=int, default=1_000, help="a window; 0: each another number")
    parser.add_argument("--an-hour", type=int, default=A_HOUR, help="rows of an hour of the baseline, for the null")
    parser.add_argument("--error", type=float, default=0.01, help="of a month of 50 columns, for the null")
    parser.add_argument("--kinds", nargs="*", default=[], help="parts of their names")
    parser.add_argument("--only", choices=("null", "power", "possible"))
    options = parser.parse_args()
    fewer = 10 if options.quick else 1
    random, began_s = np.random.default_rng(options.seed), time.monotonic()
    kinds = [kind for kind in KINDS if not options.kinds or any(part in kind.name for part in options.kinds)]
    if options.only in (None, "null"):
        months = max(1, options.months // fewer)
        false_alerts(random, kinds, options.rows, months, options.error, options.an_hour)
    if options.only in (None, "power"):
        power(random, kinds, options.rows, max(5, options.series // fewer))
    if options.only in (None, "possible"):
        possible(random, kinds, options.rows or 1_000)
    print(f"\n{time.monotonic() - began_s:.0f} s")


if __name__ == "__main__":
    main()
