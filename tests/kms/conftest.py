from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kedge.clock import HandClock
from kedge.kms import policies, records
from kedge.kms.keystore import KeyStore
from kedge.kms.master import MasterKey
from kedge.store.records import Author, Resource, Scope
from kedge.store.store import Store

SCOPE = Scope("111122223333", "us-east-1")


@pytest.fixture
def clock() -> HandClock:
    return HandClock(datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "kedge.db")
    yield opened
    opened.close()


@pytest.fixture
def keys(store: Store) -> KeyStore:
    return KeyStore(store, MasterKey(bytes(range(32))))


@pytest.fixture
def key(store: Store, keys: KeyStore, clock: HandClock) -> Resource:
    with store.transaction(Author("test", "r", clock.now())) as tx:
        return keys.create(tx, SCOPE, records.new_key(clock.now(), policy=policies.default(SCOPE.account)))
