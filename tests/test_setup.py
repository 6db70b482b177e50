"""scripts/setup: each way to fail ends in one sentence that says what to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def checkout(tmp_path):
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name in ("scripts", "requirements"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def setup(checkout: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", "scripts/setup", "base"],
        cwd=checkout, env={"PATH": os.environ["PATH"], **variables}, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def old_python(path: Path) -> Path:
    return program(path, "exit 1")


def without_venv(path: Path) -> Path:
    return program(path, f'case "$*" in *ensurepip*) exit 1;; esac\nexec {sys.executable} "$@"')


def test_a_python_that_is_too_old(checkout, tmp_path):
    done = setup(checkout, PYTHON=str(old_python(tmp_path / "old")))
    assert done.returncode == 1
    assert (
        done.stderr == f"PYTHON is {tmp_path}/old, which is no Python 3.11 or newer; name another one, or unset it.\n"
    )


def test_no_python_at_all(checkout, tmp_path):
    tools = tmp_path / "bin"
    for name in ("dirname", "cksum", "cat", "tr"):
        program(tools / name, f'exec {shutil.which(name)} "$@"')
    done = setup(checkout, PATH=str(tools))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("Kedge needs Python 3.11 or newer; install it")


def test_a_python_without_venv(checkout, tmp_path):
    done = setup(checkout, PYTHON=str(without_venv(tmp_path / "bare")))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "no venv module" in done.stderr


def test_a_venv_of_an_old_python(checkout):
    old_python(checkout / ".venv" / "bin" / "python")
    done = setup(checkout)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "remove it" in done.stderr


def test_an_index_that_cannot_be_reached(checkout):
    unreachable = {
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "0",
        "PIP_NO_CACHE_DIR": "1",
    }  # fmt: skip
    done = setup(checkout, PYTHON=sys.executable, **unreachable)
    assert done.returncode == 1
    said = done.stderr.splitlines()
    assert said[0].startswith("Installing into .venv")
    assert len(said) == 2
    assert said[1].startswith("The package index cannot be reached; connect to the network, or set PIP_INDEX_URL")


def ready(checkout: Path, python: str) -> None:
    """With a .venv that has the right stamp, in which `python` is a shell script."""
    program(checkout / ".venv" / "bin" / "python", python)
    stamp = subprocess.run(
        "cat requirements/base.txt pyproject.toml | cksum | tr ' ' '-'",
        shell=True, cwd=checkout, capture_output=True, text=True, check=True,
    )  # fmt: skip
    (checkout / ".venv" / "kedge-base").write_text(stamp.stdout)


def test_nothing_is_installed_twice(checkout):
    """A .venv with the right stamp is taken as it is."""
    ready(checkout, "exit 9")
    assert setup(checkout).returncode == 0


def test_what_is_written_in_c_is_built_whenever_it_is_another(checkout):
    """And where it cannot be built, Kedge runs without."""
    ready(checkout, f'echo "$@" >> {checkout}/asked; exit 1')
    source = checkout / "src" / "kedge" / "serving" / "walk.c"
    source.parent.mkdir(parents=True)
    asked = []
    for text in ("int a;", "int a;", "int b;"):
        source.write_text(text)
        assert setup(checkout).returncode == 0
        asked.append((checkout / "asked").read_text().splitlines())
    assert asked == [["scripts/build_core.py --native"]] * 2 + [["scripts/build_core.py --native"] * 2]
