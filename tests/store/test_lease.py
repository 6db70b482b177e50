"""Of all processes with one store, one holds a lease; what another one does under an old token changes nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from kedge.clock import HandClock
from kedge.store.lease import Lease
from kedge.store.store import Author, LeaseLost, Scope, Store

HERE = Scope("000000000000", "us-east-1")
T0 = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)


def at(seconds: float) -> Author:
    return Author("kedge:endpoints", "", T0 + timedelta(seconds=seconds))


def test_one_holder_has_a_lease(store: Store) -> None:
    ttl = timedelta(seconds=10)
    token = store.acquire("endpoints", "one", T0, ttl)
    assert token is not None
    assert store.acquire("endpoints", "two", T0 + timedelta(seconds=9), ttl) is None
    assert store.acquire("endpoints", "one", T0 + timedelta(seconds=5), ttl) is None  # who has it renews it
    assert store.renew("endpoints", token, T0 + timedelta(seconds=9), ttl)
    assert store.acquire("endpoints", "two", T0 + timedelta(seconds=18), ttl) is None
    newer = store.acquire("endpoints", "two", T0 + timedelta(seconds=19), ttl)
    assert newer is not None
    assert newer > token
    assert not store.renew("endpoints", token, T0 + timedelta(seconds=19), ttl)
    store.release("endpoints", token)  # a stale release takes nothing from anyone
    assert store.acquire("endpoints", "three", T0 + timedelta(seconds=20), ttl) is None
    store.release("endpoints", newer)
    assert not store.renew("endpoints", newer, T0 + timedelta(seconds=20), ttl)
    newest = store.acquire("endpoints", "three", T0 + timedelta(seconds=20), ttl)
    assert newest is not None
    assert newest > newer


def test_a_stale_lease_changes_nothing(store: Store) -> None:
    old = store.acquire("endpoints", "one", T0, timedelta(seconds=1))
    assert old is not None
    with store.transaction(at(5), lease=("endpoints", old)) as tx:  # late, but nobody else has it
        tx.insert(HERE, "model", "m", {})
    new = store.acquire("endpoints", "two", T0 + timedelta(seconds=6), timedelta(seconds=1))
    assert new is not None
    with pytest.raises(LeaseLost), store.transaction(at(7), lease=("endpoints", old)) as tx:
        tx.insert(HERE, "model", "n", {})
    assert store.get(HERE, "model", "n") is None
    with store.transaction(at(7), lease=("endpoints", new)) as tx:
        tx.insert(HERE, "model", "n", {})


def test_the_next_process_of_a_holder_inherits_the_lease(store: Store) -> None:
    ttl = timedelta(seconds=10)
    killed = store.acquire("endpoints", "one", T0, ttl)
    assert killed is not None
    assert store.acquire("endpoints", "two", T0, ttl, inherit=True) is None
    assert store.acquire("endpoints", "one", T0, ttl, inherit=True) == killed + 1
    assert not store.renew("endpoints", killed, T0, ttl)


def test_a_lease_is_believed_in_only_while_it_lasts(store: Store) -> None:
    clock = HandClock(T0)
    one, two = (Lease(store, "endpoints", node, clock) for node in ("one", "two"))
    assert one.held is None
    assert (one.hold(), two.hold()) == (True, False)
    first = one.held
    clock.advance(9)
    assert (one.held, two.held, one.hold()) == (first, None, False)
    clock.advance(9)
    assert (one.held, two.hold()) == (first, False)
    clock.advance(1)
    assert one.held is None  # it was away for too long: somebody else may have it
    assert two.hold()
    assert (one.hold(), one.held) == (False, None)
    second = two.held
    clock.advance(10)
    assert (two.held, two.hold()) == (None, False)
    assert two.held == second  # nobody has taken it meanwhile
    two.release()
    assert (two.held, two.hold(), one.hold()) == (None, False, True)


def test_a_process_does_not_take_the_lease_back_from_its_successor(store: Store) -> None:
    clock = HandClock(T0)
    old, new = (Lease(store, "endpoints", "one", clock) for _ in range(2))
    assert (old.hold(), new.hold()) == (True, True)
    held = new.held
    assert (old.hold(), old.held) == (False, None)
    old.release()
    assert (new.hold(), new.held) == (False, held)


def test_renewing_writes_no_history_and_wakes_nobody(store: Store) -> None:
    clock = HandClock(T0)
    lease = Lease(store, "endpoints", "one", clock)
    woken: list[int] = []
    store.on_commit(lambda: woken.append(1))
    for _ in range(3):
        lease.hold()
        clock.advance(3)
    lease.release()
    assert woken == []
    with store._reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM history")).scalar_one() == 0


def test_without_the_lease_nothing_guards(store: Store) -> None:
    clock = HandClock(T0)
    lease = Lease(store, "deliveries", "one", clock)
    with pytest.raises(LeaseLost, match="deliveries"):
        lease.guard()
    lease.hold()
    assert lease.guard() == lease.held
    clock.advance(lease.ttl_s)
    with pytest.raises(LeaseLost):
        lease.guard()
