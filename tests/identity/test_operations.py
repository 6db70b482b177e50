"""STS and IAM on the real store."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import unquote

import pytest

from kedge import errors
from kedge.call import Call
from kedge.identity import errors as iam
from kedge.identity.entities import ROLE
from kedge.identity.keys import KeyRing
from kedge.identity.operations import operations, seed
from kedge.identity.records import EXECUTION_ROLE, Caller
from kedge.store.records import Scope
from tests.identity.conftest import ACCOUNT, NOW, ROOT_KEY, Do, World

RING = KeyRing([ROOT_KEY], b"k" * 32)
TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"},
    }
)
PERMISSIONS = json.dumps({"Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]})


@pytest.fixture
def call(world: World) -> Call:
    return world.call


def caller_of(credentials: dict[str, Any], now: datetime = NOW) -> Caller:
    key = RING.find(credentials["AccessKeyId"], credentials["SessionToken"], now)
    assert key.secret == credentials["SecretAccessKey"]
    return key.caller("us-east-1")


def assume(do: Do, name: str, **more: Any) -> dict[str, Any]:
    return do("sts.AssumeRole", RoleArn=f"arn:aws:iam::{ACCOUNT}:role/{name}", RoleSessionName="me", **more)


def test_names_of_operations_are_in_the_models() -> None:
    from botocore.session import get_session

    session = get_session()
    names = {service: set(session.get_service_model(service).operation_names) for service in ("iam", "sts")}
    for key in operations(RING):
        service, _, name = key.partition(".")
        assert name in names[service]


def test_caller_identity(do: Do) -> None:
    assert do("sts.GetCallerIdentity") == {"UserId": ACCOUNT, "Account": ACCOUNT, "Arn": ROOT_KEY.arn}


def test_assumed_role(do: Do) -> None:
    trust = TRUST.replace('"sts:AssumeRole"', '["sts:AssumeRole", "sts:SetSourceIdentity"]')
    role = do("iam.CreateRole", RoleName="Worker", Path="/a/", AssumeRolePolicyDocument=trust)["Role"]
    answer = assume(do, "a/Worker", SourceIdentity="ann")
    arn = f"arn:aws:sts::{ACCOUNT}:assumed-role/Worker/me"
    assert answer["AssumedRoleUser"] == {"AssumedRoleId": f"{role['RoleId']}:me", "Arn": arn}
    assert answer["SourceIdentity"] == "ann"
    assert answer["Credentials"]["Expiration"] == NOW.replace(microsecond=0) + timedelta(hours=1)
    session = caller_of(answer["Credentials"])
    assert do("sts.GetCallerIdentity", by=session) == {
        "UserId": f"{role['RoleId']}:me",
        "Account": ACCOUNT,
        "Arn": arn,
    }
    with pytest.raises(errors.ExpiredToken):
        caller_of(answer["Credentials"], NOW + timedelta(hours=1))


def test_assume_role_refused(do: Do) -> None:
    do("iam.CreateRole", RoleName="closed", AssumeRolePolicyDocument=TRUST.replace(ACCOUNT, "2" * 12))
    do("iam.CreateRole", RoleName="open", AssumeRolePolicyDocument=TRUST)
    for name in ("closed", "nobody", "OPEN", "a/open"):
        with pytest.raises(errors.AccessDenied) as raised:
            assume(do, name)
        assert raised.value.message == (
            f"User: {ROOT_KEY.arn} is not authorized to perform: sts:AssumeRole on resource: "
            f"arn:aws:iam::{ACCOUNT}:role/{name}"
        )
    for arn in (f"arn:aws:iam::{ACCOUNT}:user/open", "arn:aws:iam::1:role/open", "a" * 20):
        with pytest.raises(errors.AccessDenied, match="sts:AssumeRole"):
            do("sts.AssumeRole", RoleArn=arn, RoleSessionName="me")
    with pytest.raises(iam.MalformedPolicyDocument):
        assume(do, "open", PolicyArns=[{"arn": "arn:aws:iam::aws:policy/x"}])
    with pytest.raises(iam.MalformedPolicyDocument):
        assume(do, "open", Policy=TRUST)
    with pytest.raises(errors.AccessDenied, match="sts:TagSession"):
        assume(do, "open", Tags=[{"Key": "a", "Value": "b"}])
    with pytest.raises(errors.AccessDenied, match="sts:SetSourceIdentity"):
        assume(do, "open", SourceIdentity="ann")
    with pytest.raises(errors.AccessDenied, match="MultiFactor"):
        assume(do, "open", SerialNumber="x" * 10, TokenCode="123456")


def test_length_of_sessions(do: Do) -> None:
    do("iam.CreateRole", RoleName="r", AssumeRolePolicyDocument=TRUST)
    everything = PERMISSIONS.replace("s3:*", "*")
    do("iam.PutRolePolicy", RoleName="r", PolicyName="all", PolicyDocument=everything)
    with pytest.raises(errors.ValidationFailed, match="MaxSessionDuration set for this role"):
        assume(do, "r", DurationSeconds=3601)
    do("iam.UpdateRole", RoleName="r", MaxSessionDuration=7200)
    credentials = assume(do, "r", DurationSeconds=7200)["Credentials"]
    assert credentials["Expiration"] == NOW.replace(microsecond=0) + timedelta(hours=2)
    session = caller_of(credentials)
    with pytest.raises(errors.ValidationFailed, match="role chaining"):
        assume(do, "r", by=session, DurationSeconds=3601)
    assert assume(do, "r", by=session)["AssumedRoleUser"]["Arn"].endswith(":assumed-role/r/me")


def test_session_token(do: Do) -> None:
    credentials = do("sts.GetSessionToken", DurationSeconds=129_600)["Credentials"]
    assert credentials["Expiration"] == NOW.replace(microsecond=0) + timedelta(hours=1)
    session = caller_of(credentials)
    assert (session.arn, session.user_id) == (ROOT_KEY.arn, ACCOUNT)
    with pytest.raises(errors.AccessDenied, match="session credentials"):
        do("sts.GetSessionToken", by=session)


def test_life_of_a_role(do: Do) -> None:
    created = do(
        "iam.CreateRole",
        RoleName="Worker",
        Path="/team/",
        AssumeRolePolicyDocument=TRUST,
        Description="d",
        MaxSessionDuration=7200,
        PermissionsBoundary="arn:aws:iam::aws:policy/ReadOnlyAccess",
        Tags=[{"Key": "Team", "Value": "a"}],
    )["Role"]
    assert created["Arn"] == f"arn:aws:iam::{ACCOUNT}:role/team/Worker"
    assert re.fullmatch("AROA[A-Z2-7]{17}", created["RoleId"])
    assert "{" not in created["AssumeRolePolicyDocument"]
    assert unquote(created["AssumeRolePolicyDocument"]) == TRUST
    with pytest.raises(iam.EntityAlreadyExists, match=r"Role with name worker already exists\."):
        do("iam.CreateRole", RoleName="worker", AssumeRolePolicyDocument=TRUST)
    role = do("iam.GetRole", RoleName="Worker")["Role"]
    assert role == {
        **created,
        "Tags": [{"Key": "Team", "Value": "a"}],
        "RoleLastUsed": {},
        "PermissionsBoundary": {
            "PermissionsBoundaryType": "Policy",
            "PermissionsBoundaryArn": "arn:aws:iam::aws:policy/ReadOnlyAccess",
        },
    }
    assert role["CreateDate"] == NOW

    do("iam.UpdateRole", RoleName="Worker", Description="e")
    do("iam.DeleteRolePermissionsBoundary", RoleName="Worker")
    do("iam.UpdateAssumeRolePolicy", RoleName="Worker", PolicyDocument=TRUST + " ")
    role = do("iam.UpdateRoleDescription", RoleName="Worker", Description="f")["Role"]
    assert (role["Description"], role["MaxSessionDuration"]) == ("f", 7200)
    assert "PermissionsBoundary" not in role
    assert unquote(role["AssumeRolePolicyDocument"]) == TRUST + " "
    with pytest.raises(iam.NoSuchEntity):
        do("iam.DeleteRolePermissionsBoundary", RoleName="Worker")

    assert do("iam.ListInstanceProfilesForRole", RoleName="Worker") == {"InstanceProfiles": [], "IsTruncated": False}
    do("iam.DeleteRole", RoleName="Worker")
    for operation in ("GetRole", "DeleteRole", "ListRolePolicies", "ListRoleTags", "ListInstanceProfilesForRole"):
        with pytest.raises(iam.NoSuchEntity, match=r"The role with name Worker cannot be found\."):
            do(f"iam.{operation}", RoleName="Worker")


def test_bad_trust_policies(do: Do) -> None:
    with pytest.raises(iam.MalformedPolicyDocument):
        do("iam.CreateRole", RoleName="r", AssumeRolePolicyDocument="{}")
    long = TRUST.replace('"Statement"', '"Id": "' + "x" * 2048 + '", "Statement"')
    with pytest.raises(iam.LimitExceeded, match="ACLSizePerRole: 2048"):
        do("iam.CreateRole", RoleName="r", AssumeRolePolicyDocument=long)
    do("iam.CreateRole", RoleName="r", AssumeRolePolicyDocument=TRUST + " " * 4000)
    with pytest.raises(iam.MalformedPolicyDocument):
        do("iam.UpdateAssumeRolePolicy", RoleName="r", PolicyDocument=PERMISSIONS)


@pytest.mark.parametrize("key", ["Principal", "NotPrincipal"])
def test_a_trust_policy_names_only_who_is_there(do: Do, key: str) -> None:
    def trusting(*names: str) -> str:
        arns = [f"arn:aws:iam::{name}" for name in names]
        statement = {"Effect": "Allow", key: {"AWS": arns}, "Action": "sts:AssumeRole"}
        return json.dumps({"Version": "2012-10-17", "Statement": [statement]})

    ann, other = f"{ACCOUNT}:user/staff/ann", "999999999999:user/who-knows"
    with pytest.raises(iam.MalformedPolicyDocument, match=r'Invalid principal in policy: \{"AWS": ".*/staff/ann"\}'):
        do("iam.CreateRole", RoleName="r", AssumeRolePolicyDocument=trusting(other, ann))
    do("iam.CreateUser", UserName="ann", Path="/staff/")
    do("iam.CreateRole", RoleName="r", AssumeRolePolicyDocument=trusting(other, ann, f"{ACCOUNT}:root"))
    do("iam.UpdateAssumeRolePolicy", RoleName="r", PolicyDocument=trusting(f"{ACCOUNT}:role/r"))
    for wrong in ("user/ann", "user/other/ann", "role/ann", "role/*"):
        with pytest.raises(iam.MalformedPolicyDocument, match="Invalid principal"):
            do("iam.UpdateAssumeRolePolicy", RoleName="r", PolicyDocument=trusting(f"{ACCOUNT}:{wrong}"))


def test_inline_policies(do: Do) -> None:
    do("iam.CreateRole", RoleName="r", AssumeRolePolicyDocument=TRUST)
    for name in ("b", "a"):
        do("iam.PutRolePolicy", RoleName="r", PolicyName=name, PolicyDocument=PERMISSIONS)
    assert do("iam.ListRolePolicies", RoleName="r") == {"PolicyNames": ["a", "b"], "IsTruncated": False}
    found = do("iam.GetRolePolicy", RoleName="r", PolicyName="a")
    assert (found["RoleName"], found["PolicyName"]) == ("r", "a")
    assert unquote(found["PolicyDocument"]) == PERMISSIONS
    with pytest.raises(iam.MalformedPolicyDocument):
        do("iam.PutRolePolicy", RoleName="r", PolicyName="c", PolicyDocument=TRUST)
    long = PERMISSIONS.replace("s3:*", "s3:" + "x" * 10_200)
    with pytest.raises(iam.LimitExceeded, match="10240"):
        do("iam.PutRolePolicy", RoleName="r", PolicyName="c", PolicyDocument=long)
    with pytest.raises(iam.DeleteConflict, match=r"must delete policies first\."):
        do("iam.DeleteRole", RoleName="r")
    for name in ("a", "b"):
        do("iam.DeleteRolePolicy", RoleName="r", PolicyName=name)
        for operation in ("GetRolePolicy", "DeleteRolePolicy"):
            with pytest.raises(iam.NoSuchEntity, match=f"The role policy with name {name} cannot be found"):
                do(f"iam.{operation}", RoleName="r", PolicyName=name)
    do("iam.DeleteRole", RoleName="r")


def test_attached_policies(do: Do, call: Call) -> None:
    do("iam.CreateRole", RoleName="r", AssumeRolePolicyDocument=TRUST)
    full, service = (
        "arn:aws:iam::aws:policy/AmazonSageMakerFullAccess",
        "arn:aws:iam::aws:policy/job-function/ViewOnlyAccess",
    )
    for arn in (service, full, full):
        do("iam.AttachRolePolicy", RoleName="r", PolicyArn=arn)
    assert len(call.store.history(Scope(ACCOUNT, ""), ROLE.kind, "r")) == 3
    want = [
        {"PolicyName": "AmazonSageMakerFullAccess", "PolicyArn": full},
        {"PolicyName": "ViewOnlyAccess", "PolicyArn": service},
    ]
    assert do("iam.ListAttachedRolePolicies", RoleName="r") == {"AttachedPolicies": want, "IsTruncated": False}
    assert do("iam.ListAttachedRolePolicies", RoleName="r", PathPrefix="/job-function/")["AttachedPolicies"] == want[1:]
    for arn in (f"arn:aws:iam::{ACCOUNT}:policy/mine", "arn:aws:iam::aws:policy/AmazonX"):
        with pytest.raises(iam.NoSuchEntity, match="does not exist or is not attachable"):
            do("iam.AttachRolePolicy", RoleName="r", PolicyArn=arn)
    with pytest.raises(iam.DeleteConflict, match=r"must detach all policies first\."):
        do("iam.DeleteRole", RoleName="r")
    for arn in (full, service):
        do("iam.DetachRolePolicy", RoleName="r", PolicyArn=arn)
    with pytest.raises(iam.NoSuchEntity, match="was not found"):
        do("iam.DetachRolePolicy", RoleName="r", PolicyArn=full)
    for number in range(10):
        arn = do("iam.CreatePolicy", PolicyName=f"P{number}", PolicyDocument=PERMISSIONS)["Policy"]["Arn"]
        do("iam.AttachRolePolicy", RoleName="r", PolicyArn=arn)
    with pytest.raises(iam.LimitExceeded, match="PoliciesPerRole: 10"):
        do("iam.AttachRolePolicy", RoleName="r", PolicyArn=full)


def test_tags(do: Do) -> None:
    do("iam.CreateRole", RoleName="r", AssumeRolePolicyDocument=TRUST)
    assert do("iam.ListRoleTags", RoleName="r") == {"Tags": [], "IsTruncated": False}
    do("iam.TagRole", RoleName="r", Tags=[{"Key": "b", "Value": "1"}, {"Key": "a", "Value": ""}])
    do("iam.TagRole", RoleName="r", Tags=[{"Key": "B", "Value": "2"}])
    tags = [{"Key": "B", "Value": "2"}, {"Key": "a", "Value": ""}]
    assert do("iam.ListRoleTags", RoleName="r")["Tags"] == tags
    do("iam.UntagRole", RoleName="r", TagKeys=["A", "other"])
    assert do("iam.GetRole", RoleName="r")["Role"]["Tags"] == tags[:1]
    with pytest.raises(iam.InvalidInput, match="Duplicate tag keys"):
        do("iam.TagRole", RoleName="r", Tags=[{"Key": "x", "Value": ""}, {"Key": "X", "Value": ""}])
    with pytest.raises(iam.InvalidInput, match="reserved"):
        do("iam.TagRole", RoleName="r", Tags=[{"Key": "aws:x", "Value": ""}])
    with pytest.raises(iam.LimitExceeded):
        do("iam.TagRole", RoleName="r", Tags=[{"Key": f"k{n}", "Value": ""} for n in range(50)])


def test_pages(do: Do) -> None:
    names = [f"Role{n:02}" for n in range(12)]
    for number, name in enumerate(names):
        path = "/odd/" if number % 2 else "/"
        do("iam.CreateRole", RoleName=name, Path=path, AssumeRolePolicyDocument=TRUST)
    seen, marker = [], {}
    for _ in range(10):
        answer = do("iam.ListRoles", MaxItems=5, **marker)
        seen += [role["RoleName"] for role in answer["Roles"]]
        if not answer["IsTruncated"]:
            break
        marker = {"Marker": answer["Marker"]}
    assert seen == names
    assert "Marker" not in answer
    odd = do("iam.ListRoles", PathPrefix="/odd/")
    assert [role["RoleName"] for role in odd["Roles"]] == names[1::2]
    assert "Tags" not in odd["Roles"][0]


def test_execution_role_is_there_once(do: Do, call: Call) -> None:
    for hours in range(3):
        seed(call.store, ACCOUNT, NOW + timedelta(hours=hours))
    role = do("iam.GetRole", RoleName=EXECUTION_ROLE)["Role"]
    assert role["Arn"] == f"arn:aws:iam::{ACCOUNT}:role/kedge-execution-role"
    assert role["CreateDate"] == NOW
    assert "sagemaker.amazonaws.com" in unquote(role["AssumeRolePolicyDocument"])
    assert len(do("iam.ListRoles")["Roles"]) == 1
    assert assume(do, EXECUTION_ROLE)["AssumedRoleUser"]["Arn"].endswith("/kedge-execution-role/me")
    assert do("iam.ListAttachedRolePolicies", RoleName=EXECUTION_ROLE)["AttachedPolicies"]


def test_user(do: Do, call: Call) -> None:
    seed(call.store, ACCOUNT, NOW - timedelta(days=1))
    user = do("iam.GetUser")["User"]
    assert (user["Arn"], user["UserId"]) == (ROOT_KEY.arn, ACCOUNT)
    assert user["CreateDate"] == NOW - timedelta(days=1)
    with pytest.raises(iam.NoSuchEntity, match=r"The user with name ann cannot be found\."):
        do("iam.GetUser", UserName="ann")
    session = caller_of(assume(do, EXECUTION_ROLE)["Credentials"])
    with pytest.raises(errors.AccessDenied, match="iam:GetUser"):
        do("iam.GetUser", by=session)
