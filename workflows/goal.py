"""`GoalWorkflow`: one goal from its input to its end.

It orders, asks, undoes and reports; whatever touches the world is an activity, and whatever is
allowed is for policy and people to say.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from pydantic import ValidationError
from temporalio import workflow
from temporalio.common import SearchAttributeKey
from temporalio.exceptions import ApplicationError, FailureError, is_cancelled_exception

from goalkeeper.contracts.goal import (
    QUERY_APPROVALS,
    QUERY_PROGRESS,
    QUERY_SUMMARY,
    SIGNAL_DECISION,
    SIGNAL_EVENT,
    SIGNAL_LOCK,
    UPDATE_CANCEL,
    UPDATE_CANCEL_TASK,
    UPDATE_CHANGE_TASK,
    UPDATE_PAUSE,
    UPDATE_RESUME,
    UPDATE_RETRY_TASK,
    UPDATE_SKIP_TASK,
    WORKFLOW,
    CancelInput,
    Carried,
    ControlInput,
    GoalInput,
    OpenRequest,
    Phase,
    PlannedGoal,
    Progress,
    Summary,
    TaskChangeInput,
    TaskControlInput,
)
from goalkeeper.domain.approval import Requester
from goalkeeper.domain.audit import AuditEvent, AuditKind
from goalkeeper.domain.base import Json
from goalkeeper.domain.goal import Failure, GoalResult
from goalkeeper.domain.plan import GoalState, TaskState
from workflows import calls
from workflows.approvals import Approvals
from workflows.control import Control, conflict
from workflows.ending import Ending, to_its_end
from workflows.locking import Locks
from workflows.outcome import ended
from workflows.scheduler import Scheduler
from workflows.state import GoalRecord
from workflows.tasks import TaskRunner

_GOAL_STATE = SearchAttributeKey.for_keyword("GoalState")
_GOAL_CONTRACT = SearchAttributeKey.for_keyword("GoalContract")
_GOAL_ENVIRONMENT = SearchAttributeKey.for_keyword("GoalEnvironment")
_GOAL_REQUESTER = SearchAttributeKey.for_keyword("GoalRequester")
_EXAMPLE = (
    'Write for example {"contract": "read-file", '
    '"inputs": {"repository": "https://…", "path": "README.md"}}'
)
_DRAINING = timedelta(minutes=1)
_LONGEST_HISTORY = 8_000
"""Events: a cold replay has to stay well within the workflow task's 10 seconds."""
_HOLDING = (GoalState.RUNNING, GoalState.AWAITING_APPROVAL, GoalState.PAUSED)


