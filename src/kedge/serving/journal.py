"""What a router has counted and not told yet, in memory that outlives it: a file of the system's shared memory.

Each request is a record of 24 bytes in a mapped file, written before its answer goes out; a kill -9 of the router, or
of everything, leaves them, and whoever comes next makes of them the report that the killed router would have made,
under the same sequence, so that it counts once. Not on the disk: a page of a file there cannot be written while it is
on its way to the disk, and a request would wait for that. So a loss of power takes what was not told.

    DIR/reports/N/BOOT.journal  ->  /dev/shm/kedge-BOOT

The file has SEGMENTS parts, of which each holds one report; the part of a report is used again SEGMENTS reports later,
when that one has long been taken, or is a file (kept.py). Behind them stands the path of the link. The file is locked
while its router lives; one that is not, and whose link is gone with its data directory, is removed by any later router.

    head        second, sequence (0: nothing here), format
    invocation  model latency, overhead latency (us), name of the place, status, healthy instances, 1
    refusal     -, -, name of the place, name of the code, -, 2
    name        -, -, bytes, -, -, 3; then these bytes, JSON, in the records that follow; numbered from 0

A record counts once its last field is there, which is written last.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import stat
import struct
from pathlib import Path
from typing import Any

import orjson

from kedge.serving.meter import Meter, Place

MEMORY = Path("/dev/shm")  # noqa: S108 (what is made there is new, private, and looked for by a link of our own folder)
SUFFIX = ".journal"
FORMAT = 1
SEGMENTS = 4
SEGMENT_BYTES = 256 * 1024
"""Some ten thousand requests. Of a second that has more, there is more than one report."""

ABANDONED_S = 3600.0
"""A file without its link is removed when it is this old: the link may be where this process does not see it."""
_LINK_BYTES = 4096

_HEAD = struct.Struct("<QQQ")
_RECORD = struct.Struct("<ddHHHH")
_STEP = _RECORD.size
_SERVED, _REFUSED, _NAME = 1, 2, 3
_MOST_INSTANCES = 0xFFFF

_write_record = _RECORD.pack_into


class Journal:
    """Used by the router's loop alone."""

    def __init__(self, link: Path, memory: Path = MEMORY) -> None:
        """link: BOOT.journal in the folder of this router's reports. Raises OSError."""
        target = memory / f"kedge-{link.stem}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        self._lock = os.open(target, flags, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            # Zeros that are written take their memory now: later there might be none, which ends a process.
            content = bytes(SEGMENTS * SEGMENT_BYTES) + os.fsencode(link.absolute()).ljust(_LINK_BYTES, b"\0")
            if os.write(self._lock, content) < len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
            self._map = mmap.mmap(self._lock, SEGMENTS * SEGMENT_BYTES)
            link.symlink_to(target)
        except OSError:
            os.close(self._lock)
            target.unlink()
            raise
        self._names: dict[Place | str, int] = {}
        self._sequences = [0] * SEGMENTS
        self._ends = [0] * SEGMENTS
        """Of what was written in each part, in the file."""
        self._segment = 0
        self._at = self._last = 0
        """Where the next record begins, and the last one that fits."""

    def begin(self, second: int, sequence: int) -> None:
        """What follows belongs to this report."""
        self._ends[self._segment] = self._at
        segment = self._segment = sequence % SEGMENTS
        start = segment * SEGMENT_BYTES
        self._clear(segment)
        used = max(0, self._ends[segment] - start)
        self._map[start : start + used] = bytes(used)
        self._names = {}
        self._sequences[segment] = sequence
        self._at, self._last = start + _STEP, start + SEGMENT_BYTES - _STEP
        _HEAD.pack_into(self._map, start, second, sequence, FORMAT)

    def invocation(self, place: Place, status: int, instances: int, model_us: float, overhead_us: float) -> bool:
        """As Meter.invocation. False when there is no room: then a new report has to begin."""
        name = self._names.get(place, -1)
        if name < 0:
            name = self._name(place)
        at = self._at
        if name < 0 or at > self._last:
            return False
        if instances > _MOST_INSTANCES:
            instances = _MOST_INSTANCES
        _write_record(self._map, at, model_us, overhead_us, name, status, instances, _SERVED)
        self._at = at + _STEP
        return True

    def refusal(self, place: Place, code: str) -> bool:
        """As Meter.refusal. False when there is no room."""
        names = [self._names[each] if each in self._names else self._name(each) for each in (place, code)]
        at = self._at
        if -1 in names or at > self._last:
            return False
        _write_record(self._map, at, 0.0, 0.0, *names, 0, _REFUSED)
        self._at = at + _STEP
        return True

    def forget(self, sequence: int) -> None:
        """This report is taken."""
        segment = sequence % SEGMENTS
        if self._sequences[segment] == sequence:
            self._clear(segment)

    def release(self) -> None:
        """Whoever looks for journals may have it: this router counts no more."""
        fcntl.flock(self._lock, fcntl.LOCK_UN)
        os.close(self._lock)

    def _clear(self, segment: int) -> None:
        self._sequences[segment] = 0
        _HEAD.pack_into(self._map, segment * SEGMENT_BYTES, 0, 0, 0)

    def _name(self, name: Place | str) -> int:
        """Its number; -1 when there is no room for it."""
        data = orjson.dumps(name if isinstance(name, str) else list(name))
        at, records = self._at, 1 + -(-len(data) // _STEP)
        if at + records * _STEP > self._last + _STEP:
            return -1
        self._map[at + _STEP : at + _STEP + len(data)] = data
        _write_record(self._map, at, 0.0, 0.0, len(data), 0, 0, _NAME)
        self._at = at + records * _STEP
        self._names[name] = number = len(self._names)
        return number


def left(link: Path) -> list[tuple[int, bytes]]:
    """(sequence, frame of meter.py) of each report of the router whose journal this was; none after a loss of power.

    Raises BlockingIOError while that router lives, OSError, or ValueError for what no router has written.
    """
    try:
        descriptor = os.open(link.readlink(), os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return []
    with open(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid():
            raise ValueError("it is no file of ours")
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        data = file.read()
    end = SEGMENTS * SEGMENT_BYTES
    if not end < len(data) <= end + _LINK_BYTES:
        raise ValueError(f"it has {len(data)} bytes, not {end + _LINK_BYTES}")
    parts = [data[start : start + SEGMENT_BYTES] for start in range(0, end, SEGMENT_BYTES)]
    frames = [frame for part in parts if (frame := _frame(part, link.stem)) is not None]
    return sorted(frames)


def drop(link: Path) -> None:
    """The file, if it is ours to remove, and the link to it. Raises OSError."""
    with contextlib.suppress(PermissionError):  # somebody else's, under a name that a restart of the machine has freed
        link.readlink().unlink(missing_ok=True)
    link.unlink(missing_ok=True)


def sweep(memory: Path, now_s: float) -> None:
    """Remove what nobody will look for any more. now_s: since 1970."""
    for path in memory.glob("kedge-*"):
        with contextlib.suppress(OSError):  # somebody else's, or its router lives, or another one removes it
            found = path.lstat()
            if stat.S_ISREG(found.st_mode) and found.st_uid == os.getuid() and _is_abandoned(path, now_s):
                path.unlink()


def _is_abandoned(path: Path, now_s: float) -> bool:
    """Raises OSError."""
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(file.fileno()).st_mtime > now_s - ABANDONED_S:
            return False
        file.seek(SEGMENTS * SEGMENT_BYTES)
        link = file.read(_LINK_BYTES).rstrip(b"\0")
        return bool(link) and not os.path.islink(link)


def _frame(part: bytes, boot: str) -> tuple[int, bytes] | None:
    """None where nothing was counted. Raises ValueError."""
    second, sequence, form = _HEAD.unpack_from(part)
    if not sequence:
        return None
    if form != FORMAT:
        raise ValueError(f"its format is {form}; {FORMAT} is understood")
    meter = Meter(boot)
    meter.sequence = sequence - 1
    names: list[Any] = []
    at = _STEP
    while at < len(part):
        model_us, overhead_us, first, second_field, instances, kind = _RECORD.unpack_from(part, at)
        at += _STEP
        if kind == _NAME:
            names.append(orjson.loads(part[at : at + first]))
            at += -(-first // _STEP) * _STEP
        elif kind == _SERVED:
            meter.invocation(_place(names, first), second_field, instances, model_us, overhead_us)
        elif kind == _REFUSED:
            meter.refusal(_place(names, first), str(names[second_field]))
        else:
            break
    return None if meter.is_empty else (sequence, meter.roll(second, None))


def _place(names: list[Any], number: int) -> Place:
    if number >= len(names) or not isinstance(names[number], list):
        raise ValueError(f"a record names place {number}, which is not there")
    return Place(*names[number])
