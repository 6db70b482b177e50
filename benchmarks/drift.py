"""How often a drift alert is false in a month, and how often it sees a change of the material size: simulated columns.

    scripts/bench drift [--quick] [--months 100] [--seed 1] [--only null|power] [--rows 1000]

A month of the first table is 720 hourly windows of 50 columns of twelve kinds, none of which drifts; false is one in
which any column ever alerts. A baseline has 20,160 rows with their times, 60 for each hour of two weeks. Columns of the
second table are shifted by the material size from their first window on. What is drawn are the counts of cells, exactly
as rows would give them, so that windows of 100,000 rows take no longer than those of 200.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from kedge.monitoring.drift import baseline as known
from kedge.monitoring.drift import judging
from kedge.monitoring.drift.baseline import Column
from kedge.monitoring.drift.cells import Categorical, Cells, Floats, Numeric
from kedge.monitoring.drift.evidence import MATERIAL, Bools

Random = np.random.Generator
HOUR_S, HOURS, DAYS, A_HOUR = 3600.0, 720, 14, 60
COLUMNS = 50
SIZES = (200, 1_000, 10_000, 100_000)
START_H = 24 * 7 * 2900


@dataclass(frozen=True)
class Source:
    """A column. draw: rows at given hours; cdf: of a value at given hours, of any shapes that go together."""

    name: str
    draw: Callable[[Random, Floats], Floats]
    cdf: Callable[[Floats, Floats], Floats]
    sigma: float
    """What the shift is measured in: the standard deviation; 1.4826 times the median deviation where there is none."""
    runs: float = 0.0
    """Probability that a row repeats the one before it."""
    level: float = 0.0
    """Deviation of an hour's own level, an autoregression with 0.8."""
    alike: float | None = None
    """The part of a window's rows in which its columns are equal."""
    is_text: bool = False


def _zipf(count: int) -> Floats:
    shares = 1 / np.arange(1, count + 1) ** 1.3
    return shares / shares.sum()


def _season(hours: Floats) -> Floats:
    return 0.7 * np.sin(2 * np.pi * hours / 24)


def _office(hours: Floats) -> Floats:
    """A step at nine and at five, on five days of seven."""
    hour, day = np.floor(hours % 24), np.floor(hours / 24) % 7
    return np.where((hour >= 9) & (hour < 17) & (day < 5), 0.8, 0.0)


def _sawtooth(hours: Floats) -> Floats:
    """Up from midnight to midnight: no few sines tell it."""
    return np.floor(hours % 24) / 24 - 0.5


def _mostly_zero(values: Floats) -> Floats:
    return np.where(values < 0, 0.0, 0.95 + 0.05 * -np.expm1(-np.maximum(values, 0.0)))


def _lognormal(values: Floats) -> Floats:
    return special.ndtr(np.log(np.maximum(values, 1e-300)))


def _still(cdf: Callable[[Floats], Floats]) -> Callable[[Floats, Floats], Floats]:
    return lambda hours, values: cdf(values)


SHARES = _zipf(300)
NAMES = np.array([f"v{number}" for number in range(300)], dtype=object)
SOURCES = (
    Source("normal", lambda r, h: r.standard_normal(len(h)), _still(special.ndtr), 1.0, alike=0.5),
    Source("cauchy", lambda r, h: r.standard_cauchy(len(h)), _still(lambda v: 0.5 + np.arctan(v) / np.pi), 1.4826),
    Source("student 2", lambda r, h: r.standard_t(2, len(h)), _still(lambda v: special.stdtr(2, v)), 1.2106),
    Source("lognormal", lambda r, h: np.exp(r.standard_normal(len(h))), _still(_lognormal),
           math.sqrt(math.e * (math.e - 1))),
    Source("counts", lambda r, h: r.poisson(3, len(h)).astype(float),
           _still(lambda v: np.where(v < 0, 0.0, special.pdtr(np.floor(np.maximum(v, 0.0)), 3))), math.sqrt(3)),
    Source("mostly zero", lambda r, h: np.where(r.random(len(h)) < 0.05, r.exponential(1, len(h)), 0.0),
           _still(_mostly_zero), math.sqrt(0.1 - 0.0025)),
    Source("levels", lambda r, h: r.choice(300, len(h), p=SHARES).astype(float), _still(lambda v: v), 1.0,
           is_text=True),
    Source("season", lambda r, h: _season(h) + r.standard_normal(len(h)),
           lambda h, v: special.ndtr(v - _season(h)), math.sqrt(1 + 0.245)),
    Source("office hours", lambda r, h: np.exp(_office(h) + r.standard_normal(len(h))),
           lambda h, v: special.ndtr(np.log(np.maximum(v, 1e-300)) - _office(h)), 2.5),
    Source("sawtooth", lambda r, h: _sawtooth(h) + r.standard_normal(len(h)),
           lambda h, v: special.ndtr(v - _sawtooth(h)), math.sqrt(1 + 0.0832)),
    Source("runs", lambda r, h: r.standard_normal(len(h)), _still(special.ndtr), 1.0, runs=0.7),
    Source("hour's level", lambda r, h: r.standard_normal(len(h)), _still(special.ndtr), 1.0, level=0.3),
)  # fmt: skip

