"""The evaluation logic: a table after AWS's documentation, and what has to hold for any policies."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.identity.policy import (
    BOUNDARY,
    IDENTITY,
    RESOURCE,
    SESSION,
    BrokenPolicy,
    Decision,
    Identity,
    Policy,
    Resource,
    evaluate,
    parsed,
)

OWN, OTHER = "1" * 12, "2" * 12
USER_ARN = f"arn:aws:iam::{OWN}:user/ann"
ROLE_ARN = f"arn:aws:iam::{OWN}:role/worker"
SESSION_ARN = f"arn:aws:sts::{OWN}:assumed-role/worker/s"
OBJECT = "arn:aws:s3:::b/k"


def policy(*statements: dict[str, Any], version: str = "2012-10-17") -> Policy:
    return parsed(json.dumps({"Version": version, "Statement": list(statements)}))


def allow(action: Any = "s3:*", resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def deny(action: Any = "s3:*", resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {**allow(action, resource, **more), "Effect": "Deny"}


def to(principal: Any, **more: Any) -> dict[str, Any]:
    return allow(Principal=principal, **more)


READ, ALL, NONE = policy(allow("s3:GetObject")), policy(allow("*")), policy(allow("iam:*"))
DENIES = policy(deny())
USER = Identity(OWN, USER_ARN, names=("AIDA1",))
ROLE = Identity(OWN, SESSION_ARN, names=(ROLE_ARN, "AROA1"))
ROOT = Identity(OWN, f"arn:aws:iam::{OWN}:root")
NOBODY = Identity("", "")
YES = Decision(True)


def no(source: str, explicit: bool = False) -> Decision:
    return Decision(False, explicit, source)


@pytest.mark.parametrize(
    ("identity", "bucket_policy", "owner", "want"),
    [
        # Identity policies alone
        (USER, None, OWN, no(IDENTITY)),
        (replace(USER, policies=(READ,)), None, OWN, YES),
        (replace(USER, policies=(NONE,)), None, OWN, no(IDENTITY)),
        (replace(USER, policies=(ALL, DENIES)), None, OWN, no(IDENTITY, True)),
        (replace(USER, policies=(DENIES, ALL)), None, OWN, no(IDENTITY, True)),
        # Permissions boundaries
        (replace(USER, policies=(ALL,), boundary=READ), None, OWN, YES),
        (replace(USER, policies=(ALL,), boundary=NONE), None, OWN, no(BOUNDARY)),
        (replace(USER, policies=(ALL,), boundary=DENIES), None, OWN, no(BOUNDARY, True)),
        (replace(USER, boundary=READ), None, OWN, no(IDENTITY)),
        # Session policies
        (replace(ROLE, policies=(ALL,), session=(READ,)), None, OWN, YES),
        (replace(ROLE, policies=(ALL,), session=(NONE, READ)), None, OWN, YES),
        (replace(ROLE, policies=(ALL,), session=(NONE,)), None, OWN, no(SESSION)),
        (replace(ROLE, policies=(ALL,), session=()), None, OWN, no(SESSION)),
        (replace(ROLE, policies=(ALL,), session=(READ, DENIES)), None, OWN, no(SESSION, True)),
        (replace(ROLE, session=(READ,)), None, OWN, no(IDENTITY)),
        (replace(ROLE, policies=(ALL,), session=(READ,), boundary=NONE), None, OWN, no(BOUNDARY)),
        # Resource policies in the same account
        (USER, policy(to({"AWS": USER_ARN})), OWN, YES),
        (USER, policy(to({"AWS": [OTHER, USER_ARN]})), OWN, YES),
        (USER, policy(to("*")), OWN, YES),
        (USER, policy(to({"AWS": "*"})), OWN, YES),
        (USER, policy(to({"AWS": OWN})), OWN, no(IDENTITY)),
        (USER, policy(to({"AWS": f"arn:aws:iam::{OWN}:root"})), OWN, no(IDENTITY)),
        (USER, policy(to({"AWS": f"arn:aws:iam::{OWN}:user/bob"})), OWN, no(IDENTITY)),
        (USER, policy(to({"Service": "sagemaker.amazonaws.com"})), OWN, no(IDENTITY)),
        (USER, policy(to({"AWS": "AIDA1"})), OWN, YES),
        (replace(USER, boundary=NONE), policy(to({"AWS": USER_ARN})), OWN, YES),
        (replace(USER, boundary=NONE), policy(to("*")), OWN, no(BOUNDARY)),
        (replace(USER, policies=(ALL,)), policy(deny(Principal="*")), OWN, no(RESOURCE, True)),
        (replace(USER, policies=(ALL,)), policy(deny(Principal={"AWS": OWN})), OWN, no(RESOURCE, True)),
        (replace(USER, policies=(ALL,)), policy(deny(Principal={"AWS": OTHER})), OWN, YES),
        (replace(USER, policies=(DENIES,)), policy(to({"AWS": USER_ARN})), OWN, no(IDENTITY, True)),
        (ROLE, policy(to({"AWS": ROLE_ARN})), OWN, YES),
        (ROLE, policy(to({"AWS": SESSION_ARN})), OWN, YES),
        (replace(ROLE, session=(NONE,)), policy(to({"AWS": ROLE_ARN})), OWN, no(SESSION)),
        (replace(ROLE, session=(NONE,)), policy(to({"AWS": SESSION_ARN})), OWN, YES),
        (replace(ROLE, boundary=NONE), policy(to({"AWS": ROLE_ARN})), OWN, no(BOUNDARY)),
        (replace(ROLE, boundary=NONE), policy(to({"AWS": SESSION_ARN})), OWN, YES),
        (replace(ROLE, boundary=DENIES), policy(to({"AWS": SESSION_ARN})), OWN, no(BOUNDARY, True)),
        # NotPrincipal
        (replace(USER, policies=(ALL,)), policy(deny(NotPrincipal={"AWS": USER_ARN})), OWN, YES),
        (replace(USER, policies=(ALL,)), policy(deny(NotPrincipal={"AWS": OTHER})), OWN, no(RESOURCE, True)),
        (USER, policy(allow(NotPrincipal={"AWS": OTHER})), OWN, YES),
        # Across accounts both sides have to allow
        (replace(USER, policies=(ALL,)), None, OTHER, no(RESOURCE)),
        (replace(USER, policies=(ALL,)), policy(to({"AWS": OWN})), OTHER, YES),
        (replace(USER, policies=(ALL,)), policy(to({"AWS": USER_ARN})), OTHER, YES),
        (USER, policy(to({"AWS": USER_ARN})), OTHER, no(IDENTITY)),
        (USER, policy(to("*")), OTHER, no(IDENTITY)),
        (replace(USER, policies=(ALL,), boundary=NONE), policy(to({"AWS": USER_ARN})), OTHER, no(BOUNDARY)),
        (replace(ROLE, policies=(ALL,), session=(NONE,)), policy(to({"AWS": SESSION_ARN})), OTHER, no(SESSION)),
        (replace(USER, policies=(ALL,)), policy(to({"AWS": OTHER})), OTHER, no(RESOURCE)),
        # Root
        (ROOT, None, OWN, YES),
        (ROOT, policy(deny(Principal="*")), OWN, YES),
        (ROOT, None, OTHER, no(RESOURCE)),
        (ROOT, policy(to({"AWS": OWN})), OTHER, YES),
        (ROOT, policy(to({"AWS": OWN}), deny(Principal="*")), OTHER, no(RESOURCE, True)),
        # Nobody
        (NOBODY, None, OWN, no(RESOURCE)),
        (NOBODY, policy(to("*")), OWN, YES),
        (NOBODY, policy(to({"AWS": "*"})), OWN, YES),
        (NOBODY, policy(to({"AWS": OWN})), OWN, no(RESOURCE)),
        (NOBODY, policy(to("*"), deny(Principal="*", Condition={"Bool": {"x": "y"}})), OWN, YES),
    ],
)
def test_evaluation(identity: Identity, bucket_policy: Policy | None, owner: str, want: Decision) -> None:
    assert evaluate(identity, "s3:GetObject", Resource(OBJECT, owner, bucket_policy)) == want


@pytest.mark.parametrize(
    ("statement", "want"),
    [
        (allow("s3:GetObject", OBJECT), True),
        (allow("S3:getobject", OBJECT), True),
        (allow("s3:Get*", "arn:aws:s3:::b/*"), True),
        (allow("s3:Get?bject", "arn:aws:s3:::?/k"), True),
        (allow("*", "*"), True),
        (allow("s3:Put*", OBJECT), False),
        (allow("s3:GetObject", "arn:aws:s3:::b"), False),
        (allow("s3:GetObject", "arn:aws:s3:::B/k"), False),
        (allow(["iam:*", "s3:GetObject"], ["x", OBJECT]), True),
        ({"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}, True),
        ({"Effect": "Allow", "NotAction": ["iam:*", "s3:Get*"], "Resource": "*"}, False),
        ({"Effect": "Allow", "Action": "*", "NotResource": "arn:aws:s3:::c/*"}, True),
        ({"Effect": "Allow", "Action": "*", "NotResource": ["arn:aws:s3:::b/*"]}, False),
        (allow("*", "arn:aws:s3:::b/${k:name}"), True),
        (allow("*", "arn:aws:s3:::${k:missing}/*"), False),
        (allow("*", "arn:aws:s3:::${k:missing, 'b'}/*"), True),
        (allow(Condition={"StringEquals": {"k:name": "k"}}), True),
        (allow(Condition={"StringEquals": {"k:name": "x"}}), False),
        (allow(Condition={"StringIs": {"k:name": "k"}}), False),
    ],
)
def test_statements(statement: dict[str, Any], want: bool) -> None:
    identity = replace(USER, policies=(policy(statement),))
    context = {"k:name": ("k",)}
    assert evaluate(identity, "s3:GetObject", Resource(OBJECT, OWN), context).allowed is want


def test_a_deny_that_is_not_understood_counts() -> None:
    identity = replace(USER, policies=(ALL, policy(deny(Condition={"StringIs": {"k": "v"}}))))
    assert evaluate(identity, "s3:GetObject", Resource(OBJECT, OWN)) == no(IDENTITY, True)


def test_variables_need_the_newer_version() -> None:
    statement = allow("*", "arn:aws:s3:::b/${aws:username}")
    for version, want in (("2012-10-17", True), ("2008-10-17", False)):
        identity = replace(USER, policies=(policy(statement, version=version),))
        assert evaluate(identity, "s3:GetObject", Resource(OBJECT, OWN), {"aws:username": ("k",)}).allowed is want


def test_keys_and_roles_need_their_policy() -> None:
    """A role's trust, a key's policy: without it the identity's own policies say nothing."""
    able = replace(USER, policies=(ALL,))
    for needs, trust, want in (
        (True, None, False),
        (True, policy(to({"AWS": OWN}, Action="*")), True),
        (True, policy(to({"AWS": OTHER}, Action="*")), False),
        (False, None, True),
    ):
        assert evaluate(able, "kms:Decrypt", Resource("arn:key", OWN, trust, needs)).allowed is want
    service = Identity(OWN, "", service="sagemaker.amazonaws.com")
    trust = policy(to({"Service": "sagemaker.amazonaws.com"}, Action="sts:AssumeRole"))
    assert evaluate(service, "sts:AssumeRole", Resource(ROLE_ARN, OWN, trust, True)).allowed
    assert not evaluate(replace(service, service="x"), "sts:AssumeRole", Resource(ROLE_ARN, OWN, trust, True)).allowed


