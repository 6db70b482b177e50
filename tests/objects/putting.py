"""Put an object from a test that is no coroutine, or in the middle of one."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from kedge.objects.files import Objects
from kedge.objects.records import Attributes, ObjectInfo


def put_bytes(objects: Objects, bucket: str, key: str, data: bytes, attributes: Attributes | None = None) -> ObjectInfo:
    """Blocks. Raises what Objects.put raises."""

    async def put() -> ObjectInfo:
        return await objects.put(bucket, key, data, attributes or Attributes())

    with ThreadPoolExecutor(1) as beside:  # this thread may have a loop that runs
        return beside.submit(asyncio.run, put()).result()
