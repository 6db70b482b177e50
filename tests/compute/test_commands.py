"""The operator's map from images to commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kedge.compute import commands
from kedge.compute.commands import Command, CommandsRefused


def table(tmp_path: Path, content: Any) -> dict[str, Command]:
    path = tmp_path / "images.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return commands.read(str(path))


def test_without_a_file_nothing_is_mapped():
    assert commands.read("") == {}


@pytest.mark.parametrize(("value", "want"), [
    ("python serve.py 'a b'", Command(("python", "serve.py", "a b"))),
    (["./serve"], Command(("./serve",))),
    ("/opt/churn/bin/serve", Command(("/opt/churn/bin/serve",), ("/opt/churn",))),
    ("/opt/churn/serve", Command(("/opt/churn/serve",), ("/opt/churn",))),
    ("/opt/serve", Command(("/opt/serve",))),
    ("/usr/bin/serve", Command(("/usr/bin/serve",), ("/usr/bin",))),
    ({"command": "serve", "readable": ["/srv/data"]}, Command(("serve",), ("/srv/data",))),
])  # fmt: skip
def test_what_an_entry_may_be_and_what_it_shows(tmp_path: Path, value: Any, want: Command):
    assert table(tmp_path, {"churn:*": value}) == {"churn:*": want}


@pytest.mark.parametrize(("content", "says"), [
    ("{", "cannot be read as JSON"),
    ("[]", '{"IMAGE PATTERN": "COMMAND"}'),
    ({"a": ""}, '"a" has to name a command'),
    ({"a": 1}, '"a" has to name a command'),
    ({"a": ["x", 1]}, '"a" has to name a command'),
    ({"a": {"command": "x", "paths": []}}, '"a" has to name a command'),
    ({"a": "it's"}, "No closing quotation"),
    ({"a": {"command": "x", "readable": ["data"]}}, "data, which is no whole path"),
])  # fmt: skip
def test_what_it_may_not_be_is_named(tmp_path: Path, content: Any, says: str):
    with pytest.raises(CommandsRefused) as caught:
        table(tmp_path, content)
    assert says in str(caught.value)
    assert "images.json" in str(caught.value)


def test_the_first_pattern_that_fits_counts(tmp_path: Path):
    found = table(tmp_path, {"churn:1.*": "one", "example.com/*": "two", "*": "rest"})
    wanted = {"example.com/team/churn:1.2": "one", "example.com/team/churn:2": "two", "other": "rest"}
    for image, word in wanted.items():
        command = commands.find(found, image)
        assert command is not None
        assert command.words == (word,)
    assert commands.find({"churn:*": Command(("x",))}, "example.com/churns:1") is None
