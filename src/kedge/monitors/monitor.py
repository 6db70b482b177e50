"""What a monitor does, whichever way it was written down: a job definition of one of four kinds, or inline. PURE."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any

from kedge.errors import ValidationFailed
from kedge.jobs.processing_plan import BELOW
from kedge.jobs.program_plan import check_address, check_one_instance, local, refuse
from kedge.monitors import windows
from kedge.monitors.kinds import KINDS, MODEL_BIAS, Kind
from kedge.monitors.windows import BadWindow

LATE_LABELS = "kedge_late_labels"
"""Of the Environment: for how long labels that come later are waited for, as a duration."""
DEFAULT_LATE = timedelta(hours=24)
LONGEST_LATE = timedelta(days=7)


@dataclass(frozen=True)
class Monitor:
    """URIs and names are "" where they are not given."""

    kind: str
    role: str
    image: str
    cluster: Mapping[str, Any]
    input: Mapping[str, Any]
    """EndpointInput or BatchTransformInput."""
    output: Mapping[str, Any]
    """S3Output."""
    definition: str = ""
    entrypoint: Sequence[str] = ()
    arguments: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    preprocessor: str = ""
    postprocessor: str = ""
    config: str = ""
    """analysis_config.json."""
    problem_type: str = ""
    ground_truth: str = ""
    baselining_job: str = ""
    constraints: str = ""
    statistics: str = ""
    kms_key: str = ""
    network: Mapping[str, Any] = field(default_factory=dict)
    longest_s: int | None = None

    @property
    def of(self) -> Kind:
        return KINDS[self.kind]

    @property
    def endpoint(self) -> str:
        return str(self.input.get("EndpointName", ""))

    @property
    def late(self) -> timedelta:
        """Raises ValidationFailed."""
        text = self.environment.get(LATE_LABELS)
        try:
            found = windows.duration(text) if text else DEFAULT_LATE
        except BadWindow as error:
            raise ValidationFailed(f"Environment.{LATE_LABELS}: {error}.") from None
        if found > LONGEST_LATE:
            raise ValidationFailed(f'Environment.{LATE_LABELS} is "{text}"; at most P{LONGEST_LATE.days}D is waited.')
        return found

    def document(self) -> dict[str, Any]:
        return asdict(self)


def of_definition(kind: Kind, given: Mapping[str, Any]) -> Monitor:
    """given: members of the Create call."""
    application, job = given[f"{kind.type}AppSpecification"], given[f"{kind.type}JobInput"]
    baseline = given.get(f"{kind.type}BaselineConfig", {})
    outputs = given[f"{kind.type}JobOutputConfig"]
    return Monitor(
        kind=kind.type,
        definition=given["JobDefinitionName"],
        input=job.get("EndpointInput") or job.get("BatchTransformInput") or {},
        ground_truth=job.get("GroundTruthS3Input", {}).get("S3Uri", ""),
        cluster=given["JobResources"]["ClusterConfig"],
        **_of_application(application, application.get("Environment", {})),
        **_shared(given, baseline, outputs),
    )


def of_inline(given: Mapping[str, Any]) -> Monitor:
    """given: a MonitoringJobDefinition, which is of data quality, or of an image of one's own."""
    source = given["MonitoringInputs"][0]
    return Monitor(
        kind="DataQuality",
        input=source.get("EndpointInput") or source.get("BatchTransformInput") or {},
        cluster=given["MonitoringResources"]["ClusterConfig"],
        **_of_application(given["MonitoringAppSpecification"], given.get("Environment", {})),
        **_shared(given, given.get("BaselineConfig", {}), given["MonitoringOutputConfig"]),
    )


