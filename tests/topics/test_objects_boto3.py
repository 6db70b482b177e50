"""What happens to objects is told to the subscribers of a topic, as an unmodified boto3 sets it up."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.faults.conftest import until
from tests.topics.subscriber import Subscriber, subscribed


@pytest.fixture
def bucket(kedge) -> str:
    kedge.client("s3").create_bucket(Bucket="told")
    return "told"


def configured(topic: str, *events: str, **filters: str) -> dict[str, Any]:
    rules = [{"Name": name, "Value": value} for name, value in filters.items()]
    rule = {"Id": "mine", "TopicArn": topic, "Events": list(events), "Filter": {"Key": {"FilterRules": rules}}}
    return {"TopicConfigurations": [rule]}


def bodies(subscriber: Subscriber, count: int) -> list[dict[str, Any]]:
    return [json.loads(each["Message"]) for each in subscriber.notified(count)]


def test_subscribers_are_told_of_objects(kedge, sns, topic, bucket):
    s3 = kedge.client("s3")
    with Subscriber() as subscriber:
        subscribed(sns, topic, subscriber)
        s3.put_bucket_notification_configuration(
            Bucket=bucket,
            NotificationConfiguration=configured(topic, "s3:ObjectCreated:*", "s3:ObjectRemoved:*", prefix="data/"),
        )
        [test] = bodies(subscriber, 1)
        assert (test["Service"], test["Event"], test["Bucket"]) == ("Amazon S3", "s3:TestEvent", bucket)
        etag = s3.put_object(Bucket=bucket, Key="data/a b.csv", Body=b"12345")["ETag"]
        s3.put_object(Bucket=bucket, Key="elsewhere", Body=b"1")
        s3.delete_object(Bucket=bucket, Key="data/a b.csv")
        _, put, removed = bodies(subscriber, 3)
        assert {each["Subject"] for each in subscriber.of("Notification")} == {"Amazon S3 Notification"}
    [record] = put["Records"]
    assert (record["eventSource"], record["eventName"], record["eventVersion"]) == (
        "aws:s3",
        "ObjectCreated:Put",
        "2.1",
    )
    assert (record["s3"]["bucket"]["name"], record["s3"]["configurationId"]) == (bucket, "mine")
    thing = record["s3"]["object"]
    assert (thing["key"], thing["size"], f'"{thing["eTag"]}"') == ("data/a+b.csv", 5, etag)
    assert [each["eventName"] for each in removed["Records"]] == ["ObjectRemoved:Delete"]


def test_the_policy_of_the_topic_decides(kedge, sns, topic, bucket):
    s3 = kedge.client("s3")
    topic_of_bucket = {"ArnLike": {"aws:SourceArn": "arn:aws:s3:::told-not"}}
    statement = {
        "Effect": "Allow", "Principal": {"Service": "s3.amazonaws.com"}, "Action": "sns:Publish", "Resource": topic,
        "Condition": topic_of_bucket,
    }  # fmt: skip
    closed = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    statement["Condition"] = {"ArnLike": {"aws:SourceArn": "arn:aws:s3:::told"}}
    opened = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    with Subscriber() as subscriber:
        subscribed(sns, topic, subscriber)
        sns.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=closed)
        s3.put_bucket_notification_configuration(
            Bucket=bucket, NotificationConfiguration=configured(topic, "s3:ObjectCreated:Put")
        )
        s3.put_object(Bucket=bucket, Key="first", Body=b"1")
        # Messages go out in turn: once a plain one has come, those before it were refused.
        log = kedge.data_dir / "log" / "control.log"
        until(lambda: log.read_text().count("does not let arn:aws:s3:::told publish") >= 2, what="two refusals")
        sns.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=opened)
        s3.put_object(Bucket=bucket, Key="second", Body=b"2")
        [told] = bodies(subscriber, 1)
    assert told["Records"][0]["s3"]["object"]["key"] == "second"


def test_without_validation_there_is_no_test(kedge, sns, topic, bucket):
    s3 = kedge.client("s3")
    with Subscriber() as subscriber:
        subscribed(sns, topic, subscriber)
        s3.put_bucket_notification_configuration(
            Bucket=bucket,
            NotificationConfiguration=configured(topic, "s3:ObjectCreated:Copy"),
            SkipDestinationValidation=True,
        )
        s3.put_object(Bucket=bucket, Key="a", Body=b"1")
        s3.copy_object(Bucket=bucket, Key="b", CopySource={"Bucket": bucket, "Key": "a"})
        [told] = bodies(subscriber, 1)
    assert told["Records"][0]["eventName"] == "ObjectCreated:Copy"
