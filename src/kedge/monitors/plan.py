"""The processing jobs of an execution: what is brought to its program, and what it is told. PURE.

Source: the documented contract of monitoring containers, and jobs of SageMaker's own monitors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from kedge.jobs.processing_plan import BELOW
from kedge.monitors.kinds import MODEL_BIAS, MODEL_EXPLAINABILITY, MODEL_QUALITY
from kedge.monitors.monitor import Monitor
from kedge.monitors.records import Execution
from kedge.monitors.windows import Window, folder, text
from kedge.objects import address

MERGE, ANALYSIS = "merge", "analysis"
MERGER_IMAGE = "sagemaker-model-monitor-groundtruth-merger"
MERGE_JOB = "groundtruth-merge"
MERGED = "merge"
"""Below a monitor's output lies what was merged of an endpoint."""
CAPTURED_AT, TRUTH_AT = "/opt/ml/processing/input_data", "/opt/ml/processing/groundtruth"
"""Of a merge."""
_BASELINE_AT, _SCRIPTS_AT = "/opt/ml/processing/baseline", "/opt/ml/processing/code"
_CONFIG_AT = "/opt/ml/processing/input/config"
_PUBLISH = "publish_cloudwatch_metrics"
_TIME = "kedge_time_column"
"""Names a column of a training set; records say their time themselves."""
_MOST_SECONDS = 3600
_LONGEST_NAME = 63
DRIFT_STATE = "kedge_drift_state.json"
"""What a data quality job leaves for the next one of its schedule, among its reports."""
_ATTRIBUTES = {
    "FeaturesAttribute": "features_attribute",
    "InferenceAttribute": "inference_attribute",
    "ProbabilityAttribute": "probability_attribute",
    "ProbabilityThresholdAttribute": "probability_threshold_attribute",
    "ExcludeFeaturesAttribute": "exclude_features_attribute",
}
_SIDES = {MODEL_QUALITY.type: ["endpointOutput"]}
BOTH_SIDES = ["endpointInput", "endpointOutput"]
WITH_LABEL = ["endpointInput", "groundTruthData"]
"""Of a merged record: the label in the answer's place, as a training set has it."""


class Source(NamedTuple):
    """Objects with files of one hour. below: the folder of a job's input that they go to."""

    uri: str
    below: str
    manifest: bool = False

    @property
    def hour(self) -> str:
        """As yyyy/mm/dd/hh, of one without folders below it."""
        return self.below[-len("yyyy/mm/dd/hh") :]


class Baseline(NamedTuple):
    """URIs; "" where there is none."""

    constraints: str = ""
    statistics: str = ""
    state: str = ""
    """What the execution before has left."""


def job_name(execution: Execution, stage: str, prefix: str) -> str:
    """The same for the same stage of the same execution."""
    tail = hashlib.sha256(f"{execution.uid}/{stage}".encode()).hexdigest()[:24]
    return f"{prefix}-{execution.scheduled:%Y%m%d%H%M}-{tail}"[:_LONGEST_NAME]


def merge_job(
    monitor: Monitor, execution: Execution, captured: Sequence[Source], truth: Sequence[Source], longest_s: int
) -> dict[str, Any]:
    """CreateProcessingJob's request: captured records and their labels become merged records."""
    inputs = [
        *(_input(f"groundtruth_input_{n}", each, TRUTH_AT) for n, each in enumerate(truth, 1)),
        *(_input(f"endpoint_input_{n}", each, CAPTURED_AT) for n, each in enumerate(captured, 1)),
    ]
    output = {"S3Uri": merged_uri(monitor), "LocalPath": "/opt/ml/processing/output", "S3UploadMode": "EndOfJob"}
    environment = {
        "dataset_source": CAPTURED_AT,
        "ground_truth_source": TRUTH_AT,
        "output_path": output["LocalPath"],
        "dataset_format": json.dumps(captured_format(monitor)),
    }
    return _job(
        monitor, job_name(execution, MERGE, MERGE_JOB), {"ImageUri": merger_image(monitor.image)}, inputs, output,
        environment, longest_s,
    )  # fmt: skip


