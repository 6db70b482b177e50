"""What an unmodified boto3 publishes reaches real servers: signed, filtered, in order, again where it has to."""

from __future__ import annotations

import base64
import json
import time
from typing import Any
from urllib.request import urlopen

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from tests.faults.conftest import until
from tests.topics.subscriber import Subscriber, refused, subscribed


def verified(message: dict[str, Any]) -> None:
    """As a subscriber does it: with the certificate that the message names. Raises InvalidSignature."""
    with urlopen(message["SigningCertURL"], timeout=10) as answer:
        key = x509.load_pem_x509_certificate(answer.read()).public_key()
    link = [] if message["Type"] == "Notification" else ["SubscribeURL"]
    token = [] if message["Type"] == "Notification" else ["Token"]
    names = ["Message", "MessageId", "Subject", *link, "Timestamp", *token, "TopicArn", "Type"]
    text = "".join(f"{name}\n{message[name]}\n" for name in names if name in message)
    algorithm = {"1": hashes.SHA1(), "2": hashes.SHA256()}[message["SignatureVersion"]]
    key.verify(base64.b64decode(message["Signature"]), text.encode(), padding.PKCS1v15(), algorithm)


@pytest.mark.parametrize("version", ["1", "2"])
def test_messages_come_signed(sns, topic, version, kedge):
    sns.set_topic_attributes(TopicArn=topic, AttributeName="SignatureVersion", AttributeValue=version)
    with Subscriber() as subscriber:
        arn = subscribed(sns, topic, subscriber)
        verified(subscriber.of("SubscriptionConfirmation")[0])
        attributes = {
            "text": {"DataType": "String", "StringValue": "é"},
            "number": {"DataType": "Number", "StringValue": "1.5"},
            "bytes": {"DataType": "Binary", "BinaryValue": b"\x02\x03"},
        }
        sent = [
            sns.publish(TopicArn=topic, Message='ünï "x"\n<b>', Subject="Subject", MessageAttributes=attributes),
            sns.publish(TargetArn=topic, Message="plain"),
        ]
        got = subscriber.notified(2)
        for each in got:
            verified(each)
            assert each["SignatureVersion"] == version
        assert [each["MessageId"] for each in got] == [each["MessageId"] for each in sent]
        assert (got[0]["Message"], got[0]["Subject"], got[0]["TopicArn"]) == ('ünï "x"\n<b>', "Subject", topic)
        assert "Subject" not in got[1]
        assert "MessageAttributes" not in got[1]
        assert got[0]["MessageAttributes"] == {
            "text": {"Type": "String", "Value": "é"},
            "number": {"Type": "Number", "Value": "1.5"},
            "bytes": {"Type": "Binary", "Value": "AgM="},
        }
        head = subscriber.received[-1].headers
        assert (head["x-amz-sns-message-type"], head["x-amz-sns-subscription-arn"]) == ("Notification", arn)
    key = kedge.data_dir / "topics" / "signing.key"
    assert key.stat().st_mode & 0o777 == 0o600


def test_raw_messages_and_messages_by_protocol(sns, topic):
    with Subscriber() as subscriber, Subscriber() as other:
        policy = json.dumps({"requestPolicy": {"headerContentType": "application/json"}})
        subscribed(sns, topic, subscriber, RawMessageDelivery="true", DeliveryPolicy=policy)
        subscribed(sns, topic, other)
        text = json.dumps({"default": "for others", "http": '{"for": "http"}', "sqs": "no"})
        sns.publish(TopicArn=topic, Message=text, MessageStructure="json")
        until(lambda: len(subscriber.received) == 2 and len(other.received) == 2, what="both deliveries")
        raw = subscriber.received[-1]
        assert (raw.body, raw.headers["content-type"]) == (b'{"for": "http"}', "application/json")
        assert raw.headers["x-amz-sns-rawdelivery"] == "true"
        assert other.received[-1].json["Message"] == '{"for": "http"}'


def test_filters(sns, topic):
    with Subscriber() as subscriber, Subscriber() as bodies:
        subscribed(sns, topic, subscriber, FilterPolicy='{"store": ["a", {"prefix": "b"}]}')
        subscribed(sns, topic, bodies, FilterPolicy='{"x": {"y": [1]}}', FilterPolicyScope="MessageBody")
        for value in ("a", "c", "bb"):
            attributes = {"store": {"DataType": "String", "StringValue": value}}
            sns.publish(TopicArn=topic, Message=value, MessageAttributes=attributes)
        sns.publish(TopicArn=topic, Message='{"x": {"y": 1}}')
        sns.publish(TopicArn=topic, Message='{"x": {"y": 2}}')
        assert [each["Message"] for each in subscriber.notified(2)] == ["a", "bb"]
        assert [each["Message"] for each in bodies.notified(1)] == ['{"x": {"y": 1}}']


EMPTY_VALUE = (
    "The message attribute 'a' must contain non-empty message attribute value for message attribute type 'String'."
)


