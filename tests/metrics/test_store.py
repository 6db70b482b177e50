"""The metric store over a real file and a clock that is moved by hand."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kedge.clock import HandClock
from kedge.errors import ServiceUnavailable
from kedge.metrics.series import DAY_S, HOUR_S, Datum, Metric, Summary, metric
from kedge.metrics.store import MetricStore
from kedge.metrics.tables import FORMAT
from kedge.metrics.tiers import TIERS

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
NOW_S = int(NOW.timestamp())
LATENCY = metric("111122223333", "eu-west-1", "Shop", "Latency", [("Service", "pay")])


@pytest.fixture
def clock() -> HandClock:
    return HandClock(NOW)


@pytest.fixture
def store(tmp_path: Path, clock: HandClock) -> Iterator[MetricStore]:
    opened = MetricStore(tmp_path / "metrics.db", clock, durable=False)
    yield opened
    opened.close()


def datum(value: float, at_s: float, *, of: Metric = LATENCY, unit: str = "None", resolution_s: int = 60) -> Datum:
    return Datum(of, unit, at_s, resolution_s, Summary.one(value))


def sums(store: MetricStore, period_s: int, start_s: int, end_s: int, *, of: Metric = LATENCY) -> dict[int, float]:
    """Start of the period, counted from NOW -> Sum."""
    found = store.read(of, "None", period_s, start_s, end_s)
    return {start - NOW_S: known.total for _, periods in found for start, known in sorted(periods.items())}


def house_is_kept(store: MetricStore) -> None:
    for _ in range(1000):
        if not store.keep_house():
            return
    raise AssertionError("it never ends")


def test_values_of_one_period_meet_and_units_do_not(store: MetricStore):
    store.put([datum(1, NOW_S), datum(2.5, NOW_S + 59.9), datum(8, NOW_S + 60), datum(100, NOW_S, unit="Bytes")])
    assert sums(store, 60, NOW_S, NOW_S + 120) == {0: 3.5, 60: 8}
    every = store.read(LATENCY, None, 60, NOW_S, NOW_S + 120)
    assert [(unit, sorted(periods)) for unit, periods in every] == [
        ("Bytes", [NOW_S]), ("None", [NOW_S, NOW_S + 60])
    ]  # fmt: skip
    assert store.read(LATENCY, "Count", 60, NOW_S, NOW_S + 120) == []


def test_the_dimensions_have_to_be_exactly_those(store: MetricStore):
    store.put([datum(1, NOW_S)])
    for dimensions in ([], [("Service", "buy")], [("Service", "pay"), ("Zone", "a")]):
        assert store.read(metric(*LATENCY[:4], dimensions), None, 60, NOW_S, NOW_S + 60) == []


def test_periods_begin_where_the_reader_begins(store: MetricStore):
    store.put([datum(2**minute, NOW_S + 60 * minute) for minute in range(8)])
    assert sums(store, 300, NOW_S, NOW_S + 480) == {0: 31, 300: 224}
    assert sums(store, 300, NOW_S + 120, NOW_S + 480) == {120: 4 + 8 + 16 + 32 + 64, 420: 128}
    assert sums(store, 180, NOW_S - 60, NOW_S + 180) == {-60: 1 + 2, 120: 4}


def test_short_periods_are_of_what_was_put_so(store: MetricStore):
    store.put([datum(1, NOW_S + n, resolution_s=1) for n in range(12)] + [datum(100, NOW_S)])
    assert sums(store, 1, NOW_S + 2, NOW_S + 4) == {2: 1, 3: 1}
    assert sums(store, 10, NOW_S, NOW_S + 60) == {0: 10, 10: 2}
    assert sums(store, 60, NOW_S, NOW_S + 60) == {0: 112}


def everything(store: MetricStore, at_s: list[int], values: list[float]) -> None:
    """Whatever has been rolled up of them, each period says what its values say."""
    begin_s = min(at_s) // HOUR_S * HOUR_S
    for period_s in (60, 120, 300, 900, HOUR_S, 6 * HOUR_S):
        want: dict[int, list[float]] = {}
        for each, value in zip(at_s, values, strict=True):
            want.setdefault(each - (each - begin_s) % period_s, []).append(value)
        ((_, periods),) = store.read(LATENCY, "None", period_s, begin_s, max(at_s) + 1)
        for start, expected in want.items():
            sketch = periods[start].sketch
            assert sketch is not None
            assert (periods[start].count, periods[start].total) == (len(expected), sum(expected))
            assert [n for n, count in sketch.weighted() for _ in range(int(count))] == sorted(expected)
        assert periods.keys() == want.keys()


@pytest.mark.parametrize("seed", range(3))
def test_whenever_it_comes_and_whatever_is_rolled_up_every_period_is_right(
    store: MetricStore, clock: HandClock, seed: int
):
    """Late, early, in any order, at either resolution, between any two steps of rolling up."""
    draw = random.Random(seed)
    at_s: list[int] = []
    values: list[float] = []
    for _ in range(40):
        clock.advance(draw.choice([1, 7, 60, 300, HOUR_S]))
        now_s = int(clock.now().timestamp())
        batch = [now_s - draw.choice([0, 1, 30, 90, 400, HOUR_S, 5 * HOUR_S, 40_000, -30]) for _ in range(20)]
        drawn = [float(draw.randint(0, 150)) for _ in batch]
        store.put([datum(*each, resolution_s=draw.choice([1, 60])) for each in zip(drawn, batch, strict=True)])
        at_s += batch
        values += drawn
        for _ in range(draw.randint(0, 4)):
            store.keep_house()
        if draw.random() < 0.2:
            everything(store, at_s, values)
    everything(store, at_s, values)
    house_is_kept(store)
    everything(store, at_s, values)


def test_rolling_up_takes_many_short_steps_and_loses_nothing_between_them(
    store: MetricStore, clock: HandClock, tmp_path: Path
):
    many = [metric(*LATENCY[:3], f"m{n}") for n in range(700)]
    store.put([datum(n, NOW_S + 60 * minute, of=each) for n, each in enumerate(many) for minute in range(10)])
    clock.advance(HOUR_S + 60)
    steps = 0
    while store.keep_house():
        steps += 1
        for n in (0, 350, 699):
            assert sums(store, 300, NOW_S, NOW_S + 600, of=many[n]) == {0: 5 * n, 300: 5 * n}
        store.put([datum(1, NOW_S, of=many[350])])
        store.put([datum(-1, NOW_S, of=many[350])])
    assert steps > 3
    rows = sqlite3.connect(tmp_path / "metrics.db").execute("SELECT count(*) FROM point_300").fetchone()
    assert rows == (1400,)


def test_what_is_too_old_is_forgotten_tier_by_tier(store: MetricStore, clock: HandClock, tmp_path: Path):
    store.put([datum(1, NOW_S + n, resolution_s=1) for n in range(120)])
    file = sqlite3.connect(tmp_path / "metrics.db")

    def kept() -> list[int]:
        house_is_kept(store)
        return [file.execute(f"SELECT count(*) FROM point_{tier.step_s}").fetchone()[0] for tier in TIERS]

    assert kept() == [120, 0, 0, 0]
    clock.advance(2 * HOUR_S)
    assert kept() == [120, 2, 1, 1]
    assert sums(store, 1, NOW_S, NOW_S + 2) == {0: 1, 1: 1}
    clock.advance(2 * HOUR_S)
    assert kept() == [0, 2, 1, 1]
    assert sums(store, 60, NOW_S, NOW_S + 120) == {0: 60, 60: 60}
    clock.advance(15 * DAY_S)
    assert kept() == [0, 0, 1, 1]
    assert sums(store, 60, NOW_S, NOW_S + 120) == {}
    assert sums(store, 300, NOW_S, NOW_S + 120) == {0: 120}
    clock.advance(63 * DAY_S)
    assert kept() == [0, 0, 0, 1]
    assert sums(store, HOUR_S, NOW_S, NOW_S + 120) == {0: 120}
    assert list(store.metrics(*LATENCY[:2])) == [LATENCY]
    clock.advance(455 * DAY_S)
    assert kept() == [0, 0, 0, 0]
    assert list(store.metrics(*LATENCY[:2])) == []
    later_s = int(clock.now().timestamp())
    store.put([datum(5, later_s)])  # the same one again, under another number
    assert sums(store, 60, later_s, later_s + 60) == {later_s - NOW_S: 5}
    assert list(store.metrics(*LATENCY[:2])) == [LATENCY]


def test_a_clock_that_was_away_for_long_takes_few_steps(store: MetricStore, clock: HandClock):
    store.put([datum(1, NOW_S + n, resolution_s=1) for n in range(10)])
    clock.advance(400 * DAY_S)
    house_is_kept(store)
    assert sums(store, HOUR_S, NOW_S, NOW_S + 60) == {0: 10}


def test_any_range_may_be_asked_for(store: MetricStore):
    store.put([datum(1, NOW_S)])
    assert sums(store, 60, 0, 10**11) == {0: 1}
    assert sums(store, 60, NOW_S + 60, NOW_S) == {}


def test_a_report_counts_once(store: MetricStore):
    assert store.take("boot", 3, [datum(1, NOW_S)])
    assert not store.take("boot", 3, [datum(1, NOW_S)])
    assert not store.take("boot", 2, [datum(1, NOW_S)])
    assert store.take("boot", 9, [datum(1, NOW_S)])
    assert store.take("other", 3, [datum(1, NOW_S)])
    assert sums(store, 60, NOW_S, NOW_S + 60) == {0: 3}


def test_nothing_of_a_put_that_fails_is_kept_and_the_next_ones_are_right(store: MetricStore, tmp_path: Path):
    fresh = [metric(*LATENCY[:3], f"fresh{n}") for n in range(3)]
    with pytest.raises(AttributeError):
        store.put([datum(1, NOW_S, of=fresh[0]), None])  # type: ignore[list-item]
    blocker = sqlite3.connect(tmp_path / "metrics.db", isolation_level=None)
    blocker.execute("DROP TABLE point_60")
    with pytest.raises(ServiceUnavailable, match="point_60"):
        store.put([datum(1, NOW_S, of=fresh[1])])
    with pytest.raises(ServiceUnavailable, match="point_60"):
        store.take("boot", 1, [datum(1, NOW_S, of=fresh[1])])
    blocker.execute(
        "CREATE TABLE point_60 (chunk, series, slot, data REAL, PRIMARY KEY (chunk, series, slot)) WITHOUT ROWID"
    )
    assert list(store.metrics(*LATENCY[:2])) == []
    store.put([datum(n, NOW_S, of=each) for n, each in enumerate(fresh)])
    assert store.take("boot", 1, [datum(5, NOW_S, of=fresh[0])])
    assert [sums(store, 60, NOW_S, NOW_S + 60, of=each) for each in fresh] == [{0: 5}, {0: 1}, {0: 2}]


def test_many_threads_put_at_once(store: MetricStore):
    with ThreadPoolExecutor(8) as threads:
        for done in [threads.submit(store.put, [datum(1, NOW_S), datum(n, NOW_S + 60)]) for n in range(200)]:
            done.result()
    assert sums(store, 60, NOW_S, NOW_S + 120) == {0: 200, 60: sum(range(200))}


async def test_coroutines_put_together_and_one_that_fails_fails_alone(store: MetricStore):
    puts = [store.put_with_others([datum(1, NOW_S), datum(n, NOW_S + 60)]) for n in range(50)]
    bad = store.put_with_others([datum(7, NOW_S), Datum(LATENCY, None, NOW_S, 60, Summary.one(1.0))])  # type: ignore[arg-type]
    left = asyncio.create_task(store.put_with_others([datum(1000, NOW_S)]))
    outcomes = asyncio.gather(*puts[:25], bad, *puts[25:], return_exceptions=True)
    await asyncio.sleep(0)
    left.cancel()
    failed = [each for each in await outcomes if each is not None]
    assert [type(each) for each in failed] == [ServiceUnavailable]
    assert sums(store, 60, NOW_S, NOW_S + 120) == {0: 1050, 60: sum(range(50))}
    await store.put_with_others([datum(1, NOW_S)])
    assert sums(store, 60, NOW_S, NOW_S + 60) == {0: 1051}


def test_which_metrics_there_are(store: MetricStore, clock: HandClock):
    shop = [
        metric("111122223333", "eu-west-1", "Shop", name, dimensions)
        for name in ("a", "b")
        for dimensions in ([], [("S", "x")], [("S", 'x"]'), ("T", "1")], [("T", "x")])
    ]
    others = [metric("111122223333", "eu-west-1", "Other", "a"), metric("999999999999", "eu-west-1", "Shop", "a")]
    store.put([datum(1, NOW_S, of=each) for each in shop + others])

    def listed(*arguments: object, **options: object) -> list[Metric]:
        return list(store.metrics("111122223333", "eu-west-1", *arguments, **options))  # type: ignore[arg-type]

    assert sorted(listed("Shop")) == sorted(shop)
    assert len(listed()) == 9
    assert {each.name for each in listed("Shop", "a")} == {"a"}
    assert len(listed(None, "a")) == 5
    assert [each.dimensions for each in listed("Shop", "a", [("S", "x")])] == [(("S", "x"),)]
    assert len(listed("Shop", "a", [("S", None)])) == 2
    assert [each.dimensions for each in listed("Shop", "a", [("T", None), ("S", 'x"]')])] == [
        (("S", 'x"]'), ("T", "1"))
    ]  # fmt: skip
    assert listed("Shop", "a", [("x", None)]) == []
    everything = listed()
    assert listed(after=everything[3]) == everything[4:]
    clock.advance(2 * HOUR_S)
    store.put([datum(1, NOW_S + 2 * HOUR_S, of=shop[0])])
    assert listed(active_since_s=NOW_S + HOUR_S) == [shop[0]]
    assert len(listed(active_since_s=NOW_S)) == 9


def test_many_metrics_are_listed_in_pages(store: MetricStore):
    many = [metric(*LATENCY[:3], f"m{n:04}") for n in range(1203)]
    store.put([datum(1, NOW_S, of=each) for each in many])
    assert list(store.metrics(*LATENCY[:2])) == many


def test_it_is_found_again_and_goes_when_it_is_wiped(tmp_path: Path, clock: HandClock):
    for value in (1, 2):
        store = MetricStore(tmp_path / "metrics.db", clock)
        store.put([datum(value, NOW_S)])
        store.close()
    store = MetricStore(tmp_path / "metrics.db", clock)
    assert sums(store, 60, NOW_S, NOW_S + 60) == {0: 3}
    store.wipe()
    assert sums(store, 60, NOW_S, NOW_S + 60) == {}
    assert list(store.metrics(*LATENCY[:2])) == []
    store.put([datum(4, NOW_S)])
    assert sums(store, 60, NOW_S, NOW_S + 60) == {0: 4}
    store.close()


def test_a_file_of_a_newer_release_or_none_at_all_is_refused(tmp_path: Path, clock: HandClock):
    newer = sqlite3.connect(tmp_path / "metrics.db")
    newer.execute(f"PRAGMA user_version = {FORMAT + 1}")
    newer.close()
    with pytest.raises(ServiceUnavailable, match=str(FORMAT + 1)):
        MetricStore(tmp_path / "metrics.db", clock)
    (tmp_path / "text").write_text("no database at all " * 100)
    with pytest.raises(ServiceUnavailable, match="not a database"):
        MetricStore(tmp_path / "text", clock)
