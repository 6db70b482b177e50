"""boto3 of any version: metrics, alarms, topics and logs, of one's own and of an endpoint. Argument: a model.tar.gz."""

import json
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import boto3
from botocore.exceptions import ClientError

ARCHIVE = sys.argv[1]
IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3"
LIMIT_S = 60


def until(look, what):
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.2)
    raise AssertionError(f"{what} did not come within {LIMIT_S} s")


def code_of(call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        return error.response["Error"]["Code"], error.response["Error"]["Message"]
    raise AssertionError("no error")


cloudwatch, logs, sns = boto3.client("cloudwatch"), boto3.client("logs"), boto3.client("sns")
s3, sagemaker, runtime = boto3.client("s3"), boto3.client("sagemaker"), boto3.client("sagemaker-runtime")
name = f"telemetry-{boto3.__version__.replace('.', '-')}-{sagemaker.meta.endpoint_url.split(':')[0]}"
now = datetime.now(UTC).replace(microsecond=0)
hour = {"StartTime": now - timedelta(hours=1), "EndTime": now + timedelta(minutes=5)}

# Metrics of one's own: values with counts, statistic sets, a body that is large enough to be compressed, expressions.
place = [{"Name": "Shop", "Value": name}]
old = now.replace(second=0) - timedelta(minutes=10)
at_old = {"Dimensions": place, "Timestamp": old}
counted = {"MetricName": "Price", "Unit": "None", "Values": [1, 2, 3, 4], "Counts": [1, 1, 1, 7]}
summed = {"SampleCount": 4, "Sum": 10, "Minimum": 1, "Maximum": 4}
cloudwatch.put_metric_data(
    Namespace=name, MetricData=[{**at_old, **counted}, {**at_old, "MetricName": "Sold", "StatisticValues": summed}]
)
many = [{"MetricName": "Many", "Dimensions": [{"Name": "Number", "Value": f"{n:05}"}], "Value": n} for n in range(300)]
cloudwatch.put_metric_data(Namespace=name, MetricData=many)


def stat(name_of_query, metric, statistic, period=60, **more):
    metric = {"Namespace": name, "MetricName": metric, "Dimensions": place, **more}
    return {"Id": name_of_query, "MetricStat": {"Metric": metric, "Period": period, "Stat": statistic}}


queries = [
    stat("average", "Price", "Average"),
    stat("top", "Price", "p90"),
    stat("sold", "Sold", "Sum"),
    {"Id": "earned", "Expression": "average * sold", "Label": "earned ${LAST}"},
    {"Id": "found", "Expression": f"SUM(SEARCH('{{{name},Number}} MetricName=\"Many\"', 'Sum', 60))"},
]
results = {
    each["Id"]: each for each in cloudwatch.get_metric_data(MetricDataQueries=queries, **hour)["MetricDataResults"]
}
assert results["average"]["Values"] == [3.4], results["average"]
assert results["average"]["Timestamps"] == [old]
assert results["top"]["Values"] == [4.0]
assert (results["earned"]["Values"], results["earned"]["Label"]) == ([34.0], "earned 34"), results["earned"]
assert sum(results["found"]["Values"]) == sum(range(300))
points = cloudwatch.get_metric_statistics(
    Namespace=name, MetricName="Price", Dimensions=place, Period=60, Statistics=["Maximum", "SampleCount"], **hour
)["Datapoints"]
assert [(each["Maximum"], each["SampleCount"], each["Unit"]) for each in points] == [(4.0, 10.0, "None")]
listed = [
    each for page in cloudwatch.get_paginator("list_metrics").paginate(Namespace=name) for each in page["Metrics"]
]
assert len(listed) == 302
assert code_of(cloudwatch.put_metric_data, Namespace=name, MetricData=[{"MetricName": "m", "Value": 1e200}])[0] == (
    "InvalidParameterValue"
)

# A topic with a subscriber of its own, which confirms, and an alarm that reaches it.
received = []


class Subscriber(BaseHTTPRequestHandler):
    def do_POST(self):
        received.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *words):
        pass


server = HTTPServer(("127.0.0.1", 0), Subscriber)
threading.Thread(target=server.serve_forever, daemon=True).start()
topic = sns.create_topic(Name=name.replace(".", "-"))["TopicArn"]
sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=f"http://127.0.0.1:{server.server_port}/")
asked = until(lambda: [each for each in received if each["Type"] == "SubscriptionConfirmation"], "the confirmation")
sns.confirm_subscription(TopicArn=topic, Token=asked[0]["Token"])
assert len(sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]) == 1

cloudwatch.put_metric_alarm(
    AlarmName=name, Namespace=name, MetricName="Heat", Dimensions=place, Statistic="Maximum", Period=10,
    EvaluationPeriods=1, Threshold=50, ComparisonOperator="GreaterThanThreshold", AlarmActions=[topic],
)  # fmt: skip
cloudwatch.put_composite_alarm(AlarmName=f"{name}-any", AlarmRule=f'ALARM("{name}") OR FALSE')
cloudwatch.get_waiter("alarm_exists").wait(AlarmNames=[name])
cloudwatch.get_waiter("composite_alarm_exists").wait(AlarmNames=[f"{name}-any"], AlarmTypes=["CompositeAlarm"])


def state(alarm, kind="MetricAlarms"):
    found = cloudwatch.describe_alarms(AlarmNames=[alarm], AlarmTypes=["MetricAlarm", "CompositeAlarm"])
    return found[kind][0]["StateValue"]


