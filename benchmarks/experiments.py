"""How often `kedge experiment` is wrong, and how soon it is right: simulated traffic, looked at every minute.

    scripts/bench experiments [--experiments 1000] [--seed 1] [--only errors|latency|minutes]

A line of the first table is so many experiments of equal variants; wrong is one that ever calls a winner at any of its
looks. Beside it is what the usual 95 % interval, made for a single look, calls when it is looked at as often. The lines
of the second table have variants that differ; requests are those of both until the right winner is called, and one look
is the number at which a test of fixed size, with a power of 80 %, would look its only time.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kedge.experiments import means, quantiles, shares
from kedge.experiments.shares import Share

Floats = NDArray[np.float64]
ALPHA = 0.05
LIMIT = -math.log(ALPHA)
KINDS = ("errors", "latency", "minutes")
DAY, SHIFT = 1440, 480
"""Looks, a minute apart."""
A_MINUTE = 300
"""Requests of both variants."""
_Z = NormalDist().inv_cdf(1 - ALPHA / 2)
_POWER_Z = NormalDist().inv_cdf(0.8)
_BLOCK = 120
_BIN = 0.01
"""Width of a bin of latencies: 1 %, as in the metric store's sketches."""

_EVERY = 16
"""Latencies that differ are looked at every so many minutes: the boxes of a look take a while."""

Called = tuple[Floats, Floats]
"""Of each experiment: the look at which a winner was called, from 1, or inf; and its sign, +1 where the other variant's
outcome was said to be larger."""


def parts(split: float) -> tuple[int, int]:
    """Requests of the control and of the other in a minute."""
    return round(A_MINUTE * split), A_MINUTE - round(A_MINUTE * split)


def simulate_shares(
    random: np.random.Generator, experiments: int, looks: int, rates: tuple[Floats, Floats], split: float, alpha: float
) -> tuple[Called, Floats]:
    """rates: of the control and of the other, for each look. Also whether the usual interval ever called one."""
    n = [each * np.arange(1.0, looks + 1) for each in parts(split)]
    k = [
        random.binomial(each, rate, (experiments, looks)).cumsum(axis=1).astype(float)
        for each, rate in zip(parts(split), rates, strict=True)
    ]
    called, sign = np.full(experiments, np.inf), np.zeros(experiments)
    shares_ = [total / count for total, count in zip(k, n, strict=True)]
    pooled = (k[0] + k[1]) / (n[0] + n[1])
    # No mixture of bets can have grown to more than the best one in hindsight: most looks need no more than that.
    most = n[0] * _divergence(shares_[0], pooled) + n[1] * _divergence(shares_[1], pooled)
    limit = -math.log(alpha)
    for begin in range(0, looks, _BLOCK):
        rows, columns = np.nonzero((most[:, begin : begin + _BLOCK] >= limit) & np.isinf(called)[:, None])
        columns += begin
        if not len(rows):
            continue
        control, other = (
            (count[columns][:, None], total[rows, columns][:, None]) for count, total in zip(n, k, strict=True)
        )
        level = pooled[rows, columns][:, None]
        grown = shares.evidence(control, other, split, level, level)
        for row, look in zip(rows[grown >= limit], columns[grown >= limit], strict=True):
            one, two = (Share(float(count[look]), float(total[row, look])) for count, total in zip(n, k, strict=True))
            if np.isinf(called[row]) and shares.least_evidence(one, two, split, 0.0) >= limit:
                called[row], sign[row] = look + 1, math.copysign(1, two.estimate - one.estimate)
    variance = sum(share * (1 - share) / count for share, count in zip(shares_, n, strict=True))
    usual = np.abs(shares_[1] - shares_[0]) > NormalDist().inv_cdf(1 - alpha / 2) * np.sqrt(variance)
    enough = (k[0] >= 5) & (k[1] >= 5)  # what users of the usual interval are told
    return (called, sign), (usual & enough).any(axis=1)