def test_reasons_are_told_in_awss_words() -> None:
    assert no(IDENTITY).reason("s3:x") == "because no identity-based policy allows the s3:x action"
    assert no(BOUNDARY).reason("s3:x") == "because no permissions boundary allows the s3:x action"
    assert no(IDENTITY, True).reason("s3:x") == "with an explicit deny in an identity-based policy"
    assert no(RESOURCE, True).reason("s3:x") == "with an explicit deny in a resource-based policy"


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "{}", '{"Statement": 1}', '{"Statement": [{"Effect": "x"}]}', "[" * 9999]
)
def test_broken_policies(text: str) -> None:
    with pytest.raises(BrokenPolicy):
        parsed(text)


# What holds for any policies

PATTERN = st.sampled_from(["*", "s3:*", "s3:Get*", "s3:GetObject", "s3:PutObject", "iam:*"])
RESOURCE_PATTERN = st.sampled_from(
    ["*", OBJECT, "arn:aws:s3:::b/*", "arn:aws:s3:::c/*", "arn:aws:s3:::b/${aws:username}"]
)
CONDITION = st.sampled_from([{}, {"Bool": {"k": "true"}}, {"StringNotEquals": {"k": "true"}}, {"Null": {"k": "true"}}])
PRINCIPAL = st.sampled_from(["*", {"AWS": OWN}, {"AWS": OTHER}, {"AWS": USER_ARN}, {"AWS": [ROLE_ARN, SESSION_ARN]}])


