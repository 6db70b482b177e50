"""The supervisor of one machine: starts, watches and restarts control, routers and instances.

`up` runs it, `down` ends it and `status` tells of it; docs/operations.md says what lies where and who survives whom.
"""

from __future__ import annotations

import sys
from pathlib import Path

from kedge.home import HomeError
from kedge.node import ending
from kedge.node.report import status
from kedge.node.starting import up

__all__ = ["down", "status", "up"]


def down(data_dir: Path) -> int:
    """End the server of this directory. Exit code: 0 also when none ran, 1 when the directory cannot be used."""
    try:
        ran = ending.down(data_dir)
    except HomeError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write("Kedge has ended.\n" if ran else f"No server runs on {data_dir}.\n")
    return 0
