from __future__ import annotations

import pytest

from kedge.endpoints.waiter import is_waiter

BOTO3 = "Boto3/1.44.5 md/Botocore#1.44.5 ua/2.1 os/linux md/arch#x86_64 lang/python#3.11 m/{} cfg/retry-mode#legacy"


@pytest.mark.parametrize(
    ("user_agent", "want"),
    [
        (BOTO3.format("b,B,Z"), True),
        (BOTO3.format("B"), True),
        (BOTO3.format("b,Z"), False),
        (BOTO3.format("BB,bB"), False),
        ("Boto3/1.34.0 md/Botocore#1.34.0 lang/python#3.11", False),
        ("app/B md/B m", False),
        ("xm/B", False),
        ("", False),
    ],
)
def test_is_waiter(user_agent: str, want: bool):
    assert is_waiter(user_agent) is want
