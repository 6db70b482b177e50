"""What routers and instances tell, as data of the metrics that SageMaker has for endpoints, and some of our own. PURE.

Each is told in every set of dimensions that users ask for, since nothing rolls up over dimensions: by endpoint and
variant; by the endpoint config too, where the routing table says so (during and after a guarded update); by the
instance too, where enhanced metrics are on: that is seven more series for each instance, with a row a second. What an
instance uses is always told by the instance, too: that is a few values a minute.

An error metric has a sample of 1 or 0 for each request, so that its average is the rate. A variant that had nothing to
do for a minute gets one sample of 0 in that minute: sums and averages are then 0 rather than missing, as alarms and
autoscaling need it. Its SampleCount is 1 there, so count requests by the Sum. Latencies have no such sample.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from kedge.compute.used import PERIOD_S, Sample, Used
from kedge.logs import names
from kedge.metrics.series import Datum, Metric, Summary, metric
from kedge.metrics.sketch import Sketch
from kedge.serving import meter
from kedge.serving.meter import Captured, Counted, Frame, Measured, Place, VariantPlace

NAMESPACE = "AWS/SageMaker"
INSTANCE_NAMESPACE = "/aws/sagemaker/Endpoints"
COMPONENT_NAMESPACE = "/aws/sagemaker/InferenceComponents"
JOB_NAMESPACE = "/aws/sagemaker/TransformJobs"
OWN_NAMESPACE = "Kedge"
"""Of what SageMaker has no metric for."""
NONE, COUNT, MICROSECONDS = "None", "Count", "Microseconds"
SECOND, MINUTE = 1, 60

PROVISIONED_UTILIZATION = "ServerlessProvisionedConcurrencyUtilization"

Dimensions = tuple[tuple[str, str], ...]

COUNTED = (
    "Invocations",
    "Invocation4XXErrors",
    "Invocation5XXErrors",
    "InvocationModelErrors",
)
"""Those of which an idle variant has samples of 0, with the one of its share of an instance or a copy."""
PER_INSTANCE, PER_COPY = "InvocationsPerInstance", "InvocationsPerCopy"
NO_CAPACITY, NO_CAPACITY_CODE = "NoCapacityInvocationFailures", "ServiceUnavailable"
"""Of an inference component; what a request is answered with that finds no copy."""
MEASURED = {
    meter.FIRST_CHUNK: MICROSECONDS,
    meter.FIRST_CHUNK_MODEL: MICROSECONDS,
    meter.FIRST_CHUNK_OVERHEAD: MICROSECONDS,
    meter.MID_STREAM_ERRORS: NONE,
    meter.CONTAINER_LATENCY: MICROSECONDS,
    "Invocations": NONE,
    "Invocation4XXErrors": NONE,
    "Invocation5XXErrors": NONE,
    meter.CACHE_HIT: NONE,
    meter.LOADING_WAIT: MICROSECONDS,
    meter.LOADING: MICROSECONDS,
    meter.DOWNLOADING: MICROSECONDS,
    meter.UNLOADING: MICROSECONDS,
    meter.SETUP: MICROSECONDS,
    meter.PROVISIONED_INVOCATIONS: COUNT,
    meter.SPILLOVER_INVOCATIONS: COUNT,
}
"""Units of those that only some requests have. What a router of another release calls otherwise is left out."""


class Served(NamedTuple):
    """A variant to which requests may go."""

    place: VariantPlace
    config: str
    """Its endpoint config, where its metrics are told by that, too; else ""."""
    since_s: float
    asynchronous: bool = False
    """Its requests come by a queue; SageMaker has other metrics for those."""
    serverless: tuple[int, int] = (0, 0)
    """Its MaxConcurrency and ProvisionedConcurrency; 0 where there is none."""


@dataclass
class _Group:
    """What cells of one set of dimensions have together."""

    invocations: int = 0
    errors_4xx: int = 0
    errors_5xx: int = 0
    model_errors: int = 0
    per_instance: float = 0.0
    model_latency_us: Sketch = field(default_factory=Sketch)
    overhead_latency_us: Sketch = field(default_factory=Sketch)

    def add(self, cell: Counted) -> None:
        self.invocations += cell.invocations
        self.errors_4xx += cell.errors_4xx
        self.errors_5xx += cell.errors_5xx
        self.model_errors += cell.model_errors
        self.per_instance += cell.per_instance
        self.model_latency_us.merge(cell.model_latency_us)
        self.overhead_latency_us.merge(cell.overhead_latency_us)

    def summaries(self, per: str) -> Iterator[tuple[str, str, Summary]]:
        """(metric, unit, values). Only for a group that was invoked. per: what its share of an instance is called."""
        served = self.invocations
        yield "Invocations", NONE, Summary.of([1.0], [served])
        yield "Invocation4XXErrors", NONE, _share(self.errors_4xx, served)
        yield "Invocation5XXErrors", NONE, _share(self.errors_5xx, served)
        yield "InvocationModelErrors", NONE, _share(self.model_errors, served)
        if per:
            yield per, NONE, Summary.of([self.per_instance / served], [served])
        yield "ModelLatency", MICROSECONDS, Summary.of_sketch(self.model_latency_us)
        yield "OverheadLatency", MICROSECONDS, Summary.of_sketch(self.overhead_latency_us)


def data_of(frame: Frame) -> Iterator[Datum]:
    """All that a router counted in one second."""
    groups: dict[tuple[str, str, Dimensions], _Group] = {}
    per: dict[Dimensions, str] = {}
    refused: dict[tuple[VariantPlace, str], int] = {}
    for cell in frame.cells:
        place = cell.place
        if cell.invocations:
            for dimensions in _dimensions_of(place):
                per[dimensions] = _per(dimensions, place.of_variant)
                groups.setdefault((place.account, place.region, dimensions), _Group()).add(cell)
        for code, count in cell.refused.items():
            refused[place.of_variant, code] = refused.get((place.of_variant, code), 0) + count
    for (account, region, dimensions), group in groups.items():
        for name, unit, summary in group.summaries(per[dimensions]):
            yield Datum(metric(account, region, NAMESPACE, name, dimensions), unit, frame.second, SECOND, summary)
    for (variant, code), count in refused.items():
        for dimensions in _of_variant(variant):
            for told_by in (dimensions, (*dimensions, ("ErrorCode", code))) if code else (dimensions,):
                refusals = metric(variant.account, variant.region, OWN_NAMESPACE, "RefusedInvocations", told_by)
                yield Datum(refusals, COUNT, frame.second, SECOND, Summary.of([1.0], [count]))
        if variant.component and code == NO_CAPACITY_CODE:
            lost = metric(variant.account, variant.region, NAMESPACE, NO_CAPACITY, by_component(variant.component))
            yield Datum(lost, COUNT, frame.second, SECOND, Summary.of([1.0], [count]))

    for told, unit, summary in _measured(frame.measured):
        yield Datum(told, unit, frame.second, SECOND, summary)

    for each in frame.captured:
        yield from captured(each, frame.second)
    for one in frame.told:
        by: Dimensions = (*by_variant(one.place), *((("Feature", one.feature),) if one.feature else ()))
        of = metric(one.place.account, one.place.region, OWN_NAMESPACE, one.name, by)
        yield Datum(of, one.unit, frame.second, SECOND, Summary.of_sketch(one.values))


def captured(each: Captured, second: int) -> Iterator[Datum]:
    for name, value in (
        ("CapturedRecords", each.taken),
        ("CaptureDroppedRecords", each.dropped),
        ("CaptureWithheldBodies", each.withheld),
    ):
        told = metric(each.place.account, each.place.region, OWN_NAMESPACE, name, by_variant(each.place))
        yield Datum(told, COUNT, second, SECOND, Summary.one(float(value)))


def concurrency(place: VariantPlace, second: int, requests: int, instances: int) -> Datum:
    """For one copy of the model, as autoscaling needs it. requests: of all routers, with the models and waiting."""
    return Datum(_concurrent(place), COUNT, second, SECOND, Summary.one(requests / max(1, instances)))


def _concurrent(place: VariantPlace) -> Metric:
    if place.component:
        return metric(
            place.account, place.region, NAMESPACE, "ConcurrentRequestsPerCopy", by_component(place.component)
        )
    return metric(place.account, place.region, NAMESPACE, "ConcurrentRequestsPerModel", by_variant(place))


def executions(place: VariantPlace, second: int, count: int, most: int, provisioned: int) -> Iterator[Datum]:
    """Of a serverless variant. count: the most requests at a time in this second, of all routers. most, provisioned: of
    its ServerlessConfig; 0 for none."""
    for name, unit, value in _executions(count, most, provisioned):
        told = metric(place.account, place.region, NAMESPACE, name, by_variant(place))
        yield Datum(told, unit, second, SECOND, Summary.one(value))


def _executions(count: int, most: int, provisioned: int) -> Iterator[tuple[str, str, float]]:
    """(metric, unit, value). Source: "Alarms and logs for tracking metrics from serverless endpoints"."""
    if most:
        yield "ServerlessConcurrentExecutionsUtilization", NONE, count / most
    if provisioned:
        yield "ServerlessProvisionedConcurrencyExecutions", COUNT, float(count)
        yield PROVISIONED_UTILIZATION, NONE, count / provisioned


def idle(place: VariantPlace, minute: int, config: str = "", serverless: tuple[int, int] = (0, 0)) -> Iterator[Datum]:
    """Of a variant that had nothing to do in the minute that began then. config: "" where it is not told by that.
    serverless: as for Served."""
    own = by_component(place.component) if place.component else by_variant(place)
    told_by = [own]
    if config:
        told_by.append(by_config(place, config))
    for dimensions in told_by:
        for name in (*COUNTED, _per(dimensions, place)):
            yield _zero(metric(place.account, place.region, NAMESPACE, name, dimensions), NONE, minute)
    yield _zero(metric(place.account, place.region, OWN_NAMESPACE, "RefusedInvocations", own), COUNT, minute)
    yield _zero(_concurrent(place), COUNT, minute)
    if place.component:
        yield _zero(metric(place.account, place.region, NAMESPACE, NO_CAPACITY, own), COUNT, minute)
    for name, unit, _ in _executions(0, *serverless):
        yield _zero(metric(place.account, place.region, NAMESPACE, name, by_variant(place)), unit, minute)


def instances(sample: Sample) -> Iterator[Datum]:
    """What instances used: of each one, and as samples of its variant.

    Percent of a core or a GPU, so up to 100 for each that there is; of the memory of the instance's type; of the file
    system that all instances of the machine share.
    """
    minute = int((sample.at_s - PERIOD_S) // 60) * 60
    for each in sample.instances:
        labels = each.labels
        if "inference_component" in labels:
            yield from _of_copy(each, minute)
            continue
        if "variant" in labels:
            by_name = (("EndpointName", labels["endpoint"]), ("VariantName", labels["variant"]))
            namespace, told_by = INSTANCE_NAMESPACE, [by_name, (*by_name, ("InstanceId", each.task))]
        elif "transform_job" in labels:
            namespace, told_by = JOB_NAMESPACE, [(("Host", f"{labels['transform_job']}/{each.task}"),)]
        elif label := next((each for each in names.JOB_GROUPS if each in labels), ""):
            namespace, told_by = names.JOB_GROUPS[label], [(("Host", f"{labels[label]}/algo-1"),)]
        else:
            continue
        values = {"CPUUtilization": 100 * each.cores, "DiskUtilization": 100 * sample.disk_share}
        if each.memory_limit_bytes:
            values["MemoryUtilization"] = 100 * each.memory_bytes / each.memory_limit_bytes
        if each.gpus:
            values["GPUUtilization"] = 100 * sum(gpu.busy_share for gpu in each.gpus)
            values["GPUMemoryUtilization"] = 100 * sum(gpu.memory_share for gpu in each.gpus)
        units = dict.fromkeys(values, "Percent")
        if each.loaded is not None:
            values["LoadedModelCount"], units["LoadedModelCount"] = float(each.loaded), NONE
        for dimensions in told_by:
            for name, value in values.items():
                told = metric(labels["account"], labels["region"], namespace, name, dimensions)
                yield Datum(told, units[name], minute, MINUTE, Summary.one(value))


def _of_copy(used: Used, minute: int) -> Iterator[Datum]:
    """Percent of what the component's ComputeResourceRequirements give each copy."""
    labels = used.labels
    cores = float(labels["room"].split()[0])
    values = {}
    if cores:
        values["CPUUtilizationNormalized"] = 100 * used.cores / cores
    if used.memory_limit_bytes:
        values["MemoryUtilizationNormalized"] = 100 * used.memory_bytes / used.memory_limit_bytes
    if used.gpus:
        values["GPUUtilizationNormalized"] = 100 * sum(gpu.busy_share for gpu in used.gpus) / len(used.gpus)
        values["GPUMemoryUtilizationNormalized"] = 100 * sum(gpu.memory_share for gpu in used.gpus) / len(used.gpus)
    for name, value in values.items():
        dimensions = by_component(labels["inference_component"])
        told = metric(labels["account"], labels["region"], COMPONENT_NAMESPACE, name, dimensions)
        yield Datum(told, "Percent", minute, MINUTE, Summary.one(value))


