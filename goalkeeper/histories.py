"""Workflows as Temporal itself has them: whose child, asked for what, ended how.

It looks through an activity's client; it starts and changes nothing.
"""

from dataclasses import dataclass

from pydantic import ValidationError
from temporalio import activity
from temporalio.client import (
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from goalkeeper.contracts.goal import WORKFLOW, GoalInput
from goalkeeper.domain.errors import Conflict, GoalkeeperError, NotFound, ServiceUnavailable
from goalkeeper.domain.goal import GoalResult


@dataclass(frozen=True)
class Family:
    """Who started a workflow as a child, and who is at the top."""

    parent: str | None
    parent_run: str | None
    root: str | None


@dataclass(frozen=True)
class Ended:
    """A goal that is over."""

    input: GoalInput
    result: GoalResult


async def family(workflow_id: str, run_id: str | None = None) -> Family:
    """Whose child a run is; without a run id, the last one.

    Raises:
        NotFound: Temporal has no such workflow, or no longer.
        ServiceUnavailable: Temporal does not answer.
    """
    described = await _describe(workflow_id, run_id)
    return Family(described.parent_id, described.parent_run_id, described.root_id)


async def input_of(goal_id: str, run_id: str | None = None) -> GoalInput:
    """What a goal was started with; without a run id, its last run.

    Raises:
        NotFound: Temporal has no goal of this id, or no longer.
        ServiceUnavailable: Temporal does not answer.
    """
    return await _input(await _goal(goal_id, run_id))


async def is_running(goal_id: str) -> bool:
    """Whether a goal still runs; one that Temporal does not know (any more) does not.

    Raises:
        ServiceUnavailable: Temporal does not answer.
    """
    try:
        described = await _describe(goal_id, None)
    except NotFound:
        return False
    return described.status is WorkflowExecutionStatus.RUNNING


async def ended(goal_id: str) -> Ended:
    """How a goal ended, in its own words: nothing of it is proved yet.

    Raises:
        NotFound: Temporal has no goal of this id, or no longer.
        Conflict: it still runs, or it ended without a result.
        ServiceUnavailable: Temporal does not answer.
    """
    described = await _goal(goal_id, None)
    if described.status is WorkflowExecutionStatus.RUNNING:
        raise Conflict(
            f"goal '{goal_id}' still runs: wait for its end or cancel it, then ask again"
        )
    handle = _handle(goal_id, described.run_id)
    try:
        said = await handle.result(follow_runs=False)
    except WorkflowFailureError as error:
        cause = error.cause
        said = cause.details[0] if isinstance(cause, ApplicationError) and cause.details else None
    except RPCError as error:
        raise _unknown(goal_id, error) from None
    try:
        result = GoalResult.model_validate(said)
    except ValidationError:
        raise Conflict(
            f"goal '{goal_id}' ended without a result: it was terminated, or refused before it "
            "was planned. Submit it as a new goal."
        ) from None
    return Ended(await _input(described), result)


async def child_result(goal_id: str, parent: str) -> GoalResult:
    """Wait for a child goal's end.

    Raises:
        NotFound: Temporal has no goal of this id, or it is not this parent's child.
        ServiceUnavailable: Temporal does not answer.
        ApplicationError: what the child failed with, as its own workflow says it.
    """
    described = await _goal(goal_id, None)
    if described.parent_id != parent:
        raise NotFound(f"'{goal_id}' is no child of '{parent}'")
    try:
        return GoalResult.model_validate(await _handle(goal_id, None).result())
    except WorkflowFailureError as error:
        cause = error.cause
        if isinstance(cause, ApplicationError):
            failure = ApplicationError(
                cause.message, *cause.details, type=cause.type, non_retryable=True
            )
        else:
            why = f"the child goal '{goal_id}' was cancelled or terminated"
            failure = ApplicationError(why, type="Cancelled", non_retryable=True)
    except RPCError as error:
        raise _unknown(goal_id, error) from None
    raise failure from None


async def _goal(goal_id: str, run_id: str | None) -> WorkflowExecutionDescription:
    described = await _describe(goal_id, run_id)
    if described.workflow_type != WORKFLOW:
        raise NotFound(f"'{goal_id}' is no goal; `goalkeeper list` shows those that there are")
    return described


async def _describe(workflow_id: str, run_id: str | None) -> WorkflowExecutionDescription:
    try:
        return await _handle(workflow_id, run_id).describe()
    except RPCError as error:
        raise _unknown(workflow_id, error) from None


async def _input(described: WorkflowExecutionDescription) -> GoalInput:
    handle = _handle(described.id, described.run_id)
    try:
        async for event in handle.fetch_history_events(page_size=1):
            payloads = event.workflow_execution_started_event_attributes.input.payloads
            (found,) = await described.data_converter.decode(payloads, [GoalInput])
            return GoalInput.model_validate(found).whole()
    except RPCError as error:
        raise _unknown(described.id, error) from None
    except (ValidationError, ValueError):
        # Somebody's own workflow, or one of another version.
        pass
    raise Conflict(f"what goal '{described.id}' was started with cannot be read: submit it anew")


def _handle(workflow_id: str, run_id: str | None) -> WorkflowHandle[object, object]:
    return activity.client().get_workflow_handle(workflow_id, run_id=run_id)


def _unknown(workflow_id: str, error: RPCError) -> GoalkeeperError:
    if error.status in (RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT):
        return NotFound(
            f"Temporal has no goal '{workflow_id}', or no longer: histories are kept for the "
            "namespace's retention time"
        )
    return ServiceUnavailable(
        f"Temporal does not say what became of '{workflow_id}' ({error.status.name})"
    )
