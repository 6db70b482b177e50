"""What jobs of programs decide: admission, what images stand for, plans, script mode, records. No server."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.compute.base import Capacity, Job, TaskSpec
from kedge.errors import ValidationFailed
from kedge.jobs import admission, images, processing_plan, program_plan, script_mode, training_plan, tree
from kedge.jobs.program_records import PROCESSING, Outcome, ProgramJob, Size, Stage
from kedge.jobs.scanning import values

ARN = "arn:aws:sagemaker:us-east-1:111122223333:processing-job/j"
SIZE = Size("ml.m5.large", 2.0, 8 * 2**30, 0)


def cores(*given: float) -> list[Capacity]:
    return [Capacity(each, 0, 0) for each in given]


@pytest.mark.parametrize(
    ("waiting", "running", "serving", "begin"),
    [
        ([2], [], [], [0]),
        ([2, 2, 2], [], [], [0, 1]),
        ([3, 1], [2], [], []),  # the first waits for a job, so the second does not pass it
        ([3, 1], [], [2], [1]),  # it waits for endpoints: nothing is lost when others pass
        ([5, 1], [], [], [1]),
        ([1, 4, 1], [], [1], [0, 2]),
        ([], [4], [4], []),
    ],
)
def test_who_came_first_begins_first(
    waiting: list[float], running: list[float], serving: list[float], begin: list[int]
):
    found = admission.admitted(cores(*waiting), cores(*running), cores(*serving), Capacity(4, 0, 0))
    assert found == begin


@given(st.lists(st.integers(1, 6)), st.lists(st.integers(1, 3), max_size=2), st.integers(0, 4))
def test_nobody_gets_what_is_not_there(waiting: list[int], running: list[int], serving: int):
    capacity = Capacity(8, 0, 0)
    begin = admission.admitted(cores(*waiting), cores(*running), cores(serving), capacity)
    assert begin == sorted(set(begin))
    taken = sum(waiting[place] for place in begin) + sum(running) + serving
    assert not begin or taken <= 8


@pytest.mark.parametrize(
    ("image", "engine", "runs"),
    [
        ("1.dkr.ecr.us-east-1.amazonaws.com/sagemaker-model-monitor-analyzer", False, "kedge.monitoring.analyzer"),
        ("registry.local:5000/sagemaker-clarify-processing:1.0", False, "kedge.monitoring.clarify"),
        ("sagemaker-model-monitor-groundtruth-merger@sha256:" + 64 * "0", True, "kedge.monitoring.merger"),
        ("683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3", True, "python"),
        ("mirror/sagemaker-xgboost:1.7-1", False, "python"),
        ("kedge/script", False, "python"),
        ("nobody/knows:1", True, "container"),
        ("nobody/knows:1", False, ""),
        ("kedge/no-such", True, ""),
    ],
)  # fmt: skip
def test_what_an_image_stands_for(image: str, engine: bool, runs: str):
    assert images.choose(image, has_engine=engine) == runs


def processing(**more: Any) -> dict[str, Any]:
    return {
        "ProcessingJobName": "j",
        "ProcessingResources": {"ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large"}},
        "AppSpecification": {"ImageUri": "i", "ContainerEntrypoint": ["python3"], "ContainerArguments": ["a"]},
        "RoleArn": "arn:aws:iam::111122223333:role/r",
        **more,
    }


def test_the_plan_of_a_processing_job():
    request = processing(
        ProcessingInputs=[
            {"InputName": "i", "S3Input": {"S3Uri": "s3://b/k", "LocalPath": "/opt/ml/processing/in/",
                                           "S3DataType": "S3Prefix"}},
            {"InputName": "own", "AppManaged": True, "S3Input": {"S3Uri": "s3://b/k", "S3DataType": "S3Prefix"}},
        ],
        ProcessingOutputConfig={
            "KmsKeyId": "key",
            "Outputs": [{"OutputName": "o", "S3Output": {"S3Uri": "s3://b/o", "LocalPath": "/opt/ml/processing/o",
                                                         "S3UploadMode": "Continuous"}}],
        },
        StoppingCondition={"MaxRuntimeInSeconds": 60},
        NetworkConfig={"EnableNetworkIsolation": True},
    )  # fmt: skip
    plan = processing_plan.plan_of(processing_plan.checked(request, "python"), "python", ARN, "us-east-1")
    assert plan.inputs == (program_plan.Input("s3://b/k", "processing/in"),)
    assert plan.outputs == (program_plan.Output("s3://b/o", "processing/o", continuous=True),)
    assert (plan.entrypoint, plan.arguments, plan.kms_key, plan.most_s) == (("python3",), ("a",), "key", 60)
    assert plan.isolated
    assert plan.model_uri == ""
    assert json.loads(plan.files["config/processingjobconfig.json"])["ProcessingJobArn"] == ARN


@pytest.mark.parametrize("path", ["/opt/ml/processing/../input", "/opt/ml/processingx", "/tmp", "", "processing/x"])
def test_what_lies_elsewhere_is_refused(path: str):
    given = {"S3Uri": "s3://b/k", "LocalPath": path, "S3DataType": "S3Prefix"}
    with pytest.raises(ValidationFailed, match="has to begin with /opt/ml/processing/"):
        processing_plan.checked(processing(ProcessingInputs=[{"InputName": "i", "S3Input": given}]), "python")


def training(**more: Any) -> dict[str, Any]:
    return {
        "TrainingJobName": "j",
        "AlgorithmSpecification": {"TrainingImage": "i", "TrainingInputMode": "File"},
        "RoleArn": "arn:aws:iam::111122223333:role/r",
        "OutputDataConfig": {"S3OutputPath": "s3://b/models/"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
        **more,
    }


def test_a_container_is_asked_to_train():
    plan = training_plan.plan_of(training_plan.checked(training(), "container"), "container", SIZE, ARN, "us-east-1")
    assert (plan.entrypoint, plan.arguments) == ((), ("train",))
    assert plan.model_uri == "s3://b/models/j/output/model.tar.gz"
    assert "SM_HPS" not in plan.environment


def test_script_mode_as_the_sdk_writes_it():
    given = {
        "sagemaker_program": '"train.py"', "sagemaker_submit_directory": '"s3://b/source.tar.gz"',
        "sagemaker_region": '"x"',
        "n": "3", "rate": '"0.1"', "layers": "[1, 2]", "note": "not json",
    }  # fmt: skip
    request = training_plan.checked(training(HyperParameters=given), "python")
    plan = training_plan.plan_of(request, "python", SIZE, ARN, "us-east-1")
    assert plan.entrypoint == ("python3", "train.py")
    assert plan.arguments == ("--layers", "[1, 2]", "-n", "3", "--note", "not json", "--rate", "0.1")
    assert (plan.source, plan.work_dir) == ("s3://b/source.tar.gz", "/opt/ml/code")
    assert json.loads(plan.environment["SM_HPS"]) == {"n": 3, "rate": "0.1", "layers": [1, 2], "note": "not json"}
    assert plan.environment["SM_HP_NOTE"] == "not json"
    assert plan.environment["SM_USER_ENTRY_POINT"] == "train.py"
    assert script_mode.program({}, {"SAGEMAKER_PROGRAM": "a.py"}) == ("a.py", "")


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"DebugRuleConfigurations": [{}]}, "DebugRuleConfigurations"),
        ({"HyperParameters": {"sagemaker_program": "../x.py"}}, "has to be a path in the archive"),
        ({"ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 2}}, "InstanceCount is 2"),
        ({"OutputDataConfig": {"S3OutputPath": "s3:///x"}}, "S3OutputPath"),
    ],
)
def test_a_training_job_that_cannot_be(more: dict[str, Any], says: str):
    with pytest.raises(ValidationFailed, match=says):
        training_plan.checked(training(**{"HyperParameters": {"sagemaker_program": "x.py"}, **more}), "python")


def test_values_are_found_in_the_order_of_lines():
    definitions = [
        {"Name": "loss", "Regex": "loss=([^;]+)"},
        {"Name": "bad", "Regex": "("},
        {"Name": "no", "Regex": "l"},
    ]
    assert values(["loss=nan", "loss=1; loss=0.5;", "loss=none", "loss=-inf"], definitions) == [
        (1, "loss", 1.0),
        (1, "loss", 0.5),
    ]


def test_a_record_comes_back_from_its_document():
    job = ProgramJob("J", "u", {"a": 1}, "python", SIZE, 1.5, outcome=Outcome(3, "why", timed_out=False))
    job = job.at(Stage.WAITING, 1.0).at(Stage.WAITING, 2.0).at(Stage.STARTING, 3.0)
    again = ProgramJob.of({**json.loads(json.dumps(job.document())), "of_a_later_release": 1})
    assert again.document() == json.loads(json.dumps(job.document()))
    assert [each["stage"] for each in again.stages] == ["Pending", "Starting"]
    assert (again.stream, again.folder) == ("J/algo-1-1", "u-1")
    assert PROCESSING == "processing-job"


def test_the_spec_of_what_serves_keeps_its_hash():
    spec = TaskSpec("i", "sklearn", "", "")
    assert (
        TaskSpec.of(
            json.loads(json.dumps({"id": "i", "runtime": "sklearn", "artifact_uri": "", "artifact_sha256": ""}))
        )
        == spec
    )
    job = TaskSpec("i", "", "", "", job=Job("f", entrypoint=("a",)))
    assert TaskSpec.of(json.loads(json.dumps({**vars(spec), "runtime": "", "job": vars(job.job)}))) == job
    assert job.digest() != TaskSpec("i", "", "", "").digest()


def test_a_folder_of_foreign_code_is_read_without_its_links(tmp_path: Path):
    (tmp_path / "secret").write_text("key")
    root = tmp_path / "ml"
    (root / "out" / "deep").mkdir(parents=True)
    (root / "out" / "deep" / "a").write_text("a")
    (root / "out" / "link").symlink_to(tmp_path / "secret")
    (root / "out" / "folder").symlink_to(tmp_path)
    (root / "elsewhere").symlink_to(tmp_path)
    assert [each.name for each in tree.files(root, "out")] == ["deep/a"]
    assert tree.files(root, "elsewhere") == tree.files(root, "no-such") == []
    assert tree.text(root, "out/deep/a", 10) == "a"
    for name in ("out/link", "elsewhere/secret", "out/folder/secret", "out/deep", "none"):
        assert tree.text(root, name, 10) == ""
    tree.pack(root, "out", tmp_path / "packed")
    with tarfile.open(tmp_path / "packed") as archive:
        assert archive.getnames() == ["deep/a"]
