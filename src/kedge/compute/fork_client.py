"""The supervisor's end of the fork server."""

from __future__ import annotations

import contextlib
import logging
import signal
from collections.abc import Callable, Sequence

from kedge.compute.helper import Answer, Helper, HelperGone
from kedge.compute.instance import Entry
from kedge.compute.process_id import ProcessId

log = logging.getLogger(__name__)


class CannotFork(Exception):
    """This fork server will never fork: a thread runs in it as soon as it has imported."""


class ForkFailed(Exception):
    """This fork was not possible; the message says why."""


class ForkServer:
    def __init__(self, helper: Helper, kill_unclaimed: Callable[[], None]) -> None:
        """kill_unclaimed: called when the fork server ended while it was asked, and may have forked."""
        self._helper = helper
        self._kill_unclaimed = kill_unclaimed
        self._warned = False

    def spawn(self) -> ProcessId:
        """Raises OSError."""
        return self._helper.spawn()

    def close(self) -> None:
        self._helper.close()

    async def fork(self, entry: Entry, descriptors: Sequence[int]) -> int:
        """The pid of the new instance, which falls to the supervisor. Waits until the fork server has imported.

        descriptors: the status pipe, the output, the request, then one for each namespace of the entry.
        Raises ForkFailed, or CannotFork when instances are to be started in another way. When cancelled it leaves
        neither an instance nor half a conversation.
        """
        hello = await self._helper.greeting()
        if hello["threads"] != 1:
            if not self._warned:
                log.warning("no forks: %d threads run after the imports; each instance imports", hello["threads"])
                self._warned = True
            raise CannotFork
        try:
            answer = await self._helper.ask({"fork": entry.as_dict()}, descriptors, _kill)
        except HelperGone as error:
            self._kill_unclaimed()
            raise ForkFailed(str(error)) from error
        answer.close()
        if "pid" not in answer.message:
            raise ForkFailed(str(answer.message.get("error")))
        return int(answer.message["pid"])


def _kill(answer: Answer) -> None:
    answer.close()
    with contextlib.suppress(KeyError, ProcessLookupError):
        ProcessId.of(answer.message["pid"]).signal(signal.SIGKILL)
