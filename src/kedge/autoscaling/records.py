"""What is stored of scalable targets, their policies, scheduled actions and activities, and how it is described. PURE.

Each is a resource of a kind of its own. Its name begins with the key of what it scales (resource.py), so those of one
target are found by a prefix.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from kedge import arn
from kedge.autoscaling.resource import NAMESPACE, Scalable, parse

if TYPE_CHECKING:
    from kedge.store.records import Resource, Scope

TARGET, POLICY, SCHEDULED, ACTIVITY = "scalable-target", "scaling-policy", "scheduled-action", "scaling-activity"

STEP, TRACKING = "StepScaling", "TargetTrackingScaling"
FAST_METRIC = "SageMakerVariantConcurrentRequestsPerModelHighResolution"
FAST_COPY_METRIC = "SageMakerInferenceComponentConcurrentRequestsPerCopyHighResolution"
"""The metrics that are followed from second to second, and not by their alarms."""
DEFAULT_COOLDOWN_S = 300


@dataclass(frozen=True)
class Suspended:
    """What is not done at the moment. Members: of SuspendedState."""

    scale_in: bool = False
    scale_out: bool = False
    scheduled: bool = False


_SUSPENDED = {
    "DynamicScalingInSuspended": "scale_in",
    "DynamicScalingOutSuspended": "scale_out",
    "ScheduledScalingSuspended": "scheduled",
}


def suspended(given: Mapping[str, bool], before: Suspended) -> Suspended:
    """What a request does not name stays as it was."""
    return Suspended(**{**asdict(before), **{_SUSPENDED[name]: value for name, value in given.items()}})


@dataclass(frozen=True)
class Target:
    """Times are seconds since 1970."""

    resource_id: str
    dimension: str
    minimum: int
    maximum: int
    id: str
    """Of its ARN."""
    uid: str
    """Of the endpoint, or the component: tells it from another of the same name."""
    suspended: Suspended = field(default_factory=Suspended)
    owed: str = ""
    """Why the capacity has to be moved within the bounds, as an activity says it. "" when that is done."""
    out_at_s: float = 0.0
    """When the scale-out began whose cooldown counts."""
    out_base: int = 0
    """The capacity before it."""
    out_cooldown_s: float = 0.0
    in_at_s: float = 0.0
    in_cooldown_s: float = 0.0
    running: str = ""
    """Name of the activity that goes on."""
    wanted: int = 0
    """The capacity that it is to bring."""
    not_before_s: float = 0.0
    """After a change that failed, the next one by itself."""

    @property
    def scalable(self) -> Scalable:
        return parse(self.resource_id, self.dimension)

    def document(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Target:
        given = _known(cls, document)
        return cls(**{**given, "suspended": Suspended(**_known(Suspended, given.get("suspended", {})))})


@dataclass(frozen=True)
class Policy:
    name: str
    resource_id: str
    dimension: str
    type: str
    config: Mapping[str, Any]
    """StepScalingPolicyConfiguration or TargetTrackingScalingPolicyConfiguration, as it was given."""
    id: str
    """Of its ARN."""
    alarms: Mapping[str, str] = field(default_factory=dict)
    """Names of the alarms that are its own: "high" and "low"."""
    asked: Mapping[str, float] = field(default_factory=dict)
    """Alarms that have asked for it and were not heard yet, by name: when, in seconds since 1970."""

    @property
    def is_fast(self) -> bool:
        predefined = self.config.get("PredefinedMetricSpecification", {})
        return self.type == TRACKING and predefined.get("PredefinedMetricType") in (FAST_METRIC, FAST_COPY_METRIC)

    @property
    def out_cooldown_s(self) -> float:
        return float(self.config.get("Cooldown", self.config.get("ScaleOutCooldown", DEFAULT_COOLDOWN_S)))

    @property
    def in_cooldown_s(self) -> float:
        return float(self.config.get("Cooldown", self.config.get("ScaleInCooldown", DEFAULT_COOLDOWN_S)))

    def document(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Policy:
        return cls(**_known(cls, document))


@dataclass(frozen=True)
class Scheduled:
    name: str
    resource_id: str
    dimension: str
    schedule: str
    zone: str
    id: str
    seen_to_s: float
    """What was due until then is done. Seconds since 1970."""
    minimum: int | None = None
    maximum: int | None = None
    start_s: float | None = None
    end_s: float | None = None

    def document(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Scheduled:
        return cls(**_known(cls, document))


@dataclass(frozen=True)
class Activity:
    """The status of its resource is the StatusCode."""

    id: str
    resource_id: str
    dimension: str
    description: str
    cause: str
    start_s: float
    end_s: float | None = None
    message: str = ""
    details: str = ""
    not_scaled: tuple[Mapping[str, Any], ...] = ()
    """NotScaledReasons. An activity that has some changed nothing."""

    def document(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Activity:
        given = _known(cls, document)
        return cls(**{**given, "not_scaled": tuple(given.get("not_scaled", ()))})


Record = TypeVar("Record", Target, Policy, Scheduled, Activity, Suspended)


def _known(kind: type[Record], document: Mapping[str, Any]) -> dict[str, Any]:
    """The members of a stored document that `kind` has; a later release may have written more."""
    names = {each.name for each in fields(kind)}
    return {name: value for name, value in document.items() if name in names}


def target_arn(scope: Scope, id_: str) -> str:
    return str(arn.Arn("application-autoscaling", scope.region, scope.account, f"scalable-target/{id_}"))


def policy_arn(scope: Scope, policy: Policy) -> str:
    where = f"scalingPolicy:{policy.id}:resource/{NAMESPACE}/{policy.resource_id}:policyName/{policy.name}"
    return str(arn.Arn("autoscaling", scope.region, scope.account, where))


def scheduled_arn(scope: Scope, action: Scheduled) -> str:
    where = f"scheduledAction:{action.id}:resource/{NAMESPACE}/{action.resource_id}:scheduledActionName/{action.name}"
    return str(arn.Arn("autoscaling", scope.region, scope.account, where))


def role_arn(account: str) -> str:
    """Of the role that AWS's service works by; here nothing has to be assumed."""
    role = "AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint"
    return f"arn:aws:iam::{account}:role/aws-service-role/sagemaker.application-autoscaling.amazonaws.com/{role}"


