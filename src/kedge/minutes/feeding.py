"""In the capture process: hands spooled records to the process that keeps minutes of them, and never waits for it.

That process is started with the first records, ends when this one does, and is started again when it dies. What it is
too slow for is not handed on, and counted: captured records are never held up by it.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from kedge.config import CANNOT_START
from kedge.minutes import frames
from kedge.minutes.frames import VariantKey

WAITING_BYTES = 16 << 20
"""Of frames, beyond which more are not handed on."""
FIRST_BACK_OFF_S, LONGEST_BACK_OFF_S = 1.0, 60.0
LIVED_S = 60.0
"""A process that lived for so long is started again without a pause."""
PROGRAM = "kedge.minutes.process"

log = logging.getLogger(__name__)


class Feeder:
    """Everything happens on the loop's thread."""

    def __init__(self, folder: Path, *, enabled: bool) -> None:
        """folder: where the minutes are."""
        self._folder, self._enabled = folder, enabled
        self._wanted = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._held: list[bytes] = []
        """Until there is a process."""
        self._held_bytes = 0
        self._missed: Counter[VariantKey] = Counter()

    def feed(self, variant: VariantKey, lines: Sequence[bytes]) -> None:
        """lines: captured records, each with its end."""
        if not self._enabled:
            return
        if self._waiting() > WAITING_BYTES:
            if not self._missed[variant]:
                log.warning("minutes of %s/%s miss records: they cannot be read as fast as they come", *variant[2:])
            self._missed[variant] += len(lines)
            return
        self._send(frames.records(variant, self._missed.pop(variant, 0), lines))
        self._wanted.set()

    def forget(self) -> None:
        if self._enabled and self._folder.exists():
            self._send(frames.forget())
            self._wanted.set()

    async def run(self) -> None:
        """For ever; or until it turns out that there can be no such process."""
        if self._enabled and importlib.util.find_spec("polars") is None:
            log.info('no minutes are kept of what is captured: pip install "kedge[monitor]" brings what they need')
            self._enabled = False
        if not self._enabled:
            return
        await self._wanted.wait()
        back_off_s = FIRST_BACK_OFF_S
        loop = asyncio.get_running_loop()
        while True:
            began_s = loop.time()
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                PROGRAM,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                start_new_session=True,  # what ends this process's group shall not end it before it has kept its minute
            )
            held, self._held, self._held_bytes = self._held, [], 0
            for each in held:
                self._send(each)
            code = await self._process.wait()
            self._process = None
            if code == CANNOT_START:
                self._enabled = False
                return
            back_off_s = FIRST_BACK_OFF_S if loop.time() - began_s > LIVED_S else back_off_s * 2
            log.error("the process that keeps minutes ended with %d; it is started again", code)
            await asyncio.sleep(min(back_off_s, LONGEST_BACK_OFF_S))

    async def close(self, within_s: float) -> None:
        """After `run` was cancelled: what was handed on is kept before the process ends."""
        process = self._process
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), within_s)
        except TimeoutError:
            log.error("the process that keeps minutes did not end within %g s", within_s)
            with suppress(ProcessLookupError):
                process.kill()

    def _waiting(self) -> int:
        if self._process is None or self._process.stdin is None:
            return self._held_bytes
        return int(self._process.stdin.transport.get_write_buffer_size())

    def _send(self, frame: bytes) -> None:
        process = self._process
        if process is None or process.stdin is None:
            self._held.append(frame)
            self._held_bytes += len(frame)
        else:
            process.stdin.write(frame)  # to a process that has died it goes nowhere
