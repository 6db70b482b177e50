"""From what routers and instances tell to data: names, units, dimensions and samples as SageMaker has them."""

from __future__ import annotations

from kedge.compute.used import GpuUsage, Sample, Used
from kedge.metrics import platform
from kedge.metrics.series import Datum
from kedge.metrics.statistics import parse, value
from kedge.serving.meter import Captured, Meter, Place, decode

PLACE = Place("1" * 12, "us-east-1", "e", "blue", "i-1")
BY_VARIANT = (("EndpointName", "e"), ("VariantName", "blue"))


def frame_of(*calls: tuple[Place, int, int, float, float], captured: tuple[Captured, ...] = ()):
    meter = Meter("boot")
    for call in calls:
        meter.invocation(*call)
    return decode(meter.roll(1_700_000_000, (), captured))


def read(data: list[Datum], name: str, statistic: str, dimensions=BY_VARIANT) -> float | None:
    [found] = [each for each in data if each.metric.name == name and each.metric.dimensions == dimensions]
    return value(parse(statistic), found.summary)


def test_every_metric_of_an_endpoint():
    data = list(
        platform.data_of(
            frame_of(
                (PLACE, 200, 2, 1000.0, 10.0),
                (PLACE, 404, 2, 2000.0, 20.0),
                (PLACE._replace(instance="i-2"), 500, 2, 3000.0, 30.0),
                (PLACE._replace(instance="i-2"), 0, 2, 4000.0, 40.0),
            )
        )
    )
    assert {each.metric.dimensions for each in data} == {BY_VARIANT}, "neither a config nor enhanced metrics"
    assert {each.metric.namespace for each in data} == {"AWS/SageMaker"}
    assert {(each.at_s, each.resolution_s) for each in data} == {(1_700_000_000, 1)}
    assert {each.metric.name: each.unit for each in data} == {
        "Invocations": "None",
        "Invocation4XXErrors": "None",
        "Invocation5XXErrors": "None",
        "InvocationModelErrors": "None",
        "InvocationsPerInstance": "None",
        "ModelLatency": "Microseconds",
        "OverheadLatency": "Microseconds",
    }
    assert read(data, "Invocations", "Sum") == read(data, "Invocations", "SampleCount") == 4
    assert read(data, "InvocationsPerInstance", "Sum") == 2
    for name, errors in (("Invocation4XXErrors", 1), ("Invocation5XXErrors", 1), ("InvocationModelErrors", 3)):
        assert read(data, name, "Sum") == errors
        assert read(data, name, "Average") == errors / 4, "an average is a rate"
        assert read(data, name, "SampleCount") == 4
    assert read(data, "ModelLatency", "p100") == 4000.0
    assert read(data, "ModelLatency", "Average") == 2500.0
    assert read(data, "OverheadLatency", "Sum") == 100.0


def test_the_dimensions_that_only_some_endpoints_have():
    first = PLACE._replace(config="c-1", by_instance=True)
    second = PLACE._replace(config="c-2", by_instance=True, instance="i-2")
    data = list(platform.data_of(frame_of((first, 200, 2, 1.0, 1.0), (second, 200, 2, 3.0, 1.0))))
    sums = {each.metric.dimensions: each.summary.total for each in data if each.metric.name == "ModelLatency"}
    # Sorted by name, as an identity is.
    config = lambda of: (("EndpointConfigName", of), *BY_VARIANT)  # noqa: E731
    instance = lambda of: (BY_VARIANT[0], ("InstanceId", of), BY_VARIANT[1])  # noqa: E731
    assert sums == {BY_VARIANT: 4.0, config("c-1"): 1.0, config("c-2"): 3.0, instance("i-1"): 1.0, instance("i-2"): 3.0}


