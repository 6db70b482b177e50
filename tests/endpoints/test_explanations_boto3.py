"""Online explanations: an unmodified boto3 against a running server, with an explainer beside each instance's model."""

from __future__ import annotations

import io
import json
import tarfile
import threading
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.async_inference.conftest import until

SCRIPT = """
import json, os, time
def model_fn(model_dir):
    return None
def transform_fn(model, data, content_type, accept):
    data = data.decode() if isinstance(data, (bytes, bytearray)) else data
    time.sleep(float(os.environ.get("NAP_S", "0")))
    if "boom" in data:
        raise ValueError("this row is bad")
    if content_type == "text/csv":
        rows = [[float(each) for each in line.split(",")] for line in data.splitlines()]
        return "\\n".join(f"{int(score(row) > 0.5)},{score(row)}" for row in rows), "text/csv"
    rows = [json.loads(line)["features"] for line in data.splitlines()]
    lines = [json.dumps({"label": "yes", "scores": [1 - score(row), score(row)]}) for row in rows]
    return "\\n".join(lines), "application/jsonlines"
def score(row):
    return 0.1 * row[0] + 0.2 * row[1] - 0.3 * row[2]
"""


class Explained:
    def __init__(self, kedge: Any) -> None:
        self.kedge = kedge
        self.sagemaker, self.runtime = kedge.client("sagemaker"), kedge.client("sagemaker-runtime")

    def model(self, name: str, **environment: str) -> None:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            member = tarfile.TarInfo("code/inference.py")
            member.size = len(SCRIPT.encode())
            archive.addfile(member, io.BytesIO(SCRIPT.encode()))
        self.kedge.client("s3").put_object(
            Bucket=self.kedge.bucket, Key=f"models/{name}.tar.gz", Body=buffer.getvalue()
        )
        container = {"Image": "kedge/script:1", "ModelDataUrl": f"s3://{self.kedge.bucket}/models/{name}.tar.gz"}
        self.sagemaker.create_model(
            ModelName=name,
            PrimaryContainer={**container, "Environment": environment},
            ExecutionRoleArn=self.kedge.role_arn,
        )

    def config(self, name: str, clarify: dict[str, Any], model: str = "linear", **more: Any) -> None:
        variant = {"VariantName": "AllTraffic", "ModelName": model, "InstanceType": "ml.t2.medium"}
        self.sagemaker.create_endpoint_config(
            EndpointConfigName=name,
            ProductionVariants=[{**variant, "InitialInstanceCount": 1}],
            ExplainerConfig={"ClarifyExplainerConfig": clarify},
            **more,
        )

    def endpoint(self, name: str, clarify: dict[str, Any], model: str = "linear") -> dict[str, Any]:
        self.config(name, clarify, model)
        self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)

        def look() -> dict[str, Any] | None:
            found: dict[str, Any] = self.sagemaker.describe_endpoint(EndpointName=name)
            return found if found["EndpointStatus"] != "Creating" else None

        found: dict[str, Any] = until(look, f"the start of {name}", 60)
        return found

    def ask(self, name: str, body: str, kind: str = "text/csv", **more: Any) -> dict[str, Any]:
        answer = self.runtime.invoke_endpoint(EndpointName=name, Body=body, ContentType=kind, Accept=kind, **more)
        assert answer["ContentType"] == "application/json"
        found: dict[str, Any] = json.loads(answer["Body"].read())
        return found


def values(record: list[dict[str, Any]]) -> list[list[float]]:
    return [each["attributions"][0]["attribution"] for each in record]


CSV = {
    "EnableExplanations": "[0] > `0`",
    "InferenceConfig": {"ProbabilityIndex": 1, "FeatureHeaders": ["a", "b", "c"], "MaxRecordCount": 2},
    "ShapConfig": {"ShapBaselineConfig": {"ShapBaseline": "0,0,0"}, "Seed": 1},
}


