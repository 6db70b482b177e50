"""What is sent is what is measured: boto3, HTTP, Prometheus and `kedge metrics` against a server, from the outside."""

from __future__ import annotations

import base64
import http.client
import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit
from urllib.request import urlopen

import botocore.exceptions
import pytest
from sklearn.dummy import DummyClassifier

from kedge.testing import Kedge

ENDPOINT, VARIANT = "counted", "AllTraffic"
DIMENSIONS = [{"Name": "EndpointName", "Value": ENDPOINT}, {"Name": "VariantName", "Value": VARIANT}]


@pytest.fixture(scope="module")
def server(kedge_server: Kedge) -> Kedge:
    """One endpoint that was asked 20 times."""
    kedge_server.reset()
    kedge_server.deploy(DummyClassifier(strategy="constant", constant=7).fit([[0]], [7]), ENDPOINT)
    invoke(kedge_server, 20)
    until(lambda: sum(values(kedge_server, "Invocations", "Sum", 60).values()) == 20, 10, "datapoints")
    return kedge_server


def invoke(server: Kedge, times: int, kind: str = "text/csv", **options: str) -> None:
    """What is no table, or names a model, is refused: by the model, and by the router."""
    runtime = server.client("sagemaker-runtime")
    for _ in range(times):
        try:
            runtime.invoke_endpoint(EndpointName=ENDPOINT, Body=b"1", ContentType=kind, **options)
        except botocore.exceptions.ClientError as error:
            if kind == "text/csv" and not options:
                raise
            assert error.response["ResponseMetadata"]["HTTPStatusCode"] in (400, 424)  # noqa: PT017


def values(server: Kedge, name: str, statistic: str, period_s: int, **more: Any) -> dict[datetime, float]:
    metric = {"Namespace": "AWS/SageMaker", "MetricName": name, "Dimensions": DIMENSIONS, **more}
    now = datetime.now(UTC)
    [result] = server.client("cloudwatch").get_metric_data(
        MetricDataQueries=[
            {"Id": "m", "MetricStat": {"Metric": metric, "Period": period_s, "Stat": statistic}},
        ],
        StartTime=now - timedelta(minutes=10),
        EndTime=now + timedelta(minutes=1),
    )["MetricDataResults"]
    return dict(zip(result["Timestamps"], result["Values"], strict=True))


def until(found: Callable[[], Any], within_s: float, what: str) -> Any:
    end_s = time.monotonic() + within_s
    while not (value := found()):
        assert time.monotonic() < end_s, f"no {what} within {within_s} s"
        time.sleep(0.1)
    return value


def test_what_was_sent_can_be_read_at_once(server: Kedge):
    before = sum(values(server, "Invocations", "Sum", 60).values())
    invoke(server, 1)
    answered_s = time.monotonic()
    until(lambda: sum(values(server, "Invocations", "Sum", 1).values()) == before + 1, 10, "datapoint")
    took_s = time.monotonic() - answered_s
    print(f"readable after {took_s:.2f} s")
    # The bound is 2 s on a quiet machine; this one may run other tests.
    assert took_s < 4


def test_counts_errors_and_latencies(server: Kedge):
    before = {name: sum(values(server, name, "Sum", 60).values()) for name in ("Invocations", "InvocationModelErrors")}
    invoke(server, 5, "image/png")
    invoke(server, 3, TargetModel="m.tar.gz")
    until(lambda: sum(values(server, "Invocations", "Sum", 60).values()) == before["Invocations"] + 5, 10, "datapoints")
    assert sum(values(server, "InvocationModelErrors", "Sum", 60).values()) == before["InvocationModelErrors"] + 5
    errors = sum(sum(values(server, f"Invocation{kind}Errors", "Sum", 60).values()) for kind in ("4XX", "5XX"))
    assert errors == before["InvocationModelErrors"] + 5
    count = sum(
        values(
            server,
            "ModelLatency",
            "SampleCount",
            60,
        ).values()
    )
    assert count == before["Invocations"] + 5
    for statistic in ("p50", "p99", "Average"):
        assert all(10 < each < 5_000_000 for each in values(server, "ModelLatency", statistic, 60).values())
    refused = {"Namespace": "Kedge", "Dimensions": [*DIMENSIONS, {"Name": "ErrorCode", "Value": "ValidationError"}]}
    until(lambda: sum(values(server, "RefusedInvocations", "Sum", 60, **refused).values()) >= 3, 10, "refusals")


