"""How a processing or training job is carried out: its folder is filled, its program runs once, what it left is taken.

Each step is in the record before the next one begins, so whoever finds the job going on knows where it is: its program
runs still, or has ended, or was lost together with the machine, and then it is begun once more from the start.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from kedge.clock import Clock
from kedge.compute.base import Engine, TaskState, TaskStatus
from kedge.compute.jobs import ML
from kedge.errors import ResourceLimitExceeded
from kedge.home import Home
from kedge.jobs import images, inputs, shadows, tree
from kedge.jobs.events import arn_of
from kedge.jobs.failing import JobFailed
from kedge.jobs.measuring import Looked, Measuring
from kedge.jobs.notes import Notes
from kedge.jobs.outputs import Outputs
from kedge.jobs.program_kinds import GROUPS, failure_of, plan_of, spec_of
from kedge.jobs.program_plan import FAILURE, MESSAGE, ProgramPlan
from kedge.jobs.program_records import LABELS, PROCESSING, TRAINING, Outcome, ProgramJob, Stage
from kedge.jobs.records import Status
from kedge.models.archive import Refused
from kedge.objects.files import Objects
from kedge.objects.of_account import AccountObjects
from kedge.store.records import Resource, Scope

MOST_ATTEMPTS = 2
FIRST_LOOK_S, LONGEST_LOOK_S = 0.05, 0.5
UPLOAD_EVERY_S = 1.0
"""Continuous outputs are looked through so often."""
SEARCH_EVERY_S = 15.0
"""A training job's log is searched for metrics so often."""
MOST_PAGES = 10
"""Of its log that are searched at a time while its program is to be watched, too."""
MOST_CHARS = 1024
"""Of an ExitMessage and of a FailureReason."""
_FINAL = {Status.COMPLETED: Stage.COMPLETED, Status.FAILED: Stage.FAILED, Status.STOPPED: Stage.STOPPED}


