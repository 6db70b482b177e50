"""The files that hold bodies. A file is written once, under a random name, and never changed: a key is never a path.

    FOLDER/ab/abcdef0123...        256 folders, named by the first two digits

A file that the index does not name is no body: one left by a crash is swept at the next start. A file whose row is gone
stays while somebody reads it. Every method blocks; the caller runs it in a thread.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import secrets
import shutil
import threading
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from kedge.home import sync
from kedge.objects.hashing import Lane
from kedge.objects.pieces import PieceReader, PieceWriter
from kedge.objects.records import Encryption, ObjectInfo, Piece
from kedge.objects.vault import Sealing
from kedge.wire import checksums
from kedge.wire.checksums import Checksum
from kedge.wire.http import Buffer

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


_HASHING_THREADS = 2
_WORTH_A_THREAD_BYTES = 256 * 1024


class Bodies:
    def __init__(self, folder: Path, *, durable: bool) -> None:
        self._folder = folder
        self._durable = durable
        self._lock = threading.RLock()
        """Re-entrant: a reader that nobody closed may be collected, and so closed, while this thread holds it."""
        self._being_written: set[str] = set()
        self._readers: Counter[str] = Counter()
        self._doomed: set[str] = set()
        self.hashing = ThreadPoolExecutor(_HASHING_THREADS, "objects-hash")
        """For `Lane`."""
        folder.mkdir(mode=0o700, exist_ok=True)
        for number in range(256):
            (folder / f"{number:02x}").mkdir(mode=0o700, exist_ok=True)
        if durable:
            sync(folder)

    def close(self) -> None:
        self.hashing.shutdown()

    def path(self, file: str) -> Path:
        return self._folder / file[:2] / file

    def create(self) -> str:
        """A fresh name. Its file is the caller's until `settle` or `remove`."""
        file = secrets.token_hex(16)
        self._being_written.add(file)
        return file

    def link(self, file: str) -> str:
        """A second name for a file's bytes; a copy where the file system has no links, or none left."""
        copy = self.create()
        try:
            try:
                os.link(self.path(file), self.path(copy))
            except OSError:
                self._copy(file, copy)
        except BaseException:
            self.remove([copy])
            raise
        return copy

    def _copy(self, file: str, copy: str) -> None:
        shutil.copyfile(self.path(file), self.path(copy))
        if self._durable:
            with self.path(copy).open("rb") as written:
                os.fsync(written.fileno())

    def sync(self, files: Iterable[str]) -> None:
        """The files' names survive a power loss once this returns."""
        if self._durable:
            for folder in {self.path(file).parent for file in files}:
                sync(folder)

    def settle(self, files: Iterable[str]) -> None:
        """The index names them now."""
        self._being_written.difference_update(files)

    def remove(self, files: Iterable[str]) -> None:
        """The index names them no more: unlink each now, or when its last reader closes."""
        for file in files:
            with self._lock:
                if self._readers[file] > 0:
                    self._doomed.add(file)
                    continue
                del self._readers[file]
            self.path(file).unlink(missing_ok=True)
            self._being_written.discard(file)

    def open(self, find: Callable[[], ObjectInfo]) -> OpenBody:
        """The body that `find` sees. The lock makes finding and holding one step: no removal comes between."""
        with self._lock:
            info = find()
            for piece in info.pieces:
                self._readers[piece.file] += 1
        return OpenBody(self, info)

    def release(self, pieces: Sequence[Piece]) -> None:
        for piece in pieces:
            with self._lock:
                self._readers[piece.file] -= 1
                if self._readers[piece.file] > 0:
                    continue
                del self._readers[piece.file]
                if piece.file not in self._doomed:
                    continue
                self._doomed.discard(piece.file)
            self.path(piece.file).unlink(missing_ok=True)

    def sweep(self, in_use: Callable[[str], set[str]], stop: threading.Event) -> int:
        """Remove the files that nobody knows; returns how many. in_use(prefix): files named by the index.

        The order keeps what is being written: listed, then not being written any more, then not in the index.
        """
        count = 0
        for number in range(256):
            if stop.is_set():
                break
            prefix = f"{number:02x}"
            found = set(os.listdir(self._folder / prefix))
            unknown = found - self._being_written
            named = in_use(prefix) if unknown else set()
            if stop.is_set():  # whoever waited in `in_use` may have been told to wait no more
                break
            for file in unknown - named:
                with self._lock:  # no reader can come any more, but one may have been there before the row went
                    if self._readers[file] > 0:
                        continue
                    self.path(file).unlink(missing_ok=True)
                count += 1
        return count

    @property
    def durable(self) -> bool:
        return self._durable


