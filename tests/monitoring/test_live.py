"""Captured records as counts by the minute, and `kedge drift` on a running server."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner, Result

from kedge.cli.main import commands
from kedge.monitoring.data_quality import statistics_file
from kedge.monitoring.data_quality.statistics_file import read
from kedge.monitoring.drift import known
from kedge.monitoring.drift.cells import Categorical
from kedge.monitoring.drift.known import Known
from kedge.monitoring.live.minutes import Minutes, counted
from kedge.monitoring.profiles.profiling import profiled
from kedge.monitoring.reading.pieces import Piece, Values
from kedge.testing import Kedge
from tests.monitoring.conftest import captured

PLANS = np.array(["basic", "plus", "pro"])


def statistics(random: np.random.Generator, rows: int = 20_000) -> dict[str, object]:
    """Of an answer, and of what it was given: a number and a text, of which a tenth is missing."""
    plans = np.where(random.random(rows) < 0.1, None, PLANS[random.choice(3, rows, p=[0.6, 0.3, 0.1])])
    columns = {
        "score": Values(pl.Series(random.random(rows))),
        "age": Values(pl.Series(random.normal(40, 10, rows))),
        "plan": Values(pl.Series(plans.tolist(), dtype=pl.String)),
    }
    return statistics_file.statistics(profiled([Piece(rows, columns)]))


def requests(random: np.random.Generator, count: int, minute: str, shift: float = 0.0) -> list[bytes]:
    lines = []
    ages, plans = random.normal(40 + shift, 10, count), random.choice(3, count, p=[0.6, 0.3, 0.1])
    for age, score, plan in zip(ages, random.random(count), plans, strict=True):
        text = PLANS[plan] if random.random() > 0.1 else ""
        lines.append(captured(f"{score:.6f}", f"{age:.6f},{text}", at=f"{minute}:{random.integers(60):02d}Z").encode())
    return lines


@pytest.fixture(scope="module")
def baseline() -> Known:
    document = json.loads(json.dumps(statistics(np.random.default_rng(1))))
    return known.read(document, read(document))


def test_the_columns_of_a_file_are_those_of_its_rows(baseline: Known) -> None:
    columns = baseline.columns
    assert (list(columns), baseline.names) == (["score", "age", "plan"], ("score", "age", "plan"))
    assert {name: column.counts.sum() for name, column in columns.items()} == dict.fromkeys(columns, 20_000)
    assert columns["age"].counts[:-1] / 20_000 == pytest.approx(np.full(64, 1 / 64), abs=0.004)
    plan = columns["plan"]
    assert isinstance(plan.cells, Categorical)
    assert plan.cells.levels == ("basic", "plus", "pro")
    assert plan.counts[-1] == pytest.approx(2_000, abs=150)


def test_a_feature_without_values_keeps_its_place() -> None:
    empty = {"name": "gone", "inferred_type": "Unknown", "string_statistics": {"common": {"num_present": 0}}}
    found = known.read({"features": [empty]}, read({"features": [empty], "dataset": {"item_count": 5}}))
    assert (found.columns, found.names) == ({}, ("gone",))


def test_minutes_add_up_however_the_files_are_cut(baseline: Known) -> None:
    columns = baseline.columns
    random = np.random.default_rng(2)
    lines = requests(random, 150, "2026-01-01T10:00") + requests(random, 250, "2026-01-01T10:01") + [b"{}\n", b"no"]
    whole, both = (Minutes(columns, baseline.names) for _ in range(2))
    whole.add(lines, "whole")
    both.add(lines[::3], "one")
    both.add([line for place, line in enumerate(lines) if place % 3], "other")
    first = int(datetime(2026, 1, 1, 10, tzinfo=UTC).timestamp()) // 60
    counts, merged = whole.windows(first, 2, 1), both.windows(first, 2, 1)
    for name in columns:
        assert (counts[name] == merged[name]).all()
        assert counts[name].sum(axis=1).tolist() == [150, 250]
        assert (whole.windows(first, 1, 2)[name] == counts[name].sum(axis=0)).all()
    assert whole.notes.left_out == 2
    whole.forget(first + 1)
    assert whole.windows(first, 2, 1)["age"].sum(axis=1).tolist() == [0, 250]


def test_values_of_another_kind_are_counted_as_what_they_are(baseline: Known) -> None:
    columns = baseline.columns
    age, plan = columns["age"], columns["plan"]
    assert counted(age, Values(pl.Series(["41.5", "old", None])))[-1] == 2
    assert counted(age, Values(pl.Series([41, 12])))[-1] == 0
    assert counted(plan, Values(pl.Series([1.0, None, 2.5])))[-2:].tolist() == [2, 1]
    assert counted(plan, Values(pl.Series([True])))[-2] == 1


def test_what_moved_is_shown_by_the_minute_with_a_verdict(kedge: Kedge) -> None:
    random = np.random.default_rng(3)
    s3 = kedge.client("s3")
    s3.create_bucket(Bucket="watched")
    s3.put_object(Bucket="watched", Key="statistics.json", Body=json.dumps(statistics(random)))
    now_s = time.time()
    for ago in (4, 3, 2):
        at = datetime.fromtimestamp(now_s - 60 * ago, UTC)
        lines = requests(random, 600, f"{at:%Y-%m-%dT%H:%M}", shift=10.0 if ago < 4 else 0.0)
        key = f"captured/wine/AllTraffic/{at:%Y/%m/%d/%H/%M}-00-000-x.jsonl"
        s3.put_object(Bucket="watched", Key=key, Body=b"\n".join(lines))
    arguments = ["--captured", "s3://watched/captured", "--baseline", "s3://watched/statistics.json", "--last", "5m"]

    def run(*more: str) -> Result:
        return CliRunner().invoke(commands, ["drift", "wine", *more], env={"KEDGE_DATA_DIR": str(kedge.data_dir)})

    done = run(*arguments, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["rows"] == 1_800
    assert found["verdict"]["kind"] == "data drift, quality unknown"
    age = next(each for each in found["columns"] if each["column"] == "age")
    assert age["alerts"]
    assert age["effect"] > 0.5
    assert not any(each["alerts"] for each in found["columns"] if each["column"] != "age")
    shown = run(*arguments)
    assert "1 of 3 moved" in shown.output
    assert 'There is no endpoint "wine"' in run("--captured", "s3://watched/captured").output
    missing = run(*arguments[:2], "--baseline", "s3://watched/none.json")
    assert (missing.exit_code, "There is no baseline" in missing.output) == (1, True)