def invocations(place: VariantPlace) -> Metric:
    """By which it is seen whether a variant was idle."""
    own = by_component(place.component) if place.component else by_variant(place)
    return metric(place.account, place.region, NAMESPACE, "Invocations", own)


def by_variant(place: VariantPlace) -> Dimensions:
    return ("EndpointName", place.endpoint_name), ("VariantName", place.variant)


def by_component(name: str) -> Dimensions:
    return (("InferenceComponentName", name),)


def _of_variant(place: VariantPlace) -> list[Dimensions]:
    """What is told of a component is told of the variant on which it runs, too."""
    return [by_variant(place), by_component(place.component)] if place.component else [by_variant(place)]


def _per(dimensions: Dimensions, place: VariantPlace) -> str:
    """Which metric says what one instance, or copy, has of the invocations; "" for a variant of many components."""
    if not place.component:
        return PER_INSTANCE
    return PER_COPY if dimensions[0][0] == "InferenceComponentName" else ""


def by_config(place: VariantPlace, config: str) -> Dimensions:
    return (*by_variant(place), ("EndpointConfigName", config))


def _measured(measured: Iterable[Measured]) -> Iterator[tuple[Metric, str, Summary]]:
    """(metric, unit, values) of what only some requests have. Of a container it is told by that alone."""
    groups: dict[Metric, tuple[str, Sketch]] = {}
    for place, container, name, values in measured:
        if name not in MEASURED:
            continue
        by_container = (*by_variant(place.of_variant), ("ContainerName", container))
        for dimensions in [by_container] if container else _dimensions_of(place):
            told = metric(place.account, place.region, NAMESPACE, name, dimensions)
            groups.setdefault(told, (MEASURED[name], Sketch()))[1].merge(values)
    for told, (unit, sketch) in groups.items():
        yield told, unit, Summary.of_sketch(sketch)


def _dimensions_of(place: Place) -> Iterable[Dimensions]:
    told_by = own = _of_variant(place.of_variant)
    if place.config:
        told_by = [*told_by, by_config(place.of_variant, place.config)]
    if place.by_instance:
        told_by = [*told_by, (*own[-1], ("InstanceId", place.instance))]
    return told_by


def _share(ones: int, of: int) -> Summary:
    """Samples of 1 and 0."""
    if not 0 < ones < of:
        return Summary.of([1.0 if ones else 0.0], [of])
    return Summary.of([0.0, 1.0], [of - ones, ones])


def _zero(of: Metric, unit: str, minute: int) -> Datum:
    return Datum(of, unit, minute, MINUTE, Summary.one(0.0))
