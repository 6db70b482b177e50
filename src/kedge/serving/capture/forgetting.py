"""What the control process asks of the capture process when everything is dropped."""

from __future__ import annotations

import asyncio
from pathlib import Path

from kedge.serving.capture import frames

WITHIN_S = 5.0


async def forget(socket_path: Path) -> None:
    """Drop what was captured and is not delivered. Raises TimeoutError; does nothing where no process listens."""
    try:
        reader, writer = await asyncio.open_unix_connection(socket_path)
    except OSError:
        return
    try:
        writer.write(frames.forget())
        async with asyncio.timeout(WITHIN_S):
            await reader.read()
    finally:
        writer.close()
