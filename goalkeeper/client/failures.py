"""The one place where Temporal's errors become ours. It retries nothing."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from temporalio.client import (
    RPCTimeoutOrCancelledError,
    WorkflowFailureError,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
)
from temporalio.exceptions import (
    ApplicationError,
    CancelledError,
    TerminatedError,
    TimeoutError,
)
from temporalio.service import RPCError, RPCStatusCode

from goalkeeper.domain.errors import (
    GoalkeeperError,
    InvalidGoal,
    NotFound,
    OperationFailed,
    ServiceUnavailable,
    from_code,
)
from goalkeeper.domain.goal import Failure
from goalkeeper.domain.plan import GoalState
from goalkeeper.settings import Settings
from goalkeeper.temporal import unreachable


@contextmanager
def mapped(settings: Settings, goal_id: str = "") -> Iterator[None]:
    """Run calls to Temporal, and raise our errors instead of its own.

    Args:
        settings: where Temporal is, for the message.
        goal_id: the goal that the calls are about, for the message.

    Raises:
        ServiceUnavailable: Temporal, or the worker behind it, does not answer.
        NotFound: there is no such goal.
        GoalkeeperError: what the goal itself failed with.
    """
    try:
        yield
    except (WorkflowFailureError, WorkflowUpdateFailedError) as error:
        failure, _ = failure_of(error.cause)
        raise from_code(failure.code, failure.message) from None
    except WorkflowQueryFailedError as error:
        raise OperationFailed(f"goal '{goal_id}' could not be read: {error.message}") from None
    except RPCTimeoutOrCancelledError as error:
        # The SDK wraps a cancellation of our own task too: that one must stay what it is.
        if isinstance(error.__cause__, asyncio.CancelledError):
            raise error.__cause__ from None
        raise _no_worker(goal_id) from None
    except RPCError as error:
        raise _of_rpc(error, settings, goal_id) from None


def _no_worker(goal_id: str) -> ServiceUnavailable:
    return ServiceUnavailable(
        f"no worker answers for goal '{goal_id}'. The goal is safe and goes on once a worker runs: "
        "see `goalkeeper status`."
    )


def _of_rpc(error: RPCError, settings: Settings, goal_id: str) -> GoalkeeperError:
    match error.status:
        case RPCStatusCode.NOT_FOUND if "completed" in error.message:
            return OperationFailed(f"goal '{goal_id}' has already ended, so this changes nothing")
        case RPCStatusCode.NOT_FOUND:
            return NotFound(f"there is no goal '{goal_id}'; `goalkeeper list` shows what there is")
        case RPCStatusCode.INVALID_ARGUMENT:
            return InvalidGoal(f"Temporal refuses this: {error.message[:300]}")
        case RPCStatusCode.DEADLINE_EXCEEDED | RPCStatusCode.FAILED_PRECONDITION if goal_id:
            return _no_worker(goal_id)
        case _:
            return unreachable(settings)


def failure_of(cause: BaseException) -> tuple[Failure, GoalState]:
    """Why a workflow failed, and the state that this leaves its goal in."""
    if isinstance(cause, CancelledError):
        return Failure(
            code="OperationFailed", message="the goal was cancelled"
        ), GoalState.CANCELLED
    if isinstance(cause, TerminatedError):
        text = "the goal was terminated from outside, without clean-up"
        return Failure(code="OperationFailed", message=text), GoalState.FAILED
    if isinstance(cause, TimeoutError):
        text = "the goal ran into its time-out in Temporal"
        return Failure(code="OperationFailed", message=text), GoalState.FAILED
    found: BaseException | None = cause
    deepest = Failure(code="OperationFailed", message=str(cause) or "the goal failed")
    while found is not None:
        if isinstance(found, ApplicationError):
            deepest = Failure(code=found.type or "OperationFailed", message=found.message)
        found = found.__cause__
    return deepest, GoalState.DENIED if deepest.code in _DENIALS else GoalState.FAILED


_DENIALS = {"ApprovalDenied", "ApprovalExpired"}
