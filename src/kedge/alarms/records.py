"""What is stored of an alarm, and how it is described. PURE.

A metric alarm is a resource of kind METRIC, a composite one of kind COMPOSITE; no two alarms of an account and region
have one name, whatever their kinds. The resource's status is the alarm's state, so whoever waits for an alarm reads
it with `find`.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from kedge import arn
from kedge.alarms.evaluate import BAND, State, Watch, least_samples
from kedge.alarms.reasons import INITIAL
from kedge.alarms.suppression import Suppression, Suppressor, reason

if TYPE_CHECKING:
    from kedge.store.store import Resource, Scope, Store, Transaction

METRIC, COMPOSITE = "metric-alarm", "composite-alarm"
HISTORY = "alarm-history"
"""Kind of the lines of an alarm's history (kedge.alarms.history)."""
TYPES = {METRIC: "MetricAlarm", COMPOSITE: "CompositeAlarm"}

ACTIONS = {State.OK: "OKActions", State.ALARM: "AlarmActions", State.INSUFFICIENT_DATA: "InsufficientDataActions"}


@dataclass(frozen=True)
class Alarm:
    """The document of an alarm. Times are seconds since 1970."""

    config: Mapping[str, Any]
    """Members of the last Put request, by their wire names, with those defaults that descriptions show."""
    configured_at_s: float
    reason: str = INITIAL
    reason_data: str = ""
    updated_at_s: float = 0.0
    transitioned_at_s: float = 0.0
    evaluation: str = ""
    """EvaluationState: "" when all is well."""
    repeated_at_s: float = 0.0
    """When Auto Scaling was last told that the state lasts."""
    created_at_s: float = 0.0
    seen: Mapping[str, float] | None = None
    """Of a composite: its children as it was last evaluated, ARN -> when each came into its state. None: never."""
    suppression: Suppression = field(default_factory=Suppression)
    suppressed_at_s: float = 0.0
    owed_from: str = ""
    """Of a composite whose actions wait: the state that it came from."""

    def document(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Alarm:
        """Of this release or another; what this one does not know is left out."""
        known = {each.name for each in fields(cls)}
        given = {name: value for name, value in document.items() if name in known}
        return cls(**{**given, "suppression": Suppression(**given.get("suppression", {}))})

    @property
    def actions_enabled(self) -> bool:
        return bool(self.config.get("ActionsEnabled", True))

    def actions(self, state: State) -> list[str]:
        return list(dict.fromkeys(self.config.get(ACTIONS[state], ())))

    @property
    def period_s(self) -> int:
        """Of a metric alarm: what each of its datapoints covers."""
        if "Period" in self.config:
            return int(self.config["Period"])
        stats = [query["MetricStat"]["Period"] for query in self.config["Metrics"] if "MetricStat" in query]
        periods = stats or [query["Period"] for query in self.config["Metrics"] if "Period" in query]
        return int(max(periods))

    def watch(self) -> Watch:
        config = self.config
        n = int(config["EvaluationPeriods"])
        least = 0.0
        if config.get("EvaluateLowSampleCountPercentile") == "ignore" and "ExtendedStatistic" in config:
            least = least_samples(percentile(config["ExtendedStatistic"]) or 0.0)
        return Watch(
            config["ComparisonOperator"],
            config.get("Threshold"),
            n,
            int(config.get("DatapointsToAlarm", n)),
            config.get("TreatMissingData", "missing"),
            least,
        )

    @property
    def has_band(self) -> bool:
        return self.config["ComparisonOperator"] in BAND

    def suppressor(self, found: Resource | None) -> Suppressor | None:
        """found: the alarm that ActionsSuppressor names, as it is now. None: nothing suppresses."""
        if "ActionsSuppressor" not in self.config:
            return None
        return Suppressor(
            found is not None and found.status == State.ALARM,
            0.0 if found is None else Alarm.of(found.document).transitioned_at_s,
            int(self.config["ActionsSuppressorWaitPeriod"]),
            int(self.config["ActionsSuppressorExtensionPeriod"]),
        )


def percentile(statistic: str) -> float | None:
    """The NN of pNN."""
    try:
        return float(statistic[1:]) if statistic[:1] == "p" else None
    except ValueError:
        return None


def seconds(at: datetime) -> float:
    return at.timestamp()


def moment(at_s: float) -> datetime:
    return datetime.fromtimestamp(at_s, UTC)


def arn_of(scope: Scope, name: str) -> str:
    return str(arn.Arn("cloudwatch", scope.region, scope.account, f"alarm:{name}"))


def name_in(text: str) -> str:
    """The alarm's name in an ARN of an alarm, else the text itself."""
    try:
        parsed = arn.parse(text)
    except ValueError:
        return text
    kind, _, name = parsed.resource.partition(":")
    return name if parsed.service == "cloudwatch" and kind == "alarm" and name else text


def find(store: Store | Transaction, scope: Scope, name: str) -> Resource | None:
    """The alarm of this name, of either kind."""
    return store.get(scope, METRIC, name) or store.get(scope, COMPOSITE, name)


def query_id(resource: Resource) -> str:
    """What events call the one metric of an alarm that gives it no id: always the same for the same alarm."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, arn_of(resource.scope, resource.name)))


def described(resource: Resource) -> dict[str, Any]:
    """As DescribeAlarms has it: a MetricAlarm or a CompositeAlarm."""
    alarm = Alarm.of(resource.document)
    shown = {
        "AlarmArn": arn_of(resource.scope, resource.name),
        "AlarmConfigurationUpdatedTimestamp": moment(alarm.configured_at_s),
        **{name: value for name, value in alarm.config.items() if name != "Tags"},
        "StateValue": resource.status,
        "StateReason": alarm.reason,
        "StateUpdatedTimestamp": moment(alarm.updated_at_s),
        "StateTransitionedTimestamp": moment(alarm.transitioned_at_s),
    }
    if alarm.reason_data:
        shown["StateReasonData"] = alarm.reason_data
    if alarm.evaluation:
        shown["EvaluationState"] = alarm.evaluation
    if alarm.suppression.by:
        shown["ActionsSuppressedBy"] = alarm.suppression.by
        shown["ActionsSuppressedReason"] = reason(alarm.suppression, name_in(alarm.config["ActionsSuppressor"]))
    return shown


def related(resource: Resource) -> dict[str, Any]:
    """As DescribeAlarms has the children or parents of an alarm: no more than which it is and its state."""
    whole = described(resource)
    return {name: whole[name] for name in ("AlarmName", "AlarmArn", "StateValue", "StateUpdatedTimestamp")}
