"""The bars of the wire: what a typical call costs besides its work, and what a start costs for all models.

    python benchmarks/wire.py

Prints one line a bar: what, the figure seen, the bar. Bytes are those that boto3 sends; no socket and no store is
involved. The figure of a call is the median of many.
"""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import boto3
from botocore.config import Config

from kedge.wire.constraints import check
from kedge.wire.gateway import CODECS
from kedge.wire.http import Request
from kedge.wire.models import Models

CALL_BAR_MS = 1.0
START_BAR_S = 1.0
ROUNDS = 2000

SERVICES = (
    *("sagemaker", "sagemaker-runtime", "s3", "sts", "iam", "kms", "sagemaker-metrics", "cloudwatch", "events", "logs"),
    *("application-autoscaling", "codepipeline", "codebuild", "codecommit", "cloudformation", "cloudtrail"),
)
"""Every service of which a part is or will be here."""

ROLE = "arn:aws:iam::123456789012:role/execution"
ARN = "arn:aws:sagemaker:us-east-1:123456789012:"
WHEN = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)

VARIANTS = [
    {
        "VariantName": name,
        "ModelName": f"churn-{name.lower()}",
        "InitialInstanceCount": 2,
        "InstanceType": "ml.m5.xlarge",
        "InitialVariantWeight": 0.5,
    }
    for name in ("Blue", "Green")
]

CALLS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "CreateModel": (
        {
            "ModelName": "churn-2026-01-02",
            "ExecutionRoleArn": ROLE,
            "PrimaryContainer": {
                "Image": "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3",
                "ModelDataUrl": "s3://sagemaker-us-east-1-123456789012/churn/model.tar.gz",
                "Environment": {
                    "SAGEMAKER_PROGRAM": "inference.py",
                    "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code",
                    "SAGEMAKER_CONTAINER_LOG_LEVEL": "20",
                    "SAGEMAKER_REGION": "us-east-1",
                },
            },
            "Tags": [{"Key": "team", "Value": "retention"}, {"Key": "stage", "Value": "production"}],
        },
        {"ModelArn": ARN + "model/churn-2026-01-02"},
    ),
    "CreateEndpointConfig": (
        {
            "EndpointConfigName": "churn-2026-01-02",
            "ProductionVariants": VARIANTS,
            "DataCaptureConfig": {
                "EnableCapture": True,
                "InitialSamplingPercentage": 20,
                "DestinationS3Uri": "s3://sagemaker-us-east-1-123456789012/capture",
                "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
                "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"]},
            },
            "Tags": [{"Key": "team", "Value": "retention"}],
        },
        {"EndpointConfigArn": ARN + "endpoint-config/churn-2026-01-02"},
    ),
    "DescribeEndpoint": (
        {"EndpointName": "churn"},
        {
            "EndpointName": "churn",
            "EndpointArn": ARN + "endpoint/churn",
            "EndpointConfigName": "churn-2026-01-02",
            "ProductionVariants": [
                {
                    "VariantName": variant["VariantName"],
                    "DeployedImages": [{"SpecifiedImage": "image", "ResolvedImage": "image", "ResolutionTime": WHEN}],
                    "CurrentWeight": 0.5,
                    "DesiredWeight": 0.5,
                    "CurrentInstanceCount": 2,
                    "DesiredInstanceCount": 2,
                }
                for variant in VARIANTS
            ],
            "EndpointStatus": "InService",
            "CreationTime": WHEN,
            "LastModifiedTime": WHEN,
        },
    ),
}


def sent(operation_name: str, parameters: dict[str, Any]) -> Request:
    """The request as boto3 writes it; it leaves no socket."""
    client = boto3.client(
        "sagemaker",
        endpoint_url="http://127.0.0.1:1",
        region_name="us-east-1",
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="none",
        config=Config(retries={"total_max_attempts": 1}),
    )
    seen: list[Any] = []

    class Kept(Exception):
        pass

    def keep(request: Any, **_: Any) -> None:
        seen.append(request)
        raise Kept

    client.meta.events.register("before-send", keep)
    method = next(name for name, each in client.meta.method_to_api_mapping.items() if each == operation_name)
    with contextlib.suppress(Kept):
        getattr(client, method)(**parameters)
    headers = {name.lower(): v.decode() if isinstance(v, bytes) else str(v) for name, v in seen[0].headers.items()}
    return Request("POST", "/", "", headers, seen[0].body)


def call_ms(work: Callable[[], object]) -> float:
    work()
    took = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        work()
        took.append(time.perf_counter() - begun)
    return statistics.median(took) * 1000


def measured_calls() -> dict[str, float]:
    """Milliseconds to find, decode, check and encode each of CALLS."""
    models = Models(SERVICES)
    found = {}
    for name, (parameters, result) in CALLS.items():
        request = sent(name, parameters)

        def work(request: Request = request, result: dict[str, Any] = result) -> None:
            target = models.find(request)
            codec = CODECS[target.protocol]
            check(target.model(), codec.decode(target, request))
            codec.encode(target, result, "request-id")

        found[name] = call_ms(work)
    return found


def start_s() -> float:
    """Seconds to import the wire and index all models, in a process of its own."""
    script = (
        "import gc, time; begun = time.perf_counter(); gc.disable()\n"
        "from kedge.wire.gateway import CODECS\nfrom kedge.wire.models import Models\n"
        f"Models({SERVICES!r})\nprint(time.perf_counter() - begun)"
    )
    runs = [
        float(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True).stdout) for _ in range(3)
    ]
    return min(runs)


def main() -> int:
    missed = False
    for name, ms in measured_calls().items():
        missed |= ms > CALL_BAR_MS
        print(f"{name}: find, decode, check, encode {ms:.3f} ms (bar {CALL_BAR_MS:g} ms)")
    seconds = start_s()
    missed |= seconds > START_BAR_S
    print(f"start: import and index of {len(SERVICES)} models {seconds:.2f} s (bar {START_BAR_S:g} s)")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
