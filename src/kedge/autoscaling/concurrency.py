"""The concurrent requests of the last seconds, as routers report them, and the variants that a request waits for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from kedge.autoscaling.windows import KEPT_S
from kedge.clock import Clock
from kedge.serving.meter import Frame, VariantPlace

FRESH_S = 2.5
"""A router that has something to do says so every second; one that has said nothing for so long has nothing to do."""

LATE_S = 5.0
"""A report on a second before that was kept while control was away: it says nothing of now."""


class Recent:
    """`take` is told of each report, on the loop's thread; the rest is asked by the thread that decides."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._now: dict[VariantPlace, dict[str, tuple[float, int]]] = {}
        """By router: when it reported, and how many requests."""
        self._samples: dict[VariantPlace, deque[float | None]] = {}
        self._sampled_at_s: int | None = None
        self._busy_at_s: dict[VariantPlace, float] = {}
        """When something was heard of each the last time: it had, or has, something to do."""
        self.wanted: dict[VariantPlace, float] = {}
        """Variants for which a request waits that have no instance, and when that was heard last."""
        self.on_wanted: Callable[[], None] = lambda: None

    def take(self, frame: Frame) -> None:
        if frame.second < self._clock.now().timestamp() - LATE_S:
            return
        now_s = self._clock.monotonic_s()
        for each in frame.concurrent:
            place, requests = each.place, each.requests
            self._now.setdefault(place, {})[frame.boot] = (now_s, requests)
            self._busy_at_s[place] = now_s
            if requests and not each.instances:
                self.want(place)

    def want(self, place: VariantPlace) -> None:
        """Something waits for an instance of it, and there is none. On the loop's thread."""
        self.wanted[place] = self._clock.monotonic_s()
        self.on_wanted()

    def sample(self, places: set[VariantPlace], *, heard: bool) -> None:
        """Once a second. places: that are followed. heard: whether every router is connected."""
        second = int(self._clock.monotonic_s())
        if self._sampled_at_s == second:
            return
        missed = 0 if self._sampled_at_s is None else min(KEPT_S, second - self._sampled_at_s - 1)
        self._sampled_at_s = second
        for gone in self._samples.keys() - places:
            del self._samples[gone]
        for gone in set(self._busy_at_s) - places:
            self._busy_at_s.pop(gone, None)
        for place in places:
            samples = self._samples.setdefault(place, deque(maxlen=KEPT_S))
            samples.extend([None] * missed)
            samples.append(float(self.requests(place)) if heard else None)
        self._forget()

    def requests(self, place: VariantPlace) -> int:
        """At an instance, or waiting for one, by what was heard last."""
        fresh_s = self._clock.monotonic_s() - FRESH_S
        return sum(count for at_s, count in list(self._now.get(place, {}).values()) if at_s >= fresh_s)

    def busy_at_s(self, place: VariantPlace) -> float:
        """When it had something to do the last time, on the monotonic clock; 0 where nothing was heard of it."""
        return self._busy_at_s.get(place, 0.0)

    def samples(self, place: VariantPlace) -> list[float | None]:
        return list(self._samples.get(place, ()))

    def waited_for(self) -> list[VariantPlace]:
        """Variants without an instance for which requests wait now."""
        fresh_s = self._clock.monotonic_s() - FRESH_S
        return [place for place, at_s in list(self.wanted.items()) if at_s >= fresh_s]

    def has_one(self, place: VariantPlace) -> None:
        """It has an instance, or will: what waited has been heard. What waits when that is gone again says so anew."""
        self.wanted.pop(place, None)

    def _forget(self) -> None:
        """What was heard so long ago that it says nothing any more."""
        fresh_s = self._clock.monotonic_s() - FRESH_S
        for place, heard in list(self._now.items()):
            if all(at_s < fresh_s for at_s, _ in heard.values()):
                self._now.pop(place, None)
        for place, at_s in list(self.wanted.items()):
            if at_s < fresh_s:
                self.wanted.pop(place, None)
