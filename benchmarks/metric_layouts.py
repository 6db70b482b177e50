"""How the points of many series should lie in an SQLite table: what each order of the key costs.

    scripts/bench metric_layouts [--series 1000] [--minutes 1440]

Each minute every series gets a point, in any order, 200 in a transaction, as many clients would put them. Printed for
each key: microseconds of CPU for a row, the file's size for each series and day, and how long one series takes to read.
docs/metrics.md says what followed from it.
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

START = 29_500_020 // 15 * 15
"""A minute since 1970."""
Key = Callable[[int, int], tuple[int, ...]]
"""(series, minute) -> primary key."""

LAYOUTS: dict[str, tuple[str, Key]] = {
    "series, minute": ("series, minute", lambda series, minute: (series, minute)),
    "minute, series": ("minute, series", lambda series, minute: (minute, series)),
    "chunk of 5, series, slot": ("chunk, series, slot", lambda series, minute: (minute // 5, series, minute % 5)),
    "chunk of 15, series, slot": ("chunk, series, slot", lambda series, minute: (minute // 15, series, minute % 15)),
}


def fill(db: sqlite3.Connection, columns: str, key: Key, series: int, minutes: int) -> float:
    """Microseconds of CPU for a row."""
    count = columns.count(",") + 1
    insert = (
        f"INSERT INTO point VALUES ({'?, ' * count}?) ON CONFLICT ({columns}) DO UPDATE SET data = data + excluded.data"
    )
    draw, cpu_s = random.Random(1), time.process_time()
    order = list(range(series))
    for minute in range(START, START + minutes):
        draw.shuffle(order)
        for some in range(0, series, 200):
            db.execute("BEGIN")
            db.executemany(insert, [(*key(each, minute), draw.random()) for each in order[some : some + 200]])
            db.execute("COMMIT")
    return 1e6 * (time.process_time() - cpu_s) / series / minutes


def read(db: sqlite3.Connection, name: str, series: int, begin: int, end: int) -> int:
    """Rows of one series."""
    if name == "series, minute":
        query = "SELECT minute, data FROM point WHERE series = ? AND minute >= ? AND minute < ?"
        return len(db.execute(query, (series, begin, end)).fetchall())
    first, size = name.split(",")[0].split(" ")[0], int(name.split(",")[0].rpartition(" ")[2]) if "chunk" in name else 1
    wanted = "WITH RECURSIVE wanted(n) AS (VALUES (?) UNION ALL SELECT n + 1 FROM wanted WHERE n < ?)"
    query = f"{wanted} SELECT {first}, data FROM wanted CROSS JOIN point ON {first} = n AND series = ?"
    return len(db.execute(query, (begin // size, (end - 1) // size, series)).fetchall())


def read_ms(db: sqlite3.Connection, name: str, series: int, minutes: int, wanted: int) -> float:
    rounds, began = min(50, series), time.perf_counter()
    for each in range(rounds):
        found = read(db, name, each * series // rounds, START + minutes - wanted, START + minutes)
        assert found >= wanted, found
    return 1000 * (time.perf_counter() - began) / rounds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=1000)
    parser.add_argument("--minutes", type=int, default=1440)
    options = parser.parse_args()
    for name, (columns, key) in LAYOUTS.items():
        with tempfile.TemporaryDirectory(prefix="kedge-bench-") as folder:
            path = Path(folder) / "points.db"
            db = sqlite3.connect(path, isolation_level=None)
            for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "cache_size = -16000"):
                db.execute(f"PRAGMA {pragma}")
            db.execute(f"CREATE TABLE point ({columns}, data REAL, PRIMARY KEY ({columns})) WITHOUT ROWID")
            row_us = fill(db, columns, key, options.series, options.minutes)
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            size = path.stat().st_size / options.series / options.minutes * 1440 / 1000
            hours3, whole = (
                read_ms(db, name, options.series, options.minutes, wanted)
                for wanted in (min(180, options.minutes), options.minutes)
            )
            db.close()
        print(
            f"{name:26} {row_us:6.1f} us/row {size:6.1f} KB/series-day   3 h {hours3:6.2f} ms   all {whole:6.2f} ms",
            flush=True,
        )


if __name__ == "__main__":
    main()