@workflow.defn(name=WORKFLOW, failure_exception_types=[ValidationError])
class GoalWorkflow:
    """Carries one goal out."""

    @workflow.init
    def __init__(self, raw: Any = None, *_: Any) -> None:
        self._state = GoalState.PLANNING
        self._goal: GoalInput | None = None
        self._complaint = ""
        self._record: GoalRecord | None = None
        self._approvals: Approvals | None = None
        self._scheduler: Scheduler | None = None
        self._locks: Locks | None = None
        self._runner: TaskRunner | None = None
        self._control: Control | None = None
        self._ending: Ending | None = None
        self._early: list[Any] = []
        """Signals that came before there was a plan."""
        self._early_events: list[Any] = []
        self._early_grants: list[Any] = []
        self._paused = False
        self._cancelled = False
        self._suggested = False
        self._deferred = False
        """Continuing as new has to wait for a task that takes long."""
        self._compensate = True
        """Whether a cancelled goal is undone."""
        self._failure: Failure | None = None
        try:
            # Validated here and not by the converter, so that a mistake gets a sentence of ours.
            self._goal = GoalInput.model_validate(raw)
        except ValidationError as error:
            self._complaint = _complaint(error)
        carried = self._goal.carried if self._goal else None
        if self._goal is not None and carried is not None and _continued():
            # Here and not in `run`: what is signalled in the first activation finds the goal.
            self._record = GoalRecord(carried.planned, carried, self._goal.parent)
            self._build(self._record, carried)
            self._state = self._phase(self._record)

    @workflow.run
    async def run(self, raw: Any = None, *_: Any) -> GoalResult:
        """Plan, carry out, undo where needed, and say what came of it."""
        if self._goal is None:
            raise self._unplanned(_invalid(self._complaint))
        if self._record is None and sum(w is not None for w in _wanted(self._goal)) != 1:
            raise self._unplanned(
                _invalid(
                    "give exactly one of 'contract' (a name), 'definition' (a whole contract), "
                    f"'rerun' and 'rollback'. {_EXAMPLE}"
                )
            )
        if self._goal.carried is not None and self._record is None:
            raise self._unplanned(_invalid("'carried' is not for callers: it would skip planning"))
        if self._record is None:
            planned = await self._plan(self._goal)
            self._record = GoalRecord(planned, None, self._goal.parent)
            self._build(self._record, Carried(planned=planned, tasks=()))
        return await self._carry_out(self._record)

    async def _plan(self, goal: GoalInput) -> PlannedGoal:
        self._show(GoalState.PLANNING)
        try:
            return await calls.plan(workflow.info().workflow_id, goal)
        except FailureError as error:
            if is_cancelled_exception(error):
                # As it is: its cause, which `from None` removes, tells Temporal what it is.
                self._state = GoalState.CANCELLED
                raise
            raise self._unplanned(_refused(error)) from None

    def _unplanned(self, why: ApplicationError) -> ApplicationError:
        """Keep why there is no plan for whoever asks later; no command, so nothing to replay."""
        self._state = GoalState.FAILED
        self._failure = Failure(code=why.type or "InternalError", message=why.message)
        return why

    async def _carry_out(self, record: GoalRecord) -> GoalResult:
        self._changed()
        assert self._scheduler is not None
        assert self._ending is not None
        assert self._approvals is not None
        if record.phase is Phase.TASKS:
            await self._run_tasks(record, self._scheduler)
            if self._unfinished(record):
                await self._breathe()
                if not self._cancelled:
                    await self._continue(record)
                self._approvals.withdraw()
            self._ending.judge(cancelled=self._cancelled, compensate=self._compensate)
            self._failure = self._ending.failure
        if not await to_its_end(self._ending.go_on(), self._note_cancelled):
            await self._breathe()
            await self._continue(record)
        return await self._conclude(record, self._ending)

    def _build(self, record: GoalRecord, carried: Carried) -> None:
        """Put the goal's parts together, as they were where it was carried over."""
        self._paused, self._cancelled = carried.paused, carried.cancelled
        self._compensate = carried.compensate
        record.moved = self._look_at_history
        self._locks = Locks(
            [t.lock.name for t in record.plan.tasks if t.lock is not None],
            goal_id=record.goal_id,
            owner=record.root,
            carried=carried.locks,
            changed=self._changed,
            carrying=self._carrying,
        )
        self._approvals = Approvals(record, carrying=self._carrying)
        self._runner = TaskRunner(
            record,
            self._approvals,
            self._locks,
            carrying=self._carrying,
            cancelled=lambda: self._cancelled,
            stopping=lambda: self._cancelled or self._stopping(),
            changed=self._changed,
            resumed=self._resumed,
            park=self._park,
            again=self._again,
        )
        self._scheduler = self._scheduler_of(record, always=record.phase is not Phase.TASKS)
        self._control = Control(record, self._approvals, self._scheduler)
        self._ending = Ending(
            record,
            self._locks,
            carrying=self._carrying,
            show=self._show,
            finally_scheduler=self._last_scheduler,
            state=carried.ending,
            failure=carried.failure,
        )

    def _scheduler_of(self, record: GoalRecord, *, always: bool) -> Scheduler:
        assert self._runner is not None
        scheduler = Scheduler(
            record,
            tasks=[t for t in record.plan.tasks if t.always is always],
            window=record.planned.window,
            run=self._runner.run,
            halted=self._carrying if always else self._halted,
            stopping=_never if always else self._stopping,
        )
        scheduler.paused = self._paused and not always
        return scheduler

    def _last_scheduler(self) -> Scheduler:
        """Of the tasks that always run: neither pause nor cancellation holds them up."""
        assert self._record is not None
        self._scheduler = self._scheduler_of(self._record, always=True)
        return self._scheduler

    async def _run_tasks(self, record: GoalRecord, scheduler: Scheduler) -> None:
        assert self._approvals is not None
        for early in self._early:
            await self._approvals.consider(early)
        self._early.clear()
        for event in self._early_events:
            self._take_event(event)
        self._early_events.clear()
        assert self._locks is not None
        for grant in self._early_grants:
            await self._locks.granted(grant)
        self._early_grants.clear()
        patience = asyncio.create_task(self._be_patient(scheduler))
        try:
            await scheduler.drain()
        except asyncio.CancelledError:
            self._note_cancelled()
        finally:
            patience.cancel()
        if self._cancelled or not self._unfinished(record):
            self._approvals.withdraw()
            await to_its_end(self._cancel_all(scheduler), self._note_cancelled)

    def _note_cancelled(self) -> None:
        self._cancelled = True

    def _unfinished(self, record: GoalRecord) -> bool:
        """Stopped only in order to continue as new."""
        if self._cancelled or not self._carrying():
            return False
        ended = all(record.settled(t.id) for t in record.plan.tasks if not t.always)
        assert self._scheduler is not None
        if self._paused and record.bad:
            # Nothing may be left but what failed: it holds still, so that this may be retried.
            return True
        return not ended and (not record.bad or self._scheduler.handlers_left())

    async def _breathe(self) -> None:
        """Take in what has come together with the last event, before this run ends.

        A cancellation reaches the workflow after the signals and updates of the same activation:
        without a pause it would be lost where one of those made the run continue as new.
        """
        try:
            # Not a timer: Temporal's may be late by a second.
            await calls.record()
        except asyncio.CancelledError:
            self._note_cancelled()
        if workflow.cancellation_reason() is not None:
            self._note_cancelled()

    async def _continue(self, record: GoalRecord) -> None:
        # A cancellation that comes meanwhile is carried over: here it would end the goal at once.
        await to_its_end(_handlers_finished(), self._note_cancelled)
        assert self._goal is not None
        assert self._locks is not None
        assert self._ending is not None
        carried = record.carry(
            locks=self._locks.carry(),
            ending=self._ending.state,
            failure=self._ending.failure,
            cancelled=self._cancelled,
            compensate=self._compensate,
            paused=self._paused,
        )
        workflow.continue_as_new(self._goal.carrying(carried))

    async def _cancel_all(self, scheduler: Scheduler) -> bool:
        running = list(scheduler.running.values())
        for task in running:
            task.cancel()
        if running:
            await workflow.wait(running)
        return True

    async def _conclude(self, record: GoalRecord, ending: Ending) -> GoalResult:
        state, self._failure = ending.state, ending.failure
        assert state is not None
        await to_its_end(self._write_end(record, state), self._note_cancelled)
        return self._verdict(self._result(record, state))

    async def _write_end(self, record: GoalRecord, state: GoalState) -> bool:
        await calls.record(ended(record, state, self._failure, cancelled=self._cancelled))
        self._show(state)
        record.version += 1
        await workflow.wait_condition(workflow.all_handlers_finished)
        return True

    def _verdict(self, result: GoalResult) -> GoalResult:
        """Temporal's own status tells how the goal ended: Completed, Canceled or Failed.

        Raises:
            asyncio.CancelledError: the workflow was cancelled.
            ApplicationError: the goal did not succeed; the result is in its details.
        """
        if result.state is GoalState.SUCCEEDED:
            return result
        asked_temporal = workflow.cancellation_reason() is not None
        if asked_temporal and result.state is GoalState.CANCELLED:
            raise asyncio.CancelledError
        why = result.failure or Failure(
            code=result.state.value, message=f"the goal ended {result.state.value}"
        )
        raise ApplicationError(why.message, result, type=why.code, non_retryable=True)

    def _result(self, record: GoalRecord, state: GoalState) -> GoalResult:
        return GoalResult(
            goal_id=record.goal_id,
            contract=record.plan.contract,
            state=state,
            plan_digest=record.plan_digest,
            tasks=tuple(record.tasks.values()),
            failure=self._failure,
        )

    # What changes is shown.

    def _carrying(self) -> bool:
        """Whether this run is to end as soon as what runs has ended."""
        return self._suggested

    def _look_at_history(self) -> None:
        """Take note of Temporal's suggestion to continue as new.

        Only where something has happened that history holds: a condition that turned true by
        itself would also do so while a rejected update is looked at, which replay knows nothing of.
        """
        info = workflow.info()
        if info.is_continue_as_new_suggested():
            long = info.get_current_history_length() >= _LONGEST_HISTORY
            self._suggested = long or not self._deferred

    async def _be_patient(self, scheduler: Scheduler) -> None:
        """One long task must not hold up all others: they go on in this run for a while."""
        await workflow.wait_condition(self._carrying)
        try:
            await workflow.wait_condition(lambda: not scheduler.running, timeout=_DRAINING)
        except TimeoutError:
            self._deferred = True
            self._look_at_history()
            scheduler.wake()

    def _halted(self) -> bool:
        """Nothing at all starts any more in this run."""
        return self._cancelled or self._carrying()

    def _stopping(self) -> bool:
        """The goal is over. A paused one holds still, so that what failed may be retried."""
        bad = self._record is not None and self._record.bad
        return bad and not self._paused

    def _park(self, task_id: str, parked: bool) -> None:
        if self._scheduler is None:
            return
        if parked:
            self._scheduler.parked[task_id] = None
            self._scheduler.wake()
        else:
            self._scheduler.parked.pop(task_id, None)

    def _again(self, task_ids: Sequence[str]) -> None:
        assert self._scheduler is not None
        self._scheduler.again(task_ids)

    async def _resumed(self) -> None:
        """Wait while the goal is paused; approval does not override a pause."""
        await workflow.wait_condition(lambda: not self._paused)

    def _changed(self) -> None:
        """A task moved: stop if one failed, and show the phase that follows."""
        self._look_at_history()
        record, scheduler = self._record, self._scheduler
        if record is None or scheduler is None:
            return
        in_tasks = record.phase is Phase.TASKS
        scheduler.paused = self._paused and in_tasks
        if in_tasks and self._stopping() and self._approvals is not None:
            # Whoever is still asked whether something may run need not answer any more.
            self._approvals.withdraw(outcomes=False)
        self._show(self._phase(record))
        scheduler.wake()

    def _phase(self, record: GoalRecord) -> GoalState:
        """Where a goal that has a plan stands."""
        if record.phase is Phase.COMPENSATION:
            return GoalState.COMPENSATING
        if self._paused and record.phase is Phase.TASKS:
            return GoalState.PAUSED
        if record.count(TaskState.AWAITING_APPROVAL) or self._questions(record):
            return GoalState.AWAITING_APPROVAL
        return GoalState.RUNNING

    def _questions(self, record: GoalRecord) -> bool:
        unknown = record.count(TaskState.UNKNOWN)
        return unknown > 0 and any(a.closed is None for a in record.asked.values())

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

    # What people and the gateway say. A signal may come with any number of arguments: one that its
    # handler cannot take would fail the workflow task again and again, and hold the goal for ever.

    @workflow.signal(name=SIGNAL_DECISION)
    async def decision_made(self, signal: Any = None, *_: Any) -> None:
        """Count a decision of the gateway's; record and ignore anything else."""
        self._look_at_history()
        if self._approvals is None:
            self._early.append(signal)
            return
        await self._approvals.consider(signal)
        self._changed()

    @workflow.signal(name=SIGNAL_EVENT)
    async def event(self, signal: Any = None, *_: Any) -> None:
        """Keep an event for the tasks that wait for one of its name; ignore anything else."""
        if self._runner is None or self._record is None:
            self._early_events.append(signal)
            return
        self._take_event(signal)

    def _take_event(self, signal: Any) -> None:
        assert self._runner is not None
        assert self._record is not None
        why = self._runner.waits.arrived(signal)
        if why is not None:
            self._record.refuse(why)
        self._changed()

    @workflow.signal(name=SIGNAL_LOCK)
    async def lock_granted(self, signal: Any = None, *_: Any) -> None:
        """A lock's workflow gives this goal its turn."""
        if self._locks is None:
            # Perhaps meant for an earlier goal of this id: then it is given back.
            self._early_grants.append(signal)
            return
        await self._locks.granted(signal)

    @workflow.update(name=UPDATE_PAUSE)
    async def pause(self, control: ControlInput) -> None:
        """Start nothing further; what runs goes on, people may still decide."""
        self._paused = True
        await self._controlled("pause", control)

    @workflow.update(name=UPDATE_RESUME)
    async def resume(self, control: ControlInput) -> None:
        """Go on after a pause."""
        self._paused = False
        await self._controlled("resume", control)

    @workflow.update(name=UPDATE_CANCEL)
    async def cancel(self, control: CancelInput) -> None:
        """Stop the goal; what it did is undone, or stays where the caller wants that."""
        assert self._scheduler is not None
        self._cancelled, self._compensate = True, control.compensate
        for task in list(self._scheduler.running.values()):
            task.cancel()
        what = "cancel" if control.compensate else "cancel without compensation"
        await self._controlled(what, control)

    @workflow.update(name=UPDATE_CANCEL_TASK)
    async def cancel_task(self, control: TaskControlInput) -> None:
        """Stop one task that is pending, waiting or running."""
        self._hands().cancel(control.task_id)
        await self._controlled("cancel_task", control, control.task_id)

    @workflow.update(name=UPDATE_RETRY_TASK)
    async def retry_task(self, control: TaskControlInput) -> None:
        """Run a failed or cancelled task again, as a new generation that is approved anew."""
        self._hands().retry(control.task_id)
        await self._controlled("retry_task", control, control.task_id)

    @workflow.update(name=UPDATE_SKIP_TASK)
    async def skip_task(self, control: TaskControlInput) -> None:
        """Pass over a task; what needs it goes on as if it had succeeded, without its outputs."""
        await self._hands().skip(control.task_id, control.reason)
        await self._controlled("skip_task", control, control.task_id)

    @workflow.update(name=UPDATE_CHANGE_TASK)
    async def change_task(self, control: TaskChangeInput) -> None:
        """Give a task that has not begun other inputs, and ask again where that needs it."""
        try:
            await self._hands().change(control)
        except FailureError as error:
            raise _refused(error) from None
        names: list[Json] = [*sorted(control.inputs)]
        await self._controlled("change_task", control, control.task_id, inputs=names)

    @pause.validator
    def _may_pause(self, control: ControlInput) -> None:
        self._must_be_going()
        if self._paused:
            raise conflict("the goal is paused already")

    @resume.validator
    def _may_resume(self, control: ControlInput) -> None:
        self._must_be_going()
        if not self._paused:
            raise conflict("the goal is not paused")

    @cancel.validator
    def _may_be_cancelled(self, control: CancelInput) -> None:
        self._must_be_going()

    @cancel_task.validator
    def _may_cancel(self, control: TaskControlInput) -> None:
        self._hands().may_cancel(control.task_id)

    @retry_task.validator
    def _may_retry(self, control: TaskControlInput) -> None:
        self._hands().may_retry(control.task_id)

    @skip_task.validator
    def _may_skip(self, control: TaskControlInput) -> None:
        self._hands().may_skip(control)

    @change_task.validator
    def _may_change(self, control: TaskChangeInput) -> None:
        self._hands().may_change(control)

    def _must_be_going(self) -> None:
        record = self._record
        if self._cancelled or record is None or record.phase is not Phase.TASKS:
            raise conflict(f"the goal is {self._state.value}")
        if self._state not in _HOLDING:
            raise conflict(f"the goal is {self._state.value}")

    def _hands(self) -> Control:
        self._must_be_going()
        assert self._control is not None
        return self._control

    async def _controlled(
        self, what: str, control: ControlInput, task_id: str = "", **more: Json
    ) -> None:
        assert self._record is not None
        self._record.version += 1
        self._changed()
        await calls.record(
            AuditEvent(
                id=f"{workflow.info().first_execution_run_id}/control/{workflow.uuid4()}",
                time=workflow.now(),
                kind=AuditKind.TASK_CHANGED if more else AuditKind.CONTROL,
                actor=f"claimed:{control.actor}"[:200],
                goal_id=workflow.info().workflow_id,
                task_id=task_id,
                detail={"what": what, "reason": control.reason, **more},
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
                contract=self._contract(),
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
            verdicts=record.verdicts,
            tasks=tuple(record.tasks.values()),
            requests=tuple(a.view() for a in record.asked.values()),
            refused_decisions=tuple(record.refused),
            failure=self._failure,
        )

    @workflow.query(name=QUERY_SUMMARY)
    def summary(self) -> Summary:
        """How the goal stands, in a few lines whatever its size."""
        record = self._record
        return Summary(
            goal_id=workflow.info().workflow_id,
            contract=self._contract(),
            environment=record.plan.environment if record else "",
            state=self._state,
            version=record.version if record else 0,
            counts=record.counts if record else {},
            open_requests=len(record.open_requests()) if record else 0,
            waits_for_locks=self._locks.waiting_for if self._locks else (),
            failure=self._failure,
        )

    def _contract(self) -> str:
        if self._record is not None:
            return self._record.plan.contract
        return (self._goal.contract if self._goal else None) or ""

    @workflow.query(name=QUERY_APPROVALS)
    def approvals(self) -> list[OpenRequest]:
        """The requests of this goal, open and closed."""
        return [a.view() for a in self._record.asked.values()] if self._record else []


def _never() -> bool:
    return False


async def _handlers_finished() -> bool:
    await workflow.wait_condition(workflow.all_handlers_finished)
    return True


def _refused(error: FailureError) -> ApplicationError:
    """Why planning failed, as the workflow's own failure."""
    cause = calls.cause_of(error)
    return ApplicationError(cause.message, type=cause.type, non_retryable=True)


def _continued() -> bool:
    """Whether this run was begun by continue-as-new, which cron and retries only look like."""
    info = workflow.info()
    return bool(info.continued_run_id) and not info.cron_schedule and info.attempt == 1


def _wanted(goal: GoalInput) -> tuple[object, ...]:
    """The ways to say what is wanted, of which a goal uses one."""
    return goal.contract, goal.definition, goal.rerun, goal.rollback


def _invalid(message: str) -> ApplicationError:
    return ApplicationError(message, type="InvalidGoal", non_retryable=True)


def _complaint(error: ValidationError) -> str:
    lines = []
    for problem in error.errors()[:5]:
        place = ".".join(str(p) for p in problem["loc"]) or "the input"
        lines.append(f"{place}: {problem['msg']}")
    known = ", ".join(n for n in GoalInput.model_fields if n != "carried")
    return f"the goal's input is wrong: {'; '.join(lines)}. Known keys: {known}. {_EXAMPLE}"
