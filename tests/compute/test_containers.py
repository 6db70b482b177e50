"""Which engine is there, and what it is asked."""

from __future__ import annotations

import os
import resource
from itertools import pairwise
from pathlib import Path

import pytest

from kedge.cli import doctor
from kedge.compute import containers, engine_trial
from kedge.compute.containers import Engine, Run
from kedge.config import SettingError

PODMAN = Engine("/usr/bin/podman", is_podman=True)
DOCKER = Engine("/usr/bin/docker", is_podman=False)
RUN = Run(
    name="kedge-a",
    image="localhost/churn:3",
    labels={"kedge.home": "h"},
    host_name="primary",
    environment_file="/tmp/e",
    environment={"LINES": "1\n2"},
    mounts={"/opt/ml/model": "/data/artifacts/1"},
    memory_bytes=1024,
    processes=10,
)


def found(
    setting: str, there: dict[str, str], folder: Path, *, unified: bool = True, serves: bool = True
) -> Engine | None:
    if unified:
        (folder / "cgroup.controllers").touch()
    return containers.find(setting, there.get, lambda: serves, groups=folder, systemd=folder / "none")


def test_podman_goes_before_docker_and_a_name_before_both(tmp_path: Path):
    both = {"podman": "/b/podman", "docker": "/b/docker", "/c/podman": "/c/podman"}
    assert (found("auto", both, tmp_path) or DOCKER).program == "/b/podman"
    assert (found("auto", {"docker": "/b/docker"}, tmp_path) or PODMAN).program == "/b/docker"
    assert (found("docker", both, tmp_path) or PODMAN).is_podman is False
    assert (found("/c/podman", both, tmp_path) or DOCKER).program == "/c/podman"
    assert found("auto", {}, tmp_path) is None
    assert found("auto", {"docker": "/b/docker"}, tmp_path, serves=False) is None, "a program without its server"
    assert found("none", both, tmp_path) is None
    with pytest.raises(SettingError, match='container_engine is "nerdctl"'):
        found("nerdctl", both, tmp_path)


def test_groups_of_version_1_need_runc_and_rights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    both = {"podman": "/b/podman", "runc": "/b/runc"}
    old = found("auto", both, tmp_path, unified=False)
    assert old is not None
    assert old.options[-2:] == ("--runtime", "runc")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    rootless = found("auto", both, tmp_path, unified=False)
    assert rootless is not None
    assert not rootless.bounds
    assert "--memory" not in containers.create(rootless, RUN)
    new = found("auto", both, tmp_path)
    assert new is not None
    assert new.bounds
    assert "--runtime" not in new.options


@pytest.mark.parametrize("engine", [PODMAN, DOCKER])
def test_the_container_gets_what_it_needs_and_nothing_else(engine: Engine):
    words = containers.create(engine, RUN)
    assert words[:2] == [engine.program, "create"]
    assert words[-2:] == ["localhost/churn:3", "serve"]
    pairs = list(pairwise(words))
    for pair in (
        ("--network", "none"),
        ("--cap-drop", "all"),
        ("--security-opt", "no-new-privileges"),
        ("--pull", "never"),
        ("--memory", "1024"),
        ("--memory-swap", "1024"),
        ("--pids-limit", "10"),
        ("--env", "LINES=1\n2"),
        ("--mount", "type=bind,source=/data/artifacts/1,destination=/opt/ml/model,readonly"),
    ):
        assert pair in pairs
    assert not {"--privileged", "host"} & set(words)


def test_no_limit_is_above_this_process_own():
    words = containers.create(PODMAN, RUN)
    given = dict(word.split("=", 1) for name, word in pairwise(words) if name == "--ulimit")
    files = int(given["nofile"].split(":")[1])
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert most == resource.RLIM_INFINITY or files <= most


def test_gpus_are_named_to_each_engine_in_its_way():
    with_gpus = Run(**{**vars(RUN), "gpus": (0, 2)})
    assert "nvidia.com/gpu=2" in containers.create(PODMAN, with_gpus)
    assert '"device=0,2"' in containers.create(DOCKER, with_gpus)


def test_the_engines_own_program_gets_nothing_of_kedges():
    kept = {"PATH": "/bin", "DOCKER_HOST": "d", "XDG_DATA_HOME": "r"}
    given = {**kept, "KEDGE_HOME_ID": "x", "AWS_SECRET_ACCESS_KEY": "s", "PYTHONPATH": "p"}
    assert containers.environment(given) == kept


def test_variables_that_no_line_can_hold_go_another_way():
    text, rest = containers.lines({"A": "b c", "B": "1\n2", "C": " x", "D": '"q"', "E": ""})
    assert text == "A=b c\nE=\n"
    assert rest == {"B": "1\n2", "C": " x", "D": '"q"'}


@pytest.mark.parametrize("engine", [PODMAN, DOCKER])
def test_a_job_runs_what_it_says_and_may_change_its_folder(engine: Engine):
    own = {"writable": {"/opt/ml": "/data/jobs/1/ml"}, "entrypoint": ("python3", "a.py"), "arguments": ("--b", "1")}
    words = containers.create(engine, Run(**{**vars(RUN), **own}))
    assert "type=bind,source=/data/jobs/1/ml,destination=/opt/ml" in words
    assert words[words.index("--entrypoint") + 1] == "python3"
    assert words[words.index(RUN.image) :] == [RUN.image, "a.py", "--b", "1"]
    bare = containers.create(engine, Run(**{**vars(RUN), "arguments": ("train",)}))
    assert "--entrypoint" not in bare
    assert bare[-2:] == [RUN.image, "train"]


@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("", "it said nothing"),
        ("Getting image\nError: crun: cgroups not supported.\n\n", "crun: cgroups not supported"),
        ("docker: Error from daemon: no.\nSee 'docker create --help'.\n", "docker: Error from daemon: no"),
        ("x" * 1000, "x" * 512),
    ],
)  # fmt: skip
def test_the_last_words_of_an_engine(text: str, last: str):
    assert containers.last_words(text) == last


@pytest.mark.parametrize("name", ["podman", "docker"])
def test_an_engine_that_can_run_nothing_is_told_from_one_that_can(tmp_path: Path, name: str):
    """Programs that do what engines do where they are out of place: say why, and end with an error."""
    program = tmp_path / name
    program.write_text("#!/bin/sh\necho 'Error: the daemon is away.' >&2\nexit 126\n")
    program.chmod(0o755)
    engine = containers.find(str(program))
    assert engine is not None
    assert engine_trial.refusal(engine) == "the daemon is away"
    found = doctor._engine(str(program))
    assert (found.state, found.detail) == ("problem", f"{program} cannot run an image here: the daemon is away")
    program.unlink()
    assert "No such file" in engine_trial.refusal(engine)
