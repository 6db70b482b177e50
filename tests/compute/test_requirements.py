import pytest

from kedge.compute import requirements


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n\n",
        "numpy",
        "scikit-learn==1.5.* ; python_version >= '3.11'",
        "xgboost[plotting]>=1.7,<3  # the one that wrote the model",
        "a_b.c ~= 2.0",
        "zope.interface (>=5)",
        "package == 1.0 \\\n    --hash=sha256:aa",
        "--only-binary :all:\n--pre\nnumpy",
        "-r more.txt\n-c constraints/all.txt\n--requirement=other.txt",
        "./wheels/own-1.0-py3-none-any.whl",
        "wheels/own-1.0-py3-none-any.whl ; sys_platform == 'linux'",
    ],
)
def test_what_a_model_may_ask_for(text: str):
    assert requirements.problem(text, trusted=False) == ""


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("numpy\n-e .", "-e ."),
        (".", '"."'),
        ("./source", "./source"),
        ("../other.whl", "../other.whl"),
        ("/tmp/a.whl", "/tmp/a.whl"),
        ("git+https://host/x.git", "git+https"),
        ("https://host/a.whl", "https://host"),
        ("name @ https://host/a.whl", "name @"),
        ("name@file:///a.whl", "name@file"),
        ("--index-url https://host", "--index-url"),
        ("-i https://host", "-i https"),
        ("--extra-index-url=https://host", "--extra"),
        ("--find-links /", "--find-links"),
        ("--trusted-host h", "--trusted"),
        ("--no-binary :all:", "--no-binary"),
        ("$(id)", "id"),
        ("x" * 300 + " @ y", "xxx..."),
    ],
)
def test_what_only_a_trusted_model_may(text: str, named: str):
    assert named in requirements.problem(text, trusted=False)
    assert requirements.problem(text, trusted=True) == ""


@pytest.mark.parametrize(
    "text", ["-r /etc/passwd", "-r ../x", "-c ~/x", "-r file:///x", "--requirement=a/../../x", "-r/x"]
)
def test_no_file_outside_of_the_archive_is_read_whoever_is_trusted(text: str):
    for trusted in (False, True):
        assert "outside of the archive" in requirements.problem(text, trusted=trusted)


def test_the_files_that_are_named():
    text = "-r a.txt\n--constraint=b/c.txt  # why\n-rd.txt\nnumpy\nwheels/x.whl\nx @ https://h/y.whl"
    assert requirements.named_files(text) == ["a.txt", "b/c.txt", "d.txt"]
    assert requirements.own_wheels(text) == ["wheels/x.whl"]


@pytest.mark.parametrize(
    ("text", "there"),
    [
        ("", True),
        ("numpy\nScikit_Learn  # both\n", True),
        ("numpy\ngone", False),
        ("gone>=1", False),
        ("numpy>=1", None),
        ("numpy; python_version < '3'", None),
        ("gone; python_version < '3'", None),
        ("scikit-learn[extra]", None),
        ("--pre\nnumpy", None),
        ("./a.whl", None),
    ],
)
def test_names_alone_often_tell_whether_all_is_there(text: str, there: bool | None):
    assert requirements.satisfied(text, ["numpy==2.0", "scikit-learn==1.5"]) is there
