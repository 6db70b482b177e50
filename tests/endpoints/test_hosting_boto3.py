"""Hosting from end to end: an unmodified boto3 against a running server, with real models in real processes."""

from __future__ import annotations

import io
import tarfile
import threading
import time
from typing import Any

import joblib
import pytest
import sklearn
from botocore.exceptions import ClientError, WaiterError
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3"
ROWS, WANTED = load_iris(return_X_y=True)


class Hosting:
    """The clients, and the few steps that every test takes."""

    def __init__(self, kedge: Any) -> None:
        self.kedge = kedge
        self.sagemaker = kedge.client("sagemaker")
        self.runtime = kedge.client("sagemaker-runtime")
        self.s3 = kedge.client("s3")

    def put(self, key: str, files: dict[str, bytes]) -> str:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            for name, data in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
        self.s3.put_object(Bucket=self.kedge.bucket, Key=key, Body=buffer.getvalue())
        return f"s3://{self.kedge.bucket}/{key}"

    def model(self, name: str, estimator: Any = None, *, uri: str = "", image: str = IMAGE) -> str:
        fitted = (estimator or LogisticRegression(max_iter=1000)).fit(ROWS, WANTED)
        dumped = io.BytesIO()
        joblib.dump(fitted, dumped)
        url = uri or self.put(f"{name}.tar.gz", {"model.joblib": dumped.getvalue()})
        container = {"Image": image, "ModelDataUrl": url}
        arn: str = self.sagemaker.create_model(
            ModelName=name, PrimaryContainer=container, ExecutionRoleArn=self.kedge.role_arn
        )["ModelArn"]
        return arn

    def script(self, name: str, code: str, **environment: str) -> None:
        container = {
            "Image": "kedge/script:1",
            "ModelDataUrl": self.put(f"{name}.tar.gz", {"code/inference.py": code.encode()}),
            "Environment": environment,
        }
        self.sagemaker.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=self.kedge.role_arn)

    def config(self, name: str, **models: tuple[str, float, int]) -> None:
        """models: variant -> (model, weight, instances)."""
        self.sagemaker.create_endpoint_config(
            EndpointConfigName=name,
            ProductionVariants=[
                {
                    "VariantName": variant,
                    "ModelName": model,
                    "InitialVariantWeight": weight,
                    "InitialInstanceCount": count,
                    "InstanceType": "ml.t2.medium",
                }
                for variant, (model, weight, count) in models.items()
            ],
        )

    def wait(self, state: str, name: str) -> None:
        self.sagemaker.get_waiter(f"endpoint_{state}").wait(EndpointName=name)

    def status(self, name: str) -> str:
        found: str = self.sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"]
        return found

    def invoke(self, name: str, row: int = 0, **more: Any) -> tuple[str, str]:
        """(variant, answer)"""
        body = ",".join(str(value) for value in ROWS[row])
        answer = self.runtime.invoke_endpoint(
            EndpointName=name, ContentType="text/csv", Accept="text/csv", Body=body, **more
        )
        return answer["InvokedProductionVariant"], answer["Body"].read().decode().strip()


@pytest.fixture
def hosting(kedge: Any) -> Hosting:
    return Hosting(kedge)


def test_describe_warns_of_a_version_that_the_image_does_not_name(hosting: Hosting):
    fitted = io.BytesIO()
    joblib.dump(LogisticRegression(max_iter=1000).fit(ROWS, WANTED), fitted)
    hosting.model("old", uri=hosting.put("old.tar.gz", {"model.joblib": fitted.getvalue()}))
    hosting.model("own", image="kedge/sklearn")
    hosting.config("warned", old=("old", 1.0, 1), own=("own", 1.0, 1))
    hosting.sagemaker.create_endpoint(EndpointName="warned", EndpointConfigName="warned")
    hosting.wait("in_service", "warned")
    old, own = hosting.sagemaker.describe_endpoint(EndpointName="warned")["ProductionVariants"]
    (said,) = old["VariantStatus"]
    assert said["StatusMessage"].startswith("Warning: ")
    assert "scikit-learn 1.2" in said["StatusMessage"]
    assert sklearn.__version__ in said["StatusMessage"]
    assert "VariantStatus" not in own
    hosting.sagemaker.delete_endpoint(EndpointName="warned")
    hosting.wait("deleted", "warned")


