"""The fast path of autoscaling on simulated load: what it does, how soon, and how much too much.

    scripts/bench scaling [--seconds 1200] [--seed 1] [--cooldown 300]

Requests arrive at random (Poisson) and take a random time (exponential, half a second on average); an instance works
at half as many more of them at once than its target value, the others wait. Once a second the number of requests is
told, as routers do, and decided on; new instances serve a second after that. The same code decides as in the server
(autoscaling/windows.py and policy.py).
"""

from __future__ import annotations

import argparse
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from kedge.autoscaling.policy import Limits, Wish, decide
from kedge.autoscaling.windows import KEPT_S, wanted

SERVICE_S = 0.5
STEP_S = 0.05
START_S = 1.0
WARM_S = 300
"""Before the shape begins: its first value, constant."""
MAXIMUM = 200

Shape = Callable[[float], float]
"""Seconds since it began -> requests that are served at once on average, as multiples of the target value."""

SHAPES: dict[str, tuple[Shape, float]] = {
    "constant, 0.8 instances": (lambda _: 0.8, 0),
    "constant, 1 instance": (lambda _: 1.0, 0),
    "constant, 2.7 instances": (lambda _: 2.7, 0),
    "constant, 3 instances": (lambda _: 3.0, 0),
    "constant, 7.5 instances": (lambda _: 7.5, 0),
    "step 0.8 to 1.6": (lambda t: 1.6, 1.6),
    "step 0.8 to 8": (lambda t: 8.0, 8.0),
    "step 4 to 40": (lambda t: 40.0, 40.0),
    "ramp 1 to 10 in 20 s": (lambda t: min(10.0, 1 + 9 * t / 20), 10.0),
    "spike 1 to 10 for 5 s": (lambda t: 10.0 if t < 5 else 1.0, 0),
    "wave 2 to 6, 10 minutes": (lambda t: 4 - 2 * math.cos(t / 600 * 2 * math.pi), 0),
    "bursts of 1 and 3, 20 s": (lambda t: 3.0 if t % 40 < 20 else 1.0, 0),
}
"""Name -> (shape, load that the capacity has to reach; 0 for none)."""
BEFORE = {"step 0.8 to 1.6": 0.8, "step 0.8 to 8": 0.8, "step 4 to 40": 4.0, "spike 1 to 10 for 5 s": 1.0}


@dataclass
class Ran:
    out: int = 0
    into: int = 0
    first_s: float | None = None
    """Until the first new instance served."""
    enough_s: float | None = None
    """Until as many served as the load needs."""
    most: int = 0
    waiting_share: float = 0.0
    """Of the requests' time: spent waiting for a free place."""


def run(
    shape: Shape, before: float, needed: float, target: float, seconds: int, cooldown_s: float, draw: random.Random
) -> Ran:
    """target: of the policy, requests for each instance."""
    ran = Ran()
    current = serving = max(1, math.ceil(before))
    ready_s: float | None = None
    out_s = in_s = -math.inf
    present = 0
    samples: deque[float | None] = deque(maxlen=KEPT_S)
    waited = total = 0.0
    steps = round(1 / STEP_S)
    for tick in range((WARM_S + seconds) * steps):
        now_s = tick * STEP_S - WARM_S
        load = (before if now_s < 0 else shape(now_s)) * target
        served = min(present, serving * math.ceil(1.5 * target))
        present += poisson(draw, load / SERVICE_S * STEP_S) - binomial(draw, served, 1 - math.exp(-STEP_S / SERVICE_S))
        if now_s >= 0:
            waited, total = waited + max(0, present - served), total + present
        if ready_s is not None and now_s >= ready_s:
            serving, ready_s = current, None
            if now_s >= 0:
                ran.most = max(ran.most, serving)
                if ran.first_s is None and serving > math.ceil(before):
                    ran.first_s = now_s
        if needed and now_s >= 0 and ran.enough_s is None and serving >= math.ceil(needed * 0.99):
            ran.enough_s = now_s
        if tick % steps:
            continue
        samples.append(float(present))
        if ready_s is not None:
            continue
        found = wanted(list(samples), current, target, now_s - out_s)
        wish = Wish("p", current if found is None else found.capacity)
        limits = Limits(1, MAXIMUM, out_until_s=out_s + cooldown_s, in_until_s=in_s + cooldown_s)
        decision = decide(current, limits, [wish], now_s)
        if decision.capacity is None:
            continue
        if decision.capacity > current:
            out_s, ready_s = now_s, now_s + START_S
            ran.out += now_s >= 0
        else:
            serving, in_s = decision.capacity, now_s
            ran.into += now_s >= 0
        current = decision.capacity
    ran.waiting_share = waited / total if total else 0.0
    return ran


def poisson(draw: random.Random, mean: float) -> int:
    count, left = 0, draw.expovariate(1.0)
    while left < mean:
        count += 1
        left += draw.expovariate(1.0)
    return count


def binomial(draw: random.Random, n: int, share: float) -> int:
    return sum(draw.random() < share for _ in range(n))


def shown(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench scaling")
    parser.add_argument("--seconds", type=int, default=1200, help="of each shape")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cooldown", type=float, default=300.0, help="ScaleOutCooldown and ScaleInCooldown, seconds")
    parser.add_argument("--targets", type=float, nargs="+", default=[2.0, 5.0, 20.0], help="requests for each instance")
    options = parser.parse_args()
    print("| load, in instances | target | out | in | first new, s | enough, s | most | waiting |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, (shape, needed) in SHAPES.items():
        for target in options.targets:
            draw = random.Random(f"{options.seed} {name} {target}")
            ran = run(shape, BEFORE.get(name, shape(0.0)), needed, target, options.seconds, options.cooldown, draw)
            first, enough = (shown(ran.first_s), shown(ran.enough_s)) if needed else ("", "")
            most = ran.most or math.ceil(BEFORE.get(name, shape(0.0)))
            print(
                f"| {name} | {target:g} | {ran.out} | {ran.into} | {first} | {enough} | {most} | "
                f"{100 * ran.waiting_share:.1f} % |"
            )


if __name__ == "__main__":
    main()
