"""Autoscaling of a real server: a request that wakes a variant from zero, and a load step of ten.

    scripts/bench waking [--wakes 10] [--steps 3]

Prints a row for each: what, the median, the worst, the bar. Requests are not tried again; every answer is checked.
"""

from __future__ import annotations

import argparse
import io
import pickle
import statistics
import tarfile
import threading
import time
from collections.abc import Callable

from botocore.config import Config
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from kedge.cli.server import Server
from kedge.cli.spawned import Spawned

ONCE = Config(retries={"total_max_attempts": 1}, max_pool_connections=50)
SLOW = """
import time

def model_fn(folder):
    return None

def transform_fn(model, body, content_type, accept):
    time.sleep(0.1)
    return body, content_type
"""
FAST = "SageMakerVariantConcurrentRequestsPerModelHighResolution"
CALM, MANY = 2, 20
"""Clients, each with one request at a time."""
TARGET = 4.0


class Bench:
    def __init__(self, server: Server) -> None:
        self.bucket = server.bucket
        self.role = server.role_arn
        self.s3 = server.client("s3")
        self.sagemaker = server.client("sagemaker")
        self.autoscaling = server.client("application-autoscaling")
        self.runtime = server.client("sagemaker-runtime", config=ONCE)

    def deploy(self, name: str, image: str, file: str, data: bytes) -> None:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w:gz") as archive:
            member = tarfile.TarInfo(file)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        self.s3.put_object(Bucket=self.bucket, Key=f"{name}.tar.gz", Body=out.getvalue())
        container = {"Image": image, "ModelDataUrl": f"s3://{self.bucket}/{name}.tar.gz"}
        self.sagemaker.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=self.role)
        variant = {
            "VariantName": "v",
            "ModelName": name,
            "InitialInstanceCount": 1,
            "InstanceType": "ml.t3.medium",
        }
        self.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
        self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
        until(lambda: self.count(name) == 1)

    def count(self, name: str) -> int:
        """Instances that serve; -1 while it changes."""
        described = self.sagemaker.describe_endpoint(EndpointName=name)
        if described["EndpointStatus"] != "InService":
            return -1
        return int(described["ProductionVariants"][0]["CurrentInstanceCount"])

    def resize(self, name: str, count: int) -> None:
        wanted = [{"VariantName": "v", "DesiredInstanceCount": count}]
        self.sagemaker.update_endpoint_weights_and_capacities(EndpointName=name, DesiredWeightsAndCapacities=wanted)
        until(lambda: self.count(name) == count)

    def invoke(self, name: str, body: str) -> str:
        answer = self.runtime.invoke_endpoint(EndpointName=name, ContentType="text/csv", Body=body)
        return str(answer["Body"].read().decode())

    def wake(self, times: int) -> list[float]:
        rows, labels = load_breast_cancer(return_X_y=True)
        model = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, labels)
        self.deploy("small", "kedge/sklearn", "model.pkl", pickle.dumps(model))
        body = ",".join(map(str, rows[0]))
        found, right = [], self.invoke("small", body)
        for _ in range(times):
            self.resize("small", 0)
            began_s = time.monotonic()
            assert self.invoke("small", body) == right
            found.append(time.monotonic() - began_s)
            until(lambda: self.count("small") == 1)
        return found

    def step(self, name: str) -> tuple[float, float]:
        """Seconds until the first new instance served, and until as many served as the load needs."""
        self.deploy(name, "kedge/script:1", "code/inference.py", SLOW.encode())
        place = {
            "ServiceNamespace": "sagemaker",
            "ResourceId": f"endpoint/{name}/variant/v",
            "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
        }
        self.autoscaling.register_scalable_target(**place, MinCapacity=1, MaxCapacity=int(MANY / TARGET))
        self.autoscaling.put_scaling_policy(
            **place,
            PolicyName="fast",
            PolicyType="TargetTrackingScaling",
            TargetTrackingScalingPolicyConfiguration={
                "TargetValue": TARGET,
                "PredefinedMetricSpecification": {"PredefinedMetricType": FAST},
            },
        )
        stop, failed, clients = threading.Event(), [], []
        clients += self.clients(name, CALM, stop, failed)
        time.sleep(10)  # what is measured is the step, so the load before it has to be known
        assert self.count(name) == 1
        began_s = time.monotonic()
        clients += self.clients(name, MANY - CALM, stop, failed)
        first_s = until(lambda: self.count(name) > 1) - began_s
        enough_s = until(lambda: self.count(name) == int(MANY / TARGET)) - began_s
        stop.set()
        for client in clients:
            client.join()
        if failed:
            raise failed[0]
        self.sagemaker.delete_endpoint(EndpointName=name)
        return first_s, enough_s

    def clients(self, name: str, count: int, stop: threading.Event, failed: list[Exception]) -> list[threading.Thread]:
        def ask() -> None:
            while not stop.is_set():
                try:
                    assert self.invoke(name, "1,2") == "1,2"
                except Exception as error:  # noqa: BLE001 (the first is raised where all end)
                    failed.append(error)

        threads = [threading.Thread(target=ask) for _ in range(count)]
        for thread in threads:
            thread.start()
        return threads


def until(seen: Callable[[], bool], within_s: float = 60.0) -> float:
    """The time at which it was so."""
    end_s = time.monotonic() + within_s
    while not seen():
        if time.monotonic() > end_s:
            raise TimeoutError("it did not come")
        time.sleep(0.02)
    return time.monotonic()


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench waking")
    parser.add_argument("--wakes", type=int, default=10)
    parser.add_argument("--steps", type=int, default=3)
    options = parser.parse_args()
    spawned = Spawned()
    rows: list[tuple[str, list[float], str]] = []
    try:
        bench = Bench(Server.of(spawned.ready()))
        rows.append(("wake from zero: first answer", bench.wake(options.wakes), "2 s"))
        # Each on an endpoint of its own, which knows nothing of the step before.
        first, enough = map(list, zip(*(bench.step(f"slow-{number}") for number in range(options.steps)), strict=True))
        rows.append((f"load step {CALM} to {MANY} clients: new capacity InService", first, "8 s"))
        rows.append(("the same: all that the load needs", enough, ""))
    finally:
        spawned.stop()
    print("| what | median | worst | bar |\n| --- | --- | --- | --- |")
    for what, found, bar in rows:
        print(f"| {what} | {statistics.median(found):.2f} s | {max(found):.2f} s | {bar} |")


if __name__ == "__main__":
    main()
