"""What a data quality job takes, beside duckdb's plain scan: `python -m benchmarks.data_quality [--quick]`.

Makes 1,000,000 rows of 20 columns (12 fractional, every second with 2 % missing; 4 integral; 4 of strings with 3 to
100,000 different ones) as CSV, and the same as captured records. Each job is a process of its own, from its start to
its last file; duckdb too, which counts and takes mean, deviation, least and largest of each number. They take turns.

duckdb is none of Kedge's own needs: without it its row is left out (`pip install duckdb`, or `--duckdb PYTHON` names an
interpreter that has it).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

ROWS, QUICK_ROWS = 1_000_000, 100_000
JOB = "import os, sys; from pathlib import Path; from kedge.monitoring import analyzer; sys.exit(analyzer.main(os.environ, Path(sys.argv[1])))"  # noqa: E501
SCAN = """
import duckdb, sys
file = sys.argv[1]
names = [(name, kind) for name, kind, *_ in duckdb.execute(f"describe select * from read_csv('{file}')").fetchall()]
moments = "count({0}), avg({0}), stddev_pop({0}), min({0}), max({0})"
of = [("count({0})" if kind == "VARCHAR" else moments).format(name) for name, kind in names]
duckdb.execute(f"select {', '.join(of)} from read_csv('{file}')").fetchall()
"""


def table(rows: int) -> pl.DataFrame:
    rng = np.random.default_rng(7)
    columns: dict[str, pl.Series] = {}
    for place in range(12):
        values = pl.Series(rng.normal(place, 1 + place, rows) if place % 3 else rng.lognormal(0, 1, rows))
        columns[f"f{place}"] = values.zip_with(pl.Series(rng.random(rows) > 0.02 * (place % 2)), pl.Series([None]))
    for place, below in enumerate((2, 100, 10_000, 1_000_000)):
        columns[f"i{place}"] = pl.Series(rng.integers(0, below, rows))
    for place, different in enumerate((3, 50, 1_000, 100_000)):
        columns[f"s{place}"] = pl.Series(rng.integers(0, different, rows)).cast(pl.String).str.pad_start(12, "v")
    return pl.DataFrame(columns)


def capture(frame: pl.DataFrame, file: Path, form: str) -> None:
    """One record a row: the first column is the answer."""
    with file.open("w") as out:
        for number, row in enumerate(frame.iter_rows(named=True)):
            first, *names = row
            if form == "CSV":
                answer, given = f"{row[first]}\n", ",".join("" if row[n] is None else str(row[n]) for n in names) + "\n"
            else:
                answer, given = json.dumps({first: row[first]}), json.dumps({name: row[name] for name in names})
            sides = {
                "endpointInput": {
                    "observedContentType": "text/plain",
                    "mode": "INPUT",
                    "data": given,
                    "encoding": form,
                },
                "endpointOutput": {
                    "observedContentType": "text/plain",
                    "mode": "OUTPUT",
                    "data": answer,
                    "encoding": form,
                },
            }
            meta = {"eventId": f"{number:036}", "inferenceTime": "2026-01-01T00:00:00Z"}
            out.write(json.dumps({"captureData": sides, "eventMetadata": meta, "eventVersion": "0"}) + "\n")


class Taken:
    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.cpu_s: list[float] = []
        self.mib = 0.0

    def run(self, command: list[str], environment: dict[str, str]) -> None:
        began = time.perf_counter()
        process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, command
        self.seconds.append(time.perf_counter() - began)
        self.cpu_s.append(used.ru_utime + used.ru_stime)
        self.mib = max(self.mib, used.ru_maxrss / 1024)


def job(file: Path, dataset_format: object, out: Path) -> Callable[[Taken], None]:
    environment = {
        "dataset_source": str(file), "dataset_format": json.dumps(dataset_format), "output_path": str(out / "output"),
    }  # fmt: skip
    return lambda taken: taken.run([sys.executable, "-c", JOB, str(out)], environment)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROWS} rows")
    parser.add_argument("--duckdb", default=sys.executable, metavar="PYTHON")
    options = parser.parse_args()
    count = QUICK_ROWS if options.quick else ROWS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        frame, file = table(count), folder / "rows.csv"
        frame.write_csv(file)
        captured = {"sagemakerCaptureJson": {}}
        works: dict[str, Callable[[Taken], None]] = {}
        if subprocess.run([options.duckdb, "-c", "import duckdb"], capture_output=True, check=False).returncode == 0:
            works["duckdb, plain scan"] = lambda taken: taken.run([options.duckdb, "-c", SCAN, str(file)], {})
        works["job, CSV"] = job(file, {"csv": {"header": True}}, folder)
        for form in ("CSV", "JSON"):
            capture(frame, folder / f"{form}.jsonl", form)
            works[f"job, captured {form}"] = job(folder / f"{form}.jsonl", captured, folder)
        found = {work: Taken() for work in works}
        for _ in range(3):
            for work, run in works.items():
                run(found[work])
        for work, taken in found.items():
            print(
                f"{work}: {statistics.median(taken.seconds):.2f} s (least {min(taken.seconds):.2f}), "
                f"CPU {statistics.median(taken.cpu_s):.2f} s, at most {taken.mib:.0f} MiB"
            )
        scan, ours = found.get("duckdb, plain scan"), found["job, CSV"]
        if scan:
            ratio = statistics.median(b / a for a, b in zip(scan.seconds, ours.seconds, strict=True))
            cpu = statistics.median(b / a for a, b in zip(scan.cpu_s, ours.cpu_s, strict=True))
            print(
                f"CSV job beside the scan: {ratio:.2f} times its time, {cpu:.2f} times its CPU; bar 1.5 times its time"
            )


if __name__ == "__main__":
    main()