def test_two_variants_serve_are_weighted_scaled_and_deleted(hosting: Hosting):
    hosting.model("line")
    hosting.model("tree", DecisionTreeClassifier())
    hosting.config("config", a=("line", 3.0, 1), b=("tree", 1.0, 1))
    started = time.monotonic()
    hosting.sagemaker.create_endpoint(EndpointName="iris", EndpointConfigName="config")
    hosting.wait("in_service", "iris")
    assert time.monotonic() - started < 25, "the waiter was not held, so it slept for 30 s"

    answers = [hosting.invoke("iris", row) for row in range(80)]
    assert sum(variant == "a" for variant, _ in answers) == 60
    assert float(hosting.invoke("iris", 140, TargetVariant="b")[1]) == WANTED[140]

    def reweigh(**weights: float) -> None:
        hosting.sagemaker.update_endpoint_weights_and_capacities(
            EndpointName="iris",
            DesiredWeightsAndCapacities=[
                {"VariantName": name, "DesiredWeight": weight} for name, weight in weights.items()
            ],
        )
        hosting.wait("in_service", "iris")

    reweigh(a=0.0, b=1.0)
    assert {hosting.invoke("iris")[0] for _ in range(20)} == {"b"}
    hosting.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName="iris", DesiredWeightsAndCapacities=[{"VariantName": "b", "DesiredInstanceCount": 2}]
    )
    hosting.wait("in_service", "iris")
    shown = hosting.sagemaker.describe_endpoint(EndpointName="iris")["ProductionVariants"]
    assert [(v["CurrentInstanceCount"], v["CurrentWeight"]) for v in shown] == [(1, 0.0), (2, 1.0)]

    hosting.sagemaker.delete_endpoint(EndpointName="iris")
    hosting.wait("deleted", "iris")
    with pytest.raises(ClientError, match="Could not find endpoint"):
        hosting.status("iris")
    with pytest.raises(ClientError, match="not found"):
        hosting.invoke("iris")


def test_an_update_never_interrupts(hosting: Hosting):
    hosting.model("line")
    hosting.model("tree", DecisionTreeClassifier())
    hosting.config("old", v=("line", 1.0, 1))
    hosting.config("new", w=("tree", 1.0, 1))
    hosting.sagemaker.create_endpoint(EndpointName="iris", EndpointConfigName="old")
    hosting.wait("in_service", "iris")
    stop, seen, failed = threading.Event(), [], []

    def invoke() -> None:
        while not stop.is_set():
            try:
                seen.append(hosting.invoke("iris")[0])
            except ClientError as error:
                failed.append(error)

    client = threading.Thread(target=invoke)
    client.start()
    try:
        hosting.sagemaker.update_endpoint(EndpointName="iris", EndpointConfigName="new")
        with pytest.raises(ClientError, match="Cannot update in-progress endpoint"):
            hosting.sagemaker.update_endpoint(EndpointName="iris", EndpointConfigName="old")
        hosting.wait("in_service", "iris")
        before = len(seen)
        deadline = time.monotonic() + 10
        while len(seen) < before + 20 and not failed and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        stop.set()
        client.join()
    assert not failed
    assert "".join(sorted(set(seen))) == "vw"
    assert seen == sorted(seen), "an answer of the old fleet after one of the new"
    assert hosting.sagemaker.describe_endpoint(EndpointName="iris")["EndpointConfigName"] == "new"


def test_an_update_that_fails_leaves_the_old_fleet_in_service(hosting: Hosting):
    hosting.model("line")
    hosting.model("broken", uri=hosting.put("broken.tar.gz", {"model.joblib": b"this is no model"}))
    hosting.config("old", v=("line", 1.0, 1))
    hosting.config("new", v=("broken", 1.0, 1))
    hosting.sagemaker.create_endpoint(EndpointName="iris", EndpointConfigName="old")
    hosting.wait("in_service", "iris")
    hosting.sagemaker.update_endpoint(EndpointName="iris", EndpointConfigName="new")
    hosting.wait("in_service", "iris")
    shown = hosting.sagemaker.describe_endpoint(EndpointName="iris")
    assert shown["EndpointConfigName"] == "old"
    assert shown["FailureReason"].startswith("The primary container for production variant v did not pass")
    assert float(hosting.invoke("iris", 140)[1]) == WANTED[140]


