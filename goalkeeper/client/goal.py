"""One goal, seen from outside: its progress, events, output and result, and goals that follow it.

It holds no state of the goal: every answer is asked for anew. What a goal can be told is in
`goalkeeper.client.steering`.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from pydantic import ValidationError
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError

from goalkeeper.client.events import ENDED, EventKind, GoalEvent, changes
from goalkeeper.client.failures import failure_of, mapped
from goalkeeper.client.starting import start, start_after, valid_id
from goalkeeper.client.steering import Steering
from goalkeeper.client.troubles import Trouble, troubles_of
from goalkeeper.contracts.goal import (
    QUERY_APPROVALS,
    QUERY_PROGRESS,
    QUERY_SUMMARY,
    GoalInput,
    OpenRequest,
    Progress,
    RerunOf,
    Summary,
)
from goalkeeper.domain.approval import Requester
from goalkeeper.domain.base import Name
from goalkeeper.domain.errors import (
    Conflict,
    GoalkeeperError,
    NotFound,
    ServiceUnavailable,
    TransientError,
)
from goalkeeper.domain.goal import GoalResult, TaskStatus
from goalkeeper.domain.plan import GoalState

if TYPE_CHECKING:
    from goalkeeper.evidence import OutputLine

_FASTEST = 0.1
_SLOWEST = 1.0
_NAMES = 50


@dataclass(frozen=True)
class Look:
    """A goal as it was seen at one moment, and what had changed by then."""

    progress: Progress | None
    """None where only the goal's end is known, since no worker answers."""
    summary: Summary | None
    """None at the goal's end."""
    events: tuple[GoalEvent, ...]


class Goal(Steering):
    """A goal by its id; get one from `Client.submit` or `Client.goal`."""

    def __repr__(self) -> str:
        return f"Goal({self.id!r})"

    async def progress(self) -> Progress:
        """Where the goal stands now, task by task.

        Raises:
            NotFound: there is no such goal.
            ServiceUnavailable: Temporal or the worker does not answer; retrying helps.
        """
        return await self._query(QUERY_PROGRESS, Progress)

    async def summary(self) -> Summary:
        """Where the goal stands in short, whatever its size: state, counts, locks waited for.

        Raises:
            NotFound: there is no such goal.
            ServiceUnavailable: Temporal or the worker does not answer; retrying helps.
        """
        return await self._query(QUERY_SUMMARY, Summary)

    async def troubles(self) -> tuple[Trouble, ...]:
        """What has failed so far and is tried again: no engine, a host that is away, and so on."""
        with mapped(self._client.settings, self.id):
            description = await (await self._handle()).describe()
            return tuple([trouble async for trouble in troubles_of(description)])

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
        seen: Look | None = None
        told: set[Trouble] = set()
        pause, answered = _FASTEST, time.monotonic()
        try:
            while True:
                last = ending.done()
                now = await self._look(seen, answered, last=last)
                if now is not None and now.progress is not None:
                    answered = time.monotonic()
                    if not now.events and not last:
                        # Only where nothing moves: that is when somebody wonders why.
                        now = replace(now, events=await self._new_troubles(now.progress, told))
                    seen, pause = now, _FASTEST if now.events else min(_SLOWEST, pause * 1.5)
                    if now.events:
                        yield now
                if last:
                    break
                await asyncio.wait([ending], timeout=pause)
            result = await ending
            if seen is None or seen.progress is None or seen.progress.state is not result.state:
                yield Look(None, None, (_end_of(result),))
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

    async def rerun(self, from_task: str, *, goal_id: str | None = None) -> "Goal":
        """Run this goal again from one task on, as a new goal; earlier results are kept.

        What runs again is judged and approved anew. Repeating the call while the new goal runs
        finds that goal.

        Args:
            from_task: this task and everything after it runs again.
            goal_id: the new goal's id; else this one's with ``--rerun-1`` behind it.

        Raises:
            Conflict: this goal has not ended.
            NotFound: it has no such task.
        """
        if await self._going():
            raise Conflict(
                f"goal '{self.id}' has not ended: wait for it or cancel it, then run it again"
            )
        self._require_task(from_task, (await self._result()).tasks)
        again = RerunOf(goal_id=self.id, from_task=from_task)
        return await self._follow(GoalInput(rerun=again), "rerun", goal_id, once=False)

    async def rollback(self, *, goal_id: str | None = None) -> "Goal":
        """Undo what this goal did, as a new goal, the last first.

        Undoing is judged like anything else, and people are asked where policy says so. Repeating
        the call finds the goal that undoes or has undone it.

        Args:
            goal_id: the new goal's id; else this one's with ``--rollback-1`` behind it.

        Raises:
            Conflict: this goal has not ended.
        """
        if await self._going():
            raise Conflict(
                f"goal '{self.id}' has not ended: cancel it, which undoes what it did so far"
            )
        return await self._follow(GoalInput(rollback=self.id), "rollback", goal_id, once=True)

    async def _follow(
        self, goal: GoalInput, what: str, goal_id: str | None, *, once: bool
    ) -> "Goal":
        if goal_id is None:
            goal_id = await start_after(self._client, goal, self.id, what, once=once)
        else:
            await start(self._client, goal, valid_id(goal_id))
        return Goal(self._client, goal_id)

    def _require_task(self, task_id: str, tasks: Iterable[TaskStatus]) -> None:
        ids = [t.id for t in tasks if "." not in t.id]
        if task_id not in ids:
            more = f" and {len(ids) - _NAMES} more" if len(ids) > _NAMES else ""
            raise NotFound(
                f"goal '{self.id}' has no task '{task_id[:80]}'; it has "
                f"{', '.join(ids[:_NAMES])}{more}"
            )

    async def _must_have(self, task_id: str | None) -> None:
        """Tell silence from a misspelt id."""
        progress = await self.progress()
        if progress.plan is None:
            return  # Not planned yet: nobody knows its tasks.
        if task_id is not None:
            self._require_task(task_id, progress.tasks)

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

    async def _look(self, seen: Look | None, dark_since: float, *, last: bool) -> Look | None:
        """What is new since `seen`; None while nobody answers.

        Raises:
            GoalkeeperError: nobody has answered for longer than the client's patience.
        """
        try:
            brief = None if last else await self.summary()
            before = seen.progress if seen else None
            # The whole progress of a large goal is megabytes: it is fetched when there is news.
            if before is not None and brief is not None and _same(before, brief):
                now = before
            else:
                now = await self.progress()
        except GoalkeeperError as error:
            dark = time.monotonic() - dark_since
            # Once the goal has ended its result says enough, whoever answers queries or not.
            if last or (error.retryable and dark < self._client.patience.total_seconds()):
                return None
            raise
        waited = seen.summary.waits_for_locks if seen and seen.summary else ()
        news = () if now is before else tuple(changes(before, now))
        if brief is not None and brief.waits_for_locks != waited:
            news = (_locks(now, brief.waits_for_locks), *news)
        return Look(now, brief, news)

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


def _same(before: Progress, now: Summary) -> bool:
    return (before.version, before.state) == (now.version, now.state)


def _locks(progress: Progress, locks: tuple[Name, ...]) -> GoalEvent:
    return GoalEvent(
        kind=EventKind.LOCKS, goal_id=progress.goal_id, state=progress.state, locks=locks
    )


def _end_of(result: GoalResult) -> GoalEvent:
    return GoalEvent(
        kind=EventKind.GOAL, goal_id=result.goal_id, state=result.state, failure=result.failure
    )
