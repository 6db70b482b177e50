"""An unmodified boto3 makes topics and subscriptions, and real servers confirm them."""

from __future__ import annotations

import json
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from tests.faults.conftest import until
from tests.topics.subscriber import Subscriber, refused, subscribed

# Topics


def test_a_topic_is_made_once_and_described(sns, kedge):
    made = sns.create_topic(Name="alerts", Attributes={"DisplayName": "Alerts"}, Tags=[{"Key": "team", "Value": "ml"}])[
        "TopicArn"
    ]
    assert made == f"arn:aws:sns:{kedge.region}:{kedge.account}:alerts"
    assert sns.create_topic(Name="alerts")["TopicArn"] == made
    assert sns.create_topic(Name="alerts", Tags=[{"Key": "team", "Value": "ml"}])["TopicArn"] == made
    found = sns.get_topic_attributes(TopicArn=made)["Attributes"]
    assert (found["TopicArn"], found["Owner"], found["DisplayName"]) == (made, kedge.account, "Alerts")
    assert [found[f"Subscriptions{each}"] for each in ("Confirmed", "Pending", "Deleted")] == ["0", "0", "0"]
    assert json.loads(found["EffectiveDeliveryPolicy"])["http"]["defaultHealthyRetryPolicy"]["numRetries"] == 3
    assert json.loads(found["Policy"])["Statement"][0]["Resource"] == made
    assert sns.list_topics()["Topics"] == [{"TopicArn": made}]
    assert sns.list_tags_for_resource(ResourceArn=made)["Tags"] == [{"Key": "team", "Value": "ml"}]
    sns.tag_resource(ResourceArn=made, Tags=[{"Key": "stage", "Value": "prod"}])
    sns.untag_resource(ResourceArn=made, TagKeys=["team"])
    assert sns.list_tags_for_resource(ResourceArn=made)["Tags"] == [{"Key": "stage", "Value": "prod"}]
    sns.delete_topic(TopicArn=made)
    sns.delete_topic(TopicArn=made)
    assert sns.list_topics()["Topics"] == []
    assert refused(sns.get_topic_attributes, TopicArn=made) == ("NotFound", "Topic does not exist")
    assert refused(sns.list_tags_for_resource, ResourceArn=made) == ("ResourceNotFound", "Resource does not exist")


def test_what_differs_from_a_topic_that_is_there_is_refused(sns, topic):
    assert refused(sns.create_topic, Name="alerts", Attributes={"DisplayName": "x"}) == (
        "InvalidParameter",
        "Invalid parameter: Attributes Reason: Topic already exists with different attributes",
    )
    assert refused(sns.create_topic, Name="alerts", Tags=[{"Key": "a", "Value": "b"}]) == (
        "InvalidParameter",
        "Invalid parameter: Tags Reason: Topic already exists with different tags",
    )


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        ({"Name": "a b"}, "Invalid parameter: Topic Name"),
        ({"Name": "x" * 257}, "Invalid parameter: Topic Name"),
        ({"Name": "a.fifo", "Attributes": {"FifoTopic": "true"}}, "FifoTopic: FIFO topics are not offered here"),
        ({"Name": "a.fifo"}, "FIFO topics are not offered here"),
        ({"Name": "a", "Attributes": {"KmsMasterKeyId": "alias/aws/sns"}}, "KmsMasterKeyId"),
        ({"Name": "a", "Attributes": {"HTTPSuccessFeedbackRoleArn": "x"}}, "HTTPSuccessFeedbackRoleArn"),
        ({"Name": "a", "Attributes": {"Nonsense": "x"}}, "Unknown attribute Nonsense"),
        ({"Name": "a", "Attributes": {"Policy": "{"}}, "Policy Error"),
        ({"Name": "a", "Attributes": {"DeliveryPolicy": '{"http": {"x": 1}}'}}, 'http has no member "x"'),
        ({"Name": "a", "Attributes": {"SignatureVersion": "3"}}, "Must be 1 or 2"),
        ({"Name": "a", "Tags": [{"Key": "k", "Value": "1"}] * 2}, "Duplicated keys are not allowed."),
    ],
)
def test_a_topic_that_cannot_be_is_refused(sns, request_, told):
    code, message = refused(sns.create_topic, **request_)
    assert code == "InvalidParameter"
    assert told in message


