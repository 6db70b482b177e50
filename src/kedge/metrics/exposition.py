"""Counters, gauges and histograms as Prometheus reads them: text format 0.0.4, and OpenMetrics 1.0 where asked. PURE.

Sources: Prometheus, "Exposition formats"; OpenMetrics 1.0, openmetrics.io.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

Labels = Mapping[str, str]


class Histogram(NamedTuple):
    bounds: Sequence[float]
    """Ascending; the last bucket, which has no bound, is not among them."""
    counts: Sequence[float]
    """In each bucket by itself, one more than bounds."""
    total: float
    """Of the values."""


class Family(NamedTuple):
    name: str
    """Of a counter without _total."""
    kind: str
    """counter, gauge or histogram."""
    help: str
    samples: Sequence[tuple[Labels, float | Histogram]]


def content_type(accept: str) -> str:
    """What to answer to an Accept header: OpenMetrics only where it is named, and not by a worse q than text."""
    wanted = dict(_quality(part) for part in accept.split(",") if part.strip())
    open_metrics = wanted.get("application/openmetrics-text", 0.0)
    text = max(wanted.get("text/plain", 0.0), wanted.get("text/*", 0.0), wanted.get("*/*", 0.0))
    return OPEN_METRICS if open_metrics and open_metrics >= text else TEXT


def written(families: Iterable[Family], form: str) -> bytes:
    """form: TEXT or OPEN_METRICS."""
    is_open = form == OPEN_METRICS
    lines: list[str] = []
    for family in families:
        counter = family.kind == "counter"
        sample_name = f"{family.name}_total" if counter else family.name
        name = family.name if is_open else sample_name
        lines += (f"# HELP {name} {_escaped(family.help)}", f"# TYPE {name} {family.kind}")
        for labels, value in family.samples:
            if isinstance(value, Histogram):
                lines += _histogram(family.name, labels, value)
            else:
                lines.append(f"{sample_name}{_labels(labels)} {_number(value)}")
    if is_open:
        lines.append("# EOF")
    return ("\n".join(lines) + "\n").encode()


def _histogram(name: str, labels: Labels, value: Histogram) -> Iterator[str]:
    seen = 0.0
    for bound, count in zip((*value.bounds, float("inf")), value.counts, strict=True):
        seen += count
        yield f"{name}_bucket{_labels({**labels, 'le': _number(bound)})} {_number(seen)}"
    yield f"{name}_sum{_labels(labels)} {_number(value.total)}"
    yield f"{name}_count{_labels(labels)} {_number(seen)}"


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    inside = ",".join(f'{name}="{_escaped(value, quotes=True)}"' for name, value in labels.items())
    return f"{{{inside}}}"


def _escaped(text: str, *, quotes: bool = False) -> str:
    text = text.replace("\\", r"\\").replace("\n", r"\n")
    return text.replace('"', r"\"") if quotes else text


def _number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return repr(float(value)) if value != int(value) else f"{value:.1f}"


def _quality(part: str) -> tuple[str, float]:
    kind, *parameters = (each.strip().lower() for each in part.split(";"))
    for each in parameters:
        name, _, value = each.partition("=")
        if name.strip() == "q":
            try:
                return kind, float(value)
            except ValueError:
                return kind, 0.0
    return kind, 1.0
