"""multipart/form-data as a form posts it to S3: some fields, then a file whose bytes are handed on as they come.

Source: RFC 7578; "HTML form fields" in the S3 user guide: what follows the file is ignored.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

from kedge.objects.errors import MalformedForm

FIELDS_BYTES = 20 * 1024
"""Of all fields before the file, with their heads."""
MOST_FIELDS = 100
_HEAD_BYTES = 8 * 1024
_NAME = re.compile(r'(?:^|;)\s*name="((?:[^"\\]|\\.)*)"')
_FILE_NAME = re.compile(r'(?:^|;)\s*filename="((?:[^"\\]|\\.)*)"')
_BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)


class Form:
    """Read `fields` first; then `file`, once, to its end. Names of fields are in lower case."""

    def __init__(self, chunks: AsyncIterator[bytes], content_type: str) -> None:
        """Raises MalformedForm for a Content-Type without a boundary."""
        found = _BOUNDARY.search(content_type)
        if found is None:
            raise MalformedForm("The body of your POST request is not well-formed multipart/form-data: no boundary.")
        self._chunks = chunks
        self._mark = b"\r\n--" + (found[1] or found[2]).encode("latin-1")
        self._buffer = bytearray(b"\r\n")
        self._ended = False
        self._taken = 0
        self.file_name = ""
        self.file_type = ""

    async def fields(self) -> dict[str, str]:
        """Up to the file, which has to be there. Raises MalformedForm."""
        found: dict[str, str] = {}
        await self._until(self._mark, FIELDS_BYTES)
        while True:
            head = await self._head()
            disposition = head.get("content-disposition", "")
            named = _NAME.search(disposition)
            if named is None:
                raise _malformed("a part has no name")
            name = _unescaped(named[1]).lower()
            if name == "file":
                file = _FILE_NAME.search(disposition)
                self.file_name = re.split(r"[\\/]", _unescaped(file[1]))[-1] if file else ""
                self.file_type = head.get("content-type", "")
                return found
            value = await self._until(self._mark, FIELDS_BYTES)
            self._taken += len(value) + len(name)
            if self._taken > FIELDS_BYTES or len(found) >= MOST_FIELDS:
                raise _malformed(f"the fields before the file have more than {FIELDS_BYTES} bytes, or are too many")
            if name in found:
                raise _malformed(f"the field {name[:64]} is there twice")
            try:
                found[name] = value.decode()
            except UnicodeDecodeError:
                raise _malformed(f"the field {name[:64]} is not UTF-8") from None

    async def file(self) -> AsyncIterator[bytes]:
        """Raises MalformedForm when the form ends before its last boundary."""
        while True:
            at = self._buffer.find(self._mark)
            if at >= 0:
                if at:
                    yield bytes(self._buffer[:at])
                del self._buffer[:at]
                break
            ready = len(self._buffer) - len(self._mark) + 1
            if ready > 0:
                yield bytes(self._buffer[:ready])
                del self._buffer[:ready]
            await self._more()
        async for _ in self._chunks:
            pass

    async def _head(self) -> dict[str, str]:
        """Of a part, whose boundary has just been passed."""
        line = await self._until(b"\r\n", 128)
        if line.startswith(b"--"):
            raise MalformedForm("POST requires exactly one file upload per request.")
        if line.strip(b" \t"):
            raise _malformed("a boundary is followed by something else")
        head: dict[str, str] = {}
        while line := await self._until(b"\r\n", _HEAD_BYTES):
            name, colon, value = line.decode("utf-8", "replace").partition(":")
            if not colon or len(head) > 20:
                raise _malformed("the head of a part is none")
            head[name.strip().lower()] = value.strip()
        return head

    async def _until(self, mark: bytes, limit: int) -> bytes:
        """What comes before `mark`; both are taken."""
        searched = 0
        while (at := self._buffer.find(mark, searched)) < 0:
            if len(self._buffer) > limit:
                raise _malformed(f"a field or head has more than {limit} bytes")
            searched = max(0, len(self._buffer) - len(mark) + 1)
            await self._more()
        found = bytes(self._buffer[:at])
        del self._buffer[: at + len(mark)]
        return found

    async def _more(self) -> None:
        try:
            self._buffer += await anext(self._chunks)
        except StopAsyncIteration:
            raise _malformed("it ends before its last boundary") from None


def _malformed(what: str) -> MalformedForm:
    return MalformedForm(f"The body of your POST request is not well-formed multipart/form-data: {what}.")


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text).replace("%22", '"')
