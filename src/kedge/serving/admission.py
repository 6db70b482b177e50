"""Which requests a variant takes on when more arrive than it can answer. PURE: times are arguments.

A queue in front of a model has two uses: it carries a burst, and it lets many clients share a slow model, each of which
sends its next request when it has its answer. Both end by themselves, so nobody is refused for them. What never ends is
a stream of arrivals above the rate of answers: a queue only makes each of them late, by as much as it may hold. So when
a long queue has been growing, and not by one burst, the variant is overloaded: it keeps just so many requests that it
is never idle, refuses the others at once, and lets go of those that have waited too long to be of use. What it does
answer, it answers in about twice the time that it takes without load, at the same rate as ever.

A request is also refused when so many are before it that its deadline will be over.
"""

from __future__ import annotations

import math
from collections import deque
from enum import Enum, auto

WINDOW_S = 0.1
GROWTH = 1.3
GROWING_WINDOWS = 2
"""So many in a row, each with GROWTH times as many arrivals as answers; one alone may be a burst."""
LONG_WINDOW_S = 1.0
SLOW_GROWTH = 1.1
"""The queue is so many times as long after a long window, GROWING_WINDOWS times in a row: just too many arrive."""
BURST = 96
"""Requests per instance that are taken on whatever the rates are."""
STANDING_S = 0.1
"""A queue that takes less time than this is short, however many it holds."""
QUIET_WINDOWS = 5
"""So many without a refusal, and the overload is over."""
BATCH_PATIENCE_S = 0.02
"""Where requests share batches: how long a queue keeps them full."""
_UNLOADED_SAMPLES = 128
_FEWEST_SAMPLES = 16
"""With fewer, the shortest latency is all that is known of one without load."""
_SMOOTHING = 0.3
_SAMPLE = 8
_LONGEST_SAMPLE_S = 2.0
"""A rate is measured over so many answers, or so much time."""
_RECENT_SAMPLES = 3
"""The best of them says what is hopeless: one may have a pause of the instance in it."""
_FORGET_S = 1.0
"""After so long without a request the model may be another."""


class Verdict(Enum):
    TAKE = auto()
    OVERLOADED = auto()
    """More arrive than are answered."""
    HOPELESS = auto()
    """Its deadline would be over before its turn came."""


