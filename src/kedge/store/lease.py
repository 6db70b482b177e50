"""A lease of the store as one process holds it: taken, renewed, and never believed in for longer than it lasts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

from kedge.clock import Clock
from kedge.store.store import LeaseLost, Store

TTL_S = 10.0


class Lease:
    def __init__(self, store: Store, name: str, holder: str, clock: Clock, *, ttl_s: float = TTL_S) -> None:
        """holder: the node, whose control processes follow one another and so take the lease over at once."""
        self.ttl_s = ttl_s
        self._store, self._name, self._holder, self._clock = store, name, holder, clock
        self._lock = threading.Lock()
        self._token: int | None = None
        self._until_s = 0.0
        self._is_new = True
        self._released = False
        self._taken: tuple[Callable[[], None], ...] = ()

    def on_taken(self, callback: Callable[[], None]) -> None:
        """Call it each time that the lease was taken, on the thread that took it: who has waited for it may begin."""
        self._taken = (*self._taken, callback)

    @property
    def held(self) -> tuple[str, int] | None:
        """(name, token) to guard transactions with; None while another process has it, or may have it."""
        token = self._token
        return None if token is None or self._clock.monotonic_s() >= self._until_s else (self._name, token)

    def guard(self) -> tuple[str, int]:
        """The same, for one who cannot go on without it. Raises LeaseLost."""
        held = self.held
        if held is None:
            raise LeaseLost(f'lease "{self._name}" is not held')
        return held

    def hold(self) -> bool:
        """Renew it, or try to take it; True when it was just taken. Raises ServiceUnavailable.

        Writes no history and announces no commit. Only the first time is it taken from an earlier process of this
        node: one that has lost it to its own successor must not take it back.
        """
        taken = self._hold()
        if taken:
            for callback in self._taken:
                callback()
        return taken

    def _hold(self) -> bool:
        with self._lock:
            if self._released:
                return False
            asked_s, now, ttl = self._clock.monotonic_s(), self._clock.now(), timedelta(seconds=self.ttl_s)
            if self._token is not None and self._store.renew(self._name, self._token, now, ttl):
                self._until_s = asked_s + self.ttl_s
                return False
            self._token = self._store.acquire(self._name, self._holder, now, ttl, inherit=self._is_new)
            self._until_s = asked_s + self.ttl_s
            self._is_new = self._is_new and self._token is None
            return self._token is not None

    def release(self) -> None:
        """Give it back for good: another process need not wait. Raises ServiceUnavailable."""
        with self._lock:
            self._released = True
            token, self._token = self._token, None
            if token is not None:
                self._store.release(self._name, token)
