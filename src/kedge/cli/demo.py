"""`kedge demo`: two models of one data set behind one endpoint, and traffic that moves from one to the other."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from kedge.cli.failures import Failed
from kedge.cli.lifecycle import data_option
from kedge.cli.packing import pack
from kedge.cli.server import Server, data_folder, find
from kedge.cli.spawned import Spawned, StartFailed
from kedge.cli.tables import table

ENDPOINT = "digits"
LOGISTIC, FOREST = "logistic", "forest"
_ROWS = 300


@dataclass(frozen=True)
class Task:
    """Hand-written digits: 8 x 8 pixels, ten classes; a quarter of them held out."""

    models: dict[str, Any]
    rows: list[str]
    """CSV, one held-out image each."""
    labels: list[int]


@dataclass(frozen=True)
class Answered:
    variant: str
    right: bool
    seconds: float


@click.command(short_help="Two models, one endpoint, traffic that moves.")
@click.option("--keep", is_flag=True, help="Leave the server and the endpoint running, in the data directory.")
@data_option
def demo(keep: bool, data: Path | None) -> None:
    """Train two models, serve both from one endpoint, and move the traffic between them."""
    started = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        training = pool.submit(train)  # while the server starts
        with _lasting(data) if keep else _temporary() as server:
            click.echo(f"A server is up: AWS APIs at {server.api_url}, InvokeEndpoint at {server.inference_url}.")
            _show(server, training.result())
            if keep:
                click.echo(
                    f'\nIt goes on. In your shell: eval "$(kedge env)"; then boto3, the AWS CLI and the SageMaker SDK '
                    f"reach it, for example:\n  aws sagemaker describe-endpoint --endpoint-name {ENDPOINT}\n"
                    "`kedge down` ends it."
                )
    click.echo(f"Done after {time.monotonic() - started:.1f} s.")


def train() -> Task:
    from sklearn.datasets import load_digits
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    pixels, digits = load_digits(return_X_y=True)
    x, held_out, y, labels = train_test_split(pixels, digits, test_size=0.25, random_state=0, stratify=digits)
    models = {
        LOGISTIC: make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)),
        FOREST: RandomForestClassifier(n_estimators=50, random_state=0),
    }
    with threadpool_limits(1):  # on matrices of this size the threads wait for one another, above all on a busy machine
        for model in models.values():
            model.fit(x, y)
    rows = [",".join(f"{pixel:g}" for pixel in image) for image in held_out]
    return Task(models, rows[:_ROWS], [int(label) for label in labels[:_ROWS]])


def _show(server: Server, task: Task) -> None:
    sagemaker, runtime = server.client("sagemaker"), server.client("sagemaker-runtime")
    began = time.monotonic()
    _deploy(server, sagemaker, task, {LOGISTIC: 90, FOREST: 10})
    click.echo(
        f'Endpoint "{ENDPOINT}": two models, trained on 1,347 images of digits, in service after '
        f"{time.monotonic() - began:.1f} s; weights {LOGISTIC} 90, {FOREST} 10.\n"
    )
    click.echo(f"{_ROWS} held-out images through boto3:")
    click.echo(_report(_ask(runtime, task)))

    sagemaker.update_endpoint_weights_and_capacities(
        EndpointName=ENDPOINT,
        DesiredWeightsAndCapacities=[
            {"VariantName": LOGISTIC, "DesiredWeight": 20},
            {"VariantName": FOREST, "DesiredWeight": 80},
        ],
    )
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=ENDPOINT)
    click.echo(f"\nThe weights are now {LOGISTIC} 20, {FOREST} 80. The same images again:")
    click.echo(_report(_ask(runtime, task)))


def _deploy(server: Server, sagemaker: Any, task: Task, weights: dict[str, int]) -> None:
    """As boto3 does it anywhere: upload, CreateModel, CreateEndpointConfig, CreateEndpoint, wait."""
    import joblib

    _clean(sagemaker)
    s3 = server.client("s3")
    for name, model in task.models.items():
        with tempfile.TemporaryDirectory(prefix="kedge-demo-") as folder:
            file, archive = Path(folder) / "model.joblib", Path(folder) / "model.tar.gz"
            joblib.dump(model, file)
            pack(file, archive)
            s3.upload_file(str(archive), server.bucket, f"demo/{name}/model.tar.gz")
        sagemaker.create_model(
            ModelName=f"{ENDPOINT}-{name}",
            ExecutionRoleArn=server.role_arn,
            PrimaryContainer={
                "Image": "kedge/sklearn",
                "ModelDataUrl": f"s3://{server.bucket}/demo/{name}/model.tar.gz",
            },
        )
    sagemaker.create_endpoint_config(
        EndpointConfigName=ENDPOINT,
        ProductionVariants=[
            {
                "VariantName": name,
                "ModelName": f"{ENDPOINT}-{name}",
                "InitialInstanceCount": 1,
                "InstanceType": "ml.t3.medium",
                "InitialVariantWeight": weight,
            }
            for name, weight in weights.items()
        ],
    )
    sagemaker.create_endpoint(EndpointName=ENDPOINT, EndpointConfigName=ENDPOINT)
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=ENDPOINT)


def _clean(sagemaker: Any) -> None:
    """Remove what an earlier `kedge demo --keep` has left."""
    from kedge.cli.deploy import describe, wait_until_gone

    if describe(sagemaker, ENDPOINT) is not None:
        sagemaker.delete_endpoint(EndpointName=ENDPOINT)
        wait_until_gone(sagemaker, ENDPOINT)
    configs = sagemaker.list_endpoint_configs(NameContains=ENDPOINT)["EndpointConfigs"]
    if any(each["EndpointConfigName"] == ENDPOINT for each in configs):
        sagemaker.delete_endpoint_config(EndpointConfigName=ENDPOINT)
    known = {each["ModelName"] for each in sagemaker.list_models(NameContains=ENDPOINT)["Models"]}
    for name in known & {f"{ENDPOINT}-{LOGISTIC}", f"{ENDPOINT}-{FOREST}"}:
        sagemaker.delete_model(ModelName=name)


def _ask(runtime: Any, task: Task) -> list[Answered]:
    answers = []
    for row, label in zip(task.rows, task.labels, strict=True):
        began = time.perf_counter()
        answer = runtime.invoke_endpoint(EndpointName=ENDPOINT, ContentType="text/csv", Accept="text/csv", Body=row)
        said = answer["Body"].read()
        seconds = time.perf_counter() - began
        answers.append(Answered(answer["InvokedProductionVariant"], int(float(said)) == label, seconds))
    return answers


def _report(answers: list[Answered]) -> str:
    counts = Counter(answer.variant for answer in answers)
    rows = []
    for name in sorted(counts, key=lambda name: -counts[name]):
        own = [answer for answer in answers if answer.variant == name]
        times = sorted(answer.seconds * 1000 for answer in own)
        rows.append(
            (
                name,
                len(own),
                f"{len(own) / len(answers):.1%}",
                f"{sum(answer.right for answer in own) / len(own):.1%}",
                f"{statistics.median(times):.1f} ms",
                f"{times[min(len(times) - 1, round(0.99 * len(times)))]:.1f} ms",
            )
        )
    return table(["VARIANT", "REQUESTS", "SHARE", "ACCURACY", "P50", "P99"], rows)


@contextmanager
def _temporary() -> Iterator[Server]:
    spawned = Spawned()
    try:
        try:
            ready = spawned.ready()
        except StartFailed as error:
            raise Failed(str(error)) from error
        yield Server.of(ready)
    finally:
        spawned.stop()


@contextmanager
def _lasting(data: Path | None) -> Iterator[Server]:
    """The data directory's server, started when it is not running."""
    import subprocess
    import sys

    from kedge.cli.failures import NotRunning

    folder = data_folder(data)
    try:
        server = find(folder)
    except NotRunning:
        command = [sys.executable, "-m", "kedge", "up", "--detach", "--data", str(folder)]
        if subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode != 0:
            raise Failed(f"The server could not be started; try `kedge up --data {folder}`.") from None
        server = find(folder)
    yield server