COPIES = {source.name: 5 if place < COLUMNS - 4 * len(SOURCES) else 4 for place, source in enumerate(SOURCES)}
"""50 columns in all."""


def autoregression(random: Random, hours: int, deviation: float) -> Floats:
    steps, found = random.standard_normal(hours), np.zeros(hours)
    found[0] = steps[0]
    for hour in range(1, hours):
        found[hour] = 0.8 * found[hour - 1] + 0.6 * steps[hour]
    return deviation * found


def baseline(random: Random, source: Source) -> Column:
    hours = START_H - 24 * DAYS + np.arange(24 * DAYS * A_HOUR) // A_HOUR
    rows = source.draw(random, hours.astype(float))
    if source.runs:
        place = np.arange(len(rows))
        place[1:][random.random(len(rows) - 1) < source.runs] = 0
        rows = rows[np.maximum.accumulate(place)]
    rows += np.repeat(autoregression(random, 24 * DAYS, source.level), A_HOUR)
    if source.is_text:
        return known.column(NAMES[rows.astype(np.int64)], hours * HOUR_S, "categorical")
    return known.column(rows, hours * HOUR_S)


def shares_of(cells: Cells, source: Source, hours: Floats, levels: Floats, shift: float = 0.0) -> Floats:
    """Of each cell at each hour; the last is of missing values, which there are none."""
    if isinstance(cells, Categorical):
        own = np.array([SHARES[int(level[1:])] for level in cells.levels])
        if shift:
            own = own * (1 - shift)
            own[-1] += shift
        row = np.append(own, [1 - own.sum(), 0.0])
        return np.broadcast_to(row, (len(hours), len(row)))
    assert isinstance(cells, Numeric)
    below = source.cdf(hours[:, None], cells.uppers - shift - levels[:, None])
    below = np.broadcast_to(below, (len(hours), len(cells.uppers)))
    edges = np.column_stack([np.zeros(len(hours)), below, np.ones(len(hours))])
    return np.column_stack([np.diff(edges, axis=1).clip(0), np.zeros(len(hours))])


def counted(random: Random, source: Source, shares: Floats, rows: int) -> Floats:
    shares = shares / shares.sum(axis=1, keepdims=True)
    if not source.runs:
        return random.multinomial(rows, shares).astype(float)
    begun = random.multinomial(random.binomial(rows, 1 - source.runs, len(shares)), shares)
    return begun + np.where(begun > 0, random.negative_binomial(np.maximum(begun, 1), 1 - source.runs), 0.0)


def aws(column: Column, counts: Floats) -> Bools:
    """Whether AWS's rule sees a violation in each window: a robust distance above 0.1, as by default."""
    one, two = column.counts[:-1], counts[:, :-1]
    n, m = two.sum(axis=1), one.sum()
    apart = two / n[:, None] - one / m
    if isinstance(column.cells, Numeric):
        apart = apart.cumsum(axis=1)
    return np.abs(apart).max(axis=1) - 1.8 * np.sqrt((n + m) / (n * m)) > 0.1


