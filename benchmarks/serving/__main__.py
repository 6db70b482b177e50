"""Kedge beside other model servers on this machine, in one interleaved run.

    scripts/bench serving [--quick] [--all] [--write-docs] [ROW ...]

Prints each measurement, then a table for each work, and how Kedge stands against its bars. All of it lies in the cache
folder too: results.jsonl, table.md, picture.svg. docs/performance.md says what each figure means.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import sys
from pathlib import Path
from typing import Any

from benchmarks.serving import about, bare, docs_page, environments, kedge_rows, peer, picture, report, rounds
from benchmarks.serving.bars import bars
from benchmarks.serving.registry import PEERS, Peer
from benchmarks.serving.report import Results
from benchmarks.serving.rounds import Pace

QUICK = Pace(rounds=1, warm_s=1, seconds=1)
FULL = Pace(rounds=5, warm_s=1, seconds=3)
OURS = (bare.ROW, *kedge_rows.ROWS)


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is stopped
    options = _options()
    if options.list:
        print("\n".join([*(each.name for each in PEERS), *(row.name for row in OURS)]))
        return
    if options.report:
        first, *found = map(json.loads, options.report.read_text().splitlines())
        _publish(first, found, options)
        return
    usual = [each.name for each in PEERS if each.quick or options.all] + [row.name for row in OURS]
    names = options.rows or usual
    if unknown := set(names) - {each.name for each in PEERS} - {row.name for row in OURS}:
        sys.exit(f"There is no row {', '.join(sorted(unknown))}; --list names all.")
    peers = [each for each in PEERS if each.name in names]
    if lacking := about.missing(peers):
        sys.exit(lacking)
    options.cache.mkdir(parents=True, exist_ok=True)
    peers = [each for each in peers if _installed(each, options.cache)]
    rows = [*(peer.row(each, options.cache) for each in peers), *(row for row in OURS if row.name in names)]
    pace = QUICK if options.quick else FULL
    pace = Pace(options.rounds or pace.rounds, pace.warm_s, options.seconds or pace.seconds)
    first = {"machine": about.machine(), "versions": about.versions(peers, options.cache), "pace": str(pace)}
    results = options.cache / "results.jsonl"
    results.write_text(json.dumps(first) + "\n")
    _publish(first, rounds.run(rows, rounds.QUICK if options.quick else rounds.FULL, pace, results), options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench serving", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help="only these; --list names them")
    parser.add_argument("--quick", action="store_true", help="one round of short measurements, fewer connections")
    parser.add_argument("--all", action="store_true", help="also the servers that take long to install")
    parser.add_argument("--rounds", type=int, help=f"[{FULL.rounds}, quick {QUICK.rounds}]")
    parser.add_argument("--seconds", type=int, help=f"of each measurement [{FULL.seconds}, quick {QUICK.seconds}]")
    parser.add_argument("--cache", type=Path, default=Path(".venv-bench"), help="environments, results [%(default)s]")
    parser.add_argument("--write-docs", action="store_true", help="put table and picture into docs/performance.md")
    parser.add_argument("--report", type=Path, metavar="FILE", help="of an earlier results.jsonl; measures nothing")
    parser.add_argument("--list", action="store_true", help="the names of all rows")
    return parser.parse_args()


def _installed(each: Peer, cache: Path) -> bool:
    try:
        environments.make(each, cache)
    except environments.CannotInstall as error:
        print(f"{error} It takes no part.", file=sys.stderr)
        return False
    return True


def _publish(first: dict[str, Any], found: list[dict[str, Any]], options: argparse.Namespace) -> None:
    if not found:
        sys.exit("Nothing was measured.")
    results = Results(found)
    others = statistics.median(each["other_cores"] for each in found)
    seen_on = about.text(first["machine"], first["versions"], first["pace"], others)
    table = f"{seen_on}\n{report.markdown(results)}"
    print(f"\n{table}\nAgainst the bars, as ratios within a round:\n")
    print("\n".join(map(str, bars(results))))
    options.cache.mkdir(parents=True, exist_ok=True)
    (options.cache / "table.md").write_text(table)
    (options.cache / "picture.svg").write_text(picture.svg(results))
    if options.write_docs:
        docs_page.write(table, picture.svg(results))


if __name__ == "__main__":
    main()
