"""Every command block of the README and of docs/ runs, in its page's order, in one shell a page.

A page runs in a folder that looks like a checkout, against a server of its own: KEDGE_DATA_DIR is temporary and
both ports are free ones. `scripts/test` is not run inside itself: it is what .ci/run calls, which is checked instead.
Output, and what cannot be run, stands in blocks that are marked as text.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LANGUAGES = {"sh", "python", "text", "json"}
LIMIT_S = 900
"""For a page that hangs: others run beside it, on machines of two cores."""
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path) -> list[tuple[str, str]]:
    return [(m[1], m[2]) for m in BLOCK.finditer(page.read_text())]


def script(page: Path, folder: Path) -> str:
    lines = ["set -euo pipefail"]
    for number, (language, text) in enumerate(blocks(page)):
        if language == "sh":
            lines += [line for line in text.splitlines() if not line.startswith("scripts/test")]
        elif language == "python":
            (folder / f"block_{number}.py").write_text(text)
            lines.append(f"python block_{number}.py")
    return "\n".join(lines) + "\n"


def installed(venv: Path) -> None:
    """As scripts/setup leaves it, with the programs of the environment that runs the tests."""
    venv.mkdir()
    (venv / "bin").symlink_to(Path(sys.executable).parent)
    stamp = "cat requirements/base.txt pyproject.toml | cksum | tr ' ' '-'"
    done = subprocess.run(stamp, shell=True, cwd=ROOT, capture_output=True, check=True)
    (venv / "kedge-base").write_bytes(done.stdout)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_block_says_its_language(page):
    assert {language for language, _ in blocks(page)} <= LANGUAGES


@pytest.mark.parametrize(
    "page", [p for p in PAGES if {language for language, _ in blocks(p)} & {"sh", "python"}], ids=lambda page: page.name
)
def test_the_commands_of_a_page_run(page, tmp_path):
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    for entry in ROOT.iterdir():
        if entry.name not in (".git", ".venv", "tests"):
            (checkout / entry.name).symlink_to(entry)
    installed(checkout / ".venv")
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "LANG": "C.UTF-8",
        "KEDGE_DATA_DIR": str(tmp_path / "data"),
        "KEDGE_API_PORT": "0",
        "KEDGE_INFERENCE_PORT": "0",
    }
    try:
        done = subprocess.run(
            ["bash", "-c", script(page, checkout)],
            cwd=checkout, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False,
        )  # fmt: skip
    finally:
        # A shell that is killed for its time runs no trap.
        subprocess.run(["kedge", "down"], cwd=checkout, env=environment, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def test_the_test_command_of_the_readme_is_what_ci_runs():
    readme = "\n".join(text for language, text in blocks(ROOT / "README.md") if language == "sh")
    assert "scripts/test" in readme.split()
    assert "scripts/test" in (ROOT / ".ci" / "run").read_text()


def test_nothing_waits_to_be_filled_in():
    for page in PAGES:
        assert not re.search(r"\b(TODO|TBD|[A-Z]+_(OUTPUT|SIZE|TIME))\b", page.read_text()), page.name


def test_every_link_between_pages_leads_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
