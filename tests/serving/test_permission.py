"""Whom the router lets invoke, by the table alone."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from kedge import errors
from kedge.identity.principals import Directory, Principal, about_invocations
from kedge.identity.records import Caller, Session
from kedge.serving import table
from kedge.serving.permission import Permission

ACCOUNT = "1" * 12
NOW = datetime(2026, 1, 2, tzinfo=UTC)
ORIGIN = ("10.0.0.1", False)
ENDPOINT = f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:endpoint/e"
ANN = Caller(ACCOUNT, "us-east-1", f"arn:aws:iam::{ACCOUNT}:user/ann", "AIDA1", "AKIA1")
GUEST = Caller(
    ACCOUNT,
    "us-east-1",
    f"arn:aws:sts::{ACCOUNT}:federated-user/g",
    f"{ACCOUNT}:g",
    "ASIA1",
    Session(principal_id=ACCOUNT, limited=True),
)


def text(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action: Any = "sagemaker:InvokeEndpoint", resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def permission(*statements: dict[str, Any], tags: dict[str, str] | None = None, **more: Any) -> Permission:
    ann = Principal("AIDA1", ANN.arn, ("p",), tags={"team": "blue"}, **more)
    directory = Directory({"AIDA1": ann}, {"p": text(*statements), "b": text(allow("s3:*"))})
    return Permission(directory.invoking(), {ENDPOINT: tags or {}})


def allowed(by: Permission, caller: Caller = ANN, headers: dict[str, str] | None = None, **more: Any) -> bool:
    answers, headers = set(), {"referer": "https://ours.example/", **(headers or {})}
    for _ in range(2):  # the second time from memory, where it may be remembered
        try:
            by.check(caller, ENDPOINT, headers, NOW, lambda: ORIGIN, **more)
            answers.add(True)
        except errors.AccessDenied:
            answers.add(False)
    assert len(answers) == 1
    return answers.pop()


@pytest.mark.parametrize(
    ("statements", "want"),
    [
        ([], False),
        ([allow()], True),
        ([allow("*")], True),
        ([allow("sagemaker:*", ENDPOINT)], True),
        ([allow(resource=ENDPOINT + "x")], False),
        ([allow("sagemaker:DescribeEndpoint")], False),
        ([allow(), {**allow("sagemaker:*"), "Effect": "Deny"}], False),
        ([allow(Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}})], True),
        ([allow(Condition={"IpAddress": {"aws:SourceIp": "11.0.0.0/8"}})], False),
        ([allow(Condition={"StringEquals": {"aws:ResourceTag/team": "${aws:PrincipalTag/team}"}})], True),
        ([allow(Condition={"StringEquals": {"sagemaker:ResourceTag/team": "red"}})], False),
        ([allow(Condition={"StringEquals": {"aws:ResourceAccount": "${aws:PrincipalAccount}"}})], True),
        ([allow(Condition={"StringNotEquals": {"aws:ResourceAccount": ACCOUNT}})], False),
        ([allow(Condition={"StringEquals": {"aws:Referer": "https://ours.example/"}})], True),
        ([allow(Condition={"DateLessThan": {"aws:CurrentTime": "2026-01-01T00:00:00Z"}})], False),
    ],
)
def test_policies(statements: list[dict[str, Any]], want: bool) -> None:
    assert allowed(permission(*statements, tags={"Team": "blue"})) is want


def test_boundaries() -> None:
    assert not allowed(permission(allow(), boundary="b"))
    assert not allowed(permission(allow(), boundary="gone"))
    assert allowed(permission(allow(), boundary="arn:aws:iam::aws:policy/AdministratorAccess"))


def test_what_a_request_says_is_asked_each_time() -> None:
    by = permission(allow(Condition={"StringLike": {"sagemaker:TargetModel": "a*"}}))
    assert allowed(by, headers={"x-amzn-sagemaker-target-model": "a.tar.gz"})
    assert not allowed(by, headers={"x-amzn-sagemaker-target-model": "b.tar.gz"})
    assert not allowed(by)


def test_streams() -> None:
    deny = {**allow("sagemaker:InvokeEndpointWithResponseStream"), "Effect": "Deny"}
    assert allowed(permission(allow()), stream=True)
    assert allowed(permission(allow(), deny))
    assert not allowed(permission(allow(), deny), stream=True)


def test_sessions() -> None:
    by = permission(allow())
    narrow = Session(principal_id="AIDA1", policies=(text(allow(resource=ENDPOINT)),))
    other = Session(principal_id="AIDA1", policies=(text(allow("s3:*")),))
    managed = Session(principal_id="AIDA1", policy_arns=("arn:aws:iam::aws:policy/AdministratorAccess",))
    for number, (session, want) in enumerate(
        ((narrow, True), (other, False), (managed, True), (Session(0.0, "AIDA1"), True))
    ):
        assert allowed(by, Caller(ACCOUNT, "us-east-1", ANN.arn, "AIDA1", f"ASIA{number}", session)) is want
    assert not allowed(by, GUEST)
    gone = Caller(ACCOUNT, "us-east-1", ANN.arn, "AIDA2", "AKIA2")
    with pytest.raises(errors.UnknownAccessKey):
        by.check(gone, ENDPOINT, {}, NOW, lambda: ORIGIN)


def test_only_what_speaks_of_invocations_is_pushed() -> None:
    whole = text(allow("s3:*"), allow("sagemaker:*"), allow("iam:*"), {**allow("s3:*"), "Effect": "Deny"})
    kept = json.loads(about_invocations(whole) or "")
    assert [each["Action"] for each in kept["Statement"]] == ["sagemaker:*"]
    assert about_invocations(text(allow("s3:*"))) is None
    assert about_invocations("nonsense") is None


def test_the_table_carries_it() -> None:
    by = permission(allow(), tags={"a": "b"})
    sent = table.RoutingTable(7, directory=by.directory, tags=by.tags)
    got = table.decode(table.encode(sent))
    assert (got.directory, got.tags) == (sent.directory, sent.tags)
    assert table.encode(got) == table.encode(sent)


@pytest.mark.parametrize(
    ("condition", "asks"), [({}, 1), ({"Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}, 3)]
)
def test_where_it_comes_from_is_asked_only_while_nothing_is_remembered(condition: dict[str, Any], asks: int):
    asked: list[int] = []

    def origin() -> tuple[str, bool]:
        asked.append(1)
        return ORIGIN

    by = permission(allow(**condition))
    for _ in range(3):
        by.check(ANN, ENDPOINT, {}, NOW, origin)
    assert len(asked) == asks
