"""What callers rely on: resources, versions, history, outbox, lists."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from kedge.errors import ConcurrentChange, ValidationFailed
from kedge.store.store import AlreadyExists, Author, Scope, Store, Transaction

HERE = Scope("000000000000", "us-east-1")
THERE = Scope("111111111111", "eu-west-1")
T0 = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)


def at(seconds: float) -> Author:
    return Author("arn:aws:iam::000000000000:root", f"request-{seconds}", T0 + timedelta(seconds=seconds))


def add(store: Store, *names: str, scope: Scope = HERE, status: str = "Ok", seconds: float = 0) -> None:
    for offset, name in enumerate(names):
        with store.transaction(at(seconds + offset)) as tx:
            tx.insert(scope, "model", name, {"Name": name}, status)


def test_what_is_inserted_is_read(store: Store, open_store: Callable[..., Store]) -> None:
    document = {"text": 'é \0 "quoted" \ud800', "number": 1.5, "list": [1, None, True], "object": {"b": 1, "a": 2}}
    with store.transaction(at(0)) as tx:
        made = tx.insert(HERE, "model", "m", document, "Creating")
        assert tx.get(HERE, "model", "m") == made
    for each in (store, open_store()):
        found = each.get(HERE, "model", "m")
        assert found == made
        assert (found.document, found.status, found.version) == (document, "Creating", 1)
        assert (found.created_at, found.modified_at) == (T0, T0)
        assert list(found.document["object"]) == ["b", "a"]


def test_scope_and_kind_are_part_of_the_name(store: Store) -> None:
    add(store, "m")
    assert store.get(THERE, "model", "m") is None
    assert store.get(HERE, "endpoint", "m") is None
    assert store.get(HERE, "model", "M") is None
    add(store, "m", scope=THERE)
    assert store.get(THERE, "model", "m") is not None


def test_a_second_insert_is_refused_and_the_transaction_goes_on(store: Store) -> None:
    add(store, "m")
    with store.transaction(at(1)) as tx:
        with pytest.raises(AlreadyExists, match='model "m" exists already'):
            tx.insert(HERE, "model", "m", {})
        tx.insert(HERE, "model", "n", {})
    assert store.get(HERE, "model", "n") is not None


def test_an_update_needs_the_newest_version(store: Store) -> None:
    add(store, "m")
    first = store.get(HERE, "model", "m")
    assert first is not None
    with store.transaction(at(1)) as tx:
        second = tx.update(first, {"a": 1})
    assert (second.version, second.status, second.modified_at) == (2, "Ok", T0 + timedelta(seconds=1))
    assert second.created_at == T0

    def after_another_insert(change: Callable[[Transaction], object]) -> None:
        with store.transaction(at(2)) as tx:
            tx.insert(HERE, "model", "other", {})
            change(tx)

    for change in (lambda tx: tx.update(first, {}), lambda tx: tx.observe(first, {}), lambda tx: tx.delete(first)):
        with pytest.raises(ConcurrentChange, match="changed by another request"):
            after_another_insert(change)
    assert store.get(HERE, "model", "m") == second
    assert store.get(HERE, "model", "other") is None


def test_a_new_resource_of_the_same_name_is_another_one(store: Store) -> None:
    add(store, "m")
    old = store.get(HERE, "model", "m")
    assert old is not None
    with store.transaction(at(0)) as tx:
        tx.delete(old)
        tx.insert(HERE, "model", "m", {"Name": "m"}, "Ok")
    with pytest.raises(ConcurrentChange), store.transaction(at(1)) as tx:
        tx.update(old, {})


def test_a_deleted_resource_cannot_be_changed(store: Store) -> None:
    add(store, "m")
    old = store.get(HERE, "model", "m")
    assert old is not None
    with store.transaction(at(0)) as tx:
        tx.delete(old)
    with pytest.raises(ConcurrentChange, match="deleted by another request"), store.transaction(at(1)) as tx:
        tx.delete(old)


def test_history_says_who_when_and_what(store: Store) -> None:
    with store.transaction(at(0)) as tx:
        made = tx.insert(HERE, "model", "m", {"a": 1}, "Creating")
    made.document["a"] = 2  # a caller that changes what it read does not change what is recorded as before
    with store.transaction(at(1)) as tx:
        changed = tx.update(made, made.document, "Ok")
    with store.transaction(at(2)) as tx:
        seen = tx.observe(changed, {"a": 3})
    with store.transaction(at(3)) as tx:
        tx.delete(seen)
    deleted, updated, created = store.history(HERE, "model", "m", 10)
    assert (created.before, created.after, created.status_before, created.status_after) == (
        None,
        {"a": 1},
        None,
        "Creating",
    )
    assert (updated.before, updated.after, updated.status_before, updated.status_after) == (
        {"a": 1},
        {"a": 2},
        "Creating",
        "Ok",
    )
    assert (deleted.before, deleted.after, deleted.status_before, deleted.status_after) == ({"a": 3}, None, "Ok", None)
    assert [c.version for c in (created, updated, deleted)] == [1, 2, 4]
    assert (updated.request_id, updated.principal, updated.at) == ("request-1", at(1).principal, at(1).at)
    assert store.history(HERE, "model", "m", 1) == [deleted]
    forever = timedelta(days=1)
    assert store.prune(T0 + timedelta(seconds=11), history=timedelta(seconds=10), events=forever) == 1
    assert store.history(HERE, "model", "m") == [deleted, updated]


def test_an_observation_of_nothing_new_writes_nothing(store: Store) -> None:
    add(store, "m")
    calls: list[int] = []
    store.on_commit(lambda: calls.append(1))
    found = store.get(HERE, "model", "m")
    assert found is not None
    with store.transaction(at(5)) as tx:
        assert tx.observe(found, {"Name": "m"}, "Ok") == found
    assert calls == []
    with store.transaction(at(5)) as tx:
        beat = tx.observe(found, {"Name": "m", "Beat": 1})
    assert (beat.version, beat.modified_at) == (2, T0)
    with store.transaction(at(6)) as tx:
        assert tx.observe(beat, status="Failed").modified_at == T0 + timedelta(seconds=6)
    assert calls == [1, 1]


def test_events_are_committed_with_the_change_and_stay_until_delivered(store: Store) -> None:
    def fail() -> None:
        with store.transaction(at(0)) as tx:
            tx.insert(HERE, "model", "m", {})
            tx.emit("aws.sagemaker", "Never", {})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert store.get(HERE, "model", "m") is None
    assert store.outbox() == []
    assert store.history(HERE, "model", "m") == []
    with store.transaction(at(1)) as tx:
        ids = [tx.emit("aws.sagemaker", "Change", {"n": n}, HERE) for n in range(3)]
    assert [e.id for e in store.outbox(2)] == ids[:2]
    first = store.outbox(1)[0]
    assert (first.source, first.detail_type, first.detail, first.scope, first.at) == (
        "aws.sagemaker",
        "Change",
        {"n": 0},
        HERE,
        at(1).at,
    )
    store.delivered(ids[:2])
    store.delivered(ids[:2])
    assert [e.id for e in store.outbox()] == ids[2:]


def test_list_filters(store: Store) -> None:
    add(store, "alpha", "Beta", "beta-2", "g_mma", "gamma")
    add(store, "gamma-failed", status="Failed", seconds=5)
    add(store, "elsewhere", scope=THERE, seconds=6)

    def names(scope: Scope | None = HERE, **query: object) -> list[str]:
        return [r.name for r in store.list(scope, "model", **query).items]  # type: ignore[arg-type]

    assert names() == ["Beta", "alpha", "beta-2", "g_mma", "gamma", "gamma-failed"]
    assert names(None)[3] == "elsewhere"
    assert names(name_contains="BETA") == ["Beta", "beta-2"]
    assert names(name_contains="g_m") == ["g_mma"]
    assert names(name_contains="%") == []
    assert names(name_contains="\0") == []
    assert names(status="Failed") == ["gamma-failed"]
    assert names(created_after=T0 + timedelta(seconds=3), created_before=T0 + timedelta(seconds=5)) == [
        "g_mma",
        "gamma",
    ]
    assert names(modified_after=T0 + timedelta(seconds=5)) == ["gamma-failed"]
    assert names(modified_before=T0 + timedelta(microseconds=1)) == ["alpha"]
    assert names(sort_by="created_at", descending=True, limit=2) == ["gamma-failed", "gamma"]
    assert names(sort_by="status") == ["gamma-failed", "Beta", "alpha", "beta-2", "g_mma", "gamma"]
    with store.transaction(at(9)) as tx:
        assert [r.name for r in tx.list(THERE, "model").items] == ["elsewhere"]


@pytest.mark.parametrize("sort_by", ["name", "created_at", "modified_at", "status"])
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("scope", [HERE, None])
def test_pages_are_the_whole_list_in_order(store: Store, sort_by: str, descending: bool, scope: Scope | None) -> None:
    with store.transaction(at(0)) as tx:
        for n in range(7):
            tx.insert(HERE, "model", f"m{n}", {}, "Ok" if n % 2 else "Failed")
            tx.insert(THERE, "model", f"m{n}", {})
    query = {"sort_by": sort_by, "descending": descending}
    whole = store.list(scope, "model", **query).items  # type: ignore[arg-type]
    assert len(whole) == (7 if scope else 14)
    paged, after = [], None
    while True:
        page = store.list(scope, "model", limit=3, after=after, **query)  # type: ignore[arg-type]
        paged += page.items
        after = page.next
        if after is None:
            break
        assert len(page.items) == 3
    assert paged == whole


def test_a_cursor_stays_right_while_rows_come_and_go(store: Store) -> None:
    add(store, "b", "d", "f", "h")
    page = store.list(HERE, "model", limit=2)
    assert page.next is not None
    last = store.get(HERE, "model", "d")
    assert last is not None
    with store.transaction(at(9)) as tx:
        tx.delete(last)  # the very row that the cursor names
        tx.insert(HERE, "model", "a", {})
        tx.insert(HERE, "model", "e", {})
    assert [r.name for r in store.list(HERE, "model", limit=9, after=page.next).items] == ["e", "f", "h"]


@pytest.mark.parametrize(
    "cursor", ["", "x", "AAAA", "bnVsbA", "WzEsMiwzXQ", "WyJuYW1lIixmYWxzZSxbMV1d", "é", "W" * 99_999]
)
def test_a_foreign_cursor_is_refused(store: Store, cursor: str) -> None:
    with pytest.raises(ValidationFailed, match="NextToken"):
        store.list(HERE, "model", limit=1, after=cursor)


def test_a_cursor_belongs_to_its_sort(store: Store) -> None:
    add(store, "a", "b", "c")
    cursor = store.list(HERE, "model", sort_by="created_at", limit=1).next
    assert cursor is not None
    for query in ({"sort_by": "name"}, {"sort_by": "created_at", "descending": True}, {"sort_by": "modified_at"}):
        with pytest.raises(ValidationFailed):
            store.list(HERE, "model", limit=1, after=cursor, **query)  # type: ignore[arg-type]


def test_an_unstorable_name_is_not_found_and_not_inserted(store: Store) -> None:
    for name in ("a\0b", "a\ud800"):
        assert store.get(HERE, "model", name) is None
        assert store.history(HERE, "model", name) == []
        with pytest.raises(ValidationFailed), store.transaction(at(0)) as tx:
            tx.insert(HERE, "model", name, {})


def test_a_document_that_is_no_json_is_refused(store: Store) -> None:
    for value in (T0, float("nan"), b"x"):
        with pytest.raises((TypeError, ValueError)), store.transaction(at(0)) as tx:
            tx.insert(HERE, "model", "m", {"value": value})
    assert store.get(HERE, "model", "m") is None


def test_wipe_leaves_nothing_but_leases(store: Store) -> None:
    add(store, "a", "b")
    with store.transaction(at(5)) as tx:
        tx.emit("s", "d", {})
    token = store.acquire("endpoints", "one", T0, timedelta(seconds=60))
    assert token is not None
    calls: list[int] = []
    store.on_commit(lambda: calls.append(1))
    store.wipe()
    assert calls == [1]
    assert store.list(None, "model").items == []
    assert store.outbox() == []
    assert store.history(HERE, "model", "a") == []
    assert store.renew("endpoints", token, T0, timedelta(seconds=60))
    add(store, "a")


def test_commits_are_announced_after_they_are_visible(store: Store) -> None:
    seen: list[bool] = []
    store.on_commit(lambda: 1 // 0)  # a callback that fails disturbs neither the change nor the next callback
    store.on_commit(lambda: seen.append(store.get(HERE, "model", "m") is not None))
    add(store, "m")
    with store.transaction(at(1)) as tx:
        tx.get(HERE, "model", "m")
    with pytest.raises(AlreadyExists):
        add(store, "m")
    assert seen == [True]


def test_many_threads_lose_no_update(store: Store, open_store: Callable[..., Store]) -> None:
    stores = [store, open_store()]
    with store.transaction(at(0)) as tx:
        tx.insert(HERE, "counter", "c", {"n": 0})
    start = threading.Barrier(8)

    def count(number: int) -> None:
        mine = stores[number % 2]
        start.wait()
        for _ in range(5):
            with mine.transaction(at(number)) as tx:
                found = tx.get(HERE, "counter", "c")
                assert found is not None
                tx.update(found, {"n": found.document["n"] + 1})
            assert mine.get(HERE, "counter", "c") is not None

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count, range(8)))
    found = store.get(HERE, "counter", "c")
    assert found is not None
    assert (found.document, found.version) == ({"n": 40}, 41)


def test_of_many_inserts_one_wins(store: Store) -> None:
    def insert(number: int) -> bool:
        try:
            with store.transaction(at(number)) as tx:
                tx.insert(HERE, "model", "m", {"n": number})
        except AlreadyExists:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(insert, range(16))) == 1


def test_a_prefix_is_the_beginning_of_a_name_in_its_own_case(store: Store) -> None:
    for name in ("a", "ab", "aB1", "ab%", "b", "ab_c", "Ab"):
        add(store, name)
    assert [each.name for each in store.list(HERE, "model", name_prefix="ab").items] == ["ab", "ab%", "ab_c"]
    assert [each.name for each in store.list(HERE, "model", name_prefix="ab%").items] == ["ab%"]
    assert store.list(HERE, "model", name_prefix="\0").items == []


def test_notes_are_read_by_name_time_and_place(store: Store) -> None:
    for second, name in enumerate(("a", "b", "a", "a")):
        with store.transaction(at(second)) as tx:
            tx.note(HERE, "said", name, {"n": second})
    with store.transaction(at(9)) as tx:
        tx.note(Scope(HERE.account, "elsewhere"), "said", "a", {"n": 9})
        tx.note(HERE, "other", "a", {"n": 9})

    def read(name: str | None = None, **options: object) -> list[int]:
        found = store.notes(HERE, "said", name, **options)  # type: ignore[arg-type]
        return [each.after["n"] for each in found if each.after is not None]

    assert read("a") == [3, 2, 0]
    assert read(descending=False) == [0, 1, 2, 3]
    assert read(since=T0 + timedelta(seconds=1), until=T0 + timedelta(seconds=3)) == [2, 1]
    first = store.notes(HERE, "said", limit=2)
    assert [each.after for each in store.notes(HERE, "said", after=first[-1].id)] == [{"n": 1}, {"n": 0}]
    last = store.notes(HERE, "said", limit=3, descending=False)[-1]
    assert read(after=last.id, descending=False) == [3]
    assert read("\0") == []
    store.prune(T0 + timedelta(days=1, seconds=2), history=timedelta(days=1), events=timedelta(days=1))
    assert read(descending=False) == [2, 3]


def test_versions_tell_what_has_changed(store: Store) -> None:
    add(store, "a")
    add(store, "b")
    before = store.versions("model")
    assert set(before) == {(HERE, "a"), (HERE, "b")}
    changed = store.get(HERE, "model", "a")
    gone = store.get(HERE, "model", "b")
    assert changed is not None
    assert gone is not None
    with store.transaction(at(1)) as tx:
        tx.observe(changed, status="Failed")
        tx.delete(gone)
        tx.insert(HERE, "model", "b", {})
    after = store.versions("model")
    assert after[HERE, "a"] == (before[HERE, "a"][0], before[HERE, "a"][1] + 1)
    assert after[HERE, "b"][0] != before[HERE, "b"][0]