def scrape(server: Kedge, **headers: str) -> tuple[int, str, str]:
    parts = urlsplit(server.api_url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=30)
    try:
        connection.request("GET", "/metrics", headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers["content-type"], answer.read().decode()
    finally:
        connection.close()


def basic(key: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{key}:{secret}".encode()).decode()


def root(server: Kedge) -> tuple[str, str]:
    credentials = server.session.get_credentials()
    assert credentials is not None
    return credentials.access_key, credentials.secret_key


def test_who_may_scrape(server: Kedge):
    key, secret = root(server)
    status, form, text = scrape(server, Authorization=basic(key, secret))
    assert (status, form) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert "# TYPE kedge_endpoint_invocations_total counter" in text
    for refused in ({}, {"Authorization": basic(key, "wrong")}, {"Authorization": basic("AKIA0000", secret)},
                    {"Authorization": "Basic !"}):  # fmt: skip
        assert scrape(server, **refused)[0] == 403, refused
    assert scrape(server, Authorization="Bearer x")[0] == 400
    iam = server.client("iam")
    iam.create_user(UserName="scraper")
    made = iam.create_access_key(UserName="scraper")["AccessKey"]
    as_scraper = {"Authorization": basic(made["AccessKeyId"], made["SecretAccessKey"])}
    status, _, text = scrape(server, **as_scraper)
    assert (status, "cloudwatch:GetMetricData" in text) == (403, True)
    allow = {"Effect": "Allow", "Action": "cloudwatch:GetMetricData", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": allow})
    iam.put_user_policy(UserName="scraper", PolicyName="read", PolicyDocument=document)
    assert scrape(server, Accept="application/openmetrics-text", **as_scraper)[2].endswith("# EOF\n")


def test_prometheus_scrapes_it(server: Kedge, tmp_path: Path):
    prometheus = shutil.which("prometheus")
    if prometheus is None:
        pytest.skip("there is no prometheus on this machine (Debian: apt-get install prometheus)")
    key, secret = root(server)
    (tmp_path / "prometheus.yml").write_text(
        json.dumps(
            {
                "global": {"scrape_interval": "1s"},
                "scrape_configs": [
                    {
                        "job_name": "kedge",
                        "basic_auth": {"username": key, "password": secret},
                        "static_configs": [{"targets": [urlsplit(server.api_url).netloc]}],
                    }
                ],
            }
        )
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = (f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data")
    with subprocess.Popen(
        [prometheus, *arguments, f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:

            def ask(query: str) -> float | None:
                try:
                    with urlopen(f"http://127.0.0.1:{port}/api/v1/query?{urlencode({'query': query})}") as answer:
                        found = json.load(answer)["data"]["result"]
                except OSError:
                    return None  # it is starting
                return float(found[0]["value"][1]) if found else None

            sent = sum(values(server, "Invocations", "Sum", 60).values())
            labels = f'endpoint_name="{ENDPOINT}",variant_name="{VARIANT}"'
            until(lambda: ask(f"kedge_endpoint_invocations_total{{{labels}}}") == sent, 30, "samples")
            assert ask("up") == 1
            assert ask(f"kedge_endpoint_model_latency_seconds_count{{{labels}}}") == sent
            quantile = ask(f"histogram_quantile(0.5, kedge_endpoint_model_latency_seconds_bucket{{{labels}}})")
            assert quantile is not None
            assert 0 < quantile < 10
        finally:
            process.terminate()


def run(server: Kedge, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "kedge", *arguments, "--data", str(server.data_dir)],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return done.stdout


def test_the_picture_in_the_terminal(server: Kedge):
    sent = sum(values(server, "Invocations", "Sum", 60).values())
    told = json.loads(run(server, "metrics", ENDPOINT, "--json"))
    drawn = [each * told["period_s"] for each in told["variants"][VARIANT]["requests_per_s"] if each]
    assert sum(drawn) == pytest.approx(sent)
    text = run(server, "metrics", ENDPOINT, "--last", "15m")
    assert "\x1b" not in text, "it is piped"
    assert text.startswith(f"{ENDPOINT}  InService  last 15m, a column is ")
    for title in ("requests/s", "p50 ms", "p99 ms", "model errors", "refused"):
        assert f"  {title}" in text
    assert "█" in text