def test_names_of_topics_that_are_none(sns, topic):
    for text, told in [
        ("x", "Invalid parameter: TopicArn Reason: An ARN must have at least 6 elements, not 1"),
        (topic.replace("us-east-1", "eu-west-1"), "Invalid parameter: TopicArn"),
        (topic.replace(":sns:", ":sqs:"), "Invalid parameter: TopicArn"),
    ]:
        assert refused(sns.publish, TopicArn=text, Message="m") == ("InvalidParameter", told)
    assert refused(sns.set_topic_attributes, TopicArn=topic, AttributeName="No", AttributeValue="x") == (
        "InvalidParameter",
        "Invalid parameter: AttributeName",
    )
    assert refused(sns.list_topics, NextToken="x")[0] == "InvalidParameter"


def test_more_than_a_page(sns):
    for number in range(101):
        sns.create_topic(Name=f"t{number:03}")
    pages = list(sns.get_paginator("list_topics").paginate())
    assert [len(page["Topics"]) for page in pages] == [100, 1]


# Subscriptions


def test_a_subscription_is_confirmed_by_its_url(sns, topic, kedge):
    with Subscriber() as subscriber:
        asked = {"TopicArn": topic, "Protocol": "http", "Endpoint": subscriber.url}
        assert sns.subscribe(**asked)["SubscriptionArn"] == "pending confirmation"
        found = sns.subscribe(**asked, ReturnSubscriptionArn=True)["SubscriptionArn"]
        assert sns.get_subscription_attributes(SubscriptionArn=found)["Attributes"]["PendingConfirmation"] == "true"
        (listed,) = sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
        assert listed["SubscriptionArn"] == "PendingConfirmation"
        sns.publish(TopicArn=topic, Message="nobody has confirmed yet")
        until(lambda: len(subscriber.of("SubscriptionConfirmation")) == 2, what="both confirmation messages")
        first, second = subscriber.of("SubscriptionConfirmation")
        assert list(second)[:5] == ["Type", "MessageId", "Token", "TopicArn", "Message"]
        assert second["Message"].startswith(f"You have chosen to subscribe to the topic {topic}.\nTo confirm")
        head = subscriber.received[-1].headers
        assert head["x-amz-sns-topic-arn"] == topic
        assert head["x-amz-sns-message-id"] == second["MessageId"]
        assert head["content-type"] == "text/plain; charset=UTF-8"
        assert "x-amz-sns-subscription-arn" not in head
        # A later request makes an earlier token worthless.
        code, message = refused(sns.confirm_subscription, TopicArn=topic, Token=first["Token"])
        assert (code, message) == ("InvalidParameter", "Invalid parameter: Token")
        answer = subscriber.confirm()
        assert f"<SubscriptionArn>{found}</SubscriptionArn>" in answer
        assert "ConfirmSubscriptionResponse" in answer
        assert f"<SubscriptionArn>{found}</SubscriptionArn>" in subscriber.confirm()  # visited twice
        attributes = sns.get_subscription_attributes(SubscriptionArn=found)["Attributes"]
        assert (attributes["PendingConfirmation"], attributes["ConfirmationWasAuthenticated"]) == ("false", "false")
        assert (attributes["Owner"], attributes["RawMessageDelivery"]) == (kedge.account, "false")
        (listed,) = sns.list_subscriptions()["Subscriptions"]
        assert (listed["SubscriptionArn"], listed["Endpoint"]) == (found, subscriber.url)
        assert sns.subscribe(**asked)["SubscriptionArn"] == found
        assert sns.get_topic_attributes(TopicArn=topic)["Attributes"]["SubscriptionsConfirmed"] == "1"
        assert subscriber.of("Notification") == []


