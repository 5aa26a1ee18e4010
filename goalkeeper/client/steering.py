"""What a goal that runs can be told: pause, resume, cancel, retry, skip, change, signal.

It sends commands and says whether they were taken; what they lead to shows in the goal's progress.
"""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle

from goalkeeper.client.failures import mapped
from goalkeeper.client.people import local_user
from goalkeeper.contracts.goal import (
    QUERY_SUMMARY,
    SIGNAL_EVENT,
    UPDATE_CANCEL,
    UPDATE_CANCEL_TASK,
    UPDATE_CHANGE_TASK,
    UPDATE_PAUSE,
    UPDATE_RESUME,
    UPDATE_RETRY_TASK,
    UPDATE_SKIP_TASK,
    CancelInput,
    ControlInput,
    EventSignal,
    Summary,
    TaskChangeInput,
    TaskControlInput,
)
from goalkeeper.domain.base import Json, Name
from goalkeeper.domain.errors import Conflict, InvalidGoal, ServiceUnavailable, VaultUnavailable
from goalkeeper.domain.goal import GoalResult
from goalkeeper.domain.plan import GoalState

if TYPE_CHECKING:
    from goalkeeper.client.client import Client

T = TypeVar("T", bound=ControlInput)
Answer = TypeVar("Answer")

ANSWER = timedelta(seconds=10)
"""How long a worker may take to answer a query or an update."""
_HOLDING = (GoalState.RUNNING, GoalState.AWAITING_APPROVAL, GoalState.PAUSED)


