"""docs/clients.md names the versions that are pinned."""

from __future__ import annotations

import json
import re

import pytest

from tests.clients.conftest import HERE

ROOT = HERE.parent.parent
PINS = ROOT / "requirements" / "clients"
TABLE = (ROOT / "docs" / "clients.md").read_text()


@pytest.mark.parametrize(
    ("file", "packages"),
    [
        ("boto3-newest", ["boto3"]),
        ("boto3-1.42", ["boto3"]),
        ("boto3-1.34", ["boto3"]),
        ("awscli-1", ["awscli"]),
        ("sagemaker-2", ["sagemaker"]),
        ("sagemaker-3", ["sagemaker"]),
        ("aiobotocore", ["aiobotocore"]),
        ("files", ["s3fs", "smart-open", "pandas"]),
    ],
)
def test_the_table_has_the_version(file, packages):
    pins = (PINS / f"{file}.txt").read_text()
    for package in packages:
        (version,) = re.findall(rf"^{package}==(\S+)", pins, re.MULTILINE)
        assert re.search(rf"\| [^|]*\b{re.escape(version)}\b[^|]* \|", TABLE), f"{package} {version}"


def test_the_table_has_the_versions_of_the_clients_in_javascript():
    pins = json.loads((PINS / "javascript" / "package.json").read_text())["dependencies"].values()
    assert f"| {min(pins)} to {max(pins)} |" in TABLE
