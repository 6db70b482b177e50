"""An unmodified boto3 uses CloudWatch Logs: groups, streams, events, their pages and what is refused."""

from __future__ import annotations

import time
from typing import Any

import pytest
from botocore.exceptions import ClientError

GROUP = "/app/one"
HOUR_MS = 3_600_000


@pytest.fixture
def logs(kedge) -> Any:
    return kedge.client("logs")


@pytest.fixture
def group(logs) -> str:
    logs.create_log_group(logGroupName=GROUP)
    return GROUP


@pytest.fixture
def now_ms() -> int:
    return int(time.time() * 1000)


def put(logs: Any, stream: str, *events: tuple[int, str], group: str = GROUP) -> dict[str, Any]:
    listed = [{"timestamp": at, "message": message} for at, message in events]
    return logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=listed)


def refused(call: Any, /, **request: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**request)
    error = caught.value.response["Error"]
    assert type(caught.value).__name__ in (error["Code"], "ClientError")
    return error["Code"], error["Message"]


def messages(answer: dict[str, Any]) -> list[str]:
    return [event["message"] for event in answer["events"]]


def test_a_group_describes_itself(logs, kedge):
    logs.create_log_group(logGroupName="/a/b", tags={"team": "ml"})
    logs.create_log_group(logGroupName="/a/B", logGroupClass="INFREQUENT_ACCESS")
    logs.put_retention_policy(logGroupName="/a/b", retentionInDays=7)
    found = logs.describe_log_groups(logGroupNamePrefix="/a/b")["logGroups"]
    assert len(found) == 1
    arn = f"arn:aws:logs:{kedge.region}:{kedge.account}:log-group:/a/b"
    assert (found[0]["arn"], found[0]["logGroupArn"]) == (f"{arn}:*", arn)
    assert (found[0]["retentionInDays"], found[0]["logGroupClass"], found[0]["storedBytes"]) == (7, "STANDARD", 0)
    logs.delete_retention_policy(logGroupName="/a/b")
    assert "retentionInDays" not in logs.describe_log_groups(logGroupIdentifiers=[arn])["logGroups"][0]
    both = logs.describe_log_groups(logGroupNamePattern="A/b")["logGroups"]
    assert {each["logGroupName"] for each in both} == {"/a/b", "/a/B"}
    assert logs.describe_log_groups(logGroupClass="INFREQUENT_ACCESS")["logGroups"][0]["logGroupName"] == "/a/B"
    pages = logs.get_paginator("describe_log_groups").paginate(PaginationConfig={"PageSize": 1})
    assert [each["logGroupName"] for page in pages for each in page["logGroups"]] == ["/a/B", "/a/b"]


def test_tags_by_the_newer_and_by_the_older_operations(logs, kedge, group):
    arn = f"arn:aws:logs:{kedge.region}:{kedge.account}:log-group:{group}"
    logs.tag_resource(resourceArn=arn, tags={"a": "1", "b": "2"})
    logs.tag_log_group(logGroupName=group, tags={"b": "3", "c": "4"})
    assert logs.list_tags_for_resource(resourceArn=arn)["tags"] == {"a": "1", "b": "3", "c": "4"}
    logs.untag_resource(resourceArn=arn, tagKeys=["a"])
    logs.untag_log_group(logGroupName=group, tags=["c"])
    assert logs.list_tags_log_group(logGroupName=group)["tags"] == {"b": "3"}
    more = {f"k{number}": "" for number in range(50)}
    assert refused(logs.tag_resource, resourceArn=arn, tags=more)[0] == "TooManyTagsException"
    assert refused(logs.tag_resource, resourceArn=arn, tags={"aws:x": "1"})[0] == "InvalidParameterException"
    logs.delete_log_group(logGroupName=group)
    assert refused(logs.list_tags_for_resource, resourceArn=arn)[0] == "ResourceNotFoundException"


