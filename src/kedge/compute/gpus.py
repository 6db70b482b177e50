"""The GPUs of this machine, and which of them an instance gets: each one belongs to one instance at a time."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

_SHARED = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset")
_SYSTEM = ("/sys/bus/pci", "/sys/devices", "/sys/module/nvidia", "/sys/module/nvidia_uvm")


@dataclass(frozen=True)
class Gpu:
    index: int
    uuid: str = ""
    """As CUDA knows it; empty where the driver does not say. An index means another one where not all are seen."""
    minor: int = -1
    """Of /dev/nvidiaN; -1 where that is not known."""


def count(setting: int) -> int:
    """setting: the number that the operator gives, or -1."""
    return setting if setting >= 0 else len(found())


def found(driver: Path = Path("/proc/driver/nvidia/gpus"), devices: Path = Path("/dev")) -> list[Gpu]:
    """NVIDIA GPUs whose driver runs, in the order of their devices; nvidia-smi is not needed."""
    gpus = []
    with contextlib.suppress(OSError):
        for information in driver.glob("*/information"):
            text = information.read_text()
            minor, uuid = re.search(r"Device Minor:\s*(\d+)", text), re.search(r"GPU UUID:\s*(GPU-\S+)", text)
            gpus.append((int(minor[1]) if minor else -1, uuid[1] if uuid and "?" not in uuid[1] else ""))
    if not gpus:
        names = (re.fullmatch(r"nvidia(\d+)", entry.name) for entry in devices.iterdir())
        gpus = [(int(name[1]), "") for name in names if name]
    return [Gpu(index, uuid, minor) for index, (minor, uuid) in enumerate(sorted(gpus))]


def chosen(wanted: int, total: int, taken: Collection[int]) -> tuple[int, ...] | None:
    """The lowest free indices; None when there are not so many. PURE."""
    free = [index for index in range(total) if index not in taken]
    return tuple(free[:wanted]) if len(free) >= wanted else None


def visible(indices: Sequence[int], known: Sequence[Gpu]) -> dict[str, str]:
    """What an instance's environment says of its GPUs. PURE."""
    by_index = {gpu.index: gpu for gpu in known}
    names = [by_index[index].uuid if index in by_index and by_index[index].uuid else str(index) for index in indices]
    return {
        "CUDA_VISIBLE_DEVICES": ",".join(names),
        "NVIDIA_VISIBLE_DEVICES": ",".join(names) or "void",
        "SM_NUM_GPUS": str(len(indices)),
    }


def devices(indices: Sequence[int], known: Sequence[Gpu], folder: Path = Path("/dev")) -> list[str]:
    """The device files of these GPUs; none without a GPU."""
    minors = [gpu.minor for gpu in known if gpu.index in indices and gpu.minor >= 0]
    paths = [folder / f"nvidia{minor}" for minor in minors]
    if paths:
        paths += [folder / name for name in _SHARED]
        paths += sorted((folder / "nvidia-caps").glob("*"))
    return [str(path) for path in paths if path.exists()]


def system_paths(indices: Sequence[int]) -> list[str]:
    """What the driver's libraries read besides."""
    return [path for path in _SYSTEM if Path(path).exists()] if indices else []