def test_a_subscription_is_confirmed_by_its_token(sns, topic):
    with Subscriber() as subscriber:
        sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=subscriber.url)
        until(lambda: subscriber.of("SubscriptionConfirmation"), what="the confirmation message")
        token = subscriber.of("SubscriptionConfirmation")[0]["Token"]
        assert refused(sns.confirm_subscription, TopicArn=topic, Token="x") == ("InvalidParameter", "Invalid token")
        for wrong in (token[:-1] + ("0" if token[-1] != "0" else "1"), "0" * 256):
            assert refused(sns.confirm_subscription, TopicArn=topic, Token=wrong)[1] == "Invalid parameter: Token"
        found = sns.confirm_subscription(TopicArn=topic, Token=token, AuthenticateOnUnsubscribe="true")
        arn = found["SubscriptionArn"]
        assert sns.confirm_subscription(TopicArn=topic, Token=token)["SubscriptionArn"] == arn
        attributes = sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]
        assert attributes["ConfirmationWasAuthenticated"] == "true"
        sns.publish(TopicArn=topic, Message="m")
        link = subscriber.notified(1)[0]["UnsubscribeURL"]
        with pytest.raises(HTTPError) as caught:
            urlopen(link, timeout=10)
        assert (caught.value.code, b"AuthorizationError" in caught.value.read()) == (403, True)
        sns.unsubscribe(SubscriptionArn=arn)
        sns.unsubscribe(SubscriptionArn=arn)
        assert sns.list_subscriptions()["Subscriptions"] == []
        assert refused(sns.get_subscription_attributes, SubscriptionArn=arn) == (
            "NotFound",
            "Subscription does not exist",
        )


def test_a_subscriber_leaves_by_its_url_and_comes_back(sns, topic):
    with Subscriber() as subscriber:
        arn = subscribed(sns, topic, subscriber)
        sns.publish(TopicArn=topic, Message="one")
        with urlopen(subscriber.notified(1)[0]["UnsubscribeURL"], timeout=10) as answer:
            assert b"UnsubscribeResponse" in answer.read()
        assert sns.list_subscriptions()["Subscriptions"] == []
        assert sns.get_topic_attributes(TopicArn=topic)["Attributes"]["SubscriptionsDeleted"] == "1"
        sns.publish(TopicArn=topic, Message="while it is away")
        until(lambda: subscriber.of("UnsubscribeConfirmation"), what="the message that says it has ended")
        told = subscriber.of("UnsubscribeConfirmation")[0]
        assert told["Message"].startswith(f"You have chosen to deactivate subscription {arn}.\n")
        with urlopen(told["SubscribeURL"], timeout=10) as answer:
            assert arn in answer.read().decode()
        sns.publish(TopicArn=topic, Message="two")
        assert [each["Message"] for each in subscriber.notified(2)] == ["one", "two"]


@pytest.mark.parametrize(
    ("protocol", "endpoint", "told"),
    [
        ("sqs", "arn:aws:sqs:us-east-1:000000000000:q", "sqs is not offered here: http and https are"),
        ("lambda", "arn:aws:lambda:us-east-1:0:function:f", "lambda is not offered here"),
        ("email", "a@example.com", "email is not offered here"),
        ("pigeon", "x", "Amazon SNS does not support this protocol string: pigeon"),
        ("https", "http://127.0.0.1/", "Endpoint must match the specified protocol"),
        ("http", "", "Endpoint Reason"),
        ("http", "http://", "Endpoint Reason"),
        ("http", "http://a b/", "Endpoint Reason"),
        ("http", "http://169.254.169.254/latest/meta-data", "169.254.169.254 may not be reached from here"),
        ("http", "http://[::ffff:169.254.169.254]/", "may not be reached from here"),
    ],
)
def test_endpoints_that_cannot_be(sns, topic, protocol, endpoint, told):
    code, message = refused(sns.subscribe, TopicArn=topic, Protocol=protocol, Endpoint=endpoint)
    assert code == "InvalidParameter"
    assert told in message


