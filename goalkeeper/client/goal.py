"""One goal, seen from outside: its progress, events, output and result, and the commands it takes.

It holds no state of the goal: every answer is asked for anew.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError

from goalkeeper.client.events import ENDED, EventKind, GoalEvent, changes
from goalkeeper.client.failures import failure_of, mapped
from goalkeeper.client.people import local_user
from goalkeeper.client.troubles import Trouble, troubles_of
from goalkeeper.contracts.goal import (
    QUERY_APPROVALS,
    QUERY_PROGRESS,
    UPDATE_CANCEL_TASK,
    UPDATE_PAUSE,
    UPDATE_RESUME,
    UPDATE_RETRY_TASK,
    ControlInput,
    OpenRequest,
    Progress,
    TaskControlInput,
)
from goalkeeper.domain.approval import Requester
from goalkeeper.domain.errors import (
    Conflict,
    GoalkeeperError,
    NotFound,
    ServiceUnavailable,
    TransientError,
)
from goalkeeper.domain.goal import GoalResult
from goalkeeper.domain.plan import GoalState

if TYPE_CHECKING:
    from goalkeeper.client.client import Client
    from goalkeeper.evidence import OutputLine

T = TypeVar("T")

_ANSWER = timedelta(seconds=10)
"""How long a worker may take to answer a query or an update."""
_FASTEST = 0.1
_SLOWEST = 1.0


@dataclass(frozen=True)
class Look:
    """A goal as it was seen at one moment, and what had changed by then."""

    progress: Progress | None
    """None where only the goal's end is known, since no worker answers."""
    events: tuple[GoalEvent, ...]