@pytest.mark.parametrize(
    ("image", "uri", "says"),
    [
        ("acme/own:1", "", "kedge/sklearn"),
        (IMAGE, "s3://no-such-bucket/m.tar.gz", "Could not find model data at s3://no-such-bucket/m.tar.gz."),
    ],
)
def test_what_cannot_be_served_fails_at_once(hosting: Hosting, image: str, uri: str, says: str):
    hosting.model("m", image=image, uri=uri)
    hosting.config("c", v=("m", 1.0, 1))
    hosting.sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c")
    started = time.monotonic()
    with pytest.raises(WaiterError):
        hosting.wait("in_service", "e")
    assert time.monotonic() - started < 10
    assert says in hosting.sagemaker.describe_endpoint(EndpointName="e")["FailureReason"]


@pytest.mark.parametrize(
    ("fault", "codes"),
    [("time.sleep(1000)", {"ModelError"}), ("os.closerange(3, 1024)", {"ModelError", "ServiceUnavailable"})],
)
def test_an_instance_that_answers_nobody_is_replaced(hosting: Hosting, fault: str, codes: set[str]):
    code = f"""
import os, time
def model_fn(model_dir):
    return None
def transform_fn(model, data, content_type, accept):
    if data == b"x":
        {fault}
    return data, content_type
"""
    hosting.script("faulty", code, SAGEMAKER_MODEL_SERVER_TIMEOUT="2")
    hosting.config("c", v=("faulty", 1.0, 1))
    hosting.sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c")
    hosting.wait("in_service", "e")

    def invoke(body: bytes) -> bytes:
        answer: bytes = hosting.runtime.invoke_endpoint(EndpointName="e", ContentType="a/b", Body=body)["Body"].read()
        return answer

    assert invoke(b"before") == b"before"
    with pytest.raises(ClientError) as caught:
        invoke(b"x")
    assert caught.value.response["Error"]["Code"] in codes
    assert caught.value.response.get("OriginalStatusCode", 0) == 0
    deadline = time.monotonic() + 10
    while True:
        try:
            assert invoke(b"after") == b"after"
            break
        except ClientError:
            assert time.monotonic() < deadline, "the instance was not replaced"
    assert all(invoke(b"%d" % n) == b"%d" % n for n in range(20))


def test_errors_are_those_that_boto3_can_catch(hosting: Hosting):
    hosting.model("m")
    sagemaker = hosting.sagemaker
    sagemaker.create_endpoint_config(
        EndpointConfigName="huge",
        ProductionVariants=[
            {"VariantName": "v", "ModelName": "m", "InitialInstanceCount": 10_000, "InstanceType": "ml.m5.24xlarge"}
        ],
    )
    with pytest.raises(sagemaker.exceptions.ResourceLimitExceeded, match=r"ml\.m5\.24xlarge for endpoint usage"):
        sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="huge")
    with pytest.raises(ClientError) as caught:
        sagemaker.describe_endpoint(EndpointName="absent")
    assert caught.value.response["Error"]["Code"] == "ValidationException"


def test_lists_page_and_tags_stay(hosting: Hosting):
    sagemaker = hosting.sagemaker
    for at in range(12):
        arn = sagemaker.create_model(
            ModelName=f"Model-{at:02}",
            PrimaryContainer={"Image": "acme/own:1"},
            ExecutionRoleArn=hosting.kedge.role_arn,
            Tags=[{"Key": "number", "Value": str(at)}],
        )["ModelArn"]
    pages = sagemaker.get_paginator("list_models").paginate(SortBy="Name", SortOrder="Ascending")
    names = [model["ModelName"] for page in pages for model in page["Models"]]
    assert names == [f"Model-{at:02}" for at in range(12)]
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "number", "Value": "11"}]
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "team", "Value": "a"}])
    sagemaker.delete_tags(ResourceArn=arn, TagKeys=["number"])
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "team", "Value": "a"}]
    sagemaker.delete_model(ModelName="Model-11")
    with pytest.raises(ClientError, match="Could not find model"):
        sagemaker.list_tags(ResourceArn=arn)
