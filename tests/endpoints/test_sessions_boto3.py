"""Stateful sessions and routing by prefixes, from boto3 to a model with a memory."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.autoscaling.test_scaling_boto3 import soon

SCRIPT = """
import json, os, time
from datetime import datetime, timedelta, timezone

SESSIONS, NAME = {}, os.urandom(4).hex()

def model_fn(folder):
    return None

def input_fn(body, content_type):
    return body if isinstance(body, str) else bytes(body).decode()

def predict_fn(data, model):
    return data

def output_fn(said, accept, context):
    session = context.session_id
    answer = {"by": NAME, "session": session}
    if session == "NEW_SESSION":
        name = f"talk-{NAME}-{len(SESSIONS)}"
        SESSIONS[name] = []
        ends = datetime.now(timezone.utc) + timedelta(seconds=float(said or 600))
        context.set_response_header(0, "X-Amzn-SageMaker-New-Session-Id", f"{name}; Expires={ends:%Y-%m-%dT%H:%M:%SZ}")
    elif session in SESSIONS:
        SESSIONS[session].append(said)
        answer["heard"] = SESSIONS[session]
        if said == "bye":
            del SESSIONS[session]
            context.set_response_header(0, "X-Amzn-SageMaker-Closed-Session-Id", session)
    return json.dumps(answer)
"""


class Talks:
    """An endpoint `talks` of two instances with a memory, and `prefixes`, which is routed by prefixes."""

    def __init__(self, kedge: Any) -> None:
        self.sagemaker = kedge.client("sagemaker")
        self.runtime = kedge.client("sagemaker-runtime", config=Config(retries={"total_max_attempts": 1}))
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            member = tarfile.TarInfo("code/inference.py")
            member.size = len(SCRIPT)
            archive.addfile(member, io.BytesIO(SCRIPT.encode()))
        kedge.client("s3").put_object(Bucket=kedge.bucket, Key="talks.tar.gz", Body=buffer.getvalue())
        container = {"Image": "kedge/script:1", "ModelDataUrl": f"s3://{kedge.bucket}/talks.tar.gz"}
        self.sagemaker.create_model(ModelName="talks", PrimaryContainer=container, ExecutionRoleArn=kedge.role_arn)
        prefixes = {"PrefixLength": 1024, "ConcurrencyThreshold": 1}
        for name, more in (
            ("talks", {}),
            ("prefixes", {"RoutingConfig": {"RoutingStrategy": "PREFIX_AWARE", "PrefixAwareRoutingConfig": prefixes}}),
        ):
            variant = {"VariantName": "AllTraffic", "ModelName": "talks", "InstanceType": "ml.t3.medium", **more}
            self.sagemaker.create_endpoint_config(
                EndpointConfigName=name, ProductionVariants=[{**variant, "InitialInstanceCount": 2}]
            )
            self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
        for name in ("talks", "prefixes"):
            soon(lambda name=name: self.status(name), "InService", 30)

    def status(self, name: str) -> str:
        return str(self.sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"])

    def ask(self, said: str, endpoint: str = "talks", **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """(what the model answered, boto3's answer)"""
        answer = self.runtime.invoke_endpoint(EndpointName=endpoint, ContentType="text/plain", Body=said, **more)
        return json.loads(answer["Body"].read()), answer

    def refused(self, said: str, **more: Any) -> str:
        with pytest.raises(ClientError) as caught:
            self.ask(said, **more)
        assert caught.value.response["Error"]["Code"] == "ValidationError"
        return str(caught.value.response["Error"]["Message"])


@pytest.fixture(scope="module")
def talks(kedge_server: Any) -> Iterator[Talks]:
    kedge_server.reset()
    yield Talks(kedge_server)
    kedge_server.reset()


def open_session(talks: Talks, seconds: str = "600") -> tuple[str, dict[str, Any]]:
    said, answer = talks.ask(seconds, SessionId="NEW_SESSION")
    name, _, end = answer["NewSessionId"].partition("; ")
    assert end.startswith("Expires=")
    return name, said


def test_an_id_of_ones_own_stays_with_an_instance_until_the_model_keeps_sessions(talks: Talks):
    assert len({talks.ask("", SessionId="mine")[0]["by"] for _ in range(10)}) == 1
    open_session(talks)
    assert 'Session "mine" of endpoint talks does not exist' in talks.refused("", SessionId="mine")


def test_a_session_is_held_by_one_instance_from_its_beginning_to_its_end(talks: Talks):
    opened = [open_session(talks) for _ in range(8)]
    assert len({said["by"] for _, said in opened}) == 2, "both instances open sessions"
    for turn in ("one", "two"):
        for name, at_first in opened:
            said, answer = talks.ask(turn, SessionId=name)
            assert said["by"] == at_first["by"]
            assert said["heard"][-1] == turn
            assert "ClosedSessionId" not in answer
    name, _ = opened[0]
    said, answer = talks.ask("bye", SessionId=name)
    assert said["heard"] == ["one", "two", "bye"]
    assert answer["ClosedSessionId"] == name
    assert "was closed" in talks.refused("more", SessionId=name)


def test_an_expired_session_and_one_that_was_never_opened_are_unknown(talks: Talks):
    name, _ = open_session(talks, "-5")
    assert "has expired" in talks.refused("more", SessionId=name)
    alive, _ = open_session(talks)
    made_up = alive[:-1] + ("0" if alive[-1] != "0" else "1")
    assert "does not exist" in talks.refused("more", SessionId=made_up)


def test_a_session_ends_with_its_instance(talks: Talks):
    opened = [open_session(talks)[0] for _ in range(8)]
    wanted = [{"VariantName": "AllTraffic", "DesiredInstanceCount": 1}]
    talks.sagemaker.update_endpoint_weights_and_capacities(EndpointName="talks", DesiredWeightsAndCapacities=wanted)
    soon(lambda: talks.status("talks"), "InService", 30)
    codes = []
    for name in opened:
        try:
            talks.ask("still there?", SessionId=name)
            codes.append("")
        except ClientError as error:
            codes.append(error.response["Error"]["Code"])
    assert set(codes) == {"", "ValidationError"}


def test_requests_that_begin_alike_go_to_the_same_instance(talks: Talks):
    beginnings = [f"{at}" * 1024 for at in range(10)]
    homes = [talks.ask(each, "prefixes")[0]["by"] for each in beginnings]
    assert len(set(homes)) == 2
    for at, beginning in enumerate(beginnings):
        assert talks.ask(beginning + f"and then {at}", "prefixes")[0]["by"] == homes[at]
    apart = {talks.ask(beginnings[0], "prefixes", PrefixAwareId=f"app-{at}")[0]["by"] for at in range(10)}
    assert len(apart) == 2
    assert "does not route by prefixes" in talks.refused("", PrefixAwareId="a")
