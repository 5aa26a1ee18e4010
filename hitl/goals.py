"""Goals as the gateway sees them, over Temporal: what they ask, how they stand, telling them.

It maps Temporal's errors to ours in this one place, and it decides nothing.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Protocol

from pydantic import ValidationError
from temporalio.client import Client, WorkflowQueryFailedError, WorkflowQueryRejectedError
from temporalio.service import RPCError, RPCStatusCode

from goalkeeper.contracts.goal import (
    QUERY_APPROVALS,
    QUERY_PROGRESS,
    QUERY_SUMMARY,
    SIGNAL_DECISION,
    WORKFLOW,
    DecisionSignal,
    OpenRequest,
    Progress,
    Summary,
)
from goalkeeper.domain.dsse import Envelope
from goalkeeper.domain.errors import GoalkeeperError, NotFound, ServiceUnavailable
from goalkeeper.domain.plan import GoalState

WAITING = (
    f'WorkflowType="{WORKFLOW}" AND ExecutionStatus="Running" '
    f'AND GoalState="{GoalState.AWAITING_APPROVAL}"'
)

_PATIENCE = timedelta(seconds=5)
_NO_ANSWER = {
    RPCStatusCode.CANCELLED,
    RPCStatusCode.DEADLINE_EXCEEDED,
    RPCStatusCode.FAILED_PRECONDITION,
}


class Goals(Protocol):
    """What the gateway needs of goals."""

    async def approvals(self, goal_id: str) -> list[OpenRequest]:
        """Every approval request of a goal.

        Raises:
            NotFound: no such goal, or a workflow that is not one of ours.
            ServiceUnavailable: Temporal or the goal's worker does not answer.
        """
        ...

    async def progress(self, goal_id: str) -> Progress:
        """How a goal stands; raises as `approvals` does."""
        ...

    async def summary(self, goal_id: str) -> Summary:
        """How a goal stands, in short; raises as `approvals` does."""
        ...

    async def deliver(self, goal_id: str, envelope: Envelope) -> None:
        """Signal a decision; durable when this returns. Raises as `approvals` does."""
        ...

    async def waiting(self, limit: int) -> list[str]:
        """Ids of goals that wait for people.

        Raises:
            ServiceUnavailable: Temporal does not answer.
        """
        ...

    async def reachable(self) -> bool:
        """Whether Temporal answers."""
        ...


class TemporalGoals:
    """`Goals` on a Temporal client."""

    def __init__(self, client: Client, *, patience: timedelta = _PATIENCE) -> None:
        self._client = client
        self._patience = patience

    async def approvals(self, goal_id: str) -> list[OpenRequest]:
        """See `Goals.approvals`."""
        async with _asking(goal_id, self._patience):
            handle = self._client.get_workflow_handle(goal_id)
            found: list[OpenRequest] = await handle.query(
                QUERY_APPROVALS, result_type=list[OpenRequest]
            )
        return found

    async def progress(self, goal_id: str) -> Progress:
        """See `Goals.progress`."""
        async with _asking(goal_id, self._patience):
            handle = self._client.get_workflow_handle(goal_id)
            found: Progress = await handle.query(QUERY_PROGRESS, result_type=Progress)
        return found

    async def summary(self, goal_id: str) -> Summary:
        """See `Goals.summary`."""
        async with _asking(goal_id, self._patience):
            handle = self._client.get_workflow_handle(goal_id)
            found: Summary = await handle.query(QUERY_SUMMARY, result_type=Summary)
        return found

    async def deliver(self, goal_id: str, envelope: Envelope) -> None:
        """See `Goals.deliver`."""
        signal = DecisionSignal(envelope=envelope.model_dump(mode="json"))
        async with _asking(goal_id, self._patience):
            handle = self._client.get_workflow_handle(goal_id)
            await handle.signal(SIGNAL_DECISION, signal)

    async def waiting(self, limit: int) -> list[str]:
        """See `Goals.waiting`."""
        async with _asking("any", self._patience):
            return [w.id async for w in self._client.list_workflows(WAITING, limit=limit)]

    async def reachable(self) -> bool:
        """See `Goals.reachable`."""
        try:
            return await self._client.service_client.check_health(timeout=timedelta(seconds=2))
        except RPCError:
            return False


@asynccontextmanager
async def _asking(goal_id: str, patience: timedelta) -> AsyncIterator[None]:
    """Bound the time, and turn what Temporal raises into ours."""
    try:
        # Not `rpc_timeout`: it bounds each attempt, and 5 s of it were measured to take 10.
        async with asyncio.timeout(patience.total_seconds()):
            yield
    except TimeoutError:
        raise _silent(goal_id) from None
    except RPCError as error:
        raise _of_rpc(goal_id, error) from None
    except (WorkflowQueryFailedError, WorkflowQueryRejectedError, ValidationError):
        raise NotFound(
            f"workflow '{goal_id}' does not answer as a goal of this version of Goalkeeper"
        ) from None


def _of_rpc(goal_id: str, error: RPCError) -> GoalkeeperError:
    if error.status is RPCStatusCode.NOT_FOUND:
        return NotFound(f"there is no goal '{goal_id}'; `goalkeeper list` shows those known")
    if error.status in _NO_ANSWER:
        return _silent(goal_id)
    if error.status is RPCStatusCode.INVALID_ARGUMENT:
        return ServiceUnavailable(
            "Temporal refused the question, most likely because the search attributes are not "
            "registered; run `goalkeeper doctor`"
        )
    return ServiceUnavailable(
        "Temporal does not answer (`goalkeeper status`). Nothing was lost; try again."
    )


def _silent(goal_id: str) -> ServiceUnavailable:
    return ServiceUnavailable(
        f"goal '{goal_id}' does not answer: its worker or Temporal is busy or down "
        "(`goalkeeper status`). Nothing was lost; try again."
    )
