"""What to do next for an endpoint. PURE.

`plan` compares what the record wants with what runs and is routed, and says the next steps. It is called on every pass
and after every crash and remembers nothing: each step can be taken again, and taking it makes the next call say less.

The order that keeps clients unharmed: new instances are started, all of them are ready, the record says that they serve
(Promote), every router has a table that says so, only then are the old ones stopped and the state is written.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from kedge.compute.base import TaskState, TaskStatus
from kedge.endpoints.records import Endpoint, Member, Status


@dataclass(frozen=True)
class Prepare:
    """Fetch and unpack the model data of this fleet."""

    fleet: int


@dataclass(frozen=True)
class Start:
    member: Member


@dataclass(frozen=True)
class Stop:
    task_id: str


@dataclass(frozen=True)
class Promote:
    """What is desired becomes what serves."""


@dataclass(frozen=True)
class GoInService:
    pass


@dataclass(frozen=True)
class Fail:
    """It could not be created."""

    reason: str


@dataclass(frozen=True)
class RollBack:
    """An update failed; the old fleet has served all the time and goes on."""

    reason: str


@dataclass(frozen=True)
class Remove:
    """Nothing of it runs any more: delete the record."""


Action = Prepare | Start | Stop | Promote | GoInService | Fail | RollBack | Remove


@dataclass(frozen=True)
class Observed:
    tasks: Mapping[str, TaskStatus]
    """What the engine knows of this endpoint's instances, by id."""
    routed: frozenset[str] = frozenset()
    """Instances to which some router may still send a request."""
    served: bool = False
    """Every router has a table that holds this endpoint exactly as its record says."""
    cached: frozenset[str] = frozenset()
    """Hashes of the model data that lies unpacked."""
    rested: frozenset[str] = frozenset()
    """Failed instances that have been left alone for long enough to be tried again."""


UID = "uid"
"""The label that says which endpoint a task belongs to."""
ENDING = (TaskState.STOPPING, TaskState.STOPPED)


def plan(endpoint: Endpoint, status: Status, seen: Observed) -> list[Action]:
    running = {id_: task for id_, task in seen.tasks.items() if task.state is not TaskState.STOPPED}
    wanted = {} if status in (Status.DELETING, Status.FAILED) else {m.id: m for m in endpoint.members()}
    stops: list[Action] = [
        Stop(id_)
        for id_, task in running.items()
        if id_ not in wanted and id_ not in seen.routed and task.state not in ENDING
    ]
    if status is Status.FAILED:
        return stops
    if status is Status.DELETING:
        return stops if running else [Remove()]

    fresh = [m for m in wanted.values() if m.is_new]
    if status in (Status.CREATING, Status.UPDATING) and (problem := _problem(endpoint, fresh, running)):
        return [RollBack(problem) if endpoint.live else Fail(problem)]

    actions = [*_starts(endpoint, wanted, running, seen), *_retries(wanted, running, seen), *stops]
    if status is Status.IN_SERVICE:
        return actions
    if endpoint.pending or (endpoint.live and not endpoint.live.settled):
        if all(m.id in running and running[m.id].state is TaskState.READY for m in fresh):
            actions.append(Promote())
        return actions
    left = any(id_ not in wanted and task.state not in ENDING for id_, task in running.items())
    return actions if left or not seen.served else [*actions, GoInService()]


def strays(tasks: Mapping[str, TaskStatus], uids: Collection[str], routed: frozenset[str]) -> list[Stop]:
    """Instances of endpoints that have no record (any more). Other kinds of task are left alone."""
    return [
        Stop(id_)
        for id_, task in tasks.items()
        if UID in task.labels and task.labels[UID] not in uids and id_ not in routed and task.state not in ENDING
    ]


def _problem(endpoint: Endpoint, fresh: list[Member], running: Mapping[str, TaskStatus]) -> str:
    """Why the change cannot succeed; "" as long as it can."""
    if endpoint.pending and endpoint.pending.problem:
        return endpoint.pending.problem
    for member in fresh:
        task = running.get(member.id)
        if task and task.state is TaskState.FAILED:
            sentence = (
                f"The primary container for production variant {member.variant.name} did not pass the ping health "
                "check. Please check CloudWatch logs for this endpoint."
            )
            return f"{sentence} {task.reason}".rstrip()
    return ""


def _starts(
    endpoint: Endpoint, wanted: Mapping[str, Member], running: Mapping[str, TaskStatus], seen: Observed
) -> list[Action]:
    """What is wanted and is not there. A fleet starts once all of its model data is."""
    missing = [m for m in wanted.values() if m.id not in running]
    unprepared = sorted({m.fleet for m in missing if not _is_prepared(endpoint, m.fleet, seen)})
    prepares: list[Action] = [Prepare(fleet) for fleet in unprepared]
    return prepares + [Start(m) for m in missing if m.fleet not in unprepared]


def _is_prepared(endpoint: Endpoint, number: int, seen: Observed) -> bool:
    fleet = endpoint.fleet(number)
    return fleet is not None and all(v.is_prepared and v.artifacts <= seen.cached for v in fleet.variants)


def _retries(wanted: Mapping[str, Member], running: Mapping[str, TaskStatus], seen: Observed) -> list[Action]:
    """An instance that serves and that the engine gave up (its machine was full when it came back, say) is stopped.

    Once it is gone, it is missing and so is started again.
    """
    return [
        Stop(id_)
        for id_, member in wanted.items()
        if not member.is_new and id_ in running and running[id_].state is TaskState.FAILED and id_ in seen.rested
    ]