def test_refusals_are_a_metric_of_our_own():
    meter = Meter("boot")
    for code in ("ThrottlingException", "ThrottlingException", "ServiceUnavailable"):
        meter.refusal(PLACE._replace(instance=""), code)
    data = list(platform.data_of(decode(meter.roll(1))))
    told = [(each.metric.namespace, each.metric.name, each.unit) for each in data]
    assert set(told) == {("Kedge", "RefusedInvocations", "Count")}, "no model was asked"
    sums: dict[str, float] = {}
    for each in data:
        code = dict(each.metric.dimensions).get("ErrorCode", "")
        sums[code] = sums.get(code, 0) + each.summary.total
    assert sums == {"": 3, "ThrottlingException": 2, "ServiceUnavailable": 1}


def test_what_became_of_captured_records():
    captured = Captured(PLACE.of_variant, 5, 2, 1)
    data = list(platform.data_of(frame_of(captured=(captured,))))
    assert {each.metric.name: each.summary.total for each in data} == {
        "CapturedRecords": 5,
        "CaptureDroppedRecords": 2,
        "CaptureWithheldBodies": 1,
    }


def test_concurrency_is_that_of_one_copy_of_the_model():
    [total] = platform.concurrency(PLACE.of_variant, 5, 6, 2).summary.sketch.weighted()
    assert total == (3.0, 1)
    [none] = platform.concurrency(PLACE.of_variant, 5, 6, 0).summary.sketch.weighted()
    assert none == (6.0, 1), "all of them wait for the first instance"


def test_an_idle_minute_has_one_sample_of_0_and_no_latency():
    data = list(platform.idle(PLACE.of_variant, 60, "c"))
    assert {each.resolution_s for each in data} == {60}
    assert {(each.at_s, each.summary.count, each.summary.total) for each in data} == {(60, 1, 0)}
    names = {each.metric.name for each in data if each.metric.dimensions == BY_VARIANT}
    assert names == {*platform.COUNTED, platform.PER_INSTANCE, "RefusedInvocations", "ConcurrentRequestsPerModel"}
    by_config = {each.metric.name for each in data if dict(each.metric.dimensions).get("EndpointConfigName") == "c"}
    assert by_config == {*platform.COUNTED, platform.PER_INSTANCE}


COMPONENT = (("InferenceComponentName", "c"),)
OF_COMPONENT = PLACE._replace(endpoint="e/c")


def test_what_a_component_does_is_told_by_its_name_and_of_its_variant():
    meter = Meter("boot")
    meter.invocation(OF_COMPONENT, 200, 2, 1000.0, 10.0)
    meter.refusal(OF_COMPONENT._replace(instance=""), "ServiceUnavailable")
    data = list(platform.data_of(decode(meter.roll(1))))
    assert read(data, "Invocations", "Sum") == read(data, "Invocations", "Sum", COMPONENT) == 1
    assert read(data, "InvocationsPerCopy", "Sum", COMPONENT) == 0.5
    assert "InvocationsPerInstance" not in {each.metric.name for each in data}
    assert read(data, "NoCapacityInvocationFailures", "Sum", COMPONENT) == 1
    concurrent = platform.concurrency(OF_COMPONENT.of_variant, 5, 6, 2).metric
    assert (concurrent.name, concurrent.dimensions) == ("ConcurrentRequestsPerCopy", COMPONENT)
    idle = list(platform.idle(OF_COMPONENT.of_variant, 60))
    assert {each.metric.dimensions for each in idle} == {COMPONENT}
    assert {"InvocationsPerCopy", "NoCapacityInvocationFailures"} <= {each.metric.name for each in idle}


def test_what_a_copy_uses_is_in_percent_of_what_it_was_given():
    labels = {"account": "1" * 12, "region": "us-east-1", "endpoint": "e", "variant": "blue"}
    copy = {**labels, "inference_component": "c", "room": "0.5 1024 0"}
    sample = Sample("b", 1, 125.0, 0.5, (Used("i-1", copy, 0.25, 256, 1024, None),))
    data = list(platform.instances(sample))
    assert {(each.metric.namespace, each.metric.dimensions) for each in data} == {
        ("/aws/sagemaker/InferenceComponents", COMPONENT)
    }
    assert {each.metric.name: each.summary.total for each in data} == {
        "CPUUtilizationNormalized": 50.0,
        "MemoryUtilizationNormalized": 25.0,
    }