def target_described(resource: Resource) -> dict[str, Any]:
    target = Target.of(resource.document)
    return {
        **_place(target),
        "MinCapacity": target.minimum,
        "MaxCapacity": target.maximum,
        "RoleARN": role_arn(resource.scope.account),
        "CreationTime": resource.created_at,
        "SuspendedState": {name: getattr(target.suspended, ours) for name, ours in _SUSPENDED.items()},
        "ScalableTargetARN": target_arn(resource.scope, target.id),
    }


def policy_described(resource: Resource, alarms: list[dict[str, str]]) -> dict[str, Any]:
    policy = Policy.of(resource.document)
    member = f"{policy.type}PolicyConfiguration"
    return {
        "PolicyARN": policy_arn(resource.scope, policy),
        "PolicyName": policy.name,
        **_place(policy),
        "PolicyType": policy.type,
        member: policy.config,
        "Alarms": alarms,
        "CreationTime": resource.created_at,
    }


def scheduled_described(resource: Resource) -> dict[str, Any]:
    action = Scheduled.of(resource.document)
    bounds = {"MinCapacity": action.minimum, "MaxCapacity": action.maximum}
    times = {"StartTime": action.start_s, "EndTime": action.end_s}
    return {
        "ScheduledActionName": action.name,
        "ScheduledActionARN": scheduled_arn(resource.scope, action),
        **_place(action),
        "Schedule": action.schedule,
        "Timezone": action.zone,
        **{name: moment(value) for name, value in times.items() if value is not None},
        "ScalableTargetAction": {name: value for name, value in bounds.items() if value is not None},
        "CreationTime": resource.created_at,
    }


def activity_described(resource: Resource, *, with_reasons: bool) -> dict[str, Any]:
    activity = Activity.of(resource.document)
    shown = {
        "ActivityId": activity.id,
        **_place(activity),
        "Description": activity.description,
        "Cause": activity.cause,
        "StartTime": moment(activity.start_s),
        "StatusCode": resource.status,
    }
    if activity.end_s is not None:
        shown["EndTime"] = moment(activity.end_s)
    if activity.message:
        shown["StatusMessage"] = activity.message
    if activity.details:
        shown["Details"] = activity.details
    if with_reasons and activity.not_scaled:
        shown["NotScaledReasons"] = list(activity.not_scaled)
    return shown


def _place(record: Target | Policy | Scheduled | Activity) -> dict[str, Any]:
    return {
        "ServiceNamespace": NAMESPACE,
        "ResourceId": record.resource_id,
        "ScalableDimension": record.dimension,
    }


def moment(at_s: float) -> datetime:
    return datetime.fromtimestamp(at_s, UTC)
