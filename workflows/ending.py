"""How a goal comes to its end: undoing, what always runs, clearing away, the last entry.

Each step may stop where the workflow continues as new, and goes on there in the next run.
"""

import asyncio
from collections.abc import Awaitable, Callable

from goalkeeper.contracts.goal import Phase
from goalkeeper.domain.base import Json
from goalkeeper.domain.goal import Failure, Skip
from goalkeeper.domain.plan import GoalState, OnFailure, TaskState
from workflows import calls
from workflows.compensation import undo_next
from workflows.locking import Locks
from workflows.outcome import first_failure, outcome
from workflows.scheduler import Scheduler
from workflows.state import GoalRecord

_LEFT = (TaskState.PENDING, TaskState.AWAITING_APPROVAL, TaskState.RUNNING)


class Ending:
    """The end of one goal; its state is in the record, `state` and `failure`."""

    def __init__(
        self,
        record: GoalRecord,
        locks: Locks,
        *,
        carrying: Callable[[], bool],
        show: Callable[[GoalState], None],
        finally_scheduler: Callable[[], Scheduler],
        state: GoalState | None = None,
        failure: Failure | None = None,
    ) -> None:
        self._record = record
        self._locks = locks
        self._carrying = carrying
        self._show = show
        self._finally_scheduler = finally_scheduler
        self.state = state
        self.failure = failure
        self._undone_badly: list[str] = []

    def judge(self, *, cancelled: bool, compensate: bool) -> None:
        """The tasks are over: say how the goal ends, before anything is undone."""
        record = self._record
        self.failure = first_failure(record)
        self.state = outcome(record, cancelled=cancelled, failure=self.failure)
        for task in record.in_state(*_LEFT):
            if record.by_id[task.id].always:
                continue
            broken = [i for i in record.instances(task.id) if record.stops(i)]
            if broken:
                record.set(task.id, TaskState.FAILED, failure=record.tasks[broken[0]].failure)
            elif cancelled:
                record.set(task.id, TaskState.CANCELLED)
            else:
                record.skip(task.id, Skip.STOPPED)
        undo = self._wants_undoing(cancelled=cancelled, compensate=compensate)
        record.phase = Phase.COMPENSATION if undo else Phase.FINALLY

    def _wants_undoing(self, *, cancelled: bool, compensate: bool) -> bool:
        record = self._record
        if self.state is GoalState.SUCCEEDED or not record.effects:
            return False
        if record.count(TaskState.UNKNOWN):
            # What is unknown is for a person: undoing around it could make it worse.
            return False
        if cancelled:
            return compensate
        return any(record.by_id[t].on_failure is OnFailure.ROLL_BACK for t in record.stoppers())

    async def go_on(self) -> bool:
        """Carry the end through; False where it stopped to continue as new."""
        if self._record.phase is Phase.COMPENSATION:
            if not await self._undo():
                return False
            self._record.phase = Phase.FINALLY
        if not await self._always():
            return False
        await self._tidy()
        return True

    async def _undo(self) -> bool:
        self._show(GoalState.COMPENSATING)
        while self._record.effects:
            if self._carrying():
                return False
            why = await undo_next(self._record)
            if why is not None:
                self._not_undone(why)
        if not self._failed_to_undo and self._record.count(TaskState.COMPENSATED):
            self.state = GoalState.ROLLED_BACK
        return True

    @property
    def _failed_to_undo(self) -> bool:
        return self.failure is not None and self.failure.code == "CompensationFailed"

    def _not_undone(self, why: str) -> None:
        """Keep what is left for a person to undo by hand."""
        before = self.failure.message if self.failure else "the goal was cancelled"
        told = (
            "; "
            if self._failed_to_undo
            else (" — and not everything could be undone; do it by hand: ")
        )
        self.state = GoalState.FAILED
        self.failure = Failure(code="CompensationFailed", message=f"{before}{told}{why}"[:2000])

    async def _always(self) -> bool:
        """Run the tasks that always run; their failure fails a goal that had succeeded."""
        record = self._record
        mine = [t for t in record.plan.tasks if t.always]
        if not mine:
            return True
        failure = self.failure.model_dump(mode="json") if self.failure else None
        state: Json = self.state.value if self.state else ""
        record.seen = {"id": record.goal_id, "state": state, "failure": failure}
        await self._finally_scheduler().drain()
        if self._carrying() and not all(record.settled(t.id) for t in mine):
            return False
        for left in record.in_state(*_LEFT):
            record.skip(left.id, Skip.STOPPED)
        failed = [t.id for t in mine if record.stops(t.id)]
        if failed and self.state is GoalState.SUCCEEDED:
            self.state, self.failure = GoalState.FAILED, first_failure(record)
        return True

    async def _tidy(self) -> None:
        await self._locks.release()
        tasks = self._record.plan.tasks
        containers = any(t.operation.startswith("sandbox.") for t in tasks)
        if containers or any(t.credentials for t in tasks):
            await calls.clean_up(self._record.goal_id, containers=containers)


async def to_its_end(work: Awaitable[bool], cancelled: Callable[[], None]) -> bool:
    """Await something that a cancellation must not stop; it is only taken note of."""
    ending = asyncio.ensure_future(work)
    while not ending.done():
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError:
            cancelled()
    return ending.result()
