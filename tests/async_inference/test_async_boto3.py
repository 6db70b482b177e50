"""Asynchronous inference from end to end: an unmodified boto3 against a running server, with a real model."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.async_inference.conftest import Async, until
from tests.topics.subscriber import Subscriber, refused, subscribed


def test_an_object_is_answered_by_an_object(hosted: Async):
    given = hosted.put("in/a", b"hello")
    answer = hosted.invoke("upper", InputLocation=given, ContentType="text/plain", Accept="text/x-loud")
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 202
    uuid.UUID(answer["InferenceId"])
    assert answer["OutputLocation"] == f"s3://{hosted.bucket}/out/{answer['InferenceId']}.out"
    assert answer["FailureLocation"] == f"s3://{hosted.bucket}/failed/{answer['InferenceId']}-error.out"
    assert hosted.read(answer["OutputLocation"]) == b"HELLO"
    assert hosted.get(answer["OutputLocation"])["ContentType"] == "text/x-loud"
    until(lambda: any(answer["InferenceId"] in line for line in hosted.log("upper")), "a line of the log")


def test_a_body_may_come_along_and_its_result_go_where_it_is_wanted(hosted: Async):
    answer = hosted.invoke(
        "upper", b"inline", InferenceId="mine", S3OutputPathExtension="deep/er", Filename="result.txt"
    )
    assert answer["InferenceId"] == "mine"
    assert answer["OutputLocation"] == f"s3://{hosted.bucket}/out/deep/er/result.txt"
    assert hosted.read(answer["OutputLocation"]) == b"INLINE"


def test_the_api_port_takes_invocations_too(hosted: Async):
    runtime = hosted.kedge.client("sagemaker-runtime", endpoint_url=hosted.kedge.api_url)
    answer = runtime.invoke_endpoint_async(EndpointName="upper", Body=b"by the other port")
    assert hosted.read(answer["OutputLocation"]) == b"BY THE OTHER PORT"


def test_without_a_content_type_that_of_the_object_is_taken(hosted: Async):
    hosted.s3.put_object(Bucket=hosted.bucket, Key="in/typed", Body=b"typed", ContentType="text/x-own")
    answer = hosted.invoke("upper", InputLocation=f"s3://{hosted.bucket}/in/typed", CustomAttributes="type")
    assert hosted.read(answer["OutputLocation"]) == b"TYPED"
    assert hosted.get(answer["OutputLocation"])["ContentType"] == "text/x-own"


@pytest.mark.parametrize("port", ["inference_url", "api_url"])
def test_the_key_of_an_input_may_hold_any_letter(hosted: Async, port: str):
    given = hosted.put("in/größe 1+2%.txt", b"found")
    runtime = hosted.kedge.client("sagemaker-runtime", endpoint_url=getattr(hosted.kedge, port))
    answer = runtime.invoke_endpoint_async(EndpointName="upper", InputLocation=given)
    assert hosted.read(answer["OutputLocation"]) == b"FOUND"


def test_a_large_object_streams(hosted: Async):
    body = b"0123456789abcdef" * (20 * 65536)
    answer = hosted.invoke("upper", InputLocation=hosted.put("in/large", body))
    assert hosted.read(answer["OutputLocation"]) == body.upper()


def test_what_fails_says_why(hosted: Async):
    bad = hosted.invoke("upper", b"boom")
    said = hosted.read(bad["FailureLocation"]).decode()
    assert said.startswith("Received server error (500) from primary")
    assert "this row is bad" in said
    missing = hosted.invoke("upper", InputLocation=f"s3://{hosted.bucket}/in/nothing-here")
    assert "in/nothing-here cannot be read" in hosted.read(missing["FailureLocation"]).decode()
    late = hosted.invoke("upper", b"sleep 5", InvocationTimeoutSeconds=1)
    assert "timed out" in hosted.read(late["FailureLocation"]).decode()
    for each in (bad, missing, late):
        with pytest.raises(ClientError):
            hosted.get(each["OutputLocation"])
    until(lambda: hosted.total("upper", "InvocationFailures") >= 2, "the failures among the metrics")
    assert hosted.total("upper", "RequestDownloadFailures") >= 1
    assert hosted.total("upper", "ExpiredRequests") == 0
    assert hosted.total("upper", "InvocationsProcesssed") >= 3
    assert hosted.total("upper", "TotalProcessingTime") > 0


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({}, "none is given"),
        ({"Body": b"a", "InputLocation": "s3://{bucket}/a"}, "both are given"),
        ({"Body": b"a" * 128_001}, "less than or equal to 128000"),
        ({"InputLocation": "https://example.com/a"}, "s3://BUCKET/KEY"),
        ({"InputLocation": "s3://no-such-bucket-anywhere/a"}, "The specified bucket does not exist"),
        ({"Body": b"a", "RequestTTLSeconds": 59}, "greater than or equal to 60"),
        ({"Body": b"a", "RequestTTLSeconds": 21601}, "less than or equal to 21600"),
        ({"Body": b"a", "InvocationTimeoutSeconds": 0}, "greater than or equal to 1"),
        ({"Body": b"a", "InvocationTimeoutSeconds": 3601}, "less than or equal to 3600"),
        ({"Body": b"a", "InferenceId": "a" * 65}, "less than or equal to 64"),
        ({"Body": b"a", "Filename": "a/b"}, "regular expression"),
        ({"Body": b"a", "S3OutputPathExtension": "s3://other/"}, "regular expression"),
    ],
)
def test_limits_are_those_of_the_service(hosted: Async, request_: dict[str, Any], says: str):
    runtime = hosted.kedge.client("sagemaker-runtime", config=_unchecked())
    if "InputLocation" in request_:
        request_ = {**request_, "InputLocation": request_["InputLocation"].format(bucket=hosted.bucket)}
    code, message = refused(runtime.invoke_endpoint_async, EndpointName="upper", **request_)
    assert code == "ValidationError"
    assert says in message


def _unchecked() -> Any:
    from botocore.config import Config

    return Config(parameter_validation=False)


def test_each_kind_of_endpoint_takes_its_own_invocations_only(hosted: Async):
    code, message = refused(hosted.runtime.invoke_endpoint, EndpointName="upper", Body=b"a")
    assert (code, "InvokeEndpointAsync" in message) == ("ValidationError", True)
    hosted.sagemaker.create_endpoint_config(
        EndpointConfigName="now",
        ProductionVariants=[
            {"VariantName": "v", "ModelName": "upper", "InitialInstanceCount": 1, "InstanceType": "ml.t2.medium"}
        ],
    )
    hosted.endpoint("now")
    code, message = refused(hosted.runtime.invoke_endpoint_async, EndpointName="now", Body=b"a")
    assert (code, "AsyncInferenceConfig" in message) == ("ValidationError", True)
    code, message = refused(hosted.runtime.invoke_endpoint_async, EndpointName="absent", Body=b"a")
    assert (code, "not found" in message) == ("ValidationError", True)
    hosted.delete("now")


def test_describe_shows_the_config(hosted: Async):
    shown = hosted.sagemaker.describe_endpoint(EndpointName="upper")["AsyncInferenceConfig"]
    assert shown["ClientConfig"] == {"MaxConcurrentInvocationsPerInstance": 2}
    code, message = refused(
        hosted.sagemaker.create_endpoint_config,
        EndpointConfigName="nowhere",
        ProductionVariants=[
            {"VariantName": "v", "ModelName": "upper", "InitialInstanceCount": 1, "InstanceType": "ml.t2.medium"}
        ],
        AsyncInferenceConfig={"OutputConfig": {}},
    )
    assert (code, "S3OutputPath" in message) == ("ValidationException", True)


def test_who_may_invoke_only_may_not_queue(hosted: Async):
    iam = hosted.kedge.client("iam")
    iam.create_user(UserName="queuing")
    key = iam.create_access_key(UserName="queuing")["AccessKey"]

    def allow(action: str) -> None:
        statement = {"Effect": "Allow", "Action": action, "Resource": "*"}
        iam.put_user_policy(
            UserName="queuing",
            PolicyName="p",
            PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": statement}),
        )

    runtime = hosted.kedge.client(
        "sagemaker-runtime", aws_access_key_id=key["AccessKeyId"], aws_secret_access_key=key["SecretAccessKey"]
    )
    allow("sagemaker:InvokeEndpoint")

    def known() -> bool:
        """By the router, too."""
        code, _ = refused(runtime.invoke_endpoint_async, EndpointName="upper", Body=b"a")
        return code == "AccessDeniedException"

    until(known, "a refusal")
    code, message = refused(runtime.invoke_endpoint_async, EndpointName="upper", Body=b"a")
    assert code == "AccessDeniedException"
    assert "sagemaker:InvokeEndpointAsync" in message
    allow("sagemaker:InvokeEndpointAsync")
    assert until(lambda: runtime.invoke_endpoint_async(EndpointName="upper", Body=b"a"), "the permission")


def test_topics_are_told_with_the_response_where_it_is_wanted(hosted: Async):
    sns = hosted.kedge.client("sns")
    good, bad = (sns.create_topic(Name=name)["TopicArn"] for name in ("good", "bad"))
    hosted.config(
        "told",
        "upper",
        NotificationConfig={
            "SuccessTopic": good,
            "ErrorTopic": bad,
            "IncludeInferenceResponseIn": ["SUCCESS_NOTIFICATION_TOPIC"],
        },
    )
    hosted.endpoint("told")
    with Subscriber() as glad, Subscriber() as sad:
        subscribed(sns, good, glad)
        subscribed(sns, bad, sad)
        done = hosted.invoke("told", b"hello", ContentType="text/plain", Accept="text/plain")
        failed = hosted.invoke("told", b"boom")
        (of_good,), (of_bad,) = glad.notified(1), sad.notified(1)
    told = json.loads(of_good["Message"])
    assert told["inferenceId"] == done["InferenceId"]
    assert told["invocationStatus"] == "Completed"
    assert told["requestParameters"] == {"contentType": "text/plain", "endpointName": "told"}
    assert told["responseParameters"] == {"contentType": "text/plain", "outputLocation": done["OutputLocation"]}
    assert told["responseBody"] == {"content": "HELLO", "encoding": "UTF-8"}
    assert {name: told[name] for name in ("awsRegion", "eventVersion", "eventSource", "eventName")} == {
        "awsRegion": hosted.kedge.region,
        "eventVersion": "1.0",
        "eventSource": "aws:sagemaker",
        "eventName": "InferenceResult",
    }
    told = json.loads(of_bad["Message"])
    assert told["inferenceId"] == failed["InferenceId"]
    assert told["invocationStatus"] == "Failed"
    assert "this row is bad" in told["failureReason"]
    assert "responseBody" not in told
    hosted.delete("told")


def test_kms_key_of_the_config_is_used(hosted: Async):
    key = hosted.kedge.client("kms").create_key()["KeyMetadata"]["Arn"]
    hosted.config("sealed", "upper", KmsKeyId=key)
    hosted.endpoint("sealed")
    answer = hosted.invoke("sealed", b"secret")
    assert hosted.read(answer["OutputLocation"]) == b"SECRET"
    found = hosted.get(answer["OutputLocation"])
    assert (found["ServerSideEncryption"], found["SSEKMSKeyId"]) == ("aws:kms", key)
    hosted.delete("sealed")


def test_what_is_answered_is_captured_as_in_real_time(hosted: Async):
    capture = {
        "InitialSamplingPercentage": 100,
        "DestinationS3Uri": f"s3://{hosted.bucket}/captured",
        "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
        "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"]},
    }
    hosted.config("captured", "upper", more={"DataCaptureConfig": capture})
    hosted.endpoint("captured")
    shown = hosted.sagemaker.describe_endpoint(EndpointName="captured")["DataCaptureConfig"]
    assert (shown["CaptureStatus"], shown["CurrentSamplingPercentage"]) == ("Started", 100)
    asked = [
        hosted.invoke("captured", b"a,b", InferenceId="mine", ContentType="text/csv", Accept="text/csv"),
        hosted.invoke("captured", InputLocation=hosted.put("in/rows", b"c,d\n"), ContentType="text/csv"),
        hosted.invoke("captured", b"boom", ContentType="text/csv"),
        hosted.invoke("captured", InputLocation=hosted.put("in/long", bytes(7 * 2**20)), ContentType="text/csv"),
    ]
    for each in asked[:2] + asked[3:]:
        hosted.read(each["OutputLocation"])
    hosted.read(asked[2]["FailureLocation"])

    def records() -> list[dict[str, Any]]:
        listed = hosted.s3.list_objects_v2(Bucket=hosted.bucket, Prefix="captured/captured/v/").get("Contents", [])
        lines = [hosted.read(f"s3://{hosted.bucket}/{each['Key']}").decode().splitlines() for each in listed]
        return [json.loads(line) for each in lines for line in each]

    found = until(lambda: len(records()) == 2 and records(), "two records", 60.0)
    by_id = {each["eventMetadata"]["inferenceId"]: each["captureData"] for each in found}
    assert by_id.keys() == {"mine", asked[1]["InferenceId"]}, "neither the failure nor what is too long"
    mine = by_id["mine"]
    assert (mine["endpointInput"]["data"], mine["endpointInput"]["encoding"]) == ("a,b", "CSV")
    assert (mine["endpointOutput"]["data"], mine["endpointOutput"]["observedContentType"]) == ("A,B", "text/csv")
    assert by_id[asked[1]["InferenceId"]]["endpointInput"]["data"] == "c,d\n"
    until(lambda: own(hosted, "CapturedRecords") == 3 and own(hosted, "CaptureDroppedRecords") == 1, "what was counted")


def own(hosted: Async, name: str) -> float:
    dimensions = [{"Name": "EndpointName", "Value": "captured"}, {"Name": "VariantName", "Value": "v"}]
    now = datetime.now(UTC)
    found = hosted.kedge.client("cloudwatch").get_metric_statistics(
        Namespace="Kedge", MetricName=name, Dimensions=dimensions, Statistics=["Sum"], Period=60,
        StartTime=now - timedelta(hours=1), EndTime=now + timedelta(minutes=1),
    )  # fmt: skip
    return sum(each["Sum"] for each in found["Datapoints"])


def test_deleting_the_endpoint_ends_what_waits_and_what_runs(hosted: Async):
    hosted.config("short", "upper", concurrency=1)
    hosted.endpoint("short")
    answers = [hosted.invoke("short", b"sleep 4"), *(hosted.invoke("short", b"waits %d" % n) for n in range(3))]
    hosted.sagemaker.delete_endpoint(EndpointName="short")
    said = [hosted.read(each["FailureLocation"]).decode() for each in answers]
    assert all("The endpoint was deleted" in each for each in said)
    hosted.gone("short")
    assert refused(hosted.runtime.invoke_endpoint_async, EndpointName="short", Body=b"a")[0] == "ValidationError"


def test_an_update_lets_an_instance_finish_what_it_has(hosted: Async):
    hosted.config("first", "upper", concurrency=1)
    hosted.config("second", "upper", concurrency=1)
    hosted.endpoint("changing", "first")
    answer = hosted.invoke("changing", b"sleep 3")
    hosted.sagemaker.update_endpoint(EndpointName="changing", EndpointConfigName="second")
    after = hosted.invoke("changing", b"after")
    assert hosted.read(answer["OutputLocation"]) == b"SLEEP 3"
    assert hosted.read(after["OutputLocation"]) == b"AFTER"
    assert "is tried again" not in (hosted.kedge.data_dir / "log" / "control.log").read_text()
    hosted.sagemaker.get_waiter("endpoint_in_service").wait(
        EndpointName="changing", WaiterConfig={"Delay": 1, "MaxAttempts": 30}
    )
    hosted.delete("changing")


def test_a_canary_gets_its_part_of_what_waits(hosted: Async):
    hosted.model(
        "lower", "def model_fn(d):\n    return 0\ndef transform_fn(m, data, c, a):\n    return 'new', 'text/plain'\n"
    )
    hosted.config("old", "upper", concurrency=1)
    hosted.config("new", "lower", concurrency=1)
    hosted.endpoint("canary", "old")
    hosted.sagemaker.update_endpoint(
        EndpointName="canary",
        EndpointConfigName="new",
        DeploymentConfig={
            "BlueGreenUpdatePolicy": {
                "TrafficRoutingConfiguration": {
                    "Type": "CANARY",
                    "WaitIntervalInSeconds": 2,
                    "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 50},
                },
                "TerminationWaitInSeconds": 0,
            }
        },
    )
    seen = set()

    def both() -> bool:
        seen.add(hosted.read(hosted.invoke("canary", b"old")["OutputLocation"]))
        return seen == {b"OLD", b"new"}

    until(both, "answers of both fleets")
    hosted.sagemaker.get_waiter("endpoint_in_service").wait(
        EndpointName="canary", WaiterConfig={"Delay": 1, "MaxAttempts": 40}
    )
    assert {hosted.read(hosted.invoke("canary", b"old")["OutputLocation"]) for _ in range(5)} == {b"new"}
    hosted.delete("canary")


def test_an_invocation_that_kills_instances_is_given_up(hosted: Async):
    hosted.config("dying", "upper", concurrency=1)
    hosted.endpoint("dying")
    deadly, after = hosted.invoke("dying", b"die"), hosted.invoke("dying", b"after")
    assert "3 instances in turn ended" in hosted.read(deadly["FailureLocation"]).decode()
    assert hosted.read(after["OutputLocation"]) == b"AFTER"
    hosted.delete("dying")


def test_backlogs_are_told(hosted: Async):
    until(lambda: hosted.total("upper", "ApproximateBacklogSize", "") >= 0, "the backlog among the metrics", 30)
    assert hosted.total("upper", "HasBacklogWithoutCapacity", "") == 0
    assert hosted.total("upper", "Invocations") == -1, "asynchronous endpoints have other metrics"


def test_what_waits_for_an_endpoint_without_instances_wakes_it(hosted: Async):
    sagemaker = hosted.kedge.client("sagemaker")

    def count() -> int:
        described = sagemaker.describe_endpoint(EndpointName="upper")
        in_service = described["EndpointStatus"] == "InService"
        return int(described["ProductionVariants"][0]["CurrentInstanceCount"]) if in_service else -1

    name = sagemaker.describe_endpoint(EndpointName="upper")["ProductionVariants"][0]["VariantName"]
    before = count()
    for wanted in (0, before):
        sizes = [{"VariantName": name, "DesiredInstanceCount": wanted}]
        sagemaker.update_endpoint_weights_and_capacities(EndpointName="upper", DesiredWeightsAndCapacities=sizes)
        until(lambda wanted=wanted: count() == wanted, f"{wanted} instances")
        if not wanted:
            answer = hosted.invoke("upper", b"asleep")
            assert hosted.read(answer["OutputLocation"]) == b"ASLEEP"
            until(lambda: count() == 1, "an instance")