def test_protection_has_to_be_taken_off(logs, group):
    logs.put_log_group_deletion_protection(logGroupIdentifier=group, deletionProtectionEnabled=True)
    code, text = refused(logs.delete_log_group, logGroupName=group)
    assert (code, GROUP in text) == ("ValidationException", True)
    logs.put_log_group_deletion_protection(logGroupIdentifier=group, deletionProtectionEnabled=False)
    logs.delete_log_group(logGroupName=group)


def test_streams_are_listed_by_name_and_by_their_newest_event(logs, group, now_ms):
    for name in ("a/1", "a/2", "b"):
        logs.create_log_stream(logGroupName=group, logStreamName=name)
    assert "firstEventTimestamp" not in logs.describe_log_streams(logGroupName=group)["logStreams"][0]
    for name, at in (("a/1", -50), ("a/2", -10), ("b", -90)):
        put(logs, name, (now_ms + at - 5, "x"), (now_ms + at, "y"))
    found = logs.describe_log_streams(logGroupName=group, orderBy="LastEventTime", descending=True)["logStreams"]
    assert [each["logStreamName"] for each in found] == ["a/2", "a/1", "b"]
    assert (found[0]["firstEventTimestamp"], found[0]["lastEventTimestamp"]) == (now_ms - 15, now_ms - 10)
    assert found[0]["lastIngestionTime"] >= now_ms
    assert found[0]["arn"].endswith(f":log-group:{GROUP}:log-stream:a/2")
    for order in ("LogStreamName", "LastEventTime"):
        pages = logs.get_paginator("describe_log_streams").paginate(
            logGroupName=group, orderBy=order, PaginationConfig={"PageSize": 1}
        )
        assert sorted(each["logStreamName"] for page in pages for each in page["logStreams"]) == ["a/1", "a/2", "b"]
    named = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix="a/")["logStreams"]
    assert [each["logStreamName"] for each in named] == ["a/1", "a/2"]
    code, text = refused(
        logs.describe_log_streams, logGroupName=group, logStreamNamePrefix="a", orderBy="LastEventTime"
    )
    assert (code, text) == (
        "InvalidParameterException", "Cannot order by LastEventTime with a logStreamNamePrefix.",
    )  # fmt: skip
    logs.delete_log_stream(logGroupName=group, logStreamName="b")
    assert refused(logs.get_log_events, logGroupName=group, logStreamName="b")[0] == "ResourceNotFoundException"


def test_tokens_of_one_stream_lead_forth_and_back_and_stay_the_same_at_an_end(logs, group, now_ms):
    where = {"logGroupName": group, "logStreamName": "s"}
    logs.create_log_stream(**where)
    empty = logs.get_log_events(**where)
    assert empty["events"] == []
    assert (
        logs.get_log_events(**where, nextToken=empty["nextForwardToken"])["nextForwardToken"]
        == empty["nextForwardToken"]
    )
    put(logs, "s", *[(now_ms - 1000 + number, str(number)) for number in range(10)])
    # What comes later is read with the token of before.
    assert len(logs.get_log_events(**where, nextToken=empty["nextForwardToken"], startFromHead=True)["events"]) == 10
    newest = logs.get_log_events(**where, limit=4)
    assert messages(newest) == ["6", "7", "8", "9"]
    back = logs.get_log_events(**where, limit=4, nextToken=newest["nextBackwardToken"])
    assert messages(back) == ["2", "3", "4", "5"]
    first = logs.get_log_events(**where, limit=4, nextToken=back["nextBackwardToken"])
    assert messages(first) == ["0", "1"]
    end = logs.get_log_events(**where, nextToken=first["nextBackwardToken"])
    assert (messages(end), end["nextBackwardToken"]) == ([], first["nextBackwardToken"])
    forth = logs.get_log_events(**where, limit=3, nextToken=end["nextForwardToken"], startFromHead=True)
    assert messages(forth) == ["0", "1", "2"]
    turned = logs.get_log_events(**where, nextToken=forth["nextBackwardToken"])
    assert messages(turned) == []
    at_end = logs.get_log_events(**where, nextToken=newest["nextForwardToken"], startFromHead=True)
    assert (messages(at_end), at_end["nextForwardToken"]) == ([], newest["nextForwardToken"])
    assert messages(logs.get_log_events(**where, nextToken=at_end["nextBackwardToken"], limit=1)) == ["9"]
    part = logs.get_log_events(**where, startTime=now_ms - 998, endTime=now_ms - 995, startFromHead=True)
    assert messages(part) == ["2", "3", "4"]
    for wrong in ("x", "f/1", "g/" + "0" * 56):
        assert refused(logs.get_log_events, **where, nextToken=wrong) == (
            "InvalidParameterException", "The specified nextToken is invalid.",
        )  # fmt: skip


