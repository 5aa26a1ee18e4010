"""A workflow that takes and gives locks back when it is told to, as a goal's interpreter does."""

import asyncio
from typing import Any

from temporalio import workflow
from temporalio.exceptions import FailureError

from goalkeeper.contracts.goal import SIGNAL_LOCK, CarriedLocks
from goalkeeper.domain.base import Model, Name
from workflows.approvals import CarriedOver
from workflows.locking import Locks


class HolderInput(Model):
    """Which locks, and on whose behalf."""

    names: tuple[Name, ...]
    owner: str = ""
    carried: CarriedLocks = CarriedLocks()
    moves: tuple[bool, ...] = ()
    work: bool = False
    """Take the locks at once, give them back, and end."""


class HolderView(Model):
    """Where it stands."""

    held: bool
    waiting_for: tuple[Name, ...]
    tokens: dict[Name, int]
    moves: tuple[bool, ...]
    """What each `acquire` has answered."""
    run: str


@workflow.defn(name="Holder")
class Holder:
    """Stands in for a goal."""

    @workflow.init
    def __init__(self, given: HolderInput) -> None:
        self._given = given
        self._moves = list(given.moves)
        self._ending = self._carrying = False
        self._tasks: list[asyncio.Task[None]] = []
        goal_id = workflow.info().workflow_id
        self._locks = Locks(
            given.names,
            goal_id=goal_id,
            owner=given.owner or goal_id,
            carried=given.carried,
            changed=lambda: None,
            carrying=lambda: self._carrying,
        )

    @workflow.run
    async def run(self, given: HolderInput) -> None:
        """Wait to be told; nothing is kept at the end, also of one that is cancelled."""
        try:
            await self._serve()
        except asyncio.CancelledError:
            pass
        except FailureError:
            await self._locks.release()
            raise
        for task in self._tasks:
            task.cancel()
        await self._locks.release()
        await workflow.wait_condition(workflow.all_handlers_finished)

    async def _serve(self) -> None:
        if self._given.work:
            self._moves.append(await self._locks.acquire())
            return
        if self._given.carried.wanted:
            self.want()
        await workflow.wait_condition(lambda: self._ending or self._carrying)
        if self._carrying:
            await self._carry()

    async def _carry(self) -> None:
        await workflow.wait_condition(
            lambda: all(t.done() for t in self._tasks) and workflow.all_handlers_finished()
        )
        carried = {"carried": self._locks.carry(), "moves": tuple(self._moves)}
        workflow.continue_as_new(self._given.model_copy(update=carried))

    async def _want(self, who: str) -> None:
        try:
            self._moves.append(await self._locks.acquire(who))
        except CarriedOver:
            return

    @workflow.signal
    def want(self, who: str = "") -> None:
        """Let one more task want the locks."""
        self._tasks.append(asyncio.create_task(self._want(who)))

    @workflow.signal
    def give_up(self) -> None:
        """Let every task that wants the locks be cancelled."""
        for task in self._tasks:
            task.cancel()

    @workflow.signal
    def end(self) -> None:
        """Come to an end."""
        self._ending = True

    @workflow.signal
    def carry(self) -> None:
        """Continue as new."""
        self._carrying = True

    @workflow.update
    async def let_go(self) -> None:
        """As while people are asked."""
        await self._locks.let_go()

    @workflow.update
    async def release(self) -> None:
        """As after the last task that names a lock."""
        await self._locks.release()

    @workflow.signal(name=SIGNAL_LOCK)
    async def lock_granted(self, signal: Any) -> None:
        """From a lock."""
        await self._locks.granted(signal)

    @workflow.query
    def view(self) -> HolderView:
        """Where it stands."""
        return HolderView(
            held=self._locks.held,
            waiting_for=self._locks.waiting_for,
            tokens=self._locks.carry().held,
            moves=tuple(self._moves),
            run=workflow.info().run_id,
        )
