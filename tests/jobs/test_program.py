"""The first process of a job, as a process: what it says of a command, of a module, and of a container beside it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

START = """
import json, os, sys
from kedge.jobs.program import WorkerSpec, run
sys.exit(run(WorkerSpec(**json.loads(sys.argv[1])), os.dup(1)))
"""


def said(folder: Path, **fields: Any) -> tuple[dict[str, Any], str]:
    """(its last report, what stands in its output: reports and lines)."""
    spec = {
        "id": "j", "environment": {"COLOUR": "red"}, "work_dir": str(folder), "state_file": str(folder / "state.json"),
        "cores": 2.0, "opt_ml": str(folder), **fields,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", START, json.dumps(spec)], capture_output=True, text=True, timeout=60, check=False
    )
    return json.loads((folder / "state.json").read_text()), done.stdout


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["/bin/sh", "-c", 'test "$COLOUR" = red'], 0),
        (["/bin/sh", "-c", 'test "$OMP_WAIT_POLICY" = PASSIVE -a -n "$OMP_NUM_THREADS"'], 0),
        (["/bin/sh", "-c", "exit 3"], 3),
        (["/bin/sh", "-c", "kill -9 $$"], 137),
        (["no-such-program"], 127),
        (["/"], 126),
    ],
)
def test_a_command_and_how_it_ended(tmp_path: Path, words: list[str], status: int):
    report, _ = said(tmp_path, command=words)
    assert (report["state"], report["exit"]) == ("ended", status)


def test_a_module_that_is_not_there_is_a_failure_that_names_it(tmp_path: Path):
    report, _ = said(tmp_path, module="kedge.no_such_module")
    assert report["state"] == "failed"
    assert "This release of Kedge cannot run kedge.no_such_module" in report["reason"]


@pytest.mark.parametrize(
    ("line", "status", "text"),
    [
        ({"reason": "The container ended with exit status 0.", "was_killed": False, "code": 0}, 0, ""),
        ({"reason": "The container ended with exit status 5.", "was_killed": False, "code": 5}, 5, "exit status 5"),
        ({"reason": "The container ended.", "was_killed": False, "code": None}, 1, "The container ended."),
        (None, 1, "sidecar of the container ended"),
    ],
)
def test_a_container_ends_as_its_sidecar_says(tmp_path: Path, line: dict[str, Any] | None, status: int, text: str):
    door = tmp_path / "c0"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{door}.line")
        listener.listen()

        def tell() -> None:
            with listener.accept()[0] as sock:
                if line is not None:
                    sock.sendall(json.dumps(line).encode() + b"\n")

        sidecar = threading.Thread(target=tell)
        sidecar.start()
        report, output = said(tmp_path, door=str(door))
        sidecar.join(10)
    assert (report["state"], report["exit"]) == ("ended", status)
    assert text in output
