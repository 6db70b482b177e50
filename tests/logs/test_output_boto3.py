"""What instances write is found by boto3, by the AWS CLI's own way of following, and by `kedge logs`."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.endpoints.test_hosting_boto3 import Hosting

GROUP = "/aws/sagemaker/Endpoints/Talks"
CODE = """
import sys
def model_fn(model_dir):
    print("loaded", flush=True)
    return 1
def transform_fn(model, data, content_type, accept):
    text = data if isinstance(data, str) else data.decode()
    if text == "fail":
        raise ValueError("no such row")
    sys.stderr.write(f"asked: {text}\\n")
    return text, "text/plain"
"""


def until(condition: Callable[[], Any], what: str) -> Any:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError(f"{what} did not come true")


@pytest.fixture
def hosting(kedge: Any) -> Hosting:
    return Hosting(kedge)


def messages(logs: Any, **more: Any) -> list[str]:
    try:
        return [event["message"] for event in logs.filter_log_events(logGroupName=GROUP, **more)["events"]]
    except logs.exceptions.ResourceNotFoundException:
        return []


def command(kedge: Any, *words: str) -> list[str]:
    return [sys.executable, "-m", "kedge", "logs", *words, "--data", str(kedge.data_dir)]


def test_the_output_of_an_instance_from_its_first_line_to_after_its_end(hosting: Hosting):
    kedge = hosting.kedge
    logs = kedge.client("logs")
    with pytest.raises(logs.exceptions.ResourceNotFoundException):
        logs.describe_log_streams(logGroupName=GROUP)
    hosting.script("m", CODE)
    hosting.config("c", v=("m", 1.0, 1))
    hosting.sagemaker.create_endpoint(EndpointName="Talks", EndpointConfigName="c")
    hosting.wait("in_service", "Talks")

    def ask(text: str) -> None:
        hosting.runtime.invoke_endpoint(EndpointName="Talks", Body=text.encode(), ContentType="text/plain")

    ask("one")
    until(lambda: "asked: one" in messages(logs), "the line of the first request")
    assert messages(logs, filterPattern="loaded -worker") == ["loaded"]
    with pytest.raises(ClientError) as caught:
        ask("fail")
    stream = logs.describe_log_streams(logGroupName=GROUP)["logStreams"][0]
    assert stream["logStreamName"].startswith("v/")
    assert caught.value.response["LogStreamArn"] == stream["arn"]
    until(lambda: "ValueError: no such row" in messages(logs), "the traceback")
    assert '"inference.py"' not in messages(logs, filterPattern="Traceback")[0]  # one event a line, as the agent has it

    following = subprocess.Popen(
        command(kedge, "Talks", "-n", "1", "-f"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert following.stdout is not None
        assert following.stdout.readline().strip() == f"==> {stream['logStreamName'].replace('/', ' ')} <=="
        following.stdout.readline()
        ask("two")
        line = following.stdout.readline()
    finally:
        following.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            following.wait(10)
        following.kill()
        following.communicate()
    assert line == f"{stream['logStreamName']}  asked: two\n"

    ask("the last")
    hosting.sagemaker.delete_endpoint(EndpointName="Talks")
    hosting.wait("deleted", "Talks")
    until(lambda: "asked: the last" in messages(logs), "the last line")
    until(lambda: not list((kedge.data_dir / "output").iterdir()), "the end of the file")
    assert messages(logs).count("asked: the last") == 1
    said = subprocess.run(command(kedge, "Talks", "--filter", "asked"), capture_output=True, text=True, check=True)
    assert said.stdout.splitlines()[1:] == ["asked: one", "asked: two", "asked: the last"]
