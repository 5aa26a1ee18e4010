"""How a goal ended, read off its tasks.

It reads and derives; it starts nothing and changes nothing.
"""

from temporalio import workflow

from goalkeeper.domain.audit import AuditEvent, AuditKind
from goalkeeper.domain.base import Json
from goalkeeper.domain.goal import Failure
from goalkeeper.domain.plan import GoalState, TaskState
from workflows.state import GoalRecord

_DENIALS = frozenset({"ApprovalDenied", "ApprovalExpired"})


def first_failure(record: GoalRecord) -> Failure | None:
    """Why the goal did not succeed: first what is unknown, then what failed or was stopped."""
    for task_id in record.stoppers():
        failure = record.tasks[task_id].failure
        if failure is not None:
            told = f"task '{task_id}': {failure.message}"
            return Failure(code=failure.code, message=told[:2000])
    return None


def outcome(record: GoalRecord, *, cancelled: bool, failure: Failure | None) -> GoalState:
    """Where the goal stands before anything is undone; tasks that always run do not count yet."""
    if cancelled:
        return GoalState.CANCELLED
    if failure is not None and failure.code in _DENIALS:
        return GoalState.DENIED
    stoppers = record.stoppers()
    if any(record.state(t) in (TaskState.FAILED, TaskState.UNKNOWN) for t in stoppers):
        return GoalState.FAILED
    if not stoppers and all(record.settled(t.id) for t in record.plan.tasks if not t.always):
        return GoalState.SUCCEEDED
    return GoalState.CANCELLED


def ended(
    record: GoalRecord, state: GoalState, failure: Failure | None, *, cancelled: bool
) -> AuditEvent:
    """The last entry of a goal on the record."""
    detail: dict[str, Json] = {"state": state.value, "plan_digest": record.plan_digest}
    if failure is not None:
        detail["failure"] = failure.model_dump(mode="json")
    if cancelled:
        # Who it was is what the canceller said: Temporal's cancellation proves nobody.
        detail["cancelled_by"] = "claimed:" + (workflow.cancellation_reason() or "unknown")[:500]
    return AuditEvent(
        id=f"{workflow.info().first_execution_run_id}/ended",
        time=workflow.now(),
        kind=AuditKind.GOAL_ENDED,
        actor="workflow",
        goal_id=workflow.info().workflow_id,
        detail=detail,
    )