def analysis_job(
    monitor: Monitor,
    execution: Execution,
    sources: Sequence[Source],
    baseline: Baseline,
    capture_uri: str,
    longest_s: int,
) -> dict[str, Any]:
    """CreateProcessingJob's request: the program looks at the window. capture_uri: where captured files lie."""
    at = monitor.input["LocalPath"].rstrip("/")
    inputs = [_input(f"endpoint_input_{n}", each, at) for n, each in enumerate(sources, 1)]
    environment = {
        _PUBLISH: "Enabled",
        **monitor.environment,
        "dataset_source": at,
        "dataset_format": json.dumps(dataset_format(monitor)),
        "output_path": monitor.output["LocalPath"],
        "start_time": text(execution.window.start),
        "end_time": text(execution.window.end),
        "metric_time": text(execution.window.start),
        "sagemaker_monitoring_schedule_name": execution.schedule,
        **_told(monitor, capture_uri),
    }
    if execution.is_told:
        environment[_PUBLISH] = "Disabled"
    brought = {
        "baseline_constraints": ("constraints", baseline.constraints, f"{_BASELINE_AT}/constraints"),
        "baseline_statistics": ("baseline", baseline.statistics, f"{_BASELINE_AT}/stats"),
        "kedge_drift_state": ("drift_state", baseline.state, "/opt/ml/processing/input/drift_state"),
        "record_preprocessor_script": (
            "record_preprocessor_script_input", monitor.preprocessor, f"{_SCRIPTS_AT}/preprocessing",
        ),
        "post_analytics_processor_script": (
            "post_analytics_processor_script_input", monitor.postprocessor, f"{_SCRIPTS_AT}/postprocessing",
        ),
        "analysis_config": ("analysis_config", monitor.config, _CONFIG_AT),
    }  # fmt: skip
    for variable, (name, uri, folder_at) in brought.items():
        if uri:
            folder_at = _beside(folder_at, at)
            inputs.append(_input(name, Source(uri, ""), folder_at))
            environment[variable] = f"{folder_at}/{uri.rpartition('/')[2]}"
    application: dict[str, Any] = {"ImageUri": monitor.image}
    if monitor.entrypoint:
        application["ContainerEntrypoint"] = list(monitor.entrypoint)
    if monitor.arguments:
        application["ContainerArguments"] = list(monitor.arguments)
    output = {**monitor.output, "S3Uri": report_uri(monitor, execution.schedule, execution.scheduled, execution.apart)}
    output.setdefault("S3UploadMode", "EndOfJob")
    name = job_name(execution, ANALYSIS, monitor.of.job)
    return _job(monitor, name, application, inputs, output, environment, longest_s)


def baseline_job(
    monitor: Monitor,
    name: str,
    sources: Sequence[Source],
    sides: Sequence[str],
    window: Window,
    constraints: str,
    output_uri: str,
) -> dict[str, Any]:
    """CreateProcessingJob's request: the program makes a baseline of records of the window.

    sides: of each record, its input and what stands in the answer's place. constraints: whose place the new ones take.
    """
    at = monitor.input["LocalPath"].rstrip("/")
    inputs = [_input(f"baseline_input_{n}", each, at) for n, each in enumerate(sources, 1)]
    before_at = f"{_BASELINE_AT}/before"
    inputs.append(_input("constraints_before", Source(constraints, ""), before_at))
    environment = {
        **{name: value for name, value in monitor.environment.items() if name != _TIME},
        "dataset_source": at,
        "dataset_format": json.dumps({"sagemakerMergeJson": {"captureIndexNames": list(sides)}}),
        "output_path": monitor.output["LocalPath"],
        "start_time": text(window.start),
        "end_time": text(window.end),
        _PUBLISH: "Disabled",
        "kedge_constraints_before": f"{before_at}/{constraints.rpartition('/')[2]}",
    }
    if monitor.preprocessor:
        folder_at = f"{_SCRIPTS_AT}/preprocessing"
        inputs.append(_input("record_preprocessor_script_input", Source(monitor.preprocessor, ""), folder_at))
        environment["record_preprocessor_script"] = f"{folder_at}/{monitor.preprocessor.rpartition('/')[2]}"
    output = {"S3Uri": output_uri, "LocalPath": monitor.output["LocalPath"], "S3UploadMode": "EndOfJob"}
    application = {"ImageUri": monitor.image}
    return _job(monitor, name, application, inputs, output, environment, longest_s(monitor, _MOST_SECONDS))


def rows_job(monitor: Monitor, name: str, source: Source, window: Window, output_uri: str) -> dict[str, Any]:
    """CreateProcessingJob's request: merged records of the window become a training set, as CSV."""
    output = {"S3Uri": output_uri, "LocalPath": "/opt/ml/processing/output", "S3UploadMode": "EndOfJob"}
    environment = {
        "dataset_source": CAPTURED_AT,
        "output_path": output["LocalPath"],
        "start_time": text(window.start),
        "end_time": text(window.end),
        "kedge_training_rows": "Enabled",
    }
    return _job(
        monitor, name, {"ImageUri": merger_image(monitor.image)}, [_input("merged_input_1", source, CAPTURED_AT)],
        output, environment, longest_s(monitor, _MOST_SECONDS),
    )  # fmt: skip


def report_uri(monitor: Monitor, schedule: str, scheduled: datetime, apart: str = "") -> str:
    """Where reports of that time go: the hour it was scheduled for, with the minute where that is not the hour's.

    apart: of a second execution of that minute, a folder of its own.
    """
    minute = f"{scheduled:%M}" if scheduled.minute or apart else ""
    return address.below(monitor.output["S3Uri"], monitor.endpoint, schedule, folder(scheduled), minute, apart)


