"""A wheel holds all that the code reads from its own folders, not only modules. What is built there is no source."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_a_wheel_holds_every_file_of_the_source(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT, capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    there = set(zipfile.ZipFile(wheel).namelist())
    source = ROOT / "src"
    files = [path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()]
    wanted = {name for name in files if "__pycache__" not in name and not name.startswith("kedge/_core/")}
    assert any(name.endswith(".lark") for name in wanted)
    assert wanted <= there
