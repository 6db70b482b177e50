"""Terraform with the AWS provider: apply, a plan that shows nothing, a change, and destroy. Where it is installed."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.clients.conftest import HERE, program_or_skip

PROVIDER = "*/hashicorp/aws/*/*/terraform-provider-aws*"


def plugins() -> Path:
    """Where providers lie ready: KEDGE_TERRAFORM_PLUGINS, a usual folder, or one in /opt. Nothing is fetched."""
    chosen = os.environ.get("KEDGE_TERRAFORM_PLUGINS")
    usual = [Path("/usr/local/share/terraform/plugins"), Path("/usr/share/terraform/plugins"), *Path("/opt").glob("*")]
    for folder in [Path(chosen)] if chosen else usual:
        if any(folder.glob(PROVIDER)):
            return folder
    pytest.skip("the AWS provider of Terraform is not on this machine")


def test_terraform(machine, artifacts):
    terraform = program_or_skip("terraform")
    folder = machine.home / "terraform"
    folder.mkdir()
    shutil.copy(HERE / "programs" / "terraform" / "main.tf", folder)
    name = f"terraform-{machine.scheme}"
    given = [f"-var=name={name}", f"-var=archive={artifacts / 'whole.tar.gz'}", "-input=false", "-no-color"]

    def run(*words: str, code: int = 0, greeting: str = "terraform", instances: int = 1) -> str:
        asked = [*given, f"-var=greeting={greeting}", f"-var=instances={instances}"] if words[0] != "init" else []
        return machine.run(None, [terraform, f"-chdir={folder}", *words, *asked], code, {"CHECKPOINT_DISABLE": "1"}).out

    def answer() -> str:
        runtime = machine.server.client("sagemaker-runtime", verify=machine.exported.get("AWS_CA_BUNDLE"))
        body = runtime.invoke_endpoint(
            EndpointName=name, ContentType="application/json", Body=json.dumps([[5.1, 3.5, 1.4, 0.2]])
        )["Body"]
        return str(json.loads(body.read())["by"])

    run("init", f"-plugin-dir={plugins()}", "-input=false", "-no-color")
    run("apply", "-auto-approve")
    assert answer() == "terraform"
    # 0 is "nothing to change", 2 would be "there is a difference".
    run("plan", "-detailed-exitcode")
    run("apply", "-auto-approve", greeting="changed", instances=2)
    assert answer() == "changed"
    run("plan", "-detailed-exitcode", greeting="changed", instances=2)
    run("destroy", "-auto-approve", greeting="changed", instances=2)
    sagemaker = machine.server.client("sagemaker", verify=machine.exported.get("AWS_CA_BUNDLE"))
    assert not sagemaker.list_endpoints(NameContains=name)["Endpoints"]
    assert not sagemaker.list_models(NameContains=name)["Models"]
