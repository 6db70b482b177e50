"""`kedge experiment` against a server: requests and own metrics in, a verdict and a change of weights out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import botocore.exceptions
import pytest
from click.testing import CliRunner, Result
from sklearn.dummy import DummyClassifier

from kedge.cli.main import commands
from kedge.testing import Kedge

ENDPOINT = "shop"
GOOD, BAD = "text/csv", "image/png"


@pytest.fixture(scope="module")
def server(kedge_server: Kedge) -> Kedge:
    """Three variants of one model. The candidate was asked what no model can read, a third of the time."""
    kedge_server.reset()
    model = DummyClassifier(strategy="constant", constant=7).fit([[0]], [7])
    for variant in ("current", "candidate", "third"):
        kedge_server.deploy(model, ENDPOINT, variant=variant)
    asked = {"current": (200, 0), "candidate": (120, 60), "third": (200, 0)}
    for variant, (good, bad) in asked.items():
        ask(kedge_server, variant, good, bad)
    wait_for(kedge_server, {variant: good + bad for variant, (good, bad) in asked.items()})
    return kedge_server


def ask(server: Kedge, variant: str, good: int, bad: int = 0) -> None:
    runtime = server.client("sagemaker-runtime")
    for kind in [GOOD] * good + [BAD] * bad:
        try:
            runtime.invoke_endpoint(EndpointName=ENDPOINT, Body=b"1", ContentType=kind, TargetVariant=variant)
        except botocore.exceptions.ClientError:
            if kind == GOOD:
                raise


def wait_for(server: Kedge, counts: dict[str, int]) -> None:
    end_s = time.monotonic() + 15
    while True:
        found = experiment(server)["variants"]
        if all(found[variant]["samples"] >= count for variant, count in counts.items()):
            return
        assert time.monotonic() < end_s, found
        time.sleep(0.2)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "kedge", "experiment", ENDPOINT, *arguments]


def run(server: Kedge, *arguments: str, code: int = 0, name: str = ENDPOINT) -> Result:
    """In this process: the commands' own start is not what is looked at here."""
    environment = {"KEDGE_DATA_DIR": str(server.data_dir)}
    done = CliRunner().invoke(commands, ["experiment", name, *arguments], env=environment)
    assert done.exit_code == code, f"{arguments}: {done.output} {done.exception!r}"
    return done


def experiment(server: Kedge, *arguments: str) -> dict[str, Any]:
    given = () if "--since" in arguments else ("--since", "30m")
    answer: dict[str, Any] = json.loads(run(server, *given, *arguments, "--json").stdout)
    return answer


def put(
    server: Kedge, metric: str, variant: str, minutes: dict[int, tuple[list[float], list[float]]], unit: str = "None"
) -> None:
    """Values and how often each was seen, by the minutes since then."""
    now = datetime.now(UTC)
    server.client("cloudwatch").put_metric_data(
        Namespace="Shop",
        MetricData=[
            {
                "MetricName": metric,
                "Dimensions": [{"Name": "EndpointName", "Value": ENDPOINT}, {"Name": "VariantName", "Value": variant}],
                "Timestamp": now - timedelta(minutes=ago),
                "Values": values,
                "Counts": counts,
                "Unit": unit,
            }
            for ago, (values, counts) in minutes.items()
        ],
    )


def test_errors_of_three_variants(server: Kedge) -> None:
    found = experiment(server)
    assert found["control"] == "current"
    assert found["variants"]["candidate"]["samples"] == 180
    assert found["variants"]["candidate"]["estimate"] == pytest.approx(100 / 3)
    candidate, third = (found["compared"][each] for each in ("candidate", "third"))
    assert candidate["verdict"] == "worse"
    assert 5 < candidate["low"] < candidate["difference"] < candidate["high"] < 60
    assert (third["verdict"], third["difference"]) == ("not yet", 0.0)
    assert (found["decided"], found["winner"], found["promoted"]) == (False, None, False)
    assert found["warnings"] == [], "the counts are as even as the weights"

    alike = experiment(server, "--min-effect", "10%")["compared"]
    assert [alike[each]["verdict"] for each in ("candidate", "third")] == ["worse", "no difference"]
    other = experiment(server, "--control", "candidate")
    assert {each["verdict"] for each in other["compared"].values()} == {"better"}
    assert other["winner"] == "current"
    assert other["compared"]["current"]["high"] == pytest.approx(-candidate["low"])


def test_a_picture_for_people(server: Kedge) -> None:
    lines = run(server, "--since", "30m").stdout.splitlines()
    assert lines[0].startswith("shop: errors (lower is better), since ")
    assert lines[2].split() == ["VARIANT", "SAMPLES", "OUTCOME", "DIFFERENCE", "95%", "INTERVAL", "VERDICT"]
    assert lines[3].split() == ["current", "200", "0", "%", "control"]
    assert lines[4].endswith("worse")
    assert lines[-1] == "Not decided yet."