def test_events_of_one_millisecond_are_not_lost_between_pages(logs, group, now_ms):
    logs.create_log_stream(logGroupName=group, logStreamName="s")
    for number in range(3):
        put(logs, "s", *[(now_ms, f"{number}{letter}") for letter in "abc"])
    found, token = [], {}
    while True:
        page = logs.get_log_events(logGroupName=group, logStreamName="s", startFromHead=True, limit=2, **token)
        if token and page["nextForwardToken"] == token["nextToken"]:
            break
        found += messages(page)
        token = {"nextToken": page["nextForwardToken"]}
    assert found == [f"{number}{letter}" for number in range(3) for letter in "abc"]


def test_filter_gives_the_events_of_all_streams_in_their_order(logs, group, now_ms):
    start = now_ms - 1000
    for name in ("a1", "a2", "b"):
        logs.create_log_stream(logGroupName=group, logStreamName=name)
    put(logs, "a1", (start, "ERROR one"), (start + 3, "fine"))
    put(logs, "a2", (start + 1, "ERROR two"), (start + 4, "ERROR [x] é"))
    put(logs, "b", (start + 2, "ERROR three"))

    def found(**more: Any) -> list[str]:
        pages = logs.get_paginator("filter_log_events").paginate(
            logGroupName=group, **more, PaginationConfig={"PageSize": 2}
        )
        events = [event for page in pages for event in page["events"]]
        assert len({event["eventId"] for event in events}) == len(events)
        return [event["message"] for event in events]

    assert found() == ["ERROR one", "ERROR two", "ERROR three", "fine", "ERROR [x] é"]
    assert found(filterPattern="ERROR") == ["ERROR one", "ERROR two", "ERROR three", "ERROR [x] é"]
    assert found(filterPattern='ERROR "[x]"') == ["ERROR [x] é"]
    assert found(logStreamNamePrefix="a", filterPattern="-fine") == ["ERROR one", "ERROR two", "ERROR [x] é"]
    assert found(logStreamNames=["a1", "b"]) == ["ERROR one", "ERROR three", "fine"]
    assert found(startTime=start + 1, endTime=start + 3) == ["ERROR two", "ERROR three", "fine"]
    assert found(startTime=start, startFromHead=False)[0] == "ERROR [x] é"
    answer = logs.filter_log_events(logGroupName=group)
    assert (answer["searchedLogStreams"], "nextToken" in answer) == ([], False)
    assert {event["logStreamName"] for event in answer["events"]} == {"a1", "a2", "b"}
    for pattern in ("{ $.a = 1 }", "[a, b]", "%x%"):
        code, text = refused(logs.filter_log_events, logGroupName=group, filterPattern=pattern)
        assert (code, pattern in text) == ("InvalidParameterException", True)
    both = {"logStreamNames": ["a1"], "logStreamNamePrefix": "a"}
    assert refused(logs.filter_log_events, logGroupName=group, **both)[0] == "InvalidParameterException"
    assert refused(logs.filter_log_events, logGroupName=group, logStreamNames=["no"])[0] == "ResourceNotFoundException"


