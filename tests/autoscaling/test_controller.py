"""What scales by itself, on a clock that the test moves: cooldowns, bounds, agreement, what blocks, what is told."""

from __future__ import annotations

from typing import Any

from kedge.compute.base import Capacity, TaskState
from tests.autoscaling.world import PLACE, Scaled
from tests.endpoints.world import GIB


def codes(activity: dict[str, Any]) -> list[str]:
    return [each["Code"] for each in activity.get("NotScaledReasons", ())]


async def test_registering_moves_the_capacity_inside_and_tells_when_it_is_there(scaled: Scaled):
    scaled.register(3, 5)
    scaled.look()
    assert scaled.wanted == 3
    (activity,) = scaled.activities()
    assert (activity["StatusCode"], activity["Description"]) == ("InProgress", "Setting desired instance count to 3.")
    await scaled.settle()
    (activity,) = scaled.activities()
    assert (activity["StatusCode"], "EndTime" in activity) == ("Successful", True)
    scaled.register(1, 2)
    await scaled.settle()
    assert scaled.wanted == 2


async def test_a_registration_waits_while_the_endpoint_changes(scaled: Scaled):
    scaled.world.do(
        "UpdateEndpointWeightsAndCapacities", EndpointName="e",
        DesiredWeightsAndCapacities=[{"VariantName": "v", "DesiredInstanceCount": 2}],
    )  # fmt: skip
    scaled.register(4, 5)
    scaled.look()
    assert scaled.wanted == 2
    await scaled.world.bring_up()
    scaled.look()
    assert scaled.wanted == 4


async def test_a_step_policy_adds_and_its_cooldown_counts_what_was_added(scaled: Scaled):
    scaled.register(1, 10)
    policy = scaled.step_policy("p", 2, Cooldown=100)
    scaled.values["queue"] = 7.0
    scaled.alarm("long", policy, "queue", 5.0)
    scaled.set("long", "ALARM")
    scaled.ask("long", policy)
    await scaled.settle()
    assert scaled.wanted == 3
    assert scaled.activities()[0]["Cause"] == "monitor alarm long in state ALARM triggered policy p"
    scaled.pass_by(60)
    scaled.ask("long", policy)
    await scaled.settle()
    assert scaled.wanted == 3, "two were added already"
    scaled.pass_by(60)
    scaled.ask("long", policy)
    await scaled.settle()
    assert scaled.wanted == 5


async def test_larger_wishes_come_through_a_cooldown_less_what_was_added(scaled: Scaled):
    scaled.register(1, 10)
    small = scaled.step_policy("small", 1)
    large = scaled.step_policy("large", 4)
    scaled.values["queue"] = 7.0
    scaled.alarm("long", small, "queue", 5.0)
    scaled.ask("long", small)
    await scaled.settle()
    assert scaled.wanted == 2
    scaled.ask("long", large)
    await scaled.settle()
    assert scaled.wanted == 5


async def test_in_goes_the_capacity_when_all_policies_agree(scaled: Scaled):
    scaled.register(1, 10)
    await scaled.settle()
    one = scaled.tracking_policy("one", 10.0, ScaleInCooldown=0, ScaleOutCooldown=0)
    scaled.tracking_policy("other", 10.0, ScaleInCooldown=0, ScaleOutCooldown=0)
    scaled.values.update(one=40.0, other=9.5)
    high, low = scaled.own_alarm("one", "High"), scaled.own_alarm("one", "Low")
    other_low = scaled.own_alarm("other", "Low")
    scaled.set(high, "ALARM")
    scaled.ask(high, one)
    await scaled.settle()
    assert scaled.wanted == 4
    scaled.set(high, "OK")
    scaled.values.update(one=2.0, other=2.0)
    scaled.set(low, "ALARM")
    scaled.ask(low, one)
    await scaled.settle()
    assert scaled.wanted == 4, "the other policy holds it"
    scaled.set(other_low, "ALARM")
    scaled.values["other"] = 6.0
    scaled.ask(low, one)
    await scaled.settle()
    assert scaled.wanted == 3, "as the other one needs it"
    scaled.do("DeleteScalingPolicy", **PLACE, PolicyName="other")
    scaled.ask(low, one)
    await scaled.settle()
    assert scaled.wanted == 1


async def test_a_policy_without_data_holds_the_capacity(scaled: Scaled):
    scaled.register(1, 10)
    policy = scaled.tracking_policy("p", 10.0)
    high = scaled.own_alarm("p", "High")
    scaled.set(high, "ALARM")
    scaled.ask(high, policy)
    await scaled.settle()
    assert (scaled.wanted, scaled.activities()) == (1, [])


async def test_what_is_suspended_is_not_done(scaled: Scaled):
    scaled.register(1, 10, SuspendedState={"DynamicScalingOutSuspended": True, "ScheduledScalingSuspended": True})
    policy = scaled.step_policy("p", 2)
    scaled.values["queue"] = 7.0
    scaled.alarm("long", policy, "queue", 5.0)
    scaled.ask("long", policy)
    at = "at(2026-01-02T03:05:00)"
    scaled.do(
        "PutScheduledAction", **PLACE, ScheduledActionName="a", Schedule=at, ScalableTargetAction={"MinCapacity": 3}
    )
    await scaled.settle()
    scaled.pass_by(120)
    assert scaled.wanted == 1