def apart_of(scheduled: datetime, others: Sequence[Execution]) -> str:
    """What keeps the reports of an execution apart from those of others of its minute; "" where there are none.

    others: executions of the schedule. A later look at the same window takes the place of the first, wherever that is.
    """
    minute = scheduled.replace(second=0, microsecond=0)
    of_it = [each for each in others if each.scheduled.replace(second=0, microsecond=0) == minute]
    for each in of_it:
        if each.scheduled == scheduled:
            return each.apart
    return f"{scheduled:%S}.{scheduled.microsecond // 1000:03d}" if of_it else ""


def merged_uri(monitor: Monitor) -> str:
    """Below it lie ENDPOINT/VARIANT/yyyy/mm/dd/hh."""
    return address.below(monitor.output["S3Uri"], MERGED)


def merger_image(image: str) -> str:
    """Of the registry of the monitor's own image."""
    registry, slash, _ = image.rpartition("/")
    return f"{registry}{slash}{MERGER_IMAGE}"


def dataset_format(monitor: Monitor) -> dict[str, Any]:
    """Of what an analysis looks at."""
    if not monitor.of.merges:
        return captured_format(monitor)
    sides = ["batchTransformOutput"] if not monitor.endpoint else _SIDES.get(monitor.kind, BOTH_SIDES)
    return {"sagemakerMergeJson": {"captureIndexNames": sides}}


def captured_format(monitor: Monitor) -> dict[str, Any]:
    given: Mapping[str, Any] = monitor.input.get("DatasetFormat", {})
    if "Csv" in given:
        return {"csv": {"header": bool(given["Csv"].get("Header"))}}
    if "Json" in given:
        return {"json": {"lines": bool(given["Json"].get("Line", True))}}
    if given:
        return {"parquet": {}}
    return {"sagemakerCaptureJson": {"captureIndexNames": BOTH_SIDES}}


def longest_s(monitor: Monitor, interval_s: float) -> int:
    """MaxRuntimeInSeconds of each of its jobs, where none is given: merge and analysis share the time between two."""
    shared = interval_s / (2 if monitor.of.merges else 1)
    return monitor.longest_s or max(60, int(min(shared, _MOST_SECONDS)))


def _told(monitor: Monitor, capture_uri: str) -> dict[str, str]:
    told = {"sagemaker_endpoint_name": monitor.endpoint}
    if monitor.endpoint:
        told["sagemaker_endpoint_datacapture_prefix"] = capture_uri
    if monitor.kind == MODEL_QUALITY.type:
        told |= {"analysis_type": "MODEL_QUALITY", "problem_type": monitor.problem_type}
    elif monitor.kind in (MODEL_BIAS.type, MODEL_EXPLAINABILITY.type):
        told |= {"analysis_type": "MODEL_BIAS" if monitor.of.merges else "MODEL_EXPLAINABILITY"}
    told |= {variable: str(monitor.input.get(member, "")) for member, variable in _ATTRIBUTES.items()}
    return {name: value for name, value in told.items() if value}


def _beside(folder_at: str, data_at: str) -> str:
    """Not below the data, where it would be read as some of it."""
    return f"{BELOW}/{folder_at.rpartition('/')[2]}" if folder_at.startswith(f"{data_at}/") else folder_at


def _input(name: str, source: Source, at: str) -> dict[str, Any]:
    return {
        "InputName": name,
        "S3Input": {
            "S3Uri": source.uri,
            "LocalPath": f"{at}/{source.below}" if source.below else at,
            "S3DataType": "ManifestFile" if source.manifest else "S3Prefix",
            "S3InputMode": "File",
            "S3DataDistributionType": "FullyReplicated",
            "S3CompressionType": "None",
        },
    }


def _job(
    monitor: Monitor,
    name: str,
    application: Mapping[str, Any],
    inputs: Sequence[Mapping[str, Any]],
    output: Mapping[str, Any],
    environment: Mapping[str, str],
    longest: int,
) -> dict[str, Any]:
    outputs: dict[str, Any] = {"Outputs": [{"OutputName": "result", "S3Output": dict(output), "AppManaged": False}]}
    if monitor.kms_key:
        outputs["KmsKeyId"] = monitor.kms_key
    request: dict[str, Any] = {
        "ProcessingJobName": name,
        "ProcessingInputs": list(inputs),
        "ProcessingOutputConfig": outputs,
        "ProcessingResources": {"ClusterConfig": dict(monitor.cluster)},
        "StoppingCondition": {"MaxRuntimeInSeconds": longest},
        "AppSpecification": dict(application),
        "Environment": dict(environment),
        "RoleArn": monitor.role,
    }
    return request | ({"NetworkConfig": dict(monitor.network)} if monitor.network else {})
