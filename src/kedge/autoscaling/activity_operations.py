"""Scaling activities: what was done, and why."""

from __future__ import annotations

from kedge.autoscaling import resource
from kedge.autoscaling.records import ACTIVITY, activity_described
from kedge.autoscaling.requests import Handler, Request, Result, page
from kedge.call import Call


def describe_scaling_activities(call: Call, request: Request) -> Result:
    """The newest first."""
    every = request.get("IncludeNotScaledActivities", False)
    found, following = page(
        call,
        request,
        ACTIVITY,
        resource.prefix(request),
        lambda each: every or not each.document["not_scaled"],
        sort_by="created_at",
    )
    return {"ScalingActivities": [activity_described(each, with_reasons=every) for each in found], **following}


OPERATIONS: dict[str, Handler] = {
    "application-autoscaling.DescribeScalingActivities": describe_scaling_activities,
}
