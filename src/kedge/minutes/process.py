"""The process that keeps minutes: `python -m kedge.minutes.process`, a child of the capture process.

It reads frames from standard input until that ends, which it does with whoever writes them, however that dies; then it
keeps what it has and ends. So a minute is lost only when this process itself is killed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

import orjson

from kedge import config
from kedge.clock import SystemClock
from kedge.config import SettingError, Settings
from kedge.home import Home, HomeError, read_home
from kedge.kms.master import read_master
from kedge.loop import run_on_fastest_loop
from kedge.metrics.sketch import Sketch
from kedge.minutes import files, frames, judging
from kedge.minutes.files import PURPOSE, Files, baseline_of
from kedge.minutes.frames import BadFrame, VariantKey
from kedge.minutes.gathering import Gathering
from kedge.monitoring.data_quality import statistics_file
from kedge.monitoring.data_quality.statistics_file import BadFile
from kedge.monitoring.drift import known
from kedge.monitoring.drift.evidence import RECENT
from kedge.monitoring.drift.known import Known
from kedge.monitoring.live import sketch
from kedge.monitoring.live.sketch import Minute
from kedge.serving.meter import Told, VariantPlace
from kedge.serving.reports import Reporter

TICK_S = 0.5
REPORT_S = 0.5
_NONE, _COUNT = "None", "Count"

log = logging.getLogger(__name__)


class Keeper:
    """Everything happens on the loop's thread."""

    def __init__(self, folder: Path, secret: bytes, limit_bytes: int) -> None:
        self._folder, self._secret = folder, secret
        self._files = Files(folder, secret, limit_bytes)
        self._gathering = Gathering()
        self._judges: dict[VariantKey, _Judge] = {}
        self._hour = 0

    def take(self, records: frames.Records) -> None:
        if records.missed:
            log.warning("minutes of %s/%s miss %d records", *records.variant[2:], records.missed)
        for minute in self._gathering.add(records.variant, records.lines):
            self._keep(records.variant, minute, b"")

    def tick(self, now_s: float) -> list[Told]:
        """Keeps the minutes that are over. Returns what is to be told of them."""
        told = []
        for variant, minute in self._gathering.due(now_s):
            self._keep(variant, minute.minute, sketch.written(minute))
            if now_s != float("inf"):
                told += self._judged(variant, minute)
        if now_s != float("inf") and int(now_s // 3600) != self._hour:
            self._hour = int(now_s // 3600)
            self._files.tidy(self._hour)
        return told

    def forget(self) -> None:
        self._gathering.forget()
        self._files.forget()
        self._judges.clear()

    def close(self) -> None:
        self.tick(float("inf"))
        self._files.close()

    def _keep(self, variant: VariantKey, minute: int, data: bytes) -> None:
        try:
            self._files.begin(variant, minute) if not data else self._files.add(variant, minute, data)
        except OSError as error:
            log.error("minute %d of %s/%s cannot be kept: %s", minute, *variant[2:], error)

    def _judged(self, variant: VariantKey, minute: Minute) -> list[Told]:
        judge = self._judges.setdefault(variant, _Judge(self._folder, self._secret, variant))
        outcome = judge.judged(minute)
        if outcome is None or not outcome.is_judged:
            return []
        if outcome.effects:
            log.warning("%s/%s drifts: %s", *variant[2:], ", ".join(list(outcome.effects)[:10]))
        place = VariantPlace(*variant)
        return [
            Told(place, judging.DRIFTING, _COUNT, Sketch.of([float(len(outcome.effects))])),
            Told(place, judging.EFFECT, _NONE, Sketch.of([outcome.farthest])),
            *(Told(place, judging.EFFECT, _NONE, Sketch.of([far]), name) for name, far in outcome.named.items()),
        ]


class _Judge:
    """Of one variant: its baseline, read anew when it changes, and the counts of the last minutes."""

    def __init__(self, folder: Path, secret: bytes, variant: VariantKey) -> None:
        self._folder, self._secret, self._variant = folder, secret, variant
        self._changed: float | None = None
        self._known: Known | None = None
        self._minutes: dict[int, judging.Counts] = {}

    def judged(self, minute: Minute) -> judging.Outcome | None:
        """None without a baseline."""
        self._look(minute.minute)
        if self._known is None:
            return None
        self._count(minute, self._known)
        self._minutes = judging.recent(self._minutes, minute.minute)
        if minute.minute not in self._minutes:
            return None
        return judging.judged(self._known.columns, self._minutes, minute.minute)

    def _count(self, minute: Minute, beside: Known) -> None:
        counts, before = sketch.counts(minute, beside.columns, beside.names), self._minutes.get(minute.minute)
        self._minutes[minute.minute] = {name: row + before[name] if before else row for name, row in counts.items()}

    def _look(self, now: int) -> None:
        name = baseline_of(*self._variant[:3])
        path = self._folder / files.BASELINES / name
        changed = path.stat().st_mtime if path.exists() else None
        if changed == self._changed:
            return
        self._changed, self._known, self._minutes = changed, None, {}
        data = files.read_baseline(self._folder, self._secret, name)
        if data is None:
            return
        try:
            found = baseline_in(data)
        except (BadFile, ValueError) as error:
            log.error("the baseline of %s cannot be read, and its minutes are not judged: %s", self._variant[2], error)
            return
        for _, each in files.read(self._folder, self._secret, self._variant, now - RECENT, now - 1).sketches:
            self._count(sketch.read(each), found)
        self._known = found if found.columns else None


def baseline_in(data: bytes) -> Known:
    """Of a statistics.json. Raises BadFile, ValueError."""
    document = orjson.loads(data)
    return known.read(document, statistics_file.read(document))


async def serve(settings: Settings, home: Home) -> None:
    """Until standard input ends, or a signal comes."""
    clock, loop = SystemClock(), asyncio.get_running_loop()
    waiting: list[Told] = []

    def told() -> list[Told]:
        found = list(waiting)
        waiting.clear()
        return found

    reporter = Reporter(clock, os.urandom(8).hex(), told=told)
    reporting = asyncio.create_task(reporter.run(home.report_socket))
    secret = read_master(home.master_key, settings.master_key_file).key_for(PURPOSE)
    keeper = Keeper(home.minutes, secret, settings.capture_minutes_bytes)
    reading = asyncio.create_task(_read(keeper))
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, reading.cancel)
    while not reading.done():
        if more := keeper.tick(clock.now().timestamp()):
            waiting += more
            reporter.news()
        await asyncio.wait([reading], timeout=TICK_S)
    keeper.close()
    await reporter.drain(REPORT_S)
    reporting.cancel()
    await asyncio.gather(reporting, return_exceptions=True)
    if not reading.cancelled() and (error := reading.exception()) is not None:
        raise error


async def _read(keeper: Keeper) -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
    while True:
        try:
            kind, length = frames.body_bytes(await reader.readexactly(frames.HEAD.size))
            body = await reader.readexactly(length)
        except asyncio.IncompleteReadError:
            return
        if kind == frames.FORGET:
            keeper.forget()
        else:
            keeper.take(frames.read(body))


def main() -> int:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        settings = config.read()
        run_on_fastest_loop(serve(settings, read_home(settings.data_dir)))
    except (SettingError, HomeError) as error:
        sys.stderr.write(f"{error}\n")
        return config.CANNOT_START
    except BadFrame as error:
        log.error("standard input is not read on: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
