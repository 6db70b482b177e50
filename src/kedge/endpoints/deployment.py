"""What to do next for an endpoint. PURE.

`plan` compares what the record wants with what runs and is routed, and says the next steps. It is called on every pass
and after every crash and remembers nothing: each step can be taken again, and taking it makes the next call say less.

The order that keeps clients unharmed: new instances are started, all of them are ready, the record says that they serve
(Promote), every router has a table that says so, only then are the old ones stopped and the state is written.

A deployment that was given a DeploymentConfig shifts traffic step by step before (shifting.py). Whatever speaks against
the new fleet comes first: as long as there is a way back, it is taken before any step forward.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from kedge.compute.base import TaskState, TaskStatus
from kedge.endpoints import shifting
from kedge.endpoints.records import Endpoint, Member, Shift, Status
from kedge.endpoints.zones import FIRST, ONE_ZONE, Move, Spot, Zones, next_move, placed


@dataclass(frozen=True)
class Prepare:
    """Fetch and unpack the model data of this fleet."""

    fleet: int


@dataclass(frozen=True)
class Start:
    member: Member
    zone: str = FIRST
    node: int | None = None
    """Of a copy of an inference component: the instance that it is placed on."""


@dataclass(frozen=True)
class Stop:
    task_id: str
    at_once: bool = False
    """Its zone was switched off: it is killed."""


@dataclass(frozen=True)
class StartMove:
    """Start an instance that is to take the place of one in another zone, where the machine has room for both."""

    move: Move


@dataclass(frozen=True)
class EndMove:
    """The one in the other zone is ready: it takes the place."""

    move: Move


@dataclass(frozen=True)
class Try:
    """The pending fleet is whole, and answers requests of a trial before it gets any traffic."""


@dataclass(frozen=True)
class Step:
    """The pending fleet gets the next part of the traffic."""


@dataclass(frozen=True)
class Bake:
    """Every router goes by the last step: from now on it is watched."""


@dataclass(frozen=True)
class Retire:
    """A step has baked: the next batch of old instances gets no more requests, after the last step none of them."""


@dataclass(frozen=True)
class StepBack:
    """Old instances are there again, and take the traffic of as many new ones."""


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
    """An update failed; the old fleet gets all of the traffic, once it has all of its instances."""

    reason: str


@dataclass(frozen=True)
class StayMixed:
    """It could not be rolled back: two fleets go on serving."""

    reason: str


@dataclass(frozen=True)
class Remove:
    """Nothing of it runs any more: delete the record."""


Action = (
    Prepare
    | Start
    | Stop
    | Try
    | StartMove
    | EndMove
    | Step
    | Bake
    | Retire
    | StepBack
    | Promote
    | GoInService
    | Fail
    | RollBack
    | StayMixed
    | Remove
)


@dataclass(frozen=True)
class Placing:
    """Where the copies of an inference component may run."""

    spots: Mapping[str, Spot] = field(default_factory=dict)
    """Of each copy that is missing, by its id. There is no room now for one that is left out."""
    no_room: str = ""
    """Why there will be none for those that are left out, as a sentence; "" where there may be."""
    move: Move | None = None
    """Of a copy that has to leave its instance."""


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
    now_s: float = 0.0
    """Seconds since 1970."""
    alarm: str = ""
    """What an alarm says that the deployment is to be rolled back by, as a sentence."""
    zones: Zones = ONE_ZONE
    placing: Placing | None = None
    """Of an inference component, whose instances are copies on those of its host; None for an endpoint."""


UID = "uid"
"""The label that says which endpoint a task belongs to."""
ENDING = (TaskState.STOPPING, TaskState.STOPPED)


def plan(endpoint: Endpoint, status: Status, seen: Observed) -> list[Action]:
    running = {id_: task for id_, task in seen.tasks.items() if task.state is not TaskState.STOPPED}
    wanted = {} if status in (Status.DELETING, Status.FAILED) else {m.id: m for m in endpoint.members()}
    move = _next_move(endpoint, running, seen) if status is Status.IN_SERVICE else None
    beside = "" if move is None else move.to.id
    kills: list[Action] = [
        Stop(id_, at_once=True) for id_, task in running.items() if seen.zones.of_task(task) in seen.zones.off
    ]
    stops = kills + [
        Stop(id_)
        for id_, task in running.items()
        if id_ not in wanted and id_ != beside and id_ not in seen.routed and task.state not in ENDING
    ]
    if status is Status.FAILED:
        return stops
    if status is Status.DELETING:
        return stops if running else [Remove()]

    fresh = [m for m in wanted.values() if m.is_new]
    if status in (Status.CREATING, Status.UPDATING) and (problem := _problem(endpoint, fresh, running, seen)):
        if endpoint.shift is not None and endpoint.shift.back:
            return [StayMixed(f"{endpoint.shift.back} It could not be rolled back: {problem}")]
        return [RollBack(problem) if endpoint.live else Fail(problem)]

    actions = [*_starts(endpoint, wanted, running, seen), *_retries(wanted, running, seen), *stops]
    if status in (Status.IN_SERVICE, Status.UPDATE_ROLLBACK_FAILED):
        return actions if move is None else [*actions, *_moving(move, running, seen)]
    left = any(id_ not in wanted and task.state not in ENDING for id_, task in running.items())
    if endpoint.shift is not None and endpoint.pending is not None:
        return [*actions, *_shift(endpoint, endpoint.shift, wanted, running, seen, left=left)]
    if endpoint.pending or (endpoint.live and not endpoint.live.settled):
        return [*actions, Promote()] if _are_ready(fresh, running) else actions
    if left or not seen.served:
        return actions
    return [*actions, StayMixed(endpoint.failure_reason) if endpoint.beside else GoInService()]


def _shift(
    endpoint: Endpoint,
    shift: Shift,
    wanted: Mapping[str, Member],
    running: Mapping[str, TaskStatus],
    seen: Observed,
    *,
    left: bool,
) -> list[Action]:
    """The next step of a deployment against which nothing speaks. left: some instance is there that is not wanted."""
    assert endpoint.pending is not None
    if shift.accepted:
        return [Promote()] if seen.served and not left else []
    if shift.back:
        returning = [m for m in wanted.values() if m.is_new and m.fleet != endpoint.pending.number]
        return [StepBack()] if _are_ready(returning, running) else []
    if shift.steps and shift.baking_since_s is None:
        return [Bake()] if seen.served else []
    if shift.baking_since_s is not None and seen.now_s < shift.baking_since_s + shifting.bake_s(endpoint):
        return []
    if not _are_ready([m for m in wanted.values() if m.fleet == endpoint.pending.number], running):
        return []
    if endpoint.pending.trial and shift.trial is None and not shift.steps:
        return [Try()]
    is_last = len(shift.steps) >= shifting.steps_of(endpoint)
    in_batches = shifting.policy_of(endpoint).kind == shifting.ROLLING
    return [Retire()] if is_last or (in_batches and len(shift.retired) < len(shift.steps)) else [Step()]


def _are_ready(members: Iterable[Member], running: Mapping[str, TaskStatus]) -> bool:
    return all(m.id in running and running[m.id].state is TaskState.READY for m in members)


def strays(tasks: Mapping[str, TaskStatus], uids: Collection[str], routed: frozenset[str]) -> list[Stop]:
    """Instances of endpoints that have no record (any more). Other kinds of task are left alone."""
    return [
        Stop(id_)
        for id_, task in tasks.items()
        if UID in task.labels and task.labels[UID] not in uids and id_ not in routed and task.state not in ENDING
    ]


def _problem(endpoint: Endpoint, fresh: list[Member], running: Mapping[str, TaskStatus], seen: Observed) -> str:
    """Why the change cannot succeed; "" as long as it can, and where there is no way back."""
    shift, pending, live = endpoint.shift, endpoint.pending, endpoint.live
    component = endpoint.name if endpoint.host is not None else ""
    if shift is not None and shift.accepted:
        return ""
    if shift is not None and shift.back:
        if live is not None and live.problem:
            return live.problem
        return _failed_start([m for m in fresh if pending is None or m.fleet != pending.number], running, component)
    if shift is not None and (said := shift.recalled or seen.alarm or _failed_trial(shift)):
        return said
    if pending and pending.problem:
        return pending.problem
    if shift is not None and pending is not None:
        fresh = [m for m in endpoint.members() if m.fleet == pending.number]
    if problem := _failed_start(fresh, running, component) or _no_room(fresh, running, seen.placing):
        return problem
    if shift is not None and seen.now_s >= shifting.ends_at_s(endpoint):
        took_s = shifting.ends_at_s(endpoint) - shift.began_at_s
        return f"The deployment was not over after {took_s:g} s (MaximumExecutionTimeoutInSeconds)."
    return ""


def _no_room(members: Iterable[Member], running: Mapping[str, TaskStatus], placing: Placing | None) -> str:
    if placing is None or all(m.id in running or m.id in placing.spots for m in members):
        return ""
    return placing.no_room


def _failed_trial(shift: Shift) -> str:
    return "" if shift.trial is None or shift.trial["Passed"] else str(shift.trial["Reason"])


def _failed_start(members: Iterable[Member], running: Mapping[str, TaskStatus], component: str) -> str:
    """component: name of the inference component that it is; "" for an endpoint."""
    for member in members:
        task = running.get(member.id)
        if task and task.state is TaskState.FAILED:
            what = f"production variant {member.variant.name}", "endpoint"
            if component:
                what = f"inference component {component}", "inference component"
            sentence = (
                f"The primary container for {what[0]} did not pass the ping health check. Please check CloudWatch logs "
                f"for this {what[1]}."
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
    startable = [m for m in missing if m.fleet not in unprepared]
    if seen.placing is not None:
        spots = seen.placing.spots
        return prepares + [Start(m, spots[m.id].zone, spots[m.id].node) for m in startable if m.id in spots]
    return prepares + [Start(m, zone) for m, zone in placed(startable, wanted.values(), running, seen.zones)]


def _next_move(endpoint: Endpoint, running: Mapping[str, TaskStatus], seen: Observed) -> Move | None:
    return next_move(endpoint, running, seen.zones) if seen.placing is None else seen.placing.move


def _moving(move: Move, running: Mapping[str, TaskStatus], seen: Observed) -> list[Action]:
    task = running.get(move.to.id)
    if task is None:
        return [StartMove(move)]
    if task.state is TaskState.FAILED and move.to.id in seen.rested:
        return [Stop(move.to.id)]
    return [EndMove(move)] if task.state is TaskState.READY else []


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