async def test_a_schedule_moves_the_bounds_at_its_time_once(scaled: Scaled):
    scaled.register(1, 2)
    await scaled.settle()
    for name, at, bounds in (
        ("one", "at(2026-01-02T03:05:00)", {"MinCapacity": 3, "MaxCapacity": 6}),
        ("two", "at(2026-01-02T03:06:00)", {"MinCapacity": 4}),
        ("wrong", "at(2026-01-02T03:07:00)", {"MaxCapacity": 2}),
    ):
        scaled.do("PutScheduledAction", **PLACE, ScheduledActionName=name, Schedule=at, ScalableTargetAction=bounds)
    scaled.pass_by(54)
    assert scaled.wanted == 1
    scaled.pass_by(2)
    await scaled.settle()
    assert scaled.wanted == 3
    scaled.restart()  # a new control process, long after
    scaled.world.clock.advance(3600)
    await scaled.settle()
    await scaled.settle()
    assert scaled.wanted == 4
    described = scaled.do("DescribeScalableTargets", ServiceNamespace="sagemaker")["ScalableTargets"]
    assert [(each["MinCapacity"], each["MaxCapacity"]) for each in described] == [(4, 6)]
    (failed,) = [each for each in scaled.activities() if each["StatusCode"] == "Failed"]
    assert "the minimum capacity (4) would be greater than the maximum capacity (2)" in failed["StatusMessage"]


async def test_while_the_endpoint_changes_an_alarm_is_told_no(scaled: Scaled):
    scaled.register(1, 10)
    policy = scaled.step_policy("p", 2)
    scaled.values["queue"] = 7.0
    scaled.alarm("long", policy, "queue", 5.0)
    scaled.look()
    scaled.world.do(
        "UpdateEndpointWeightsAndCapacities", EndpointName="e",
        DesiredWeightsAndCapacities=[{"VariantName": "v", "DesiredInstanceCount": 2}],
    )  # fmt: skip
    for _ in range(2):
        scaled.ask("long", policy)
        scaled.look()
    (activity,) = scaled.activities()
    assert codes(activity) == ["TargetServicePutResourceAsUnscalable"]
    assert activity["StatusCode"] == "Unfulfilled"
    await scaled.world.bring_up()
    scaled.ask("long", policy)
    await scaled.settle()
    assert scaled.wanted == 4


async def test_want_of_room_is_told_once_and_tried_again(scaled: Scaled):
    scaled.room = lambda: Capacity(3.0, 64 * GIB, 0)
    scaled.register(4, 5)
    scaled.look()
    scaled.pass_by(70)
    (activity,) = scaled.activities()
    assert activity["StatusCode"] == "Failed"
    assert "account-level service limit" in activity["StatusMessage"]
    scaled.room = scaled.world.engine.capacity
    scaled.pass_by(31)
    assert scaled.wanted == 4


async def test_instances_that_do_not_start_leave_the_old_capacity_and_a_failed_activity(scaled: Scaled):
    scaled.register(2, 5)
    scaled.look()
    await scaled.world.settle()
    scaled.world.engine.put_all(TaskState.STARTING, TaskState.FAILED, "no model there")
    await scaled.world.settle()
    scaled.look()
    assert scaled.wanted == 1
    (activity,) = scaled.activities()
    assert activity["StatusCode"] == "Failed"
    assert "no model there" in activity["StatusMessage"]


async def test_a_step_of_load_is_followed_at_once_and_leaves_after_quiet_minutes(scaled: Scaled):
    scaled.register(1, 20)
    scaled.fast_policy("fast", 4.0, ScaleInCooldown=0, ScaleOutCooldown=0)
    scaled.pass_by(130, 4)
    assert scaled.wanted == 1
    scaled.pass_by(2, 40)
    await scaled.settle()
    scaled.pass_by(4, 40)
    await scaled.settle()
    assert scaled.wanted >= 10
    cause = scaled.activities()[0]["Cause"]
    assert cause.startswith("policy fast follows concurrent requests: 40.0 on average over the last 6 seconds")
    scaled.pass_by(100, 40)
    before = scaled.wanted
    scaled.pass_by(60, 3)
    assert scaled.wanted == before
    capacities = []
    for _ in range(7):
        scaled.pass_by(10, 3)
        await scaled.settle()
        capacities.append(scaled.wanted)
    assert capacities == sorted(capacities, reverse=True)
    assert capacities[-1] == 1


async def test_silence_of_connected_routers_is_idleness_and_of_others_is_not(scaled: Scaled):
    scaled.register(0, 20)
    scaled.fast_policy("fast", 4.0, ScaleInCooldown=0, ScaleOutCooldown=0)
    scaled.routers = False
    scaled.pass_by(300)
    assert scaled.wanted == 1
    scaled.routers = True
    scaled.pass_by(130)
    await scaled.settle()
    assert scaled.wanted == 0
    scaled.restart()
    scaled.pass_by(130)
    assert scaled.wanted == 0