@st.composite
def statements(draw: st.DrawFn, *, resource: bool = False) -> dict[str, Any]:
    found: dict[str, Any] = {
        "Effect": draw(st.sampled_from(["Allow", "Allow", "Deny"])),
        draw(st.sampled_from(["Action", "NotAction"])): draw(st.lists(PATTERN, min_size=1, max_size=3)),
        draw(st.sampled_from(["Resource", "NotResource"])): draw(st.lists(RESOURCE_PATTERN, min_size=1, max_size=2)),
        "Condition": draw(CONDITION),
    }
    if resource:
        found[draw(st.sampled_from(["Principal", "NotPrincipal"]))] = draw(PRINCIPAL)
    return found


def policies(*, resource: bool = False) -> st.SearchStrategy[Policy]:
    return st.lists(statements(resource=resource), max_size=3).map(lambda each: policy(*each))


IDENTITIES = st.builds(
    Identity,
    account=st.just(OWN),
    arn=st.sampled_from([USER_ARN, SESSION_ARN]),
    policies=st.lists(policies(), max_size=3).map(tuple),
    boundary=st.none() | policies(),
    session=st.none() | st.lists(policies(), max_size=2).map(tuple),
    names=st.just((ROLE_ARN,)),
)
RESOURCES = st.builds(
    Resource,
    arn=st.sampled_from([OBJECT, "arn:aws:s3:::c/x"]),
    account=st.sampled_from([OWN, OTHER]),
    policy=st.none() | policies(resource=True),
    needs_policy=st.booleans(),
)
CONTEXTS = st.sampled_from([{}, {"k": ("true",)}, {"k": ("false",), "aws:username": ("k",)}])
ACTIONS = st.sampled_from(["s3:GetObject", "s3:PutObject", "iam:GetUser"])


