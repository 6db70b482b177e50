"""Queues: in order, at least once, and nothing is left of what is done."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from kedge.store import schema
from kedge.store.store import Author, Backlog, Store

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def put(store: Store, names: list[str], body: str, seconds: float = 0, identity: str = "") -> None:
    with store.transaction(Author("test", "", at(seconds))) as tx:
        tx.put("mail", names, {"body": body}, identity)


def bodies(store: Store, name: str, seconds: float) -> list[str]:
    return [entry.body["body"] for entry in store.due("mail", name, at(seconds), 10)]


def rows(store: Store) -> list[int]:
    with store._reading() as connection:
        return [
            int(connection.execute(select(func.count()).select_from(table)).scalar_one())
            for table in (schema.queued, schema.payloads, schema.history)
        ]


def test_what_is_put_is_there_after_a_restart_in_its_order(store: Store, open_store: Callable[..., Store]) -> None:
    put(store, ["b"], "one")
    put(store, ["a", "b"], "two", 1)
    for each in (store, open_store()):
        assert sorted(each.due_queues("mail", at(1), 10)) == ["a", "b"]
        assert bodies(each, "b", 1) == ["one", "two"]
        assert each.due_queues("other", at(1), 10) == []
        assert each.next_due("mail", T0) == at(1)
    assert store.due_queues("mail", at(0), 10) == ["b"]
    assert store.due_queues("mail", at(-1), 10) == []


def test_an_entry_that_has_to_wait_holds_up_no_other(store: Store) -> None:
    put(store, ["a"], "one")
    put(store, ["a"], "two")
    first = store.due("mail", "a", T0, 1)[0]
    with store.transaction(Author("test", "", T0)) as tx:
        tx.postpone(first, at(20))
    assert bodies(store, "a", 0) == ["two"]
    assert bodies(store, "a", 20) == ["one", "two"]
    assert [entry.attempts for entry in store.due("mail", "a", at(20), 10)] == [1, 0]


def test_what_is_done_everywhere_leaves_nothing(store: Store) -> None:
    put(store, ["a", "b"], "one")
    with store.transaction(Author("test", "", T0)) as tx:
        tx.forget(store.due("mail", "a", T0, 1)[0])
    assert rows(store) == [1, 1, 0]
    with store.transaction(Author("test", "", T0)) as tx:
        tx.empty("mail", "b")
    assert rows(store) == [0, 0, 0]
    assert store.next_due("mail", at(-1)) is None


def test_one_identity_waits_once(store: Store) -> None:
    put(store, ["a"], "one", identity="x")
    put(store, ["a"], "again", identity="x")
    assert bodies(store, "a", 0) == ["one"]
    with store.transaction(Author("test", "", T0)) as tx:
        assert tx.waiting("mail", "a") == 1
        tx.forget(store.due("mail", "a", T0, 1)[0])
    put(store, ["a"], "later", identity="x")
    assert bodies(store, "a", 0) == ["later"]


def test_what_is_undone_was_never_put(store: Store) -> None:
    told: list[bool] = []
    store.on_put(lambda: told.append(True))

    def broken() -> None:
        with store.transaction(Author("test", "", T0)) as tx:
            tx.put("mail", ["a"], {})
            tx.put("mail", ["a"], {"no": float("nan")})

    with pytest.raises(ValueError, match="JSON"):
        broken()
    assert rows(store) == [0, 0, 0]
    assert told == []
    put(store, ["a"], "one")
    assert told == [True]
    store.wipe()
    assert rows(store) == [0, 0, 0]


def test_what_expires_is_told_and_stays_until_somebody_forgets_it(store: Store) -> None:
    with store.transaction(Author("test", "", T0)) as tx:
        tx.put("mail", ["a"], {"body": "short"}, expires=at(10))
        tx.put("mail", ["b"], {"body": "long"}, expires=at(100))
        tx.put("mail", ["b"], {"body": "for ever"})
    assert store.overdue("mail", at(9), 10) == []
    (entry,) = store.overdue("mail", at(10), 10)
    assert (entry.body["body"], entry.expires_at) == ("short", at(10))
    assert [entry.body["body"] for entry in store.overdue("mail", at(100), 10)] == ["short", "long"]
    with store.transaction(Author("test", "", at(100))) as tx:
        tx.forget(entry)
    assert [entry.body["body"] for entry in store.overdue("mail", at(100), 10)] == ["long"]


def test_backlogs_count_what_is_due_and_what_is_not(store: Store) -> None:
    put(store, ["a"], "one", 1)
    put(store, ["a", "b"], "two", 2)
    with store.transaction(Author("test", "", at(2))) as tx:
        tx.postpone(store.due("mail", "a", at(2), 1)[0], at(50))
    assert store.backlogs("mail") == {"a": Backlog(2, at(1)), "b": Backlog(1, at(2))}
    assert store.backlogs("other") == {}
