from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.serving import runtimes
from kedge.serving.runtimes import readiness
from kedge.serving.runtimes.base import LoadError
from kedge.serving.runtimes.likeness import alike

ECHO = """
def model_fn(folder):
    return folder
def transform_fn(model, body, content_type, accept, context):
    if body == "no":
        raise ValueError("nothing learned")
    if body == "quiet":
        context.set_response_status(304)
    return f"{body}|{content_type}|{accept}"
"""


def probed(folder: Path, **files: str) -> None:
    (folder / "code").mkdir()
    (folder / "code" / "inference.py").write_text(ECHO)
    (folder / "probe").mkdir()
    for name, text in files.items():
        (folder / "probe" / name.replace("_", ".")).write_text(text)
    runtimes.probe(runtimes.load("script", folder, {}), folder)


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"request_csv": "1,2"},
        {"request_csv": "1,2", "response_txt": "1,2|text/csv|text/plain\n"},
        {"request_json": "[1]", "response_json": "[1]|application/json|application/json"},
        {"request_jpg": "x", "response_bin": "b'x'|application/octet-stream|application/json"},
        {"notes_md": "no request"},
    ],
)
def test_a_model_that_answers_is_ready(tmp_path: Path, files: dict[str, str]):
    probed(tmp_path, **files)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"request_csv": "no"}, "answered probe/request.csv with 500: ValueError: nothing learned"),
        ({"request_csv": "quiet"}, "with status 304"),
        ({"request_csv": "1", "response_txt": "2"}, r"not that of probe/response.txt: 1\|text/csv"),
        ({"request_csv": "1", "request_json": "1"}, "probe holds request.csv, request.json; leave one"),
        ({"request_csv": "1" * (readiness.MAX_PROBE_BYTES + 1)}, "at most 6291456"),
    ],
)
def test_a_model_that_does_not_is_not(tmp_path: Path, files: dict[str, str], says: str):
    with pytest.raises(LoadError, match=says):
        probed(tmp_path, **files)


def test_an_artifact_without_a_probe_is_ready(tmp_path: Path):
    runtimes.probe(None, tmp_path)  # type: ignore[arg-type]  # it is not asked


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (b"[1, 2.0]", b"[1.0,2]", True),
        (b'{"a": 0.30000000000000004}', b'{"a": 0.3}', True),
        (b'{"a": 1}', b'{"b": 1}', False),
        (b"[1, 2]", b"[1, 2, 3]", False),
        (b"[true]", b"[1]", False),
        (b"[NaN]", b"[NaN]", True),
        (b"1.0,2\n", b"1,2.0000000001", True),
        (b"a,1\n", b"b,1\n", False),
        (b"\xff\x00", b"\xff\x00", True),
        (b"\xff\x00", b"\xff\x01", False),
        (b"[1.1]", b"[1.2]", False),
    ],
)
def test_what_says_the_same(one: bytes, other: bytes, same: bool):
    assert alike(one, other) is same


@given(st.binary(max_size=50))
def test_everything_is_like_itself_and_nothing_raises(body: bytes):
    assert alike(body, body)
    alike(body, b"[1]")