assert state(name) == "INSUFFICIENT_DATA"
cloudwatch.put_metric_data(
    Namespace=name, MetricData=[{"MetricName": "Heat", "Dimensions": place, "Value": 99, "StorageResolution": 1}]
)
until(lambda: state(name) == "ALARM", "the alarm")
until(lambda: state(f"{name}-any", "CompositeAlarms") == "ALARM", "the composite alarm")
told = until(lambda: [each for each in received if each["Type"] == "Notification"], "the alarm's message")
message = json.loads(told[0]["Message"])
assert (message["AlarmName"], message["NewStateValue"], message["Trigger"]["Threshold"]) == (name, "ALARM", 50.0)
history = cloudwatch.describe_alarm_history(AlarmName=name, HistoryItemType="StateUpdate")["AlarmHistoryItems"]
assert history[0]["HistorySummary"] == "Alarm updated from INSUFFICIENT_DATA to ALARM"
cloudwatch.delete_alarms(AlarmNames=[f"{name}-any"])
cloudwatch.delete_alarms(AlarmNames=[name])
sns.delete_topic(TopicArn=topic)
server.shutdown()

# Logs of one's own.
logs.create_log_group(logGroupName=name)
logs.create_log_stream(logGroupName=name, logStreamName="s")
at_ms = int(now.timestamp() * 1000)
logs.put_log_events(
    logGroupName=name, logStreamName="s", logEvents=[{"timestamp": at_ms + n, "message": f"line {n}"} for n in range(5)]
)
page = logs.get_log_events(logGroupName=name, logStreamName="s", startFromHead=True, limit=3)
assert [each["message"] for each in page["events"]] == ["line 0", "line 1", "line 2"]
rest = logs.get_log_events(logGroupName=name, logStreamName="s", startFromHead=True, nextToken=page["nextForwardToken"])
assert [each["message"] for each in rest["events"]] == ["line 3", "line 4"]
pages = logs.get_paginator("filter_log_events").paginate(logGroupName=name, PaginationConfig={"PageSize": 2})
assert [each["message"] for page in pages for each in page["events"]] == [f"line {n}" for n in range(5)]
assert code_of(logs.get_log_events, logGroupName=name, logStreamName="none")[0] == "ResourceNotFoundException"
logs.delete_log_group(logGroupName=name)

# An endpoint's own.
s3.create_bucket(Bucket=name)
s3.upload_file(ARCHIVE, name, "model.tar.gz")
role = boto3.client("iam").get_role(RoleName="kedge-execution-role")["Role"]["Arn"]
sagemaker.create_model(
    ModelName=name,
    ExecutionRoleArn=role,
    PrimaryContainer={"Image": IMAGE, "ModelDataUrl": f"s3://{name}/model.tar.gz", "Environment": {"GREETING": "hi"}},
)
variant = {"VariantName": "v", "ModelName": name, "InitialInstanceCount": 1, "InstanceType": "ml.t3.medium"}
sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
for _ in range(7):
    runtime.invoke_endpoint(EndpointName=name, ContentType="text/csv", Body="1,2,3,4")
served = [{"Name": "EndpointName", "Value": name}, {"Name": "VariantName", "Value": "v"}]


def invocations():
    query = stat("n", "Invocations", "Sum", Namespace="AWS/SageMaker", Dimensions=served)
    found = cloudwatch.get_metric_data(MetricDataQueries=[query], **hour)["MetricDataResults"]
    return sum(found[0]["Values"])


until(lambda: invocations() == 7, "the invocations")
latency = stat("l", "ModelLatency", "p50", Namespace="AWS/SageMaker", Dimensions=served)
assert cloudwatch.get_metric_data(MetricDataQueries=[latency], **hour)["MetricDataResults"][0]["Values"][0] > 0

# It is scaled: a policy with its alarms, and a request that wakes it from nothing.
autoscaling = boto3.client("application-autoscaling")
place = {
    "ServiceNamespace": "sagemaker",
    "ResourceId": f"endpoint/{name}/variant/v",
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
}
autoscaling.register_scalable_target(MinCapacity=0, MaxCapacity=2, **place)
tracking = {
    "TargetValue": 5.0,
    "PredefinedMetricSpecification": {
        "PredefinedMetricType": "SageMakerVariantConcurrentRequestsPerModelHighResolution"
    },
}
put = autoscaling.put_scaling_policy(
    PolicyName="p", PolicyType="TargetTrackingScaling", TargetTrackingScalingPolicyConfiguration=tracking, **place
)
own = [each["AlarmName"] for each in put["Alarms"]]
assert len(cloudwatch.describe_alarms(AlarmNames=own)["MetricAlarms"]) == 2, own
asleep = [{"VariantName": "v", "DesiredInstanceCount": 0}]
sagemaker.update_endpoint_weights_and_capacities(EndpointName=name, DesiredWeightsAndCapacities=asleep)
until(lambda: sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"] == "InService", "no instance")
assert runtime.invoke_endpoint(EndpointName=name, ContentType="text/csv", Body="1,2,3,4")["Body"].read()
activities = autoscaling.get_paginator("describe_scaling_activities").paginate(ServiceNamespace="sagemaker")
told = [each["Cause"] for page in activities for each in page["ScalingActivities"] if name in each["ResourceId"]]
assert told[0].startswith("a request waits"), told
autoscaling.deregister_scalable_target(**place)
assert cloudwatch.describe_alarms(AlarmNames=own)["MetricAlarms"] == []
until(lambda: sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"] == "InService", "its instance")
sagemaker.delete_endpoint(EndpointName=name)
