"""In whose name a service does something by itself: a role that trusts it, and no other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kedge.errors import AccessDenied
from kedge.identity import service_sessions
from kedge.identity.entities import ROLE, scope_of
from kedge.store.records import Author
from kedge.store.store import Store

ACCOUNT = "111122223333"
NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store.open(tmp_path / "store.db", durable=False)
    yield made
    made.close()


def role(store: Store, name: str, service: str) -> str:
    trust = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    arn = f"arn:aws:iam::{ACCOUNT}:role/{name}"
    document: dict[str, Any] = {
        "Arn": arn,
        "RoleName": name,
        "RoleId": "AROAEXAMPLE",
        "AssumeRolePolicyDocument": json.dumps({"Statement": [trust]}),
        "MaxSessionDuration": 3600,
    }
    with store.transaction(Author("test", "", NOW)) as tx:
        tx.insert(scope_of(ACCOUNT), ROLE.kind, name.lower(), document)
    return arn


def test_the_caller_is_a_session_of_the_role(store: Store):
    caller = service_sessions.caller(store, role(store, "Watch", "sagemaker.amazonaws.com"), "eu-west-1", NOW)
    assert caller.arn == f"arn:aws:sts::{ACCOUNT}:assumed-role/Watch/SageMaker"
    assert (caller.account, caller.region, caller.user_id) == (ACCOUNT, "eu-west-1", "AROAEXAMPLE:SageMaker")
    assert not caller.is_root
    assert caller.session is not None
    assert caller.session.principal_id == "AROAEXAMPLE"


def test_a_role_that_is_not_there_or_trusts_somebody_else_is_refused(store: Store):
    other = role(store, "other", "lambda.amazonaws.com")
    for arn, says in (
        (other, "does not let sagemaker"),
        (f"{other}x", "does not exist"),
        ("nonsense", "does not exist"),
    ):
        with pytest.raises(AccessDenied, match=says):
            service_sessions.caller(store, arn, "eu-west-1", NOW)
