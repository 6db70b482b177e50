"""From captured records to minutes on the disk, and what is told of them; by a clock that is moved by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kedge.minutes import files
from kedge.minutes.frames import Records
from kedge.minutes.gathering import LATE_S, Gathering
from kedge.minutes.judging import Outcome
from kedge.minutes.process import Keeper
from kedge.monitoring.live import sketch
from kedge.serving.meter import VariantPlace
from tests.minutes.conftest import SECRET, WINE, records, statistics

MINUTE = 29_000_000
OVER = float("inf")


def ends_s(minute: int) -> float:
    return (minute + 1) * 60 + LATE_S


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "minutes"


def kept(folder: Path, first: int = MINUTE, last: int = MINUTE + 119) -> list[sketch.Minute]:
    return [sketch.read(data) for _, data in files.read(folder, SECRET, WINE, first, last).sketches]


def test_records_are_of_the_minute_that_they_say(random: np.random.Generator) -> None:
    gathering = Gathering()
    lines = records(random, 30, MINUTE) + records(random, 20, MINUTE + 1)
    assert gathering.add(WINE, lines[:40]) == [MINUTE, MINUTE + 1]
    assert gathering.add(WINE, lines[40:]) == []
    assert list(gathering.due(ends_s(MINUTE) - 0.1)) == []
    ((variant, first),) = gathering.due(ends_s(MINUTE))
    assert (variant, first.minute, first.rows, list(first.columns)) == (WINE, MINUTE, 30, ["_c0", "_c1", "_c2"])
    ((_, second),) = gathering.due(OVER)
    assert second.rows == 20
    assert gathering.add(WINE, lines[:1]) == [MINUTE], "what comes late is another part"


def test_what_cannot_be_read_is_counted_and_the_rest_is_kept(random: np.random.Generator) -> None:
    gathering = Gathering()
    odd = records(random, 1, MINUTE)[0].replace(b"captureData", b"somethingElse")
    gathering.add(WINE, [odd, b"no JSON\n", *records(random, 5, MINUTE)])
    ((_, minute),) = gathering.due(OVER)
    assert (minute.rows, gathering.left_out) == (5, 2)


def test_many_records_are_read_before_their_minute_is_over(
    random: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kedge.minutes.gathering.READ_BYTES", 1000)
    gathering = Gathering()
    for _ in range(20):
        gathering.add(WINE, records(random, 100, MINUTE))
    ((_, minute),) = gathering.due(OVER)
    assert minute.rows == 2000
    assert minute.columns["_c1"].weights.sum() == pytest.approx(2000)
    assert sum(minute.columns["_c2"].levels.values()) == 2000


def test_minutes_are_kept_and_the_end_keeps_what_is_not_over(random: np.random.Generator, folder: Path) -> None:
    keeper = Keeper(folder, SECRET, 10**6)
    keeper.take(Records(WINE, 0, records(random, 30, MINUTE) + records(random, 20, MINUTE + 1)))
    assert keeper.tick(ends_s(MINUTE)) == []
    assert [each.rows for each in kept(folder)] == [30]
    keeper.close()
    assert [each.rows for each in kept(folder)] == [30, 20]
    assert files.read(folder, SECRET, WINE, MINUTE, MINUTE + 9).lost == []


def test_everything_is_dropped_when_it_is_asked_for(random: np.random.Generator, folder: Path) -> None:
    keeper = Keeper(folder, SECRET, 10**6)
    keeper.take(Records(WINE, 0, records(random, 30, MINUTE) + records(random, 20, MINUTE + 1)))
    keeper.tick(ends_s(MINUTE))
    keeper.forget()
    keeper.close()
    assert kept(folder) == []


def test_drift_is_told_by_the_minute_beside_the_baseline(random: np.random.Generator, folder: Path) -> None:
    keeper = Keeper(folder, SECRET, 10**6)

    def told(minute: int, shift: float = 0.0, rows: int = 600) -> dict[str, float]:
        keeper.take(Records(WINE, 0, records(random, rows, minute, shift)))
        found = keeper.tick(ends_s(minute))
        assert all(each.place == VariantPlace(*WINE) for each in found)
        return {f"{each.name} {each.feature}".strip(): each.values.total for each in found}

    assert told(MINUTE) == {}, "no baseline, no judgement"
    name = files.baseline_of(WINE.account, WINE.region, "Wine")
    files.seal_baseline(folder, SECRET, name, statistics(random))
    assert told(MINUTE + 1) == {"DriftingColumns": 0.0, "DriftEffect": 0.0}
    moved = told(MINUTE + 2, shift=10.0)
    assert moved["DriftingColumns"] == 1.0
    assert moved["DriftEffect"] > 0.5
    assert moved == {
        "DriftingColumns": 1.0,
        "DriftEffect": moved["DriftEffect"],
        "DriftEffect age": moved["DriftEffect"],
    }
    keeper.close()
    keeper = Keeper(folder, SECRET, 10**6)
    assert told(MINUTE + 3, shift=10.0, rows=50)["DriftingColumns"] == 1.0, "the minutes before are on the disk"
    files.seal_baseline(folder, SECRET, name, b"{}")
    assert told(MINUTE + 4) == {}
    keeper.close()


def test_the_farthest_columns_have_metrics_of_their_own_where_their_names_can_be_dimensions():
    effects = {"größe": 9.0, " ": 8.5, "x" * 1025: 8.0, "a\tb": 7.5, **{f"column {n}": 5.0 - n / 10 for n in range(20)}}
    outcome = Outcome(effects, is_judged=True)
    assert list(outcome.named) == [f"column {n}" for n in range(10)]
    assert (outcome.farthest, outcome.named["column 9"]) == (9.0, 4.1)
    assert (Outcome({}, is_judged=True).farthest, Outcome({}, is_judged=True).named) == (0.0, {})
