"""Goals as the gateway sees them, over Temporal: what they ask, how they stand, telling them.

It maps Temporal's errors to ours in this one place, and it decides nothing.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol

from pydantic import ValidationError
from temporalio.client import Client, WorkflowQueryFailedError, WorkflowQueryRejectedError
from temporalio.service import RPCError, RPCStatusCode

from goalkeeper.contracts.goal import (
    QUERY_APPROVALS,
    QUERY_PROGRESS,
    SIGNAL_DECISION,
    WORKFLOW,
    DecisionSignal,
    OpenRequest,
    Progress,
)
from goalkeeper.domain.dsse import Envelope
from goalkeeper.domain.errors import NotFound, ServiceUnavailable
from goalkeeper.domain.plan import GoalState

WAITING = (
    f'WorkflowType="{WORKFLOW}" AND ExecutionStatus="Running" '
    f'AND GoalState="{GoalState.AWAITING_APPROVAL}"'
)

_QUERY_TIMEOUT = timedelta(seconds=5)
_NO_ANSWER = {RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.FAILED_PRECONDITION}


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

    async def deliver(self, goal_id: str, envelope: Envelope) -> None:
        """Signal a decision; durable when this returns. Raises as `approvals` does."""
        ...

    def waiting(self, limit: int) -> AsyncIterator[str]:
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

    def __init__(self, client: Client, *, query_timeout: timedelta = _QUERY_TIMEOUT) -> None:
        self._client = client
        self._timeout = query_timeout

    async def approvals(self, goal_id: str) -> list[OpenRequest]:
        """See `Goals.approvals`."""
        with _mapped(goal_id):
            handle = self._client.get_workflow_handle(goal_id)
            found: list[OpenRequest] = await handle.query(
                QUERY_APPROVALS, result_type=list[OpenRequest], rpc_timeout=self._timeout
            )
        return found

    async def progress(self, goal_id: str) -> Progress:
        """See `Goals.progress`."""
        with _mapped(goal_id):
            handle = self._client.get_workflow_handle(goal_id)
            found: Progress = await handle.query(
                QUERY_PROGRESS, result_type=Progress, rpc_timeout=self._timeout
            )
        return found

    async def deliver(self, goal_id: str, envelope: Envelope) -> None:
        """See `Goals.deliver`."""
        signal = DecisionSignal(envelope=envelope.model_dump(mode="json"))
        with _mapped(goal_id):
            handle = self._client.get_workflow_handle(goal_id)
            await handle.signal(SIGNAL_DECISION, signal, rpc_timeout=self._timeout)

    async def waiting(self, limit: int) -> AsyncIterator[str]:
        """See `Goals.waiting`."""
        with _mapped("of the inbox"):
            async for found in self._client.list_workflows(WAITING, limit=limit):
                yield found.id

    async def reachable(self) -> bool:
        """See `Goals.reachable`."""
        try:
            return await self._client.service_client.check_health(timeout=timedelta(seconds=2))
        except RPCError:
            return False


@contextmanager
def _mapped(goal_id: str) -> Iterator[None]:
    try:
        yield
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            raise NotFound(
                f"there is no goal '{goal_id}'; `goalkeeper list` shows those known"
            ) from None
        if error.status in _NO_ANSWER:
            raise ServiceUnavailable(
                f"goal '{goal_id}' does not answer: its worker is busy or down "
                "(`goalkeeper status`). Nothing was lost; try again."
            ) from None
        if error.status is RPCStatusCode.INVALID_ARGUMENT:
            raise ServiceUnavailable(
                "Temporal refused the question, most likely because the search attributes are not "
                "registered; run `goalkeeper doctor`"
            ) from None
        raise ServiceUnavailable(
            "Temporal does not answer (`goalkeeper status`). Nothing was lost; try again."
        ) from None
    except (WorkflowQueryFailedError, WorkflowQueryRejectedError, ValidationError):
        raise NotFound(
            f"workflow '{goal_id}' does not answer as a goal of this version of Goalkeeper"
        ) from None