def _of_application(application: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    return {
        "image": application["ImageUri"],
        "entrypoint": tuple(application.get("ContainerEntrypoint", ())),
        "arguments": tuple(application.get("ContainerArguments", ())),
        "preprocessor": application.get("RecordPreprocessorSourceUri", ""),
        "postprocessor": application.get("PostAnalyticsProcessorSourceUri", ""),
        "config": application.get("ConfigUri", ""),
        "problem_type": application.get("ProblemType", ""),
        "environment": dict(environment),
    }


def _shared(given: Mapping[str, Any], baseline: Mapping[str, Any], outputs: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "role": given["RoleArn"],
        "output": outputs["MonitoringOutputs"][0]["S3Output"],
        "kms_key": outputs.get("KmsKeyId", ""),
        "baselining_job": baseline.get("BaseliningJobName", ""),
        "constraints": baseline.get("ConstraintsResource", {}).get("S3Uri", ""),
        "statistics": baseline.get("StatisticsResource", {}).get("S3Uri", ""),
        "network": given.get("NetworkConfig", {}),
        "longest_s": given.get("StoppingCondition", {}).get("MaxRuntimeInSeconds"),
    }


def check(monitor: Monitor, members: Iterable[str]) -> None:
    """What the shapes of the API do not say. members: of the job's input that are given. Raises ValidationFailed."""
    sources = [each for each in members if each in ("EndpointInput", "BatchTransformInput")]
    if len(sources) != 1:
        raise ValidationFailed("The job's input has to have one of EndpointInput and BatchTransformInput.")
    where = sources[0]
    if where == "BatchTransformInput":
        _check_batch(monitor)
    local(f"{where}.LocalPath", monitor.input["LocalPath"], BELOW)
    local("S3Output.LocalPath", monitor.output["LocalPath"], BELOW)
    addresses = {
        "S3Output.S3Uri": monitor.output["S3Uri"],
        "GroundTruthS3Input.S3Uri": monitor.ground_truth,
        "ConstraintsResource.S3Uri": monitor.constraints,
        "StatisticsResource.S3Uri": monitor.statistics,
        "RecordPreprocessorSourceUri": monitor.preprocessor,
        "PostAnalyticsProcessorSourceUri": monitor.postprocessor,
        "ConfigUri": monitor.config,
    }
    for member, uri in addresses.items():
        if uri:
            check_address(member, uri)
    check_one_instance("ClusterConfig.InstanceCount", monitor.cluster["InstanceCount"])
    refuse(
        [
            (monitor.input.get("S3InputMode") == "Pipe" and "Pipe", f"{where}.S3InputMode"),
            (monitor.cluster.get("VolumeKmsKeyId"), "ClusterConfig.VolumeKmsKeyId"),
        ]
    )
    start, end = (monitor.input.get(member, "") for member in ("StartTimeOffset", "EndTimeOffset"))
    try:
        found = [windows.duration(each) if each else timedelta() for each in (start, end)]
    except BadWindow as error:
        raise ValidationFailed(f"{where}: StartTimeOffset or EndTimeOffset: {error}.") from None
    if start and found[0] <= found[1]:
        raise ValidationFailed(
            f'{where}.StartTimeOffset is "{start}" and EndTimeOffset "{end}"; the start has to lie before the end.'
        )
    _ = monitor.late


def _check_batch(monitor: Monitor) -> None:
    answers = [monitor.input.get(member) for member in ("InferenceAttribute", "ProbabilityAttribute")]
    if monitor.of is MODEL_BIAS and not any(answers):
        raise ValidationFailed(
            "BatchTransformInput of ModelBias has neither InferenceAttribute nor ProbabilityAttribute; one has to say "
            "where in an output, which has the features too, the answer is."
        )
    if monitor.of.merges and not monitor.ground_truth:
        raise ValidationFailed("GroundTruthS3Input.S3Uri is not given; with BatchTransformInput it has to be.")
    check_address("BatchTransformInput.DataCapturedDestinationS3Uri", monitor.input["DataCapturedDestinationS3Uri"])
    if len(monitor.input["DatasetFormat"]) != 1:
        raise ValidationFailed("BatchTransformInput.DatasetFormat has to have one of Csv, Json and Parquet.")
    if monitor.of.merges and "Parquet" in monitor.input["DatasetFormat"]:
        raise ValidationFailed("BatchTransformInput.DatasetFormat is Parquet; labels are joined with Csv or Json.")
