"""What an instance type has: cores, memory, GPUs. PURE.

Source: the public tables of EC2 sizes behind the ml.* types. Accelerators that are no GPUs (inf*) count as none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from kedge.errors import ValidationFailed

GIB = 1024**3
_XLARGE_CORES = 4
_SMALLER = {"nano": 1, "micro": 1, "small": 1, "medium": 2, "large": 2}


@dataclass(frozen=True)
class InstanceType:
    name: str
    cores: float
    memory_gib: float
    gpus: int = 0

    @property
    def memory_bytes(self) -> int:
        return int(self.memory_gib * GIB)


def _cores(size: str) -> int:
    return _SMALLER.get(size) or _XLARGE_CORES * int(size.removesuffix("xlarge") or 1)


def _family(names: str, sizes: str, gib_per_core: float) -> dict[str, InstanceType]:
    """Types whose memory is proportional to their cores, which is so within most families."""
    found = {}
    for family in names.split():
        for size in sizes.split():
            name = f"ml.{family}.{size}"
            found[name] = InstanceType(name, _cores(size), _cores(size) * gib_per_core)
    return found


def _listed(text: str) -> dict[str, InstanceType]:
    """Lines of: type without ml., cores, GiB, GPUs."""
    found = {}
    for line in text.strip().splitlines():
        short, cores, gib, gpus = line.split()
        found[f"ml.{short}"] = InstanceType(f"ml.{short}", float(cores), float(gib), int(gpus))
    return found


_TO_24 = "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge"
_TO_16 = "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge"

BUILT_IN: Mapping[str, InstanceType] = {
    **_family("m4", "large xlarge 2xlarge 4xlarge 10xlarge 16xlarge", 4),
    **_family("m5 m5d", _TO_24, 4),
    **_family("m6i m6id m7i", f"{_TO_24} 32xlarge", 4),
    **_family("m7i", "48xlarge", 4),
    **_family("m6g m6gd m7g", _TO_16, 4),
    **_family("c5 c5d", "large xlarge 2xlarge 4xlarge 9xlarge 12xlarge 18xlarge 24xlarge", 2),
    **_family("c6i c6id c7i", f"{_TO_24} 32xlarge", 2),
    **_family("c7i", "48xlarge", 2),
    **_family("c6g c6gd c7g", _TO_16, 2),
    **_family("r5 r5d", _TO_24, 8),
    **_family("r6i r6id r7i", f"{_TO_24} 32xlarge", 8),
    **_family("r7i", "48xlarge", 8),
    **_family("r6g r6gd r7g", _TO_16, 8),
    **_listed(
        """
        t2.medium 2 4 0
        t2.large 2 8 0
        t2.xlarge 4 16 0
        t2.2xlarge 8 32 0
        t3.medium 2 4 0
        t3.large 2 8 0
        t3.xlarge 4 16 0
        t3.2xlarge 8 32 0
        c4.large 2 3.75 0
        c4.xlarge 4 7.5 0
        c4.2xlarge 8 15 0
        c4.4xlarge 16 30 0
        c4.8xlarge 36 60 0
        g4dn.xlarge 4 16 1
        g4dn.2xlarge 8 32 1
        g4dn.4xlarge 16 64 1
        g4dn.8xlarge 32 128 1
        g4dn.12xlarge 48 192 4
        g4dn.16xlarge 64 256 1
        g5.xlarge 4 16 1
        g5.2xlarge 8 32 1
        g5.4xlarge 16 64 1
        g5.8xlarge 32 128 1
        g5.12xlarge 48 192 4
        g5.16xlarge 64 256 1
        g5.24xlarge 96 384 4
        g5.48xlarge 192 768 8
        g6.xlarge 4 16 1
        g6.2xlarge 8 32 1
        g6.4xlarge 16 64 1
        g6.8xlarge 32 128 1
        g6.12xlarge 48 192 4
        g6.16xlarge 64 256 1
        g6.24xlarge 96 384 4
        g6.48xlarge 192 768 8
        p2.xlarge 4 61 1
        p2.8xlarge 32 488 8
        p2.16xlarge 64 732 16
        p3.2xlarge 8 61 1
        p3.8xlarge 32 244 4
        p3.16xlarge 64 488 8
        p4d.24xlarge 96 1152 8
        p4de.24xlarge 96 1152 8
        p5.48xlarge 192 2048 8
        inf1.xlarge 4 8 0
        inf1.2xlarge 8 16 0
        inf1.6xlarge 24 48 0
        inf1.24xlarge 96 192 0
        inf2.xlarge 4 16 0
        inf2.8xlarge 32 128 0
        inf2.24xlarge 96 384 0
        inf2.48xlarge 192 768 0
        """
    ),
}


def parse(text: str) -> dict[str, InstanceType]:
    """The file of the setting `instance_types`: {"ml.type": {"cores": N, "memory_gib": N, "gpus": N}}.

    Raises ValueError that names what is wrong.
    """
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("it has to be one JSON object, with an entry for each type")
    return {name: _parsed(name, fields) for name, fields in found.items()}


def _parsed(name: str, fields: object) -> InstanceType:
    if not name.startswith("ml."):
        raise ValueError(f'"{name}" is no type: the name begins with ml.')
    if not isinstance(fields, dict) or not {"cores", "memory_gib"} <= fields.keys() <= {"cores", "memory_gib", "gpus"}:
        raise ValueError(f'{name} needs "cores" and "memory_gib", and may have "gpus"')
    values = {"gpus": 0, **fields}
    for key, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int if key == "gpus" else int | float):
            raise ValueError(f"{name}: {key} is {json.dumps(value)}; it has to be a number")
        if value < 0 or (value == 0 and key != "gpus"):
            raise ValueError(f"{name}: {key} is {value}; it has to be above 0")
    return InstanceType(name, float(values["cores"]), float(values["memory_gib"]), values["gpus"])


def find(name: str, known: Mapping[str, InstanceType] = BUILT_IN) -> InstanceType:
    """Raises ValidationFailed that names the type and the setting by which it can be added."""
    if name not in known:
        raise ValidationFailed(
            f"The instance type {name} is not known here. Its cores and memory can be added by the JSON file that the "
            "setting KEDGE_INSTANCE_TYPES names."
        )
    return known[name]
