"""What the calls answer: shapes, defaults, errors word for word, pages."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kedge.compute.base import TaskState
from kedge.errors import ResourceLimitExceeded, ServiceError, ValidationFailed
from kedge.models.operations import MODEL
from tests.endpoints.world import ACCOUNT, GIB, REGION, START, World, variant

ARN = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:"
WAITER = "Boto3/1.44.5 md/Botocore#1.44.5 ua/2.1 os/linux md/arch#x86_64 lang/python#3.11 m/b,B,Z cfg/retry-mode#legacy"


@pytest.fixture
async def served(world: World) -> World:
    """Endpoint "Mine" with variants a and b is in service."""
    world.make_model()
    world.make_config("C", variant("a"), variant("b", InitialVariantWeight=3.0))
    world.do("CreateEndpoint", EndpointName="Mine", EndpointConfigName="c")
    await world.bring_up()
    return world


async def test_a_model_is_described_as_it_was_given(world: World):
    container = {"Image": "ghcr.io/acme/m:1", "ModelDataUrl": "https://nowhere/x", "Environment": {"A": "b"}}
    role = "arn:aws:iam::111122223333:role/r"
    answer = world.do("CreateModel", ModelName="My-Model", PrimaryContainer=container, ExecutionRoleArn=role)
    assert answer == {"ModelArn": ARN + "model/my-model"}
    assert world.do("DescribeModel", ModelName="My-Model") == {
        "ModelName": "My-Model",
        "ModelArn": ARN + "model/my-model",
        "PrimaryContainer": container,
        "ExecutionRoleArn": role,
        "EnableNetworkIsolation": False,
        "CreationTime": START,
    }
    assert world.do("ListModels")["Models"] == [
        {"ModelName": "My-Model", "ModelArn": ARN + "model/my-model", "CreationTime": START}
    ]
    assert world.do("DeleteModel", ModelName="My-Model") == {}
    assert world.do("ListModels") == {"Models": []}


async def test_another_region_is_another_place(world: World):
    world.make_model()
    with pytest.raises(ValidationFailed, match="eu-west-1"):
        MODEL.describe(world.call("eu-west-1"), {"ModelName": "m"})


ONE = {"Image": "i"}


def source(kind: str, compression: str, uri: str) -> dict[str, str]:
    return {"S3DataType": kind, "CompressionType": compression, "S3Uri": uri}


NO_MODELS: list[tuple[Any, ...]] = [
    ({}, "none is given"),
    ({"PrimaryContainer": ONE, "Containers": [ONE]}, "both are given"),
    ({"PrimaryContainer": {}}, "PrimaryContainer names neither Image nor ModelPackageName"),
    ({"PrimaryContainer": {}, "Containers": [ONE]}, "both are given"),
    ({"Containers": []}, "none is given"),
    ({"PrimaryContainer": {"Environment": {}}}, "PrimaryContainer names neither Image nor ModelPackageName"),
    ({"Containers": [ONE, {"ModelDataUrl": "s3://a/b"}]}, r"Containers\[1\] names neither"),
    ({"PrimaryContainer": {**ONE, "Environment": {"1A": "b"}}}, 'has the key "1A"'),
    ({"PrimaryContainer": {**ONE, "Environment": {f"A{n}": "x" * 1024 for n in range(33)}}}, "at most 32768"),
    (
        {"PrimaryContainer": {**ONE, "ModelDataUrl": "s3://a/b", "ModelDataSource": {"S3DataSource": {}}}},
        "gives both",
    ),
    ({"Containers": [ONE], "InferenceExecutionConfig": {"Mode": "Direct"}}, "no ContainerHostname"),
    ({"Containers": [{**ONE, "ContainerHostname": "h"}] * 2}, "more than one container"),
    ({"Containers": [{**ONE, "ContainerHostname": "h"}, ONE]}, r"Containers\[1\] has no ContainerHostname"),
    ({"Containers": [{**ONE, "Environment": {"A": "x" * 1024}}] * 33}, "Environment has 33825 bytes"),
    ({"PrimaryContainer": {**ONE, "Mode": "MultiModel"}}, "needs ModelDataUrl"),
    (
        {"PrimaryContainer": {**ONE, "ModelDataSource": {"S3DataSource": source("S3Prefix", "Gzip", "s3://a/b/")}}},
        "a prefix is not compressed",
    ),
    (
        {"PrimaryContainer": {**ONE, "ModelDataSource": {"S3DataSource": source("S3Prefix", "None", "s3://a/b")}}},
        '"s3://a/b"; a prefix ends with a slash',
    ),
    (
        {
            "PrimaryContainer": {
                **ONE,
                "AdditionalModelDataSources": [
                    {"ChannelName": "c", "S3DataSource": source("S3Object", "None", "s3://a/b")}
                ]
                * 2,
            }
        },
        r'AdditionalModelDataSources\[1\] has the ChannelName "c"',
    ),
]


async def test_a_model_that_cannot_be(world: World):
    for request, says in NO_MODELS:
        with pytest.raises(ValidationFailed, match=says):
            world.do("CreateModel", ModelName="m", **request)
    assert world.do("ListModels") == {"Models": []}


NO_CONFIGS: list[tuple[Any, ...]] = [
    ({"ProductionVariants": [variant("a"), variant("a")]}, 'The variant name "a" was non-unique'),
    ({"ProductionVariants": [variant("a", model="gone")]}, f'Could not find model "{ARN}model/gone".'),
    ({"ProductionVariants": [{"VariantName": "a", "ModelName": "m"}]}, "neither InstanceType nor ServerlessConfig"),
    (
        {"ProductionVariants": [{"VariantName": "a", "ModelName": "m", "InstanceType": "ml.m5.large"}]},
        "without InitialInstanceCount",
    ),
    (
        {"ProductionVariants": [variant("a", ServerlessConfig={"MemorySizeInMB": 1024, "MaxConcurrency": 1})]},
        "ServerlessConfig and InstanceType",
    ),
    (
        {"ProductionVariants": [variant("a"), variant("b")], "ShadowProductionVariants": [variant("c")]},
        "exactly one production and one shadow",
    ),
    (
        {
            "ProductionVariants": [variant("a")],
            "ShadowProductionVariants": [variant("s")],
            "AsyncInferenceConfig": {"OutputConfig": {}},
        },
        "AsyncInferenceConfig is given with ShadowProductionVariants",
    ),
    (
        {
            "ProductionVariants": [variant("a")],
            "ShadowProductionVariants": [
                {
                    "VariantName": "s",
                    "ModelName": "m",
                    "ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 1},
                }
            ],
        },
        "Variant s gives ServerlessConfig",
    ),
    ({"ProductionVariants": [variant("a")], "Tags": [{"Key": "aws:x", "Value": ""}]}, 'Tag key "aws:x"'),
    ({"ProductionVariants": [variant("a", InitialVariantWeight=1e39)]}, "it is at most 3.40282e+38"),
    (
        {"ProductionVariants": [variant("a", RoutingConfig={"RoutingStrategy": "PREFIX_AWARE"})]},
        "which needs PrefixLength",
    ),
    (
        {
            "ProductionVariants": [
                variant("a", RoutingConfig={"RoutingStrategy": "RANDOM", "PrefixAwareRoutingConfig": {}})
            ]
        },
        "it belongs to PREFIX_AWARE",
    ),
    (
        {"ProductionVariants": [variant("a")], "Tags": [{"Key": "x", "Value": ""}] * 2},
        '"x" is given more than once',
    ),
]


async def test_a_config_that_cannot_be(world: World):
    world.make_model()
    for request, says in NO_CONFIGS:
        with pytest.raises(ValidationFailed) as caught:
            world.do("CreateEndpointConfig", EndpointConfigName="c", **request)
        assert says in caught.value.message
    assert world.do("ListEndpointConfigs") == {"EndpointConfigs": []}


async def test_a_config_is_described_with_its_defaults(world: World):
    world.make_model()
    world.make_config("C", variant("a", InitialVariantWeight=0.5), variant("b"), KmsKeyId="alias/x")
    shown = world.do("DescribeEndpointConfig", EndpointConfigName="C")
    assert shown["EndpointConfigArn"] == ARN + "endpoint-config/c"
    assert [v["InitialVariantWeight"] for v in shown["ProductionVariants"]] == [0.5, 1.0]
    assert shown["KmsKeyId"] == "alias/x"
    assert shown["CreationTime"] == START


MISSING = [
    ("DescribeModel", {"ModelName": "X"}, "model", "model/x"),
    ("DeleteModel", {"ModelName": "X"}, "model", "model/x"),
    ("DescribeEndpointConfig", {"EndpointConfigName": "X"}, "endpoint configuration", "endpoint-config/x"),
    ("DeleteEndpointConfig", {"EndpointConfigName": "X"}, "endpoint configuration", "endpoint-config/x"),
    ("DeleteEndpoint", {"EndpointName": "X"}, "endpoint", "endpoint/x"),
    ("UpdateEndpoint", {"EndpointName": "X", "EndpointConfigName": "c"}, "endpoint", "endpoint/x"),
    (
        "UpdateEndpoint",
        {"EndpointName": "mine", "EndpointConfigName": "X"},
        "endpoint configuration",
        "endpoint-config/x",
    ),
    ("CreateEndpoint", {"EndpointName": "n", "EndpointConfigName": "X"}, "endpoint configuration", "endpoint-config/x"),
    (
        "UpdateEndpointWeightsAndCapacities",
        {"EndpointName": "X", "DesiredWeightsAndCapacities": []},
        "endpoint",
        "endpoint/x",
    ),
    ("ListTags", {"ResourceArn": ARN + "endpoint/x"}, "endpoint", "endpoint/x"),
    ("AddTags", {"ResourceArn": ARN + "model/x", "Tags": []}, "model", "model/x"),
]


async def test_what_is_missing(served: World):
    for operation, request, kind, resource in MISSING:
        with pytest.raises(ValidationFailed) as caught:
            served.do(operation, **request)
        assert caught.value.message == f'Could not find {kind} "{ARN}{resource}".', operation


async def test_a_missing_endpoint_is_not_described(world: World):
    with pytest.raises(ValidationFailed) as caught:
        await world.describe("X")
    assert caught.value.message == f'Could not find endpoint "{ARN}endpoint/x".'


EXISTING: list[tuple[Any, ...]] = [
    ("CreateModel", {"ModelName": "M", "PrimaryContainer": ONE}, "model"),
    (
        "CreateEndpointConfig",
        {"EndpointConfigName": "C", "ProductionVariants": [variant()]},
        "endpoint configuration",
    ),
    ("CreateEndpoint", {"EndpointName": "mine", "EndpointConfigName": "c"}, "endpoint"),
]


async def test_what_exists_already_whatever_its_case(served: World):
    for operation, request, what in EXISTING:
        with pytest.raises(ValidationFailed, match=f'^Cannot create already existing {what} "arn:aws:[^"A-Z]*"\\.$'):
            served.do(operation, **request)


async def test_an_endpoint_in_progress_is_not_touched(served: World):
    served.do("UpdateEndpoint", EndpointName="Mine", EndpointConfigName="C")
    weights = [{"VariantName": "a", "DesiredWeight": 1.0}]
    for operation, request in (
        ("UpdateEndpoint", {"EndpointConfigName": "C"}),
        ("UpdateEndpointWeightsAndCapacities", {"DesiredWeightsAndCapacities": weights}),
    ):
        with pytest.raises(ValidationFailed) as caught:
            served.do(operation, EndpointName="Mine", **request)
        assert caught.value.message == f'Cannot update in-progress endpoint "{ARN}endpoint/mine".'


async def test_a_failed_endpoint_can_only_be_deleted(world: World):
    world.make_model(uri="s3://gone/x")
    world.make_config("c", variant())
    world.do("CreateEndpoint", EndpointName="e", EndpointConfigName="c")
    await world.settle()
    with pytest.raises(ValidationFailed, match='status "Failed"'):
        world.do("UpdateEndpoint", EndpointName="e", EndpointConfigName="c")
    world.do("DeleteEndpoint", EndpointName="e")


NO_WEIGHTS: list[tuple[Any, ...]] = [
    ([{"VariantName": "x"}], 'The variant name(s) "x" is/are not present within endpoint configuration "C".'),
    ([{"VariantName": "a"}, {"VariantName": "a"}], 'The variant name "a" was non-unique within the request.'),
    ([{"VariantName": name, "DesiredWeight": 0.0} for name in "ab"], "at least one has to be above 0"),
    ([{"VariantName": "a", "DesiredWeight": 1e39}], "it is at most 3.40282e+38"),
    ([{"VariantName": "a", "ServerlessUpdateConfig": {"MaxConcurrency": 1}}], "not serverless"),
]


async def test_weights_and_capacities_that_cannot_be(served: World):
    for wanted, says in NO_WEIGHTS:
        with pytest.raises(ValidationFailed) as caught:
            served.do("UpdateEndpointWeightsAndCapacities", EndpointName="Mine", DesiredWeightsAndCapacities=wanted)
        assert says in caught.value.message
    assert (await served.describe("Mine"))["EndpointStatus"] == "InService"


@pytest.mark.parametrize(
    ("more", "want"),
    [
        ({}, [(2, 5.0), (1, 1.0)]),
        ({"RetainAllVariantProperties": True}, [(1, 7.0), (1, 1.0)]),
        (
            {
                "RetainAllVariantProperties": True,
                "ExcludeRetainedVariantProperties": [{"VariantPropertyType": "DesiredInstanceCount"}],
            },
            [(2, 7.0), (1, 1.0)],
        ),
        (
            {
                "RetainAllVariantProperties": True,
                "ExcludeRetainedVariantProperties": [{"VariantPropertyType": "DesiredWeight"}],
            },
            [(1, 5.0), (1, 1.0)],
        ),
    ],
)
async def test_an_update_may_retain_counts_and_weights(served: World, more: dict[str, Any], want: list[Any]):
    served.do(
        "UpdateEndpointWeightsAndCapacities",
        EndpointName="Mine",
        DesiredWeightsAndCapacities=[{"VariantName": "a", "DesiredWeight": 7.0}],
    )
    await served.settle()
    served.make_config("c2", variant("a", count=2, InitialVariantWeight=5.0), variant("new"))
    served.do("UpdateEndpoint", EndpointName="Mine", EndpointConfigName="c2", **more)
    await served.bring_up()
    shown = (await served.describe("Mine"))["ProductionVariants"]
    assert [(v["CurrentInstanceCount"], v["CurrentWeight"]) for v in shown] == want


def blue_green(kind: str = "ALL_AT_ONCE", wait_s: int = 0, **more: Any) -> dict[str, Any]:
    routing = {"Type": kind, "WaitIntervalInSeconds": 60}
    return {
        "BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing, "TerminationWaitInSeconds": wait_s},
        **more,
    }


async def test_all_at_once_is_followed_and_shown(served: World):
    served.do("UpdateEndpoint", EndpointName="Mine", EndpointConfigName="C", DeploymentConfig=blue_green())
    await served.bring_up()
    assert (await served.describe("Mine"))["LastDeploymentConfig"] == blue_green()


async def test_a_stored_deployment_counts_when_it_is_retained(world: World):
    world.make_model()
    world.make_config("c", variant())
    guarded = blue_green(AutoRollbackConfiguration={"Alarms": [{"AlarmName": "errors"}]})
    world.do("CreateEndpoint", EndpointName="e", EndpointConfigName="c", DeploymentConfig=guarded)
    await world.bring_up()
    with pytest.raises(ValidationFailed, match='the alarm "errors", which is not there'):
        world.do("UpdateEndpoint", EndpointName="e", EndpointConfigName="c", RetainDeploymentConfig=True)
    world.do("UpdateEndpoint", EndpointName="e", EndpointConfigName="c")


FEATURES: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (
        {
            "ExplainerConfig": {
                "ClarifyExplainerConfig": {
                    "ShapConfig": {
                        "ShapBaselineConfig": {"ShapBaseline": "0"},
                        "TextConfig": {"Language": "en", "Granularity": "token"},
                    }
                }
            },
        },
        {},
        "has an ExplainerConfig. ShapConfig.TextConfig",
    ),
    ({"KmsKeyId": "k"}, {}, "KmsKeyId"),
    ({}, {"RoutingConfig": {"RoutingStrategy": "KV_AWARE"}}, "KV_AWARE"),
    ({}, {"CoreDumpConfig": {"DestinationS3Uri": "s3://a/b"}}, "CoreDumpConfig"),
]


@pytest.mark.parametrize(("config", "of_variant", "says"), FEATURES)
async def test_a_feature_that_is_not_there_is_stored_and_named(
    world: World, config: dict[str, Any], of_variant: dict[str, Any], says: str
):
    world.make_model()
    world.make_config("c", variant(**of_variant), **config)
    shown = world.do("DescribeEndpointConfig", EndpointConfigName="c")
    assert config.keys() <= shown.keys()
    world.do("CreateEndpoint", EndpointName="e", EndpointConfigName="c")
    await world.settle()
    described = await world.describe("e")
    assert described["EndpointStatus"] == "Failed"
    assert says in described["FailureReason"]


async def test_a_routing_strategy_is_shown(world: World):
    world.make_model()
    world.make_config("c", variant(RoutingConfig={"RoutingStrategy": "RANDOM"}))
    world.do("CreateEndpoint", EndpointName="e", EndpointConfigName="c")
    await world.bring_up()
    shown = await world.describe("e")
    assert shown["ProductionVariants"][0]["RoutingConfig"] == {"RoutingStrategy": "RANDOM"}


async def test_a_fleet_that_does_not_fit_is_refused(served: World):
    """The world has 64 cores and 256 GiB; ml.m5.large takes 2 and 8; two instances run."""
    served.make_config("big", variant(count=31))
    with pytest.raises(ResourceLimitExceeded) as caught:
        served.do("CreateEndpoint", EndpointName="big", EndpointConfigName="big")
    assert caught.value.message.startswith(
        "The account-level service limit 'ml.m5.large for endpoint usage' is 32 Instances, with current utilization of "
        "2 Instances and a request delta of 31 Instances."
    )
    with pytest.raises(ResourceLimitExceeded):
        served.do("UpdateEndpoint", EndpointName="Mine", EndpointConfigName="big")
    with pytest.raises(ResourceLimitExceeded):
        served.do(
            "UpdateEndpointWeightsAndCapacities",
            EndpointName="Mine",
            DesiredWeightsAndCapacities=[{"VariantName": "a", "DesiredInstanceCount": 2**31 - 1}],
        )
    served.make_config("fits", variant(count=30))
    served.do("CreateEndpoint", EndpointName="fits", EndpointConfigName="fits")
    served.make_config("one", variant())
    with pytest.raises(ResourceLimitExceeded):
        served.do("CreateEndpoint", EndpointName="one", EndpointConfigName="one")


async def test_memory_that_is_short_is_named(world: World):
    world.make_model()
    world.make_config("c", variant(InstanceType="ml.r5.12xlarge"))
    with pytest.raises(ResourceLimitExceeded, match=f"{384} GiB"):
        world.do("CreateEndpoint", EndpointName="e", EndpointConfigName="c")
    assert world.engine.capacity().memory_bytes == 256 * GIB


async def test_a_config_or_model_that_is_deleted_does_not_hurt_the_endpoint(served: World):
    served.do("DeleteModel", ModelName="m")
    served.do("DeleteEndpointConfig", EndpointConfigName="C")
    served.engine.tasks.clear()
    await served.bring_up()
    assert (await served.describe("Mine"))["EndpointStatus"] == "InService"
    assert len(served.engine.tasks) == 2


async def test_describe_gives_what_botocore_knows(served: World):
    """Every member of the answers is in the service model, and every required one is there."""
    import botocore.session

    model = botocore.session.get_session().get_service_model("sagemaker")
    served.do("UpdateEndpoint", EndpointName="Mine", EndpointConfigName="C", DeploymentConfig=blue_green())
    await served.settle()
    answers = {
        "DescribeEndpoint": await served.describe("Mine"),
        "DescribeEndpointConfig": served.do("DescribeEndpointConfig", EndpointConfigName="C"),
        "DescribeModel": served.do("DescribeModel", ModelName="m"),
        "ListEndpoints": served.do("ListEndpoints"),
        "ListModels": served.do("ListModels"),
        "ListEndpointConfigs": served.do("ListEndpointConfigs"),
    }

    def compare(shape: Any, value: Any, path: str) -> None:
        if shape.type_name == "structure":
            assert value.keys() <= shape.members.keys(), path
            assert set(shape.required_members) <= value.keys(), path
            for name, member in value.items():
                compare(shape.members[name], member, f"{path}.{name}")
        elif shape.type_name == "list":
            for each in value:
                compare(shape.member, each, path)

    for operation, answer in answers.items():
        compare(model.operation_model(operation).output_shape, answer, operation)


async def test_lists_sort_filter_and_page(world: World):
    for at in range(25):
        world.clock.advance(60)
        world.do("CreateModel", ModelName=f"m{at:02}", PrimaryContainer=ONE)

    def names(**request: Any) -> list[str]:
        return [model["ModelName"] for model in world.do("ListModels", **request)["Models"]]

    assert names() == [f"m{at:02}" for at in range(24, 14, -1)]
    assert names(SortBy="Name", SortOrder="Ascending", MaxResults=2) == ["m00", "m01"]
    assert names(NameContains="M1", MaxResults=100) == [f"m{at:02}" for at in range(19, 9, -1)]
    after = world.clock.now()
    assert names(CreationTimeAfter=after) == ["m24"]
    assert len(names(CreationTimeBefore=after, MaxResults=100)) == 24

    seen, request = [], {"SortBy": "Name", "SortOrder": "Ascending", "NameContains": "m"}
    token: dict[str, str] = {}
    for _ in range(5):
        page = world.do("ListModels", **request, **token, MaxResults=7)
        seen += [model["ModelName"] for model in page["Models"]]
        if "NextToken" not in page:
            break
        token = {"NextToken": page["NextToken"]}
    assert seen == [f"m{at:02}" for at in range(25)]

    for other in ({**request, "NameContains": "x"}, {**request, "SortOrder": "Descending"}, {}):
        with pytest.raises(ValidationFailed, match="NextToken"):
            world.do("ListModels", **other, **token)
    for forged in ("x", "e30=", "bnVsbA==", "WzEsMl0="):
        with pytest.raises(ValidationFailed, match="NextToken"):
            world.do("ListModels", **request, NextToken=forged)


async def test_endpoints_are_listed_by_status(served: World):
    served.clock.advance(1)
    served.do("CreateEndpoint", EndpointName="other", EndpointConfigName="C")
    assert [e["EndpointName"] for e in served.do("ListEndpoints")["Endpoints"]] == ["other", "Mine"]
    found = served.do("ListEndpoints", StatusEquals="InService")["Endpoints"]
    assert [(e["EndpointName"], e["EndpointStatus"]) for e in found] == [("Mine", "InService")]
    by_status = served.do("ListEndpoints", SortBy="Status", SortOrder="Ascending")["Endpoints"]
    assert [e["EndpointStatus"] for e in by_status] == ["Creating", "InService"]


async def test_tags_live_and_die_with_their_resource(world: World):
    def tag(key: str, value: str = "v") -> dict[str, str]:
        return {"Key": key, "Value": value}

    arn = world.do("CreateModel", ModelName="M", PrimaryContainer=ONE, Tags=[tag("b"), tag("a")])["ModelArn"]
    assert world.do("ListTags", ResourceArn=arn) == {"Tags": [tag("b"), tag("a")]}
    assert world.do("AddTags", ResourceArn=arn, Tags=[tag("a", "new"), tag("c")]) == {
        "Tags": [tag("b"), tag("a", "new"), tag("c")]
    }
    assert world.do("DeleteTags", ResourceArn=arn, TagKeys=["b", "absent"]) == {}
    assert world.do("ListTags", ResourceArn=arn)["Tags"] == [tag("a", "new"), tag("c")]
    with pytest.raises(ValidationFailed, match="at most 50"):
        world.do("AddTags", ResourceArn=arn, Tags=[tag(str(n)) for n in range(49)])
    world.do("DeleteModel", ModelName="m")
    assert world.do("CreateModel", ModelName="M", PrimaryContainer=ONE)["ModelArn"] == arn
    assert world.do("ListTags", ResourceArn=arn) == {"Tags": []}
    for wrong in (arn.replace(REGION, "eu-west-1"), arn.replace(ACCOUNT, "9" * 12), "arn:aws:s3:::m", "nonsense"):
        with pytest.raises(ValidationFailed):
            world.do("ListTags", ResourceArn=wrong)


async def test_a_waiter_is_answered_when_the_state_changes(world: World):
    world.make_model()
    world.make_config("c", variant())
    world.do("CreateEndpoint", EndpointName="e", EndpointConfigName="c")
    await world.settle()
    assert (await asyncio.wait_for(world.describe("e"), 1))["EndpointStatus"] == "Creating"
    world.user_agent = WAITER
    waiting = asyncio.create_task(world.describe("e"))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    world.engine.put_all(TaskState.STARTING, TaskState.READY)
    await world.settle()
    assert (await asyncio.wait_for(waiting, 1))["EndpointStatus"] == "InService"

    world.do("DeleteEndpoint", EndpointName="e")
    gone = asyncio.create_task(world.describe("e"))
    await asyncio.sleep(0)
    await world.settle()
    with pytest.raises(ServiceError, match="Could not find endpoint"):
        await asyncio.wait_for(gone, 1)


async def test_weights_are_reported_in_the_config_case(served: World):
    shown = await served.describe("MINE")
    assert shown["EndpointName"] == "Mine"
    assert shown["EndpointConfigName"] == "C"
