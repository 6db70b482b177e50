"""Models of several containers, multi-model endpoints and model data of every form: boto3 against a running server."""

from __future__ import annotations

import io
import json
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

ADDING = """
import json, os
def model_fn(model_dir):
    return json.load(open(os.path.join(model_dir, "start.json")))
def transform_fn(model, body, content_type, accept, context):
    return json.dumps(json.loads(body) + model), "application/json"
"""
SAYING = """
import json, os, sys
def model_fn(model_dir):
    return model_dir
def transform_fn(model, body, content_type, accept, context):
    found = {
        "body": body if isinstance(body, str) else body.decode("latin-1"),
        "type": content_type,
        "accept": accept,
        "attributes": context.custom_attributes,
        "pid": os.getpid(),
        "cwd": os.getcwd(),
        "files": sorted(os.path.relpath(os.path.join(at, f), model) for at, _, fs in os.walk(model) for f in fs),
        "environment": dict(os.environ),
    }
    return json.dumps(found), "application/json"
"""


class Hosting:
    """The clients, and the few steps that every test takes."""

    def __init__(self, kedge: Any) -> None:
        self.kedge = kedge
        self.sagemaker = kedge.client("sagemaker")
        self.runtime = kedge.client("sagemaker-runtime", config=Config(retries={"total_max_attempts": 1}))
        self.s3 = kedge.client("s3")

    def put(self, key: str, files: dict[str, str | bytes]) -> str:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            for name, data in files.items():
                content = data.encode() if isinstance(data, str) else data
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        return self.put_bytes(key, buffer.getvalue())

    def put_bytes(self, key: str, data: bytes) -> str:
        self.s3.put_object(Bucket=self.kedge.bucket, Key=key, Body=data)
        return f"s3://{self.kedge.bucket}/{key}"

    def adding(self, key: str, start: int) -> str:
        return self.put(key, {"code/inference.py": ADDING, "start.json": str(start)})

    def container(self, uri: str = "", image: str = "kedge/script", **more: Any) -> dict[str, Any]:
        return {"Image": image, **({"ModelDataUrl": uri} if uri else {}), **more}

    def deploy(self, name: str, *containers: dict[str, Any], count: int = 1, direct: bool = False) -> dict[str, Any]:
        """Returns what DescribeEndpoint says in the end."""
        several = len(containers) > 1 or direct
        model = {"Containers": list(containers)} if several else {"PrimaryContainer": containers[0]}
        if direct:
            model["InferenceExecutionConfig"] = {"Mode": "Direct"}
        self.sagemaker.create_model(ModelName=name, ExecutionRoleArn=self.kedge.role_arn, **model)
        variant = {"VariantName": "v", "ModelName": name, "InitialInstanceCount": count, "InstanceType": "ml.t2.medium"}
        self.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
        self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
        while True:
            found: dict[str, Any] = self.sagemaker.describe_endpoint(EndpointName=name)
            if found["EndpointStatus"] != "Creating":
                return found
            threading.Event().wait(0.05)

    def serve(self, name: str, *containers: dict[str, Any], **more: Any) -> None:
        found = self.deploy(name, *containers, **more)
        assert found["EndpointStatus"] == "InService", found.get("FailureReason")

    def ask(self, name: str, body: Any, **more: Any) -> Any:
        more = {"ContentType": "application/json", **more}
        answer = self.runtime.invoke_endpoint(EndpointName=name, Body=json.dumps(body), **more)
        return json.loads(answer["Body"].read())

    def refused(self, name: str, body: Any = 1, **more: Any) -> ClientError:
        with pytest.raises(ClientError) as refusal:
            self.ask(name, body, **more)
        return refusal.value


@pytest.fixture
def hosting(kedge: Any) -> Hosting:
    return Hosting(kedge)


def code_of(error: ClientError) -> str:
    return str(error.response["Error"]["Code"])


def message_of(error: ClientError) -> str:
    return str(error.response["Error"]["Message"])


def test_a_pipeline_passes_each_answer_on(hosting: Hosting):
    said = hosting.put("say.tar.gz", {"code/inference.py": SAYING})
    hosting.serve(
        "chain",
        hosting.container(hosting.adding("one.tar.gz", 1), Environment={"ONLY_FIRST": "1"}),
        hosting.container(hosting.adding("ten.tar.gz", 10)),
        hosting.container(said, Environment={"WHO": "third", "SAGEMAKER_PROGRAM": "inference.py"}),
    )
    found = hosting.ask("chain", 5, Accept="text/special", CustomAttributes="trace=7")
    assert found["body"] == "16"
    assert (found["type"], found["accept"], found["attributes"]) == ("application/json", "text/special", "trace=7")
    assert found["environment"]["WHO"] == "third"
    assert "ONLY_FIRST" not in found["environment"]
    assert found["cwd"].endswith("/container-3")
    images = hosting.sagemaker.describe_endpoint(EndpointName="chain")["ProductionVariants"][0]["DeployedImages"]
    assert len(images) == 3
    # Bytes that are no text go through as they are, and large ones too.
    error = hosting.refused("chain", "text")
    assert code_of(error) == "ModelError"
    assert 'from container-1 with message "TypeError' in message_of(error)
    assert error.response["OriginalStatusCode"] == 500
    for extra in ({"TargetModel": "m.tar.gz"}, {"TargetContainerHostname": "container-1"}):
        assert code_of(hosting.refused("chain", **extra)) == "ValidationError"
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda n: hosting.ask("chain", n)["body"], range(64)))
    assert answers == [str(n + 11) for n in range(64)]


