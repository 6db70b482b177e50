"""What the supervisor knows of processes that end before it has asked for them."""

from __future__ import annotations

import os
import sys
from dataclasses import fields

from kedge.compute.children import Children
from kedge.compute.linux import Capabilities


async def test_the_status_of_one_that_has_just_ended_is_known_before_its_signal_is_heard():
    children = Children(Capabilities(**{each.name: False for each in fields(Capabilities)}), tied=False)
    try:
        pid = os.posix_spawn(sys.executable, [sys.executable, "-c", "raise SystemExit(3)"], dict(os.environ))  # noqa: ASYNC221
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222 (the loop has no turn: it would hear)
        assert children.claim(pid) is None
        assert children.exit_status(pid) == 3
    finally:
        children.close()