class Admission:
    """Of one variant as one router sees it. `arrive` for each request; `leave` for each that was taken on."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.overloaded = False
        self._window_began_s = -math.inf
        self._window_ends_s = -math.inf
        self._arrived = 0
        self._answered = 0
        self._refused = 0
        self._was_idle = True
        self._growing = 0
        self._quiet = 0
        self._long_ends_s = -math.inf
        self._long_began_with = 0
        self._slowly_growing = 0
        self._sample_answers = 0
        self._sample_s = 0.0
        self._rate_per_s = 0.0
        """Answers while there was always something to answer; 0 is not known yet."""
        self._recent_per_s: deque[float] = deque(maxlen=_RECENT_SAMPLES)
        self._best_per_s = math.inf
        self._shortest_s = math.inf
        """From arrival to answer, of all that were seen."""
        self._unloaded_s: deque[float] = deque(maxlen=_UNLOADED_SAMPLES)
        """The same of those that found nothing in flight."""
        self._alone_since_s = math.nan
        """When the last of those arrived."""
        self._patience_s = 0.0

    def arrive(self, now_s: float, timeout_s: float, instances: int, *, joinable: bool) -> Verdict:
        """instances: healthy ones. joinable: whether they answer several requests in one batch."""
        if now_s >= self._window_ends_s:
            self._next_window(now_s)
        self._arrived += 1
        if not instances:
            # An outage is no overload: what comes waits for an instance, as far as there is room for it.
            self._growing = self._slowly_growing = 0
        if rate_per_s := self._rate_per_s:
            waiting_s = self.in_flight / rate_per_s
            growing = self._growing >= GROWING_WINDOWS or self._slowly_growing >= GROWING_WINDOWS
            if growing and self.in_flight >= BURST * instances and waiting_s > STANDING_S:
                self.overloaded = True
            if self.overloaded and instances and self.in_flight >= self.allowed(instances, joinable=joinable):
                self._refused += 1
                return Verdict.OVERLOADED
        # How many of those before it share its batch is not known.
        if self.in_flight > timeout_s * self._best_per_s and not joinable:
            self._refused += 1
            return Verdict.HOPELESS
        if not self.in_flight:
            self._alone_since_s = now_s
        self.in_flight += 1
        return Verdict.TAKE

    def leave(self, now_s: float, arrived_s: float, *, answered: bool) -> None:
        """arrived_s: the now_s of its `arrive`. answered: by the model, rightly or not."""
        if now_s >= self._window_ends_s:
            self._next_window(now_s)
        self.in_flight -= 1
        if not self.in_flight:
            self._was_idle = True
        if answered:
            self._answered += 1
            took_s = now_s - arrived_s
            if took_s < self._shortest_s:
                self._shortest_s = took_s
            if arrived_s == self._alone_since_s:
                self._unloaded_s.append(took_s)

    def allowed(self, instances: int, *, joinable: bool) -> int:
        """How many are kept in flight under overload: what is answered in twice the time of one without load."""
        patience_s = self._patience_s
        if joinable:
            # Without load too one may wait for a whole batch before its own; with less there is room for half a batch.
            patience_s = max(1.5 * patience_s, BATCH_PATIENCE_S)
        return max(2 * max(1, instances), int(self._rate_per_s * patience_s))

    def _next_window(self, now_s: float) -> None:
        elapsed_s = now_s - self._window_began_s
        if elapsed_s > _FORGET_S and not self.in_flight:
            self._growing = self._slowly_growing = 0
            self._shortest_s, self.overloaded = math.inf, False
            self._unloaded_s.clear()
        else:
            self._measure(elapsed_s)
            self._growing = self._growing + 1 if self._arrived > GROWTH * self._answered else 0
            self._quiet = 0 if self._refused else self._quiet + 1
            if self._quiet >= QUIET_WINDOWS:
                self.overloaded = False
        if now_s >= self._long_ends_s:
            is_longer = self.in_flight > SLOW_GROWTH * max(1, self._long_began_with)
            self._slowly_growing = self._slowly_growing + 1 if is_longer else 0
            self._long_ends_s, self._long_began_with = now_s + LONG_WINDOW_S, self.in_flight
        self._window_began_s, self._window_ends_s = now_s, now_s + WINDOW_S
        self._arrived = self._answered = self._refused = 0
        self._was_idle = not self.in_flight
        self._patience_s = self._patience()

    def _patience(self) -> float:
        """How long one may take under overload, on the mean, so that 99 % take at most twice as long as without load.

        Those that are before it take their usual time each, and it varies about as much as without load. On a busy
        machine that is much: with a queue as short as the shortest latency allows, the instance would often be idle.
        """
        shortest_s = self._shortest_s if math.isfinite(self._shortest_s) else 0.0
        taken_s = sorted(self._unloaded_s)
        if len(taken_s) < _FEWEST_SAMPLES:
            return 2 * shortest_s
        # Not the 99th of a hundred: one hiccup of the machine would make the queue long.
        return max(2 * shortest_s, taken_s[len(taken_s) // 2] + taken_s[len(taken_s) * 9 // 10])

    def _measure(self, elapsed_s: float) -> None:
        """The rate of answers, by a stretch of time in which there was always one due."""
        if self._was_idle:
            self._sample_answers, self._sample_s = 0, 0.0
            return
        self._sample_answers += self._answered
        self._sample_s += elapsed_s
        if self._sample_answers >= _SAMPLE or (self._sample_answers and self._sample_s >= _LONGEST_SAMPLE_S):
            rate_per_s = self._sample_answers / self._sample_s
            before = self._rate_per_s or rate_per_s
            self._rate_per_s = before + _SMOOTHING * (rate_per_s - before)
            self._recent_per_s.append(rate_per_s)
            if len(self._recent_per_s) > 1:
                self._best_per_s = max(self._recent_per_s)
            self._sample_answers, self._sample_s = 0, 0.0
