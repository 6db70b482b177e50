"""An action is as durable as the change that causes it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kedge.events.records import QUEUE, Action, write
from kedge.store.store import AlreadyExists, Author, Scope, Store

NOW = datetime(2026, 1, 1, 12, 0, 0, 5, tzinfo=UTC)
HERE = Scope("000000000000", "us-east-1")
ACTION = Action(
    "one", HERE.account, HERE.region, "arn:aws:sns:us-east-1:000000000000:t", "subject", "message", {"a": [1]}, NOW,
    "arn:aws:cloudwatch:us-east-1:000000000000:alarm:high",
)  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "kedge.db")
    yield opened
    opened.close()


def test_it_is_written_with_what_causes_it_or_not_at_all(store: Store) -> None:
    with store.transaction(Author("alarms", "", NOW)) as tx:
        tx.insert(HERE, "alarm", "high", {}, "ALARM")
        write(tx, ACTION)
        write(tx, ACTION)
    assert [Action.of(entry.body) for entry in store.due(QUEUE, QUEUE, NOW, 10)] == [ACTION]

    def refused() -> None:
        with store.transaction(Author("alarms", "", NOW)) as tx:
            write(tx, Action("two", HERE.account, HERE.region, ACTION.target_arn, "", "", at=NOW))
            tx.insert(HERE, "alarm", "high", {})

    with pytest.raises(AlreadyExists):
        refused()
    assert len(store.due(QUEUE, QUEUE, NOW, 10)) == 1