def month(random: Random, rows: int) -> tuple[dict[str, int], bool]:
    """Columns of each kind that ever alerted, and whether AWS's rule saw a violation."""
    hours = START_H + np.arange(HOURS)
    wrong, violated = dict.fromkeys([each.name for each in SOURCES], 0), False
    for source in SOURCES:
        shared: Floats | None = None
        column = baseline(random, source)
        for _ in range(COPIES[source.name]):
            if source.alike is None:
                column = baseline(random, source)
            levels = autoregression(random, HOURS, source.level)
            shares = shares_of(column.cells, source, hours.astype(float), levels)
            if source.alike is None:
                counts = counted(random, source, shares, rows)
            else:
                common = round(rows * source.alike)
                shared = counted(random, source, shares, common) if shared is None else shared
                counts = shared + counted(random, source, shares, rows - common)
            fires = judging.alerting(column, counts, COLUMNS, hours * HOUR_S, judging.Settings())
            wrong[source.name] += bool(fires.any())
            violated = violated or bool(aws(column, counts).any())
    return wrong, violated


def false_alerts(random: Random, months: int, sizes: Sequence[int]) -> None:
    print("| rows a window | months | with a false alert | at most (95 %) | columns that alerted | AWS's rule |")
    print("| ---: | ---: | ---: | ---: | --- | ---: |")
    for rows in sizes:
        found = [month(random, rows) for _ in range(months)]
        wrong = sum(any(each.values()) for each, _ in found)
        most = special.betaincinv(wrong + 1, months - wrong, 0.95)
        kinds = {source.name: sum(each[source.name] for each, _ in found) for source in SOURCES}
        named = ", ".join(f"{count} {name}" for name, count in kinds.items() if count) or "none"
        by_aws = sum(violated for _, violated in found)
        print(f"| {rows:,} | {months} | {wrong} | {most:.1%} | {named} | {by_aws} |", flush=True)


def power(random: Random, series: int, sizes: Sequence[int]) -> None:
    print("\n| column | rows a window | first window | within a day | median delay | 95 % | AWS's rule |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for source, rows in ((source, rows) for source in SOURCES for rows in sizes):
        delays, by_aws = [], []
        for _ in range(series):
            column = baseline(random, source)
            hours = START_H + random.integers(0, 24 * 7) + np.arange(24)
            levels = autoregression(random, 24, source.level)
            by = MATERIAL / 2 if source.is_text else MATERIAL * source.sigma
            shares = shares_of(column.cells, source, hours.astype(float), levels, by)
            counts = counted(random, source, shares, rows)
            fires = judging.alerting(column, counts, COLUMNS, hours * HOUR_S, judging.Settings())
            delays.append(float(np.argmax(fires)) if fires.any() else math.inf)
            by_aws.append(bool(aws(column, counts)[0]))
        ordered = np.sort(delays)
        half, most = (ordered[int(part * (series - 1))] for part in (0.5, 0.95))
        print(
            f"| {source.name} | {rows:,} | {np.mean(ordered == 0):.1%} | {np.mean(ordered < 24):.1%} | "
            f"{_hours(half)} | {_hours(most)} | {np.mean(by_aws):.1%} |", flush=True,
        )  # fmt: skip


def _hours(delay: float) -> str:
    return f"{delay:.0f}" if math.isfinite(delay) else "more"


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench drift", description=__doc__.split("\n")[0])
    parser.add_argument("--months", type=int, default=100)
    parser.add_argument("--series", type=int, default=400)
    parser.add_argument("--quick", action="store_true", help="a tenth of it")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rows", type=int, nargs="*", help="a window; else each size of the tables")
    parser.add_argument("--only", choices=("null", "power"))
    options = parser.parse_args()
    fewer = 10 if options.quick else 1
    random, began_s = np.random.default_rng(options.seed), time.monotonic()
    if options.only != "power":
        false_alerts(random, max(1, options.months // fewer), options.rows or SIZES)
    if options.only != "null":
        power(random, max(5, options.series // fewer), options.rows or SIZES[:3])
    print(f"\n{time.monotonic() - began_s:.0f} s")


if __name__ == "__main__":
    main()
