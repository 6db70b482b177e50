"""IAM and STS on the real store, with all that is asked before an operation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kedge.call import Call
from kedge.config import Settings
from kedge.identity.authorization import Authorization
from kedge.identity.keys import KeyRing
from kedge.identity.known import Known
from kedge.identity.operations import operations
from kedge.identity.records import AccessKey, BucketFacts, Caller
from kedge.loop import Signal
from kedge.store.store import Store

ACCOUNT = "1" * 12
NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
ROOT_KEY = AccessKey("AKIAROOT", "secret", ACCOUNT, f"arn:aws:iam::{ACCOUNT}:root", ACCOUNT)

Do = Callable[..., dict[str, Any]]


@dataclass(frozen=True)
class World:
    store: Store
    ring: KeyRing
    known: Known
    call: Call
    operations: dict[str, Callable[[Call, dict[str, Any]], dict[str, Any]]]

    def do(self, operation: str, by: Caller | None = None, at: datetime = NOW, **request: Any) -> dict[str, Any]:
        return self.operations[operation](replace(self.call, caller=by or self.call.caller, now=at), request)

    def caller(self, credentials: dict[str, Any], now: datetime = NOW) -> Caller:
        self.known.current()
        key = self.ring.find(credentials["AccessKeyId"], credentials.get("SessionToken"), now)
        assert key.secret == credentials["SecretAccessKey"]
        return key.caller("us-east-1")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    store = Store(tmp_path / "kedge.db", durable=False)
    ring = KeyRing([ROOT_KEY], b"k" * 32)
    known = Known(store, ring, ROOT_KEY)
    call = Call(ROOT_KEY.caller("us-east-1"), NOW, "request", "agent", Settings(), store, None, Signal())  # type: ignore[arg-type]
    guarded = Authorization(known, lambda *_: BucketFacts(ACCOUNT)).guarded(operations(ring))
    yield World(store, ring, known, call, guarded)
    store.close()


@pytest.fixture
def do(world: World) -> Do:
    """do("iam.CreateRole", RoleName=...)."""
    return world.do
