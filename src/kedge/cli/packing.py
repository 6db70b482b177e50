"""A model file or folder as the model.tar.gz that SageMaker's contract asks for."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import click

MODEL_SUFFIXES = (".joblib", ".pkl", ".pickle", ".skops")
ARCHIVES = (".tar.gz", ".tgz")
_LEFT_OUT = ("__pycache__", ".git", ".ipynb_checkpoints", ".venv")


def pack(path: Path, target: Path) -> None:
    """Write the archive of `path` to `target`. Equal content gives equal bytes. Raises click.UsageError.

    A model file becomes model.SUFFIX at the root. A folder is taken as it is; Python files and requirements.txt that
    lie beside its inference.py go to code/, where the contract expects them. A model.tar.gz is only checked.
    """
    if path.is_dir():
        members = _of_folder(path)
    elif path.name.endswith(ARCHIVES):
        if not tarfile.is_tarfile(path):
            raise click.UsageError(f"{path} is no gzip-compressed tar archive.")
        target.write_bytes(path.read_bytes())
        return
    elif path.suffix in MODEL_SUFFIXES:
        members = {f"model{path.suffix}": path}
    else:
        raise click.UsageError(
            f"{path} is no model that can be deployed: give a file that ends with {', '.join(MODEL_SUFFIXES)}, "
            "a folder with such a file or with inference.py, or a model.tar.gz."
        )
    with (
        open(target, "wb") as file,
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=1) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, source in sorted(members.items()):
            _add(archive, name, source)


def _of_folder(folder: Path) -> dict[str, Path]:
    files = {
        file.relative_to(folder).as_posix(): file
        for file in folder.rglob("*")
        if file.is_file() and not any(part in _LEFT_OUT for part in file.relative_to(folder).parts)
    }
    if "inference.py" in files and "code/inference.py" not in files:
        files = {(f"code/{name}" if _is_code(name) else name): file for name, file in files.items()}
    if "code/inference.py" not in files and not any(_is_model(name) for name in files):
        raise click.UsageError(
            f"{folder} holds neither code/inference.py nor, at its root, a file that ends with "
            f"{', '.join(MODEL_SUFFIXES)}."
        )
    return files


def _is_code(name: str) -> bool:
    return "/" not in name and (name.endswith(".py") or name == "requirements.txt")


def _is_model(name: str) -> bool:
    return "/" not in name and name.endswith(MODEL_SUFFIXES)


def _add(archive: tarfile.TarFile, name: str, source: Path) -> None:
    """Without owner, time and mode of this machine: the archive's hash says only what is in it."""
    data = source.read_bytes()
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), 0o644
    archive.addfile(member, io.BytesIO(data))
