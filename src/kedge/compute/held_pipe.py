"""Dying with the supervisor where the kernel cannot be asked to (PR_SET_PDEATHSIG).

The supervisor holds the write end of a pipe for as long as it lives and never writes; a child that has to go with it
watches the read end, whose number it finds in KEDGE_HELD_FD. Only `kedge up --ephemeral` asks for this.
"""

from __future__ import annotations

import os
import signal
import threading

VARIABLE = "KEDGE_HELD_FD"


def die_with_supervisor() -> None:
    """Watch the pipe, when there is one, from a thread that ends this process as a kill would."""
    held = os.environ.pop(VARIABLE, "")
    if held:
        threading.Thread(target=_watch, args=(int(held),), name="held-pipe", daemon=True).start()


def forget() -> None:
    """Let go of the pipe: something else sees to the end."""
    held = os.environ.pop(VARIABLE, "")
    if held:
        os.close(int(held))


def _watch(descriptor: int) -> None:
    while os.read(descriptor, 1):
        pass
    os.kill(os.getpid(), signal.SIGKILL)
