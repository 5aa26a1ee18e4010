"""One task of the interpreter: resolve, ask where needed, execute, keep the result.

It turns every way in which a task can end into a state; it knows nothing of other tasks' order.
"""

import asyncio
from collections.abc import Awaitable, Callable

from temporalio import workflow
from temporalio.exceptions import FailureError, is_cancelled_exception

from goalkeeper.contracts.activities import ExecuteInput, ExecuteResult
from goalkeeper.domain.approval import Action, Grant
from goalkeeper.domain.base import Json
from goalkeeper.domain.bindings import resolve
from goalkeeper.domain.errors import GoalkeeperError
from goalkeeper.domain.goal import Failure
from goalkeeper.domain.plan import APPROVAL, PlanTask, TaskState
from goalkeeper.domain.policy import Effect
from workflows import calls
from workflows.approvals import Approvals, CarriedOver
from workflows.state import GoalRecord


class TaskRunner:
    """Carries single tasks out and writes down what became of them."""

    def __init__(
        self,
        record: GoalRecord,
        approvals: Approvals,
        *,
        changed: Callable[[], None],
        resumed: Callable[[], Awaitable[None]],
    ) -> None:
        self._record = record
        self._approvals = approvals
        self._changed = changed
        self._resumed = resumed

    async def run(self, task_id: str) -> None:
        """Bring one ready task to an end, whatever happens; raises nothing."""
        task = self._record.by_id[task_id]
        try:
            if task.operation == APPROVAL:
                await self._gate(task)
            else:
                await self._operation(task)
        except CarriedOver:
            return
        except asyncio.CancelledError:
            self._record.set(task_id, TaskState.CANCELLED, failure=CANCELLED)
        except GoalkeeperError as error:
            self._fail(task_id, Failure(code=error.code, message=error.message))
        except FailureError as error:
            self._activity_failed(task_id, error)
        if self._record.state(task_id) is not TaskState.SUCCEEDED or task.operation == APPROVAL:
            self._changed()

    async def _gate(self, task: PlanTask) -> None:
        actions = [action_of(self._record, covered) for covered in task.covers]
        shown = {s: self._record.outputs()[s] for s in task.show}
        self._await_people(task.id)
        grant = await self._approvals.grant(task.id, actions, shown)
        people: list[Json] = list(self._record.asked[grant.request.id].envelopes) if grant else []
        self._record.set(
            task.id,
            TaskState.SUCCEEDED,
            outputs={"needed": grant is not None, "approved_by": people},
        )

    async def _operation(self, task: PlanTask) -> None:
        action, grant = approved_action(self._record, task.id)
        verdict = self._record.planned.verdicts.get(task.id)
        if grant is None and verdict is not None and verdict.effect is Effect.ASK:
            action, grant = await self._ask(task, action)
        try:
            result = await self._execute(task, action, grant)
        except FailureError as error:
            if calls.cause_of(error).type != "ApprovalNeeded" or grant is not None:
                raise
            # The resolved inputs made it riskier than the plan looked.
            action, grant = await self._ask(task, action)
            result = await self._execute(task, action, grant)
        if result.compensable:
            self._record.effects.append(task.id)
        self._record.set(
            task.id, TaskState.SUCCEEDED, outputs=result.outputs, evidence=result.evidence
        )

    async def _ask(self, task: PlanTask, action: Action) -> tuple[Action, Grant | None]:
        self._await_people(task.id)
        grant = await self._approvals.grant(task.id, [action], {})
        # What was approved carries the version of the policy that asked.
        approved = grant.request.actions[0] if grant is not None else action
        await self._resumed()
        return approved, grant

    async def _execute(self, task: PlanTask, action: Action, grant: Grant | None) -> ExecuteResult:
        self._record.set(task.id, TaskState.RUNNING)
        if grant is not None:
            self._changed()
        return await calls.execute(
            task,
            ExecuteInput(
                action=action,
                asker=self._record.asker,
                grant=grant,
            ),
        )

    def _await_people(self, task_id: str) -> None:
        self._record.set(task_id, TaskState.AWAITING_APPROVAL)
        self._changed()

    def _activity_failed(self, task_id: str, error: FailureError) -> None:
        if is_cancelled_exception(error):
            self._record.set(task_id, TaskState.CANCELLED, failure=CANCELLED)
            return
        cause = calls.cause_of(error)
        self._fail(task_id, Failure(code=cause.type or "InternalError", message=cause.message))

    def _fail(self, task_id: str, failure: Failure) -> None:
        state = TaskState.UNKNOWN if failure.code == "OutcomeUnknown" else TaskState.FAILED
        self._record.set(task_id, state, failure=failure)


CANCELLED = Failure(code="Cancelled", message="cancelled before it ended")


def approved_action(record: GoalRecord, task_id: str) -> tuple[Action, Grant | None]:
    """What a task would run now, with the grant if people have approved it."""
    action = action_of(record, task_id)
    return record.approved(action) or (action, None)


def action_of(record: GoalRecord, task_id: str) -> Action:
    """Exactly what a task would run now, its inputs resolved.

    Raises:
        InvalidGoal: an expression does not yield what its place needs.
    """
    task = record.by_id[task_id]
    inputs = resolve(task, record.outputs()) if task.bindings else task.inputs
    return Action(
        goal_id=workflow.info().workflow_id,
        task_id=task_id,
        generation=record.tasks[task_id].generation,
        plan_digest=record.plan_digest,
        operation=task.operation,
        inputs=inputs,
        environment=record.plan.environment,
        risk=task.risk,
        credentials=task.credentials,
        compensation=task.compensation,
        policy_version=record.planned.policy_version,
    )