@pytest.fixture(scope="module")
def explained(kedge_server: Any) -> Explained:
    kedge_server.reset()
    made = Explained(kedge_server)
    made.model("linear")
    made.model("slow", NAP_S="0.15")
    found = made.endpoint("tabular", CSV)
    assert found["EndpointStatus"] == "InService", found
    assert found["ExplainerConfig"]["ClarifyExplainerConfig"] == CSV
    return made


def test_records_are_explained_where_the_expression_says_so(explained: Explained):
    found = explained.ask("tabular", "1,1,0\n3,2,0\n4,2,1\n")
    assert (found["version"], found["predictions"]["content_type"]) == ("1.0", "text/csv")
    assert found["predictions"]["data"].splitlines()[1].startswith("1,0.7")
    first, second, third = found["explanations"]["kernel_shap"]
    assert (first, third) == (None, None)
    assert [each["feature_header"] for each in second] == ["a", "b", "c"]
    assert values(second) == [pytest.approx([0.3]), pytest.approx([0.4]), pytest.approx([0], abs=1e-9)]
    assert "label_headers" not in found
    assert explained.ask("tabular", "1,1,0")["explanations"] == {}


def test_a_request_says_otherwise(explained: Explained):
    found = explained.ask("tabular", "1,1,0", EnableExplanations="`true`")
    assert values(found["explanations"]["kernel_shap"][0])[:2] == [pytest.approx([0.1]), pytest.approx([0.2])]
    assert explained.ask("tabular", "3,2,0", EnableExplanations="`false`")["explanations"] == {}


@pytest.mark.parametrize(
    ("body", "kind", "more", "says"),
    [
        ("1,1,0", "text/csv", {"EnableExplanations": "[0"}, "no JMESPath expression"),
        ("1,1,0", "text/csv", {"EnableExplanations": "[1]"}, "has to give true or false"),
        ("1,1,0,5", "text/csv", {"EnableExplanations": "`true`"}, "4 features and the baseline 3"),
        ("1,1,0\n1,1", "text/csv", {}, "different numbers of features"),
        ("[1]", "application/json", {}, "takes text/csv and application/jsonlines"),
        ("boom,1,0", "text/csv", {}, "ValueError: this row is bad"),
        ("", "text/csv", {}, "no record"),
    ],
)
def test_what_cannot_be_explained_says_why(explained: Explained, body: str, kind: str, more: dict[str, str], says: str):
    with pytest.raises(ClientError) as caught:
        explained.ask("tabular", body, kind, **more)
    assert caught.value.response["Error"]["Code"] == "ModelError"
    assert says in caught.value.response["Error"]["Message"]


def test_json_lines_with_classes_and_a_baseline_on_s3(explained: Explained):
    body = b'{"features": [0, 0, 0]}\n{"features": [2, 0, 0]}\n'
    explained.kedge.client("s3").put_object(Bucket=explained.kedge.bucket, Key="baseline.jsonl", Body=body)
    found = explained.endpoint(
        "classes",
        {
            "InferenceConfig": {
                "FeaturesAttribute": "features", "ContentTemplate": '{"features":$features}',
                "ProbabilityAttribute": "scores", "LabelHeaders": ["no", "yes"],
            },
            "ShapConfig": {
                "ShapBaselineConfig": {
                    "MimeType": "application/jsonlines",
                    "ShapBaselineUri": f"s3://{explained.kedge.bucket}/baseline.jsonl",
                }
            },
        },
    )  # fmt: skip
    assert found["EndpointStatus"] == "InService", found
    asked = explained.ask("classes", '{"features": [3, 1, 0]}\n', "application/jsonlines")
    assert asked["label_headers"] == ["no", "yes"]
    (record,) = asked["explanations"]["kernel_shap"]
    assert "feature_header" not in record[0]
    assert values(record) == [pytest.approx([-0.2, 0.2]), pytest.approx([-0.2, 0.2]), pytest.approx([0, 0], abs=1e-9)]


