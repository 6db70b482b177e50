"""Columns that are drawn row by row, as someone else than the authors of the drift statistics would draw them.

Each draws the rows of given hours, in order, so that rows may hang together; shifted by the material size if asked: by
0.25 of the column's standard deviation (1.4826 median deviations where there is none). What counts or chooses moves in
what it is drawn with until its mean, or a level's share, has moved by that; nobody counts 3.4 events.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from kedge.monitoring.drift.cells import Floats

Random = np.random.Generator
Texts = NDArray[np.object_]
Draw = Callable[[Random, Floats, float], Floats]


@dataclass(frozen=True)
class Kind:
    """draw: rows of given hours, of a column that is shifted by so many standard deviations.

    names: of levels, where the rows are their numbers and the column is categorical.
    independent: of the rows, given their hours.
    """

    name: str
    draw: Draw
    names: Texts | None = None
    independent: bool = True


def _shifted(sigma: float, draw: Callable[[Random, int], Floats]) -> Draw:
    return lambda random, hours, by: draw(random, len(hours)) + by * sigma


def _moved(sigma: float, mean: float, draw: Callable[[Random, int, float], NDArray[Any]]) -> Draw:
    """draw: (random, rows, mean)."""
    return lambda random, hours, by: draw(random, len(hours), mean + by * sigma).astype(np.float64)


def _switched(share: float) -> Draw:
    return _moved(math.sqrt(share * (1 - share)), share, lambda r, n, p: r.random(n) < p)


def _seasonal(sigma: float, level: Callable[[Floats], Floats]) -> Draw:
    return lambda random, hours, by: level(hours) + random.standard_normal(len(hours)) + by * sigma


def _mixture(random: Random, count: int, share: float, one: float, other: float, wide: float) -> Floats:
    return np.where(random.random(count) < share, one, other) + wide * random.standard_normal(count)


def _inflated(random: Random, count: int) -> Floats:
    return np.where(random.random(count) < 0.3, 0.0, random.lognormal(0, 1, count))


def _autoregressive(share: float) -> Draw:
    def draw(random: Random, hours: Floats, by: float) -> Floats:
        steps = math.sqrt(1 - share**2) * random.standard_normal(len(hours))
        steps[0] = random.standard_normal()
        return np.asarray(signal.lfilter([1.0], [1.0, -share], steps)) + by

    return draw


def _average(random: Random, hours: Floats, by: float) -> Floats:
    steps = random.standard_normal(len(hours) + 9)
    return np.convolve(steps, np.full(10, 1 / math.sqrt(10)), "valid") + by


def _clustered(random: Random, hours: Floats, by: float) -> Floats:
    """Stochastic volatility: calm and wild times of some 50 rows. Its variance is exp(1/2)."""
    log_variance = _autoregressive(0.98)(random, hours, 0.0)
    return np.exp(log_variance / 2) * random.standard_normal(len(hours)) + by * math.exp(1 / 4)


def _sessions(random: Random, hours: Floats, by: float) -> Floats:
    """Rows of one client stand together, some ten of them, and half of their variance is the client's."""
    client = np.cumsum(random.random(len(hours)) < 0.1)
    own = random.standard_normal(int(client[-1]) + 1)[client]
    return math.sqrt(0.5) * (own + random.standard_normal(len(hours))) + by


def _repeating(share: float) -> Draw:
    def draw(random: Random, hours: Floats, by: float) -> Floats:
        place = np.arange(len(hours))
        place[1:][random.random(len(hours) - 1) < share] = 0
        return random.standard_normal(len(hours))[np.maximum.accumulate(place)] + by

    return draw


def _levels(shares: Floats, takes: int) -> Draw:
    """Shifted: the level `takes` has more of the rows, the others less in proportion."""

    def draw(random: Random, hours: Floats, by: float) -> Floats:
        more = by * math.sqrt(float(shares[takes] * (1 - shares[takes])))
        moved = shares * (1 - more / (1 - shares[takes]))
        moved[takes] = shares[takes] + more
        return np.searchsorted(moved.cumsum() / moved.sum(), random.random(len(hours)), "right").astype(np.float64)

    return draw


def _zipf(count: int) -> Floats:
    shares = 1 / np.arange(1, count + 1, dtype=np.float64) ** 1.1
    return np.asarray(shares / shares.sum(), dtype=np.float64)


def _named(count: int) -> Texts:
    return np.array([f"level {number}" for number in range(count)], dtype=object)


def _day(hours: Floats) -> Floats:
    return np.floor(hours / 24) % 7


def _week(hours: Floats) -> Floats:
    return 0.5 * np.sin(2 * np.pi * hours / 24) + np.where(_day(hours) < 5, 0.2, -0.5)


def _counter(begins: int) -> Callable[[Floats], Floats]:
    """Up through the day, anew at an hour."""
    return lambda hours: np.floor((hours - begins) % 24) / 24 - 0.5


_TIMETABLE = 0.4 * np.random.default_rng(24).standard_normal(24)


def _timetable(hours: Floats) -> Floats:
    return _TIMETABLE[np.floor(hours % 24).astype(np.int64)]


def _noon(hours: Floats) -> Floats:
    return np.exp(-np.square(hours % 24 - 12) / 8)


def _daylight(hours: Floats) -> Floats:
    return np.maximum(np.sin(2 * np.pi * (hours - 6) / 24), 0.0)


def _spent(hours: Floats) -> Floats:
    """Full at seven in the morning."""
    return np.exp(-((hours - 7) % 24) / 6)