@given(IDENTITIES, RESOURCES, ACTIONS, CONTEXTS, statements())
def test_a_further_deny_never_opens(
    identity: Identity, resource: Resource, action: str, context: Any, statement: dict[str, Any]
) -> None:
    denied = replace(identity, policies=(*identity.policies, policy({**statement, "Effect": "Deny"})))
    if not evaluate(identity, action, resource, context).allowed:
        assert not evaluate(denied, action, resource, context).allowed


@given(IDENTITIES, RESOURCES, ACTIONS, CONTEXTS, policies())
def test_boundaries_and_session_policies_never_open(
    identity: Identity, resource: Resource, action: str, context: Any, further: Policy
) -> None:
    free = replace(identity, boundary=None, session=None)
    for held in (replace(free, boundary=further), replace(free, session=(further,))):
        if not evaluate(free, action, resource, context).allowed:
            assert not evaluate(held, action, resource, context).allowed


@given(IDENTITIES, RESOURCES, ACTIONS, CONTEXTS)
def test_the_order_of_policies_does_not_matter(
    identity: Identity, resource: Resource, action: str, context: Any
) -> None:
    other = replace(identity, policies=tuple(reversed(identity.policies)))
    assert evaluate(identity, action, resource, context) == evaluate(other, action, resource, context)


@given(RESOURCES, ACTIONS, CONTEXTS)
def test_root_may_do_all_in_its_account(resource: Resource, action: str, context: Any) -> None:
    own = replace(resource, account=OWN, needs_policy=False)
    assert evaluate(ROOT, action, own, context).allowed


@given(IDENTITIES, RESOURCES, ACTIONS, CONTEXTS)
def test_without_any_allow_nothing_is_allowed(
    identity: Identity, resource: Resource, action: str, context: Any
) -> None:
    def mute(each: Policy) -> Policy:
        return Policy(tuple(statement for statement in each.statements if not statement.allows))

    silent = replace(identity, policies=tuple(mute(each) for each in identity.policies))
    quiet = replace(resource, policy=mute(resource.policy) if resource.policy else None)
    assert not evaluate(silent, action, quiet, context).allowed