@pytest.mark.parametrize(
    ("request_", "code", "told"),
    [
        ({"Message": ""}, "InvalidParameter", "Invalid parameter: Empty message"),
        ({"Message": "x" * 262_145}, "InvalidParameter", "Invalid parameter: Message too long"),
        ({"Message": "x", "Subject": ""}, "InvalidParameter", "Invalid parameter: Subject"),
        ({"Message": "x", "Subject": "a\nb"}, "InvalidParameter", "Invalid parameter: Subject"),
        ({"Message": "x", "Subject": "a" * 101}, "InvalidParameter", "Invalid parameter: Subject"),
        (
            {"Message": "{", "MessageStructure": "json"},
            "InvalidParameter",
            "Invalid parameter: Message Structure - JSON message body failed to parse",
        ),
        (
            {"Message": '{"http": "x"}', "MessageStructure": "json"},
            "InvalidParameter",
            "Invalid parameter: Message Structure - No default entry in JSON message body",
        ),
        (
            {"Message": '{"default": "\\ud800"}', "MessageStructure": "json"},
            "InvalidParameter",
            "Invalid parameter: Message Reason: it holds half of a surrogate pair, which is no character",
        ),
        (
            {"Message": "x", "MessageAttributes": {"a": {"DataType": "String", "StringValue": ""}}},
            "ParameterValueInvalid",
            EMPTY_VALUE,
        ),
    ],
)
def test_messages_that_cannot_be(sns, topic, request_, code, told):
    assert refused(sns.publish, TopicArn=topic, **request_) == (code, told)
    entries = [{"Id": "1", "Message": "fine"}, {"Id": "2", **request_}]
    batch = refused(sns.publish_batch, TopicArn=topic, PublishBatchRequestEntries=entries)
    assert batch[0] in (code, "BatchRequestTooLong")


def test_targets_that_cannot_be(sns, topic):
    assert refused(sns.publish, Message="x")[1].startswith("Invalid parameter: TopicArn or TargetArn")
    assert "not offered here" in refused(sns.publish, PhoneNumber="+15551234567", Message="x")[1]
    assert refused(sns.publish, TopicArn=topic + "x", Message="x") == ("NotFound", "Topic does not exist")


def test_batches(sns, topic):
    with Subscriber() as subscriber:
        subscribed(sns, topic, subscriber)
        entries = [{"Id": str(number), "Message": f"m{number}"} for number in range(10)]
        done = sns.publish_batch(TopicArn=topic, PublishBatchRequestEntries=entries)
        assert [each["Id"] for each in done["Successful"]] == [each["Id"] for each in entries]
        assert [each["Message"] for each in subscriber.notified(10)] == [each["Message"] for each in entries]
    for wrong, code in [
        ([], "EmptyBatchRequest"),
        ([{"Id": str(number), "Message": "m"} for number in range(11)], "TooManyEntriesInBatchRequest"),
        ([{"Id": "1", "Message": "m"}] * 2, "BatchEntryIdsNotDistinct"),
        ([{"Id": "a b", "Message": "m"}], "InvalidBatchEntryId"),
        ([{"Id": str(number), "Message": "x" * 200_000} for number in range(2)], "BatchRequestTooLong"),
    ]:
        assert refused(sns.publish_batch, TopicArn=topic, PublishBatchRequestEntries=wrong)[0] == code


# Delivery


def test_a_failed_delivery_is_tried_again_under_the_same_id(sns, topic):
    answers = iter([500, 429, 200])
    with Subscriber() as subscriber:
        policy = {"healthyRetryPolicy": {"numRetries": 3, "numNoDelayRetries": 1, "minDelayTarget": 1}}
        subscribed(sns, topic, subscriber, DeliveryPolicy=json.dumps(policy))
        subscriber.answer = lambda _: next(answers, 200)
        sns.publish(TopicArn=topic, Message="m")
        got = subscriber.notified(3)
        assert len({each["MessageId"] for each in got}) == 1
        assert len({each["Timestamp"] for each in got}) == 1


def test_what_the_subscriber_refuses_or_redirects_is_given_up(sns, topic):
    with Subscriber() as subscriber, Subscriber() as elsewhere:
        policy = {"healthyRetryPolicy": {"numRetries": 3, "numNoDelayRetries": 3}}
        subscribed(sns, topic, subscriber, DeliveryPolicy=json.dumps(policy))
        answers = {"gone": 404, "moved": 302}
        subscriber.headers["Location"] = elsewhere.url
        subscriber.answer = lambda received: answers.get(received.json["Message"], 200)
        for text in ("gone", "moved", "fine"):
            sns.publish(TopicArn=topic, Message=text)
        assert [each["Message"] for each in subscriber.notified(3)] == ["gone", "moved", "fine"]
        assert elsewhere.received == []


def test_a_subscriber_that_hangs_delays_nobody_else(sns, topic):
    with Subscriber() as slow, Subscriber() as quick:
        for each in (slow, quick):
            subscribed(sns, topic, each)
        slow.answer = lambda _: time.sleep(3) or 200
        began = time.monotonic()
        for number in range(5):
            sns.publish(TopicArn=topic, Message=str(number))
        assert [each["Message"] for each in quick.notified(5)] == list("01234")
        assert time.monotonic() - began < 3
        assert len(slow.of("Notification")) == 1
