"""What text is a policy, and who may assume a role by its trust policy."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.identity.errors import MalformedPolicyDocument
from kedge.identity.policy import BrokenPolicy, Identity, Resource, evaluate, parsed
from kedge.identity.policy_documents import check_permissions, checked_resource_policy, checked_trust

ACCOUNT, OTHER = "1" * 12, "2" * 12
ROLE = f"arn:aws:iam::{ACCOUNT}:role/a/worker"
EVERYTHING = parsed('{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}')
ROOT = Identity(ACCOUNT, f"arn:aws:iam::{ACCOUNT}:root")
SESSION = Identity(ACCOUNT, f"arn:aws:sts::{ACCOUNT}:assumed-role/worker/me", (EVERYTHING,), names=(ROLE,))
BARE = Identity(ACCOUNT, f"arn:aws:sts::{ACCOUNT}:assumed-role/worker/me", names=(ROLE,))


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(principal: Any, **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole", **more}


def deny(principal: Any, **more: Any) -> dict[str, Any]:
    return {**allow(principal, **more), "Effect": "Deny"}


ANYONE = {"AWS": "*"}
EXTERNAL = {"StringEquals": {"sts:ExternalId": ["x", "y"]}}


@pytest.mark.parametrize(
    ("statements", "caller", "external_id", "want"),
    [
        ([allow({"AWS": f"arn:aws:iam::{ACCOUNT}:root"})], ROOT, None, True),
        ([allow({"AWS": f"arn:aws:iam::{ACCOUNT}:root"})], SESSION, None, True),
        ([allow({"AWS": ACCOUNT})], SESSION, None, True),
        ([allow({"AWS": [OTHER, ACCOUNT]})], SESSION, None, True),
        ([allow({"AWS": OTHER})], ROOT, None, False),
        ([allow({"AWS": f"arn:aws:iam::{OTHER}:root"})], ROOT, None, False),
        ([allow("*")], ROOT, None, True),
        ([allow(ANYONE)], ROOT, None, True),
        ([allow({"Service": "sagemaker.amazonaws.com"})], ROOT, None, False),
        ([allow({"Service": "*"})], ROOT, None, False),
        ([allow({"AWS": ROLE})], SESSION, None, True),
        ([allow({"AWS": ROLE})], BARE, None, True),
        ([allow({"AWS": ACCOUNT})], BARE, None, False),
        ([allow({"AWS": f"arn:aws:iam::{ACCOUNT}:role/worker"})], SESSION, None, False),
        ([allow({"AWS": f"arn:aws:iam::{ACCOUNT}:role/workers"})], SESSION, None, False),
        ([allow({"AWS": f"arn:aws:iam::{OTHER}:role/worker"})], SESSION, None, False),
        ([allow({"AWS": f"arn:aws:iam::{ACCOUNT}:role/worker"})], ROOT, None, False),
        ([allow({"AWS": SESSION.arn})], SESSION, None, True),
        ([allow({"AWS": SESSION.arn + "x"})], SESSION, None, False),
        ([allow(ANYONE, Action=["sts:TagSession", "STS:Assume*"])], ROOT, None, True),
        ([allow(ANYONE, Action="sts:AssumeRoleWithSAML")], ROOT, None, False),
        ([allow(ANYONE), deny({"AWS": ACCOUNT})], ROOT, None, False),
        ([deny({"AWS": OTHER}), allow(ANYONE)], ROOT, None, True),
        ([allow(ANYONE, Condition=EXTERNAL)], ROOT, "y", True),
        ([allow(ANYONE, Condition=EXTERNAL)], ROOT, "z", False),
        ([allow(ANYONE, Condition=EXTERNAL)], ROOT, None, False),
        ([allow(ANYONE), deny(ANYONE, Condition=EXTERNAL)], ROOT, "x", False),
        ([allow(ANYONE), deny(ANYONE, Condition=EXTERNAL)], ROOT, "z", True),
        ([allow(ANYONE, Condition={"Bool": {"aws:MultiFactorAuthPresent": "true"}})], ROOT, None, False),
        ([allow(ANYONE), deny(ANYONE, Condition={"Bool": {"aws:SecureTransport": "false"}})], ROOT, None, True),
        ([{"Effect": "Allow", "NotPrincipal": {"AWS": OTHER}, "Action": "sts:AssumeRole"}], ROOT, None, True),
        (
            [allow(ANYONE), {"Effect": "Deny", "NotPrincipal": {"AWS": OTHER}, "Action": "sts:AssumeRole"}],
            ROOT,
            None,
            False,
        ),
        ([], ROOT, None, False),
    ],
)
def test_trust(statements: list[dict[str, Any]], caller: Identity, external_id: str | None, want: bool) -> None:
    if statements:
        checked_trust(policy(*statements))
    context = {} if external_id is None else {"sts:externalid": (external_id,)}
    role = Resource("arn:aws:iam::111111111111:role/r", ACCOUNT, parsed(policy(*statements)), needs_policy=True)
    assert evaluate(caller, "sts:AssumeRole", role, context).allowed is want


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "[]",
        "{}",
        "[" * 100_000,
        '{"Statement": []}',
        '{"Version": "2020-01-01", "Statement": [{}]}',
        '{"Other": 1, "Statement": [{}]}',
        policy({"Effect": "Perhaps", "Principal": "*", "Action": "sts:AssumeRole"}),
        policy({"Effect": "Allow", "Action": "sts:AssumeRole"}),
        policy({"Effect": "Allow", "Principal": "*"}),
        policy(allow("me")),
        policy(allow({})),
        policy(allow({"AWS": "me"})),
        policy(allow({"AWS": []})),
        policy(allow({"Who": "me"})),
        policy(allow("*", Action="s3:GetObject")),
        policy(allow("*", Action=[1])),
        policy(allow("*", Resource="*")),
        policy(allow("*", Condition=["x"])),
        policy(allow("*", Condition={"StringIs": {"aws:userid": "x"}})),
        policy(allow("*", Condition={"StringEquals": "x"})),
        policy(allow("*", Condition={"StringEquals": {"aws:userid": {"x": 1}}})),
        policy(allow("*", NotAction="sts:TagSession")),
        policy(allow("*", Sad="x")),
    ],
)
def test_texts_that_are_no_trust_policy(text: str) -> None:
    with pytest.raises(MalformedPolicyDocument):
        checked_trust(text)


def test_permissions() -> None:
    good = {"Effect": "Allow", "Action": ["s3:Get*", "sagemaker:*"], "Resource": ["*", "arn:aws:s3:::b/*"]}
    check_permissions(policy(good))
    check_permissions(json.dumps({"Statement": good}))
    check_permissions(policy({"Effect": "Deny", "NotAction": "*", "NotResource": "arn:aws:s3:::b"}))
    for bad in (
        {**good, "Principal": "*"},
        {**good, "Action": "GetObject"},
        {**good, "Resource": "b"},
        {"Effect": "Allow", "Action": "*"},
        {"Effect": "Allow", "Resource": "*"},
    ):
        with pytest.raises(MalformedPolicyDocument):
            check_permissions(policy(bad))


JSON = st.recursive(
    st.sampled_from(["Allow", "Deny", "2012-10-17", "*", "s3:Get*", "sts:AssumeRole", "Bool", "1" * 12])
    | st.none()
    | st.booleans()
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["Version", "Statement", "Effect", "Principal", "Action", "AWS", "Condition", "Resource", "Bool"]
            ),
            inner,
            max_size=4,
        )
    ),
)


@given(JSON)
def test_any_json_is_taken_or_refused(document: Any) -> None:
    for check in (checked_trust, check_permissions, checked_resource_policy):
        try:
            check(json.dumps(document))
        except MalformedPolicyDocument:
            continue
        parsed(json.dumps(document))


def test_resource_policies() -> None:
    good = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*"}
    assert checked_resource_policy(policy(good))[0]["Effect"] == "Allow"
    for bad in (
        {k: v for k, v in good.items() if k != "Principal"},
        {**good, "Resource": "b"},
        {**good, "Action": "x"},
    ):
        with pytest.raises(MalformedPolicyDocument):
            checked_resource_policy(policy(bad))


@given(JSON, JSON)
def test_what_is_not_understood_lets_nobody_in(condition: Any, principal: Any) -> None:
    statement = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": principal, "Condition": condition}
    try:
        trust = parsed(policy(statement))
    except BrokenPolicy:
        return
    role = Resource(ROLE, ACCOUNT, trust, needs_policy=True)
    if principal != "*" and not (isinstance(principal, dict) and "AWS" in principal):
        assert not evaluate(ROOT, "sts:AssumeRole", role).allowed
