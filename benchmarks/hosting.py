"""The bars of the hosting API, measured with unmodified boto3 against a server of its own.

    python benchmarks/hosting.py [--quick]

Prints one line a bar: what, the figure seen, the bar. Times are wall time on this machine.
"""

from __future__ import annotations

import argparse
import io
import json
import pickle
import statistics
import subprocess
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from botocore.config import Config
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

ROWS, LABELS = load_breast_cancer(return_X_y=True)
ONCE = Config(retries={"total_max_attempts": 1})


class Server:
    def __init__(self, ready: dict[str, Any]) -> None:
        self.ready = ready
        self.bucket = f"sagemaker-{ready['region']}-{ready['account']}"
        self.s3, self.sagemaker, self.runtime = (self.client(s) for s in ("s3", "sagemaker", "sagemaker-runtime"))

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.ready["inference_url" if service == "sagemaker-runtime" else "api_url"],
            region_name=self.ready["region"],
            aws_access_key_id=self.ready["access_key_id"],
            aws_secret_access_key=self.ready["secret_access_key"],
            config=ONCE,
        )

    def model(self, name: str, seed: int) -> Any:
        """A new artifact each time: the regularisation differs, so do its bytes and its hash."""
        fitted = make_pipeline(StandardScaler(), LogisticRegression(C=1.0 + seed / 1000)).fit(ROWS, LABELS)
        out, data = io.BytesIO(), pickle.dumps(fitted)
        with tarfile.open(fileobj=out, mode="w:gz") as tar:
            member = tarfile.TarInfo("model.pkl")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        self.s3.put_object(Bucket=self.bucket, Key=f"{name}.tar.gz", Body=out.getvalue())
        self.sagemaker.create_model(
            ModelName=name,
            PrimaryContainer={"Image": "kedge/sklearn", "ModelDataUrl": f"s3://{self.bucket}/{name}.tar.gz"},
        )
        return fitted

    def config(self, name: str, weights: dict[str, float], instances: int = 1) -> None:
        self.sagemaker.create_endpoint_config(
            EndpointConfigName=name,
            ProductionVariants=[
                {
                    "VariantName": model,
                    "ModelName": model,
                    "InitialInstanceCount": instances,
                    "InstanceType": "ml.t3.medium",
                    "InitialVariantWeight": weight,
                }
                for model, weight in weights.items()
            ],
        )

    def invoke(self, endpoint: str, row: int = 0) -> tuple[str, Any]:
        answer = self.runtime.invoke_endpoint(
            EndpointName=endpoint, ContentType="application/json", Body=json.dumps(ROWS[row : row + 1].tolist())
        )
        return answer["InvokedProductionVariant"], json.loads(answer["Body"].read())

    def in_service(self, endpoint: str) -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            status = self.sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointStatus"]
            if status == "InService":
                return
            if status == "Failed":
                raise SystemExit(self.sagemaker.describe_endpoint(EndpointName=endpoint)["FailureReason"])
            time.sleep(0.005)
        raise SystemExit(f"{endpoint} is not in service after 60 s")


@contextmanager
def server() -> Iterator[tuple[Server, float]]:
    start = time.perf_counter()
    process = subprocess.Popen(
        [*(sys.executable, "-m", "kedge", "up", "--ephemeral", "--json"), "--api-port", "0", "--inference-port", "0"],
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        up_s = time.perf_counter() - start
        yield Server(json.loads(line)), up_s
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()


def say(what: str, seen: float, unit: str, bar: str) -> None:
    print(f"{what:72} {seen:9.3f} {unit:4} bar {bar}", flush=True)


def cold_starts(kedge: Server, count: int) -> None:
    in_service, polled, waited = [], [], []
    for n in range(count):
        name = f"cold-{n}"
        expected = kedge.model(name, n).predict(ROWS[:1]).tolist()
        kedge.config(name, {name: 1.0})
        start = time.perf_counter()
        kedge.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
        kedge.in_service(name)
        in_service.append((time.perf_counter() - start) * 1000)
        _, got = kedge.invoke(name)
        polled.append(time.perf_counter() - start)
        if got != expected:
            raise SystemExit(f"{name} answered {got}, the model says {expected}")
        kedge.sagemaker.delete_endpoint(EndpointName=name)
    for n in range(max(3, count // 3)):
        name = f"waited-{n}"
        kedge.model(name, 100 + n)
        kedge.config(name, {name: 1.0})
        start = time.perf_counter()
        kedge.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
        kedge.sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name)
        waited.append(time.perf_counter() - start)
        kedge.sagemaker.delete_endpoint(EndpointName=name)
    say(f"create to InService, median of {count}", statistics.median(in_service), "ms", "<= 300")
    say(f"create to first correct prediction, median of {count}", statistics.median(polled), "s", "<= 1")
    say(f"create with boto3's waiter, worst of {len(waited)}", max(waited), "s", "<= 2")


def weights(kedge: Server, rounds: int) -> None:
    for n, name in enumerate(("a", "b")):
        kedge.model(name, 200 + n)
    kedge.config("split", {"a": 9.0, "b": 1.0})
    kedge.sagemaker.create_endpoint(EndpointName="split", EndpointConfigName="split")
    kedge.in_service("split")
    seen = Counter(kedge.invoke("split")[0] for _ in range(1000))
    say("split 90/10: requests off the exact share in 1,000", abs(seen["b"] - 100), "", "<= 1")
    times = []
    for n in range(rounds):
        off, on = ("a", "b") if n % 2 == 0 else ("b", "a")
        start = time.perf_counter()
        kedge.sagemaker.update_endpoint_weights_and_capacities(
            EndpointName="split",
            DesiredWeightsAndCapacities=[
                {"VariantName": on, "DesiredWeight": 1.0},
                {"VariantName": off, "DesiredWeight": 0.0},
            ],
        )
        while kedge.invoke("split")[0] != on:
            if time.perf_counter() - start > 10:
                raise SystemExit("the weight change had no effect for 10 s")
        effect = time.perf_counter()
        for _ in range(20):
            if kedge.invoke("split")[0] != on:
                effect = time.perf_counter()
        times.append((effect - start) * 1000)
        kedge.in_service("split")
    say(f"weight change to its effect at the router, worst of {rounds}", max(times), "ms", "<= 100")


def control_plane(kedge: Server) -> None:
    for n in range(1000):
        kedge.sagemaker.create_model(ModelName=f"many-{n}", PrimaryContainer={"Image": "kedge/sklearn"})
    for n in range(200):
        kedge.config(f"many-{n}", {f"many-{n}": 1.0})
    describe, listing = [], []
    for n in range(100):
        start = time.perf_counter()
        kedge.sagemaker.describe_model(ModelName=f"many-{n * 7}")
        describe.append((time.perf_counter() - start) * 1000)
        start = time.perf_counter()
        assert len(kedge.sagemaker.list_models(MaxResults=100)["Models"]) == 100
        listing.append((time.perf_counter() - start) * 1000)
    say("1,000 models: DescribeModel, p95 of 100", sorted(describe)[94], "ms", "<= 20")
    say("1,000 models: ListModels first page, p95 of 100", sorted(listing)[94], "ms", "<= 100")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    quick = parser.parse_args().quick
    with server() as (kedge, up_s):
        say("kedge up to both ports answering", up_s, "s", "<= 2")
        cold_starts(kedge, 4 if quick else 10)
        weights(kedge, 4 if quick else 20)
        if not quick:
            control_plane(kedge)


if __name__ == "__main__":
    main()
