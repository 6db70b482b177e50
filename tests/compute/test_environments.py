"""Real virtual environments, made of small wheels that lie in a folder: nothing here needs a network."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from kedge.compute import environments
from kedge.compute.children import Children
from kedge.compute.environments import EnvironmentFailed, Environments, Needs, mapped
from kedge.compute.linux import Capabilities
from kedge.compute.process_id import ProcessId
from kedge.config import Settings
from kedge.home import Home, open_home

IMAGE = "kedge/sklearn:1"
PRINT = "import {0} as m, sys; print(m.__version__, m.__file__)"


def wheel(folder: Path, name: str, version: str, code: str = "", extra: dict[str, str] | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"__version__ = {version!r}\n{code}",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        **(extra or {}),
    }
    files[f"{info}/RECORD"] = "".join(f"{each},,\n" for each in (*files, f"{info}/RECORD"))
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for each, text in files.items():
            archive.writestr(each, text)
    return path


class World:
    def __init__(self, home: Home, children: Children, folder: Path) -> None:
        self.home, self.children, self.folder = home, children, folder
        self.index = folder / "index"
        self.index.mkdir()
        self.log = folder / "output.log"

    def made(self, **settings: object) -> Environments:
        return Environments(self.home, self.children, Settings(**settings), {"KEDGE_HOME_ID": "test"})  # type: ignore[arg-type]

    def model(self, text: str | None, name: str = "model") -> Path:
        code = self.folder / name / "code"
        code.mkdir(parents=True, exist_ok=True)
        if text is not None:
            (code / "requirements.txt").write_text(text)
        return code

    async def prepare(
        self, made: Environments, code: Path, *, image: str = IMAGE, isolated: bool = False
    ) -> environments.Environment | None:
        self.log.touch()
        return await made.prepare(Needs(image, (code,), isolated), self.log)

    def watch(self) -> list[Mapping[str, str]]:
        """The environment of each program that is started from now on."""
        seen: list[Mapping[str, str]] = []
        spawn = self.children.spawn

        def watched(command: Sequence[str], environment: Mapping[str, str], **options: Any) -> ProcessId:
            seen.append(environment)
            return spawn(command, environment, **options)

        self.children.spawn = watched  # type: ignore[method-assign]
        return seen

    @property
    def said(self) -> str:
        return self.log.read_text()

    @property
    def venvs(self) -> list[Path]:
        return [path for path in (self.home.path / "environments").glob("*") if path.is_dir() and path.name[0] != "."]


async def printed(environment: environments.Environment | None, code: str, *, main: bool = True) -> str:
    """What a program says in that environment, started as an instance is."""
    assert environment is not None
    code = f"import site\n{'site.main()' if main else ''}\n{code}"
    done = await asyncio.to_thread(
        subprocess.run,
        [environment.python, "-P", "-S", "-c", code],
        check=False,
        capture_output=True,
        text=True,
        env={**environment.variables},
    )
    return done.stdout + done.stderr


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    nothing = Capabilities(**{each.name: False for each in fields(Capabilities)})
    monkeypatch.setenv("KEDGE_RUN_DIR", str(tmp_path / "run"))
    children = Children(nothing, tied=False)
    made = World(open_home(Settings(data_dir=tmp_path / "data")), children, tmp_path)
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(made.index))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    yield made
    children.close()


async def test_what_is_missing_is_installed_once_and_the_rest_is_shared(world: World, monkeypatch: pytest.MonkeyPatch):
    for name, version in (("kedge_test_extra", "1.5"), ("kedge_test_extra", "2.0"), ("threadpoolctl", "0.1")):
        wheel(world.index, name, version)
    monkeypatch.setenv("KEDGE_ROOT_SECRET_KEY", "secret")
    monkeypatch.setenv("PIP_TARGET", "/somewhere")
    given = world.watch()
    text = "kedge_test_extra<2\nthreadpoolctl==0.1\nnumpy  # is there\n"
    # Two supervisors would wait for one another as these three do.
    one, other = world.made(), world.made()
    codes = [world.model(text, name) for name in ("a", "b", "c")]
    pairs = zip((one, other, one), codes, strict=True)
    found = await asyncio.gather(*(world.prepare(each, code) for each, code in pairs))
    first = found[0]
    assert found == [first] * 3
    assert world.said.count("Successfully installed") == 1
    assert len(world.venvs) == 1
    assert (await printed(first, PRINT.format("kedge_test_extra"))).startswith("1.5 " + str(world.venvs[0]))
    import numpy
    import threadpoolctl

    assert numpy.__file__ in await printed(first, PRINT.format("numpy"))
    assert threadpoolctl.__version__ != "0.1"
    assert (await printed(first, PRINT.format("threadpoolctl"))).startswith("0.1 ")
    assert "kedge/__init__.py" in await printed(first, "import kedge; print(kedge.__file__)")
    said = world.said
    assert await world.prepare(world.made(), world.model(text, "other")) == first
    assert world.said == said, "it was installed again"
    for environment in given:
        assert "secret" not in environment.values()
        assert "PIP_TARGET" not in environment
        assert environment["KEDGE_HOME_ID"] == "test"


@pytest.mark.parametrize("text", [None, "# only a comment\n", "numpy\n", "joblib>=1\n"])
async def test_nothing_is_made_when_everything_is_there(world: World, text: str | None):
    for made in (world.made(), world.made(allow_installs=False)):
        assert await world.prepare(made, world.model(text), isolated=True) is None
    assert world.venvs == []


async def test_a_failure_says_why_and_leaves_nothing_that_counts(world: World):
    made = world.made()
    with pytest.raises(
        EnvironmentFailed, match=r"(?s)could not be installed \(pip ended with 1.*No matching .*gone==3"
    ):
        await world.prepare(made, world.model("kedge_test_gone==3"))
    assert "No matching distribution found for kedge_test_gone==3" in world.said
    assert not list(world.venvs[0].glob("complete"))


async def test_installs_may_be_forbidden(world: World):
    wheel(world.index, "kedge_test_extra", "1")
    code = world.model("kedge_test_extra")
    with pytest.raises(EnvironmentFailed, match="KEDGE_ALLOW_INSTALLS is false"):
        await world.prepare(world.made(allow_installs=False), code)
    with pytest.raises(EnvironmentFailed, match="EnableNetworkIsolation is true"):
        await world.prepare(world.made(), code, isolated=True)
    assert world.venvs == []


async def test_what_runs_code_outside_of_the_sandbox_is_refused(world: World):
    with pytest.raises(EnvironmentFailed, match=r'"-e \." is an option.*KEDGE_TRUST_REQUIREMENTS'):
        await world.prepare(world.made(), world.model("-e ."))
    source = world.model("kedge_test_source", "source")
    project = world.folder / "project"
    project.mkdir()
    (project / "setup.py").write_text("open('ran', 'w')\nfrom setuptools import setup\nsetup(name='kedge_test_source')")
    import tarfile

    with tarfile.open(world.index / "kedge_test_source-1.tar.gz", "w:gz") as archive:
        archive.add(project, "kedge_test_source-1")
    with pytest.raises(EnvironmentFailed, match="only wheels are"):
        await world.prepare(world.made(), source)


async def test_files_of_the_archive_may_be_named_and_no_others(world: World):
    wheel(world.index, "kedge_test_extra", "1")
    code = world.model("-r more/list.txt\n./wheels/kedge_test_own-7-py3-none-any.whl\n")
    wheel(code / "wheels", "kedge_test_own", "7", extra={"zz_early.pth": "import os; os.environ['EARLY'] = '1'\n"})
    # A module in the folder where pip runs does not take its place.
    (code / "pip.py").write_text("raise SystemExit('taken')")
    (code / "more").mkdir()
    (code / "more" / "list.txt").write_text("kedge_test_extra\n")
    environment = await world.prepare(world.made(), code)
    for name, version in (("kedge_test_own", "7 "), ("kedge_test_extra", "1 ")):
        assert (await printed(environment, PRINT.format(name))).startswith(version)
    assert "taken" not in world.said
    # What a package runs at a start it runs when `site` is turned on, which an instance does in its sandbox.
    code_of_pth = "import os; before = 'EARLY' in os.environ; site.main(); print(before, 'EARLY' in os.environ)"
    assert await printed(environment, code_of_pth, main=False) == "False True\n"
    (world.folder / "secret").write_text("the=key\n")
    (code / "more" / "list.txt").unlink()
    (code / "more" / "list.txt").symlink_to(world.folder / "secret")
    with pytest.raises(EnvironmentFailed, match="is no file of the archive") as refused:
        await world.prepare(world.made(), code)
    assert "the=key" not in str(refused.value) + world.said
    (code / "more" / "list.txt").unlink()
    (code / "more" / "list.txt").write_text("--index-url https://elsewhere.example\n")
    with pytest.raises(EnvironmentFailed, match=r"list.txt is not installed: .*--index-url"):
        await world.prepare(world.made(), code)
    (code / "requirements.txt").write_text("x" * 300_000)
    with pytest.raises(EnvironmentFailed, match="at most 262144"):
        await world.prepare(world.made(), code)
    (code / "requirements.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(EnvironmentFailed, match="cannot be read"):
        await world.prepare(world.made(), code)


async def test_a_killed_install_leaves_nothing_that_counts(world: World):
    wheel(world.index, "kedge_test_extra", "1")
    made, code = world.made(), world.model("kedge_test_extra")
    working = asyncio.create_task(world.prepare(made, code))
    for _ in range(4000):
        if world.venvs or working.done():
            break
        await asyncio.sleep(0.005)
    working.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working
    assert not list((world.home.path / "environments").glob("*/complete"))
    assert world.children._started == {}, "a child was left"


async def test_an_image_may_be_mapped_to_requirements_or_a_python(world: World):
    wheel(world.index, "kedge_test_extra", "1")
    wheel(world.index, "kedge_test_other", "1")
    (world.folder / "pinned.txt").write_text("kedge_test_extra==1\n")
    table = world.folder / "environments.json"
    table.write_text(f'{{"kedge/sklearn:1": "pinned.txt", "sagemaker-*:1.2-*": {sys.executable!r}}}'.replace("'", '"'))
    made = world.made(environments=str(table))
    both = await world.prepare(made, world.model("kedge_test_other"))
    for name in ("kedge_test_extra", "kedge_test_other"):
        assert (await printed(both, PRINT.format(name))).startswith("1 ")
    image = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3"
    python = await world.prepare(made, world.model(None, "bare"), image=image)
    assert python is not None
    assert python.python == sys.executable
    assert await world.prepare(made, world.model(None, "bare"), image="kedge/sklearn:2") is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "cannot be read as JSON"),
        ('["a"]', "it has to hold"),
        ('{"*": 1}', "it has to hold"),
        ('{"*": "/nowhere/python"}', "cannot be started|no Python that can be started"),
        ('{"*": "/bin/true"}', "no Python that can be started"),
        ('{"*": "gone.txt"}', "gone.txt cannot be read"),
    ],
)
async def test_a_map_that_cannot_be_says_why(world: World, text: str, says: str):
    table = world.folder / "environments.json"
    table.write_text(text)
    with pytest.raises(EnvironmentFailed, match=says):
        await world.prepare(world.made(environments=str(table)), world.model(None))
    with pytest.raises(EnvironmentFailed, match="cannot be read as JSON"):
        await world.prepare(world.made(environments=str(world.folder / "none")), world.model(None))


@pytest.mark.parametrize(
    ("image", "path"),
    [
        ("kedge/sklearn:1.2", "one"),
        ("1.dkr.ecr.x.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3", "two"),
        ("kedge/sklearn:1.3", ""),
        ("", ""),
    ],
)
def test_the_first_pattern_that_fits_counts(image: str, path: str):
    assert mapped({"kedge/sklearn:1.2": "one", "sagemaker-scikit-learn:1.2-*": "two", "*:1.2*": "no"}, image) == path
