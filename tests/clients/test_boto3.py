from __future__ import annotations

import pytest

from tests.clients.conftest import clients


@pytest.mark.parametrize("client", clients("boto3"))
def test_boto3(machine, artifacts, client):
    machine.program(client, "boto3_all", artifacts / "whole.tar.gz")


@pytest.mark.parametrize("client", clients("boto3"))
def test_what_is_measured(machine, artifacts, client):
    machine.program(client, "telemetry", artifacts / "whole.tar.gz")
