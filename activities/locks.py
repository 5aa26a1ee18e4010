"""The activities of named locks: ask for one, and look whether a holder still runs.

They speak to Temporal through the worker's own client and decide nothing.
"""

from collections.abc import Callable, Sequence
from typing import Any

from temporalio import activity
from temporalio.client import WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from goalkeeper.contracts import activities as names
from goalkeeper.contracts.activities import HolderInput, HolderResult, LockRequest
from goalkeeper.contracts.locks import SIGNAL_ACQUIRE, WORKFLOW, LockInput, workflow_id
from goalkeeper.domain.errors import Conflict, GrantMismatch, ServiceUnavailable


class LockActivities:
    """What goals and locks may ask of each other."""

    def __init__(self, task_queue: str) -> None:
        self._task_queue = task_queue
        """Where the locks' workflows run."""

    @property
    def all(self) -> Sequence[Callable[..., Any]]:
        """What a worker registers."""
        return [self.request, self.holds]

    @activity.defn(name=names.LOCK)
    async def request(self, given: LockRequest) -> None:
        """Queue a goal up for a lock; the lock's workflow starts with the first that asks.

        Raises:
            GrantMismatch: one workflow asks in the name of another.
            Conflict: the lock's workflow id is taken by something that is not a lock.
            ServiceUnavailable: Temporal does not answer; the attempt is worth repeating.
        """
        if activity.info().workflow_id != given.goal_id:
            raise GrantMismatch(f"a lock is asked for in the name of '{given.goal_id}'")
        try:
            handle: WorkflowHandle[Any, Any] = await activity.client().start_workflow(
                WORKFLOW,
                LockInput(name=given.name),
                id=workflow_id(given.name),
                task_queue=self._task_queue,
                start_signal=SIGNAL_ACQUIRE,
                start_signal_args=[given],
            )
            found = (await handle.describe()).workflow_type
        except RPCError as error:
            raise _unavailable(f"lock '{given.name}'", error) from None
        if found != WORKFLOW:
            raise Conflict(
                f"lock '{given.name}' cannot be had: its workflow id '{handle.id}' is taken by a "
                f"'{found[:100]}'. End that one and submit the goal again."
            )

    @activity.defn(name=names.HOLDS)
    async def holds(self, given: HolderInput) -> HolderResult:
        """Whether a goal is still going, in whichever of its runs.

        Raises:
            ServiceUnavailable: Temporal does not answer; the attempt is worth repeating.
        """
        handle = activity.client().get_workflow_handle(given.goal_id)
        try:
            described = await handle.describe()
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return HolderResult(running=False)
            raise _unavailable(f"goal '{given.goal_id}'", error) from None
        return HolderResult(running=described.close_time is None)


def _unavailable(what: str, error: RPCError) -> ServiceUnavailable:
    return ServiceUnavailable(
        f"Temporal does not answer about {what} ({error.status.name}); it is asked again"
    )