def test_what_instances_use():
    labels = {"account": "1" * 12, "region": "us-east-1", "endpoint": "e", "variant": "blue"}
    gpus = (GpuUsage(0, 0.5, 0.25), GpuUsage(1, 1.0, 0.25))
    job = Used("j-1", {}, 4.0, 1, 1, None)
    sample = Sample("b", 1, 125.0, 0.5, (Used("i-1", labels, 1.5, 256, 1024, 3, gpus), job))
    data = list(platform.instances(sample))
    assert {each.metric.namespace for each in data} == {"/aws/sagemaker/Endpoints"}
    assert {each.at_s for each in data} == {60}, "the ten seconds before 125 began in that minute"
    values = {each.metric.name: (each.summary.total, each.unit) for each in data}
    assert values == {
        "CPUUtilization": (150.0, "Percent"),
        "MemoryUtilization": (25.0, "Percent"),
        "DiskUtilization": (50.0, "Percent"),
        "GPUUtilization": (150.0, "Percent"),
        "GPUMemoryUtilization": (50.0, "Percent"),
        "LoadedModelCount": (3.0, "None"),
    }
    by = {each.metric.dimensions for each in data}
    assert by == {BY_VARIANT, (BY_VARIANT[0], ("InstanceId", "i-1"), BY_VARIANT[1])}


def by(name: str, value: str) -> tuple[tuple[str, str], ...]:
    """In the order in which a metric has them."""
    return tuple(sorted((*BY_VARIANT, (name, value))))


def test_what_only_some_requests_have():
    meter = Meter("boot")
    place = PLACE._replace(config="c", by_instance=True)
    for latency_us in (10.0, 30.0):
        meter.measure(place, "", "FirstChunkLatency", latency_us)
    meter.measure(place, "", "MidStreamErrors", 0.0)
    meter.measure(place._replace(instance="i-2"), "", "MidStreamErrors", 1.0)
    meter.measure(place, "first", "ContainerLatency", 5.0)
    meter.measure(place, "first", "Invocations", 1.0)
    meter.measure(place, "", "of another release", 1.0)
    data = list(platform.data_of(decode(meter.roll(1_700_000_000))))
    assert {(each.metric.name, each.unit) for each in data} == {
        ("FirstChunkLatency", "Microseconds"),
        ("MidStreamErrors", "None"),
        ("ContainerLatency", "Microseconds"),
        ("Invocations", "None"),
    }
    by_container = (("ContainerName", "first"), *BY_VARIANT)
    assert [each.metric.dimensions for each in data if each.metric.name == "Invocations"] == [by_container]
    assert read(data, "ContainerLatency", "Sum", by_container) == 5.0
    assert read(data, "MidStreamErrors", "Average") == 0.5
    assert read(data, "MidStreamErrors", "Sum", by("InstanceId", "i-2")) == 1
    for dimensions in (BY_VARIANT, by("EndpointConfigName", "c"), by("InstanceId", "i-1")):
        assert read(data, "FirstChunkLatency", "Average", dimensions) == 20.0


def test_what_instances_of_a_job_use():
    labels = {"account": "1" * 12, "region": "us-east-1", "transform_job": "j"}
    sample = Sample("b", 1, 125.0, 0.5, (Used("i-1", labels, 1.5, 256, 1024, None),))
    data = list(platform.instances(sample))
    assert {each.metric.namespace for each in data} == {"/aws/sagemaker/TransformJobs"}
    assert {each.metric.dimensions for each in data} == {(("Host", "j/i-1"),)}
    assert {each.metric.name for each in data} == {"CPUUtilization", "MemoryUtilization", "DiskUtilization"}
