"""Child goals: a task that is a goal of its own, with its own plan, requests and record.

It starts children, waits for them and undoes them; what a child does is the child's business.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from pydantic import ValidationError
from temporalio import workflow
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import (
    ApplicationError,
    ChildWorkflowError,
    FailureError,
    WorkflowAlreadyStartedError,
)
from temporalio.workflow import ChildWorkflowCancellationType, ParentClosePolicy

from goalkeeper.contracts.goal import WORKFLOW, GoalInput, ParentGoal
from goalkeeper.domain.base import Json
from goalkeeper.domain.errors import Conflict, InvalidGoal
from goalkeeper.domain.goal import GoalResult
from goalkeeper.domain.plan import PlanTask, TaskState
from workflows import calls
from workflows.actions import inputs_of
from workflows.approvals import CarriedOver
from workflows.state import GoalRecord

DEEPEST = 8
"""Generations of child goals below the one at the top."""


def child_id(goal_id: str, task_id: str, generation: int) -> str:
    """The workflow id of a child goal."""
    return f"{goal_id}--{task_id}.{generation}"


class ChildGoals:
    """The children of one goal."""

    def __init__(self, record: GoalRecord, *, carrying: Callable[[], bool]) -> None:
        self._record = record
        self._carrying = carrying

    async def run(self, task: PlanTask, *, started: bool) -> Json:
        """A child's outcome as the task's outputs, once it has succeeded.

        Args:
            task: whose inputs name the contract.
            started: whether an earlier run of this goal has started the child.

        Raises:
            CarriedOver: the workflow continues as new; the child goes on meanwhile.
            Conflict: a workflow that is not this goal's child has the child's id.
            InvalidGoal: the inputs name no contract, or goals are nested too deep.
            ApplicationError: what the child failed with.
            asyncio.CancelledError: this goal or the child was cancelled.
        """
        ident = child_id(self._record.goal_id, task.id, self._record.tasks[task.id].generation)
        goal = self._goal(task)
        result = await (self._found_again(ident) if started else self._result(ident, goal))
        return {
            "goal_id": ident,
            "state": result.state.value,
            "tasks": {t.id: t.outputs for t in result.tasks if t.state is TaskState.SUCCEEDED},
        }

    async def undo(self, task_id: str) -> None:
        """Undo what a child did, by a goal that rolls it back.

        Raises:
            ApplicationError: something could not be undone.
        """
        generation = self._record.tasks[task_id].generation
        ident = child_id(self._record.goal_id, task_id, generation)
        goal = self._input(task_id, rollback=ident)
        try:
            await self._result(f"{ident}.undo", goal)
        except ApplicationError as error:
            if error.type != NOTHING_TO_UNDO:
                raise

    def _goal(self, task: PlanTask) -> GoalInput:
        inputs = inputs_of(self._record, task.id)
        return self._input(
            task.id, contract=inputs.get("contract"), inputs=inputs.get("inputs") or {}
        )

    def _input(self, task_id: str, **what: Any) -> GoalInput:
        if self._record.depth >= DEEPEST:
            raise InvalidGoal(
                f"task '{task_id}' would be a goal {DEEPEST + 1} levels deep, and {DEEPEST} are "
                "the most. Does a contract use itself?"
            )
        try:
            return GoalInput.model_validate(
                {
                    **what,
                    "requester": self._record.planned.requester.id,
                    "attestation": self._record.planned.attestation,
                    "parent": ParentGoal(
                        goal_id=self._record.goal_id,
                        task_id=task_id,
                        root=self._record.root,
                        depth=self._record.depth + 1,
                    ),
                }
            )
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(p) for p in first["loc"])
            raise InvalidGoal(f"task '{task_id}': '{place}' is wrong: {first['msg']}") from None

    async def _result(self, ident: str, goal: GoalInput) -> GoalResult:
        try:
            child = await workflow.start_child_workflow(
                WORKFLOW,
                goal,
                id=ident,
                result_type=GoalResult,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                # A child outlives its parent's continue-as-new, and is found again by its id.
                parent_close_policy=ParentClosePolicy.ABANDON,
                cancellation_type=ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED,
            )
        except WorkflowAlreadyStartedError:
            raise Conflict(
                f"there is a workflow '{ident}' already, which this goal has not started. Look at "
                "who did; the task can be retried, which takes another id"
            ) from None
        try:
            return await self._ended(child)
        except ChildWorkflowError as error:
            if isinstance(error.cause, ApplicationError):
                raise error.cause from None
            raise

    async def _ended(self, child: "asyncio.Task[GoalResult]") -> GoalResult:
        try:
            await workflow.wait_condition(lambda: child.done() or self._carrying())
        except asyncio.CancelledError:
            child.cancel()
            return await _cancelled(child)
        if not child.done():
            raise CarriedOver
        return child.result()

    async def _found_again(self, ident: str) -> GoalResult:
        """The result of a child that an earlier run has started."""
        waiting = asyncio.ensure_future(calls.child_result(ident))
        try:
            await workflow.wait_condition(lambda: waiting.done() or self._carrying())
        except asyncio.CancelledError:
            # It may have ended just now: then there is nothing to cancel, and what it did counts.
            with suppress(FailureError):
                await workflow.get_external_workflow_handle(ident).cancel()
            return await _cancelled(waiting)
        if not waiting.done():
            # Nothing is lost: the next run asks again.
            waiting.cancel()
            await asyncio.wait([waiting])
            raise CarriedOver
        return waiting.result()


NOTHING_TO_UNDO = "NothingToUndo"


async def _cancelled(child: "asyncio.Future[GoalResult]") -> GoalResult:
    """Wait until a cancelled child has undone what it did.

    Raises:
        asyncio.CancelledError: it has ended, in whichever way but success.
    """
    try:
        return await child
    except FailureError:
        raise asyncio.CancelledError from None
