"""How Kedge stands against what is asked of it, in ratios of one run. PURE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.serving import bare
from benchmarks.serving.kedge_rows import ORIGINAL, SIGNED, UNSIGNED
from benchmarks.serving.registry import PEERS
from benchmarks.serving.report import Results

JOINING = tuple(peer.name for peer in PEERS if peer.model_server and peer.joins)
NOT_JOINING = tuple(peer.name for peer in PEERS if peer.model_server and not peer.joins)
MODEL_SERVERS = JOINING + NOT_JOINING
OTHERS = tuple(peer.name for peer in PEERS if peer.name != "nginx" and not peer.name.startswith("granian, "))


@dataclass(frozen=True)
class Bar:
    what: str
    seen: float | None
    """None: what it is measured against did not take part."""
    asked: float
    against: str = ""

    @property
    def met(self) -> bool:
        return self.seen is not None and self.seen >= self.asked

    def __str__(self) -> str:
        if self.seen is None:
            return f"{self.what:58}        -  bar {self.asked:g}"
        return f"{self.what:58} {self.seen:8.2f}  bar {self.asked:g}  {self.against}{'' if self.met else '  NOT MET'}"


def bars(results: Results) -> list[Bar]:
    """Every bar; the hardest peer of those that took part counts."""

    def times(what: str, asked: float, work: str, connections: int, peers: Sequence[str], ours: str = SIGNED) -> Bar:
        ratios = [
            (ratio, peer) for peer in peers if (ratio := results.ratio(ours, peer, work, connections)) is not None
        ]
        seen, against = min(ratios, default=(None, ""))
        return Bar(what, seen, asked, against)

    found = [
        times("gbdt, 1 row, c=64, not compiled: best that joins", 2.5, "gbdt1", 64, JOINING, ORIGINAL),
        times("gbdt, 1 row, c=64, not compiled: best that does not", 10, "gbdt1", 64, NOT_JOINING, ORIGINAL),
        times("gbdt, 1 row, c=64, compiled: best", 4, "gbdt1", 64, MODEL_SERVERS),
        times("gbdt, 100 rows, c=16, not compiled: best", 1.5, "gbdt100", 16, OTHERS, ORIGINAL),
        times("gbdt, 100 rows, c=16, compiled: best", 5, "gbdt100", 16, OTHERS),
        times("echo, c=64: FastAPI", 4, "echo", 64, ("fastapi",)),
        times("echo, c=64: best model server", 6, "echo", 64, MODEL_SERVERS),
        times("echo, c=64, unsigned: Granian", 1, "echo", 64, ("granian",), UNSIGNED),
        times("echo, c=64: share of nginx", 0.2, "echo", 64, ("nginx",)),
        times("echo, c=64, unsigned: share of nginx", 0.45, "echo", 64, ("nginx",), UNSIGNED),
    ]
    return [*found, _tail(results), _added(results)]


def _tail(results: Results) -> Bar:
    """The lowest p99 among the others is so many times ours."""
    ratios = [
        (ratio, peer) for peer in OTHERS if (ratio := results.ratio(peer, SIGNED, "gbdt1", 64, "p99_ms")) is not None
    ]
    seen, against = min(ratios, default=(None, ""))
    return Bar("gbdt, 1 row, c=64: lowest p99 of the others", seen, 1, against)


def _added(results: Results) -> Bar:
    """0.35 ms over what is added to the model's own p50."""
    ours, model = (results.median(row, "gbdt1", 1, "p50_ms") for row in (ORIGINAL, bare.NAME))
    what = "gbdt, 1 row, c=1: 0.35 ms / what is added to the model's p50"
    if ours is None or model is None:
        return Bar(what, None, 1)
    added_ms = ours - model
    return Bar(what, 0.35 / max(added_ms, 1e-3), 1, f"{added_ms:.2f} ms")
