"""AWS CLI version 1, and version 2 where it is installed; curl."""

from __future__ import annotations

import subprocess

import pytest

from tests.clients.conftest import HERE, program_or_skip


def test_aws_cli_1(machine, artifacts):
    machine.run("awscli-1", ["bash", HERE / "programs" / "cli.sh", artifacts])


def test_aws_cli_2(machine, artifacts):
    program = program_or_skip("aws")
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    if not (said.stdout + said.stderr).startswith("aws-cli/2"):
        pytest.skip("the AWS CLI on this machine is not version 2")
    machine.run(None, ["bash", HERE / "programs" / "cli.sh", artifacts])


def test_curl(machine, artifacts):
    machine.run(None, ["bash", HERE / "programs" / "curl.sh", artifacts / "whole.tar.gz"])
