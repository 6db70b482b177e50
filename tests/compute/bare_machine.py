"""`kedge up`, `status` and `down` where no capability is there: what Linux offers is taken away first.

python -m tests.compute.bare_machine up | status | down DIR
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from dataclasses import fields
from pathlib import Path

from kedge import config, node
from kedge.compute import process_id
from kedge.compute.linux import Capabilities


def strip() -> Capabilities:
    """Without pidfd, SO_PEERCRED and /proc. What is asked of prctl and fallocate goes by the capabilities."""
    for module, name in ((os, "pidfd_open"), (signal, "pidfd_send_signal"), (socket, "SO_PEERCRED")):
        if hasattr(module, name):
            delattr(module, name)
    process_id._PROC = Path("/not/there")
    return Capabilities(**{each.name: False for each in fields(Capabilities)})


def main(what: str, data: str) -> int:
    bare = strip()
    if what == "up":
        settings = config.read(data_dir=Path(data), api_port=0, inference_port=0, routers=2)
        return node.up(settings, as_json=True, capabilities=bare)
    if what == "status":
        print(json.dumps(node.status(Path(data))))
        return 0
    return node.down(Path(data))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
