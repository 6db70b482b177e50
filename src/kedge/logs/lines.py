"""Bytes that a program wrote, as log events: one a line, as CloudWatch's agent has it. PURE."""

from __future__ import annotations

LONGEST_BYTES = 256 * 1024 - 26
"""Of one event; what is longer becomes several."""


def cut(data: bytes, *, ended: bool) -> tuple[list[str], int]:
    """(events, how many bytes they are made of). Empty lines are none.

    ended: nothing comes after these bytes. Else a line whose end has not come is left, unless it is too long by itself.
    """
    whole = len(data) if ended else data.rfind(b"\n") + 1
    if whole == 0 and len(data) > LONGEST_BYTES:
        whole = _boundary(data, LONGEST_BYTES)
    events: list[str] = []
    for line in data[:whole].split(b"\n"):
        text = line.removesuffix(b"\r").lstrip(b"\0")
        while len(text) > LONGEST_BYTES:
            at = _boundary(text, LONGEST_BYTES)
            events.append(text[:at].decode(errors="replace"))
            text = text[at:]
        if text:
            events.append(text.decode(errors="replace"))
    return events, whole


def _boundary(data: bytes, at: int) -> int:
    """The last place not behind `at` where a character of UTF-8 begins; `at` itself in what is no UTF-8."""
    for back in range(4):
        if data[at - back] & 0xC0 != 0x80:
            return at - back
    return at
