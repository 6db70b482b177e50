"""The worker's I/O thread: accepts routers, reads their requests into the queue, and answers while the model works."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from kedge.serving.frames import FrameError
from kedge.serving.runtimes.base import Answer, Busy, InvocationError
from kedge.serving.streams import Arrived, Cancelled, Peer, refusal
from kedge.serving.watch import Backstop, Stuck, Unserviceable, Watch
from kedge.serving.work import Job, Work

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 256
"""One for each router, and one for each request of a queue or a job."""
FULL = f"The instance has {MAX_CONNECTIONS} connections, as many as it takes."
MAX_UNREAD_BYTES = 320 * 1024 * 1024
"""A router that sends and never reads is let go before its unread answers fill the memory."""
_READ_BYTES = 256 * 1024
_ACCEPT_PAUSE_S = 0.1
"""After an accept that failed, when there is nobody else to serve meanwhile."""
_LOOK_BUSY_S = 0.5
_LOOK_IDLE_S = 10.0
"""How often it looks whether the model gets on and the sockets are there."""
LONGEST_HOLD_S = 0.005
_MOST_HELD = 16
ABANDONED_S = 3.0
"""How long one that stops lets the model go on with what nobody waits for: its time-out is over, or the client gone."""
_GIVE_BACK_S = 1.0
_GIVE_BACK_PAUSE_S = 0.02
SOCKETS_GONE = "The model's code closed the instance's sockets"


class Hung(Unserviceable):
    def __init__(self, stuck: Stuck) -> None:
        requests = "1 request" if stuck.requests == 1 else f"{stuck.requests} requests"
        super().__init__(f"The model made no progress on a batch of {requests} for {stuck.waited_s:.0f} s")


class Abandoned(Exception):
    """It stops, and the model is at nothing that anybody waits for."""


class Connection:
    """One router. Its own lock: the model's thread answers on it while the I/O thread reads from it."""

    def __init__(self, sock: socket.socket, peer: Peer) -> None:
        self.socket = sock
        self.identity = identity_of(sock.fileno())
        self.peer = peer
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)
        """For the model's thread when it waits to send more of an answer: there is credit, or nobody waits for it."""
        self.closed = False
        self._unsent = memoryview(b"")

    def push(self) -> bool:
        """Send what goes out without waiting. True when something is left that a writable socket would take.

        Call with the lock held. A broken connection is left to the I/O thread, which sees it too.
        """
        while True:
            if not self._unsent:
                self._unsent = memoryview(self.peer.outgoing())
                if not self._unsent:
                    return False
            try:
                sent = self.socket.send(self._unsent)
                self._unsent = self._unsent[sent:]
            except BlockingIOError:
                return True
            except OSError:
                return False

    @property
    def quiet(self) -> bool:
        return not self._unsent and self.peer.quiet

    @property
    def is_sent(self) -> bool:
        """Whether everything is sent that may be."""
        return not self._unsent and not self.peer.has_outgoing