def test_direct_invocation_names_its_container(hosting: Hosting):
    hosting.serve(
        "direct",
        hosting.container(hosting.adding("one.tar.gz", 1), ContainerHostname="first"),
        hosting.container(hosting.adding("ten.tar.gz", 10), ContainerHostname="second"),
        direct=True,
    )
    assert hosting.ask("direct", 5, TargetContainerHostname="first") == 6
    assert hosting.ask("direct", 5, TargetContainerHostname="second") == 15
    error = hosting.refused("direct", "x", TargetContainerHostname="second")
    assert "from second with message" in message_of(error)
    missing, unknown = hosting.refused("direct"), hosting.refused("direct", TargetContainerHostname="third")
    assert (code_of(missing), code_of(unknown)) == ("ValidationError", "ValidationError")
    assert "missing a target container hostname" in message_of(missing)
    assert "Container third does not exist" in message_of(unknown)


def test_many_models_behind_one_endpoint(hosting: Hosting):
    for number in range(3):
        hosting.adding(f"mme/m{number}.tar.gz", number * 100)
    hosting.adding("mme/deep/er.tar.gz", 7)
    prefix = f"s3://{hosting.kedge.bucket}/mme/"
    hosting.serve("many", hosting.container(prefix, Mode="MultiModel"))
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda n: hosting.ask("many", n, TargetModel=f"m{n % 3}.tar.gz"), range(24)))
    assert answers == [n + n % 3 * 100 for n in range(24)]
    assert hosting.ask("many", 1, TargetModel="deep/er.tar.gz") == 8

    absent = hosting.refused("many", TargetModel="absent.tar.gz")
    assert code_of(absent) == "ValidationError"
    assert "key: mme/absent.tar.gz" in message_of(absent)
    assert "missing a target model header" in message_of(hosting.refused("many"))
    # What is put there later is found, also after it was missing.
    hosting.adding("mme/absent.tar.gz", 1000)
    assert hosting.ask("many", 1, TargetModel="absent.tar.gz") == 1001
    # One that is loaded stays what it was, and outlives its archive.
    hosting.adding("mme/m1.tar.gz", 5)
    assert hosting.ask("many", 1, TargetModel="m1.tar.gz") == 101
    hosting.s3.delete_object(Bucket=hosting.kedge.bucket, Key="mme/m1.tar.gz")
    assert hosting.ask("many", 1, TargetModel="m1.tar.gz") == 101
    # A model that cannot be loaded fails its own requests only.
    hosting.put("mme/bad.tar.gz", {"code/inference.py": "raise ValueError('no such luck')"})
    hosting.put_bytes("mme/worse.tar.gz", b"not an archive")
    bad, worse = (hosting.refused("many", TargetModel=f"{name}.tar.gz") for name in ("bad", "worse"))
    assert (code_of(bad), code_of(worse)) == ("ModelError", "ModelError")
    assert "no such luck" in message_of(bad)
    assert "not a gzip archive" in message_of(worse)
    assert hosting.ask("many", 1, TargetModel="m2.tar.gz") == 201


def test_code_from_elsewhere_and_other_model_data(hosting: Hosting):
    bucket = hosting.kedge.bucket
    code = hosting.put("sources/sourcedir.tar.gz", {"inference.py": SAYING, "helper.py": ""})
    model = hosting.put("model.tar.gz", {"weights": "w", "code/inference.py": "raise 1", "code/old.py": ""})
    hosting.serve(
        "sdk",
        hosting.container(
            model,
            "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3",
            Environment={"SAGEMAKER_SUBMIT_DIRECTORY": code, "SAGEMAKER_PROGRAM": "inference.py", "MINE": "x y"},
        ),
    )
    found = hosting.ask("sdk", 1)
    assert found["files"] == ["code/helper.py", "code/inference.py", "weights"]
    assert found["environment"]["MINE"] == "x y"
    assert found["environment"]["SAGEMAKER_SUBMIT_DIRECTORY"] == code

    for name in ("a.bin", "sub/b.bin", "code/inference.py", "sub/"):
        data = SAYING.encode() if name.endswith(".py") else b"" if name.endswith("/") else name.encode()
        hosting.put_bytes(f"plain/{name}", data)
    extra = {"S3Uri": hosting.put_bytes("extra/lora.bin", b"l"), "S3DataType": "S3Object", "CompressionType": "None"}
    source = {"S3Uri": f"s3://{bucket}/plain/", "S3DataType": "S3Prefix", "CompressionType": "None"}
    hosting.serve(
        "prefix",
        {
            "Image": "kedge/script",
            "ModelDataSource": {"S3DataSource": {**source, "ModelAccessConfig": {"AcceptEula": True}}},
            "AdditionalModelDataSources": [{"ChannelName": "adapter", "S3DataSource": extra}],
        },
    )
    assert hosting.ask("prefix", 1)["files"] == ["a.bin", "adapter/lora.bin", "code/inference.py", "sub/b.bin"]