class Steering:
    """The commands of one goal."""

    def __init__(self, client: "Client", goal_id: str) -> None:
        self._client = client
        self.id = goal_id

    async def pause(self, reason: str = "") -> None:
        """Start no further task until `resume`; what runs goes on."""
        await self._update(UPDATE_PAUSE, await self._said(ControlInput, reason))

    async def resume(self, reason: str = "") -> None:
        """Go on after `pause`."""
        await self._update(UPDATE_RESUME, await self._said(ControlInput, reason))

    async def cancel(self, reason: str = "", *, compensate: bool = True) -> None:
        """Stop the goal: what runs is killed, what was done is undone where it can be.

        Who cancels, as they say, goes on record together with the reason. Where no worker
        answers, or Vault does not, the goal is cancelled through Temporal.

        Args:
            reason: why.
            compensate: False leaves what was done as it is; that needs a worker at once.

        Raises:
            Conflict: it has ended already.
            ServiceUnavailable: no worker answers, and `compensate` is False.
            VaultUnavailable: Vault does not, and `compensate` is False.
        """
        if not await self._going():
            raise Conflict(f"goal '{self.id}' has ended already, so there is nothing to cancel")
        said = await self._said(CancelInput, reason, compensate=compensate)
        try:
            await self._update(UPDATE_CANCEL, said)
        except (ServiceUnavailable, VaultUnavailable):
            # The command is sealed with a key from Vault; a plain cancellation says nothing.
            if not compensate:
                raise
            await self._cancel_in_temporal(said)
        except Conflict:
            summary: Summary = await self._query(QUERY_SUMMARY, Summary)
            if summary.state is GoalState.PLANNING:
                # Nothing listens yet, and nothing was done that could be undone.
                await self._cancel_in_temporal(said)
            elif summary.state in _HOLDING:
                # Planned between the answer and the question.
                await self._update(UPDATE_CANCEL, said)
            else:
                raise

    async def cancel_task(self, task_id: str, reason: str = "") -> None:
        """Stop one task; whatever needs it is skipped."""
        await self._update(
            UPDATE_CANCEL_TASK, await self._said(TaskControlInput, reason, task_id=task_id)
        )

    async def retry_task(self, task_id: str, reason: str = "") -> None:
        """Run a failed task again, as a new action: it is judged and approved anew."""
        await self._update(
            UPDATE_RETRY_TASK, await self._said(TaskControlInput, reason, task_id=task_id)
        )

    async def skip_task(self, task_id: str, reason: str) -> None:
        """Leave a task out. What needs it goes on as if it had succeeded, without its outputs.

        Raises:
            Conflict: it runs or has ended already.
            InvalidGoal: there is no reason.
        """
        if not reason.strip():
            raise InvalidGoal(f"skipping task '{task_id}' needs a reason: it goes on record")
        await self._update(
            UPDATE_SKIP_TASK, await self._said(TaskControlInput, reason, task_id=task_id)
        )

    async def change_task(self, task_id: str, inputs: Mapping[str, Json], reason: str = "") -> None:
        """Give a task that has not begun other inputs; those not named stay.

        It is judged anew. Approvals of what has changed are void, and people are asked again.

        Raises:
            Conflict: the task runs or has ended already.
            InvalidGoal: an input is misspelt or wrong, or none is given.
            PolicyDenied: policy refuses the task as it would be.
        """
        said = await self._said(TaskChangeInput, reason, task_id=task_id, inputs=dict(inputs))
        await self._update(UPDATE_CHANGE_TASK, said)

    async def signal(self, name: str, payload: Json = None) -> None:
        """Send an event; the task that waits for one of this name goes on with the payload.

        It needs no worker: the goal takes it in once one runs. It proves nobody, so an event is
        never an approval.

        Raises:
            InvalidGoal: that cannot be an event's name.
            OperationFailed: the goal has ended.
        """
        try:
            TypeAdapter(Name).validate_python(name)
        except ValidationError:
            raise InvalidGoal(
                f"'{name[:80]}' cannot be an event's name: small letters, digits and '-', a letter "
                "first, 63 at most"
            ) from None
        with mapped(self._client.settings, self.id):
            handle = await self._handle()
            await handle.signal(SIGNAL_EVENT, EventSignal(name=name, payload=payload))

    async def _cancel_in_temporal(self, said: CancelInput) -> None:
        with mapped(self._client.settings, self.id):
            handle = await self._handle()
            await handle.cancel(reason=f"{said.actor}: {said.reason}".rstrip(": "))

    async def _going(self) -> bool:
        with mapped(self._client.settings, self.id):
            status = (await (await self._handle()).describe()).status
        return status is WorkflowExecutionStatus.RUNNING

    async def _said(self, kind: type[T], reason: str, **more: Any) -> T:
        """A command's argument, in the client's name.

        Raises:
            InvalidGoal: a value is not what it must be.
        """
        try:
            return kind(reason=reason, actor=await self._actor(), **more)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(p) for p in first["loc"])
            raise InvalidGoal(f"'{where[:80]}' is wrong: {first['msg'][:300]}") from None

    async def _actor(self) -> str:
        """Who sends a command. A gateway that is away must not keep anyone from pausing."""
        try:
            return await self._client.who()
        except ServiceUnavailable:
            return local_user()

    async def _handle(self) -> WorkflowHandle[Any, GoalResult]:
        temporal = await self._client.temporal()
        return temporal.get_workflow_handle(self.id, result_type=GoalResult)

    async def _query(self, name: str, result: type[Answer]) -> Answer:
        with mapped(self._client.settings, self.id):
            handle = await self._handle()
            answer: Answer = await handle.query(name, result_type=result, rpc_timeout=ANSWER)
            return answer

    async def _update(self, name: str, argument: ControlInput) -> None:
        try:
            # Around the mapping: the SDK wraps the cancellation that the time-out is made of.
            async with asyncio.timeout(ANSWER.total_seconds()):
                with mapped(self._client.settings, self.id):
                    await (await self._handle()).execute_update(name, argument)
        except TimeoutError:
            raise ServiceUnavailable(
                f"no worker took the command '{name}' for goal '{self.id}' in time. It may "
                "still be carried out; see `goalkeeper status` and `goalkeeper show`."
            ) from None
