"""The trial of a new fleet before it gets any traffic: what is asked for, and the judgement. PURE.

Tags of the endpoint config ask for it, as they do for what must not be captured:

    kedge:trial = s3://bucket/prefix | captured | synthetic
    kedge:trial-rate = 10               requests a second
    kedge:trial-count = 100             requests at the most
    kedge:trial-content-type = text/csv of given requests
    kedge:trial-max-errors = 0          part of the requests that may fail
    kedge:trial-max-p50 = 20            milliseconds
    kedge:trial-max-p99 = 100           milliseconds
    kedge:trial-min-agreement = 0.95    with the present fleet: part of the labels, or of the answers
    kedge:trial-max-distance = 0.25     population stability index of the answers
    kedge:trial-max-time = 600          seconds

A limit that is not given is not checked, but for errors: none is allowed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kedge.errors import ValidationFailed
from kedge.shadowing.comparison import difference
from kedge.shadowing.pairs import Pair
from kedge.shadowing.tally import FEWEST, Tally

TAG = "kedge:trial"
CAPTURED, SYNTHETIC = "captured", "synthetic"
MOST_REQUESTS = 10_000
MOST_RATE = 200.0
LONGEST_S = 3600.0


@dataclass(frozen=True)
class Trial:
    source: str
    """s3://..., CAPTURED or SYNTHETIC."""
    rate: float = 10.0
    """Requests a second."""
    count: int = 100
    content_type: str = ""
    """"" takes what each request looks like."""
    max_errors: float = 0.0
    max_p50_ms: float | None = None
    max_p99_ms: float | None = None
    min_agreement: float | None = None
    max_distance: float | None = None
    max_time_s: float = 600.0


@dataclass
class Measured:
    """What became of the requests so far."""

    tally: Tally
    requests: int = 0
    errors: int = 0
    first_error: str = ""
    latencies_ms: list[float] = field(default_factory=list)
    compared: int = 0
    same: int = 0
    labels: int = 0
    labels_same: int = 0

    def failed(self, why: str) -> None:
        self.requests += 1
        self.errors += 1
        self.first_error = self.first_error or why

    def answered(self, latency_ms: float) -> None:
        self.requests += 1
        self.latencies_ms.append(latency_ms)

    def compare(self, pair: Pair) -> None:
        """pair: what the present fleet answered, and the new one."""
        found = difference(pair)
        self.compared += 1
        self.same += found.same
        self.labels += found.labels
        self.labels_same += found.labels_same
        self.tally.add(pair, 0)

    @property
    def agreement(self) -> float | None:
        """Of the labels where answers have any, else of the answers; None where nothing was compared."""
        if self.labels:
            return self.labels_same / self.labels
        return self.same / self.compared if self.compared else None


Report = dict[str, Any]


def of_tags(tags: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Those of the tags that are a trial's, by key. Raises ValidationFailed for one that cannot be."""
    found = {each["Key"]: each["Value"] for each in tags if each["Key"].lower().startswith(TAG)}
    read(found)
    return found


def read(tags: Mapping[str, str]) -> Trial | None:
    """tags: those of a trial alone. None for none. Raises ValidationFailed."""
    if not tags:
        return None
    for key in tags:
        if key != TAG and key.removeprefix(f"{TAG}-") not in _SETTINGS:
            known = ", ".join(f"{TAG}-{name}" for name in _SETTINGS)
            raise ValidationFailed(f'The tag "{key}" is no setting of a trial; there are {TAG}, {known}.')
    source = tags.get(TAG, "")
    place = source.removeprefix("s3://")
    if source not in (CAPTURED, SYNTHETIC) and (place == source or not place.partition("/")[0]):
        raise ValidationFailed(
            f'The tag "{TAG}" is "{source}"; it has to be s3://BUCKET/PREFIX, "{CAPTURED}" or "{SYNTHETIC}".'
        )
    given: dict[str, Any] = {}
    for name, (member, least, most) in _SETTINGS.items():
        if (text := tags.get(f"{TAG}-{name}")) is None:
            continue
        given[member] = text if most is None else _number(name, text, least, most)
    if "count" in given:
        given["count"] = int(given["count"])
    return Trial(source, **given)


_SETTINGS: dict[str, tuple[str, float, float | None]] = {
    "rate": ("rate", 0.1, MOST_RATE),
    "count": ("count", 1, MOST_REQUESTS),
    "content-type": ("content_type", 0, None),
    "max-errors": ("max_errors", 0, 1),
    "max-p50": ("max_p50_ms", 0, 1e6),
    "max-p99": ("max_p99_ms", 0, 1e6),
    "min-agreement": ("min_agreement", 0, 1),
    "max-distance": ("max_distance", 0, 1e6),
    "max-time": ("max_time_s", 1, LONGEST_S),
}
"""Name of the tag -> (member, least, most); without a most it is text."""


def _number(name: str, text: str, least: float, most: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        raise ValidationFailed(f'The tag "{TAG}-{name}" is "{text}"; it has to be a number from {least:g} to {most:g}.')
    return value


def judged(trial: Trial, found: Measured, stopped: str = "") -> Report:
    """Whether the new fleet may get traffic. stopped: why the trial could not be carried out to its end."""
    latencies = sorted(found.latencies_ms)
    p50, p99 = percentile(latencies, 0.5), percentile(latencies, 0.99)
    agreement, distance = found.agreement, found.tally.distance()
    reason = stopped or _against(trial, found, p50, p99, distance)
    return {
        "Passed": not reason,
        "Reason": f"The trial of the new fleet: {reason}" if reason else "",
        "Source": trial.source,
        "Requests": found.requests,
        "Errors": found.errors,
        "P50Ms": _rounded(p50),
        "P99Ms": _rounded(p99),
        "Compared": found.compared,
        "Agreement": _rounded(agreement),
        "Distance": _rounded(distance),
    }


def _against(trial: Trial, found: Measured, p50: float | None, p99: float | None, distance: float | None) -> str:
    """The first limit that does not hold, as a sentence; "" for none."""
    if not found.requests:
        return f"{trial.source} holds no request."
    if found.errors > trial.max_errors * found.requests:
        return (
            f"{found.errors} of {found.requests} requests failed; at most {trial.max_errors:.2%} may. "
            f"The first: {found.first_error}"
        )
    for name, seen_ms, most_ms in (("p50", p50, trial.max_p50_ms), ("p99", p99, trial.max_p99_ms)):
        if most_ms is not None and (seen_ms is None or seen_ms > most_ms):
            seen = "not known" if seen_ms is None else f"{seen_ms:.3g} ms"
            return f"the {name} of its latency is {seen}; at most {most_ms:g} ms is allowed."
    if trial.min_agreement is not None:
        if found.agreement is None:
            return "no answer could be compared with one of the present fleet."
        if found.agreement < trial.min_agreement:
            what = f"{found.labels} labels" if found.labels else f"{found.compared} answers"
            return (
                f"{found.agreement:.2%} of {what} agree with the present fleet; at least {trial.min_agreement:.2%} "
                "have to."
            )
    if trial.max_distance is not None:
        if distance is None:
            return f"too few answers to know how far the distributions are apart; {FEWEST} values are needed."
        if distance > trial.max_distance:
            return (
                f"its answers are {distance:.3g} from the present fleet's; at most {trial.max_distance:g} is allowed."
            )
    return ""


def percentile(ordered: Sequence[float], part: float) -> float | None:
    """The least value that so many are not above; None of nothing."""
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)] if ordered else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
