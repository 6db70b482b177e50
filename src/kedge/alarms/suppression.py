"""When a composite alarm's actions run, given the alarm that may suppress them. PURE.

A change of the composite starts a wait; if the suppressor goes to ALARM before it ends, nothing runs. When the
suppressor leaves ALARM an extension starts, at whose end the actions of the composite's state run, if they have not.
A change within the extension ends it and starts a wait. Source: "Alarm suppression" in the CloudWatch user guide.

AWS does not say whether actions that have run already run again after an extension. Here a change acts once.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

WAIT, EXTENSION, ALARM = "WaitPeriod", "ExtensionPeriod", "Alarm"


@dataclass(frozen=True)
class Suppression:
    """What has to be remembered between two looks."""

    by: str = ""
    """WaitPeriod, ExtensionPeriod, Alarm, or "" while nothing is suppressed."""
    until_s: float | None = None
    """When the period ends."""
    owed: bool = False
    """The actions of the composite's state have not run."""

    def document(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Suppressor:
    """The suppressing alarm as it is seen now, and its two periods."""

    in_alarm: bool
    since_s: float
    """When it came into the state that it is in."""
    wait_s: int
    extension_s: int


NONE = Suppression()


def changed(suppressor: Suppressor, at_s: float) -> tuple[Suppression, bool]:
    """The composite went to another state: what follows, and whether that state's actions run now."""
    if suppressor.in_alarm:
        return Suppression(ALARM, None, True), False
    if suppressor.wait_s <= 0:
        return NONE, True
    return Suppression(WAIT, at_s + suppressor.wait_s, True), False


def passed(before: Suppression, suppressor: Suppressor, now_s: float) -> tuple[Suppression, bool]:
    """Time went by, or the suppressor changed: what follows, and whether the state's actions run now.

    It is the same whether it is called at each instant or late: what counts is when things happened.
    """
    ended = before.until_s is not None and before.until_s <= now_s
    if suppressor.in_alarm:
        if ended and before.until_s is not None and suppressor.since_s > before.until_s:
            return Suppression(ALARM), before.owed  # the period was over before the suppressor came
        return Suppression(ALARM, None, before.owed), False
    if before.by == ALARM:
        end_s = suppressor.since_s + suppressor.extension_s
        if end_s > now_s:
            return Suppression(EXTENSION, end_s, before.owed), False
        return NONE, before.owed
    return (NONE, before.owed) if ended else (before, False)


def dropped(before: Suppression) -> tuple[Suppression, bool]:
    """The suppressor was taken away or replaced: its timers are gone, and what it held back runs."""
    return NONE, before.owed


def reason(state: Suppression, suppressor_name: str) -> str:
    match state.by:
        case "Alarm":
            return f"Actions suppressed by alarm {suppressor_name}"
        case "WaitPeriod":
            return f"Actions suppressed by wait period, waiting for alarm {suppressor_name} to go into ALARM"
        case "ExtensionPeriod":
            return f"Actions suppressed by extension period, after alarm {suppressor_name} went out of ALARM"
    return ""
