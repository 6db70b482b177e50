"""A world for the controller: the endpoints' own, with a metric store and reports of routers that the test makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kedge.alarms.operations import OPERATIONS as ALARMS
from kedge.alarms.records import arn_of
from kedge.autoscaling.asking import carry_out
from kedge.autoscaling.concurrency import Recent
from kedge.autoscaling.controller import Controller
from kedge.autoscaling.operations import OPERATIONS
from kedge.compute.base import Capacity
from kedge.endpoints.records import KIND, Endpoint, Variant
from kedge.events.records import Action
from kedge.metrics.series import Metric, Summary
from kedge.serving.meter import Concurrent, Frame, VariantPlace
from kedge.store.lease import Lease
from kedge.store.records import Author
from tests.endpoints import world as endpoints

PLACE = {
    "ServiceNamespace": "sagemaker",
    "ResourceId": "endpoint/e/variant/v",
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
}
VARIANT = VariantPlace(endpoints.ACCOUNT, endpoints.REGION, "e", "v")


class Scaled:
    """An endpoint `e` with one variant `v`, and what scales it."""

    def __init__(self, world: endpoints.World) -> None:
        self.world = world
        self.values: dict[str, float] = {}
        """What every period of a metric holds, by its name."""
        self.routers = True
        self.room: Callable[[], Capacity] = world.engine.capacity
        self.sequence = 0
        self.restart()

    def restart(self) -> None:
        """A new control process: what the old one held in memory is gone."""
        self.recent = Recent(self.world.clock)
        lease = Lease(self.world.store, "autoscaling", "node", self.world.clock, ttl_s=1e9)
        lease.hold()
        assert lease.held is not None
        self.held = lease.held
        self.controller = Controller(
            self.world.store, self.read, self.recent, self.world.clock, lease, lambda: self.room(), lambda: self.routers
        )

    async def begin(self, count: int = 1) -> None:
        self.world.make_model()
        self.world.make_config("c", endpoints.variant(count=count))
        self.world.do("CreateEndpoint", EndpointName="e", EndpointConfigName="c")
        await self.world.bring_up()

    def do(self, operation: str, **request: Any) -> dict[str, Any]:
        """Of Application Auto Scaling."""
        return OPERATIONS[f"application-autoscaling.{operation}"](self.world.call(), request)

    def register(self, low: int = 1, high: int = 10, **more: Any) -> None:
        self.do("RegisterScalableTarget", **PLACE, MinCapacity=low, MaxCapacity=high, **more)

    def step_policy(self, name: str, adjustment: int, **more: Any) -> str:
        steps = [{"MetricIntervalLowerBound": 0.0, "ScalingAdjustment": adjustment}]
        config = {"AdjustmentType": "ChangeInCapacity", "StepAdjustments": steps, **more}
        return self.put(name, "StepScaling", config)

    def tracking_policy(self, name: str, target: float, **more: Any) -> str:
        metric = {"Namespace": "app", "MetricName": name, "Statistic": "Average"}
        config = {"TargetValue": target, "CustomizedMetricSpecification": metric, **more}
        return self.put(name, "TargetTrackingScaling", config)

    def fast_policy(self, name: str, target: float, **more: Any) -> str:
        metric = {"PredefinedMetricType": "SageMakerVariantConcurrentRequestsPerModelHighResolution"}
        config = {"TargetValue": target, "PredefinedMetricSpecification": metric, **more}
        return self.put(name, "TargetTrackingScaling", config)

    def put(self, name: str, kind: str, config: Mapping[str, Any]) -> str:
        answer = self.do(
            "PutScalingPolicy", **PLACE, PolicyName=name, PolicyType=kind, **{f"{kind}PolicyConfiguration": config}
        )
        return str(answer["PolicyARN"])

    def read(
        self, metric: Metric, _unit: str | None, period_s: int, start_s: int, end_s: int
    ) -> Sequence[tuple[str, Mapping[int, Summary]]]:
        if metric.name not in self.values:
            return []
        value = self.values[metric.name]
        return [("None", {at: Summary.one(value) for at in range(start_s, end_s, period_s)})]

    def alarm(self, name: str, policy: str, metric: str, threshold: float) -> None:
        """One of the user's own."""
        ALARMS["cloudwatch.PutMetricAlarm"](
            self.world.call(),
            {
                "AlarmName": name, "Namespace": "app", "MetricName": metric, "Statistic": "Average", "Period": 60,
                "EvaluationPeriods": 1, "Threshold": threshold, "ComparisonOperator": "GreaterThanThreshold",
                "AlarmActions": [policy],
            },
        )  # fmt: skip

    def set(self, alarm: str, state: str) -> None:
        request = {"AlarmName": alarm, "StateValue": state, "StateReason": "by hand"}
        ALARMS["cloudwatch.SetAlarmState"](self.world.call(), request)

    def ask(self, alarm: str, policy: str) -> None:
        """As an alarm that comes, or stays, in ALARM does."""
        scope = self.world.call().scope
        now = self.world.clock.now()
        action = Action("a", scope.account, scope.region, policy, "", "", at=now, source_arn=arn_of(scope, alarm))
        with self.world.store.transaction(Author("test", "", now)) as tx:
            assert carry_out(tx, action).succeeded

    def own_alarm(self, policy: str, kind: str) -> str:
        request = {"ServiceNamespace": "sagemaker", "PolicyNames": [policy]}
        (found,) = self.do("DescribeScalingPolicies", **request)["ScalingPolicies"]
        return str(next(each["AlarmName"] for each in found["Alarms"] if kind in each["AlarmName"]))

    def report(self, requests: int, instances: int = 1, router: str = "r") -> None:
        self.sequence += 1
        second = int(self.world.clock.now().timestamp())
        self.recent.take(Frame(router, self.sequence, second, concurrent=(Concurrent(VARIANT, requests, instances),)))

    def look(self) -> float:
        return self.controller.look(self.held)

    def pass_by(self, seconds: int, requests: int | None = None) -> None:
        """A second after the other, each with a report and a pass."""
        for _ in range(seconds):
            self.world.clock.advance(1.0)
            if requests is not None:
                self.report(requests)
            self.look()

    async def settle(self) -> None:
        """Endpoint and controller come to rest; every instance that starts becomes ready."""
        for _ in range(2):
            self.look()
            await self.world.bring_up()
        self.look()

    @property
    def variant(self) -> Variant:
        resource = self.world.store.list(None, KIND).items[0]
        live = Endpoint.of(resource.document).live
        assert live is not None
        return live.variants[0]

    @property
    def wanted(self) -> int:
        return self.variant.desired_count

    def activities(self) -> list[dict[str, Any]]:
        """The newest first."""
        request = {"ServiceNamespace": "sagemaker", "IncludeNotScaledActivities": True}
        found: list[dict[str, Any]] = self.do("DescribeScalingActivities", **request)["ScalingActivities"]
        return found
