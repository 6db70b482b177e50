"""What a monitor does when its model is wrong: train again, and how. Tags of its schedule say so. PURE.

    kedge:retrain            a training job that is done again, by its name, or a CreateTrainingJob request in S3 (JSON)
    kedge:retrain-...        the settings below

Values keep to what a tag may hold: letters, numbers, spaces and _ . : / = + - @.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from kedge.errors import ValidationFailed
from kedge.jobs.program_plan import check_address
from kedge.monitors.windows import BadWindow, duration

TAG = "kedge:retrain"
CONCEPT, ANY = "concept drift", "any drift"
AUTO, MANUAL = "auto", "manual"
RENEW, KEEP = "renew", "keep"
_CHOICES = {"on": (CONCEPT, ANY), "approval": (AUTO, MANUAL), "baselines": (RENEW, KEEP)}
_DURATIONS = ("window", "cool-down", "approve-within")
_NUMBERS = {"most-a-day": ("most_a_day", 1, 100), "canary": ("canary", 1, 50), "bake": ("bake_s", 0, 3600)}
"""Member, the least and the most."""
_LIMITS = ("at-least", "at-most")
_TEXTS = ("channel", "csv", "group", "variant", "alarm")
KNOWN = (*_CHOICES, *_DURATIONS, *_NUMBERS, *_LIMITS, *_TEXTS)


@dataclass(frozen=True)
class Limit:
    """Of a metric that the training job tells."""

    metric: str
    value: float
    is_least: bool

    def __str__(self) -> str:
        return f"{self.metric} {'at least' if self.is_least else 'at most'} {self.value:g}"

    def holds(self, value: float) -> bool:
        return value >= self.value if self.is_least else value <= self.value


@dataclass(frozen=True)
class Settings:
    template: str
    """Name of a training job, or the address of a request."""
    channel: str = "recent"
    """Of the training job's inputs: the one that gets labelled records. Where the template has it, it is replaced."""
    window_s: float | None = None
    """How far back from the end of the window that rang the alert these go; None is to its start."""
    on: str = CONCEPT
    """The verdicts on which it trains."""
    cool_down_s: float = 6 * 3600.0
    """From the end of a retraining to the begin of the next one."""
    most_a_day: int = 4
    limits: Sequence[Limit] = ()
    """What the new model has to reach to be deployed."""
    group: str = ""
    """Model package group of which it becomes a version; "" makes a model without a package."""
    approval: str = AUTO
    approve_within_s: float = 7 * 86400.0
    variant: str = ""
    """Whose model it takes the place of; "" is the only one."""
    canary: int | None = None
    """Percent of the traffic. Without canary, bake and alarm the endpoint's own DeploymentConfig, if any, is kept."""
    bake_s: int | None = None
    alarm: str = ""
    baselines: str = RENEW
    """Of the endpoint's data quality monitors, once the new model serves."""
    csv: str = ""
    """Of the training job's inputs: the one that gets the same records as CSV, label first. "": none does."""

    def document(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Settings:
        return cls(**{**document, "limits": tuple(Limit(**each) for each in document["limits"])})


def of_tags(tags: Sequence[Mapping[str, str]]) -> Settings | None:
    """None where no tag asks for it. Raises ValidationFailed: the tag, its value and what would be right."""
    given = {each["Key"]: each["Value"] for each in tags if f"{each['Key']}-".lower().startswith(f"{TAG}-")}
    if not given:
        return None
    for key in given:
        if key != TAG and key.removeprefix(f"{TAG}-") not in KNOWN:
            raise ValidationFailed(
                f'The tag "{key}" is no setting of retraining; there are {TAG} and '
                f"{', '.join(f'{TAG}-{each}' for each in sorted(KNOWN))}."
            )
    found = {key.removeprefix(f"{TAG}-"): value for key, value in given.items()}
    template = found.get(TAG, "")
    if not template:
        raise ValidationFailed(
            f"Tags {TAG}-... are given without {TAG}, which has to name a training job or the address of a request."
        )
    if ":" in template:
        check_address(TAG, template)
    members: dict[str, Any] = {}
    for name, text in found.items():
        if name in _CHOICES:
            members[name] = _choice(name, text)
        elif name in _DURATIONS:
            members[f"{name.replace('-', '_')}_s"] = _seconds(name, text)
        elif name in _NUMBERS:
            members[_NUMBERS[name][0]] = _number(name, text)
        elif name in _TEXTS:
            members[name] = _text(name, text)
    limits = tuple(_limit(name, found[name]) for name in _LIMITS if name in found)
    made = Settings(template, limits=limits, **members)
    if made.approval == MANUAL and not made.group:
        raise ValidationFailed(
            f'The tag "{TAG}-approval" is "{MANUAL}" without {TAG}-group: it is versions of a model package group that '
            "are approved."
        )
    if made.csv == made.channel:
        raise ValidationFailed(
            f'The tag "{TAG}-csv" names the channel "{made.csv}", which gets records as JSON Lines; give one of the '
            "two another name."
        )
    return made


def _choice(name: str, text: str) -> str:
    known = _CHOICES[name]
    if text not in known:
        raise ValidationFailed(f'The tag "{TAG}-{name}" is "{text}"; it has to be "{known[0]}" or "{known[1]}".')
    return text


def _seconds(name: str, text: str) -> float:
    try:
        found = duration(text)
    except BadWindow as error:
        raise ValidationFailed(f"The tag {TAG}-{name}: {error}.") from None
    if name != "cool-down" and found <= timedelta():
        raise ValidationFailed(f'The tag "{TAG}-{name}" is "{text}"; it has to be longer than nothing.')
    return found.total_seconds()


def _number(name: str, text: str) -> int:
    _, least, most = _NUMBERS[name]
    if not (text.isascii() and text.isdecimal() and len(text) < 6 and least <= int(text) <= most):
        raise ValidationFailed(
            f'The tag "{TAG}-{name}" is "{text}"; it has to be a whole number from {least} to {most}.'
        )
    return int(text)


def _limit(name: str, text: str) -> Limit:
    metric, equals, value = text.rpartition("=")
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if not equals or not metric or number != number:
        raise ValidationFailed(f'The tag "{TAG}-{name}" is "{text}"; it has to be METRIC=NUMBER, such as accuracy=0.9.')
    return Limit(metric, number, name == "at-least")


def _text(name: str, text: str) -> str:
    if not text:
        raise ValidationFailed(f'The tag "{TAG}-{name}" is empty; leave it out, or give it a value.')
    return text