def _divergence(share: Floats, of: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = [np.where(x > 0, x * np.log(x / y), 0.0) for x, y in ((share, of), (1 - share, 1 - of))]
    return terms[0] + terms[1]


Draw = Callable[[np.random.Generator, tuple[int, ...]], Floats]


class Seen:
    """One experiment: at each look, how many values of either variant are in each bin or below it."""

    def __init__(self, random: np.random.Generator, looks: int, draws: tuple[Draw, Draw], split: float) -> None:
        self.counts = [n * np.arange(1, looks + 1) for n in parts(split)]
        drawn = [
            np.floor(np.log(draw(random, (looks, n))) / _BIN).astype(int)
            for n, draw in zip(parts(split), draws, strict=True)
        ]
        self.least = min(int(each.min()) for each in drawn)
        count = max(int(each.max()) for each in drawn) - self.least + 1
        self.below = []
        for each in drawn:
            places = (each - self.least + count * np.arange(looks)[:, None]).ravel()
            binned = np.bincount(places, minlength=count * looks).reshape(looks, count)
            self.below.append(binned.cumsum(axis=0).cumsum(axis=1))

    def value(self, which: int, look: int, rank: int) -> float:
        """The middle of the bin in which the value of this rank is."""
        if not 1 <= rank <= self.counts[which][look]:
            return 0.0 if rank < 1 else math.inf
        return math.exp((int(np.searchsorted(self.below[which][look], rank)) + self.least + 0.5) * _BIN)


def wrong_quantiles(
    random: np.random.Generator, experiments: int, looks: int, split: float, share: float
) -> NDArray[np.bool_]:
    """Whether the true quantiles are ever refuted, without which no winner is false; the same for any distribution."""
    n = [each * np.arange(1.0, looks + 1) for each in parts(split)]
    k = [random.binomial(each, share, (experiments, looks)).cumsum(axis=1).astype(float) for each in parts(split)]
    true = np.full(looks, share)
    most = n[0] * _divergence(k[0] / n[0], true) + n[1] * _divergence(k[1] / n[1], true)
    rows, columns = np.nonzero(most >= LIMIT)
    control, other = ((each[columns][:, None], total[rows, columns][:, None]) for each, total in zip(n, k, strict=True))
    wrong = np.zeros(experiments, bool)
    wrong[rows[shares.evidence(control, other, split, share, share) >= LIMIT]] = True
    return wrong


def simulate_quantiles(
    random: np.random.Generator, experiments: int, looks: int, draws: tuple[Draw, Draw], split: float, share: float
) -> Called:
    """By the interval as the command makes it, at each _EVERY-th look."""
    called, sign = np.full(experiments, np.inf), np.zeros(experiments)
    of_control, of_other = parts(split)
    all_boxes = {
        look: quantiles.boxes(of_control * (look + 1), of_other * (look + 1), share, split, ALPHA)
        for look in range(_EVERY - 1, looks, _EVERY)
    }
    for number in range(experiments):
        seen = Seen(random, looks, draws, split)
        for look, found in all_boxes.items():
            one, two = (
                {rank: seen.value(which, look, rank) for box in found for rank in box[2 * which : 2 * which + 2]}
                for which in (0, 1)
            )
            wider = 1 + _BIN
            low = quantiles.difference(0.0, found, {r: v * wider for r, v in one.items()}, two).low
            high = quantiles.difference(0.0, found, one, {r: v * wider for r, v in two.items()}).high
            if low > 0 or high < 0:
                called[number], sign[number] = look + 1, math.copysign(1, low)
                break
    return called, sign


Minutes = Callable[[np.random.Generator, int], Sequence[Floats]]
"""(random, how many) to counts and totals of the control, then of the other."""


def simulate_means(
    random: np.random.Generator, experiments: int, looks: int, minutes: Minutes
) -> tuple[Called, Floats]:
    called, sign, usual = np.full(experiments, np.inf), np.zeros(experiments), np.zeros(experiments, bool)
    for number in range(experiments):
        series = minutes(random, looks)
        for look in range(means.LEAST_PERIODS, looks + 1):
            one, one_total, two, two_total = (each[:look] for each in series)
            found = means.difference(one, one_total, two, two_total, ALPHA)
            away = (found.high - found.estimate) / means.width(look, ALPHA) * _Z
            usual[number] |= abs(found.estimate) > away
            if found.low > 0 or found.high < 0:
                called[number], sign[number] = look, math.copysign(1, found.estimate)
                break
    return (called, sign), usual


def lognormal(sigma: float, factor: float = 1.0) -> Draw:
    return lambda random, shape: factor * np.exp(sigma * random.standard_normal(shape))


def pareto(power: float, factor: float = 1.0) -> Draw:
    return lambda random, shape: factor * (1 + random.pareto(power, shape))


def values(draws: tuple[Draw, Draw], split: float, shared: float = 0.0) -> Minutes:
    """Independent values; `shared` is how much a minute's own level moves both variants, as a standard deviation."""

    def made(random: np.random.Generator, minutes: int) -> Sequence[Floats]:
        level = np.exp(shared * random.standard_normal(minutes))
        found = []
        for n, draw in zip(parts(split), draws, strict=True):
            found += [np.full(minutes, float(n)), draw(random, (minutes, n)).sum(axis=1) * level]
        return found

    return made


def bursts(rates: tuple[float, float], split: float, length: int) -> Minutes:
    """Errors that come `length` at a time, in one variant at a time, such as by an instance that dies."""

    def made(random: np.random.Generator, minutes: int) -> Sequence[Floats]:
        found = []
        for n, rate in zip(parts(split), rates, strict=True):
            found += [np.full(minutes, float(n)), length * random.poisson(n * rate / length, minutes).astype(float)]
        return found

    return made


def even(rate: float, looks: int) -> Floats:
    return np.full(looks, rate)


def drifting(rate: float, looks: int) -> Floats:
    """Over a day, from a fifth of it to five times as much."""
    return rate * np.exp(math.log(5) * np.sin(2 * math.pi * np.arange(looks) / DAY))


def fixed_size(variances: tuple[float, float], effect: float, split: float) -> float:
    """Requests of both variants at which a two-sided test at 5 % has a power of 80 %."""
    return (variances[0] / split + variances[1] / (1 - split)) * ((_Z + _POWER_Z) / effect) ** 2


def false_winners(random: np.random.Generator, experiments: int, kinds: Sequence[str]) -> None:
    print("| outcome | traffic | equal variants | looks | wrong | usual interval |")
    print("| --- | --- | --- | ---: | ---: | ---: |")

    def line(
        outcome: str, split: float, what: str, looks: int, wrong: NDArray[Any], usual: Floats | None = None
    ) -> None:
        other = "" if usual is None else f"{usual.mean():.1%}"
        named = f"{100 * split:.0f} : {100 - 100 * split:.0f}"
        print(f"| {outcome} | {named} | {what} | {looks} | {wrong.mean():.1%} | {other} |", flush=True)

    for split in (0.5, 0.9, 0.99) if "errors" in kinds else ():
        for rate in (0.001, 0.01, 0.1, 0.5):
            both = even(rate, DAY), even(rate, DAY)
            (called, _), usual = simulate_shares(random, experiments, DAY, both, split, ALPHA)
            line("errors", split, f"{rate:.1%} fail", DAY, np.isfinite(called), usual)
    for split in (0.5, 0.9) if "errors" in kinds else ():
        both = drifting(0.02, DAY), drifting(0.02, DAY)
        (called, _), usual = simulate_shares(random, experiments, DAY, both, split, ALPHA)
        line("errors", split, "0.4% to 10% fail, by the hour", DAY, np.isfinite(called), usual)
    fewer = max(1, experiments // 2)
    for split in (0.5, 0.9) if "latency" in kinds else ():
        for share in (0.5, 0.99):
            wrong = wrong_quantiles(random, experiments, DAY, split, share)
            line(f"latency:p{100 * share:g}", split, "any distribution", DAY, wrong)
    for split, what, minutes in (
        (0.5, "mean of lognormal values", values((lognormal(1.0), lognormal(1.0)), 0.5)),
        (0.9, "the same, and a minute moves both", values((lognormal(1.0), lognormal(1.0)), 0.9, shared=0.5)),
        (0.5, "mean of Pareto values, power 2.5", values((pareto(2.5), pareto(2.5)), 0.5)),
        (0.5, "1% fail, 20 at a time", bursts((0.01, 0.01), 0.5, 20)),
        (0.9, "1% fail, 20 at a time", bursts((0.01, 0.01), 0.9, 20)),
    ) if "minutes" in kinds else ():  # fmt: skip
        (called, _), usual = simulate_means(random, fewer, SHIFT, minutes)
        line("by minute", split, what, SHIFT, np.isfinite(called), usual)


def power(random: np.random.Generator, experiments: int, kinds: Sequence[str]) -> None:
    print("\n| outcome | traffic | control | other | right in the looks | wrong | median requests | 90 % | one look |")
    print("| --- | --- | --- | --- | ---: | ---: | ---: | ---: | ---: |")

    def line(outcome: str, split: float, names: tuple[str, str], looks: int, called: Called, once: float) -> None:
        at, sign = called
        right = np.where(sign > 0, at, np.inf) * A_MINUTE
        half, most = (_count(float(np.sort(right)[int(each * (len(right) - 1))])) for each in (0.5, 0.9))
        named = f"{100 * split:.0f} : {100 - 100 * split:.0f}"
        print(
            f"| {outcome} | {named} | {names[0]} | {names[1]} | {np.isfinite(right).mean():.1%} of {looks} | "
            f"{(sign < 0).mean():.1%} | {half} | {most} | {_count(once)} |", flush=True,
        )  # fmt: skip

    for split, rate, other in (
        (0.5, 0.01, 0.02), (0.5, 0.01, 0.013), (0.5, 0.001, 0.002), (0.5, 0.1, 0.11),
        (0.9, 0.01, 0.02), (0.9, 0.01, 0.05), (0.99, 0.01, 0.1),
    ) if "errors" in kinds else ():  # fmt: skip
        called, _ = simulate_shares(random, experiments, DAY, (even(rate, DAY), even(other, DAY)), split, ALPHA)
        once = fixed_size((rate * (1 - rate), other * (1 - other)), other - rate, split)
        line("errors", split, (f"{rate:.1%}", f"{other:.1%}"), DAY, called, once)
    fewer = max(1, experiments // 5)
    for split, share, factor in (
        (0.5, 0.5, 1.1), (0.5, 0.99, 1.25), (0.9, 0.5, 1.25)
    ) if "latency" in kinds else ():  # fmt: skip
        draws = lognormal(1.0), lognormal(1.0, factor)
        called = simulate_quantiles(random, fewer, SHIFT, draws, split, share)
        normal = NormalDist()
        # The variance of a sample's quantile, on the logarithm's scale, on which the variants differ by log(factor).
        variance = share * (1 - share) / normal.pdf(normal.inv_cdf(share)) ** 2
        once = fixed_size((variance, variance), math.log(factor), split)
        line(f"latency:p{100 * share:g}", split, ("lognormal", f"{factor:g} times it"), SHIFT, called, once)
    for split, factor in ((0.5, 1.1), (0.9, 1.1)) if "minutes" in kinds else ():
        (at, sign), _ = simulate_means(random, fewer, SHIFT, values((lognormal(1.0), lognormal(1.0, factor)), split))
        variance = math.exp(1) * (math.e - 1)
        once = fixed_size((variance, variance * factor**2), math.exp(0.5) * (factor - 1), split)
        line("by minute", split, ("mean of lognormal", f"{factor:g} times it"), SHIFT, (at, sign), once)


def _count(requests: float) -> str:
    return f"{requests:,.0f}" if math.isfinite(requests) else "more"


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench experiments", description=__doc__.split("\n")[0])
    parser.add_argument("--experiments", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=KINDS)
    options = parser.parse_args()
    kinds = [options.only] if options.only else KINDS
    random, began_s = np.random.default_rng(options.seed), time.monotonic()
    print(f"{options.experiments} experiments a line of errors, {A_MINUTE} requests a minute, {1 - ALPHA:.0%} sure\n")
    false_winners(random, options.experiments, kinds)
    power(random, options.experiments, kinds)
    print(f"\n{time.monotonic() - began_s:.0f} s")


if __name__ == "__main__":
    main()
