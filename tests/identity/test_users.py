"""Users, groups, keys, managed policies and instance profiles, as IAM answers for them."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import timedelta
from urllib.parse import unquote

import pytest

from kedge import errors
from kedge.identity import errors as iam
from kedge.identity.entities import ACCESS_KEY
from kedge.identity.keys import KeyRing
from kedge.identity.known import snapshot
from kedge.store.records import Scope
from tests.identity.conftest import ACCOUNT, NOW, Do, World

POLICY = json.dumps({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "iam:*", "Resource": "*"}})
OTHER = POLICY.replace("iam:*", "s3:*")
TRUST = json.dumps(
    {"Statement": {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}}
)
READ_ONLY = "arn:aws:iam::aws:policy/ReadOnlyAccess"


def test_life_of_a_user(do: Do) -> None:
    made = do("iam.CreateUser", UserName="Ann", Path="/a/", Tags=[{"Key": "t", "Value": "1"}])["User"]
    assert made["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/a/Ann"
    assert re.fullmatch("AIDA[A-Z2-7]{17}", made["UserId"])
    assert made["CreateDate"] == NOW
    with pytest.raises(iam.EntityAlreadyExists, match=r"User with name ann already exists\."):
        do("iam.CreateUser", UserName="ann")
    do("iam.PutUserPermissionsBoundary", UserName="Ann", PermissionsBoundary=READ_ONLY)
    user = do("iam.GetUser", UserName="ann")["User"]
    assert user == {
        **made,
        "PermissionsBoundary": {"PermissionsBoundaryType": "Policy", "PermissionsBoundaryArn": READ_ONLY},
    }
    later = NOW + timedelta(days=1)
    do("iam.UpdateUser", UserName="Ann", NewUserName="Bea", NewPath="/b/", at=later)
    user = do("iam.GetUser", UserName="Bea")["User"]
    assert (user["Arn"], user["UserId"]) == (f"arn:aws:iam::{ACCOUNT}:user/b/Bea", made["UserId"])
    assert user["CreateDate"] == NOW
    do("iam.CreateUser", UserName="cid")
    with pytest.raises(iam.EntityAlreadyExists):
        do("iam.UpdateUser", UserName="Bea", NewUserName="CID")
    assert [each["UserName"] for each in do("iam.ListUsers")["Users"]] == ["Bea", "cid"]
    assert [each["UserName"] for each in do("iam.ListUsers", PathPrefix="/b/")["Users"]] == ["Bea"]
    do("iam.UntagUser", UserName="Bea", TagKeys=["t"])
    assert do("iam.ListUserTags", UserName="Bea")["Tags"] == []
    do("iam.DeleteUser", UserName="Bea")
    for operation in (
        "GetUser",
        "DeleteUser",
        "ListAccessKeys",
        "ListGroupsForUser",
        "ListMFADevices",
        "GetLoginProfile",
    ):
        with pytest.raises(iam.NoSuchEntity, match=r"The user with name Bea cannot be found\."):
            do(f"iam.{operation}", UserName="Bea")


def test_what_keeps_a_user_from_being_deleted(do: Do) -> None:
    do("iam.CreateUser", UserName="u")
    do("iam.CreateGroup", GroupName="g")
    key = do("iam.CreateAccessKey", UserName="u")["AccessKey"]
    do("iam.PutUserPolicy", UserName="u", PolicyName="p", PolicyDocument=POLICY)
    do("iam.AttachUserPolicy", UserName="u", PolicyArn=READ_ONLY)
    do("iam.AddUserToGroup", UserName="u", GroupName="g")
    do("iam.AddUserToGroup", UserName="u", GroupName="g")
    for reason, undo, more in (
        ("access keys", "DeleteAccessKey", {"AccessKeyId": key["AccessKeyId"]}),
        ("must delete policies", "DeleteUserPolicy", {"PolicyName": "p"}),
        ("detach all policies", "DetachUserPolicy", {"PolicyArn": READ_ONLY}),
        ("users from group", "RemoveUserFromGroup", {"GroupName": "g"}),
    ):
        with pytest.raises(iam.DeleteConflict, match=reason):
            do("iam.DeleteUser", UserName="u")
        do(f"iam.{undo}", UserName="u", **more)
    do("iam.DeleteUser", UserName="u")


def test_groups(do: Do) -> None:
    made = do("iam.CreateGroup", GroupName="G", Path="/p/")["Group"]
    assert made["Arn"] == f"arn:aws:iam::{ACCOUNT}:group/p/G"
    for name in ("b", "a"):
        do("iam.CreateUser", UserName=name)
        do("iam.AddUserToGroup", GroupName="G", UserName=name)
    found = do("iam.GetGroup", GroupName="G")
    assert found["Group"] == made
    assert [each["UserName"] for each in found["Users"]] == ["a", "b"]
    do("iam.UpdateGroup", GroupName="G", NewGroupName="H")
    assert [each["GroupName"] for each in do("iam.ListGroupsForUser", UserName="a")["Groups"]] == ["H"]
    with pytest.raises(iam.DeleteConflict, match="users from group"):
        do("iam.DeleteGroup", GroupName="H")
    for name in ("a", "b"):
        do("iam.RemoveUserFromGroup", GroupName="H", UserName=name)
    do("iam.PutGroupPolicy", GroupName="H", PolicyName="p", PolicyDocument=POLICY)
    with pytest.raises(iam.LimitExceeded, match="5120"):
        do(
            "iam.PutGroupPolicy",
            GroupName="H",
            PolicyName="q",
            PolicyDocument=POLICY.replace("iam:*", "s3:" + "x" * 5200),
        )
    with pytest.raises(iam.DeleteConflict, match="delete policies"):
        do("iam.DeleteGroup", GroupName="H")
    do("iam.DeleteGroupPolicy", GroupName="H", PolicyName="p")
    do("iam.DeleteGroup", GroupName="H")
    assert do("iam.ListGroups") == {"Groups": [], "IsTruncated": False}


def test_access_keys(do: Do, world: World) -> None:
    do("iam.CreateUser", UserName="u")
    do("iam.PutUserPolicy", UserName="u", PolicyName="p", PolicyDocument=POLICY)
    first = do("iam.CreateAccessKey", UserName="u")["AccessKey"]
    assert re.fullmatch("AKIA[A-Z2-7]{16}", first["AccessKeyId"])
    assert len(first["SecretAccessKey"]) == 40
    user = world.caller(first)
    assert (user.arn, user.session) == (f"arn:aws:iam::{ACCOUNT}:user/u", None)
    second = do("iam.CreateAccessKey", by=user)["AccessKey"]
    assert second["UserName"] == "u"
    with pytest.raises(iam.LimitExceeded, match="AccessKeysPerUser: 2"):
        do("iam.CreateAccessKey", by=user)
    listed = do("iam.ListAccessKeys", by=user)["AccessKeyMetadata"]
    assert {each["AccessKeyId"] for each in listed} == {first["AccessKeyId"], second["AccessKeyId"]}
    assert "SecretAccessKey" not in listed[0]
    do("iam.UpdateAccessKey", by=user, AccessKeyId=second["AccessKeyId"], Status="Inactive")
    with pytest.raises(errors.UnknownAccessKey):
        world.caller(second)
    do("iam.UpdateAccessKey", by=user, AccessKeyId=second["AccessKeyId"], Status="Active")
    world.caller(second)
    do("iam.DeleteAccessKey", UserName="u", AccessKeyId=second["AccessKeyId"])
    with pytest.raises(errors.UnknownAccessKey):
        world.caller(second)
    for request in ({"AccessKeyId": second["AccessKeyId"]}, {"AccessKeyId": "AKIAROOT", "UserName": "u"}):
        with pytest.raises(iam.NoSuchEntity, match="cannot be found"):
            do("iam.DeleteAccessKey", **request)
    with pytest.raises(errors.ValidationFailed, match="name a user"):
        do("iam.CreateAccessKey")
    assert do("sts.GetAccessKeyInfo", AccessKeyId=first["AccessKeyId"]) == {"Account": ACCOUNT}
    with pytest.raises(errors.ValidationFailed):
        do("sts.GetAccessKeyInfo", AccessKeyId=second["AccessKeyId"])


def test_secrets_are_not_kept_in_plain_text(do: Do, world: World) -> None:
    do("iam.CreateUser", UserName="u")
    key = do("iam.CreateAccessKey", UserName="u")["AccessKey"]
    stored = world.store.get(Scope(ACCOUNT, ""), ACCESS_KEY, key["AccessKeyId"])
    assert stored is not None
    assert key["SecretAccessKey"] not in json.dumps(stored.document)
    history = world.store.history(Scope(ACCOUNT, ""), ACCESS_KEY, key["AccessKeyId"])
    assert key["SecretAccessKey"] not in repr(history)
    assert snapshot(world.store, world.ring).keys[0].secret == key["SecretAccessKey"]
    assert snapshot(world.store, KeyRing([], bytes(32))).keys == ()


def test_last_use_of_a_key(do: Do, world: World) -> None:
    do("iam.CreateUser", UserName="u")
    key_id = do("iam.CreateAccessKey", UserName="u")["AccessKey"]["AccessKeyId"]
    never = {"ServiceName": "N/A", "Region": "N/A"}
    assert do("iam.GetAccessKeyLastUsed", AccessKeyId=key_id) == {"UserName": "u", "AccessKeyLastUsed": never}
    world.known.use(key_id, "s3", "eu-west-1", NOW)
    world.known.write_used(NOW)
    used = do("iam.GetAccessKeyLastUsed", AccessKeyId=key_id)["AccessKeyLastUsed"]
    assert used == {"LastUsedDate": NOW, "ServiceName": "s3", "Region": "eu-west-1"}
    with pytest.raises(iam.NoSuchEntity):
        do("iam.GetAccessKeyLastUsed", AccessKeyId="AKIAXXXXXXXXXXXXXXXX")


def test_managed_policies(do: Do) -> None:
    made = do("iam.CreatePolicy", PolicyName="P", Path="/x/", PolicyDocument=POLICY, Description="d")["Policy"]
    arn = made["Arn"]
    assert arn == f"arn:aws:iam::{ACCOUNT}:policy/x/P"
    assert (made["DefaultVersionId"], made["AttachmentCount"], made["Description"]) == ("v1", 0, "d")
    with pytest.raises(iam.EntityAlreadyExists, match="Duplicate names"):
        do("iam.CreatePolicy", PolicyName="p", PolicyDocument=POLICY)
    for _ in range(4):
        version = do("iam.CreatePolicyVersion", PolicyArn=arn, PolicyDocument=OTHER, SetAsDefault=True)["PolicyVersion"]
    assert (version["VersionId"], version["IsDefaultVersion"]) == ("v5", True)
    with pytest.raises(iam.LimitExceeded, match="up to 5 versions"):
        do("iam.CreatePolicyVersion", PolicyArn=arn, PolicyDocument=OTHER)
    text = do("iam.GetPolicyVersion", PolicyArn=arn, VersionId="v5")["PolicyVersion"]["Document"]
    assert unquote(text) == OTHER
    page = do("iam.ListPolicyVersions", PolicyArn=arn, MaxItems=2)
    assert [each["VersionId"] for each in page["Versions"]] == ["v5", "v4"]
    page = do("iam.ListPolicyVersions", PolicyArn=arn, Marker=page["Marker"])
    assert [each["VersionId"] for each in page["Versions"]] == ["v3", "v2", "v1"]
    with pytest.raises(iam.DeleteConflict, match="default version"):
        do("iam.DeletePolicyVersion", PolicyArn=arn, VersionId="v5")
    do("iam.SetDefaultPolicyVersion", PolicyArn=arn, VersionId="v1")
    do("iam.DeletePolicyVersion", PolicyArn=arn, VersionId="v5")
    with pytest.raises(iam.NoSuchEntity):
        do("iam.SetDefaultPolicyVersion", PolicyArn=arn, VersionId="v5")

    do("iam.CreateUser", UserName="u", PermissionsBoundary=arn)
    do("iam.CreateRole", RoleName="r", AssumeRolePolicyDocument=TRUST)
    do("iam.AttachRolePolicy", RoleName="r", PolicyArn=arn)
    found = do("iam.GetPolicy", PolicyArn=arn)["Policy"]
    assert (found["AttachmentCount"], found["PermissionsBoundaryUsageCount"]) == (1, 1)
    entities = do("iam.ListEntitiesForPolicy", PolicyArn=arn)
    assert [each["UserName"] for each in entities["PolicyUsers"]] == ["u"]
    assert [each["RoleName"] for each in entities["PolicyRoles"]] == ["r"]
    assert do("iam.ListEntitiesForPolicy", PolicyArn=arn, PolicyUsageFilter="PermissionsPolicy")["PolicyUsers"] == []
    assert [each["Arn"] for each in do("iam.ListPolicies", Scope="Local")["Policies"]] == [arn]
    assert do("iam.ListPolicies", OnlyAttached=True, Scope="AWS")["Policies"] == []
    with pytest.raises(iam.DeleteConflict, match="attached to entities"):
        do("iam.DeletePolicy", PolicyArn=arn)
    do("iam.DetachRolePolicy", RoleName="r", PolicyArn=arn)
    do("iam.DeleteUserPermissionsBoundary", UserName="u")
    with pytest.raises(iam.DeleteConflict, match="more than one version"):
        do("iam.DeletePolicy", PolicyArn=arn)
    for name in ("v2", "v3", "v4"):
        do("iam.DeletePolicyVersion", PolicyArn=arn, VersionId=name)
    do("iam.TagPolicy", PolicyArn=arn, Tags=[{"Key": "a", "Value": "b"}])
    assert do("iam.ListPolicyTags", PolicyArn=arn)["Tags"] == [{"Key": "a", "Value": "b"}]
    do("iam.DeletePolicy", PolicyArn=arn)
    with pytest.raises(iam.NoSuchEntity, match=f"Policy {arn} was not found"):
        do("iam.GetPolicy", PolicyArn=arn)
    with pytest.raises(iam.LimitExceeded, match="PolicySize: 6144"):
        do("iam.CreatePolicy", PolicyName="p", PolicyDocument=POLICY.replace("iam:*", "s3:" + "x" * 6200))


def test_policies_of_awss_own(do: Do) -> None:
    found = do("iam.GetPolicy", PolicyArn=READ_ONLY)["Policy"]
    assert (found["PolicyName"], found["Path"], found["IsAttachable"]) == ("ReadOnlyAccess", "/", True)
    version = do("iam.GetPolicyVersion", PolicyArn=READ_ONLY, VersionId="v1")["PolicyVersion"]
    assert json.loads(unquote(version["Document"]))["Statement"]
    names = [each["PolicyName"] for each in do("iam.ListPolicies", Scope="AWS", MaxItems=1000)["Policies"]]
    assert {"AdministratorAccess", "AmazonSageMakerFullAccess", "AmazonS3ReadOnlyAccess"} <= set(names)
    with pytest.raises(iam.NoSuchEntity):
        do("iam.GetPolicy", PolicyArn="arn:aws:iam::aws:policy/NoSuchAccess")
    with pytest.raises(iam.InvalidInput):
        do("iam.GetPolicy", PolicyArn="a" * 20)
    with pytest.raises(iam.InvalidInput, match="cannot be changed"):
        do("iam.DeletePolicy", PolicyArn=READ_ONLY)


def test_instance_profiles(do: Do) -> None:
    do("iam.CreateRole", RoleName="R", AssumeRolePolicyDocument=TRUST)
    made = do("iam.CreateInstanceProfile", InstanceProfileName="I", Path="/p/")["InstanceProfile"]
    assert (made["Arn"], made["Roles"]) == (f"arn:aws:iam::{ACCOUNT}:instance-profile/p/I", [])
    do("iam.AddRoleToInstanceProfile", InstanceProfileName="I", RoleName="R")
    with pytest.raises(iam.LimitExceeded):
        do("iam.AddRoleToInstanceProfile", InstanceProfileName="I", RoleName="R")
    assert [
        r["RoleName"] for r in do("iam.GetInstanceProfile", InstanceProfileName="I")["InstanceProfile"]["Roles"]
    ] == ["R"]
    assert len(do("iam.ListInstanceProfilesForRole", RoleName="R")["InstanceProfiles"]) == 1
    for name, request in (("Role", {"RoleName": "R"}), ("InstanceProfile", {"InstanceProfileName": "I"})):
        with pytest.raises(iam.DeleteConflict):
            do(f"iam.Delete{name}", **request)
    do("iam.RemoveRoleFromInstanceProfile", InstanceProfileName="I", RoleName="R")
    do("iam.DeleteInstanceProfile", InstanceProfileName="I")
    assert do("iam.ListInstanceProfiles")["InstanceProfiles"] == []


def test_simulation(do: Do) -> None:
    do("iam.CreateUser", UserName="u")
    limited = OTHER.replace(
        '"*"}', '"arn:aws:s3:::${aws:username}/*", "Condition": {"Bool": {"aws:SecureTransport": true}}}'
    )
    do("iam.PutUserPolicy", UserName="u", PolicyName="p", PolicyDocument=limited)
    arn = f"arn:aws:iam::{ACCOUNT}:user/u"
    asked = {
        "PolicySourceArn": arn,
        "ActionNames": ["s3:GetObject", "iam:GetUser"],
        "ResourceArns": ["arn:aws:s3:::u/k"],
    }
    found = do("iam.SimulatePrincipalPolicy", **asked)["EvaluationResults"]
    assert [each["EvalDecision"] for each in found] == ["implicitDeny", "implicitDeny"]
    assert found[0]["MissingContextValues"] == ["aws:securetransport", "aws:username"]
    entries = [
        {"ContextKeyName": "aws:username", "ContextKeyValues": ["u"], "ContextKeyType": "string"},
        {"ContextKeyName": "aws:SecureTransport", "ContextKeyValues": ["true"], "ContextKeyType": "boolean"},
    ]
    found = do("iam.SimulatePrincipalPolicy", **asked, ContextEntries=entries)["EvaluationResults"]
    assert [each["EvalDecision"] for each in found] == ["allowed", "implicitDeny"]
    deny = POLICY.replace("Allow", "Deny")
    found = do("iam.SimulateCustomPolicy", PolicyInputList=[POLICY, deny], ActionNames=["iam:GetUser"])[
        "EvaluationResults"
    ]
    assert found[0]["EvalDecision"] == "explicitDeny"
    with pytest.raises(iam.NoSuchEntity):
        do("iam.SimulatePrincipalPolicy", PolicySourceArn=arn + "x", ActionNames=["s3:GetObject"])
    with pytest.raises(iam.MalformedPolicyDocument):
        do("iam.SimulateCustomPolicy", PolicyInputList=["{}"], ActionNames=["iam:GetUser"])


def test_the_account(do: Do) -> None:
    do("iam.CreateUser", UserName="u")
    do("iam.CreateGroup", GroupName="g")
    do("iam.AddUserToGroup", UserName="u", GroupName="g")
    do("iam.CreateRole", RoleName="r", AssumeRolePolicyDocument=TRUST)
    do("iam.PutRolePolicy", RoleName="r", PolicyName="p", PolicyDocument=POLICY)
    do("iam.CreatePolicy", PolicyName="m", PolicyDocument=POLICY)
    summary = do("iam.GetAccountSummary")["SummaryMap"]
    assert (summary["Users"], summary["Groups"], summary["Roles"], summary["Policies"]) == (1, 1, 1, 1)
    details = do("iam.GetAccountAuthorizationDetails")
    assert details["UserDetailList"][0]["GroupList"] == ["g"]
    assert unquote(details["RoleDetailList"][0]["RolePolicyList"][0]["PolicyDocument"]) == POLICY
    assert details["Policies"][0]["PolicyVersionList"][0]["IsDefaultVersion"]
    assert do("iam.GetAccountAuthorizationDetails", Filter=["Role"])["UserDetailList"] == []
    seen, marker = 0, {}
    for _ in range(10):
        page = do("iam.GetAccountAuthorizationDetails", MaxItems=1, **marker)
        seen += sum(len(value) for value in page.values() if isinstance(value, list))
        if not page["IsTruncated"]:
            break
        marker = {"Marker": page["Marker"]}
    assert seen == 4


def test_session_tags_pass_on(do: Do, world: World) -> None:
    trust = {
        "Effect": "Allow",
        "Principal": {"AWS": ACCOUNT},
        "Action": ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"],
    }
    for name in ("one", "two"):
        do("iam.CreateRole", RoleName=name, AssumeRolePolicyDocument=json.dumps({"Statement": trust}))
        do("iam.PutRolePolicy", RoleName=name, PolicyName="p", PolicyDocument=POLICY.replace("iam:*", "sts:*"))
    wish = {"RoleSessionName": "me"}
    first = world.caller(
        do(
            "sts.AssumeRole",
            RoleArn=f"arn:aws:iam::{ACCOUNT}:role/one",
            Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}],
            TransitiveTagKeys=["a"],
            SourceIdentity="ann",
            **wish,
        )["Credentials"]
    )
    second = do("sts.AssumeRole", by=first, RoleArn=f"arn:aws:iam::{ACCOUNT}:role/two", **wish)
    session = world.caller(second["Credentials"]).session
    assert session is not None
    assert (session.tags, session.source_identity) == ({"a": "1"}, "ann")
    with pytest.raises(iam.InvalidInput, match="inherited"):
        do(
            "sts.AssumeRole",
            by=first,
            RoleArn=f"arn:aws:iam::{ACCOUNT}:role/two",
            Tags=[{"Key": "A", "Value": ""}],
            **wish,
        )
    with pytest.raises(errors.AccessDenied, match="SourceIdentity"):
        do("sts.AssumeRole", by=first, RoleArn=f"arn:aws:iam::{ACCOUNT}:role/two", SourceIdentity="bob", **wish)
    big = [{"Key": hashlib.sha512(bytes([n])).hexdigest(), "Value": "x"} for n in range(50)]
    with pytest.raises(iam.PackedPolicyTooLarge, match=r"consumes \d+% of allotted space"):
        do("sts.AssumeRole", RoleArn=f"arn:aws:iam::{ACCOUNT}:role/one", Tags=big, **wish)
