"""`GoalWorkflow`: one goal from its input to its end.

It orders, asks, undoes and reports; whatever touches the world is an activity, and whatever is
allowed is for policy and people to say.
"""

import asyncio
from typing import Any

from pydantic import ValidationError
from temporalio import workflow
from temporalio.common import SearchAttributeKey
from temporalio.exceptions import ApplicationError, FailureError, is_cancelled_exception

from goalkeeper.contracts.goal import (
    QUERY_APPROVALS,
    QUERY_PROGRESS,
    SIGNAL_DECISION,
    UPDATE_CANCEL_TASK,
    UPDATE_PAUSE,
    UPDATE_RESUME,
    UPDATE_RETRY_TASK,
    WORKFLOW,
    ControlInput,
    GoalInput,
    OpenRequest,
    Progress,
    TaskControlInput,
)
from goalkeeper.domain.approval import Requester
from goalkeeper.domain.audit import AuditEvent, AuditKind
from goalkeeper.domain.goal import Failure, GoalResult
from goalkeeper.domain.plan import GoalState, TaskState
from workflows import calls
from workflows.approvals import Approvals
from workflows.compensation import undo_all
from workflows.outcome import ended, first_failure, outcome
from workflows.scheduler import Scheduler
from workflows.state import GoalRecord
from workflows.tasks import CANCELLED, TaskRunner

_GOAL_STATE = SearchAttributeKey.for_keyword("GoalState")
_GOAL_CONTRACT = SearchAttributeKey.for_keyword("GoalContract")
_GOAL_ENVIRONMENT = SearchAttributeKey.for_keyword("GoalEnvironment")
_GOAL_REQUESTER = SearchAttributeKey.for_keyword("GoalRequester")
_EXAMPLE = (
    'Write for example {"contract": "read-file", '
    '"inputs": {"repository": "https://…", "path": "README.md"}}'
)
_HOLDING = (GoalState.RUNNING, GoalState.AWAITING_APPROVAL, GoalState.PAUSED)


