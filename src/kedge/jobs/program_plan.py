"""What a job's program is given and what is taken from it, whichever kind of job it is. PURE.

Paths are relative to /opt/ml. Members that this release cannot honour are refused by name when the job is created.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kedge.errors import ValidationFailed
from kedge.objects import address

OPT_ML = "/opt/ml/"
DEFAULT_RUNTIME_S = 24 * 3600
HOST = "algo-1"
MODEL, OUTPUT_DATA = "model", "output/data"
MESSAGE, FAILURE = "output/message", "output/failure"


@dataclass(frozen=True)
class Input:
    """Objects that become files."""

    uri: str
    local: str
    manifest: bool = False
    gzip: bool = False
    required: bool = True
    """Whether there has to be an object."""


@dataclass(frozen=True)
class Output:
    """Files that become objects."""

    uri: str
    local: str
    continuous: bool = False


@dataclass(frozen=True)
class ProgramPlan:
    inputs: tuple[Input, ...] = ()
    outputs: tuple[Output, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    """Texts of the files that it is given."""
    folders: tuple[str, ...] = ()
    """That it is given empty."""
    source: str = ""
    """Address of a tar.gz that is unpacked into `code`; "" is none."""
    entrypoint: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    work_dir: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    most_s: float = DEFAULT_RUNTIME_S
    """How long it may run."""
    kms_key: str = ""
    role: str = ""
    isolated: bool = False
    model_uri: str = ""
    """Where its model goes, as one archive; a prefix where `packed` is False; "" for a job that makes none."""
    output_data_uri: str = ""
    packed: bool = True


def resource_config(instance_type: str) -> dict[str, Any]:
    """input/config/resourceconfig.json."""
    group = {"instance_group_name": "homogeneousCluster", "instance_type": instance_type, "hosts": [HOST]}
    return {
        "current_host": HOST,
        "current_instance_type": instance_type,
        "current_group_name": "homogeneousCluster",
        "hosts": [HOST],
        "instance_groups": [group],
        "network_interface_name": "lo",
    }


def check_address(member: str, uri: str) -> None:
    """Raises ValidationFailed."""
    try:
        address.parse(uri)
    except ValueError as error:
        raise ValidationFailed(f'{member} is "{uri}"; {error}.') from None


def local(member: str, path: str, below: str) -> str:
    """The path without /opt/ml/. Raises ValidationFailed when it does not lie below `below`."""
    found = posixpath.normpath(path)
    if not f"{found}/".startswith(f"{below}/"):
        raise ValidationFailed(f'{member} is "{path}"; it has to begin with {below}/.')
    return found.removeprefix(OPT_ML)


def refuse(given: Iterable[tuple[Any, str]]) -> None:
    """given: (what is asked for or something empty, the member). Raises ValidationFailed for the first."""
    for value, member in given:
        if value:
            shown = f" is {value}" if isinstance(value, str | int) and not isinstance(value, bool) else " is given"
            raise ValidationFailed(f"{member}{shown}, which this release of Kedge cannot do.")


def check_one_instance(member: str, count: int) -> None:
    """Raises ValidationFailed."""
    if count != 1:
        raise ValidationFailed(
            f"{member} is {count}; a job of this release of Kedge runs on one instance, so it has to be 1."
        )
