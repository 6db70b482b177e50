"""Whether the model's thread gets on with its work, as the I/O thread finds out now and then.

The model's thread only counts: no timer and no look at a clock is made for a request.
"""

from __future__ import annotations

import faulthandler
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from kedge.serving.work import Job

LEAST_S = 1.0
"""Nobody is given up sooner, however short the time-out: a start costs more than that."""
HAND_BACK_S = 2.0
"""A batch that takes longer, or half of its time-out: what waits behind it is better off elsewhere."""
RENEW_S = 2.0
_STDERR = 2


class Unserviceable(Exception):
    """The process cannot answer any more and is to be replaced; the message says why, without a full stop."""


class Stuck(NamedTuple):
    waited_s: float
    requests: int
    """In the batch."""


class Watch:
    """`begin`, `step` and `end` are the model thread's; `stuck` is for the thread that looks. No clock of its own."""

    def __init__(self) -> None:
        self._batch: Sequence[Job[Any]] = ()
        self._steps = 0
        self._seen = 0
        self._since_s = 0.0
        self._stream_since_s: float | None = None
        self._streams = False
        self.holds_up = False
        """At the last look: the batch has made no progress, or has been at one stream, for so long that nobody should
        wait behind it."""

    def begin(self, batch: Sequence[Job[Any]]) -> None:
        self._steps += 1
        self._batch = batch

    def step(self) -> None:
        """Some of the batch are answered."""
        self._steps += 1

    def stream(self, *, goes_on: bool) -> None:
        """An answer of the batch is being given part by part, each of which is a step; or no longer."""
        self._steps += 1
        self._streams = goes_on

    def end(self) -> None:
        self._batch = ()

    def stuck(self, now_s: float) -> Stuck | None:
        """A batch that was the same at every look for the largest time-out of its requests, without a step.

        now_s: on any clock, the same at every call.
        """
        batch, steps = self._batch, self._steps
        if not self._streams:
            self._stream_since_s = None
        elif self._stream_since_s is None:
            self._stream_since_s = now_s
        longest_s = max([LEAST_S, *(job.timeout_s for job in batch)])
        patience_s = max(LEAST_S, min(HAND_BACK_S, longest_s / 2))
        if not batch or steps != self._seen:
            self._seen, self._since_s = steps, now_s
            self.holds_up = self._stream_since_s is not None and now_s - self._stream_since_s >= patience_s
            return None
        waited_s = now_s - self._since_s
        self.holds_up = waited_s >= patience_s
        if waited_s < longest_s:
            return None
        return Stuck(waited_s, len(batch))


class Backstop:
    """Ends the process when the thread that looks cannot: code in C may never let go of the interpreter's lock.

    A thread of `faulthandler`, which needs no lock, writes all stacks to standard error and ends the process unless
    `renew` is called in time. There is one such thread in a process, and a fork takes it away.
    """

    def __init__(self) -> None:
        self.armed = False
        self._renewed_s = -math.inf
        self._timeout_s = 0.0

    def renew(self, now_s: float, timeout_s: float) -> None:
        """Call it at least every RENEW_S while there is work. timeout_s: as a request's; inf is no bound."""
        if self.armed and now_s - self._renewed_s < RENEW_S and timeout_s <= self._timeout_s:
            return
        if math.isinf(timeout_s):
            self.cancel()
            return
        faulthandler.dump_traceback_later(max(LEAST_S, timeout_s) + 2 * RENEW_S, exit=True, file=_STDERR)
        self.armed, self._renewed_s, self._timeout_s = True, now_s, timeout_s

    def expire(self, now_s: float) -> bool:
        """There is no work. False while it stays armed all the same: at every short pause a new thread would cost."""
        if self.armed and now_s - self._renewed_s < RENEW_S:
            return False
        self.cancel()
        return True

    def cancel(self) -> None:
        if self.armed:
            faulthandler.cancel_dump_traceback_later()
            self.armed = False
