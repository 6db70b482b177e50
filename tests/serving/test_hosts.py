"""Which program an own server is started by."""

from __future__ import annotations

from pathlib import Path

import pytest

from kedge.serving.hosts import command_of
from kedge.serving.runtimes.base import LoadError


def put(folder: Path, *names: str, mode: int = 0o755) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(mode)


@pytest.mark.parametrize(("words", "given", "want"), [
    ((), "", ["code/serve"]),
    ((), "run --port 1", ["code/run", "--port", "1"]),
    ((), "bin/run 'a b'", ["bin/run", "a b"]),
    (("operator", "x"), "run", ["operator", "x"]),
])  # fmt: skip
def test_the_operators_words_then_the_models_then_serve(
    tmp_path: Path, words: tuple[str, ...], given: str, want: list[str]
):
    put(tmp_path, "code/serve", "serve", "code/run", "bin/run", "operator")
    assert command_of(words, given, tmp_path, "") == [str(tmp_path / want[0]), *want[1:]]


def test_a_program_that_the_archive_has_not_is_looked_for_on_the_path(tmp_path: Path):
    put(tmp_path, "elsewhere/python3.99")
    found = command_of((), "python3.99 code/app.py", tmp_path / "artifact", str(tmp_path / "elsewhere"))
    assert found == [str(tmp_path / "elsewhere" / "python3.99"), "code/app.py"]


@pytest.mark.parametrize(("given", "says"), [
    ("", "There is no program serve"),
    ("code/none", "There is no program code/none in the archive"),
    ("none", "or on PATH"),
    ('"', "KEDGE_COMMAND has No closing quotation"),
    ("plain", "chmod"),
])  # fmt: skip
def test_what_cannot_be_started_is_named(tmp_path: Path, given: str, says: str):
    put(tmp_path, "plain", mode=0o644)
    with pytest.raises(LoadError, match=says):
        command_of((), given, tmp_path, "")
