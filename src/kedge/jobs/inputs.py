"""What a job finds in its folder: the files that it is told by, and objects from S3."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
from pathlib import Path

from kedge.errors import ServiceError
from kedge.jobs import plan as plans
from kedge.jobs.failing import JobFailed
from kedge.jobs.gzipped import NotPacked, unpacked
from kedge.jobs.plan import BadInput
from kedge.jobs.program_plan import Input, ProgramPlan
from kedge.models.archive import DEFAULT_LIMITS, Read, Refused, TimeLeft, Tree, unpack
from kedge.objects.of_account import AccountObjects

LARGEST_MANIFEST_BYTES = 64 * 1024 * 1024
UNPACK_WITHIN_S = 600.0
_PACKED = ".gz"


def begin(folder: Path, plan: ProgramPlan, ml: Path) -> Tree:
    """A new folder, with the files and folders that the plan names. Blocks. Raises OSError, Refused."""
    shutil.rmtree(folder, ignore_errors=True)
    ml.mkdir(mode=0o700, parents=True)
    tree = Tree(ml)
    for name in plan.folders:
        tree.folder(name)
    for name, text in plan.files.items():
        with tree.file(name) as file:
            file.write(text.encode())
    return tree


async def bring(objects: AccountObjects, given: Input, tree: Tree) -> int:
    """The input's objects as files; returns how many. Raises JobFailed."""
    try:
        found = await _sources(objects, given)
    except BadInput as error:
        if not given.required:
            return 0
        raise JobFailed(f"ClientError: {error}") from error
    except (ServiceError, OSError, sqlite3.Error) as error:
        raise JobFailed(f"ClientError: The input {given.uri} cannot be read: {error}") from error
    for uri, name in found.items():
        try:
            await _fetch(objects, uri, tree, f"{given.local}/{name}", gzip=given.gzip)
        except Refused as error:
            raise JobFailed(f"ClientError: The input {uri} cannot be used: {error}.") from error
        except NotPacked as error:
            raise JobFailed(f"ClientError: The input {uri} is {error}") from error
        except (ServiceError, OSError, sqlite3.Error) as error:
            raise JobFailed(f"ClientError: The input {uri} cannot be read: {error}") from error
    return len(found)


async def unpack_source(objects: AccountObjects, uri: str, ml: Path) -> None:
    """A tar.gz into ml/code. Raises JobFailed."""
    archive = ml.parent / "source.tar.gz"
    try:
        await _copy(objects, uri, archive)
        await asyncio.to_thread(_unpack, archive, ml / "code")
    except Refused as error:
        raise JobFailed(f"ClientError: The source at {uri} cannot be used: {error}.") from error
    except (ServiceError, OSError, sqlite3.Error) as error:
        raise JobFailed(f"ClientError: The source at {uri} cannot be read: {error}") from error
    finally:
        archive.unlink(missing_ok=True)


def _unpack(archive: Path, folder: Path) -> None:
    with archive.open("rb") as file:
        read = Read(file, TimeLeft(lambda: 0.0, UNPACK_WITHIN_S, lambda: True))
        unpack(read, Tree(folder), DEFAULT_LIMITS)


async def _sources(objects: AccountObjects, given: Input) -> dict[str, str]:
    """From the address of each object to its file's name. Raises BadInput."""
    if given.manifest:
        listed = plans.inputs_of_manifest(await objects.read(given.uri, LARGEST_MANIFEST_BYTES), given.uri, "")
    else:
        listed = plans.inputs_of_prefix(given.uri, await objects.keys(given.uri), "")
    return {each.uri: each.output.lstrip("/").removesuffix(plans.SUFFIX) for each in listed}


async def _fetch(objects: AccountObjects, uri: str, tree: Tree, name: str, *, gzip: bool) -> None:
    _, reader = await objects.open(uri)
    try:
        with tree.file(name.removesuffix(_PACKED) if gzip else name) as file:
            async for part in unpacked(reader) if gzip else reader:
                await asyncio.to_thread(file.write, part)
    finally:
        await reader.aclose()


async def _copy(objects: AccountObjects, uri: str, target: Path) -> None:
    _, reader = await objects.open(uri)
    with target.open("wb") as file:
        async with contextlib.aclosing(reader):
            async for part in reader:
                await asyncio.to_thread(file.write, part)
