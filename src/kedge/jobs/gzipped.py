"""Objects that are compressed by gzip, unpacked as they are read. PURE: bytes in as they come, bytes out."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterable, AsyncIterator

UNPACKED_BYTES = 4 * 1024 * 1024


class NotPacked(ValueError):
    """It is not compressed, or cut off; the text ends a sentence about the object."""


async def unpacked(parts: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """An object may have several members, one after the other. Raises NotPacked."""
    unpacking, begun = zlib.decompressobj(wbits=31), False
    try:
        async for packed in parts:
            left = packed
            while left:
                begun = True
                yield unpacking.decompress(left, UNPACKED_BYTES)
                left = unpacking.unconsumed_tail
                if unpacking.eof:  # another member may follow
                    left, unpacking, begun = unpacking.unused_data, zlib.decompressobj(wbits=31), False
    except zlib.error as error:
        raise NotPacked(f"not compressed by gzip: {error}") from error
    if begun:
        raise NotPacked("compressed by gzip and cut off.")