def test_too_few_samples_decide_nothing(server: Kedge) -> None:
    found = experiment(server, "--min-samples", "190")
    assert found["compared"]["candidate"]["verdict"] == "not yet"
    assert found["warnings"] == ["candidate has fewer than 190 samples."]


def test_latencies(server: Kedge) -> None:
    found = experiment(server, "--outcome", "latency", "--min-effect", "5000ms")
    assert {each["verdict"] for each in found["compared"].values()} == {"no difference"}
    assert found["unit"] == "ms"
    assert all(0.01 < each["estimate"] < 5000 for each in found["variants"].values())
    high = experiment(server, "--outcome", "latency:p99")["compared"]["third"]
    assert (high["low"], high["high"]) == (None, None), "200 values do not say where the 99th percentile ends"
    slow = experiment(server, "--outcome", "slower:9000", "--min-effect", "0.2")
    assert {each["estimate"] for each in slow["variants"].values()} == {0.0}
    assert {each["verdict"] for each in slow["compared"].values()} == {"no difference"}


def test_own_metrics(server: Kedge) -> None:
    for variant, basket, bought in (("current", 40.0, 5), ("candidate", 42.0, 12), ("third", 40.0, 5)):
        minutes = range(1, 41)
        put(server, "Basket", variant, {m: ([basket + m % 3, basket + m % 2], [1, 1]) for m in minutes})
        put(server, "Bought", variant, {m: ([1.0, 0.0], [bought, 40 - bought]) for m in minutes})
        put(server, "Bought", variant, {m: ([0.0], [10]) for m in minutes}, "Count")
    end_s = time.monotonic() + 15
    while True:
        found = experiment(server, "--outcome", "Shop/Basket", "--since", "45m", "--min-samples", "60")
        if all(each["samples"] == 80 for each in found["variants"].values()) or time.monotonic() > end_s:
            break
        time.sleep(0.2)
    assert (found["better"], found["variants"]["candidate"]["estimate"]) == ("higher", 42.75)
    assert found["compared"]["candidate"]["verdict"] == "better"
    assert found["compared"]["candidate"]["difference"] == pytest.approx(2.0)

    bought = experiment(server, "--outcome", "share:Shop/Bought", "--since", "45m")
    assert bought["variants"]["candidate"] == {"weight": 1.0, "samples": 2000.0, "estimate": pytest.approx(24.0)}
    assert [bought["compared"][each]["verdict"] for each in ("candidate", "third")] == ["better", "not yet"]
    turned = experiment(server, "--outcome", "share:Shop/Bought", "--since", "45m", "--better", "lower")
    assert turned["compared"]["candidate"]["verdict"] == "worse"
    refused = run(server, "--outcome", "share:Shop/Basket", "--since", "45m", code=1).stderr
    assert "those of a share are from 0 to 1. Compare its mean by --outcome Shop/Basket" in refused
    nothing = experiment(server, "--outcome", "Shop/Nothing")
    assert nothing["variants"]["current"] == {"weight": 1.0, "samples": 0.0, "estimate": None}
    assert not nothing["decided"]


def test_feedback_that_names_its_variants(server: Kedge, tmp_path: Path) -> None:
    lines = [
        {"inferenceId": f"{variant}-{n}", "value": float(n < good), "variant": variant}
        for variant, good in (("current", 60), ("candidate", 120), ("third", 61), ("gone", 5))
        for n in range(150)
    ]
    file = tmp_path / "told.jsonl"
    file.write_text("\n".join(map(json.dumps, [{**lines[0], "value": 0}, *lines])) + "\n\n")
    found = experiment(server, "--feedback", str(file))
    assert (found["outcome"], found["better"]) == ("feedback", "higher")
    assert found["variants"]["current"] == {"weight": 1.0, "samples": 150.0, "estimate": pytest.approx(40.0)}
    assert [found["compared"][each]["verdict"] for each in ("candidate", "third")] == ["better", "not yet"]
    assert found["warnings"] == ["150 lines belong to no request of a variant that was captured since then."]

    file.write_text('{"inferenceId": "a", "value": 1}\n')
    assert "1 lines name no variant, and shop captures no data" in run(server, "--feedback", str(file), code=1).stderr
    for bad in ('{"inferenceId": "a", "value": 2}', '{"inferenceId": 1, "value": 1}', "1", "{", '{"value": 1}'):
        file.write_text(f"\n{bad}\n")
        assert "Line 2 of " in run(server, "--feedback", str(file), code=1).stderr
    assert "not both" in run(server, "--feedback", str(file), "--outcome", "errors", code=2).stderr
    assert "leave out --by-minute" in run(server, "--feedback", str(file), "--by-minute", code=2).stderr


