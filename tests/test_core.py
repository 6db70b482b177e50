"""The compiled core: used only while it fits its sources, which hold nothing that the compiler reads differently."""

from __future__ import annotations

import ast
import json
import os
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


def test_what_was_built_of_these_sources_is_used(tmp_path: Path):
    stamp = tmp_path / "stamp.json"
    stamp.write_text(json.dumps(core.stamp()))
    assert core.look(stamp) == (True, "")


@pytest.mark.parametrize("wrong", [{"sources": "of yesterday"}, {"python": "cpython-310 .so"}])
def test_what_does_not_fit_is_not_used(tmp_path: Path, wrong: dict[str, str]):
    stamp = tmp_path / "stamp.json"
    stamp.write_text(json.dumps({**core.stamp(), **wrong}))
    assert not core.look(stamp).compiled
    assert doctor._core(core.look(stamp), built=True).state == "degraded"


def test_without_a_build_everything_runs_as_python(tmp_path: Path):
    found = core.look(tmp_path / "stamp.json")
    assert not found.compiled
    assert doctor._core(found, built=False) == doctor.Finding("core", "ok", f"Python; the compiled one is {found.why}")


def test_a_process_can_be_told_to_run_the_sources():
    name, file = core_of_a_process(**{core.VARIABLE: "python"}).stdout.split()
    assert (name, Path(file)) == ("python", core.source_of("serving.head"))


def test_a_process_says_which_core_it_runs():
    name, file = core_of_a_process(**{core.VARIABLE: ""}).stdout.split()
    assert (name == "compiled") == Path(file).is_relative_to(core.BUILT)


def test_no_bound_of_a_slice_does_anything():
    """mypyc evaluates the bounds of a memoryview's slice twice: what is done there is done twice."""
    for module in core.MODULES:
        for node in ast.walk(ast.parse(core.source_of(module).read_text())):
            if isinstance(node, ast.Slice):
                for each in ast.walk(node):
                    assert not isinstance(each, ast.NamedExpr | ast.Await), f"{module}:{node.lineno}"
                    if isinstance(each, ast.Call):
                        name = ast.unparse(each.func).rpartition(".")[2]
                        assert name in HARMLESS, f"{module}:{node.lineno} calls {name}"
