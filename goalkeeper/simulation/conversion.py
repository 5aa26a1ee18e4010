"""Values and errors in the form that Temporal's SDK Core hands to a workflow, and back.

It converts as a worker does, without encryption; it knows no workflow and no activity.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.converter import DefaultFailureConverter
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    CancelledError,
    ChildWorkflowError,
    RetryState,
)

from goalkeeper.domain.errors import GoalkeeperError
from goalkeeper.temporal import SharedConverter, to_application_error

CONVERTER = SharedConverter()
_FAILURES = DefaultFailureConverter()

AnyError: TypeAlias = BaseException


def payloads(*values: Any) -> Sequence[Payload]:
    """Values as Temporal carries them."""
    return CONVERTER.to_payloads(values)


def value_of(found: Payload, kind: type | None = None) -> Any:
    """A value as a receiver sees it: of a type, or plain JSON."""
    [value] = CONVERTER.from_payloads([found], [kind] if kind else None)
    return value


def failure_of(error: AnyError) -> Failure:
    """An error as history keeps it."""
    failure = Failure()
    _FAILURES.to_failure(error, CONVERTER, failure)
    return failure


def error_of(failure: Failure) -> AnyError:
    """The error that a failure of history stands for."""
    return _FAILURES.from_failure(failure, CONVERTER)


def crossed(error: AnyError) -> AnyError:
    """An error as it leaves an activity: ours by their code, anything else as it is."""
    return to_application_error(error) if isinstance(error, GoalkeeperError) else error


def activity_failure(activity_type: str, activity_id: str, cause: AnyError) -> Failure:
    """What a workflow sees of an ordinary activity that failed or was cancelled."""
    error = ActivityError(
        "Activity cancelled" if isinstance(cause, CancelledError) else "Activity task failed",
        scheduled_event_id=0,
        started_event_id=0,
        identity="simulation",
        activity_type=activity_type,
        activity_id=activity_id,
        retry_state=_retry_state(cause),
    )
    error.__cause__ = cause
    return failure_of(error)


def child_failure(workflow_type: str, workflow_id: str, run_id: str, cause: AnyError) -> Failure:
    """What a workflow sees of a child that failed or was cancelled."""
    error = ChildWorkflowError(
        "Child Workflow execution failed",
        namespace="simulation",
        workflow_id=workflow_id,
        run_id=run_id,
        workflow_type=workflow_type,
        initiated_event_id=0,
        started_event_id=0,
        retry_state=RetryState.RETRY_POLICY_NOT_SET,
    )
    error.__cause__ = cause
    return failure_of(error)


def _retry_state(cause: AnyError) -> RetryState | None:
    if isinstance(cause, CancelledError):
        return RetryState.CANCEL_REQUESTED
    if isinstance(cause, ApplicationError) and cause.non_retryable:
        return RetryState.NON_RETRYABLE_FAILURE
    return RetryState.MAXIMUM_ATTEMPTS_REACHED
