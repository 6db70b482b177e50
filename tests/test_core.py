"""The compiled core: used only while it fits its sources, which hold nothing that the compiler reads differently."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kedge import core
from kedge.cli import doctor

HARMLESS = {"len", "min", "max", "abs", "end"}
"""Calling these twice is the same as calling them once."""


def core_of_a_process(**environment: str) -> subprocess.CompletedProcess[str]:
    program = "from kedge import core; import kedge.serving.head as head; print(core.found().name, head.__file__)"
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **environment}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.fixture(params=[core.MODULES, core.NATIVE], ids=lambda part: str(part.folder.name))
def part(request: pytest.FixtureRequest, tmp_path: Path) -> core.Part:
    """One that is to be built elsewhere."""
    found: core.Part = request.param._replace(folder=tmp_path)
    return found


def test_what_was_built_of_these_sources_is_used(part: core.Part):
    part.stamp_file.write_text(json.dumps(part.stamp()))
    assert core.look(part) == (True, "")
    assert doctor._core("native", core.look(part), built=True) == doctor.Finding("native", "ok", "compiled")


@pytest.mark.parametrize("wrong", [{"sources": "of yesterday"}, {"python": "cpython-310 .so"}])
def test_what_does_not_fit_is_not_used(part: core.Part, wrong: dict[str, str]):
    part.stamp_file.write_text(json.dumps({**part.stamp(), **wrong}))
    assert not core.look(part).compiled
    assert doctor._core("core", core.look(part), built=True).state == "degraded"


def test_another_source_makes_another_stamp(part: core.Part, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    copied, before = tmp_path / "kedge", part.stamp()
    shutil.copytree(core.SOURCE, copied, ignore=shutil.ignore_patterns("_core", "__pycache__", "console"))
    monkeypatch.setattr(core, "SOURCE", copied)
    assert part.stamp() == before
    with part.sources[-1].open("a") as file:
        file.write("\n")
    assert part.stamp() != before


def test_without_a_build_everything_runs_as_python(part: core.Part):
    found, why = core.look(part), "Python; the compiled one is not built; scripts/build-core builds it"
    assert not found.compiled
    assert doctor._core("core", found, built=False) == doctor.Finding("core", "ok", why)


def test_a_process_can_be_told_to_run_the_sources():
    name, file = core_of_a_process(**{core.VARIABLE: "python"}).stdout.split()
    assert (name, Path(file)) == ("python", core.SOURCE / "serving" / "head.py")


def test_a_process_says_which_core_it_runs():
    name, file = core_of_a_process(**{core.VARIABLE: ""}).stdout.split()
    assert (name == "compiled") == Path(file).is_relative_to(core.BUILT)


def test_no_bound_of_a_slice_does_anything():
    """mypyc evaluates the bounds of a memoryview's slice twice: what is done there is done twice."""
    for module, source in zip(core.MODULES.modules, core.MODULES.sources, strict=True):
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Slice):
                for each in ast.walk(node):
                    assert not isinstance(each, ast.NamedExpr | ast.Await), f"{module}:{node.lineno}"
                    if isinstance(each, ast.Call):
                        name = ast.unparse(each.func).rpartition(".")[2]
                        assert name in HARMLESS, f"{module}:{node.lineno} calls {name}"


def test_what_is_written_in_c_is_used_without_the_rest():
    """It is there within seconds: each part has its own stamp."""
    program = "from kedge.serving.compiled import run; print(run.has_native())"
    for asked, there in (("", core.look(core.NATIVE).compiled), ("python", False)):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, core.VARIABLE: asked}, capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        assert done.stdout.strip() == str(there)