class Programs:
    """A controller.Work, of one of the two kinds."""

    def __init__(
        self,
        kind: str,
        notes: Notes,
        objects: Objects,
        engine: Engine,
        home: Home,
        clock: Clock,
        measuring: Measuring,
    ) -> None:
        self.kind, self.label = kind, LABELS[kind]
        self._notes, self._objects, self._engine = notes, objects, engine
        self._home, self._clock, self._measuring = home, clock, measuring
        self._unsearchable: set[str] = set()
        """Tasks whose log the expressions of their job take too long to search."""

    def close(self) -> None:
        """Nothing goes on in threads that would have to be told."""

    def is_due(self, resource: Resource) -> bool:
        return ProgramJob.of(resource.document).is_admitted

    def tasks(self, resource: Resource) -> Collection[str]:
        return (ProgramJob.of(resource.document).task,)

    def artifacts(self, resource: Resource) -> frozenset[str]:
        return frozenset()

    def fetched(self) -> frozenset[str]:
        return frozenset()

    async def carry_out(self, resource: Resource) -> tuple[Status, str]:
        job = ProgramJob.of(resource.document)
        plan = plan_of(self.kind, resource.scope, job)
        outputs = self._outputs(resource, job, plan)
        while job.outcome is None:
            if await self._task(job.task) is None:
                if job.stage is Stage.RUNNING:
                    job = await self._again(resource, job)
                await self._prepare(resource, job, plan)
                await self._start(resource, job, plan)
            outputs = self._outputs(resource, job, plan)
            outcome = await self._watched(resource, job, plan, outputs)
            if outcome is None:
                job = await self._again(resource, job)
            else:
                job = await self._note(resource, partial(replace, outcome=outcome))
        await self._stop(job.task)
        job = await self._stage(resource, Stage.UPLOADING)
        await self._find_metrics(resource, job, ended=True)
        status, reason = await self._taken(job, outputs)
        if status is Status.COMPLETED and self.kind == PROCESSING:
            for line in await asyncio.to_thread(self._measuring.publish, resource, job, self._ml(job)):
                await self._say(resource.scope, job, line)
        return status, reason

    async def wind_down(self, resource: Resource) -> tuple[Status, str]:
        """SIGTERM to its program; a training job's model is kept, as SageMaker does."""
        job = await self._stage(resource, Stage.STOPPING)
        await self._stop(job.task)
        await self._find_metrics(resource, job, ended=True)
        if (self._home.jobs / job.folder).exists():
            plan = plan_of(self.kind, resource.scope, job)
            outputs = self._outputs(resource, job, plan)
            await outputs.at_the_end(completed=False)
            if plan.model_uri and job.started_at_s is not None:
                await outputs.model()
                await outputs.output_data()
        return Status.STOPPED, ""

    async def over(self, resource: Resource, status: Status, reason: str) -> None:
        """Who follows the log until the job has ended finds all of it."""
        job = ProgramJob.of(resource.document)
        await self._stop(job.task)
        await asyncio.to_thread(self._measuring.read_output)
        if job.runs == images.CLARIFY:
            await asyncio.to_thread(self._remove_shadows, resource)

    def _remove_shadows(self, resource: Resource) -> None:
        job_arn = arn_of(resource.scope, resource.document["name"], resource.kind)
        with self._notes.store.transaction(self._notes.author(), lease=self._notes.held()) as tx:
            shadows.remove(tx, resource.scope, job_arn)

    def ended(self, document: Mapping[str, Any], status: Status, reason: str, at_s: float) -> dict[str, Any]:
        job = ProgramJob.of(document)
        stage = Stage.OUT_OF_TIME if job.outcome and job.outcome.timed_out else _FINAL[status]
        return replace(job.at(stage, at_s), ended_at_s=at_s, failure_reason=reason).document()

    async def tidy(self, going: Collection[str]) -> None:
        await asyncio.to_thread(self._remove_folders, going)

    def _remove_folders(self, going: Collection[str]) -> None:
        for each in self._home.jobs.glob("*"):
            if each.name.rpartition("-")[0] not in going:
                shutil.rmtree(each, ignore_errors=True)

    async def _prepare(self, resource: Resource, job: ProgramJob, plan: ProgramPlan) -> None:
        """Its folder, filled. Raises JobFailed."""
        await self._stage(resource, Stage.DOWNLOADING)
        folder = self._home.jobs / job.folder
        objects = AccountObjects(self._objects, resource.scope.account)
        try:
            filled = await asyncio.to_thread(inputs.begin, folder, plan, folder / ML)
        except (OSError, Refused) as error:
            raise JobFailed(f"InternalServerError: The job's folder cannot be made: {error}") from error
        for each in plan.inputs:
            await inputs.bring(objects, each, filled)
        if plan.source:
            await inputs.unpack_source(objects, plan.source, folder / ML)

    async def _start(self, resource: Resource, job: ProgramJob, plan: ProgramPlan) -> None:
        try:
            await self._engine.start(spec_of(self.kind, resource.scope, job, plan))
        except ResourceLimitExceeded as error:
            raise JobFailed(f"CapacityError: {error.message}") from error

    async def _watched(
        self, resource: Resource, job: ProgramJob, plan: ProgramPlan, outputs: Outputs
    ) -> Outcome | None:
        """Until its program has ended; None when it was lost. Raises JobFailed when it could not be started."""
        pause_s, started_at_s, uploaded_s = FIRST_LOOK_S, job.started_at_s, self._clock.monotonic_s()
        searched_s = uploaded_s
        while True:
            task = await self._task(job.task)
            if task is None:
                return None
            if task.state is TaskState.FAILED:
                raise JobFailed(task.reason)
            if started_at_s is None and task.state in (TaskState.READY, TaskState.ENDED):
                started_at_s = self._clock.now().timestamp()
                await self._stage(resource, Stage.RUNNING, started_at_s=started_at_s)
            if task.state is TaskState.ENDED:
                return None if task.exit_status is None else await asyncio.to_thread(self._outcome, job, task)
            if started_at_s is not None and self._clock.now().timestamp() - started_at_s > plan.most_s:
                await self._say(
                    resource.scope, job, f"It ran for {plan.most_s:g} s, its MaxRuntimeInSeconds: it is stopped."
                )
                await self._stop(job.task)
                return Outcome(timed_out=True)
            if outputs.has_continuous and self._clock.monotonic_s() - uploaded_s >= UPLOAD_EVERY_S:
                await outputs.while_running()
                uploaded_s = self._clock.monotonic_s()
            if started_at_s is not None and self._clock.monotonic_s() - searched_s >= SEARCH_EVERY_S:
                job = await self._find_metrics(resource, job)
                searched_s = self._clock.monotonic_s()
            await asyncio.sleep(pause_s)
            pause_s = min(LONGEST_LOOK_S, pause_s * 1.5)

    def _outcome(self, job: ProgramJob, task: TaskStatus) -> Outcome:
        ml = self._ml(job)
        return Outcome(
            task.exit_status,
            task.reason,
            exit_message=tree.text(ml, MESSAGE, MOST_CHARS),
            failure=tree.text(ml, FAILURE, MOST_CHARS),
        )

    async def _taken(self, job: ProgramJob, outputs: Outputs) -> tuple[Status, str]:
        """What it left becomes objects. Raises JobFailed."""
        assert job.outcome is not None, "it has ended"
        outcome = job.outcome
        completed = outcome.exit_status == 0
        await outputs.at_the_end(completed=completed)
        if self.kind == TRAINING:
            await outputs.output_data()
            if completed or outcome.timed_out:
                await outputs.model()
        if completed:
            return Status.COMPLETED, ""
        if outcome.timed_out:
            return Status.STOPPED, "" if self.kind == TRAINING else "The job ran longer than its MaxRuntimeInSeconds."
        return Status.FAILED, failure_of(outcome)

    async def _again(self, resource: Resource, job: ProgramJob) -> ProgramJob:
        """The job as it is begun once more. Raises JobFailed when that was done already."""
        if job.attempt >= MOST_ATTEMPTS:
            raise JobFailed(
                "InternalServerError: The job's process was lost, and lost again when the job was begun once more."
            )
        await self._say(resource.scope, job, "Its process was lost; the job is begun once more, from the start.")
        await self._stop(job.task)
        now_s = self._clock.now().timestamp()

        def next_attempt(now: ProgramJob) -> ProgramJob:
            return replace(now, attempt=job.attempt + 1, started_at_s=None).at(Stage.STARTING, now_s)

        return await self._note(resource, next_attempt)

    async def _find_metrics(self, resource: Resource, job: ProgramJob, *, ended: bool = False) -> ProgramJob:
        """What MetricDefinitions find in a training job's log, as far as it has come; of one that ended, all of it."""
        if self.kind == PROCESSING or not job.request["AlgorithmSpecification"].get("MetricDefinitions"):
            return job
        if ended:
            await asyncio.to_thread(self._measuring.read_output)
        more, pages = job.task not in self._unsearchable, 0
        while more:
            looked = await self._measuring.look(resource, job)
            pages += 1
            more = looked.more and (ended or pages < MOST_PAGES)
            if looked.given_up:
                self._unsearchable.add(job.task)
                await self._say(resource.scope, job, "Its metrics are looked for no more: an expression took too long.")
            if (*looked.upto,) != (*job.looked_through,):
                job = await self._note(resource, partial(_with_metrics, looked=looked))
        return job

    async def _stop(self, task_id: str) -> None:
        """Until it is gone, with its output kept whole."""
        pause_s = FIRST_LOOK_S
        while (task := await self._task(task_id)) is not None:
            if task.state is not TaskState.STOPPING:
                await self._engine.stop(task_id)
            await asyncio.sleep(pause_s)
            pause_s = min(LONGEST_LOOK_S, pause_s * 1.5)

    async def _stage(self, resource: Resource, stage: Stage, **fields: Any) -> ProgramJob:
        now_s = self._clock.now().timestamp()
        return await self._note(resource, lambda job: replace(job, **fields).at(stage, now_s))

    async def _note(self, resource: Resource, change: Callable[[ProgramJob], ProgramJob]) -> ProgramJob:
        noted: list[ProgramJob] = []

        def changed(document: dict[str, Any]) -> dict[str, Any]:
            noted.append(change(ProgramJob.of(document)))
            return noted[0].document()

        await asyncio.to_thread(self._notes.note, resource, changed)
        return noted[0] if noted else change(ProgramJob.of(resource.document))

    async def _task(self, task_id: str) -> TaskStatus | None:
        return next((task for task in await self._engine.observe() if task.id == task_id), None)

    def _outputs(self, resource: Resource, job: ProgramJob, plan: ProgramPlan) -> Outputs:
        return Outputs(AccountObjects(self._objects, resource.scope.account), plan, self._ml(job))

    def _ml(self, job: ProgramJob) -> Path:
        return self._home.jobs / job.folder / ML

    async def _say(self, scope: Scope, job: ProgramJob, said: str) -> None:
        await self._notes.say(scope, GROUPS[self.kind], job.stream, f"[kedge]: {said}")


def _with_metrics(job: ProgramJob, looked: Looked) -> ProgramJob:
    last = {each["MetricName"]: each for each in job.metrics} | looked.last
    return replace(job, metrics=tuple(last.values()), looked_through=looked.upto)