async def test_several_routers_count_together(scaled: Scaled):
    scaled.register(1, 20)
    scaled.fast_policy("fast", 4.0)
    for _ in range(3):
        scaled.report(10, router="a")
        scaled.report(6, router="b")
        scaled.pass_by(1)
    assert scaled.wanted == 4


async def test_a_request_wakes_a_variant_and_only_one_that_sleeps(scaled: Scaled):
    scaled.register(0, 3)
    scaled.report(5, instances=0)
    scaled.look()
    assert scaled.wanted == 1, "an outage: its instance is being started again"
    assert scaled.activities() == []
    scaled.world.do(
        "UpdateEndpointWeightsAndCapacities", EndpointName="e",
        DesiredWeightsAndCapacities=[{"VariantName": "v", "DesiredInstanceCount": 0}],
    )  # fmt: skip
    scaled.report(5, instances=0)
    assert scaled.look() < 1.0, "it is Updating still: looked at again soon"
    assert scaled.wanted == 0
    await scaled.world.bring_up()
    scaled.report(5, instances=0)
    await scaled.settle()
    assert scaled.wanted == 1
    assert scaled.activities()[0]["Cause"] == "a request waits for the variant, which has no instance"


async def test_what_is_woken_again_before_its_end_was_seen_leaves_no_activity_behind(scaled: Scaled):
    scaled.register(0, 3)
    await scaled.settle()
    for _ in range(2):
        scaled.world.do(
            "UpdateEndpointWeightsAndCapacities", EndpointName="e",
            DesiredWeightsAndCapacities=[{"VariantName": "v", "DesiredInstanceCount": 0}],
        )  # fmt: skip
        await scaled.world.bring_up()
        scaled.report(5, instances=0)
        scaled.look()
        assert scaled.wanted == 1
        await scaled.world.bring_up()
    await scaled.settle()
    # They began at the same moment of this clock, so neither is the newer one.
    assert sorted(each["StatusCode"] for each in scaled.activities()) == ["Overridden", "Successful"]


async def test_what_was_woken_stays_for_a_while(scaled: Scaled):
    scaled.register(0, 3)
    await scaled.settle()
    policy = scaled.tracking_policy("p", 10.0, ScaleInCooldown=0, ScaleOutCooldown=0)
    scaled.values["p"] = 0.0
    low = scaled.own_alarm("p", "Low")
    scaled.set(low, "ALARM")
    scaled.ask(low, policy)
    await scaled.settle()
    assert scaled.wanted == 0
    scaled.report(1, instances=0)
    await scaled.settle()
    scaled.ask(low, policy)
    await scaled.settle()
    assert scaled.wanted == 1
    scaled.pass_by(60)
    scaled.ask(low, policy)
    await scaled.settle()
    assert scaled.wanted == 0


async def test_what_waited_for_the_last_instance_does_not_bring_back_the_next(scaled: Scaled):
    for _ in range(2):  # within the time for which a report counts
        scaled.world.do(
            "UpdateEndpointWeightsAndCapacities", EndpointName="e",
            DesiredWeightsAndCapacities=[{"VariantName": "v", "DesiredInstanceCount": 0}],
        )  # fmt: skip
        await scaled.settle()
        assert scaled.wanted == 0
        scaled.report(5, instances=0)
        await scaled.settle()
        assert scaled.wanted == 1


async def test_an_old_report_wakes_nobody(scaled: Scaled):
    await scaled.world.bring_up()
    scaled.world.do(
        "UpdateEndpointWeightsAndCapacities", EndpointName="e",
        DesiredWeightsAndCapacities=[{"VariantName": "v", "DesiredInstanceCount": 0}],
    )  # fmt: skip
    await scaled.world.bring_up()
    scaled.report(5, instances=0)
    scaled.world.clock.advance(10)
    scaled.look()
    assert scaled.wanted == 0


async def test_an_endpoint_of_the_same_name_is_another(scaled: Scaled):
    scaled.register(2, 3)
    scaled.fast_policy("fast", 4.0)
    await scaled.settle()
    scaled.world.do("DeleteEndpoint", EndpointName="e")
    await scaled.world.bring_up()
    scaled.world.do("CreateEndpoint", EndpointName="e", EndpointConfigName="c")
    scaled.register(1, 4)
    await scaled.world.bring_up()
    scaled.look()
    assert scaled.do("DescribeScalingPolicies", ServiceNamespace="sagemaker")["ScalingPolicies"] == []
    (target,) = scaled.do("DescribeScalableTargets", ServiceNamespace="sagemaker")["ScalableTargets"]
    assert (target["MinCapacity"], scaled.wanted) == (1, 1)


async def test_old_activities_are_forgotten(scaled: Scaled):
    scaled.register(2, 3)
    await scaled.settle()
    scaled.controller.prune()
    assert len(scaled.activities()) == 1
    scaled.world.clock.advance(43 * 86_400)
    scaled.controller.prune()
    assert scaled.activities() == []