def test_following_by_the_newest_time_and_the_ids_of_its_events(logs, group, now_ms):
    """The way of `aws logs tail --follow` (AWS CLI 2): it asks from the newest time that it has seen on."""
    logs.create_log_stream(logGroupName=group, logStreamName="s")
    shown: list[str] = []
    known: dict[str, int] = {}

    def poll() -> None:
        start = max(known.values(), default=now_ms - 600_000)
        asked = {"logGroupName": group, "interleaved": True, "startTime": start}
        for page in logs.get_paginator("filter_log_events").paginate(**asked):
            new = [event for event in page["events"] if event["eventId"] not in known]
            shown.extend(event["message"] for event in new)
            known.update({event["eventId"]: event["timestamp"] for event in new})

    for number in range(4):
        put(logs, "s", (now_ms + number // 2, f"{number}a"), (now_ms + number // 2, f"{number}b"))
        poll()
        poll()
    assert shown == [f"{number}{letter}" for number in range(4) for letter in "ab"]


def test_a_batch_that_breaks_a_rule_is_refused_whole(logs, group, now_ms):
    logs.create_log_stream(logGroupName=group, logStreamName="s")

    def said(*events: tuple[int, str]) -> tuple[str, str]:
        listed = [{"timestamp": at, "message": message} for at, message in events]
        return refused(logs.put_log_events, logGroupName=group, logStreamName="s", logEvents=listed)

    assert said((now_ms, "b"), (now_ms - 1, "a")) == (
        "InvalidParameterException",
        "Log events in a single PutLogEvents request must be in chronological order.",
    )
    code, text = said((now_ms - 25 * HOUR_MS, "a"), (now_ms, "b"))
    assert (code, "24 hours" in text) == ("InvalidParameterException", True)
    assert said((now_ms, "é" * 524_288))[1] == "Upload too large: 1048602 bytes exceeds limit of 1048576"
    assert said(*[(now_ms, "x")] * 10_001)[0] == "InvalidParameterException"
    assert logs.get_log_events(logGroupName=group, logStreamName="s")["events"] == []
    put(logs, "s", (now_ms, "x" * (1_048_576 - 26)))
    put(logs, "s", *[(now_ms, "x")] * 10_000)
    nowhere = {"logEvents": [{"timestamp": now_ms, "message": "x"}]}
    assert refused(logs.put_log_events, logGroupName="no", logStreamName="s", **nowhere) == (
        "ResourceNotFoundException", "The specified log group does not exist.",
    )  # fmt: skip
    assert refused(logs.put_log_events, logGroupName=group, logStreamName="no", **nowhere) == (
        "ResourceNotFoundException", "The specified log stream does not exist.",
    )  # fmt: skip


def test_events_too_old_and_too_new_are_dropped_and_told_of(logs, group, now_ms):
    logs.create_log_stream(logGroupName=group, logStreamName="s")
    answer = put(
        logs, "s", (now_ms - HOUR_MS, "a"), (now_ms, "b"), (now_ms + 3 * HOUR_MS, "c"), (now_ms + 4 * HOUR_MS, "d")
    )
    assert answer["rejectedLogEventsInfo"] == {"tooNewLogEventStartIndex": 2}
    assert answer["nextSequenceToken"]
    day = 24 * HOUR_MS
    answer = put(
        logs,
        "s",
        (now_ms - 14 * day - 2000, "old"),
        (now_ms - 14 * day - 1000, "old"),
        (now_ms - 14 * day + 60_000, "c"),
    )
    assert answer["rejectedLogEventsInfo"] == {"tooOldLogEventEndIndex": 2}
    logs.put_retention_policy(logGroupName=group, retentionInDays=3)
    answer = put(logs, "s", (now_ms - 3 * day - 1000, "expired"), (now_ms - 3 * day + 60_000, "kept"))
    assert answer["rejectedLogEventsInfo"] == {"expiredLogEventEndIndex": 1}
    # The event of 14 days ago is older than the group keeps them now, and so it is not there any more.
    found = logs.get_log_events(logGroupName=group, logStreamName="s", startFromHead=True)
    assert messages(found) == ["kept", "a", "b"]
    assert [each["message"] for each in logs.filter_log_events(logGroupName=group)["events"]] == ["kept", "a", "b"]
    logs.delete_retention_policy(logGroupName=group)
    assert messages(logs.get_log_events(logGroupName=group, logStreamName="s", startFromHead=True))[0] == "c"


def test_a_group_that_comes_again_has_nothing_of_the_one_before(logs, group, now_ms):
    logs.create_log_stream(logGroupName=group, logStreamName="s")
    put(logs, "s", (now_ms, "secret"))
    logs.delete_log_group(logGroupName=group)
    logs.create_log_group(logGroupName=group)
    assert logs.describe_log_streams(logGroupName=group)["logStreams"] == []
    assert logs.filter_log_events(logGroupName=group)["events"] == []


@pytest.mark.parametrize(
    ("operation", "request_", "code"),
    [
        ("create_log_group", {"logGroupName": GROUP}, "ResourceAlreadyExistsException"),
        ("create_log_group", {"logGroupName": "aws/x"}, "InvalidParameterException"),
        ("create_log_group", {"logGroupName": "a b"}, "InvalidParameterException"),
        ("create_log_group", {"logGroupName": "k", "kmsKeyId": "alias/x"}, "InvalidParameterException"),
        ("create_log_group", {"logGroupName": "k", "logGroupClass": "DELIVERY"}, "InvalidParameterException"),
        ("delete_log_group", {"logGroupName": "no"}, "ResourceNotFoundException"),
        ("create_log_stream", {"logGroupName": GROUP, "logStreamName": "a:b"}, "InvalidParameterException"),
        ("create_log_stream", {"logGroupName": "no", "logStreamName": "a"}, "ResourceNotFoundException"),
        ("delete_log_stream", {"logGroupName": GROUP, "logStreamName": "a"}, "ResourceNotFoundException"),
        ("put_retention_policy", {"logGroupName": GROUP, "retentionInDays": 2}, "InvalidParameterException"),
        ("put_retention_policy", {"logGroupName": "no", "retentionInDays": 1}, "ResourceNotFoundException"),
        ("describe_log_streams", {}, "InvalidParameterException"),
        ("describe_log_streams", {"logGroupName": GROUP, "nextToken": "x"}, "InvalidParameterException"),
        ("describe_log_groups", {"limit": 51}, "InvalidParameterException"),
        ("get_log_events", {"logGroupName": GROUP, "logStreamName": "no"}, "ResourceNotFoundException"),
        ("filter_log_events", {"logGroupName": GROUP, "startFromHead": False}, "InvalidParameterException"),
        ("list_tags_for_resource", {"resourceArn": "x"}, "InvalidParameterException"),
        ("associate_kms_key", {"logGroupName": GROUP, "kmsKeyId": "x"}, "UnknownOperationException"),
    ],
)
def test_refusals(logs, group, operation, request_, code):
    assert refused(getattr(logs, operation), **request_)[0] == code


def test_permissions_are_on_groups_and_on_streams(kedge, logs, group, now_ms):
    iam = kedge.client("iam")
    iam.create_user(UserName="writer")
    arn = f"arn:aws:logs:{kedge.region}:{kedge.account}:log-group:{group}"
    allowed = (
        '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["logs:PutLogEvents", '
        f'"logs:CreateLogStream", "logs:FilterLogEvents"], "Resource": "{arn}:*"}}]}}'
    )
    iam.put_user_policy(UserName="writer", PolicyName="p", PolicyDocument=allowed)
    key = iam.create_access_key(UserName="writer")["AccessKey"]
    theirs = kedge.client("logs", aws_access_key_id=key["AccessKeyId"], aws_secret_access_key=key["SecretAccessKey"])
    theirs.create_log_stream(logGroupName=group, logStreamName="s")
    put(theirs, "s", (now_ms, "x"))
    assert len(theirs.filter_log_events(logGroupName=group)["events"]) == 1
    code, text = refused(theirs.get_log_events, logGroupName=group, logStreamName="s")
    assert (code, f"logs:GetLogEvents on resource: {arn}:log-stream:s" in text) == ("AccessDeniedException", True)
    logs.create_log_group(logGroupName="/other")
    assert refused(theirs.filter_log_events, logGroupName="/other")[0] == "AccessDeniedException"
