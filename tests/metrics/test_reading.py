"""What a request reads at once, over a real store: as much as its page has room for, and never without bound."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kedge.clock import HandClock
from kedge.errors import ValidationFailed
from kedge.metrics import reading
from kedge.metrics.read_operations import _page
from kedge.metrics.reading import Reader
from kedge.metrics.series import Datum, Summary, metric
from kedge.metrics.store import MetricStore
from tests.metrics.test_store import NOW, NOW_S

ACCOUNT, REGION = "111122223333", "eu-west-1"
HOURS = 3


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MetricStore]:
    """Three metrics with a datapoint in every minute of three hours."""
    opened = MetricStore(tmp_path / "metrics.db", HandClock(NOW), durable=False)
    opened.put(
        [
            Datum(metric(ACCOUNT, REGION, "Shop", name), "None", NOW_S - 60 * n, 60, Summary.one(float(n)))
            for name in "abc"
            for n in range(1, 60 * HOURS + 1)
        ]
    )
    yield opened
    opened.close()


def stat(name: str, period_s: int = 60, **more: Any) -> dict[str, Any]:
    named = {"Namespace": "Shop", "MetricName": name}
    return {"Id": name, "MetricStat": {"Metric": named, "Period": period_s, "Stat": "Sum"}, **more}


def reader(store: MetricStore) -> Reader:
    return Reader(store, ACCOUNT, REGION, NOW_S - 3600 * HOURS, NOW_S, NOW_S)


def expression(text: str) -> dict[str, Any]:
    return {"Id": "e", "Expression": text}


def test_a_page_takes_no_more_metrics_than_it_has_room_for(store: MetricStore):
    queries = [stat("a"), stat("b"), stat("c")]
    taken = []

    def each(first: int) -> Iterator[Any]:
        for number, results in reader(store).each(queries, first):
            taken.append(number)
            yield number, results

    told, following = _page(each(0), 3, [0, 0, None], 200, descending=True)
    assert taken == [0, 1]
    assert [(page["Id"], len(page["Values"]), page["StatusCode"]) for page in told] == [
        ("a", 180, "Complete"), ("b", 20, "PartialData")
    ]  # fmt: skip
    assert following is not None
    told, following = _page(each(following[0]), 3, following, 1000, descending=True)
    assert taken == [0, 1, 1, 2]
    assert [(page["Id"], len(page["Values"]), page["StatusCode"]) for page in told] == [
        ("b", 160, "Complete"), ("c", 180, "Complete")
    ]  # fmt: skip
    assert following is None


def test_a_page_of_few_long_periods_ends_once_much_was_read_for_them(store: MetricStore, monkeypatch):
    monkeypatch.setattr(reading, "MOST_READ_IN_PAGE", 200)
    queries, pages, begin = [stat("a", 180), stat("b", 180), stat("c", 180)], [], [0, 0, None]
    while begin is not None:
        told, begin = _page(reader(store).each(queries, begin[0]), 3, begin, 100_000, descending=True)
        pages.append([(page["Id"], len(page["Values"]), page["StatusCode"]) for page in told])
    assert pages == [[("a", 60, "Complete"), ("b", 60, "Complete")], [("c", 60, "Complete")]]


def test_what_is_not_returned_and_used_by_nothing_is_not_read(store: MetricStore, monkeypatch):
    monkeypatch.setattr(reading, "MOST_READ", 200)
    queries = [stat("a", ReturnData=False), stat("b")]
    assert [[each.id for each in results] for _, results in reader(store).each(queries)] == [[], ["b"]]


@pytest.mark.parametrize(
    "queries",
    [
        [stat("a"), stat("b"), expression("a + b")],
        [expression("SEARCH('{Shop}', 'Sum')")],
        [stat("a", ReturnData=False), {"Id": "e", "Expression": 'SELECT SUM(b) FROM "Shop"', "Period": 3600}],
        [stat("a", 10_800), stat("b", 10_800), expression("a + b")],
    ],
)
def test_expressions_read_everything_at_once_and_so_not_without_bound(store: MetricStore, monkeypatch, queries):
    monkeypatch.setattr(reading, "MOST_READ", 200)
    with pytest.raises(ValidationFailed, match="more than 200 datapoints at once"):
        list(reader(store).each(queries))