@workflow.defn(name=WORKFLOW, failure_exception_types=[ValidationError])
class GoalWorkflow:
    """Carries one goal out."""

    @workflow.init
    def __init__(self, raw: Any) -> None:
        self._state = GoalState.PLANNING
        self._goal: GoalInput | None = None
        self._complaint = ""
        self._record: GoalRecord | None = None
        self._approvals: Approvals | None = None
        self._scheduler: Scheduler | None = None
        self._early: list[Any] = []
        """Signals that came before there was a plan."""
        self._paused = False
        self._cancelled = False
        self._failure: Failure | None = None
        try:
            # Validated here and not by the converter, so that a mistake gets a sentence of ours.
            self._goal = GoalInput.model_validate(raw)
        except ValidationError as error:
            self._complaint = _complaint(error)

    @workflow.run
    async def run(self, raw: Any) -> GoalResult:
        """Plan, carry out, undo where needed, and say what came of it."""
        if self._goal is None:
            raise self._unplanned(_invalid(self._complaint))
        if (self._goal.contract is None) == (self._goal.definition is None):
            raise self._unplanned(
                _invalid(
                    "give either 'contract' (a name) or 'definition' (a whole contract). "
                    f"{_EXAMPLE}"
                )
            )
        carried = self._goal.carried
        if carried is not None and not _continued():
            raise self._unplanned(_invalid("'carried' is not for callers: it would skip planning"))
        if carried is None:
            self._show(GoalState.PLANNING)
            try:
                planned = await calls.plan(workflow.info().workflow_id, self._goal)
            except FailureError as error:
                if is_cancelled_exception(error):
                    # As it is: its cause, which `from None` removes, tells Temporal what it is.
                    self._state = GoalState.CANCELLED
                    raise
                raise self._unplanned(_refused(error)) from None
        else:
            planned, self._paused = carried.planned, carried.paused
        record = self._record = GoalRecord(planned, carried)
        return await self._carry_out(record)

    def _unplanned(self, why: ApplicationError) -> ApplicationError:
        """Keep why there is no plan for whoever asks later; no command, so nothing to replay."""
        self._state = GoalState.FAILED
        self._failure = Failure(code=why.type or "InternalError", message=why.message)
        return why

    async def _carry_out(self, record: GoalRecord) -> GoalResult:
        self._approvals = Approvals(record, carrying=self._carrying)
        runner = TaskRunner(record, self._approvals, changed=self._changed, resumed=self._resumed)
        scheduler = self._scheduler = Scheduler(
            record, window=record.planned.window, run=runner.run, stopping=self._stopping
        )
        scheduler.paused = self._paused
        for early in self._early:
            await self._approvals.consider(early)
        self._early.clear()
        self._changed()
        try:
            await scheduler.drain()
            if self._unfinished(record):
                await self._continue(record)
        except asyncio.CancelledError:
            self._cancelled = True
        # A cancellation must not stop what undoes and cleans up.
        ending = asyncio.create_task(self._end(record, scheduler))
        while not ending.done():
            try:
                await asyncio.shield(ending)
            except asyncio.CancelledError:
                self._cancelled = True
        return ending.result()

    def _unfinished(self, record: GoalRecord) -> bool:
        """Stopped only in order to continue as new."""
        left = record.count(TaskState.PENDING, TaskState.AWAITING_APPROVAL)
        return self._carrying() and left > 0 and (self._paused or not record.bad)

    async def _continue(self, record: GoalRecord) -> None:
        await workflow.wait_condition(workflow.all_handlers_finished)
        assert self._goal is not None
        carried = record.carry(paused=self._paused)
        workflow.continue_as_new(self._goal.model_copy(update={"carried": carried}))

    async def _cancel_all(self, scheduler: Scheduler) -> None:
        running = list(scheduler.running.values())
        for task in running:
            task.cancel()
        if running:
            await workflow.wait(running)

    async def _end(self, record: GoalRecord, scheduler: Scheduler) -> GoalResult:
        assert self._approvals is not None
        self._approvals.withdraw()
        await self._cancel_all(scheduler)
        self._failure = first_failure(record)
        state = outcome(record, cancelled=self._cancelled, failure=self._failure)
        if state is not GoalState.SUCCEEDED:
            state = await self._undo(record, state)
        never = TaskState.CANCELLED if self._cancelled else TaskState.SKIPPED
        for task in record.in_state(TaskState.PENDING, TaskState.AWAITING_APPROVAL):
            record.set(task.id, never)
        await self._tidy(record)
        await calls.record(ended(record, state, self._failure, cancelled=self._cancelled))
        self._show(state)
        record.version += 1
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self._verdict(self._result(record, state))

    def _verdict(self, result: GoalResult) -> GoalResult:
        """Temporal's own status tells how the goal ended: Completed, Canceled or Failed.

        Raises:
            asyncio.CancelledError: the workflow was cancelled.
            ApplicationError: the goal did not succeed; the result is in its details.
        """
        if result.state is GoalState.SUCCEEDED:
            return result
        if self._cancelled and result.state is GoalState.CANCELLED:
            raise asyncio.CancelledError
        why = result.failure or Failure(
            code=result.state.value, message=f"the goal ended {result.state.value}"
        )
        raise ApplicationError(why.message, result, type=why.code, non_retryable=True)

    async def _undo(self, record: GoalRecord, state: GoalState) -> GoalState:
        if not record.effects or record.count(TaskState.UNKNOWN):
            # What is unknown is for a person: undoing around it could make it worse.
            return state
        self._show(GoalState.COMPENSATING)
        failures = await undo_all(record)
        if not failures:
            return GoalState.ROLLED_BACK
        undone = "; ".join(f"{task}: {why}" for task, why in failures)
        cause = self._failure.message if self._failure else "the goal was cancelled"
        self._failure = Failure(
            code="CompensationFailed",
            message=f"{cause} — and not everything could be undone; do it by hand: {undone}"[:2000],
        )
        return GoalState.FAILED

    async def _tidy(self, record: GoalRecord) -> None:
        if any(t.credentials or t.operation.startswith("sandbox.") for t in record.plan.tasks):
            await calls.clean_up(workflow.info().workflow_id)

    def _result(self, record: GoalRecord, state: GoalState) -> GoalResult:
        return GoalResult(
            goal_id=workflow.info().workflow_id,
            contract=record.plan.contract,
            state=state,
            plan_digest=record.plan_digest,
            tasks=tuple(record.tasks.values()),
            failure=self._failure,
        )

    # What changes is shown.

    def _carrying(self) -> bool:
        return workflow.info().is_continue_as_new_suggested()

    def _stopping(self) -> bool:
        """No further task starts. A paused goal holds still, so that what failed may be retried."""
        bad = self._record is not None and self._record.bad
        return self._cancelled or self._carrying() or (bad and not self._paused)

    async def _resumed(self) -> None:
        """Wait while the goal is paused; approval does not override a pause."""
        await workflow.wait_condition(lambda: not self._paused)

    def _changed(self) -> None:
        """A task moved: stop if one failed, and show the phase that follows."""
        record, scheduler = self._record, self._scheduler
        if record is None or scheduler is None:
            return
        scheduler.paused = self._paused
        if record.bad and not self._paused and self._approvals is not None:
            # Whoever is still asked need not answer any more: the goal is over.
            self._approvals.withdraw()
        if self._paused:
            self._show(GoalState.PAUSED)
        elif record.count(TaskState.AWAITING_APPROVAL):
            self._show(GoalState.AWAITING_APPROVAL)
        else:
            self._show(GoalState.RUNNING)
        scheduler.wake()

    def _show(self, state: GoalState) -> None:
        if state is self._state and state is not GoalState.PLANNING:
            return
        first = self._state is GoalState.PLANNING and self._record is not None
        self._state = state
        updates: list[Any] = [_GOAL_STATE.value_set(state.value)]
        if first and self._record is not None:
            planned = self._record.planned
            updates += [
                _GOAL_CONTRACT.value_set(planned.plan.contract),
                _GOAL_ENVIRONMENT.value_set(planned.plan.environment),
                _GOAL_REQUESTER.value_set(planned.requester.id),
            ]
        workflow.upsert_search_attributes(updates)

    # What people and the gateway say.

    @workflow.signal(name=SIGNAL_DECISION)
    async def decision_made(self, signal: Any) -> None:
        """Count a decision of the gateway's; record and ignore anything else."""
        if self._approvals is None:
            self._early.append(signal)
            return
        await self._approvals.consider(signal)
        self._changed()

    @workflow.update(name=UPDATE_PAUSE)
    async def pause(self, control: ControlInput) -> None:
        """Start nothing further; what runs goes on, people may still decide."""
        self._paused = True
        await self._control("pause", control)

    @workflow.update(name=UPDATE_RESUME)
    async def resume(self, control: ControlInput) -> None:
        """Go on after a pause."""
        self._paused = False
        await self._control("resume", control)

    @workflow.update(name=UPDATE_CANCEL_TASK)
    async def cancel_task(self, control: TaskControlInput) -> None:
        """Stop one task that is pending, waiting or running."""
        assert self._record is not None
        assert self._scheduler is not None
        running = self._scheduler.running.get(control.task_id)
        if running is not None:
            running.cancel()
        else:
            self._record.set(control.task_id, TaskState.CANCELLED, failure=CANCELLED)
        await self._control("cancel_task", control, control.task_id)

    @workflow.update(name=UPDATE_RETRY_TASK)
    async def retry_task(self, control: TaskControlInput) -> None:
        """Run a failed or cancelled task again, as a new generation that is approved anew."""
        assert self._record is not None
        assert self._scheduler is not None
        task = self._record.tasks[control.task_id]
        self._record.set(
            control.task_id,
            TaskState.PENDING,
            generation=task.generation + 1,
            failure=None,
            started_at=None,
            ended_at=None,
        )
        self._scheduler.offer(control.task_id)
        await self._control("retry_task", control, control.task_id)

    @pause.validator
    def _may_pause(self, control: ControlInput) -> None:
        self._must_be_going()
        if self._paused:
            raise _conflict("the goal is paused already")

    @resume.validator
    def _may_resume(self, control: ControlInput) -> None:
        self._must_be_going()
        if not self._paused:
            raise _conflict("the goal is not paused")

    @cancel_task.validator
    def _may_cancel(self, control: TaskControlInput) -> None:
        state = self._state_of(control.task_id)
        if state not in (TaskState.PENDING, TaskState.AWAITING_APPROVAL, TaskState.RUNNING):
            raise _conflict(f"task '{control.task_id}' is {state.value} and cannot be cancelled")

    @retry_task.validator
    def _may_retry(self, control: TaskControlInput) -> None:
        state = self._state_of(control.task_id)
        if state not in (TaskState.FAILED, TaskState.CANCELLED):
            raise _conflict(
                f"task '{control.task_id}' is {state.value}; only a failed or cancelled one is "
                "retried"
            )

    def _must_be_going(self) -> None:
        if self._record is None or self._state not in _HOLDING:
            raise _conflict(f"the goal is {self._state.value}")

    def _state_of(self, task_id: str) -> TaskState:
        self._must_be_going()
        if self._record is None or task_id not in self._record.tasks:
            raise ApplicationError(
                f"the goal has no task '{task_id}'", type="NotFound", non_retryable=True
            )
        return self._record.state(task_id)

    async def _control(self, what: str, control: ControlInput, task_id: str = "") -> None:
        assert self._record is not None
        self._record.version += 1
        self._changed()
        await calls.record(
            AuditEvent(
                id=f"{workflow.info().first_execution_run_id}/control/{workflow.uuid4()}",
                time=workflow.now(),
                kind=AuditKind.CONTROL,
                actor=f"claimed:{control.actor}"[:200],
                goal_id=workflow.info().workflow_id,
                task_id=task_id,
                detail={"what": what, "reason": control.reason},
            )
        )

    # What people ask.

    @workflow.query(name=QUERY_PROGRESS)
    def progress(self) -> Progress:
        """Everything about the goal: plan, states, requests."""
        info, record = workflow.info(), self._record
        claimed = self._goal.requester if self._goal else "unknown"
        if record is None:
            return Progress(
                goal_id=info.workflow_id,
                contract=(self._goal.contract if self._goal else None) or "",
                state=self._state,
                version=0,
                requester=Requester(id=claimed or "unknown"),
                failure=self._failure,
            )
        return Progress(
            goal_id=info.workflow_id,
            contract=record.plan.contract,
            environment=record.plan.environment,
            state=self._state,
            version=record.version,
            requester=record.planned.requester,
            plan=record.plan,
            verdicts=record.planned.verdicts,
            tasks=tuple(record.tasks.values()),
            requests=tuple(a.view() for a in record.asked.values()),
            refused_decisions=tuple(record.refused),
            failure=self._failure,
        )

    @workflow.query(name=QUERY_APPROVALS)
    def approvals(self) -> list[OpenRequest]:
        """The requests of this goal, open and closed."""
        return [a.view() for a in self._record.asked.values()] if self._record else []


def _refused(error: FailureError) -> ApplicationError:
    """Why planning failed, as the workflow's own failure."""
    cause = calls.cause_of(error)
    return ApplicationError(cause.message, type=cause.type, non_retryable=True)


def _continued() -> bool:
    """Whether this run was begun by continue-as-new, which cron and retries only look like."""
    info = workflow.info()
    return bool(info.continued_run_id) and not info.cron_schedule and info.attempt == 1


def _invalid(message: str) -> ApplicationError:
    return ApplicationError(message, type="InvalidGoal", non_retryable=True)


def _conflict(message: str) -> ApplicationError:
    return ApplicationError(message, type="Conflict", non_retryable=True)


def _complaint(error: ValidationError) -> str:
    lines = []
    for problem in error.errors()[:5]:
        place = ".".join(str(p) for p in problem["loc"]) or "the input"
        lines.append(f"{place}: {problem['msg']}")
    known = ", ".join(n for n in GoalInput.model_fields if n != "carried")
    return f"the goal's input is wrong: {'; '.join(lines)}. Known keys: {known}. {_EXAMPLE}"
