"""The store against a dictionary: any sequence of calls has the effect that the dictionary has."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from kedge.errors import ConcurrentChange
from kedge.store.store import AlreadyExists, Author, Resource, Scope, Store

T0 = datetime(2026, 1, 1, tzinfo=UTC)
SCOPES = st.sampled_from([Scope("000000000000", "us-east-1"), Scope("111111111111", "")])
NAMES = st.sampled_from(["a", "A", "b-1", "ü", "%"])
DOCUMENTS = st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3) | st.none(), max_size=3)


class StoreMachine(RuleBasedStateMachine):
    def __init__(self, store: Store) -> None:
        super().__init__()
        store.wipe()
        self.store = store
        self.model: dict[tuple[Scope, str], tuple[dict[str, Any], str]] = {}
        self.events: list[int] = []
        self.stale: list[Resource] = []
        self.changes = 0
        self.count = 0

    def author(self) -> Author:
        self.count += 1
        return Author("tester", str(self.count), T0 + timedelta(seconds=self.count))

    @rule(scope=SCOPES, name=NAMES, document=DOCUMENTS, status=st.sampled_from(["", "Ok"]), fail=st.booleans())
    def insert(self, scope: Scope, name: str, document: dict[str, Any], status: str, fail: bool) -> None:
        try:
            with self.store.transaction(self.author()) as tx:
                tx.emit("s", "d", {"n": self.count})
                tx.insert(scope, "model", name, document, status)
                if fail:
                    raise ZeroDivisionError
        except AlreadyExists:
            assert (scope, name) in self.model
        except ZeroDivisionError:
            assert (scope, name) not in self.model
        else:
            assert (scope, name) not in self.model
            self.model[scope, name] = (document, status)
            self.events.append(self.count)
            self.changes += 1

    @rule(scope=SCOPES, name=NAMES, document=DOCUMENTS, recorded=st.booleans())
    def change(self, scope: Scope, name: str, document: dict[str, Any], recorded: bool) -> None:
        found = self.store.get(scope, "model", name)
        if found is None:
            return
        with self.store.transaction(self.author()) as tx:
            after = tx.update(found, document) if recorded else tx.observe(found, document)
        if after.version != found.version:
            self.stale.append(found)
        self.model[scope, name] = (document, found.status)
        self.changes += recorded

    @rule(scope=SCOPES, name=NAMES)
    def delete(self, scope: Scope, name: str) -> None:
        found = self.store.get(scope, "model", name)
        if found is None:
            return
        with self.store.transaction(self.author()) as tx:
            tx.delete(found)
        self.stale.append(found)
        del self.model[scope, name]
        self.changes += 1

    @rule(number=st.integers(0, 99))
    def use_what_is_stale(self, number: int) -> None:
        if self.stale:
            with pytest.raises(ConcurrentChange), self.store.transaction(self.author()) as tx:
                tx.update(self.stale[number % len(self.stale)], {})

    @rule(count=st.integers(0, 3))
    def deliver(self, count: int) -> None:
        self.store.delivered([event.id for event in self.store.outbox(count)] if count else [])
        del self.events[:count]

    @invariant()
    def it_is_what_the_dictionary_is(self) -> None:
        items = self.store.list(None, "model").items
        assert {(r.scope, r.name): (r.document, r.status) for r in items} == self.model
        assert [r.name for r in items] == sorted((r.name for r in items), key=lambda name: name.encode())
        assert [event.detail["n"] for event in self.store.outbox(1000)] == self.events
        scopes_names = [
            (s, n)
            for s in (Scope("000000000000", "us-east-1"), Scope("111111111111", ""))
            for n in ("a", "A", "b-1", "ü", "%")
        ]
        history = [self.store.history(s, "model", n, 1000) for s, n in scopes_names] if self.count % 10 == 0 else []
        assert not history or sum(map(len, history)) == self.changes


def test_any_sequence_of_calls(open_store: Callable[..., Store]) -> None:
    store = open_store(durable=False)
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        lambda: StoreMachine(store),
        settings=settings(
            max_examples=20,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
