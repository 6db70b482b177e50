"""What a data quality job takes, beside duckdb's plain scan: `python -m benchmarks.data_quality [--quick]`.

Makes 1,000,000 rows of 20 columns (12 fractional, every second with 2 % missing; 4 integral; 4 of strings with 3 to
100,000 different ones) as CSV, and the same as captured records. One job suggests a baseline of other such rows, one
judges the rows by it: AWS's constraints, drift with its page, and metrics. "AWS alone" leaves out what is ours, drift.
Each job is a process of its own, from its start to its last file; duckdb too, which counts and takes mean, deviation,
least and largest of each number of the same file. They take turns; processor time is that of all their processes.

duckdb is none of Kedge's own needs: without it its row is left out (`pip install duckdb`, or `--duckdb PYTHON` names an
interpreter that has it).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import polars as pl

ROWS, QUICK_ROWS = 1_000_000, 100_000
PLAIN, CAPTURED = "duckdb, plain scan", ("CSV", "JSON")
JOB = "import os, sys; from pathlib import Path; from kedge.monitoring import analyzer; sys.exit(analyzer.main(os.environ, Path(sys.argv[1])))"  # noqa: E501
SCAN = """
import duckdb, sys
file = sys.argv[1]
names = [(name, kind) for name, kind, *_ in duckdb.execute(f"describe select * from read_csv('{file}')").fetchall()]
moments = "count({0}), avg({0}), stddev_pop({0}), min({0}), max({0})"
of = [("count({0})" if kind == "VARCHAR" else moments).format(name) for name, kind in names]
duckdb.execute(f"select {', '.join(of)} from read_csv('{file}')").fetchall()
"""


def table(rows: int, seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
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

    def told(self, scan: Taken | None) -> str:
        text = f"{statistics.median(self.seconds):.2f} s (least {min(self.seconds):.2f}), "
        text += f"CPU {statistics.median(self.cpu_s):.2f} s, at most {self.mib:.0f} MiB"
        if scan is None or scan is self:
            return text
        of_time = statistics.median(b / a for a, b in zip(scan.seconds, self.seconds, strict=True))
        of_cpu = statistics.median(b / a for a, b in zip(scan.cpu_s, self.cpu_s, strict=True))
        return f"{text}; {of_time:.2f} times the scan's time, {of_cpu:.2f} times its CPU"


def job(source: Path, dataset_format: object, folder: Path, **environment: str) -> Callable[[Taken], None]:
    given = {"dataset_source": str(source), "dataset_format": json.dumps(dataset_format)}
    given |= {"output_path": str(folder / "output"), **environment}
    return lambda taken: taken.run([sys.executable, "-c", JOB, str(folder)], given)


def put(folder: Path, rows: int) -> None:
    """In a process of its own: what a parent holds counts as its child's memory, too."""
    table(rows, seed=8).write_csv(folder / "before.csv")
    frame = table(rows, seed=7)
    frame.write_csv(folder / "rows.csv")
    for form in CAPTURED:
        capture(frame, folder / f"{form}.jsonl", form)


def jobs(folder: Path) -> dict[str, Callable[[Taken], None]]:
    """By what they do; the one that judges reads what the first one wrote."""
    csv, form, baseline = folder / "rows.csv", {"csv": {"header": True}}, folder / "baseline"
    job(folder / "before.csv", form, baseline)(Taken())
    given = {
        "baseline_constraints": str(baseline / "output/constraints.json"),
        "baseline_statistics": str(baseline / "output/statistics.json"),
        "publish_cloudwatch_metrics": "Enabled",
        "sagemaker_endpoint_name": "orders",
        "sagemaker_monitoring_schedule_name": "hourly",
        "start_time": "2026-01-01T00:00:00Z",
        "end_time": "2026-01-01T01:00:00Z",
    }
    alone = {"kedge_strict_aws": "Enabled"}
    found = {
        "CSV, suggests a baseline": job(csv, form, folder / "suggested"),
        "CSV, suggests a baseline, AWS alone": job(csv, form, folder / "suggested_alone", **alone),
        "CSV, judges": job(csv, form, folder / "judged", **given),
        "CSV, judges, AWS alone": job(csv, form, folder / "judged_alone", **given, **alone),
    }
    captured = {"sagemakerCaptureJson": {}}
    for kind in CAPTURED:
        found[f"captured {kind}, suggests a baseline"] = job(folder / f"{kind}.jsonl", captured, folder / kind)
        found[f"captured {kind}, judges"] = job(folder / f"{kind}.jsonl", captured, folder / f"{kind}_judged", **given)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROWS} rows")
    parser.add_argument("--duckdb", default=sys.executable, metavar="PYTHON")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", metavar="TEXT", help="jobs with TEXT in their names")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as another:
            another.submit(put, folder, QUICK_ROWS if options.quick else ROWS).result()
        works: dict[str, Callable[[Taken], None]] = {}
        if subprocess.run([options.duckdb, "-c", "import duckdb"], capture_output=True, check=False).returncode == 0:
            works[PLAIN] = lambda taken: taken.run([options.duckdb, "-c", SCAN, str(folder / "rows.csv")], {})
        works |= {name: run for name, run in jobs(folder).items() if options.only in name}
        found = {work: Taken() for work in works}
        for _ in range(options.rounds):
            for work, run in works.items():
                run(found[work])
        for work, taken in found.items():
            print(f"{work}: {taken.told(found.get(PLAIN))}")
    print("The bar of a job that reads CSV: 1.5 times the scan, 400 MB; of one that reads captured records: 15 s.")


if __name__ == "__main__":
    main()