def test_attributes_of_subscriptions(sns, topic):
    asked = {"TopicArn": topic, "Protocol": "http", "Endpoint": "http://me:secret@127.0.0.1:9/x"}
    arn = sns.subscribe(**asked, Attributes={"RawMessageDelivery": "true"}, ReturnSubscriptionArn=True)[
        "SubscriptionArn"
    ]
    found = sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]
    assert (found["Endpoint"], found["RawMessageDelivery"]) == ("http://me:****@127.0.0.1:9/x", "true")
    assert refused(sns.subscribe, **asked, Attributes={"RawMessageDelivery": "false"})[1] == (
        "Invalid parameter: Attributes Reason: Subscription already exists with different attributes"
    )

    def told(name: str, value: str) -> str:
        return refused(sns.set_subscription_attributes, SubscriptionArn=arn, AttributeName=name, AttributeValue=value)[
            1
        ].removeprefix("Invalid parameter: ")

    assert told("fake", "x") == "AttributeName"
    assert told("RawMessageDelivery", "x") == "RawMessageDelivery: Invalid value [x]. Must be true or false."
    assert told("FilterPolicyScope", "x").endswith("Please use either MessageBody or MessageAttributes")
    assert told("FilterPolicy", "{i").startswith("FilterPolicy: failed to parse JSON.")
    assert told("FilterPolicy", '{"a": {"b": ["c"]}}') == (
        "Filter policy scope MessageAttributes does not support nested filter policy"
    )
    assert told("RedrivePolicy", "{}").startswith("RedrivePolicy: a dead-letter queue is a queue of SQS")
    assert told("DeliveryPolicy", '{"healthyRetryPolicy": {"numRetries": 101}}').endswith("from 0 to 100")
    for name, value in [("FilterPolicyScope", "MessageBody"), ("FilterPolicy", '{"a": {"b": ["c"]}}')]:
        sns.set_subscription_attributes(SubscriptionArn=arn, AttributeName=name, AttributeValue=value)
    found = sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]
    assert json.loads(found["FilterPolicy"]) == {"a": {"b": ["c"]}}
    assert refused(sns.unsubscribe, SubscriptionArn=topic)[1] == "Invalid parameter: SubscriptionId"


# Permissions


def test_policies_of_topics_decide(sns, topic, kedge):
    iam = kedge.client("iam")
    user = iam.create_user(UserName="ann")["User"]["Arn"]
    key = iam.create_access_key(UserName="ann")["AccessKey"]
    mine = kedge.client("sns", aws_access_key_id=key["AccessKeyId"], aws_secret_access_key=key["SecretAccessKey"])
    code, message = refused(mine.publish, TopicArn=topic, Message="m")
    assert code == "AuthorizationError"
    assert f"User: {user} is not authorized to perform: SNS:Publish on resource: {topic}" in message
    statement = {"Effect": "Allow", "Principal": {"AWS": user}, "Action": "sns:Publish", "Resource": topic}

    def set_policy(*statements: dict[str, Any]) -> None:
        text = json.dumps({"Version": "2012-10-17", "Statement": statements})
        sns.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=text)

    set_policy(statement)
    assert mine.publish(TopicArn=topic, Message="m")["MessageId"]
    entries = [{"Id": "1", "Message": "m"}]
    assert mine.publish_batch(TopicArn=topic, PublishBatchRequestEntries=entries)["Successful"]
    assert refused(mine.delete_topic, TopicArn=topic)[0] == "AuthorizationError"
    set_policy(statement, {**statement, "Effect": "Deny"})
    assert "explicit deny" in refused(mine.publish, TopicArn=topic, Message="m")[1]
    stranger = {**statement, "Principal": {"AWS": user.replace("ann", "bob")}}
    text = json.dumps({"Version": "2012-10-17", "Statement": [stranger]})
    _, message = refused(sns.set_topic_attributes, TopicArn=topic, AttributeName="Policy", AttributeValue=text)
    assert "bob" in message


def test_permissions_are_statements_of_the_policy(sns, topic):
    asked = {"TopicArn": topic, "Label": "partner", "AWSAccountId": ["111122223333"], "ActionName": ["Publish"]}
    sns.add_permission(**asked)
    statements = json.loads(sns.get_topic_attributes(TopicArn=topic)["Attributes"]["Policy"])["Statement"]
    assert [each["Sid"] for each in statements] == ["__default_statement_ID", "partner"]
    assert statements[1]["Principal"] == {"AWS": "arn:aws:iam::111122223333:root"}
    assert (statements[1]["Action"], statements[1]["Resource"]) == (["SNS:Publish"], topic)
    assert refused(sns.add_permission, **asked)[1] == "Invalid parameter: Statement already exists"
    wrong = {**asked, "Label": "x", "ActionName": ["CreateTopic"]}
    assert refused(sns.add_permission, **wrong)[1].endswith("action out of service scope!")
    assert "12 digits" in refused(sns.add_permission, **{**asked, "Label": "x", "AWSAccountId": ["me"]})[1]
    sns.remove_permission(TopicArn=topic, Label="partner")
    assert "no statement partner" in refused(sns.remove_permission, TopicArn=topic, Label="partner")[1]
    statements = json.loads(sns.get_topic_attributes(TopicArn=topic)["Attributes"]["Policy"])["Statement"]
    assert len(statements) == 1
