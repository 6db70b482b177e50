"""What clients see while a zone of the machine goes off and on again."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest

from .clients import Clients, records
from .conftest import Server, until, variant


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KEDGE_ZONES", "a,b")
        started = Server(tmp_path_factory.mktemp("zones") / "data").up()
        try:
            started.endpoint("steady", instances=2)
            yield started
        finally:
            started.down()


def kedge(server: Server, *arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "kedge", *arguments, "--data", str(server.data)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def spread(server: Server) -> str:
    """The zones of the instances that are ready."""
    found = [each for each in records(server, "steady") if each["state"] == "ready"]
    return "".join(sorted(each["spec"]["labels"]["zone"] for each in found))


def test_no_request_fails_while_a_zone_goes_off_and_on(server: Server):
    assert spread(server) == "ab"
    with Clients(server, "steady", 16) as clients:
        until(lambda: clients.answers > 50, 30, "answers before")
        assert "off" in kedge(server, "fault", "zone", "b")
        until(lambda: spread(server) == "aa", 30, "both instances in zone a")
        answered = clients.answers
        until(lambda: clients.answers > answered + 50, 30, "answers without zone b")
        assert "off" not in kedge(server, "fault", "zone", "b", "--clear")
        until(lambda: spread(server) == "ab", 30, "one instance in each zone")
        answered = clients.answers
        until(lambda: clients.answers > answered + 50, 30, "answers at the end")
    assert not clients.failures


def test_a_zone_that_goes_off_while_a_canary_bakes(server: Server):
    sagemaker = server.client("sagemaker")
    sagemaker.create_endpoint_config(EndpointConfigName="next", ProductionVariants=[variant("steady-0", 2)])
    canary = {"Type": "CAPACITY_PERCENT", "Value": 50}
    routing = {"Type": "CANARY", "CanarySize": canary, "WaitIntervalInSeconds": 8}
    policy = {"TrafficRoutingConfiguration": routing, "TerminationWaitInSeconds": 0}

    def bakes() -> bool:
        pending = sagemaker.describe_endpoint(EndpointName="steady").get("PendingDeploymentSummary", {})
        said = [each for v in pending.get("ProductionVariants", ()) for each in v.get("VariantStatus", ())]
        return any(each["Status"] == "Baking" for each in said)

    def described() -> tuple[str, str]:
        found = sagemaker.describe_endpoint(EndpointName="steady")
        return found["EndpointStatus"], found["EndpointConfigName"]

    until(lambda: spread(server) == "ab", 30, "one instance in each zone")
    with Clients(server, "steady", 16) as clients:
        sagemaker.update_endpoint(
            EndpointName="steady",
            EndpointConfigName="next",
            DeploymentConfig={"BlueGreenUpdatePolicy": policy},
        )
        until(bakes, 30, "the canary bakes")
        kedge(server, "fault", "zone", "b")
        until(lambda: described() == ("InService", "next"), 60, "the deployment ends with the new fleet")
        until(lambda: spread(server) == "aa", 30, "both instances in zone a")
        answered = clients.answers
        until(lambda: clients.answers > answered + 50, 30, "answers at the end")
    assert not clients.failures, "old and new instances of the zone die one after the other"
    kedge(server, "fault", "zone", "b", "--clear")
    until(lambda: spread(server) == "ab", 30, "one instance in each zone")


def test_a_zone_stays_off_over_a_restart(server: Server):
    zones = json.loads(kedge(server, "fault", "zone", "a", "--json"))
    assert [(each["AvailabilityZone"], each["State"]) for each in zones] == [
        ("us-east-1a", "off"),
        ("us-east-1b", "on"),
    ]
    until(lambda: spread(server) == "bb", 30, "both instances in zone b")
    server.down()
    server.up()
    until(lambda: spread(server) == "bb", 30, "the same after a restart")
    status = kedge(server, "status")
    assert "us-east-1b" in status
    assert "us-east-1a  off" in status
    assert "only one that is on" in kedge(server, "fault", "zone", "b", code=1)
    kedge(server, "fault", "zone", "a", "--clear")
    until(lambda: spread(server) == "ab", 30, "one instance in each zone")


def test_who_may_not_switch_a_zone_is_told_so(server: Server):
    iam = server.client("iam")
    iam.create_user(UserName="reader")
    key = iam.create_access_key(UserName="reader")["AccessKey"]
    session = boto3.Session(key["AccessKeyId"], key["SecretAccessKey"], region_name="us-east-1")

    def switch() -> tuple[int, str]:
        from botocore.httpsession import URLLib3Session

        body = json.dumps({"Zone": "b", "State": "on"}).encode()
        request = AWSRequest("POST", f"{server.ready['api_url'].rstrip('/')}/kedge/zones", data=body)
        credentials = session.get_credentials()
        assert credentials is not None
        SigV4Auth(credentials, "sagemaker", "us-east-1").add_auth(request)
        web = URLLib3Session()
        try:
            answer = web.send(request.prepare())
        finally:
            web.close()
        return answer.status_code, answer.content.decode()

    status, said = switch()
    assert status in (400, 403)
    assert "kedge:SwitchZone" in said
    statement = {"Effect": "Allow", "Action": "kedge:SwitchZone", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName="reader", PolicyName="zones", PolicyDocument=policy)
    assert switch() == (200, '{"Zone": "b", "State": "on"}')
