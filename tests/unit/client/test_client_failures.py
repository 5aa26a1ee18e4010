"""Temporal's errors as ours."""

import asyncio
from pathlib import Path

import pytest
from temporalio.client import WorkflowFailureError, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    CancelledError,
    RetryState,
    TerminatedError,
)
from temporalio.service import RPCError, RPCStatusCode

from goalkeeper.client.failures import failure_of, mapped
from goalkeeper.domain.errors import (
    Conflict,
    GoalkeeperError,
    NotFound,
    OperationFailed,
    ServiceUnavailable,
    from_code,
)
from goalkeeper.domain.plan import GoalState
from goalkeeper.settings import Settings

SETTINGS = Settings(state=Path("/nowhere"), temporal_address="temporal.test:7233")


def _rpc(status: RPCStatusCode, message: str = "upstream says") -> RPCError:
    return RPCError(message, status, b"")


@pytest.mark.parametrize(
    ("error", "ours", "says"),
    [
        (_rpc(RPCStatusCode.NOT_FOUND), NotFound, "no goal 'g'.*goalkeeper list"),
        (
            _rpc(RPCStatusCode.NOT_FOUND, "workflow execution already completed"),
            OperationFailed,
            "already ended",
        ),
        (_rpc(RPCStatusCode.UNAVAILABLE), ServiceUnavailable, "temporal.test:7233.*goalkeeper up"),
        (_rpc(RPCStatusCode.DEADLINE_EXCEEDED), ServiceUnavailable, "no worker.*goalkeeper status"),
        (_rpc(RPCStatusCode.INTERNAL), ServiceUnavailable, "goalkeeper up"),
        (
            WorkflowFailureError(cause=ApplicationError("moved", type="Conflict")),
            Conflict,
            "^moved$",
        ),
        (
            WorkflowFailureError(cause=ApplicationError("new", type="FromTheFuture")),
            OperationFailed,
            "FromTheFuture: new",
        ),
    ],
)
def test_each_of_temporals_errors_has_one_meaning(
    error: Exception, ours: type[GoalkeeperError], says: str
) -> None:
    """And a message that says what to do, without what the server said."""
    with pytest.raises(ours, match=says) as caught, mapped(SETTINGS, "g"):
        raise error
    assert "upstream" not in caught.value.message
    assert caught.value.__cause__ is None


def test_a_cancellation_of_our_own_stays_one() -> None:
    """The SDK wraps it into an error of an update; a caller's time-out must still work."""
    wrapped = WorkflowUpdateRPCTimeoutOrCancelledError()
    wrapped.__cause__ = asyncio.CancelledError()
    with pytest.raises(asyncio.CancelledError), mapped(SETTINGS, "g"):
        raise wrapped


def test_what_is_not_temporals_passes() -> None:
    """A defect of ours is not dressed up as an outage."""
    with pytest.raises(RuntimeError, match="defect"), mapped(SETTINGS, "g"):
        raise RuntimeError("a defect")


def test_the_deepest_error_of_ours_is_the_reason() -> None:
    """An activity's error arrives wrapped by Temporal."""
    inner = ApplicationError("2 tests failed", type="CheckFailed")
    outer = ActivityError(
        "activity failed",
        scheduled_event_id=1,
        started_event_id=2,
        identity="w",
        activity_type="connector.execute",
        activity_id="a",
        retry_state=RetryState.NON_RETRYABLE_FAILURE,
    )
    outer.__cause__ = inner
    failure, state = failure_of(outer)
    assert (failure.code, failure.message) == ("CheckFailed", "2 tests failed")
    assert state is GoalState.FAILED


def test_how_a_workflow_ended_tells_the_goals_state() -> None:
    """Cancelled is not failed, and an expired approval is a denial."""
    assert failure_of(CancelledError("x"))[1] is GoalState.CANCELLED
    assert failure_of(TerminatedError("x"))[1] is GoalState.FAILED
    assert failure_of(ApplicationError("x", type="ApprovalExpired"))[1] is GoalState.DENIED


def test_every_error_survives_the_way_through_its_code() -> None:
    """`from_code` knows each class, those with further arguments included."""
    from goalkeeper.domain.errors import all_errors

    for code, cls in all_errors().items():
        assert type(from_code(code, "m")) is cls
