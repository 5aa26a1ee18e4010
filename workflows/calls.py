"""How this package calls activities: names, time-outs and retries in one place.

It starts activities and returns their results; it decides nothing.
"""

from datetime import timedelta
from typing import Any, TypeVar

from pydantic import BaseModel
from temporalio import workflow
from temporalio.common import RetryPolicy as TemporalRetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, FailureError
from temporalio.workflow import ActivityCancellationType

from goalkeeper.contracts import activities
from goalkeeper.contracts.goal import GoalInput, PlannedGoal
from goalkeeper.domain.audit import AuditEvent
from goalkeeper.domain.plan import PlanTask

R = TypeVar("R", bound=BaseModel)

_HEARTBEAT = timedelta(seconds=30)
"""A worker that says nothing for so long is taken for dead, and the attempt for lost."""
_QUICK = timedelta(seconds=10)
_PATIENT = TemporalRetryPolicy(
    initial_interval=timedelta(milliseconds=500), maximum_interval=timedelta(seconds=30)
)
"""For what must happen in the end: stores and Vault come back."""
_FOR_LONG = timedelta(days=7)


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


async def execute(task: PlanTask, argument: activities.ExecuteInput) -> activities.ExecuteResult:
    """One operation: a local activity where it declares itself quick, else an ordinary one."""
    retry = TemporalRetryPolicy(
        initial_interval=task.retry.initial_interval,
        backoff_coefficient=task.retry.backoff_coefficient,
        maximum_interval=task.retry.maximum_interval,
        maximum_attempts=task.retry.maximum_attempts,
    )
    ident = f"{task.id}.{argument.action.generation}"
    result: activities.ExecuteResult
    if task.quick:
        result = await workflow.execute_local_activity(
            activities.EXECUTE,
            argument,
            result_type=activities.ExecuteResult,
            start_to_close_timeout=min(task.start_to_close_timeout, _QUICK),
            retry_policy=retry,
            activity_id=ident,
        )
        return result
    result = await workflow.execute_activity(
        activities.EXECUTE,
        argument,
        result_type=activities.ExecuteResult,
        start_to_close_timeout=task.start_to_close_timeout,
        heartbeat_timeout=_HEARTBEAT,
        retry_policy=retry,
        # Compensation must not race a container that still runs.
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        activity_id=ident,
        summary=task.operation,
    )
    return result


async def compensate(argument: activities.CompensateInput, attempt_for: timedelta) -> None:
    """Undo one task."""
    await workflow.execute_activity(
        activities.COMPENSATE,
        argument,
        result_type=activities.ExecuteResult,
        start_to_close_timeout=attempt_for,
        heartbeat_timeout=_HEARTBEAT,
        retry_policy=TemporalRetryPolicy(
            initial_interval=timedelta(seconds=1),
            maximum_interval=timedelta(minutes=1),
            maximum_attempts=20,
        ),
        summary=f"undo {argument.action.operation}",
    )


async def clean_up(goal_id: str) -> None:
    """Revoke and remove what lost attempts left."""
    await workflow.execute_activity(
        activities.CLEAN_UP,
        activities.CleanUpInput(goal_id=goal_id),
        start_to_close_timeout=timedelta(minutes=5),
        schedule_to_close_timeout=_FOR_LONG,
        retry_policy=_PATIENT,
    )
