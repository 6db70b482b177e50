"""What is stored of a retraining: one record from the alert that asks for it to its end. PURE.

Times are seconds since 1970.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any

KIND = "monitoring-retraining"
"""Named as executions are: SCHEDULE/TIME-ID."""


class Phase(StrEnum):
    DECIDING = "Deciding"
    """The alert rings: is another training the answer?"""
    PREPARING = "PreparingData"
    """What was labelled is made into CSV, where a channel of the training job asks for that."""
    TRAINING = "Training"
    REGISTERING = "Registering"
    APPROVING = "PendingApproval"
    DEPLOYING = "Deploying"
    RENEWING = "RenewingBaselines"
    """The new model serves; monitors are given baselines of what it was trained on."""
    NOT_BEGUN = "NotBegun"
    PROMOTED = "Promoted"
    ROLLED_BACK = "RolledBack"
    REJECTED = "Rejected"
    FAILED = "Failed"
    STOPPED = "Stopped"

    @property
    def goes_on(self) -> bool:
        return self in GOING


GOING = (
    Phase.DECIDING, Phase.PREPARING, Phase.TRAINING, Phase.REGISTERING, Phase.APPROVING, Phase.DEPLOYING,
    Phase.RENEWING,
)  # fmt: skip
BEGUN = tuple(each for each in Phase if each not in (Phase.DECIDING, Phase.NOT_BEGUN))
"""Those that have trained, or tried to."""


@dataclass(frozen=True)
class Run:
    uid: str
    schedule: str
    schedule_uid: str
    asked_at_s: float
    asked_by: str = ""
    """ARN of who asked for it by hand; "" where the alert did."""
    start_s: float = 0.0
    end_s: float = 0.0
    """Of the window that rang the alert."""
    execution: str = ""
    """That looked at this window."""
    endpoint: str = ""
    endpoint_uid: str = ""
    role: str = ""
    """The monitor's, in whose name everything is done."""
    settings: Mapping[str, Any] | None = None
    """As they were when it began."""
    verdict: str = ""
    evidence: str = ""
    data: str = ""
    """Address of the manifest of what it trains on."""
    files: int = 0
    package: str = ""
    """ARN of the model package version."""
    served_s: float = 0.0
    """Since when its model answers all requests; 0 until then."""
    baselines: Sequence[Mapping[str, Any]] = ()
    """kedge.monitors.retraining.renewal.Renewal of each data quality monitor, once its model serves."""
    stop: str = ""
    """Why it is to end before its time."""
    reason: str = ""
    """Why it ended as it did."""
    steps: Sequence[Mapping[str, Any]] = ()
    """{"phase", "at_s"}, oldest first."""

    def document(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Run:
        """Of this release or an earlier one."""
        names = {each.name for each in fields(cls)}
        return cls(**{name: value for name, value in document.items() if name in names})

    @property
    def name(self) -> str:
        return f"{self.schedule.lower()}/{round(self.asked_at_s * 1000):015d}-{self.uid}"

    @property
    def made(self) -> str:
        """Name of its training job, model and endpoint config: the same whenever they are asked for."""
        return f"{self.schedule[:42].rstrip('-')}-retrain-{self.uid[:12]}"

    @property
    def preparing(self) -> str:
        """Name of the processing job that makes CSV for it."""
        return f"{self.schedule[:44].rstrip('-')}-rows-{self.uid[:12]}"

    @property
    def span_s(self) -> tuple[float, float]:
        """From when to when what it trains on came."""
        back_s = (self.settings or {}).get("window_s")
        return self.start_s if back_s is None else self.end_s - back_s, self.end_s

    @property
    def since_s(self) -> float:
        """When its phase began."""
        return float(self.steps[-1]["at_s"]) if self.steps else self.asked_at_s

    @property
    def promoted_s(self) -> float:
        """When its deployment was over; of one that was not deployed, when it ended."""
        return next((float(s["at_s"]) for s in self.steps if s["phase"] == Phase.RENEWING), self.since_s)

    def at(self, phase: Phase, at_s: float, reason: str = "") -> Run:
        return replace(self, reason=reason, steps=(*self.steps, {"phase": phase.value, "at_s": at_s}))