class Goal:
    """A goal by its id; get one from `Client.submit` or `Client.goal`."""

    def __init__(self, client: "Client", goal_id: str) -> None:
        self._client = client
        self.id = goal_id

    def __repr__(self) -> str:
        return f"Goal({self.id!r})"

    async def progress(self) -> Progress:
        """Where the goal stands now, task by task.

        Raises:
            NotFound: there is no such goal.
            ServiceUnavailable: Temporal or the worker does not answer; retrying helps.
        """
        return await self._query(QUERY_PROGRESS, Progress)

    async def troubles(self) -> tuple[Trouble, ...]:
        """What has failed so far and is tried again: no engine, a host that is away, and so on."""
        with mapped(self._client.settings, self.id):
            return tuple(troubles_of(await (await self._handle()).describe()))

    async def approvals(self) -> tuple[OpenRequest, ...]:
        """What people were asked, answered or not."""
        return await self._query(QUERY_APPROVALS, tuple[OpenRequest, ...])

    async def result(
        self,
        *,
        timeout: float | timedelta | None = None,  # noqa: ASYNC109 - says what it was waiting for
    ) -> GoalResult:
        """Wait until the goal has ended, and say how.

        A goal that failed is an answer, not an exception: look at `state` and `failure`, or
        call `raise_for_state()` on the result.

        Args:
            timeout: seconds to wait at most; None waits as long as it takes.

        Raises:
            ServiceUnavailable: the goal has not ended in time, or Temporal does not answer.
            NotFound: there is no such goal.
        """
        seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
        try:
            async with asyncio.timeout(seconds):
                return await self._result()
        except TimeoutError:
            raise ServiceUnavailable(
                f"goal '{self.id}' has not ended within {seconds:g} s; it goes on, ask again later"
            ) from None

    async def events(self) -> AsyncIterator[GoalEvent]:
        """Every change from now on, the present state first; ends when the goal has ended.

        Outages of Temporal or the worker of up to a minute pass unnoticed; after them, the
        changes in between are told at once.

        Raises:
            NotFound: there is no such goal.
            ServiceUnavailable: Temporal or the worker has been away for more than a minute.
        """
        async for look in self.looks():
            for event in look.events:
                yield event

    async def looks(self) -> AsyncIterator[Look]:
        """Like `events`, with the whole progress at each change: for live views.

        Raises:
            NotFound: there is no such goal.
            ServiceUnavailable: Temporal or the worker has been away for more than a minute.
        """
        ending = asyncio.create_task(self._ended())
        seen: Progress | None = None
        told: set[Trouble] = set()
        pause, answered = _FASTEST, time.monotonic()
        try:
            while True:
                last = ending.done()
                now = await self._look(answered, last=last)
                if now is not None:
                    answered = time.monotonic()
                    news = tuple(changes(seen, now))
                    if not news and not last:
                        # Only where nothing moves: that is when somebody wonders why.
                        news = await self._new_troubles(now, told)
                    seen, pause = now, _FASTEST if news else min(_SLOWEST, pause * 1.5)
                    if news:
                        yield Look(now, news)
                if last:
                    break
                await asyncio.wait([ending], timeout=pause)
            result = await ending
            if seen is None or seen.state is not result.state:
                yield Look(None, (_end_of(result),))
        finally:
            ending.cancel()
            with suppress(asyncio.CancelledError, GoalkeeperError):
                await ending

    async def logs(
        self, task_id: str | None = None, *, follow: bool = True
    ) -> AsyncIterator["OutputLine"]:
        """The output of the goal's tasks, as it comes; ends when the goal has ended.

        Args:
            task_id: only this task's.
            follow: wait for more; False gives what is there.
        """
        evidence = self._client.evidence()
        if not follow:
            lines = list(evidence.read(self.id, task_id))
            for line in lines:
                yield line
            if not lines:
                await self._must_have(task_id)
            return
        ending = asyncio.create_task(self._ended())
        try:
            async for line in evidence.follow(self.id, task_id, stop=ending.done):
                yield line
            if ending.done():
                await ending
        finally:
            ending.cancel()
            with suppress(asyncio.CancelledError, GoalkeeperError):
                await ending

    async def pause(self, reason: str = "") -> None:
        """Start no further task until `resume`; what runs goes on."""
        await self._update(UPDATE_PAUSE, ControlInput(reason=reason, actor=await self._actor()))

    async def resume(self, reason: str = "") -> None:
        """Go on after `pause`."""
        await self._update(UPDATE_RESUME, ControlInput(reason=reason, actor=await self._actor()))

    async def cancel(self, reason: str = "") -> None:
        """Stop the goal: what runs is killed, what was done is undone where it can be.

        Who cancels, as they say, goes on record together with the reason.

        Raises:
            Conflict: it has ended already.
        """
        with mapped(self._client.settings, self.id):
            handle = await self._handle()
            if (await handle.describe()).status is not WorkflowExecutionStatus.RUNNING:
                raise Conflict(f"goal '{self.id}' has ended already, so there is nothing to cancel")
            await handle.cancel(reason=f"{await self._actor()}: {reason}".rstrip(": "))

    async def cancel_task(self, task_id: str, reason: str = "") -> None:
        """Stop one task; whatever needs it is skipped."""
        await self._update(UPDATE_CANCEL_TASK, await self._task_control(task_id, reason))

    async def retry_task(self, task_id: str, reason: str = "") -> None:
        """Run a failed task again, as a new action: it is judged and approved anew."""
        await self._update(UPDATE_RETRY_TASK, await self._task_control(task_id, reason))

    async def _task_control(self, task_id: str, reason: str) -> TaskControlInput:
        return TaskControlInput(task_id=task_id, reason=reason, actor=await self._actor())

    async def _actor(self) -> str:
        """Who sends a command. A gateway that is away must not keep anyone from pausing."""
        try:
            return await self._client.who()
        except ServiceUnavailable:
            return local_user()

    async def _must_have(self, task_id: str | None) -> None:
        """Tell silence from a misspelt id."""
        progress = await self.progress()
        if progress.plan is None:
            return  # Not planned yet: nobody knows its tasks.
        if task_id is not None and task_id not in {t.id for t in progress.tasks}:
            names = ", ".join(t.id for t in progress.tasks[:50])
            raise NotFound(f"goal '{self.id}' has no task '{task_id}'; it has {names}")

    async def _handle(self) -> WorkflowHandle[Any, GoalResult]:
        temporal = await self._client.temporal()
        return temporal.get_workflow_handle(self.id, result_type=GoalResult)

    async def _query(self, name: str, result: type[T]) -> T:
        with mapped(self._client.settings, self.id):
            handle = await self._handle()
            answer: T = await handle.query(name, result_type=result, rpc_timeout=_ANSWER)
            return answer

    async def _update(self, name: str, argument: ControlInput) -> None:
        with mapped(self._client.settings, self.id):
            handle = await self._handle()
            try:
                async with asyncio.timeout(_ANSWER.total_seconds()):
                    await handle.execute_update(name, argument)
            except TimeoutError:
                raise ServiceUnavailable(
                    f"no worker took the command '{name}' for goal '{self.id}' in time. It may "
                    "still be carried out; see `goalkeeper status` and `goalkeeper show`."
                ) from None

    async def _result(self) -> GoalResult:
        with mapped(self._client.settings, self.id):
            try:
                return await (await self._handle()).result()
            except WorkflowFailureError as error:
                return await self._failed(error.cause)

    async def _failed(self, cause: BaseException) -> GoalResult:
        """The result of a goal whose workflow failed: its own last words, where it left some."""
        if isinstance(cause, ApplicationError) and cause.details:
            with suppress(ValidationError):
                return GoalResult.model_validate(cause.details[0])
        failure, state = failure_of(cause)
        try:
            last = await self.progress()
        except GoalkeeperError:
            last = Progress(
                goal_id=self.id,
                contract="unknown",
                state=state,
                version=0,
                requester=Requester(id="unknown"),
            )
        return GoalResult(
            goal_id=self.id,
            contract=last.contract or "unknown",
            state=last.state if last.state in ENDED - {GoalState.SUCCEEDED} else state,
            plan_digest=last.plan.digest if last.plan else None,
            tasks=last.tasks,
            failure=last.failure or failure,
        )

    async def _look(self, dark_since: float, *, last: bool) -> Progress | None:
        """The progress; None while nobody answers and the client's patience lasts."""
        try:
            return await self.progress()
        except GoalkeeperError as error:
            dark = time.monotonic() - dark_since
            # Once the goal has ended its result says enough, whoever answers queries or not.
            if last or (error.retryable and dark < self._client.patience.total_seconds()):
                return None
            raise

    async def _new_troubles(self, now: Progress, told: set[Trouble]) -> tuple[GoalEvent, ...]:
        """Troubles that were not told yet; none while Temporal does not answer."""
        try:
            found = [t for t in await self.troubles() if t not in told]
        except GoalkeeperError:
            return ()
        told.update(found)
        return tuple(
            GoalEvent(kind=EventKind.TROUBLE, goal_id=self.id, state=now.state, trouble=t)
            for t in found
        )

    async def _ended(self) -> GoalResult:
        """The result, however long Temporal is away in between."""
        while True:
            try:
                return await self._result()
            except TransientError:
                await asyncio.sleep(_SLOWEST)


def _end_of(result: GoalResult) -> GoalEvent:
    return GoalEvent(
        kind=EventKind.GOAL, goal_id=result.goal_id, state=result.state, failure=result.failure
    )