def _calm_nights(random: Random, hours: Floats, by: float) -> Floats:
    return (1 + 0.5 * np.sin(2 * np.pi * hours / 24)) * random.standard_normal(len(hours)) + by * math.sqrt(1.125)


def _busy_days(random: Random, hours: Floats, by: float) -> Floats:
    rate = 3 + 2 * np.sin(2 * np.pi * hours / 24) + by * math.sqrt(5.0)
    return random.poisson(rate).astype(np.float64)


def _gaps(random: Random, hours: Floats, by: float) -> Floats:
    rows = random.standard_normal(len(hours)) + by
    rows[random.random(len(hours)) < 0.1] = np.nan
    return rows


KINDS = (
    Kind("normal", _shifted(1, lambda r, n: r.standard_normal(n))),
    Kind("cauchy", _shifted(1.4826, lambda r, n: r.standard_cauchy(n))),
    Kind("student 2", _shifted(1.2106, lambda r, n: r.standard_t(2, n))),
    Kind("student 3", _shifted(math.sqrt(3), lambda r, n: r.standard_t(3, n))),
    Kind("laplace", _shifted(math.sqrt(2), lambda r, n: r.laplace(size=n))),
    Kind("logistic", _shifted(math.pi / math.sqrt(3), lambda r, n: r.logistic(size=n))),
    Kind("uniform", _shifted(math.sqrt(1 / 12), lambda r, n: r.random(n))),
    Kind("beta, U-shaped", _shifted(math.sqrt(1 / 8), lambda r, n: r.beta(0.5, 0.5, n))),
    Kind("beta 2, 5", _shifted(0.1597, lambda r, n: r.beta(2, 5, n))),
    Kind("gamma 2", _shifted(math.sqrt(2), lambda r, n: r.gamma(2, size=n))),
    Kind("gamma 0.5", _shifted(math.sqrt(0.5), lambda r, n: r.gamma(0.5, size=n))),
    Kind("exponential", _shifted(1, lambda r, n: r.exponential(size=n))),
    Kind("exponential, rate", _moved(1, 1, lambda r, n, mean: r.exponential(mean, n))),
    Kind("weibull 0.7", _shifted(1.8535, lambda r, n: r.weibull(0.7, n))),
    Kind("pareto 1.5", _shifted(0.5765, lambda r, n: r.pareto(1.5, n))),
    Kind("two normals", _shifted(math.sqrt(5), lambda r, n: _mixture(r, n, 0.5, -2, 2, 1))),
    Kind("one in ten apart", _shifted(math.sqrt(3.25), lambda r, n: _mixture(r, n, 0.9, 0, 5, 1))),
    Kind("outliers", _shifted(math.sqrt(5.95), lambda r, n: (
        r.standard_normal(n) * np.where(r.random(n) < 0.05, 10, 1)))),
    Kind("zero or lognormal", _shifted(1.9624, _inflated)),
    Kind("zero or lognormal, share", _moved(0.4583, 0.3, lambda r, n, p: np.where(
        r.random(n) < p, 0.0, r.lognormal(0, 1, n)))),
    Kind("tens", lambda r, h, by: 10 * np.rint((100 + 25 * (r.standard_normal(len(h)) + by)) / 10)),
    Kind("poisson 0.3", _moved(math.sqrt(0.3), 0.3, lambda r, n, mean: r.poisson(mean, n))),
    Kind("poisson 3", _moved(math.sqrt(3), 3, lambda r, n, mean: r.poisson(mean, n))),
    Kind("poisson 50", _moved(math.sqrt(50), 50, lambda r, n, mean: r.poisson(mean, n))),
    Kind("negative binomial", _moved(math.sqrt(17.5), 5, lambda r, n, mean: r.poisson(r.gamma(2, mean / 2, n)))),
    Kind("binomial of 4", _moved(1, 2, lambda r, n, mean: r.binomial(4, mean / 4, n))),
    Kind("1 in 2", _switched(0.5)),
    Kind("1 in 20", _switched(0.05)),
    Kind("1 in 100", _switched(0.01)),
    Kind("zipf of 5", _levels(_zipf(5), 1), _named(5)),
    Kind("zipf of 50", _levels(_zipf(50), 1), _named(50)),
    Kind("zipf of 5000", _levels(_zipf(5000), 1), _named(5000)),
    Kind("missing 1 in 10", _gaps),
    Kind("sine and week", _seasonal(math.sqrt(1.226), _week)),
    Kind("counter", _seasonal(math.sqrt(1 + 1 / 12), _counter(0))),
    Kind("counter from 6", _seasonal(math.sqrt(1 + 1 / 12), _counter(6))),
    Kind("peak at noon", _seasonal(math.sqrt(1.1041), _noon)),
    Kind("daylight", _seasonal(math.sqrt(1.1498), _daylight)),
    Kind("spent by evening", _seasonal(math.sqrt(1.0759), _spent)),
    Kind("timetable", _seasonal(math.sqrt(1.16), _timetable)),
    Kind("calm nights", _calm_nights),
    Kind("busy days", _busy_days),
    Kind("autoregression 0.3", _autoregressive(0.3), independent=False),
    Kind("autoregression 0.6", _autoregressive(0.6), independent=False),
    Kind("autoregression 0.9", _autoregressive(0.9), independent=False),
    Kind("average of 10", _average, independent=False),
    Kind("volatility", _clustered, independent=False),
    Kind("sessions", _sessions, independent=False),
    Kind("repeats 0.3", _repeating(0.3), independent=False),
    Kind("repeats 0.7", _repeating(0.7), independent=False),
)  # fmt: skip
