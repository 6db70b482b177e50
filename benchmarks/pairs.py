"""Two Kedges side by side, for differences too small for one run: server CPU per request over many pairs of windows.

    scripts/bench pairs --a WORD ... --b WORD ... [--work gbdt1] [--connections 64] [--pairs 20] [--seconds 2]

What A and B are, in words; none is this checkout as it is, with signatures:

    rev:REV          the sources of that commit
    source:FOLDER    the sources of another checkout
    unsigned         --insecure-no-auth
    alone            a worker without a router
    endpoints:N      a router without control, with N endpoints in its table; the requests go to one of them
    spread:N         the same, and they go to all of them in turn
    KEDGE_NAME=VALUE a setting
    model:NAME=VALUE a variable of the model

Both run all the time and are sent to by turns, A B B A A B ... Prints the median of the pairs' ratios B / A, and an
interval that holds the true median with 95 % confidence or more.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from math import comb
from pathlib import Path

from benchmarks.serving import works
from benchmarks.serving.kedge_rows import Alone, Routed, Whole
from benchmarks.serving.load import Measured, measure
from benchmarks.serving.machine import Tree
from benchmarks.serving.own import Setup
from benchmarks.serving.rows import Running

WARM_S = 2.0
CONFIDENCE = 0.95


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Two of the values, between which the true median lies with CONFIDENCE; the extremes when there are under six.

    The number of values below a median is binomial, whatever the distribution: Conover, Practical Nonparametric
    Statistics, chapter 3.
    """
    ordered, count = sorted(values), len(values)
    cut, outside = 0, 2 / 2**count
    while outside + 2 * comb(count, cut + 1) / 2**count <= 1 - CONFIDENCE:
        cut += 1
        outside += 2 * comb(count, cut) / 2**count
    return ordered[cut], ordered[-1 - cut]


def start(words: Sequence[str], work: str, folder: Path) -> Running:
    """Raises ValueError for a word that is none of the above."""
    setup, kind, endpoints = Setup(), "whole", 1
    for word in words:
        name, _, value = word.partition(":")
        if name == "rev":
            setup = replace(setup, source=str(_sources(value, folder)))
        elif name == "source":
            setup = replace(setup, source=value)
        elif word == "unsigned":
            setup = replace(setup, signed=False)
        elif word == "alone":
            kind = word
        elif name in ("endpoints", "spread"):
            kind, endpoints = name, int(value)
        elif name == "model":
            setup = replace(setup, model_environment={**setup.model_environment, **_assigned(value)})
        elif word.startswith("KEDGE_"):
            setup = replace(setup, settings={**setup.settings, **_assigned(word)})
        else:
            raise ValueError(f"{word} says nothing of a server; see --help.")
    if kind == "alone":
        return Alone((work,), setup)
    if kind == "whole":
        return Whole((work,), folder, setup)
    return Routed((work,), folder, setup, endpoints, kind == "spread")


def _assigned(text: str) -> dict[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"{text} has no value; write {text}=VALUE.")
    return {name: value}


def _sources(revision: str, folder: Path) -> Path:
    root = Path(__file__).parent.parent
    archive = folder / "sources.tar"
    subprocess.run(["git", "archive", "--output", str(archive), revision, "src"], cwd=root, check=True)
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="scripts/bench pairs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--a", nargs="*", default=[], metavar="WORD")
    parser.add_argument("--b", nargs="*", default=[], metavar="WORD")
    parser.add_argument("--work", choices=list(works.ROWS), default="gbdt1")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--seconds", type=int, default=2)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is stopped
    seen: tuple[list[Measured], list[Measured]] = ([], [])
    with ExitStack() as stack:
        sides = []
        for words in (options.a, options.b):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kedge-bench-")))
            try:
                running = start(words, options.work, folder)
            except (ValueError, RuntimeError) as error:
                raise SystemExit(str(error)) from error
            stack.callback(running.stop)
            warm = running.load(options.work, options.connections, 1000.0)(WARM_S)
            sides.append((running, Tree(*running.roots), warm.requests / warm.seconds))
        for pair in range(options.pairs):
            for side in (0, 1) if pair % 2 == 0 else (1, 0):
                running, tree, rate = sides[side]
                load = running.load(options.work, options.connections, rate)
                seen[side].append(measure(tree, load, options.seconds))
            a, b = seen[0][-1], seen[1][-1]
            print(
                f"{pair + 1:3}  A {a.cpu_us:8.1f} us  B {b.cpu_us:8.1f} us  B / A {b.cpu_us / a.cpu_us:.3f}", flush=True
            )
    _say("server CPU per request, us", [[m.cpu_us for m in side] for side in seen])
    _say("requests/s", [[m.sent.requests / m.sent.seconds for m in side] for side in seen])
    _say("p99, ms", [[m.sent.p99_ms for m in side] for side in seen])
    print(f"errors: A {sum(m.sent.errors for m in seen[0])}, B {sum(m.sent.errors for m in seen[1])}")


def _say(what: str, seen: Sequence[Sequence[float]]) -> None:
    a, b = seen
    ratios = [each / base for base, each in zip(a, b, strict=True)]
    low, high = interval(ratios)
    print(
        f"{what}: A {statistics.median(a):.1f}, B {statistics.median(b):.1f}, "
        f"B / A {statistics.median(ratios):.3f} ({low:.3f} to {high:.3f})"
    )


if __name__ == "__main__":
    main()
