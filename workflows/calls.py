"""How this package calls activities: names, time-outs and retries in one place.

It starts activities and returns their results; it decides nothing.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, TypeVar

from pydantic import BaseModel
from temporalio import workflow
from temporalio.common import Priority
from temporalio.common import RetryPolicy as TemporalRetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, FailureError, TimeoutError
from temporalio.workflow import ActivityCancellationType

from goalkeeper.contracts import activities
from goalkeeper.contracts.goal import (
    ChangedTask,
    GoalInput,
    PlannedGoal,
    Pool,
    planning_queue,
)
from goalkeeper.domain.audit import AuditEvent
from goalkeeper.domain.goal import GoalResult
from goalkeeper.domain.plan import PlanTask

R = TypeVar("R", bound=BaseModel)

_TURNS = 5
"""Of the event loop: more than a result that is there needs to reach its handle."""
_HEARTBEAT = timedelta(seconds=30)
"""A worker that says nothing for so long is taken for dead, and the attempt for lost."""
_QUICK = timedelta(seconds=10)
_PATIENT = TemporalRetryPolicy(
    initial_interval=timedelta(milliseconds=500), maximum_interval=timedelta(seconds=30)
)
"""For what must happen in the end: stores and Vault come back."""
_FOR_LONG = timedelta(days=7)
_USUAL = 3
_NORMAL = Priority()
"""Temporal's own default, which costs no bytes of history; its key is 3 as well."""


def cause_of(error: FailureError) -> ApplicationError:
    """Why an activity failed, in one form.

    An ordinary activity's failure comes wrapped in an `ActivityError`, a local one's does not.
    """
    cause = error.cause if isinstance(error, ActivityError) else error
    if isinstance(cause, ApplicationError):
        return cause
    lost = f"the attempt was lost: {cause or error}. Look at the worker's log."
    return ApplicationError(lost[:2000], type="AttemptLost")


async def plan(goal_id: str, goal: GoalInput) -> PlannedGoal:
    """Compile, pin and judge."""
    planned: PlannedGoal = await workflow.execute_activity(
        activities.PLAN,
        activities.PlanInput(goal_id=goal_id, goal=goal),
        result_type=PlannedGoal,
        task_queue=planning_queue(workflow.info().task_queue),
        start_to_close_timeout=timedelta(seconds=60),
        schedule_to_close_timeout=_FOR_LONG,
        retry_policy=_PATIENT,
    )
    return planned


async def _local(name: str, argument: BaseModel, result: type[R] | None) -> Any:
    return await workflow.execute_local_activity(
        name,
        argument,
        result_type=result,
        start_to_close_timeout=_QUICK,
        schedule_to_close_timeout=_FOR_LONG,
        retry_policy=_PATIENT,
    )


async def authorise(argument: activities.AuthoriseInput) -> activities.AuthoriseResult:
    """Have policy judge resolved actions."""
    answer: activities.AuthoriseResult = await _local(
        activities.AUTHORISE, argument, activities.AuthoriseResult
    )
    return answer


async def record(*events: AuditEvent) -> None:
    """Append what the workflow itself decided to the audit log."""
    await _local(activities.RECORD, activities.RecordInput(events=events), None)


async def decision_keys(goal_id: str) -> dict[str, str]:
    """The gateway's public keys as they are now."""
    answer: activities.KeysResult = await _local(
        activities.DECISION_KEYS, activities.CleanUpInput(goal_id=goal_id), activities.KeysResult
    )
    return answer.keys


async def execute(
    task: PlanTask, argument: activities.ExecuteInput, pools: Sequence[Pool]
) -> activities.ExecuteResult:
    """One operation: a local activity where it declares itself quick, else an ordinary one.

    What turns out not to be quick goes on as an ordinary one.
    """
    if task.quick and "connectors" not in pools:
        try:
            return await _execute_here(task, argument)
        except FailureError as error:
            if not isinstance(_root(error), TimeoutError):
                raise
    handle = workflow.start_activity(
        activities.EXECUTE,
        argument,
        result_type=activities.ExecuteResult,
        task_queue=queue_of(task.operation, pools),
        start_to_close_timeout=task.start_to_close_timeout,
        schedule_to_close_timeout=task.schedule_to_close_timeout,
        heartbeat_timeout=_HEARTBEAT,
        retry_policy=_retry(task),
        # Compensation must not race a container that still runs.
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        activity_id=f"{task.id}.{argument.action.generation}",
        priority=_NORMAL if task.priority == _USUAL else Priority(priority_key=task.priority),
    )
    return await _result_or_cancelled(handle)


