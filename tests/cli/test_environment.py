from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kedge.cli import environment


@pytest.mark.parametrize(
    ("url", "want"),
    [
        ("http://localhost:8770", "http://127.0.0.1:8770"),
        ("http://0.0.0.0:8770/", "http://127.0.0.1:8770"),
        ("https://[::]:1", "https://[::1]:1"),
        ("http://10.1.2.3:80", "http://10.1.2.3:80"),
        ("https://models.example:443", "https://models.example:443"),
    ],
)
def test_an_address_by_number(url: str, want: str) -> None:
    assert environment.by_number(url) == want


@pytest.mark.parametrize(
    ("current", "added", "taken"),
    [
        ("", "h", ""),
        ("a,b", "a,b,h", "a,b"),
        ("a, h ,b", "a,h,b", "a,h,b"),
        ("a,h", "a,h", "a"),
        ("h", "h", ""),
        (",,", "h", ""),
    ],
)
def test_no_proxy(current: str, added: str, taken: str) -> None:
    assert environment.with_host(current, "h") == added
    assert environment.with_host(added, "h") == added
    assert environment.without_host(current, "h") == taken


@settings(max_examples=25, deadline=None)
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30))
def test_bash_reads_back_any_value(value: str) -> None:
    script = "\n".join([*environment.exports({"KEDGE_TEST_VALUE": value}, "bash"), 'printf %s "$KEDGE_TEST_VALUE"'])
    assert subprocess.run(["bash", "-c", script], capture_output=True, check=True).stdout == value.encode()


def test_bash_forgets_what_is_unset() -> None:
    script = "\n".join(["export A=1 B=2", *environment.unsets(["A", "B"], "bash"), 'echo "${A-none} ${B-none}"'])
    assert subprocess.run(["bash", "-euc", script], capture_output=True, check=True).stdout == b"none none\n"


def test_what_is_set_is_not_unset() -> None:
    assert not set(environment.EXPORTED) & set(environment.LEFTOVERS)


@pytest.mark.skipif(not shutil.which("fish"), reason="fish is not installed")
def test_fish_reads_back_quotes() -> None:
    script = "\n".join([*environment.exports({"A": "it's \\ $x"}, "fish"), "printf %s $A"])
    assert subprocess.run(["fish", "-c", script], capture_output=True, check=True).stdout == b"it's \\ $x"


def test_other_shells() -> None:
    assert environment.exports({"A": "it's \\"}, "fish") == ["set -gx A 'it\\'s \\\\';"]
    assert environment.exports({"A": "it's"}, "powershell") == ["$env:A = 'it''s'"]
    assert environment.unsets(["A"], "fish") == ["set -e A;"]
    assert environment.unsets(["A"], "powershell") == ["Remove-Item Env:A -ErrorAction SilentlyContinue"]


def test_the_sdk_configuration_has_the_keys_that_the_sdk_reads() -> None:
    text = environment.sdk_configuration("bucket", "arn:aws:iam::000000000000:role/r")
    assert text.splitlines() == [
        "SchemaVersion: '1.0'",
        "SageMaker:",
        "  Model:",
        "    ExecutionRoleArn: 'arn:aws:iam::000000000000:role/r'",
        "  PythonSDK:",
        "    Modules:",
        "      Session:",
        "        DefaultS3Bucket: 'bucket'",
        "      TelemetryOptOut: true",
    ]