class NewBody:
    """A body that is being written. Whoever made it calls `abandon` in the end; after `keep` that does nothing.

    `lock` is held by every step, so that abandoning waits for a write that is under way in another thread.
    """

    def __init__(self, bodies: Bodies, sealing: Sealing | None = None, algorithm: str = "") -> None:
        """sealing: what it is encrypted with; None leaves it as it is. algorithm: of a checksum wanted of it, or ""."""
        self._bodies = bodies
        self._sealing = sealing
        self._file: PieceWriter | None = None
        self._over = False
        plain = sealing is None or sealing.encryption.md5_is_etag
        self._md5 = hashlib.md5(usedforsecurity=False) if plain else None
        self._algorithm = algorithm
        self._checksum = checksums.new(algorithm) if algorithm else None
        self.digests: list[Checksum] = [digest for digest in (self._md5, self._checksum) if digest is not None]
        """`write` updates them; who calls `put` does it itself, with the same bytes."""
        self.hashing = bodies.hashing
        self.name = bodies.create()
        self.size = 0
        self.etag = ""
        """Once it is sealed: its MD5 in hex, or as many digits that say nothing about it (Encryption.md5_is_etag)."""
        self.lock = threading.RLock()

    def write(self, data: Sequence[bytes]) -> None:
        with self.lock:
            joined = b"".join(data)
            if len(joined) < _WORTH_A_THREAD_BYTES:
                for digest in self.digests:
                    digest.update(joined)
                return self.put([joined])
            lanes = [Lane(self.hashing, digest) for digest in self.digests]
            for lane in lanes:
                lane.add([joined])
            try:
                self.put([joined])
            finally:
                for lane in lanes:
                    lane.wait()

    def put(self, data: Sequence[Buffer]) -> None:
        """Into the file alone. Under the lock."""
        if self._over:
            raise ValueError("the body is sealed or abandoned")
        if self._file is None:
            data_key = self._sealing.data_key if self._sealing is not None else b""
            self._file = PieceWriter(self._bodies.path(self.name), data_key)
        for each in data:
            self.size += len(each)
            self._file.write(each)

    def seal(self) -> Piece:
        """No more follows; the file survives a power loss once this returns."""
        with self.lock:
            self.put([b""])
            self._over = True
            assert self._file is not None
            self._file.finish(durable=self._bodies.durable)
            self.etag = (self._file.digest if self._md5 is None else self._md5.digest()).hex()
            self._bodies.sync([self.name])
            return Piece(self.name, self.size)

    @property
    def checksums(self) -> dict[str, str]:
        """Algorithm -> the checksum that was wanted, base64. Once it is sealed."""
        if self._checksum is None:
            return {}
        return {self._algorithm: base64.b64encode(self._checksum.digest()).decode()}

    @property
    def encryption(self) -> Encryption | None:
        return None if self._sealing is None else self._sealing.encryption

    def keep(self) -> None:
        """The index names it."""
        self._file = None
        self._bodies.settle([self.name])
        self.name = ""

    def abandon(self) -> None:
        with self.lock:
            self._over = True
            if self._file is not None:
                self._file.close()
            if self.name:
                self._bodies.remove([self.name])
                self.name = ""


class OpenBody:
    """A body that is being read. Its files stay, also when the object is replaced or deleted, until `close`."""

    def __init__(self, bodies: Bodies, info: ObjectInfo) -> None:
        self.info = info
        self.data_key = b""
        """For who opens an encrypted body to set, before the first read."""
        self._bodies = bodies
        self._lock = threading.Lock()
        self._closed = False
        self._file: PieceReader | None = None
        self._number = -1
        self._starts = [0]
        for piece in info.pieces:
            self._starts.append(self._starts[-1] + piece.size)

    def read_at(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes, at least one unless the body ends there. Raises OSError when a file has lost bytes."""
        with self._lock:
            if self._closed:
                raise ValueError("read of a closed body")
            if offset >= self.info.size or count <= 0:
                return b""
            number = bisect_right(self._starts, offset) - 1
            if number != self._number or self._file is None:
                if self._file is not None:
                    self._file.close()
                    self._file = None
                piece = self.info.pieces[number]
                self._file = PieceReader(self._bodies.path(piece.file), piece, self.data_key)
                self._number = number
            data = self._file.read_at(offset - self._starts[number], count)
            if not data:
                raise OSError(
                    f"a file of the body of {self.info.bucket}/{self.info.key} is shorter than the index says"
                )
            return data

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._file is not None:
                self._file.close()
        self._bodies.release(self.info.pieces)

    def __del__(self) -> None:
        # One is dropped when the caller is cancelled while a thread opens it; its files must not stay for ever.
        self.close()


class BodyFile(io.RawIOBase):
    """An open body as a file object, for those who read in a thread: tarfile, shutil."""

    def __init__(self, body: OpenBody) -> None:
        self._body = body
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._body.info.size}[whence]
        if base + offset < 0:
            raise ValueError(f"seek to {base + offset}")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        data = self._body.read_at(self._at, len(view))
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._body.close()
        super().close()