def test_others_are_answered_while_one_is_explained(explained: Explained):
    clarify = {
        "EnableExplanations": "`false`",
        "InferenceConfig": {"ProbabilityIndex": 1, "MaxRecordCount": 1},
        "ShapConfig": {"ShapBaselineConfig": {"ShapBaseline": "0,0,0"}},
    }
    assert explained.endpoint("slow", clarify, "slow")["EndpointStatus"] == "InService"
    took: list[float] = []

    def explain() -> None:
        began = time.monotonic()
        explained.ask("slow", "1,1,0\n1,2,0\n1,3,0\n1,4,0", EnableExplanations="`true`")
        took.append(time.monotonic() - began)

    thread = threading.Thread(target=explain)
    thread.start()
    time.sleep(0.3)
    alone = 0
    while thread.is_alive():
        explained.ask("slow", "1,1,0")
        alone += thread.is_alive()
    thread.join()
    # 24 samples of 0.15 s each, four of them under way at a time, and others between them.
    assert alone >= 3, (alone, took)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"EnableExplanations": "[0"}, "EnableExplanations is '[0', which is no JMESPath expression"),
        ({"ShapConfig": {"ShapBaselineConfig": {}}}, "either ShapBaseline or ShapBaselineUri; none is given"),
        ({"ShapConfig": {"ShapBaselineConfig": {"ShapBaseline": "1"},
                         "TextConfig": {"Language": "en", "Granularity": "token"}}}, "TextConfig"),
        ({"ShapConfig": {"ShapBaselineConfig": {"ShapBaselineUri": "s3://nobody-has/this"}}}, "cannot be read"),
    ],
)  # fmt: skip
def test_an_endpoint_that_cannot_explain_fails_and_says_why(explained: Explained, change: dict[str, Any], says: str):
    name = f"bad-{abs(hash(says)) % 10**6}"
    found = explained.endpoint(name, {**CSV, **change})
    assert found["EndpointStatus"] == "Failed"
    assert says in found["FailureReason"], found["FailureReason"]


def test_an_endpoint_without_an_explainer_refuses_to_explain(explained: Explained):
    variant = {"VariantName": "AllTraffic", "ModelName": "linear", "InstanceType": "ml.t2.medium"}
    explained.sagemaker.create_endpoint_config(
        EndpointConfigName="plain", ProductionVariants=[{**variant, "InitialInstanceCount": 1}]
    )
    explained.sagemaker.create_endpoint(EndpointName="plain", EndpointConfigName="plain")
    explained.sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="plain", WaiterConfig={"Delay": 1})
    with pytest.raises(ClientError, match="it has no explainer"):
        explained.ask("plain", "1,1,0", EnableExplanations="`true`")


VARIANT = {"VariantName": "AllTraffic", "ModelName": "linear"}
SIZED = {**VARIANT, "InstanceType": "ml.t2.medium", "InitialInstanceCount": 1}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"AsyncInferenceConfig": {"OutputConfig": {"S3OutputPath": "s3://b/out"}}}, "an AsyncInferenceConfig"),
        ({"ShadowProductionVariants": [{**SIZED, "VariantName": "Shadow"}]}, "ShadowProductionVariants"),
        (
            {"ProductionVariants": [{**VARIANT, "ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 2}}]},
            "variant AllTraffic, which is serverless",
        ),
        (
            {
                "ProductionVariants": [{key: SIZED[key] for key in SIZED if key != "ModelName"}],
                "ExecutionRoleArn": "arn:aws:iam::000000000000:role/kedge-execution-role",
            },
            "variant AllTraffic, which has no model but inference components",
        ),
    ],
)
def test_only_answers_of_real_time_endpoints_are_explained(explained: Explained, given: dict[str, Any], says: str):
    """The config is refused, as one with any other members that do not go together; the same without it is taken."""
    request = {"EndpointConfigName": "not-explained", "ProductionVariants": [SIZED], **given}
    with pytest.raises(ClientError, match=f"ExplainerConfig is given with {says}") as caught:
        explained.sagemaker.create_endpoint_config(**request, ExplainerConfig={"ClarifyExplainerConfig": CSV})
    assert caught.value.response["Error"]["Code"] == "ValidationException"
    explained.sagemaker.create_endpoint_config(**request)
    explained.sagemaker.delete_endpoint_config(EndpointConfigName="not-explained")
