"""From what routers have taken to lines in the spool."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from kedge.serving.capture import record
from kedge.serving.capture.delivery import Delivery, VariantKey
from kedge.serving.capture.records import Source, Taken
from kedge.serving.capture.spool import Spool, SpoolFull, Target

log = logging.getLogger(__name__)


@dataclass
class Counts:
    """What has become of records, by the numbers of their streams."""

    spooled: Counter[int] = field(default_factory=Counter)
    dropped: Counter[int] = field(default_factory=Counter)
    withheld: Counter[int] = field(default_factory=Counter)
    """Bodies that are not in records that were spooled or dropped."""

    def add(self, more: Counts) -> None:
        self.spooled.update(more.spooled)
        self.dropped.update(more.dropped)
        self.withheld.update(more.withheld)


class Recorder:
    """Makes lines of what was taken, and spools them. On the loop's thread: a slow disk slows the reading, no more."""

    def __init__(
        self, spool: Spool, delivery: Delivery, hash_key: bytes, spooled: Callable[[VariantKey, Sequence[bytes]], None]
    ) -> None:
        """spooled: is told of lines that are, as they are; it must not wait."""
        self._spool, self._delivery, self._hash_key, self._spooled = spool, delivery, hash_key, spooled
        self._refused: dict[VariantKey, str] = {}
        self._withheld: set[Source] = set()

    def record(self, taken: list[tuple[int, Source, Taken]]) -> Counts:
        """taken: with the number and the source of each."""
        counts = Counts()
        groups: dict[tuple[int, int], list[bytes]] = {}
        firsts: dict[tuple[int, int], tuple[Source, float]] = {}
        for number, source, each in taken:
            line, withheld = record.line(each, source.capture, self._hash_key)
            if withheld:
                counts.withheld[number] += 1
                self._say_withheld(source)
            group = number, record.hour_of(each.at_s)
            if group in groups:
                groups[group].append(line)
            else:
                groups[group] = [line]
                firsts[group] = source, each.at_s
        for (number, hour), lines in groups.items():
            source, first_at_s = firsts[number, hour]
            kept = self._append(_target(source, hour), lines, first_at_s)
            (counts.spooled if kept else counts.dropped)[number] += len(lines)
            if kept:
                self._spooled(key_of(source), lines)
        return counts

    def delivery_changed(self, variant: VariantKey) -> None:
        """It can be delivered now, or can no longer, or for another reason."""
        if not self._delivery.problem(variant):
            self._refused.pop(variant, None)

    def problem(self, variant: VariantKey) -> str:
        return self._refused.get(variant) or self._delivery.problem(variant)

    def _say_withheld(self, source: Source) -> None:
        if source not in self._withheld:
            self._withheld.add(source)
            log.warning(
                "bodies of %s/%s are withheld: its rules cannot be applied to them", source.endpoint, source.variant
            )

    def _append(self, target: Target, lines: list[bytes], first_at_s: float) -> bool:
        variant = target.variant_key
        try:
            segment = self._spool.append(target, lines, first_at_s)
        except (SpoolFull, OSError) as error:
            reason = f"{error}: {self._delivery.problem(variant)}".removesuffix(": ")
            if variant not in self._refused:
                log.error("records of %s/%s are dropped: %s", target.endpoint, target.variant, reason)
            self._refused[variant] = reason
            return False
        if self._refused.pop(variant, None) is not None:
            log.info("records of %s/%s are kept again", target.endpoint, target.variant)
        self._delivery.added(segment)
        return True


def _target(source: Source, hour: int) -> Target:
    capture = source.capture
    return Target(
        source.account, source.region, source.endpoint, source.variant, capture.bucket, capture.prefix,
        capture.kms_key, hour,
    )  # fmt: skip


def key_of(source: Source) -> VariantKey:
    return source.account, source.region, source.endpoint, source.variant
