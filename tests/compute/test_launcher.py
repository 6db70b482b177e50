"""What of the operator's environment reaches a process that holds no key."""

from __future__ import annotations

from pathlib import Path

from kedge.compute.launcher import HOME_MARK, clean_environment
from kedge.config import Settings
from kedge.home import open_home


def test_no_key_and_no_setting_but_which_core_to_run(tmp_path: Path):
    home = open_home(Settings(data_dir=tmp_path))
    given = {"PATH": "/bin", "LC_ALL": "C", "KEDGE_CORE": "python", "KEDGE_ROOT_SECRET_KEY": "k", "AWS_PROFILE": "p"}
    kept = clean_environment(given, home)
    assert {name: value for name, value in kept.items() if not name.endswith("_NUM_THREADS")} == {
        "PATH": "/bin", "LC_ALL": "C", "KEDGE_CORE": "python", HOME_MARK: home.run.name, "OMP_WAIT_POLICY": "PASSIVE",
    }  # fmt: skip
    assert set(kept.values()) >= {"1"}
