"""Kedge beside other model servers, in one interleaved run.

    scripts/bench serving [--quick] [ROW ...]

Prints one line a measurement.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.serving import kedge_rows, peer, rounds
from benchmarks.serving.registry import PEERS
from benchmarks.serving.rounds import Pace


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="scripts/bench serving", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help="only these")
    parser.add_argument("--quick", action="store_true", help="one round of short measurements")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=int, help="of each measurement")
    parser.add_argument("--cache", type=Path, default=Path(".venv-bench"), help="folder for environments and results")
    options = parser.parse_args()
    every = [*(peer.row(each, options.cache) for each in PEERS), *kedge_rows.ROWS]
    usual = {each.name for each in PEERS if each.quick} | {row.name for row in kedge_rows.ROWS}
    rows = [row for row in every if row.name in (options.rows or usual)]
    pace = Pace(options.rounds or (1 if options.quick else 3), 1.0, options.seconds or (1 if options.quick else 3))
    options.cache.mkdir(parents=True, exist_ok=True)
    rounds.run(rows, rounds.QUICK if options.quick else rounds.FULL, pace, options.cache / "results.jsonl")


if __name__ == "__main__":
    main()