async def _result_or_cancelled(
    handle: workflow.ActivityHandle[activities.ExecuteResult],
) -> activities.ExecuteResult:
    """The result, also when a cancellation comes in the same workflow task: it must be undone.

    The SDK's handle raises when it is cancelled although its result is in, and the result is lost.
    So it is cancelled only once it has had its turns to see one.
    """
    try:
        return await asyncio.shield(handle)
    except asyncio.CancelledError:
        for _ in range(_TURNS):
            if handle.done():
                break
            await asyncio.sleep(0)
        else:
            handle.cancel()
        return await handle


async def _execute_here(
    task: PlanTask, argument: activities.ExecuteInput
) -> activities.ExecuteResult:
    result: activities.ExecuteResult = await workflow.execute_local_activity(
        activities.EXECUTE,
        argument,
        result_type=activities.ExecuteResult,
        start_to_close_timeout=min(task.start_to_close_timeout, _QUICK),
        schedule_to_close_timeout=task.schedule_to_close_timeout,
        retry_policy=_retry(task),
        activity_id=f"{task.id}.{argument.action.generation}",
    )
    return result


def _root(error: FailureError) -> BaseException | None:
    return error.cause if isinstance(error, ActivityError) else error


def _retry(task: PlanTask) -> TemporalRetryPolicy:
    return TemporalRetryPolicy(
        initial_interval=task.retry.initial_interval,
        backoff_coefficient=task.retry.backoff_coefficient,
        maximum_interval=task.retry.maximum_interval,
        maximum_attempts=task.retry.maximum_attempts,
        non_retryable_error_types=task.retry.non_retryable or None,
    )


def queue_of(operation: str, pools: Sequence[Pool]) -> str | None:
    """The task queue of the pool that carries an operation out; None for the goal's own."""
    pool: Pool = "sandbox" if operation.startswith("sandbox.") else "connectors"
    return f"{workflow.info().task_queue}-{pool}" if pool in pools else None


async def compensate(
    argument: activities.CompensateInput, attempt_for: timedelta, pools: Sequence[Pool]
) -> activities.ExecuteResult:
    """Undo one task; without outputs where there was nothing to undo."""
    undoing = argument.action.compensation or argument.action.operation
    result: activities.ExecuteResult = await workflow.execute_activity(
        activities.COMPENSATE,
        argument,
        result_type=activities.ExecuteResult,
        task_queue=queue_of(undoing, pools),
        start_to_close_timeout=attempt_for,
        heartbeat_timeout=_HEARTBEAT,
        retry_policy=TemporalRetryPolicy(
            initial_interval=timedelta(seconds=1),
            maximum_interval=timedelta(minutes=1),
            maximum_attempts=20,
        ),
        summary=f"undo {argument.action.operation}",
    )
    return result


async def clean_up(goal_id: str, *, containers: bool) -> None:
    """Revoke and remove what lost attempts left."""
    await workflow.execute_activity(
        activities.CLEAN_UP,
        activities.CleanUpInput(goal_id=goal_id, containers=containers),
        start_to_close_timeout=timedelta(minutes=5),
        schedule_to_close_timeout=_FOR_LONG,
        retry_policy=_PATIENT,
    )


async def replan(argument: activities.ReplanInput) -> ChangedTask:
    """Validate, pin and judge a task with other inputs."""
    answer: ChangedTask = await workflow.execute_activity(
        activities.REPLAN,
        argument,
        result_type=ChangedTask,
        start_to_close_timeout=timedelta(seconds=60),
        schedule_to_close_timeout=timedelta(minutes=10),
        retry_policy=_PATIENT,
    )
    return answer


async def resolve(argument: activities.ResolveInput) -> None:
    """Write down what people say became of a lost attempt."""
    await workflow.execute_activity(
        activities.RESOLVE,
        argument,
        result_type=activities.ExecuteResult,
        start_to_close_timeout=timedelta(seconds=60),
        schedule_to_close_timeout=_FOR_LONG,
        retry_policy=_PATIENT,
    )


async def child_result(goal_id: str) -> GoalResult:
    """The result of a child that an earlier run of this workflow has started.

    Raises:
        ApplicationError: what the child failed with.
    """
    try:
        answer: GoalResult = await workflow.execute_activity(
            activities.CHILD_RESULT,
            activities.HolderInput(goal_id=goal_id),
            result_type=GoalResult,
            start_to_close_timeout=timedelta(hours=1),
            heartbeat_timeout=_HEARTBEAT,
            retry_policy=_PATIENT,
            cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )
    except ActivityError as error:
        raise cause_of(error) from None
    return answer