class WorkerIo:
    """`run` is the thread's whole life; `answer`, `wake` and `close_in_child` are for other threads."""

    def __init__(
        self,
        entrance: socket.socket,
        stop: socket.socket,
        hello: Mapping[str, Any],
        work: Work[Connection],
        watch: Watch,
        on_stop: Callable[[], None],
    ) -> None:
        """entrance: a listening socket, or one that is connected: then it is the only connection, and ends all.

        stop: a byte on it ends the accepting of requests; on_stop is then called, and the rest is finished.
        """
        self._listener = entrance if _listens(entrance) else None
        self._stop = stop
        self._hello = hello
        self._work = work
        self._watch = watch
        self._backstop = Backstop()
        self._timeout_s = 0.0
        """The largest of a request since it was idle."""
        self._look_every_s = _LOOK_IDLE_S
        self._looked_s = 0.0
        self._on_stop = on_stop
        self._connections: set[Connection] = set()
        self._stopping = False
        self._abandoned_s = math.inf
        """Since when nobody has waited for an answer, of one that stops."""
        self._holds_up = False
        """What was queued has been given back, because the model is at something that takes long."""
        self._is_full = False
        """Somebody has been refused since a connection ended last."""
        self._to_write: deque[Connection] = deque()
        self._held: dict[Connection, None] = {}
        self._held_count = 0
        self.may_hold = False
        """The model is quick: its thread holds answers back while more are about to follow."""
        self._buffer = memoryview(bytearray(_READ_BYTES))
        """One for all reads: memory for so much is mapped and unmapped each time that it is asked for."""
        self._wake_in, self._wake_out = socket.socketpair()
        for each in (self._wake_in, self._wake_out, entrance, stop):
            each.setblocking(False)
        own = [self._wake_in, self._wake_out, stop, *([self._listener] if self._listener else [])]
        self._own = {each: identity_of(each.fileno()) for each in own}
        self._selector = selectors.DefaultSelector()
        self._selector.register(stop, selectors.EVENT_READ, self._begin_to_stop)
        self._selector.register(self._wake_in, selectors.EVENT_READ, self._woken)
        if self._listener is not None:
            self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        else:
            self._adopt(entrance)

    def run(self) -> None:
        """Returns when it was stopped and everything that had been read before is answered.

        Raises Unserviceable, and Abandoned where the model does not come back from what nobody waits for.
        """
        try:
            self._serve()
        except OSError as error:
            if self._has_its_sockets():
                raise
            raise Unserviceable(SOCKETS_GONE) from error
        self._work.close()
        self._backstop.cancel()
        for connection in list(self._connections):
            self._hear_out(connection)
        self._selector.close()

    def _serve(self) -> None:
        while not (self._stopping and self._finished()):
            holds = self.may_hold and (self._held or not self._work.idle)
            for key, mask in self._selector.select(LONGEST_HOLD_S if holds else self._look_every_s):
                if isinstance(key.data, Connection):
                    if mask & selectors.EVENT_WRITE:
                        self._write(key.data)
                    if mask & selectors.EVENT_READ:
                        self._read(key.data)
                else:
                    key.data()
            if self._held:
                for connection in self._release():
                    self._write(connection)
            now_s = time.monotonic()
            if now_s - self._looked_s >= self._look_every_s:
                self._look(now_s)

    @property
    def more_wait(self) -> bool:
        """Whether further requests are here, to be answered after those that the model has."""
        return self._work.has_waiting

    def answer(
        self, outcomes: Iterable[tuple[Job[Connection], Answer | InvocationError]], *, hold: bool = False
    ) -> None:
        """Called by the model's thread, which sends by itself: a hand-over would cost more than the sending.

        hold: more answers follow within microseconds, and shall go out together. Should they not follow after all, the
        I/O thread sends at its next turn, within LONGEST_HOLD_S.
        """
        for job, outcome in outcomes:
            connection = job.source
            with connection.lock:
                connection.peer.answer(job.stream, outcome)
            self._held[connection] = None
            self._held_count += 1
        if not hold or self._held_count >= _MOST_HELD:
            self._held_count = 0
            for connection in self._release():
                with connection.lock:
                    left = connection.push()
                if left:
                    self._to_write.append(connection)
                    self.wake()
        if self._holds_up:
            self.wake()

    def begun(self, jobs: Iterable[Job[Connection]]) -> None:
        """Called by the model's thread before it begins with requests of which routers want to know that."""
        for job in jobs:
            connection = job.source
            with connection.lock:
                connection.peer.begun(job.stream)
                left = connection.push()
            self._write_later(connection, left=left)

    def part(self, job: Job[Connection], head: bytes, part: bytes, within_s: float) -> bool | None:
        """Called by the model's thread: send a part of an answer that goes on. head, part: as for Peer.part.

        True when it is sent, False when nobody waits for it any more, None when its reader took too little for so long.
        """
        connection = job.source
        with connection.lock:
            if not self._takes(connection, job.stream):
                return False
            if not connection.peer.part(job.stream, head, part):
                connection.changed.wait(within_s)
                if not self._takes(connection, job.stream):
                    return False
                if not connection.peer.part(job.stream, head, part):
                    return None
            left = connection.push()
        self._write_later(connection, left=left)
        return True

    def end(self, job: Job[Connection]) -> None:
        """Called by the model's thread after the last part."""
        connection = job.source
        with connection.lock:
            if not self._takes(connection, job.stream):
                return
            connection.peer.end(job.stream)
            left = connection.push()
        self._write_later(connection, left=left)
        if self._holds_up:
            self.wake()

    def _takes(self, connection: Connection, stream: int) -> bool:
        return not connection.closed and connection.peer.awaits(stream)

    def _write_later(self, connection: Connection, *, left: bool) -> None:
        if left:
            self._to_write.append(connection)
            self.wake()

    def _release(self) -> Iterator[Connection]:
        """Those with answers that were held; each to one thread alone."""
        held = self._held
        while held:
            try:
                yield held.popitem()[0]
            except KeyError:
                return  # the other thread was first

    def wake(self) -> None:
        try:
            self._wake_out.send(b"\0")
        except BlockingIOError:
            return  # enough wake-ups are waiting

    def close_in_child(self) -> None:
        """For a process that the model forked: what it inherited shall not keep a router waiting for a dead worker."""
        for connection in list(self._connections):
            connection.socket.close()
        for each in self._own:
            each.close()

    def give_back(self) -> None:
        """The process is about to end: what the model has not begun with is to be run elsewhere. For the I/O thread."""
        queued = self._queued()
        for connection in self._connections:
            with connection.lock:
                connection.peer.give_back(queued.get(connection, ()))
            self._flush(connection)
        # What was sent before the routers could know is read too, and goes back.
        end_s = time.monotonic() + _GIVE_BACK_S
        while time.monotonic() < end_s:
            events = self._selector.select(_GIVE_BACK_PAUSE_S)
            ready = [key.data for key, _ in events if isinstance(key.data, Connection)]
            for connection in ready:
                self._read(connection)
                self._write(connection)
            if not ready and all(connection.is_sent for connection in self._connections):
                return

    def _hear_out(self, connection: Connection) -> None:
        """Whatever the router could send before it knew that this ends is read, and goes back; then it is closed."""
        with contextlib.suppress(OSError):  # it is gone already
            connection.socket.shutdown(socket.SHUT_RD)
        while connection in self._connections:
            self._read(connection)

    def _look(self, now_s: float) -> None:
        self._looked_s = now_s
        if not self._has_its_sockets():
            raise Unserviceable(SOCKETS_GONE)
        if stuck := self._watch.stuck(now_s):
            raise Hung(stuck)
        if self._watch.holds_up and self._listener is not None:
            self._hold_up()
        elif self._holds_up:
            self._go_on()
        if not self._work.idle:
            self._backstop.renew(now_s, self._timeout_s)
        elif self._backstop.expire(now_s):
            self._timeout_s = 0.0
            self._look_every_s = _LOOK_IDLE_S

    def _hold_up(self) -> None:
        """What waits behind a batch that takes long may find another instance, or wait for this one where it came from.

        Not in a process of an instance that has several: there is nowhere else to go.
        """
        self._holds_up = True
        for connection, streams in self._queued().items():
            with connection.lock:
                connection.peer.hold_up(streams)
            self._flush(connection)

    def _go_on(self) -> None:
        self._holds_up = False
        for connection in self._connections:
            with connection.lock:
                connection.peer.go_on()
            self._flush(connection)

    def _queued(self) -> dict[Connection, list[int]]:
        """Everything that the model has not begun with, out of the queue."""
        queued: dict[Connection, list[int]] = {}
        for job in self._work.clear():
            queued.setdefault(job.source, []).append(job.stream)
        return queued

    def _has_its_sockets(self) -> bool:
        owned = [*self._own.items(), *((each.socket, each.identity) for each in self._connections)]
        return all(_is_still(sock, identity) for sock, identity in owned)

    def _expect(self, jobs: Iterable[Job[Connection]]) -> None:
        """Look often while there is work; from before the model has it, since it may never let this thread look."""
        before_s = self._timeout_s
        self._timeout_s = max(before_s, *(job.timeout_s for job in jobs))
        if not self._backstop.armed or self._timeout_s > before_s:
            self._backstop.renew(time.monotonic(), self._timeout_s)
        self._look_every_s = _LOOK_BUSY_S

    def _finished(self) -> bool:
        """Raises Abandoned."""
        drained = self._work.drained()
        if not all(connection.quiet for connection in self._connections):
            self._abandoned_s = math.inf
            return False
        if not drained:
            now_s = time.monotonic()
            self._abandoned_s = min(self._abandoned_s, now_s)
            if now_s - self._abandoned_s >= ABANDONED_S:
                raise Abandoned
        return drained

    def _begin_to_stop(self) -> None:
        self._selector.unregister(self._stop)
        self._stopping = True
        for connection in self._connections:
            connection.peer.closing = True
        self._on_stop()
        if self._listener is not None and self._listener.fileno() >= 0:
            if self._listener in self._selector.get_map():
                self._selector.unregister(self._listener)
            del self._own[self._listener]
            self._listener.close()

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            sock, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            self._accept_no_more(f"accept failed: {error}")
            return
        if len(self._connections) < MAX_CONNECTIONS:
            self._adopt(sock)
            return
        with sock, contextlib.suppress(OSError):  # it is gone already
            sock.send(refusal(FULL))
        if not self._is_full:
            self._is_full = True
            log.warning("%d are connected; who comes then is refused until one goes", MAX_CONNECTIONS)

    def _adopt(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        connection = Connection(sock, Peer(self._hello, self._room))
        self._connections.add(connection)
        self._selector.register(sock, selectors.EVENT_READ, connection)
        self._flush(connection)

    def _accept_no_more(self, why: str) -> None:
        """Until one goes: the others wait in the listener's backlog."""
        log.warning("%s; nobody else is accepted until one goes", why)
        assert self._listener is not None
        if self._connections:
            self._selector.unregister(self._listener)
        else:
            time.sleep(_ACCEPT_PAUSE_S)

    def _room(self) -> int:
        return self._work.room_bytes - sum(connection.peer.partial_bytes for connection in self._connections)

    def _read(self, connection: Connection) -> None:
        if connection not in self._connections:
            return
        try:
            count = connection.socket.recv_into(self._buffer)
        except BlockingIOError:
            return
        except OSError:
            count = 0
        if not count:
            self._drop(connection)
            return
        try:
            with connection.lock:
                events = connection.peer.receive(bytes(self._buffer[:count]))
        except FrameError as error:
            log.warning("a connection is closed: %s", error)
            self._drop(connection)
            return
        jobs = []
        for event in events:
            if isinstance(event, Arrived):
                deadline_s = None if event.deadline_ms is None else time.monotonic() + event.deadline_ms / 1000
                timeout_s = math.inf if event.timeout_ms is None else event.timeout_ms / 1000
                jobs.append(Job(connection, event.stream, event.request, deadline_s, timeout_s, event.tells_begun))
                continue
            with connection.lock:
                connection.changed.notify_all()
            if isinstance(event, Cancelled):
                # Of the same read, it is not in the queue yet.
                jobs = [job for job in jobs if job.stream != event.stream]
                self._work.cancel(connection, event.stream)
        if jobs:
            self._expect(jobs)
        refused = self._work.add(jobs) if jobs else []
        with connection.lock:
            for job in refused:
                connection.peer.answer(job.stream, Busy("The instance holds as many requests as it can."))
        self._flush(connection)
        if connection.peer.backlog_bytes > MAX_UNREAD_BYTES:
            log.warning("a connection is closed: it does not take its answers")
            self._drop(connection)

    def _write(self, connection: Connection) -> None:
        if connection in self._connections:
            self._flush(connection)

    def _flush(self, connection: Connection) -> None:
        with connection.lock:
            left = connection.push()
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if left else 0)
        if self._selector.get_key(connection.socket).events != events:
            self._selector.modify(connection.socket, events, connection)

    def _woken(self) -> None:
        try:
            while self._wake_in.recv(4096):
                pass
        except BlockingIOError:
            # Everything that was asked for before is in the queue now.
            while self._to_write:
                self._write(self._to_write.popleft())
        if self._holds_up:
            self._go_on()

    def _drop(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._is_full = False
        self._selector.unregister(connection.socket)
        with connection.lock:
            waiting = connection.peer.waiting
            connection.socket.close()
            connection.closed = True
            connection.changed.notify_all()
        for stream in waiting:
            self._work.cancel(connection, stream)
        if self._stopping:
            return
        if self._listener is None:
            self._begin_to_stop()
        elif self._listener not in self._selector.get_map():
            self._selector.register(self._listener, selectors.EVENT_READ, self._accept)


def identity_of(descriptor: int) -> tuple[int, int]:
    """What is open there, so that another thing with the same number is told from it. Raises OSError."""
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino


def _listens(sock: socket.socket) -> bool:
    return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def _is_still(sock: socket.socket, identity: tuple[int, int]) -> bool:
    try:
        return identity_of(sock.fileno()) == identity
    except OSError:
        return False
