"""The guard itself: what tries to leave is seen, and the one call of the SageMaker SDK that would leave is named."""

from __future__ import annotations

import subprocess

import pytest

from tests.clients.conftest import LIMIT_S, unroutable

TO_DOCUMENTATION = "import socket; socket.socket().connect(('192.0.2.1', 80))"
BY_NAME = "import socket; socket.getaddrinfo('service.example', 443)"


def left(machine, client: str, program: str) -> str:
    """What the guard wrote down; the record is empty afterwards. Nothing is tried a second time."""
    environment = {**machine.environment(client), "AWS_MAX_ATTEMPTS": "1"}
    subprocess.run(
        ["python", "-c", program],
        cwd=machine.home, env=environment, capture_output=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip
    try:
        return machine.guard.read_text()
    finally:
        machine.guard.unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("program", "seen"),
    [(TO_DOCUMENTATION, "socket.connect '192.0.2.1'\n"), (BY_NAME, "socket.getaddrinfo 'service.example'\n")],
)
def test_python_is_watched(machine, program, seen):
    assert left(machine, "boto3-newest", program) == seen


def test_the_kernel_counts_what_python_does_not_see(machine):
    before = unroutable()
    if before is None:
        pytest.skip("this network namespace has a way out")
    subprocess.run(
        ["curl", "--silent", "--max-time", "2", "http://192.0.2.1/"], env=machine.environment(None), check=False
    )
    assert unroutable() > before


@pytest.mark.parametrize(
    ("client", "program"),
    [
        ("sagemaker-2", "import sagemaker; sagemaker.get_execution_role()"),
        (
            "sagemaker-3",
            "from sagemaker.core.helper import session_helper; session_helper.get_execution_role()",
        ),
    ],
)
def test_asking_the_sdk_for_its_role_would_leave(machine, client, program):
    """It builds AWS's own STS address by itself. What SAGEMAKER_ROLE_ARN is for; docs/clients.md says so."""
    assert "sts.us-east-1.amazonaws.com" in left(machine, client, program)
