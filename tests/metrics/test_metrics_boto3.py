"""An unmodified boto3 puts metrics and reads them, in each of CloudWatch's protocols."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.wire.speaking import PROTOCOLS, speaking

NOW = datetime.now(UTC)
MINUTE = NOW.replace(second=0, microsecond=0) - timedelta(minutes=10)
"""Of the first datapoint in most tests."""
BAD, BAD_VALUE = "ValidationError", "InvalidParameterValue"
BAD_COMBINATION = "InvalidParameterCombination"


@pytest.fixture
def cloudwatch(kedge) -> Any:
    return kedge.client("cloudwatch")


@pytest.fixture(scope="module")
def unwiped(kedge_server) -> Any:
    """For what is refused: nothing has to be emptied before it."""
    return kedge_server.client("cloudwatch")


def after(minutes: float) -> datetime:
    return MINUTE + timedelta(minutes=minutes)


def stat(name: str = "m", stat: str = "Sum", period: int = 60, its_id: str = "m1", **more: Any) -> dict[str, Any]:
    metric = {
        "Namespace": "Shop",
        "MetricName": name,
        **({"Dimensions": more.pop("dimensions")} if "dimensions" in more else {}),
    }
    unit = {"Unit": more.pop("unit")} if "unit" in more else {}
    return {"Id": its_id, "MetricStat": {"Metric": metric, "Period": period, "Stat": stat, **unit}, **more}


def ask(client: Any, *queries: dict[str, Any], minutes: float = 10, **more: Any) -> dict[str, Any]:
    return client.get_metric_data(MetricDataQueries=list(queries), StartTime=MINUTE, EndTime=after(minutes), **more)


def put(client: Any, *data: dict[str, Any], **more: Any) -> dict[str, Any]:
    return client.put_metric_data(Namespace="Shop", MetricData=[{"MetricName": "m", **each} for each in data], **more)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_operation_in_each_protocol(kedge, protocol: str):
    keys = kedge.session.get_credentials()
    client = speaking(
        protocol, "cloudwatch", endpoint_url=kedge.api_url, region_name=kedge.region,
        aws_access_key_id=keys.access_key, aws_secret_access_key=keys.secret_key,
    )  # fmt: skip
    pay = [{"Name": "Service", "Value": "pay"}]
    put(
        client,
        {"Timestamp": MINUTE, "Value": 0.25, "Unit": "Seconds", "Dimensions": pay},
        {"Timestamp": MINUTE, "Values": [0.5, 1.5], "Counts": [3, 1], "Unit": "Seconds", "Dimensions": pay},
        {
            "Timestamp": after(1), "Unit": "Seconds", "Dimensions": pay,
            "StatisticValues": {"SampleCount": 4, "Sum": 10, "Minimum": 1, "Maximum": 4},
        },
        {"MetricName": "fast", "Timestamp": MINUTE, "Value": 7, "StorageResolution": 1},
    )  # fmt: skip
    asked = {
        "Namespace": "Shop",
        "MetricName": "m",
        "Dimensions": pay,
        "StartTime": MINUTE,
        "EndTime": after(5),
        "Period": 60,
    }
    every = ["SampleCount", "Average", "Sum", "Minimum", "Maximum"]
    answer = client.get_metric_statistics(**asked, Statistics=every)
    assert answer["Label"] == "m"
    assert sorted(answer["Datapoints"], key=lambda point: point["Timestamp"]) == [
        {
            "Timestamp": MINUTE, "Unit": "Seconds", "SampleCount": 5.0, "Sum": 3.25, "Average": 0.65, "Minimum": 0.25,
            "Maximum": 1.5,
        },
        {
            "Timestamp": after(1), "Unit": "Seconds", "SampleCount": 4.0, "Sum": 10.0, "Average": 2.5, "Minimum": 1.0,
            "Maximum": 4.0,
        },
    ]  # fmt: skip
    answer = client.get_metric_statistics(**asked, ExtendedStatistics=["p50", "tm90", "PR(:0.5)"])
    assert answer["Datapoints"] == [
        {
            "Timestamp": MINUTE,
            "Unit": "Seconds",
            "ExtendedStatistics": {"p50": 0.5, "tm90": pytest.approx(2.5 / 4.5), "PR(:0.5)": 80.0},
        }
    ]
    found = ask(client, stat(dimensions=pay), stat("fast", period=1, its_id="f"))["MetricDataResults"]
    assert [(each["Id"], each["Label"], each["StatusCode"]) for each in found] == [
        ("m1", "m", "Complete"), ("f", "fast", "Complete")
    ]  # fmt: skip
    assert (found[0]["Timestamps"], found[0]["Values"]) == ([after(1), MINUTE], [10.0, 3.25])
    assert (found[1]["Timestamps"], found[1]["Values"]) == ([MINUTE], [7.0])
    assert client.list_metrics(Namespace="Shop", RecentlyActive="PT3H")["Metrics"] == [
        {"Namespace": "Shop", "MetricName": "fast", "Dimensions": []},
        {"Namespace": "Shop", "MetricName": "m", "Dimensions": pay},
    ]
    with pytest.raises(ClientError) as refused:
        put(client, {"Value": 1, "Values": [1]})
    error = refused.value.response["Error"]
    assert (error["Code"], refused.value.response["ResponseMetadata"]["HTTPStatusCode"]) == (
        BAD_COMBINATION,
        400,
    )
    assert error["Message"] == (
        "The parameters MetricData.member.1.Value and MetricData.member.1.Values are mutually exclusive and you have "
        "specified both."
    )


LONG = 2.0**361
AT = "MetricData.member.1"
SET = {"SampleCount": 1.0, "Sum": 1.0, "Minimum": 1.0, "Maximum": 1.0}


@pytest.mark.parametrize(
    ("datum", "code", "message"),
    [
        ({}, "MissingParameter", f"One of the parameters {AT}.Value, {AT}.Values, {AT}.StatisticValues must be"),
        (
            {"Value": 1, "StatisticValues": SET}, BAD_COMBINATION,
            f"The parameters {AT}.Value and {AT}.StatisticValues are mutually exclusive and you have specified both.",
        ),
        (
            {"Values": [1], "Counts": [1, 2]}, BAD_VALUE,
            f"The parameters {AT}.Values and {AT}.Counts must be of the same size.",
        ),
        (
            {"Value": 1, "Counts": [1]}, BAD_VALUE,
            f"The parameters {AT}.Values and {AT}.Counts must be of the same size.",
        ),
        ({"Values": [1], "Counts": [0]}, BAD_VALUE, "Counts.member.1 is invalid: it must be above 0"),
        ({"Values": list(range(151))}, BAD_VALUE, f"{AT}.Values must not have a size greater than 150."),
        ({"Value": LONG}, BAD_VALUE, f"parameter {AT}.Value is invalid: it must be within 2^360."),
        ({"Values": [1, -LONG]}, BAD_VALUE, f"parameter {AT}.Values.member.2 is invalid"),
        ({"Value": float("nan")}, BAD, "must be a finite number"),
        ({"Value": float("-inf")}, BAD, "must be a finite number"),
        ({"StatisticValues": {**SET, "SampleCount": 0.0}}, BAD_VALUE, "SampleCount is invalid"),
        ({"StatisticValues": {**SET, "Minimum": 2.0}}, BAD_VALUE, "Maximum must be greater than"),
        ({"Value": 1, "StorageResolution": 5}, BAD_VALUE, "StorageResolution must be 1 or 60; it is 5."),
        ({"Value": 1, "Unit": "Parsec"}, BAD, "Member must satisfy enum value set"),
        ({"Value": 1, "Timestamp": timedelta(hours=2, minutes=5)}, BAD_VALUE, "no more than two hours"),
        ({"Value": 1, "Timestamp": -timedelta(days=14, minutes=5)}, BAD_VALUE, "no more than two weeks"),
        ({"Value": 1, "MetricName": " "}, BAD_VALUE, "MetricName must have a character that is no blank"),
        ({"Value": 1, "MetricName": "m" * 256}, BAD, "length less than or equal to 255"),
        ({"Value": 1, "Dimensions": [{"Name": ":n", "Value": "v"}]}, BAD_VALUE, "Name must not start"),
        ({"Value": 1, "Dimensions": [{"Name": "n", "Value": " "}]}, BAD_VALUE, "Dimensions.member.1.Value must have"),
        ({"Value": 1, "Dimensions": [{"Name": "n", "Value": "ü"}]}, BAD_VALUE, "printable ASCII"),
        (
            {"Value": 1, "Dimensions": [{"Name": "n", "Value": "1"}, {"Name": "n", "Value": "2"}]}, BAD_VALUE,
            "Dimensions.member.2.Name is n, as another",
        ),
        ({"Value": 1, "Dimensions": [{"Name": f"n{n}", "Value": "v"} for n in range(31)]}, BAD, "to 30"),
    ],
)  # fmt: skip
def test_what_is_not_put(unwiped, datum: dict[str, Any], code: str, message: str):
    """A Timestamp that is a duration counts from now: the tests before this one may have taken long."""
    if isinstance(since := datum.get("Timestamp"), timedelta):
        datum = {**datum, "Timestamp": datetime.now(UTC) + since}
    with pytest.raises(ClientError) as refused:
        unwiped.put_metric_data(Namespace="Refused", MetricData=[{"MetricName": "m", **datum}])
    assert refused.value.response["Error"]["Code"] == code
    assert message in refused.value.response["Error"]["Message"]
    assert unwiped.list_metrics(Namespace="Refused")["Metrics"] == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"MetricData": []}, "The parameter MetricData is required."),
        (
            {"MetricData": [{"MetricName": "m", "Value": 1.0}] * 1001},
            "MetricData must not have a size greater than 1000",
        ),
        ({"Namespace": ":n", "MetricData": [{"MetricName": "m", "Value": 1.0}]}, "pattern"),
        ({"Namespace": "n\u00fc", "MetricData": [{"MetricName": "m", "Value": 1.0}]}, "printable ASCII"),
    ],
)
def test_which_calls_are_not_taken(unwiped, given: dict[str, Any], message: str):
    with pytest.raises(ClientError, match=message):
        unwiped.put_metric_data(**{"Namespace": "n", **given})


def test_a_body_has_a_limit_as_it_is_sent_and_unpacked(cloudwatch):
    large = [{"Values": [n + 0.123456789 for n in range(150)], "Dimensions": [{"Name": "n", "Value": "v" * 900}]}] * 500
    with pytest.raises(ClientError, match="unpacks to more than 1048576 bytes"):
        put(cloudwatch, *large)
    put(cloudwatch, *large[:20])


def test_an_entity_is_checked_and_its_data_is_taken_unless_that_is_to_be_strict(cloudwatch):
    def entity(attributes: dict[str, str], **more: Any) -> list[dict[str, Any]]:
        data = [{"MetricName": "m", "Value": 1.0, "Timestamp": MINUTE}]
        return [{"Entity": {"KeyAttributes": attributes, **more}, "MetricData": data}]

    def told(groups: list[dict[str, Any]], *, strict: bool = False) -> str:
        answer = cloudwatch.put_metric_data(Namespace="Shop", EntityMetricData=groups, StrictEntityValidation=strict)
        return answer["ResponseMetadata"]["HTTPHeaders"].get("x-amzn-failure-message", "")

    service = {"Type": "Service", "Name": "pay", "Environment": "prod"}
    assert told(entity(service), strict=True) == ""
    assert told(entity({"Type": "Service", "Name": "pay"})) == "MissingRequiredFields"
    assert told(entity({"Name": "pay", "Environment": "prod"})) == "MissingRequiredFields"
    assert told(entity({**service, "Type": "Planet"})) == "InvalidTypeValue"
    assert told(entity({**service, "Colour": "red"})) == "InvalidKeyAttributes"
    assert told(entity({})) == "InvalidKeyAttributes"
    assert told([{"MetricData": entity(service)[0]["MetricData"]}]) == "InvalidEntity"
    assert told(entity(service, Attributes={str(n): "v" for n in range(11)})) == "InvalidAttributes"
    assert told(entity(service) * 3) == "EntitySizeTooLarge"
    with pytest.raises(ClientError, match="InvalidTypeValue") as refused:
        told(entity({**service, "Type": "Planet"}), strict=True)
    assert refused.value.response["Error"]["Code"] == BAD_VALUE
    with pytest.raises(ClientError, match="StrictEntityValidation is required"):
        cloudwatch.put_metric_data(Namespace="Shop", EntityMetricData=entity(service))
    assert ask(cloudwatch, stat())["MetricDataResults"][0]["Values"] == [11.0]


def test_pages_belong_to_their_request_and_say_what_is_partial(cloudwatch):
    put(cloudwatch, *[{"Timestamp": after(n), "Value": n} for n in range(8)])
    put(cloudwatch, *[{"MetricName": "other", "Timestamp": after(n), "Value": 10 + n} for n in range(3)])
    queries = [stat(), stat("none", its_id="n"), stat("other", its_id="o")]
    pages, token = [], {}
    while True:
        page = ask(cloudwatch, *queries, MaxDatapoints=5, ScanBy="TimestampAscending", **token)
        pages.append([(each["Id"], each["StatusCode"], each["Values"]) for each in page["MetricDataResults"]])
        if "NextToken" not in page:
            break
        token = {"NextToken": page["NextToken"]}
        put(cloudwatch, {"Timestamp": after(9), "Value": 9}, {"Timestamp": after(9), "Value": -9})
    assert pages == [
        [("m1", "PartialData", [0, 1, 2, 3, 4])],
        [("m1", "Complete", [5, 6, 7, 0]), ("n", "Complete", []), ("o", "PartialData", [10])],
        [("o", "Complete", [11, 12])],
    ]
    with pytest.raises(ClientError) as refused:
        ask(cloudwatch, *queries, MaxDatapoints=6, ScanBy="TimestampAscending", **token)
    assert refused.value.response["Error"]["Code"] == "InvalidNextToken"
    whole = cloudwatch.get_paginator("get_metric_data").paginate(
        MetricDataQueries=queries, StartTime=MINUTE, EndTime=after(10), PaginationConfig={"PageSize": 4}
    )
    assert [value for page in whole for each in page["MetricDataResults"] for value in each["Values"]] == [
        0, 7, 6, 5, 4, 3, 2, 1, 0, 12, 11, 10
    ]  # fmt: skip


def test_units_stay_apart_and_meet_in_an_expression(cloudwatch):
    put(cloudwatch, {"Timestamp": MINUTE, "Value": 1, "Unit": "Bytes"}, {"Timestamp": MINUTE, "Value": 2})
    found = ask(
        cloudwatch, stat(), stat(unit="Bytes", its_id="b"), stat(unit="Count", its_id="c"),
        {"Id": "e", "Expression": "m1 * 10"},
    )["MetricDataResults"]  # fmt: skip
    assert [(each["Id"], each["Label"], each["Values"]) for each in found] == [
        ("m1", "m (Bytes)", [1]), ("m1", "m (None)", [2]), ("b", "m", [1]), ("c", "m", []), ("e", "e", [30])
    ]  # fmt: skip
    answer = cloudwatch.get_metric_statistics(
        Namespace="Shop", MetricName="m", StartTime=MINUTE, EndTime=after(1), Period=60, Statistics=["Sum"]
    )
    assert sorted((point["Unit"], point["Sum"]) for point in answer["Datapoints"]) == [("Bytes", 1), ("None", 2)]


def test_expressions_searches_and_queries_over_what_was_put(cloudwatch):
    for service, value in (("pay", 1), ("buy", 3)):
        dimensions = [{"Name": "Service", "Value": service}]
        put(cloudwatch, *[{"Timestamp": after(n), "Value": value, "Dimensions": dimensions} for n in range(3)])
    pay = [{"Name": "Service", "Value": "pay"}]
    found = ask(
        cloudwatch,
        {"Id": "total", "Expression": "SUM([half, a]) + 1", "Label": "${LABEL} ${MAX}"},
        {"Id": "half", "Expression": "a / 2", "ReturnData": False},
        stat(dimensions=pay, its_id="a", ReturnData=False),
        {
            "Id": "s",
            "Expression": "SEARCH('{Shop, Service} m', 'Sum', 60)",
            "Label": "${PROP('Dim.Service')} of ${LABEL}",
        },
        {"Id": "q", "Expression": "SELECT SUM(m) FROM SCHEMA(Shop, Service)", "Period": 60},
        ScanBy="TimestampAscending",
    )["MetricDataResults"]
    assert [(each["Id"], each["Label"], each["Values"]) for each in found] == [
        ("total", "total 2.5", [2.5] * 3), ("s", "buy of buy", [3.0] * 3), ("s", "pay of pay", [1.0] * 3),
        ("q", "q", [4.0] * 3),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        ([], "MetricDataQueries must not be empty"),
        ([stat(), stat()], "must be unique"),
        ([stat(its_id="M")], "Id is invalid"),
        ([stat(ReturnData=False)], "At least one of the MetricDataQueries must have ReturnData true"),
        ([{"Id": "e"}], "Exactly one of the parameters MetricDataQueries.member.1.MetricStat"),
        ([stat(Expression="1")], "Exactly one of"),
        ([stat(period=7)], "Period must be 1, 5, 10, 20, 30 or a multiple of 60; it is 7."),
        ([stat(stat="p101")], "The value p101 for parameter Stat is not supported."),
        ([stat(Label="${NONE}")], "is none of"),
        ([{"Id": "e", "Expression": "m2 + 1"}], "is the id of no query"),
        ([{"Id": "e", "Expression": "1 +"}], "Error in expression 'e': "),
        ([{"Id": "e", "Expression": "1 + 1"}], "Error in expression 'e': The result of the expression is a Scalar"),
        ([{"Id": "e", "Expression": "f"}, {"Id": "f", "Expression": "e"}], "in a circle"),
        ([{"Id": n, "Expression": "SELECT SUM(m) FROM Shop"} for n in "ab"], "Only one of the MetricDataQueries"),
        ([stat(AccountId="999999999999")], "metrics of other accounts"),
        ([{"Id": f"m{n}", "Expression": "1"} for n in range(501)], "size greater than 500"),
    ],
)  # fmt: skip
def test_which_queries_are_refused(unwiped, queries: list[dict[str, Any]], message: str):
    with pytest.raises(ClientError) as refused:
        ask(unwiped, *queries)
    assert refused.value.response["Error"]["Code"] == BAD
    assert message in refused.value.response["Error"]["Message"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"MaxDatapoints": 100_801}, "MaxDatapoints must be 1 to 100800"),
        ({"LabelOptions": {"Timezone": "+1"}}, "time zone"),
        ({"NextToken": "x"}, "NextToken is not one"),
        ({"minutes": 0}, "The parameter StartTime must be less than the parameter EndTime."),
    ],
)
def test_what_else_is_refused(unwiped, more: dict[str, Any], message: str):
    with pytest.raises(ClientError, match=message):
        ask(unwiped, stat(), **more)


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        ({"StartTime": after(-1441)}, BAD_COMBINATION, "up to 1451 datapoints, which exceeds the limit of 1440"),
        ({"StartTime": after(-1431)}, BAD_COMBINATION, "up to 1441 datapoints, which exceeds the limit of 1440"),
        ({"EndTime": MINUTE}, BAD_VALUE, "StartTime must be less than the parameter EndTime."),
        ({"Period": 61}, BAD_VALUE, "Period must be"),
        ({"ExtendedStatistics": ["p99"]}, BAD_COMBINATION, "Exactly one of the parameters"),
        ({"Statistics": None}, BAD_COMBINATION, "Exactly one of the parameters"),
        ({"Statistics": None, "ExtendedStatistics": ["p101"]}, BAD_VALUE, "'p101' is no statistic"),
        ({"Statistics": None, "ExtendedStatistics": ["Sum"]}, BAD_VALUE, "The value Sum"),
        ({"Statistics": ["Median"]}, BAD, "enum"),
    ],
)  # fmt: skip
def test_which_statistics_are_refused(unwiped, given: dict[str, Any], code: str, message: str):
    asked = {
        "Namespace": "Shop", "MetricName": "m", "StartTime": MINUTE, "EndTime": after(10), "Period": 60,
        "Statistics": ["Sum"],
    }  # fmt: skip
    wanted = {name: value for name, value in {**asked, **given}.items() if value is not None}
    with pytest.raises(ClientError) as refused:
        unwiped.get_metric_statistics(**wanted)
    assert refused.value.response["Error"]["Code"] == code
    assert message in refused.value.response["Error"]["Message"]


def test_a_day_of_minutes_can_be_asked_for_at_any_second_of_the_minute(cloudwatch):
    put(cloudwatch, {"Timestamp": MINUTE, "Value": 1})
    end = after(1) + timedelta(seconds=0.5)
    found = cloudwatch.get_metric_statistics(
        Namespace="Shop", MetricName="m", StartTime=end - timedelta(days=1), EndTime=end, Period=60, Statistics=["Sum"]
    )
    assert [point["Timestamp"] for point in found["Datapoints"]] == [MINUTE]


def test_metrics_are_listed_in_pages_and_by_what_is_asked(kedge, cloudwatch):
    for n in range(0, 1200, 400):
        put(cloudwatch, *[{"MetricName": f"m{n + k:04}", "Value": 1.0} for k in range(400)])
    pages = list(cloudwatch.get_paginator("list_metrics").paginate(Namespace="Shop"))
    assert [len(page["Metrics"]) for page in pages] == [500, 500, 200]
    assert [each["MetricName"] for page in pages for each in page["Metrics"]] == [f"m{n:04}" for n in range(1200)]
    first = cloudwatch.list_metrics(Namespace="Shop")
    with pytest.raises(ClientError) as refused:
        cloudwatch.list_metrics(NextToken=first["NextToken"])
    assert refused.value.response["Error"]["Code"] == "InvalidNextToken"
    wide = [{"Name": "Service", "Value": "pay"}, {"Name": "Zone", "Value": "a"}]
    put(cloudwatch, {"Value": 1.0, "Dimensions": wide}, {"Value": 1.0, "Timestamp": NOW - timedelta(hours=4)})
    assert cloudwatch.list_metrics(Dimensions=[{"Name": "Zone"}])["Metrics"][0]["Dimensions"] == wide
    assert cloudwatch.list_metrics(Dimensions=[{"Name": "Zone", "Value": "b"}])["Metrics"] == []
    assert len(cloudwatch.list_metrics(MetricName="m")["Metrics"]) == 2
    recent = cloudwatch.list_metrics(MetricName="m", RecentlyActive="PT3H", IncludeLinkedAccounts=True)
    assert [each["Dimensions"] for each in recent["Metrics"]] == [wide]
    assert recent["OwningAccounts"] == [kedge.account]
    assert cloudwatch.list_metrics(OwningAccount="999999999999")["Metrics"] == []
    assert kedge.client("cloudwatch", region_name="eu-north-1").list_metrics()["Metrics"] == []


def test_who_may_put_into_which_namespace(kedge, cloudwatch):
    iam = kedge.client("iam")
    iam.create_user(UserName="agent")
    policy = {
        "Version": "2012-10-17",
        "Statement": {
            "Effect": "Allow", "Action": "cloudwatch:PutMetricData", "Resource": "*",
            "Condition": {"StringEquals": {"cloudwatch:namespace": "Shop"}},
        },
    }  # fmt: skip
    iam.put_user_policy(UserName="agent", PolicyName="p", PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName="agent")["AccessKey"]
    agent = kedge.client(
        "cloudwatch", aws_access_key_id=key["AccessKeyId"], aws_secret_access_key=key["SecretAccessKey"]
    )
    put(agent, {"Value": 1.0})
    with pytest.raises(ClientError, match="cloudwatch:PutMetricData"):
        agent.put_metric_data(Namespace="Other", MetricData=[{"MetricName": "m", "Value": 1.0}])
    with pytest.raises(ClientError, match="cloudwatch:ListMetrics"):
        agent.list_metrics()