def test_a_start_is_counted_from_the_last_change(server: Kedge) -> None:
    found = json.loads(run(server, "--json").stdout)
    changed = server.client("sagemaker").describe_endpoint(EndpointName=ENDPOINT)["LastModifiedTime"]
    assert timedelta(0) <= datetime.fromisoformat(found["since"]) - changed < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (("--outcome", "speed"), '"speed" is no outcome; it is one of errors', 2),
        (("--outcome", "latency:99"), "is no outcome", 2),
        (("--outcome", "latency:p0"), "is no outcome", 2),
        (("--outcome", "share:"), "is no outcome", 2),
        (("--control", "none"), '"none" is no variant of shop; it has current, candidate, third', 2),
        (("--min-effect", "5ms"), 'for errors it is "0.5%" or "0.005"', 2),
        (("--min-effect", "-1", "--outcome", "latency"), 'for latency it is "5ms" or "5"', 2),
        (("--since", "yesterday"), '--since is "yesterday"; write 2026-11-28T20:00', 2),
        (("--since", "2999-01-01T00:00"), "that is not over yet", 2),
        (("--confidence", "1"), "0.5<=x<=0.999", 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_wrong_use(server: Kedge, arguments: tuple[str, ...], message: str, code: int) -> None:
    assert message in run(server, *arguments, code=code).stderr


def test_watch_until_it_is_decided_and_promote(server: Kedge) -> None:
    asking = subprocess.Popen(
        command("--control", "candidate", "--since", "30m", "--min-samples", "230", "--watch", "--every", "0.5",
                "--promote", "--json"),
        env={**os.environ, "KEDGE_DATA_DIR": str(server.data_dir)},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        ask(server, "candidate", 40, 20)
        assert asking.poll() is None, "it waits for the others' samples"
        ask(server, "current", 40)
        ask(server, "third", 40)
        out, _ = asking.communicate(timeout=30)
    finally:
        asking.kill()
        asking.wait()
    found = json.loads(out)
    assert (found["decided"], found["promoted"]) == (True, True)
    endpoint = server.client("sagemaker").describe_endpoint(EndpointName=ENDPOINT)
    weights = {each["VariantName"]: each["CurrentWeight"] for each in endpoint["ProductionVariants"]}
    assert weights == {"current": 0.0, "candidate": 0.0, "third": 0.0, found["winner"]: 3.0}
    assert found["winner"] in ("current", "third")


def test_no_winner_changes_nothing(server: Kedge) -> None:
    sagemaker = server.client("sagemaker")
    before = sagemaker.describe_endpoint(EndpointName=ENDPOINT)["LastModifiedTime"]
    done = run(server, "--since", "30m", "--min-samples", "100000", "--promote")
    assert "Nothing was changed: there is no winner." in done.stderr
    assert sagemaker.describe_endpoint(EndpointName=ENDPOINT)["LastModifiedTime"] == before


def test_feedback_by_inference_id(server: Kedge, tmp_path: Path) -> None:
    """The variant that answered is what data capture says."""
    sagemaker, runtime = server.client("sagemaker"), server.client("sagemaker-runtime")
    served = sagemaker.describe_endpoint(EndpointName=ENDPOINT)["EndpointConfigName"]
    variants = sagemaker.describe_endpoint_config(EndpointConfigName=served)["ProductionVariants"][:2]
    sagemaker.create_endpoint_config(
        EndpointConfigName="captured",
        ProductionVariants=variants,
        DataCaptureConfig={
            "EnableCapture": True,
            "InitialSamplingPercentage": 100,
            "DestinationS3Uri": f"s3://{server.bucket}/captured/",
            "CaptureOptions": [{"CaptureMode": "Input"}],
        },
    )
    sagemaker.create_endpoint(EndpointName="told", EndpointConfigName="captured")
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="told", WaiterConfig={"Delay": 1})
    asked = {}
    for number in range(40):
        answer = runtime.invoke_endpoint(
            EndpointName="told", Body=b"1", ContentType="text/csv", InferenceId=f"order-{number}"
        )
        asked[f"order-{number}"] = answer["InvokedProductionVariant"]
    assert set(asked.values()) == {"current", "candidate"}
    file = tmp_path / "told.jsonl"
    told = [{"inferenceId": id_, "value": int(by == "candidate")} for id_, by in asked.items()]
    file.write_text("\n".join(map(json.dumps, [*told, {"inferenceId": "order-99", "value": 1}])))
    end_s = time.monotonic() + 40
    while True:
        done = run(server, "--feedback", str(file), "--since", "10m", "--min-samples", "10", "--json", name="told")
        found = json.loads(done.stdout)
        if sum(each["samples"] for each in found["variants"].values()) == 40:
            break
        assert time.monotonic() < end_s, found
        time.sleep(0.5)
    assert found["compared"]["candidate"]["difference"] == 100.0
    assert found["compared"]["candidate"]["verdict"] == "better"
    assert found["winner"] == "candidate"
    assert found["warnings"] == ["1 lines belong to no request of a variant that was captured since then."]


def test_one_variant_is_nothing_to_compare(kedge_server: Kedge, server: Kedge) -> None:
    kedge_server.deploy(DummyClassifier(strategy="constant", constant=7).fit([[0]], [7]), "alone")
    assert "alone has one variant" in run(kedge_server, name="alone", code=1).stderr
    assert 'There is no endpoint "nobody"' in run(kedge_server, name="nobody", code=1).stderr
