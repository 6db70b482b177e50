"""All that was counted since the control process began, to be scraped or pushed: counters only grow until a restart.

A restart of the control process begins them at 0, as scrapers expect it; what the CloudWatch API tells goes on.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kedge.clock import Clock
from kedge.compute.used import PERIOD_S, Sample, Used
from kedge.metrics.exposition import Family, Histogram, Labels
from kedge.metrics.sketch import Sketch
from kedge.serving.meter import Frame, VariantPlace
from kedge.serving.table import key_of

BOUNDS_S = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
REFUSALS = ("ServiceUnavailable", "ThrottlingException", "ValidationError")
"""Codes that are there from the start, with 0, so that the first refusal is an increase. Others come as they occur."""
STALE_S = 3.0
"""A router that has something to do says so every second."""


@dataclass
class _Latencies:
    counts: list[float] = field(default_factory=lambda: [0.0] * (len(BOUNDS_S) + 1))
    total_s: float = 0.0

    def add(self, latencies_us: Sketch) -> None:
        for value, count in latencies_us.weighted():
            self.counts[bisect_left(BOUNDS_S, value / 1e6)] += count
        self.total_s += latencies_us.total / 1e6

    def histogram(self) -> Histogram:
        return Histogram(BOUNDS_S, tuple(self.counts), self.total_s)


@dataclass
class _Variant:
    invocations: int = 0
    errors: dict[str, int] = field(default_factory=lambda: {"4xx": 0, "5xx": 0, "other": 0})
    refused: dict[str, int] = field(default_factory=lambda: dict.fromkeys(REFUSALS, 0))
    model_latency: _Latencies = field(default_factory=_Latencies)
    overhead_latency: _Latencies = field(default_factory=_Latencies)


class Totals:
    """Used on the loop's thread alone."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._variants: dict[VariantPlace, _Variant] = {}
        self._concurrent: dict[str, tuple[float, Frame]] = {}
        """By router's boot: its last report, and when it came."""
        self._used: tuple[float, Sample] | None = None

    def take(self, frame: Frame) -> None:
        for cell in frame.cells:
            variant = self._variants.setdefault(cell.place.of_variant, _Variant())
            variant.invocations += cell.invocations
            errors = variant.errors
            errors["4xx"] += cell.errors_4xx
            errors["5xx"] += cell.errors_5xx
            errors["other"] += cell.model_errors - cell.errors_4xx - cell.errors_5xx
            for code, count in cell.refused.items():
                variant.refused[code] = variant.refused.get(code, 0) + count
            variant.model_latency.add(cell.model_latency_us)
            variant.overhead_latency.add(cell.overhead_latency_us)
        self._concurrent[frame.boot] = (self._clock.monotonic_s(), frame)

    def take_usage(self, sample: Sample) -> None:
        self._used = (self._clock.monotonic_s(), sample)

    def families(self, served: Iterable[VariantPlace]) -> list[Family]:
        """served: the variants that there are; what was counted of others is forgotten."""
        variants = {place: self._variants.get(place, _Variant()) for place in served}
        self._variants = variants
        by_variant = [(_labels(place), each) for place, each in variants.items()]
        return [
            Family(
                "kedge_endpoint_invocations",
                "counter",
                "Requests that were sent to a model.",
                [(labels, each.invocations) for labels, each in by_variant],
            ),
            Family(
                "kedge_endpoint_model_errors",
                "counter",
                "Of these, the ones that the model answered with an error, or not at all (kind other).",
                [({**at, "kind": kind}, n) for at, each in by_variant for kind, n in each.errors.items()],
            ),
            Family(
                "kedge_endpoint_refused",
                "counter",
                "Requests that were answered without a model, by the error's code.",
                [({**at, "error_code": code}, n) for at, each in by_variant for code, n in each.refused.items()],
            ),
            Family(
                "kedge_endpoint_model_latency_seconds",
                "histogram",
                "From sending a request to the instance until its answer was there.",
                [(labels, each.model_latency.histogram()) for labels, each in by_variant],
            ),
            Family(
                "kedge_endpoint_overhead_latency_seconds",
                "histogram",
                "What a request took besides.",
                [(labels, each.overhead_latency.histogram()) for labels, each in by_variant],
            ),
            Family(
                "kedge_endpoint_concurrent_requests",
                "gauge",
                "Requests with the models, or waiting for one.",
                [(_labels(place), n) for place, n in self._concurrent_now(variants).items()],
            ),
            *self._instances(variants),
        ]

    def _concurrent_now(self, variants: Mapping[VariantPlace, _Variant]) -> dict[VariantPlace, int]:
        now_s = self._clock.monotonic_s()
        self._concurrent = {b: each for b, each in self._concurrent.items() if now_s - each[0] <= STALE_S}
        found = dict.fromkeys(variants, 0)
        for _, frame in self._concurrent.values():
            for each in frame.concurrent:
                if each.place in found:
                    found[each.place] += each.requests
        return found

    def _instances(self, variants: Mapping[VariantPlace, _Variant]) -> list[Family]:
        used, disk = self._used_now()
        labelled = [(_labels(p) | {"instance_id": u.task}, u) for u in used if (p := _place(u)) in variants]

        def gauge(name: str, about: str, samples: list[tuple[Labels, float | Histogram]]) -> Family:
            return Family(f"kedge_instance_{name}", "gauge", about, samples)

        return [
            gauge("cpu_cores", "Cores that it kept busy lately.", [(at, u.cores) for at, u in labelled]),
            gauge("memory_bytes", "Memory of its own.", [(at, u.memory_bytes) for at, u in labelled]),
            gauge(
                "memory_limit_bytes",
                "What its instance type has.",
                [(at, u.memory_limit_bytes) for at, u in labelled if u.memory_limit_bytes],
            ),
            gauge(
                "loaded_models",
                "Of a multi-model endpoint.",
                [(at, u.loaded) for at, u in labelled if u.loaded is not None],
            ),
            gauge(
                "gpu_busy_ratio",
                "Of the time.",
                [({**at, "gpu": str(g.index)}, g.busy_share) for at, u in labelled for g in u.gpus],
            ),
            gauge(
                "gpu_memory_ratio",
                "Of its memory.",
                [({**at, "gpu": str(g.index)}, g.memory_share) for at, u in labelled for g in u.gpus],
            ),
            Family("kedge_disk_used_ratio", "gauge", "Of the data directory's file system.", disk),
        ]

    def _used_now(self) -> tuple[tuple[Used, ...], list[tuple[Labels, float | Histogram]]]:
        if self._used is None or self._clock.monotonic_s() - self._used[0] > 3 * PERIOD_S:
            return (), []
        return self._used[1].instances, [({}, self._used[1].disk_share)]


def _labels(place: VariantPlace) -> dict[str, str]:
    component = {"inference_component_name": place.component} if place.component else {}
    return {
        "endpoint_name": place.endpoint_name,
        "variant_name": place.variant,
        **component,
        "account_id": place.account,
        "region": place.region,
    }


def _place(used: Used) -> VariantPlace:
    get = used.labels.get
    endpoint, component = get("endpoint", ""), get("inference_component", "")
    named = key_of(endpoint, component) if component else endpoint
    return VariantPlace(get("account", ""), get("region", ""), named, get("variant", ""))
