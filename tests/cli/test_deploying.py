"""Packing and the choice of a variant: what `kedge deploy` decides before it calls anybody."""

from __future__ import annotations

import os
import re
import tarfile
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.cli.deploy import endpoint_name, place_variant, serverless_members
from kedge.cli.packing import pack

NEW = {"ModelName": "new", "InstanceType": "ml.t3.medium", "InitialInstanceCount": 1}


def packed(path: Path, tmp_path: Path) -> list[str]:
    pack(path, tmp_path / "out.tar.gz")
    with tarfile.open(tmp_path / "out.tar.gz") as archive:
        return archive.getnames()


def folder(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


@pytest.mark.parametrize("suffix", ["joblib", "pkl", "pickle", "skops"])
def test_a_model_file_is_called_model(tmp_path: Path, suffix: str) -> None:
    assert packed(folder(tmp_path, f"iris v2.{suffix}") / f"iris v2.{suffix}", tmp_path) == [f"model.{suffix}"]


def test_a_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    root = folder(tmp_path / "m", "model.joblib", "code/inference.py", "data/a.txt", "__pycache__/x.pyc", ".git/config")
    assert packed(root, tmp_path) == ["code/inference.py", "data/a.txt", "model.joblib"]


def test_python_files_beside_inference_py_go_to_code(tmp_path: Path) -> None:
    root = folder(tmp_path / "m", "inference.py", "helper.py", "requirements.txt", "words.txt", "lib/x.py")
    assert packed(root, tmp_path) == [
        "code/helper.py",
        "code/inference.py",
        "code/requirements.txt",
        "lib/x.py",
        "words.txt",
    ]


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    for number, name in enumerate("ab"):
        root = folder(tmp_path / name, "model.joblib", "z.txt")
        os.utime(root / "z.txt", (number, number))
        pack(root, tmp_path / f"{name}.tar.gz")
    assert (tmp_path / "a.tar.gz").read_bytes() == (tmp_path / "b.tar.gz").read_bytes()


def test_an_archive_is_not_packed_again(tmp_path: Path) -> None:
    pack(folder(tmp_path / "m", "model.joblib"), tmp_path / "first.tar.gz")
    pack(tmp_path / "first.tar.gz", tmp_path / "second.tar.gz")
    assert (tmp_path / "first.tar.gz").read_bytes() == (tmp_path / "second.tar.gz").read_bytes()


@pytest.mark.parametrize(
    ("name", "message"),
    [("notes.txt", "is no model"), ("model.tar.gz", "no gzip-compressed tar"), ("empty/readme.md", "holds neither")],
)
def test_what_is_no_model_is_refused(tmp_path: Path, name: str, message: str) -> None:
    root = folder(tmp_path, name)
    with pytest.raises(click.UsageError, match=message):
        pack(root / name.partition("/")[0], tmp_path / "out.tar.gz")


@pytest.mark.parametrize(
    ("name", "want"),
    [("wine.joblib", "wine"), ("my_model.v2.tar.gz", "my-model-v2"), ("model.tgz", "model"), ("__.pkl", "model")],
)
def test_the_endpoint_is_named_after_the_file(name: str, want: str) -> None:
    assert endpoint_name(Path(name)) == want


@given(st.text(min_size=1, max_size=80).filter(lambda name: "/" not in name and "\0" not in name))
def test_any_file_gives_a_legal_name(name: str) -> None:
    assert re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", endpoint_name(Path(name)))


def test_the_first_variant() -> None:
    assert place_variant([], NEW, None) == [{**NEW, "VariantName": "AllTraffic"}]
    assert place_variant([], NEW, "a") == [{**NEW, "VariantName": "a"}]


def test_a_variant_takes_the_place_of_its_namesake_and_leaves_the_others() -> None:
    a, b = {"VariantName": "a", "ModelName": "old"}, {"VariantName": "b", "ModelName": "old"}
    assert place_variant([a, b], NEW, "b") == [a, {**NEW, "VariantName": "b"}]
    assert place_variant([a, b], NEW, "c") == [a, b, {**NEW, "VariantName": "c"}]
    assert place_variant([a], NEW, None) == [{**NEW, "VariantName": "a"}]
    with pytest.raises(click.UsageError, match="variants a, b; say by --variant"):
        place_variant([a, b], NEW, None)


def test_a_serverless_variant_is_its_memory_and_its_concurrency() -> None:
    config = {"MemorySizeInMB": 2048, "MaxConcurrency": 20}
    assert serverless_members(2048, None, None) == {"ServerlessConfig": config}
    assert serverless_members(2048, 5, 2) == {
        "ServerlessConfig": {"MemorySizeInMB": 2048, "MaxConcurrency": 5, "ProvisionedConcurrency": 2}
    }
    assert serverless_members(None, None, None) == {}
    for most, provisioned, option in ((5, None, "--max-concurrency"), (None, 5, "--provisioned-concurrency")):
        with pytest.raises(click.UsageError, match=f"{option} is for --serverless"):
            serverless_members(None, most, provisioned)
